#!/usr/bin/env python3
"""RUN ME: rebyte_cli.py VERB ...

(see --help). Finds the verb, hands over, exits. Parses on old Pythons to say what is missing.
"""

import sys
import time

STARTED = time.time()

if sys.version_info < (3, 8):
    sys.stderr.write(
        "rebyte: needs Python 3.8 or newer; this is %d.%d at %s. Try: python3.11 %s\n"
        % (sys.version_info[0], sys.version_info[1], sys.executable, " ".join(sys.argv))
    )
    sys.exit(2)

if __name__ == "__main__":
    import gc
    import os
    import signal

    def leave(number, frame):
        # type: (int, object) -> None
        """End on a signal that comes before the command can listen to it."""
        if not any(word.startswith(("--field", "--text")) for word in sys.argv):
            error = (
                b'"code":"interrupted","message":"interrupted before anything began"'
            )
            os.write(1, b'{"error":{' + error + b',"retryable":true}}\n')
        os._exit(128 + number)

    for early in (signal.SIGINT, signal.SIGTERM):
        signal.signal(early, leave)
    # Loading modules makes thousands of objects that stay: not worth looking through every 700.
    gc.set_threshold(20000)
    scripts = os.path.dirname(os.path.realpath(__file__))
    # Python has put it there already, unless -I, -P or PYTHONSAFEPATH forbade it.
    if sys.path[0] != scripts:
        sys.path.insert(0, scripts)
    # An installed skill stays as it was installed: no bytecode beside the sources, unless somebody
    # said where it belongs.
    if not sys.pycache_prefix and not sys.dont_write_bytecode:
        sys.dont_write_bytecode = True
        from rebyte_commands.shell.bytecode import keep_bytecode

        keep_bytecode(scripts, os.environ)
    from rebyte_commands.main import main

    try:
        code = main(sys.argv[1:], STARTED)
    except BaseException as problem:
        # A signal in the very moment of leaving, or files that are missing; all else was told
        # inside.
        code = getattr(problem, "exit_code", 1)
        if isinstance(problem, Exception) and sys.stderr:
            sys.stderr.write(
                "rebyte: %s: %s; if files are missing, install the skill anew\n"
                % (type(problem).__name__, problem)
            )
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            pass
    # All is written and closed; to take the interpreter apart as well is a good part of a short
    # call's time.
    os._exit(code)
