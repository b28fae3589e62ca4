"""What surrounds a command: the one table of environment variables, and the line that runs this bundle from here."""

from __future__ import annotations

import os
import sys

from rebyte_wire.errors import InputError

# The file that is run: lines to paste and the local server's process name it.
DOOR = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "rebyte_cli.py")

VARIABLES = (
    ("REBYTE_API_KEY", "the key; goes to the API's own origin only"),
    ("REBYTE_API_KEY_FILE", "a file that holds the key"),
    ("REBYTE_BASE_URL", "another address of the API, an origin or one that ends in /v1"),
    ("REBYTE_STATE_DIR", "where the ledger, transcripts and the local server's data lie"),
    (
        "REBYTE_MAX_WAIT",
        "seconds a command may take before it says that the task still runs (default 90)",
    ),
    ("REBYTE_MAX_TASKS_PER_DAY", "the owner's limit of new tasks in 24 hours"),
    ("REBYTE_CA_BUNDLE", "certificates to trust instead of the system's"),
    ("REBYTE_TLS_STRICT", "0 clears the strict X.509 check of Python 3.13 and nothing else"),
    ("REBYTE_OUTPUT", "json or text, as --json and --text"),
    ("REBYTE_DEBUG", "1 shows tracebacks on stderr, as --debug"),
    ("NO_COLOR", "no colour on a terminal"),
)
FORMS = ("json", "text")
HARNESS_MARKERS = (
    "CLAUDECODE",
    "CLAUDE_CODE_REMOTE",
    "CODEX_SANDBOX",
    "CODEX_SANDBOX_NETWORK_DISABLED",
    "GEMINI_CLI",
    "OPENCODE",
    "CURSOR_AGENT",
    "GITHUB_ACTIONS",
    "CI",
)


def shell_join(words):
    """Return words as a line to paste into a shell, with the interpreter and the path that work here."""
    # Second lazy seam: a plain answer shows no line.
    import shlex

    return " ".join(map(shlex.quote, [sys.executable or "python3", DOOR] + words))


def check_form(environ):
    """Raise InputError when REBYTE_OUTPUT is set to anything but json or text."""
    asked = (environ.get("REBYTE_OUTPUT") or "").strip()
    if asked and asked.lower() not in FORMS:
        raise InputError(
            "REBYTE_OUTPUT is %r; json or text was expected" % asked, hint="unset it or correct it"
        )


def read_number(environ, name):
    """Return a variable as a number, None when it is not set; raises InputError when it is no number or negative."""
    text = (environ.get(name) or "").strip()
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        number = -1
    if not 0 <= number < 1e9:
        raise InputError(
            "%s is %r; a number of 0 or more was expected" % (name, text),
            hint="unset it or correct it",
        )
    return number
