"""What to do with stdout when nobody reads it any more."""
from __future__ import annotations

import os
import sys


def silence_stdout():
    """Point stdout nowhere, so that the interpreter's last flush does not complain."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    except OSError:
        pass
    sys.stdout = None
