"""The verb table: which module answers to a verb, and what its help says of exit codes and environment."""

from __future__ import annotations

from rebyte_wire.errors import EXIT_CODES

# verb -> (module in this room, one line for --help); the order is that of --help.
VERBS = {
    "run": ("run", "create, follow, answer, files home: one document"),
    "create": ("run", "start and return at once: ids and the live address"),
    "batch": ("batch", "many tasks from lines or rows, resumable: counts, failures, paths"),
    "result": (
        "follow",
        "the document of a task as it stands; --wait goes on to its end; --out brings the files",
    ),
    "wait": ("follow", "wait for tasks: --all or --any; the documents of those that ended"),
    "watch": ("follow", "a task's events, one line each"),
    "follow-up": ("conversation", "one more turn in the same conversation and machine; --wait"),
    "reply": ("conversation", "answer the question a task asks: --option N or --say TEXT; --wait"),
    "cancel": ("tasks", "stop tasks"),
    "get": ("tasks", "one task as the service tells it"),
    "list": ("tasks", "tasks, newest first"),
    "share": ("tasks", "who may see a task: private, shared or public"),
    "delete": ("tasks", "delete tasks"),
    "upload": ("files", "upload files for a later task"),
    "artifacts": ("artifacts", "list, get, put or delete the files of a workspace"),
    "computers": ("computers", "machines that last: create, list, get, update, delete, wait"),
    "webhooks": (
        "webhooks",
        "be told of a task's end at an https address: create, list, get, delete, public-key",
    ),
    "credits": ("credits", "what the organization has left to spend"),
    "ledger": ("ledger", "what was started from here: list, show, settle, forget"),
    "doctor": ("doctor", "what stands between this machine and a task, and the remedy"),
    "api": ("api", "any METHOD and PATH of the service"),
    "local": ("local", "the server on this machine: start, stop, status, serve"),
}
ALWAYS = (0, 1, 2, 130, 143)
SERVICE = (4, 7, 10, 11, 12, 75)
FOLLOWING = (3, 5, 6, 13)
STARTING = (8,)
# verb -> the exit codes it can end with, besides those that any command can.
CODES = {
    "run": SERVICE + FOLLOWING + STARTING + (9,),
    "create": SERVICE + FOLLOWING + STARTING,
    "batch": SERVICE + STARTING + (9, 13),
    "result": SERVICE + FOLLOWING + (9,),
    "wait": SERVICE + (5, 9, 13),
    "watch": SERVICE + FOLLOWING,
    "follow-up": SERVICE + FOLLOWING + STARTING + (9,),
    "reply": SERVICE + FOLLOWING + (9,),
    "cancel": SERVICE + (5, 9),
    "get": SERVICE + (5,),
    "list": SERVICE + (5,),
    "share": SERVICE + (5,),
    "delete": SERVICE + (5, 9),
    "upload": SERVICE + (9,),
    "artifacts": SERVICE + (5, 9),
    "computers": SERVICE + (3, 5, 8, 9),
    "webhooks": SERVICE + (5,),
    "credits": SERVICE + (5,),
    "ledger": SERVICE + (5, 8),
    "doctor": SERVICE + (5,),
    "api": SERVICE + (5, 8),
    "local": (5, 7, 10),
}
SHORT = {row.number: row.short for row in EXIT_CODES}
VARIABLES = (
    "REBYTE_API_KEY",
    "REBYTE_API_KEY_FILE",
    "REBYTE_BASE_URL",
    "REBYTE_STATE_DIR",
    "REBYTE_MAX_WAIT",
)
STARTING_VARIABLES = ("REBYTE_MAX_TASKS_PER_DAY",)


def module_of(verb):
    """Import and return the module that answers to a verb."""
    # First lazy seam: one verb, one module.
    from importlib import import_module

    return import_module("rebyte_commands.verbs." + VERBS[verb][0])


def nearest(word, words):
    """Return the known word that a misspelt one is closest to, or None."""
    # Only a misspelling pays for difflib.
    import difflib

    # Dashes are no likeness: --all is not nearly --local.
    bare = {known.lstrip("-"): known for known in words}
    found = difflib.get_close_matches(word.lstrip("-"), list(bare), 1, 0.6)
    return bare[found[0]] if found else None


def codes_of(verb):
    """Return the exit codes of a verb, in the order of the one table."""
    own = set(ALWAYS + CODES[verb])
    return [row.number for row in EXIT_CODES if row.number in own]


def closing(verb):
    """Return the lines under the flags: exit codes and environment."""
    codes = ", ".join("%d %s" % (number, SHORT[number]) for number in codes_of(verb))
    names = VARIABLES + (STARTING_VARIABLES if 8 in CODES[verb] else ())
    return (
        folded("exit codes: " + codes)
        + "\n"
        + folded("environment: " + ", ".join(names) + " (see: rebyte_cli.py --help)")
        + "\n"
    )


def opening(prog, summary, examples):
    """Return the lines above the flags: what it does, two examples, and what else its author says."""
    return "%s: %s\n\n%s\n" % (prog, summary, examples.rstrip("\n"))


def folded(text, width=110):
    """Fold a line at its commas."""
    lines = [""]
    for part in text.split(", "):
        if len(lines[-1]) + len(part) > width:
            lines.append("  ")
        lines[-1] += part + ", "
    return "\n".join(line.rstrip() for line in lines).rstrip(",")
