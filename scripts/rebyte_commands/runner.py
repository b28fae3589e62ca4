"""Runs one command line and ends with one document, one plain line and the right exit code,
whatever happens.
"""

from __future__ import annotations

import os

from rebyte_commands.shell.arguments import decode_word, parse, unparsed_options
from rebyte_commands.shell.console import silence_stdout
from rebyte_commands.shell.context import DEFAULT_WAIT_SECONDS, Context
from rebyte_commands.shell.environment import check_form
from rebyte_commands.shell.interrupts import Interrupted
from rebyte_commands.shell.outcome import Outcome
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

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from rebyte_types import ErrorView, Json, Step

STARTING_VERBS = ("run", "create", "batch", "follow-up", "computers create")


def run_line(words: Sequence[str], program: str, started: float) -> int:
    """Run one command line and return its exit code; no traceback reaches the caller.

    `started` is when the process began, in seconds since 1970.
    """
    context = None
    words = [decode_word(word) for word in words]
    try:
        options, command = parse(words, program)
        context = Context(options, os.environ, started, words)
        check_form(os.environ)
        context.interrupts.listen()
        outcome = command.run(context, options)
        return _print(context, outcome)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else EXIT_DONE
    except BaseException as problem:
        if context is None:
            context = Context(unparsed_options(words), os.environ, started, words)
        return _end_badly(context, problem)
    finally:
        if context:
            _close(context)


def _print(context: Context, outcome: Outcome) -> int:
    """Print a command's document, note what was delivered, and return the exit code."""
    with context.interrupts.held_off():
        was_printed = context.console.print_outcome(outcome, context.save_overflow)
        if was_printed and outcome.on_printed:
            outcome.on_printed()
    if outcome.code != EXIT_DONE:
        return outcome.code
    if not was_printed:
        return EXIT_USAGE
    pending = context.interrupts.pending
    return pending.exit_code if pending else EXIT_DONE


def _end_badly(context: Context, problem: BaseException) -> int:
    """Report what ended the command and return its exit code."""
    console = context.console
    if context.options.debug or context.environ.get("REBYTE_DEBUG") in ("1", "true"):
        _print_traceback(context, problem)
    if (
        isinstance(problem, BrokenPipeError)
        or console.stdout is None
        or console.stdout.closed
    ):
        silence_stdout()
        console.error("stdout is closed, so the document was not delivered")
        return EXIT_UNEXPECTED
    if isinstance(problem, RouteMissing):
        _explain_missing_route(context, problem)
    error, code = describe(problem)
    verb = context.options.verb
    error.setdefault(
        "hint", "see: rebyte_cli.py %s--help" % (verb + " " if verb else "")
    )
    console.error("%s. %s" % (error["message"].rstrip("."), error["hint"].rstrip(".")))
    if console.form == "json" and console.field is None:
        _print_error(context, problem, error)
    return code


def _print_traceback(context: Context, problem: BaseException) -> None:
    """Write a traceback to stderr, its foreign text made harmless."""
    # Lazy: a command that ends well does not pay for it.
    import traceback

    lines = traceback.format_exception(type(problem), problem, problem.__traceback__)
    context.console.error("".join(lines).rstrip())


def _explain_missing_route(context: Context, problem: RouteMissing) -> None:
    """A route is missing: look whether the others are there, or the whole service has gone
    elsewhere.
    """
    try:
        context.client.list_tasks(limit=1)
    except RouteMissing:
        problem.message += (
            " Not even its tasks are there: the service or its address has changed."
        )
        problem.hint = (
            "Check the address %s (REBYTE_BASE_URL, --base-url); if it is right, this API was "
            "replaced." % context.client.base_url
        )
    except (Exception, Interrupted):
        # The route is missing whatever the second question says.
        return


def _print_error(context: Context, problem: BaseException, error: ErrorView) -> None:
    """Print an error as the one document."""
    document: Json = {"error": error}
    if isinstance(problem, RebyteError):
        parts = {
            "details": problem.details,
            "warnings": problem.warnings,
            "next": problem.next or _next_steps(context, problem),
        }
        document.update((name, value) for name, value in parts.items() if value)
    try:
        with context.interrupts.held_off():
            context.console.print_outcome(Outcome(document), context.save_overflow)
    except (OSError, ValueError):
        silence_stdout()


def _next_steps(context: Context, problem: RebyteError) -> list[Step]:
    """Return what helps against an error that brings no steps of its own."""
    options = context.options
    if problem.code == "missing_api_key" and problem.hint == AuthError.default_hint:
        return _steps_without_key(context, problem)
    if problem.code == "guard_no_ledger":
        from rebyte_commands.jobs.record_place import refused_step

        return [refused_step()]
    if isinstance(problem, DeadlineReached) and options.verb:
        # Without --again: to go on must never pay for a second task. No time at all goes nowhere.
        more = () if context.wait_limit() else ("--max-wait", str(DEFAULT_WAIT_SECONDS))
        why = "the time was over before there was anything to show; this goes on"
        return [context.rerun_step(why, *more, without="--again")]
    why = "" if options.local else _why_doctor(problem, options.verb)
    return [{"why": why, "run": context.command_line("doctor")}] if why else []


def _why_doctor(problem: RebyteError, verb: str) -> str:
    """Return why `doctor` helps against an error, "" if it does not."""
    if isinstance(problem, AuthError) and problem.http_status:
        return "this tells where the key came from, and whether it arrives"
    if problem.exit_code != EXIT_NETWORK:
        return ""
    was_sent = problem.outcome != "not_sent" or verb not in STARTING_VERBS
    nothing = "" if was_sent else "nothing was started; "
    return nothing + "this finds the cause, and the words to ask your human with"


def _steps_without_key(context: Context, problem: RebyteError) -> list[Step]:
    # Lazy: only who lacks a key pays for the words to ask with.
    from rebyte_flows.diagnosis.asks import ask_for

    return [
        {
            "why": "nothing can be done in the cloud without a key",
            "ask": ask_for(problem) or "",
        },
        context.rerun_step(
            "this rehearses without an account, and no model answers"
            if context.options.verb in STARTING_VERBS
            else "what was started with --local needs --local on each later line, and no key",
            "--local",
            without="--local",
        ),
    ]


def describe(problem: BaseException) -> tuple[ErrorView, int]:
    """Return (the error as the document shows it, the exit code) of anything that can end a
    command.
    """
    if isinstance(problem, RebyteError):
        error: ErrorView = problem.as_dict()  # type: ignore[assignment]
        return error, problem.exit_code
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
        message = "the system says: %s" % problem
        return {
            "code": "system_error",
            "message": message,
            "hint": _remedy(),
        }, EXIT_UNEXPECTED
    message = "unexpected %s: %s" % (type(problem).__name__, problem)
    return {
        "code": "unexpected",
        "message": message[:300],
        "hint": "--debug shows where; please report it",
    }, EXIT_UNEXPECTED


def _remedy() -> str:
    """Return what to do about what the system refused."""
    try:
        os.getcwd()
    except OSError:
        return "the current folder is gone: cd to one that exists, then type the same line again"
    return "mend that (room on the disk, rights), then type the same line again"


def _close(context: Context) -> None:
    with context.interrupts.held_off():
        try:
            context.close()
        except (RebyteError, OSError) as problem:
            context.error("while closing: %s" % problem)
