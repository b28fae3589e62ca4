"""The box of bwrap around a program: it reads what its owner may read, and writes into its
workspace, its temporary folder and its own state.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping

from rebyte_local.agents.program import Program

# Everything is there to be read; what may be written is laid over it.
FRAME = (
    "bwrap",
    "--die-with-parent",
    "--ro-bind",
    "/",
    "/",
    "--dev-bind",
    "/dev",
    "/dev",
)
PRIVATE_MODE = 0o700


def state_folders(program: Program, env: Mapping[str, str]) -> list[str]:
    """Return where a program keeps its own state, each "VARIABLE:below it:below HOME" resolved."""
    folders = []
    for place in program.state_paths:
        variable, below, usual = place.split(":")
        named = env.get(variable)
        folder = os.path.join(named, below) if named else ""
        folders.append(folder or os.path.join(env.get("HOME", ""), usual))
    return [os.path.abspath(folder) for folder in folders]


def boxed(
    words: list[str], program: Program, env: Mapping[str, str], workspace: str
) -> list[str]:
    """Return the words that run a program in the box."""
    frame = list(FRAME)
    for folder in [*state_folders(program, env), env["TMPDIR"], workspace]:
        if os.path.splitext(folder)[1] != ".json":
            with contextlib.suppress(OSError):  # a home that is read-only stays so
                os.makedirs(folder, PRIVATE_MODE, exist_ok=True)
        frame += ["--bind-try", folder, folder]
    return [*frame, "--chdir", workspace, "--", *words]
