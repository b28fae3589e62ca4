"""The events of delegated work, which the service keeps apart and which grow as it goes on."""

from __future__ import annotations

from collections import deque

from rebyte_flows.following.events import payload_of
from rebyte_wire.errors import AuthError, DeadlineReached, RebyteError
from rebyte_wire.status import dict_items

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from rebyte_client import RebyteClient
    from rebyte_types import Event

ASK_EVERY_SECONDS = 2.0


class Delegation:
    """Asks the delegated prompts of a task in turn, one request a tick, for what is new in them."""

    def __init__(
        self,
        client: RebyteClient,
        task_id: str,
        clock: Callable[[], float],
    ) -> None:
        self._client = client
        self._task_id = task_id
        self._clock = clock
        self._due_at = clock()
        self._ring: deque[str] = deque()
        self._parents: dict[str, Any] = {}
        self._told: dict[str, int] = {}

    def __repr__(self) -> str:
        return "Delegation(%d prompts)" % len(self._parents)

    def note(self, event: Event) -> None:
        """Take note of a prompt that an event of the task names as delegated."""
        payload = payload_of(event)
        prompt_id = payload.get("subPromptId")
        if event.get("eventType") not in ("tool_use", "tool_result"):
            return
        if isinstance(prompt_id, str) and prompt_id not in self._parents:
            self._parents[prompt_id] = payload.get("id") or payload.get("tool_id")
            self._told[prompt_id] = 0
            self._ring.append(prompt_id)

    def news(self) -> Iterator[Event]:
        """Yield the new events of the next prompt, each marked with its parent, if it is time."""
        if not self._ring or self._clock() < self._due_at:
            return
        self._due_at = self._clock() + ASK_EVERY_SECONDS
        prompt_id = self._ring.popleft()
        self._ring.append(prompt_id)
        yield from self._new_events(prompt_id)

    def rest(self) -> Iterator[Event]:
        """Yield what is new in all of them, at the end of the task."""
        for prompt_id in list(self._ring):
            yield from self._new_events(prompt_id)

    def _new_events(self, prompt_id: str) -> Iterator[Event]:
        try:
            answer = self._client.prompt_events(self._task_id, prompt_id)
        except (AuthError, DeadlineReached):
            raise
        except RebyteError as problem:
            # What is not offered is not asked for again; what fails just now is.
            if not problem.retryable:
                self._ring.remove(prompt_id)
            return
        events: list[Any] = dict_items(answer, "events")
        told = self._told[prompt_id]
        self._told[prompt_id] = max(told, len(events))
        for event in events[told:]:
            event.update(parent=self._parents[prompt_id], subPromptId=prompt_id)
            yield event
