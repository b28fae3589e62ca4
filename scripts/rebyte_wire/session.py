"""One service and one key over kept connections, with a deadline: what a client is made of."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping

from rebyte_wire.credentials import check_key, find_base, key_for
from rebyte_wire.transport import Transport

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeVar

    from rebyte_wire.multipart import Path
    from rebyte_wire.requests import Deadline

    # The client's own class, so that its views are clients too.
    Self = TypeVar("Self", bound="Session")


class Session:
    """The address, the key and the connections of a client; it can also be used by `with`."""

    def __init__(
        self,
        api_key: str | None = None,
        base_url: str | None = None,
        *,
        deadline: Deadline | None = None,
        environ: Mapping[str, str] | None = None,
        key_file: Path | None = None,
        transport: Transport | None = None,
    ) -> None:
        """Find key and address (arguments, then the environment); connect nothing yet.

        `deadline` bounds every call.
        """
        environ = os.environ if environ is None else environ
        base = find_base(environ, base_url)
        self._key = (
            check_key(api_key)
            if api_key
            else key_for(environ, base, key_file, deadline)
        )
        self._transport = transport or Transport(base, self._key, environ)
        self.base_url = self._transport.base_url
        self.is_loopback = self._transport.is_loopback
        self.deadline = deadline or self._transport.deadline

    def within(self: Self, seconds: float | None) -> Self:
        """Return a client over the same connections whose calls end `seconds` from now.

        They end with this client's deadline if that is earlier. Close only the first of them.
        """
        return self.with_deadline(self.deadline.within(seconds))

    def with_deadline(self: Self, deadline: Deadline) -> Self:
        """Return a client over the same connections with another deadline, also a later one."""
        view = copy.copy(self)
        view._transport = self._transport.with_deadline(deadline)
        return view

    @property
    def deadline(self) -> Deadline:
        """The Deadline of every call, settable; only a paid start that has left outlasts it."""
        return self._transport.deadline

    @deadline.setter
    def deadline(self, deadline: Deadline) -> None:
        """Set the deadline of the calls that follow."""
        self._transport.deadline = deadline

    @property
    def api_key(self) -> str:
        """The key: a secret, for telling accounts apart and nothing else."""
        return self._key

    @property
    def software(self) -> str | None:
        """The Server header of the service's last answer; None before the first."""
        return self._transport.software

    @property
    def clock_skew(self) -> float | None:
        """Seconds by which the service's clock is ahead of ours; None before the first answer."""
        return self._transport.clock_skew

    def close(self) -> None:
        """Close the kept connections."""
        self._transport.close()

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return "<{} {}>".format(type(self).__name__, self.base_url)
