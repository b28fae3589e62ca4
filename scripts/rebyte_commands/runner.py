"""Runs one verb and ends with one document, one plain line and the right exit code, whatever happens."""

from __future__ import annotations

import os

from rebyte_commands.arguments import parse
from rebyte_commands.context import Context
from rebyte_commands.environment import check_form
from rebyte_commands.interrupts import Interrupted, listen
from rebyte_commands.output import silence_stdout
from rebyte_wire.errors import (
    EXIT_DONE,
    EXIT_INTERRUPTED,
    EXIT_NETWORK,
    EXIT_UNEXPECTED,
    EXIT_USAGE,
    AnswerUnreadable,
    AuthError,
    DeadlineReached,
    RebyteError,
    RouteMissing,
)

STARTING_VERBS = ("run", "create", "batch", "follow-up", "computers")


class Unread:
    """Stands for the options of a command line that could not be read."""

    form = field = base_url = api_key_file = verb = None
    max_wait, quiet, local = 0, False, False

    def __init__(self, words):
        self.form = "text" if "--text" in words else "json" if "--json" in words else None
        self.field = "any" if any(word.partition("=")[0] == "--field" for word in words) else None
        self.debug = "--debug" in words


def run_line(words, program, started):
    """Run one command line and return its exit code; no traceback reaches the caller."""
    context = None
    try:
        options, run = parse(words, program)
        context = Context(options, os.environ, started)
        context.words, context.flight = words, listen(context)
        check_form(os.environ)
        code = run(context, options)
        # All is said: a signal would only spoil the exit code.
        context.writing = True
        return EXIT_USAGE if context.lacks_field and code == EXIT_DONE else code
    except SystemExit as end:
        return end.code or 0
    except BaseException as problem:
        return _end_badly(context or Context(Unread(words), os.environ, started), problem)
    finally:
        if context:
            _close(context)


def _end_badly(context, problem):
    """Report what ended the command; the exit code is the problem's own."""
    if context.options.debug or context.environ.get("REBYTE_DEBUG") in ("1", "true"):
        import traceback

        traceback.print_exception(
            type(problem), problem, problem.__traceback__, file=context.stderr
        )
    if isinstance(problem, BrokenPipeError) or context.stdout is None or context.stdout.closed:
        silence_stdout()
        context.complain("stdout is closed, so the document was not delivered")
        return EXIT_UNEXPECTED
    _explain_missing(context, problem)
    if context.writing:
        # What is left in the buffer would fail once more when the interpreter ends.
        silence_stdout()
    error, code = describe(problem)
    verb = context.options.verb + " " if context.options.verb else ""
    error.setdefault("hint", "see: rebyte_cli.py %s--help" % verb)
    context.complain(
        ". ".join(error[part].rstrip(".") for part in ("message", "hint") if error.get(part))
    )
    if not context.printed and not context.options.field and context.form == "json":
        _print_error(context, problem, error)
    return code


def _explain_missing(context, problem):
    """A route is missing: look whether the others are there, or the whole service has gone elsewhere."""
    if not isinstance(problem, RouteMissing) or not context.options.verb:
        return
    try:
        context.client.list_tasks(limit=1)
    except RouteMissing:
        problem.message += " Not even its tasks are there: the service or its address has changed."
        problem.hint = (
            "Check the address %s (REBYTE_BASE_URL, --base-url); if it is right, this API was replaced."
            % context.client.base_url
        )
    except (Exception, Interrupted):
        pass


def _print_error(context, problem, error):
    context.writing = False
    document = {"error": error}
    if getattr(problem, "details", None):
        document["details"] = problem.details
    if getattr(problem, "warnings", None):
        document["warnings"] = problem.warnings
    steps = getattr(problem, "next", None) or _usual_steps(context, problem)
    if steps:
        document["next"] = steps
    try:
        context.emit(document)
    except (OSError, ValueError):
        silence_stdout()


def _usual_steps(context, problem):
    """Return what helps against a missing key, or finds out why the service cannot be reached."""
    if not isinstance(problem, RebyteError):
        return []
    if problem.code == "missing_api_key" and problem.hint == AuthError.default_hint:
        # Second lazy seam: only who lacks a key pays for the words to ask with.
        from rebyte_flows.diagnosis.asks import ask_for

        return [
            {"why": "nothing can be done in the cloud without a key", "ask": ask_for(problem)},
            context.same_step(
                "what was started with --local needs --local on each later line, and no key",
                "--local",
                without="--local",
            ),
        ]
    if isinstance(problem, DeadlineReached) and context.options.verb:
        # Without --again: to go on must never pay for a second task.
        return [
            context.same_step(
                "the time was over before there was anything to show; this goes on",
                without="--again",
            )
        ]
    if isinstance(problem, AuthError) and problem.http_status and not context.options.local:
        return [
            {
                "why": "this tells where the key came from, and whether it arrives",
                "run": context.line("doctor"),
            }
        ]
    if problem.exit_code == EXIT_NETWORK and not context.options.local:
        nothing = (
            "nothing was started; "
            if problem.outcome == "not_sent" and context.options.verb in STARTING_VERBS
            else ""
        )
        return [
            {
                "why": nothing + "this finds the cause, and the words to ask your human with",
                "run": context.line("doctor"),
            }
        ]
    return []


def describe(problem):
    """Return (the error as the document shows it, the exit code) of anything that can end a command."""
    if isinstance(problem, RebyteError):
        return problem.as_dict(), problem.exit_code
    if isinstance(problem, Interrupted):
        return {
            "code": "interrupted",
            "message": "interrupted",
            "hint": "type the same line again to go on",
        }, problem.exit_code
    if isinstance(problem, KeyboardInterrupt):
        return {"code": "interrupted", "message": "interrupted"}, EXIT_INTERRUPTED
    if isinstance(problem, RecursionError):
        return {
            "code": AnswerUnreadable.default_code,
            "message": "the answer is nested too deeply",
        }, AnswerUnreadable.exit_code
    if isinstance(problem, OSError):
        return {"code": "system_error", "message": "the system says: %s" % problem}, EXIT_UNEXPECTED
    return {
        "code": "unexpected",
        "message": ("unexpected %s: %s" % (type(problem).__name__, problem))[:300],
        "hint": "--debug shows where; please report it",
    }, EXIT_UNEXPECTED


def _close(context):
    context.writing = True
    try:
        context.close()
    except (RebyteError, OSError) as problem:
        context.complain("while closing: %s" % problem)
