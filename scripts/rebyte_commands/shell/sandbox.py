"""The sandbox that a harness runs this command in: whose it is, what it forbids, and the sentence
to ask the human with.
"""

from __future__ import annotations

import json
import socket

from rebyte_commands.shell.environment import cli_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

CLAUDE = "Claude Code"
CODEX = "Codex"
# What a harness sets in its sandbox and nowhere else.
MARKERS = (("CODEX_SANDBOX", CODEX), ("SANDBOX_RUNTIME", CLAUDE))
# Codex sets this also where a rule let the command out of the sandbox.
NO_NETWORK_MARKER = "CODEX_SANDBOX_NETWORK_DISABLED"
# The first process of a sandbox that ends what a call leaves behind, by its name in /proc.
FIRST_PROCESSES = {"bwrap": None, "codex-linux-san": CODEX}
FIRST_PROCESS_FILE = "/proc/1/comm"
HOSTS = "api.rebyte.ai and storage.googleapis.com"
ASKS = {
    CLAUDE: (
        "I run in the sandbox of Claude Code. Please put "
        + HOSTS
        + " into sandbox.network.allowedDomains of ~/.claude/settings.json."
    ),
    CODEX: (
        "I run in the sandbox of Codex. Please let this skill run outside of it, by this line in"
        ' ~/.codex/rules/default.rules: prefix_rule(pattern=%s, decision="allow")'
    ),
}


def sandbox_name(environ: Mapping[str, str]) -> str | None:
    """Return whose sandbox this command runs in, None where none is known."""
    for marker, name in MARKERS:
        if environ.get(marker):
            return name
    if environ.get(NO_NETWORK_MARKER) and not can_listen():
        return CODEX
    return FIRST_PROCESSES.get(_first_process())


def sandbox_ask(name: str) -> str:
    """Return the sentence to ask the human with for a way out of a sandbox."""
    text = ASKS[name]
    return text % json.dumps(["python3", cli_path()]) if "%s" in text else text


def ends_with_call() -> bool:
    """Tell whether what this command leaves running ends together with the call."""
    return _first_process() in FIRST_PROCESSES


def can_listen() -> bool:
    """Tell whether a program here may open a socket on this machine's own address."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
            listener.bind(("127.0.0.1", 0))
        return True
    except OSError:
        return False


def _first_process() -> str:
    """Return the name of process 1, empty where the system does not tell."""
    try:
        with open(FIRST_PROCESS_FILE, encoding="ascii", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""
