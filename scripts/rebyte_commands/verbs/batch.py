"""batch: many tasks from a file of lines or rows, resumable; typing it again goes on and starts
nothing twice.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from functools import partial

from rebyte_commands.jobs.batch_lines import read_entries
from rebyte_commands.jobs.code import code_preview, homecoming_for
from rebyte_commands.jobs.exit_codes import exit_code_of_many, standing_for_exit
from rebyte_commands.jobs.next_steps import bringing_steps, reply_steps
from rebyte_commands.jobs.pages import keep_diff, write_page
from rebyte_commands.jobs.record_place import tell_place
from rebyte_commands.jobs.shape import (
    check_payable,
    expectation_of,
    read_keep,
    read_shape,
    value_keys,
)
from rebyte_commands.jobs.start import add_task_flags, add_turn_flags, submitter_for
from rebyte_commands.shell.arguments import count, positive
from rebyte_commands.shell.interrupts import Interrupted
from rebyte_commands.shell.outcome import Outcome
from rebyte_commands.shell.output import BUDGET_BYTES, cut_text, next_lines
from rebyte_commands.verb_table import Command
from rebyte_flows.batch import Batch
from rebyte_flows.entries import attempts_at, number_equals
from rebyte_flows.files.names import expand_user
from rebyte_flows.results import RESULTS, Results
from rebyte_wire.errors import (
    EXIT_DONE,
    EXIT_SOME_FAILED,
    EXIT_UNEXPECTED,
    NotRecorded,
    RebyteError,
)
from rebyte_wire.status import FINAL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Sequence

    from rebyte_commands.shell.context import Context
    from rebyte_flows.entries import Entry
    from rebyte_flows.values.table import Record
    from rebyte_types import Json, Step

EXAMPLES = """examples:
  rebyte_cli.py batch jobs.jsonl --out results
  rebyte_cli.py batch rows.csv --template prompt.md --once-field id --max-tasks 100 --out results
  rebyte_cli.py batch rows.csv --template prompt.md --schema shape.json --out results
  rebyte_cli.py batch --prompt 'Review the tests' --prompt 'Review the docs' --repo owner/name

A line of jobs.jsonl:
  {"once":"a","prompt":"...","files":["data.csv"],"executor":"codex","want":["report.pdf"]}
