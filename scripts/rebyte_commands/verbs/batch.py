"""batch: many tasks from a file of lines or rows, resumable; typing it again goes on and starts nothing twice."""

from __future__ import annotations

import os

from rebyte_commands.arguments import count, seconds
from rebyte_commands.batch_lines import read_entries
from rebyte_commands.interrupts import Interrupted
from rebyte_commands.jobs import exit_code_of_many, reply_steps
from rebyte_commands.output import BUDGET_BYTES, cut_to, next_lines
from rebyte_commands.starting import starter_for
from rebyte_flows.batch import RESULTS, Batch, number_equals
from rebyte_wire.errors import EXIT_DONE, EXIT_UNEXPECTED, NotRecorded, RebyteError
from rebyte_wire.status import FINAL

EXAMPLES = """examples:
  rebyte_cli.py batch jobs.jsonl --out results
  rebyte_cli.py batch rows.csv --template prompt.md --once-field id --max-tasks 100 --out results
  rebyte_cli.py batch --prompt 'Review the tests' --prompt 'Review the docs' --repo owner/name

A line of jobs.jsonl: {"once":"a","prompt":"...","files":["data.csv"],"executor":"codex","want":["report.pdf"]}
Type the same line again after a kill, a cut or exit 75: no line is started twice. Once all of it was printed that
holds for 15 minutes more; with names (once, --once-field) for good.
"""
SHOWN_TASKS = 20
WARNINGS_SHOWN = 5
ROOM_PER_TASK_BYTES = 340


def flags(parser):
    """Declare the flags of batch."""
    parser.add_argument(
        "file",
        nargs="?",
        metavar="FILE",
        help="JSON lines, or CSV rows with --template; - for stdin",
    )
    parser.add_argument(
        "--prompt", action="append", default=[], metavar="TEXT", help="one task for each --prompt"
    )
    parser.add_argument(
        "--prompt-file",
        action="append",
        default=[],
        metavar="F",
        help="one task for each --prompt-file; - for stdin",
    )
    parser.add_argument(
        "--template", metavar="F", help="a prompt with {{field}} for each field of a row"
    )
    parser.add_argument(
        "--once-field", metavar="COL", help="with --template: the field that names a row's task"
    )
    for names, letter, what in (
        (["--executor"], "E", "executor"),
        (["--model"], "M", "model"),
        (["--branch"], "B", "branch"),
        (["--repo", "--github-url"], "OWNER/REPO", "repository"),
        (["--workspace", "--workspace-id"], "ID", "workspace"),
    ):
        parser.add_argument(*names, metavar=letter, help="the %s of lines that name none" % what)
    for name, letter in (("skill", "S"), ("file", "PATH"), ("want", "NAME")):
        parser.add_argument(
            "--" + name,
            dest=name + "_flag",
            action="append",
            default=[],
            metavar=letter,
            help="for every line; again for more",
        )
    parser.add_argument(
        "--skills",
        nargs="+",
        default=[],
        metavar="S",
        help="several skills; takes every word after it",
    )
    parser.add_argument(
        "--file-id",
        action="append",
        default=[],
        metavar="ID=NAME",
        help="attach a file uploaded before to every task",
    )
    parser.add_argument("--zip", action="store_true", help="pack folders named as files")
    parser.add_argument(
        "--no-questions", action="store_true", help="ask the agents to decide instead of asking"
    )
    parser.add_argument("--bare", action="store_true", help="add no line to the prompts")
    parser.add_argument(
        "--concurrency", type=count, default=8, metavar="N", help="tasks at once (default 8)"
    )
    parser.add_argument(
        "--max-tasks",
        type=count,
        metavar="N",
        help="how many tasks this command may start (default 20)",
    )
    parser.add_argument(
        "--max-failures", type=count, metavar="N", help="start nothing more after N failures"
    )
    parser.add_argument(
        "--cancel-after",
        type=seconds,
        metavar="S",
        help="cancel what still runs S seconds after its start",
    )
    parser.add_argument(
        "--again", action="store_true", help="a second paid task for each line, knowingly"
    )
    parser.add_argument(
        "--retry", choices=["failed"], help="a second paid task for each line whose task failed"
    )
    parser.add_argument(
        "--out",
        metavar="DIR",
        help="a folder per task and results.jsonl (default: in the state folder)",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="check every line, show what would be started, send nothing",
    )


def batch(context, options):
    """Run every line as one task and print counts, failures, paths and one next line."""
    entries = read_entries(context, options)
    number_equals(entries)
    if options.dry_run:
        return _dry_run(context, entries)
    out = options.out or _folder_of(context, entries)
    run = Batch(
        starter_for(context, options),
        entries,
        out,
        state=context.state,
        concurrency=options.concurrency,
        max_failures=options.max_failures,
        retry_failed=options.retry == "failed",
        again=options.again,
        cancel_after=options.cancel_after,
        service=context.service,
        changed=_Changes(context, len(entries)),
    )
    interrupted = None
    try:
        run.run()
    except Interrupted as interrupt:
        interrupted = interrupt
        _land(context, run)
    document = _document(context, run, out)
    context.emit(document, _text)
    if all(entry.status in FINAL for entry in entries):
        for entry in entries:
            if entry.row is not None and entry.row.delivered_at is None:
                context.deliver(entry.row)
    return _exit_code(run, interrupted)


