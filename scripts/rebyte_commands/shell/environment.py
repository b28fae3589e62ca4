"""What surrounds a command: the one table of environment variables, and the line that runs this
bundle from here.
"""

from __future__ import annotations

import os
import sys

from rebyte_wire.errors import InputError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SCRIPTS = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CLI_NAME = "rebyte_cli.py"
# The file that is run: the local server's process is made of it.
CLI_PATH = os.path.join(SCRIPTS, CLI_NAME)
PYTHON = "python3"
MAX_NUMBER = 1e9
VARIABLES = (
    ("REBYTE_API_KEY", "the key; goes to the API's own origin only"),
    ("REBYTE_API_KEY_FILE", "a file that holds the key"),
    (
        "REBYTE_BASE_URL",
        "another address of the API, an origin or one that ends in /v1",
    ),
    (
        "REBYTE_STATE_DIR",
        "where the ledger, transcripts and the local server's data lie",
    ),
    (
        "REBYTE_MAX_WAIT",
        "seconds a command may take before it says that the task still runs (default 90)",
    ),
    ("REBYTE_MAX_TASKS_PER_DAY", "the owner's limit of new tasks in 24 hours"),
    ("REBYTE_CA_BUNDLE", "certificates to trust instead of the system's"),
    (
        "REBYTE_TLS_STRICT",
        "0 clears the strict X.509 check of Python 3.13 and nothing else",
    ),
    (
        "REBYTE_LOCAL_AGENTS",
        "agent programs for the server that --local starts, as local start --agents",
    ),
    ("REBYTE_OUTPUT", "json or text, as --json and --text"),
    ("REBYTE_DEBUG", "1 shows tracebacks on stderr, as --debug"),
)
FORMS = ("json", "text")
# Set by the harnesses of coding agents: a terminal of theirs is no person's.
HARNESS_MARKERS = (
    "CLAUDECODE",
    "CLAUDE_CODE_REMOTE",
    "CODEX_CI",
    "CODEX_THREAD_ID",
    "CODEX_SANDBOX",
    "CODEX_SANDBOX_NETWORK_DISABLED",
    "GEMINI_CLI",
    "OPENCODE",
    "COPILOT_CLI",
    "QWEN_CODE",
    "PI_CODING_AGENT",
    "AUGMENT_AGENT",
    "CLINE_ACTIVE",
    "CURSOR_AGENT",
    "CURSOR_TRACE_ID",
    "ROO_ACTIVE",
    "GOOSE_TERMINAL",
    "REPL_ID",
    "AGENT",
    "AI_AGENT",
    "GITHUB_ACTIONS",
    "CI",
)


def in_harness(environ: Mapping[str, str]) -> bool:
    """Tell whether an agent's harness or a CI runs this command."""
    is_marked = any(environ.get(name) for name in HARNESS_MARKERS)
    return is_marked or environ.get("TERM") == "dumb"


def shell_join(words: Sequence[str]) -> str:
    """Return words as a line to paste into a shell, with the interpreter and the path that work
    here.
    """
    # Lazy: a plain answer shows no line.
    import shlex

    return " ".join(map(shlex.quote, [python_word(), cli_path(), *words]))


def cli_path() -> str:
    """Return the absolute path of the file that is run, by the links it was called through.

    A harness may have a rule for the link in its own folder of skills, and not for the copy.
    """
    typed = os.path.abspath(sys.argv[0])
    if os.path.basename(typed) == CLI_NAME and os.path.exists(typed):
        return typed if os.path.samefile(typed, CLI_PATH) else CLI_PATH
    return CLI_PATH


def python_word() -> str:
    """Return python3 where that leads to this interpreter, which a harness can allow by a rule;
    else its path.
    """
    if not sys.executable:
        return PYTHON
    own = os.path.realpath(sys.executable)
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        path = os.path.join(folder, PYTHON)
        if folder and os.access(path, os.X_OK):
            return PYTHON if os.path.realpath(path) == own else sys.executable
    return sys.executable


def check_form(environ: Mapping[str, str]) -> None:
    """Raise InputError when REBYTE_OUTPUT is set to anything but json or text."""
    asked = (environ.get("REBYTE_OUTPUT") or "").strip()
    if asked and asked.lower() not in FORMS:
        raise InputError(
            "REBYTE_OUTPUT is %r; json or text was expected" % asked,
            hint="unset it or correct it",
        )


def read_number(environ: Mapping[str, str], name: str) -> float | None:
    """Return a variable as a number, None when it is not set; InputError when it is no number or
    negative.
    """
    text = (environ.get(name) or "").strip()
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        number = -1
    if not 0 <= number < MAX_NUMBER:
        raise InputError(
            "%s is %r; a number of 0 or more was expected" % (name, text),
            hint="unset it or correct it",
        )
    return number