With --schema every answer ends with a value of one shape, and results has table.csv.
Flags hold for every line, or fill in what a line does not say.
Type the same line again after a kill, a cut or exit 75: no line is started twice. Once all of it
was printed that holds for 15 minutes more; with names (once, --once-field) for good.
"""
TASKS_AT_ONCE = 8
SHOWN_TASKS = 20
WARNINGS_SHOWN = 5
PROMPT_BYTES = 200
ROOM_PER_TASK_BYTES = 340
LEAST_ANSWER_BYTES = 60
POLL_SECONDS = 0.05
BRIEF_KEYS = (
    "id",
    "url",
    "once",
    "status",
    "missing",
    "refused",
    "changes",
    "reused",
    "recovered",
    "error",
    "row",
)


def add_flags(parser: ArgumentParser) -> None:
    """Declare the flags of batch."""
    parser.add_argument(
        "batch_file",
        nargs="?",
        metavar="FILE",
        help="JSON lines, or CSV rows with --template; - for stdin",
    )
    # One list for both, so that tasks are numbered as they were typed.
    for flag, field, metavar, more in (
        ("--prompt", "prompt", "TEXT", ""),
        ("--prompt-file", "prompt_file", "F", "; - for stdin"),
    ):
        parser.add_argument(
            flag,
            dest="typed",
            action="append",
            default=[],
            type=partial(_line_of, field),
            metavar=metavar,
            help="one task for each %s%s" % (flag, more),
        )
    parser.add_argument(
        "--template",
        metavar="F",
        help="a prompt with {{field}} for each field of a row",
    )
    parser.add_argument(
        "--once-field",
        metavar="COL",
        help="with --template: the field that names a row's task",
    )
    add_turn_flags(parser)
    add_task_flags(parser)
    parser.add_argument(
        "--concurrency",
        type=count,
        default=TASKS_AT_ONCE,
        metavar="N",
        help="tasks at once (default 8)",
    )
    parser.add_argument(
        "--attempts",
        type=positive,
        metavar="N",
        help="N tasks for each line, named NAME.1 and so on; each one is paid for",
    )
    parser.add_argument(
        "--keep",
        metavar="best=PROPERTY",
        help="with --attempts: the table has the attempt with the highest number there; least=",
    )
    parser.add_argument(
        "--max-failures",
        type=count,
        metavar="N",
        help="start nothing more after N failures",
    )
    parser.add_argument(
        "--retry",
        choices=["failed"],
        help="a second paid task for each line whose task failed",
    )
    parser.add_argument(
        "--out",
        metavar="DIR",
        help="a folder per task, results.jsonl and report.html; with --schema table.csv "
        "(default: in the state folder)",
    )


def _line_of(field: str, value: str) -> Json:
    return {field: value}


def batch(context: Context, options: Namespace) -> Outcome:
    """Run every line as one task and return counts, failures, paths and one next line."""
    schema = read_shape(context, options)
    keep = read_keep(options, schema)
    entries = read_entries(context, options, schema)
    if options.attempts is not None:
        entries = attempts_at(entries, options.attempts)
    number_equals(entries)
    if options.dry_run:
        check_payable(schema)
        return _dry_run(entries)
    out = expand_user(options.out) if options.out else _folder_of(context, entries)
    run = Batch(
        submitter_for(context, options),
        entries,
        out,
        state=context.state,
        concurrency=options.concurrency,
        max_failures=options.max_failures,
        retry_failed=options.retry == "failed",
        again=options.again,
        cancel_after=options.cancel_after,
        service=context.service,
        results=Results(out, schema, keep),
        expect=partial(expectation_of, context, options, schema),
        code_of=partial(homecoming_for, context),
        on_change=Changes(context, len(entries)),
        on_tick=context.interrupts.raise_pending,
    )
    interrupted = None
    try:
        run.run()
    except Interrupted as interrupt:
        interrupted = interrupt
        _stop(context, run)
    document = _document(context, run, out)
    code = _exit_code(run, interrupted)
    if code == EXIT_DONE and "results" not in document:
        # What all of it was for did not come.
        code = EXIT_SOME_FAILED
    return Outcome(
        document,
        text=_text,
        code=code,
        on_printed=lambda: _deliver(context, entries),
    )


def _deliver(context: Context, entries: Sequence[Entry]) -> None:
    """Note that all of the batch was shown, once all of it has ended."""
    if not all(entry.status in FINAL for entry in entries):
        return
    for entry in entries:
        if entry.row is not None and entry.row.delivered_at is None:
            context.deliver(entry.row)


def _folder_of(context: Context, entries: Sequence[Entry]) -> str:
    """Return the folder of a batch without --out: the same lines find the same folder again."""
    from hashlib import sha256

    lines = ["%s %s" % (entry.name, entry.request.digest()) for entry in entries]
    digest = sha256("\n".join(lines).encode()).hexdigest()
    return context.state.folder("batches", digest[:16])


def _dry_run(entries: Sequence[Entry]) -> Outcome:
    tasks = []
    for entry in entries:
        body = entry.request.preview()
        tasks.append(
            {
                **body,
                "index": entry.index,
                "once": entry.name,
                "prompt": cut_text(body["prompt"], PROMPT_BYTES),
                "files": [item["filename"] for item in body.get("files", [])],
            }
        )
    document: Json = {"dryRun": True, "count": len(tasks), "tasks": tasks}
    code = code_preview(entries[0].request)
    if code:
        document["code"] = code
    return Outcome(document)


def _stop(context: Context, run: Batch) -> None:
    """After an interrupt: start nothing more, wait for the answers to what was sent, tell what
    runs on.
    """
    run.stop("interrupted")
    while context.ledger.is_busy:
        try:
            time.sleep(POLL_SECONDS)
        except Interrupted:
            break
    for entry in run.entries:
        if entry.document is None:
            entry.document = run.running_document(entry)


class Changes:
    """Writes a line on stderr per change of an entry."""

    def __init__(self, context: Context, total: int) -> None:
        self.context = context
        self.total = total
        self.last: dict[int, str] = {}

    def __repr__(self) -> str:
        return "Changes(of %d)" % self.total

    def __call__(self, entry: Entry) -> None:
        """Tell an entry's change, once."""
        word = "taken up again" if entry.reused else "started"
        if entry.document:
            word = entry.status
        if self.last.get(entry.index) == word:
            return
        self.last[entry.index] = word
        task_id = (entry.row.task_id if entry.row else None) or ""
        line = "%d of %d: %s %s" % (entry.index, self.total, word, task_id)
        self.context.info(line.rstrip())


def _document(context: Context, run: Batch, out: str) -> Json:
    kept = _kept(run)
    warnings = _keep_warnings(run, kept) + _warnings(run.entries)
    paths: dict[str, str] = {}
    try:
        paths = run.write_results()
    except OSError as problem:
        reason = problem.strerror or problem
        warnings.insert(0, "%s cannot be written: %s" % (RESULTS, reason))
    for entry in run.entries:
        with suppress(OSError):
            keep_diff(context, os.path.join(out, entry.folder_name), _of(entry))
    document: Json = {
        "counts": run.counts(),
        "tasks": _brief(_shown(run.entries)),
        **paths,
        "kept": [record.name for record in kept][:SHOWN_TASKS],
        "report": write_page(context, out),
        "out": os.path.abspath(out),
        "service": context.service,
        "rehearsal": any(_of(entry).get("rehearsal") for entry in run.entries),
        "warnings": warnings,
        "next": _next(context, run),
    }
    if isinstance(run.stopped, RebyteError):
        document["error"] = run.stopped.as_dict()
    elif run.stopped:
        document["stopped"] = run.stopped
    tell_place(context, document)
    return {
        key: value
        for key, value in document.items()
        if value not in ([], {}, None, False)
    }