def _folder_of(context, entries):
    """Return the folder of a batch without --out: the same lines find the same folder again."""
    from hashlib import sha256

    mark = sha256(
        "\n".join("%s %s" % (entry.name, entry.order.digest()) for entry in entries).encode()
    ).hexdigest()[:16]
    return context.state.folder("batches", mark)


def _dry_run(context, entries):
    lines = [
        {
            "index": entry.index,
            "once": entry.name,
            "prompt": cut_to(
                entry.order.prompt_with([item.name for item in entry.order.attachments]), 200
            ),
            "files": [item.name for item in entry.order.attachments],
            **entry.order.fields,
        }
        for entry in entries
    ]
    context.emit({"dryRun": True, "count": len(lines), "tasks": lines})
    return EXIT_DONE


def _land(context, run):
    """After an interrupt: start nothing more, let what is in the air come down, and tell what runs on."""
    run.stop("interrupted")
    while context.flight.busy:
        try:
            run.sleep(0.05)
        except Interrupted:
            break
    for entry in run.entries:
        if entry.document is None:
            entry.document = run.running_document(entry)


class _Changes:
    """A line on stderr per change of an entry."""

    def __init__(self, context, total):
        self.context, self.total, self.last = context, total, {}

    def __call__(self, entry):
        """Tell an entry's change, once."""
        words = entry.status if entry.document else "taken up again" if entry.reused else "started"
        if self.last.get(entry.index) != words:
            self.last[entry.index] = words
            self.context.say(
                "%d of %d: %s%s"
                % (
                    entry.index,
                    self.total,
                    words,
                    " " + entry.row.task_id if entry.row and entry.row.task_id else "",
                )
            )


def _document(context, run, out):
    warnings = _warnings(run.entries)
    try:
        results = run.write_results()
    except OSError as problem:
        results = None
        warnings.insert(0, "%s cannot be written: %s" % (RESULTS, problem.strerror or problem))
    told = [entry for entry in run.entries if entry.status not in ("completed", "waiting")]
    if len(run.entries) <= SHOWN_TASKS:
        told = run.entries
    document = {
        "counts": run.counts(),
        "tasks": _brief(told[:SHOWN_TASKS]),
        "results": results,
        "out": os.path.abspath(out),
        "service": context.service,
        "rehearsal": any((entry.document or {}).get("rehearsal") for entry in run.entries),
        "warnings": warnings,
        "next": _next(context, run),
    }
    if isinstance(run.stopped, RebyteError):
        document["error"] = run.stopped.as_dict()
    elif run.stopped:
        document["stopped"] = run.stopped
    return {key: value for key, value in document.items() if value not in ([], {}, None, False)}


def _brief(entries):
    room = max(BUDGET_BYTES // max(len(entries), 1) - ROOM_PER_TASK_BYTES, 60)
    found = []
    for entry in entries:
        document = entry.document or {"status": "waiting"}
        small = {
            key: document[key]
            for key in ("id", "url", "once", "status", "missing", "reused", "error", "row")
            if key in document
        }
        small = dict({"index": entry.index}, **small)
        if document.get("answer"):
            small["answer"] = cut_to(document["answer"], room)
        if document.get("failure"):
            small["reason"] = cut_to(document["failure"]["reason"], room)
        found.append(small)
    return found


def _warnings(entries):
    """Return what the tasks' documents warn of, each once; results.jsonl tells which task it was."""
    return list(
        dict.fromkeys(
            text for entry in entries for text in (entry.document or {}).get("warnings", ())
        )
    )[:WARNINGS_SHOWN]


def _next(context, run):
    counts = run.counts()
    if counts.get("question"):
        asking = next(entry for entry in run.entries if entry.status == "question")
        steps = reply_steps(context, asking.document["id"], asking.document["question"])
        return steps + [context.same_step("once it is answered; no line is started twice")]
    if counts.get("unknown"):
        return [
            {
                "why": "this looks once more at what is unknown and starts nothing",
                "run": context.line("ledger", "settle"),
            }
        ]
    hopeful = any((entry.document or {}).get("error", {}).get("retryable") for entry in run.entries)
    if counts.get("running") or counts.get("waiting") or hopeful:
        return [context.same_step("this goes on; no line is started twice")]
    if counts.get("failed"):
        more = () if context.options.retry else ("--retry", "failed")
        return [context.same_step("a second paid task for each line that failed", *more)]
    return []


def _text(document):
    lines = ["  ".join("%s %d" % pair for pair in document["counts"].items())]
    for task in document.get("tasks", []):
        lines.append(
            "%4d  %-10s %s"
            % (
                task["index"],
                task.get("status", "error"),
                task.get("answer")
                or task.get("reason")
                or (task.get("error") or {}).get("message")
                or "",
            )
        )
    return "\n".join(lines + ["results: %s" % document.get("results")] + next_lines(document))


def _exit_code(run, interrupted):
    if any(
        (entry.document or {}).get("error", {}).get("code") == NotRecorded.default_code
        for entry in run.entries
    ):
        return EXIT_UNEXPECTED
    stopped = (
        run.stopped.exit_code
        if isinstance(run.stopped, RebyteError)
        else interrupted and interrupted.exit_code
    )
    return exit_code_of_many(run.counts(), stopped, may_go_on=not run.stopped)


COMMANDS = {"batch": (flags, batch, EXAMPLES)}
