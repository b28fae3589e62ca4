"""The verb table: which module answers to a verb, and what its help says."""

from __future__ import annotations

from rebyte_wire.errors import EXIT_CODES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Callable, Iterable
    from types import ModuleType

    from rebyte_commands.shell.context import Context
    from rebyte_commands.shell.outcome import Outcome

HELP_WIDTH = 110
# verb -> (module in verbs/, one line for --help); the order is that of --help.
VERBS = {
    "run": ("run", "create, follow, answer, files home: one document"),
    "create": ("run", "start and return at once: ids and the live address"),
    "batch": (
        "batch",
        "many tasks from lines or rows, resumable: counts, failures, paths",
    ),
    "result": (
        "follow",
        "the document of a task as it stands; --wait goes on to its end; --out brings the files",
    ),
    "wait": (
        "wait",
        "wait for tasks: --all or --any; the documents of those that ended",
    ),
    "watch": ("follow", "a task's events, one line each"),
    "follow-up": (
        "conversation",
        "one more turn in the same conversation and machine; --wait",
    ),
    "reply": (
        "conversation",
        "answer the question a task asks: --option N or --say TEXT; --wait",
    ),
    "cancel": ("tasks", "stop tasks"),
    "get": ("tasks", "one task as the service tells it"),
    "list": ("tasks", "tasks, newest first"),
    "share": ("tasks", "who may see a task: private, shared or public"),
    "delete": ("tasks", "delete tasks"),
    "upload": ("files", "upload files for a later task"),
    "artifacts": ("artifacts", "list, get, put or delete the files of a workspace"),
    "computers": (
        "computers",
        "machines that last: create, list, get, update, delete, wait",
    ),
    "webhooks": (
        "webhooks",
        "be told of a task's end at an https address: create, list, get, delete, public-key",
    ),
    "credits": ("credits", "what the organization has left to spend"),
    "diff": ("code", "what a task changed in the code sent with --code"),
    "apply": ("code", "the changes of a task into the working tree, all or nothing"),
    "report": ("report", "the page to look at, of what a folder of --out holds"),
    "ledger": ("ledger", "what was started from here: list, show, settle, forget"),
    "doctor": ("doctor", "what stands between this machine and a task, and the remedy"),
    "api": ("api", "any METHOD and PATH of the service"),
    "mcp": ("mcp", "a server of the Model Context Protocol, for hosts without a shell"),
    "local": ("local", "the server on this machine: start, stop, status, serve"),
}


class Command:
    """One command: a verb, or a verb with an action such as "artifacts get".

    `add_flags` declares its arguments, `run` does the work and returns what to print, `examples`
    stand in --help.
    """

    def __init__(
        self,
        run: Callable[[Context, Namespace], Outcome],
        add_flags: Callable[[ArgumentParser], None] | None = None,
        *,
        examples: str = "",
    ) -> None:
        self.run = run
        self.add_flags = add_flags
        self.examples = examples

    def __repr__(self) -> str:
        return "Command(%s)" % self.run.__name__


def module_of(verb: str) -> ModuleType:
    """Import and return the module that answers to a verb."""
    # Lazy: a command line loads the module of its own verb alone.
    from importlib import import_module

    return import_module("rebyte_commands.verbs." + VERBS[verb][0])


def commands_of(verb: str) -> dict[str, Command]:
    """Return the commands of a verb: one of its own name, or one for each of its actions."""
    commands: dict[str, Command] = module_of(verb).COMMANDS
    return {
        name: command for name, command in commands.items() if name.split()[0] == verb
    }


def nearest(word: str, words: Iterable[str]) -> str | None:
    """Return the known word that a misspelt one is closest to, or None."""
    # Lazy: only a misspelling pays for difflib.
    import difflib

    # Dashes are no likeness: --all is not nearly --local.
    bare = {known.lstrip("-"): known for known in words}
    found = difflib.get_close_matches(word.lstrip("-"), list(bare), 1, 0.6)
    return bare[found[0]] if found else None


def help_header(prog: str, summary: str, examples: str) -> str:
    """Return the lines above the flags: what a command does, and examples."""
    return "%s: %s\n\n%s\n" % (prog, summary, examples.rstrip("\n"))


def help_footer() -> str:
    """Return the lines under the flags: exit codes and environment."""
    # Lazy: only help needs it.
    from rebyte_commands.shell.environment import VARIABLES

    codes = ", ".join("%d %s" % (row.number, row.short) for row in EXIT_CODES)
    names = ", ".join(name for name, _ in VARIABLES)
    more = " (see: rebyte_cli.py --help)"
    return "%s\n%s\n" % (
        wrap("exit codes: " + codes),
        wrap("environment: " + names + more),
    )


def wrap(text: str, width: int = HELP_WIDTH) -> str:
    """Wrap a line at its commas."""
    lines = [""]
    for part in text.split(", "):
        if len(lines[-1]) + len(part) > width:
            lines.append("  ")
        lines[-1] += part + ", "
    return "\n".join(line.rstrip() for line in lines).rstrip(",")