def _shown(entries: Sequence[Entry]) -> Sequence[Entry]:
    """Return the entries that the document shows: all of a few, of many those that need a look."""
    if len(entries) > SHOWN_TASKS:
        entries = [
            entry for entry in entries if entry.standing not in ("completed", "waiting")
        ]
    return entries[:SHOWN_TASKS]


def _of(entry: Entry) -> Json:
    """Return an entry's document, empty while it has none."""
    return entry.document or {}


def _brief(entries: Sequence[Entry]) -> list[Json]:
    """Return the entries as the document shows them, each within its share of the budget."""
    room = BUDGET_BYTES // max(len(entries), 1) - ROOM_PER_TASK_BYTES
    room = max(room, LEAST_ANSWER_BYTES)
    found = []
    for entry in entries:
        document = entry.document or {"status": "waiting"}
        brief: Json = {"index": entry.index}
        brief.update((key, document[key]) for key in BRIEF_KEYS if key in document)
        brief.update(value_keys(document, room))
        if document.get("answer"):
            brief["answer"] = cut_text(document["answer"], room)
        if document.get("failure"):
            brief["reason"] = cut_text(document["failure"]["reason"], room)
        found.append(brief)
    return found


def _kept(run: Batch) -> Sequence[Record]:
    """Return the attempts that --keep chose for the table, none without it."""
    if run.results.keep is None:
        return []
    return run.results.chosen([entry.record for entry in run.entries])


def _keep_warnings(run: Batch, kept: Sequence[Record]) -> list[str]:
    """Return what to say of attempts that --keep took although nothing could be compared."""
    if run.results.keep is None or any(
        entry.status not in FINAL for entry in run.entries
    ):
        return []
    # Lazy: only --keep reads numbers.
    from rebyte_flows.values.table import number_of

    names = [one.name for one in kept if number_of(one, run.results.keep[1]) is None]
    shown = ", ".join(names[:WARNINGS_SHOWN])
    text = "no attempt has a number to compare; the first was kept: %s"
    return [text % shown] if names else []


def _warnings(entries: Sequence[Entry]) -> list[str]:
    """Return what the tasks' documents warn of, each once; results.jsonl tells which task."""
    texts = [text for entry in entries for text in _of(entry).get("warnings", ())]
    return list(dict.fromkeys(texts))[:WARNINGS_SHOWN]


def _next(context: Context, run: Batch) -> list[Step]:
    """Return the steps after a batch: the first of what its entries call for."""
    counts = run.counts()
    if counts.get("question"):
        asking = next(entry for entry in run.entries if entry.status == "question")
        document = _of(asking)
        steps = reply_steps(context, document["id"], document["question"])
        return [
            *steps,
            context.rerun_step("once it is answered; no line is started twice"),
        ]
    if counts.get("unknown"):
        why = "this looks once more at what is unknown and starts nothing"
        return [{"why": why, "run": context.command_line("ledger", "settle")}]
    if counts.get("running") or counts.get("waiting") or _may_succeed(run.entries):
        return [context.rerun_step("this goes on; no line is started twice")]
    return _mending_steps(context, counts) or bringing_steps(
        context, run.entries, run.out
    )


def _mending_steps(context: Context, counts: dict[str, int]) -> list[Step]:
    """Return the steps that pay once more for what has ended badly."""
    steps = []
    if counts.get("invalid") and not context.options.repair:
        why = "one more paid turn for each value that is not as asked for"
        steps.append(context.rerun_step(why, "--repair", "1"))
    if counts.get("failed"):
        more = [] if context.options.retry else ["--retry", "failed"]
        why = "a second paid task for each line that failed"
        steps.append(context.rerun_step(why, *more))
    return steps


def _may_succeed(entries: Sequence[Entry]) -> bool:
    """Tell whether an entry ended with an error that may not come again."""
    return any(_of(entry).get("error", {}).get("retryable") for entry in entries)


def _text(document: Json) -> str:
    lines = ["  ".join("%s %d" % pair for pair in document["counts"].items())]
    for task in document.get("tasks", []):
        error = task.get("error") or {}
        words = task.get("answer") or task.get("reason") or error.get("message") or ""
        lines.append(
            "%4d  %-10s %s" % (task["index"], task.get("status", "error"), words)
        )
    lines.append("results: %s" % document.get("results"))
    return "\n".join(lines + next_lines(document))


def _exit_code(run: Batch, interrupted: Interrupted | None) -> int:
    codes = [_of(entry).get("error", {}).get("code") for entry in run.entries]
    if NotRecorded.default_code in codes:
        return EXIT_UNEXPECTED
    ended_by = interrupted.exit_code if interrupted else None
    if isinstance(run.stopped, RebyteError):
        ended_by = run.stopped.exit_code
    standings = [standing_for_exit(_of(entry)) for entry in run.entries]
    return exit_code_of_many(standings, ended_by, may_go_on=not run.stopped)


COMMANDS = {"batch": Command(batch, add_flags, examples=EXAMPLES)}
