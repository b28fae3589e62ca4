"""How many paid starts are allowed: the owner's limit for a day, the caller's for a command."""

from __future__ import annotations

from rebyte_wire.errors import GuardRefused, InputError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

TASKS_PER_COMMAND = 20
LIMIT_DIGITS = 9
SHOWN_CHARACTERS = 40
LASTING_HINT = (
    "let ~/.local/state/rebyte be written in the sandbox, run the line outside of it, "
    "or set REBYTE_STATE_DIR to a folder that lasts"
)


def owners_limit(environ: Mapping[str, str]) -> int | None:
    """Return REBYTE_MAX_TASKS_PER_DAY as a whole number, None when it is not set; InputError when
    it is neither.
    """
    text = (environ.get("REBYTE_MAX_TASKS_PER_DAY") or "").strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= LIMIT_DIGITS):
        raise InputError(
            "REBYTE_MAX_TASKS_PER_DAY is %r; a whole number of 0 or more was expected"
            % text[:SHOWN_CHARACTERS],
            hint="unset it or correct it",
        )
    return int(text)


class Guards:
    """The smallest limit wins; what was started is counted by the ledger.

    `lasting` is False where the ledger does not outlive this machine's restart: then nothing can
    be counted over a day, and a daily limit refuses every start. `is_found` is False where besides
    no run outside of this sandbox finds it: then a name cannot keep its promise either.
    """

    def __init__(
        self,
        per_day: int | None = None,
        per_command: int | None = None,
        lasting: bool = True,
        is_found: bool = True,
    ) -> None:
        self.per_day = per_day
        self.per_command = TASKS_PER_COMMAND if per_command is None else per_command
        self.lasting = lasting
        self.is_found = is_found

    def __repr__(self) -> str:
        return "Guards(%s a day, %s a command)" % (self.per_day, self.per_command)

    def check_name(self, name: str | None) -> None:
        """Raise GuardRefused for a named start where no later run would find the name."""
        if name and not self.lasting and not self.is_found:
            raise GuardRefused(
                "--once starts at most once for good, but the ledger here does not last, "
                "and a run outside of this sandbox would not find it",
                hint=LASTING_HINT,
                code="guard_no_ledger",
            )

    def check(self, new: int, today: int, by_this_command: int) -> None:
        """Raise GuardRefused when `new` more starts are too many, given what was counted."""
        if not new:
            return
        if self.per_day is not None:
            self._check_day(self.per_day, new, today)
        if by_this_command + new > self.per_command:
            raise GuardRefused(
                "this would start %d more; this command may start %d and has started %d"
                % (new, self.per_command, by_this_command),
                code="guard_tasks_per_command",
                hint="allow it knowingly: the same line with --max-tasks %d"
                % (by_this_command + new),
            )

    def _check_day(self, per_day: int, new: int, today: int) -> None:
        if not self.lasting:
            raise GuardRefused(
                "REBYTE_MAX_TASKS_PER_DAY is set, but there is no lasting ledger to count in",
                hint=LASTING_HINT,
                code="guard_no_ledger",
            )
        if today + new > per_day:
            raise GuardRefused(
                "this would start %d more; REBYTE_MAX_TASKS_PER_DAY is %d, "
                "and %d were started in the last 24 hours" % (new, per_day, today),
                code="guard_tasks_per_day",
                hint="start fewer, or ask the owner of this key; only the owner raises it",
            )
