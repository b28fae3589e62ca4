"""What is known of an agent program: data, and two pure functions."""

from __future__ import annotations

import re
from typing import Callable, Dict, Mapping, NamedTuple, Pattern

from rebyte_local.agents.findings import Finding
from rebyte_local.formats import JsonObject

# The strongest setting of its own under which it still works; all that it can do, with the
# owner's rights; all that it can do, in a box of bwrap around its folder.
DEFAULT = "default"
FULL = "full"
BOXED = "boxed"
NEVER = re.compile(r"(?!)()")


def _no_problem(environ: Mapping[str, str], model: str | None) -> str | None:
    return None


def _always(environ: Mapping[str, str]) -> bool:
    return True


class Turn(NamedTuple):
    """What a command line depends on; `session` is that of an earlier turn, if any."""

    level: str
    model: str | None
    session: str | None


def option(flag: str, value: str | None) -> list[str]:
    """Return a flag and its value, nothing without a value."""
    return [flag, value] if value else []


class Program(NamedTuple):
    """One program. Its name is its command's, and what --executor says.

    command: the words for a turn, the prompt being on stdin.
    read: what a record of its stream says.
    package: where npm has it. sign_in: the line that logs its owner in.
    login_problem: why it cannot be used with an environment and a model, None if nothing is known.
    login_check: words that end with another code than 0 where nobody is logged in; they are asked
        where `needs_login` of an environment.
    needs: commands that its default level calls for.
    levels: which of the levels it has, and what each does not keep the program from.
    variables: what is set for it. options: JSON settings to be merged into a variable, by level.
    state_paths: what it writes in the owner's home, each "VARIABLE:below it:below HOME".
    is_cumulative: its usage counts over the session; and is its cost.
    retry_line: what it says on stderr when it tries its service again, the reason as a group.
    reason_line: what it says on stderr of a failure whose reason its stream does not tell.
    no_session: what it says when a conversation is gone.
    not_logged_in: what it says when nobody is logged in.
    """

    name: str
    command: Callable[[Turn], list[str]]
    read: Callable[[JsonObject], list[Finding]]
    package: str
    sign_in: str
    levels: Mapping[str, tuple[str, ...]]
    state_paths: tuple[str, ...]
    login_problem: Callable[[Mapping[str, str], str | None], str | None] = _no_problem
    login_check: tuple[str, ...] = ()
    needs_login: Callable[[Mapping[str, str]], bool] = _always
    needs: tuple[str, ...] = ()
    variables: Mapping[str, str] = {}
    options: Mapping[str, tuple[str, JsonObject]] = {}
    is_usage_cumulative: bool = False
    is_cost_cumulative: bool = False
    retry_line: Pattern[str] = NEVER
    reason_line: Pattern[str] = NEVER
    no_session: Pattern[str] = NEVER
    not_logged_in: Pattern[str] = NEVER


Environment = Dict[str, str]
