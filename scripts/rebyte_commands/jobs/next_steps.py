"""What to do next: lines to paste, or a sentence for the caller's human; a line never holds
foreign text.
"""

from __future__ import annotations

import os

from rebyte_commands.jobs.code import look_step
from rebyte_commands.jobs.exit_codes import standing_for_exit
from rebyte_commands.jobs.shape import repair_words, shape_words
from rebyte_commands.shell.output import escape_controls
from rebyte_flows.code.prompts import again_prompt
from rebyte_wire.status import FINAL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Sequence

    from rebyte_commands.shell.context import Context
    from rebyte_flows.code.records import CodeRecord
    from rebyte_flows.entries import Entry
    from rebyte_flows.starting.rows import Row
    from rebyte_types import QuestionView, Step, TaskDocument

REPLIES_SHOWN = 4
LABEL_CHARACTERS = 40
ID_CHARACTERS = 8
MEND = "That failed. Find out why, mend it, and finish the job."


class Facts:
    """What the steps after one task are decided from."""

    def __init__(
        self,
        context: Context,
        document: TaskDocument,
        row: Row,
        options: Namespace,
        ended_early: bool,
    ) -> None:
        self.context = context
        self.document = document
        self.row = row
        self.options = options
        self.ended_early = ended_early
        self.status = document["status"]
        self.out: str | None = getattr(options, "out", None)
        self.is_final = self.status in FINAL
        # A rehearsal reads no words: what could mend it stands in the code of its prompt.
        self.is_rehearsal = bool(document.get("rehearsal"))
        # What is known of the code that the task was sent with.
        self.code_record: CodeRecord | None = None
        self.is_code_refused = False

    def __repr__(self) -> str:
        return "Facts(%s)" % self.status

    def follow_up(self, why: str, prompt: str) -> Step:
        """Return the step that pays for one more turn, with the folder and the wishes of this
        line.
        """
        words = [
            "follow-up",
            self.row.task_id,
            prompt,
            "--wait",
            *kept_words(self.options),
        ]
        return {"why": why, "run": self.context.command_line(*words)}

    def go_on(self, why: str) -> Step:
        """Return the step that goes on with the same task; repairs go on with the line itself."""
        if getattr(self.options, "repair", 0):
            return self.context.rerun_step(why, without="--again")
        return {"why": why, "run": go_on_line(self.context, self.row, self.options)}


def next_steps(facts: Facts) -> list[Step]:
    """Return the steps of every rule of the table that applies, in its order."""
    steps: list[Step] = []
    for applies, make in RULES:
        if applies(facts):
            steps += make(facts)
    return steps


def _is_running(facts: Facts) -> bool:
    return facts.status == "running"


def _go_on(facts: Facts) -> list[Step]:
    why = "it still runs; this goes on with the same task"
    if getattr(facts.options, "cancel_after", None) is None:
        return [facts.go_on(why)]
    why += ", and cancels it when its time comes"
    return [facts.context.rerun_step(why, without="--again")]


def _ended_early(facts: Facts) -> bool:
    return facts.ended_early and facts.status not in ("running", "question")


def _bring_the_rest(facts: Facts) -> list[Step]:
    return [facts.go_on("it has ended, and not everything was brought; this goes on")]


def _asks(facts: Facts) -> bool:
    return facts.status == "question" and "question" in facts.document


def _reply(facts: Facts) -> list[Step]:
    question = facts.document["question"]
    words = ["--wait", *kept_words(facts.options)]
    return reply_steps(facts.context, facts.row.task_id, question, words)


def _can_be_mended(facts: Facts) -> bool:
    return facts.status == "failed" and not facts.is_rehearsal and not facts.ended_early


def _mend(facts: Facts) -> list[Step]:
    why = "one more turn on the same machine, paid, once you know what to mend"
    return [facts.follow_up(why, MEND)]


def _has_no_workspace(facts: Facts) -> bool:
    wants_files = facts.document.get("missing") or facts.out
    return bool(wants_files) and facts.is_final and not facts.row.workspace_id


def _name_workspace(facts: Facts) -> list[Step]:
    url = facts.document.get("url")
    place = "at %s" % url if url else "in a browser"
    return [
        {
            "why": "its files lie in a workspace that the service does not tell; "
            "result ID --workspace WORKSPACE brings them where it is known",
            "ask": "Please look at the files of the task %s %s; its workspace is not known here, "
            "so they cannot be listed." % (facts.row.task_id, place),
        }
    ]


def _lacks_files(facts: Facts) -> bool:
    is_missing = bool(_missing_wishes(facts)) and not facts.is_rehearsal
    return is_missing and not _has_no_workspace(facts)


def _missing_wishes(facts: Facts) -> list[str]:
    """Return what --want named and did not come: the archive of the code has a step of its own."""
    code = facts.code_record.home_name if facts.code_record else None
    return [name for name in facts.document.get("missing", []) if name != code]


def _lacks_code(facts: Facts) -> bool:
    if facts.code_record is None or facts.is_rehearsal:
        return False
    missing = facts.document.get("missing", [])
    return facts.is_code_refused or facts.code_record.home_name in missing


def _ask_for_code(facts: Facts) -> list[Step]:
    assert facts.code_record is not None
    record = facts.code_record
    word = "was refused" if facts.is_code_refused else "did not come"
    why = "its code %s; this asks for it once more, in a paid turn" % word
    return [facts.follow_up(why, again_prompt(record.name))]


def _has_changes(facts: Facts) -> bool:
    return bool(facts.document.get("changes", {}).get("files"))


def _look_at_changes(facts: Facts) -> list[Step]:
    return look_step(facts.context, facts.row.task_id)


def _ask_for_missing(facts: Facts) -> list[Step]:
    names = _missing_wishes(facts)
    wanted = getattr(facts.options, "want", [])
    # The names are the caller's own words, as typed with --want.
    own = [name for name in wanted if name in names]
    why = "these files did not come; this asks for them once more, in a paid turn"
    prompt = "Publish these as artifacts: %s" % ", ".join(own)
    words = ["follow-up", facts.row.task_id, prompt, "--wait"]
    words += _out_words(facts.options) + _want_words(own)
    return [{"why": why, "run": facts.context.command_line(*words)}]


def _lacks_value(facts: Facts) -> bool:
    return bool(facts.document.get("valueErrors")) and facts.is_final


def _ask_for_value(facts: Facts) -> list[Step]:
    # Lazy: only a value that did not come pays for it.
    from rebyte_flows.values.prompts import repair_prompt

    why = "the value is not as asked for; this sends only the errors, in a paid turn"
    # With --bare the shape is not told once more: the agent has it.
    prompt = repair_prompt(facts.document["valueErrors"])
    words = ["follow-up", facts.row.task_id, prompt, "--wait", "--bare"]
    line = facts.context.command_line(*words, *kept_words(facts.options))
    return [{"why": why, "run": line}]


def _has_refused(facts: Facts) -> bool:
    return bool(facts.document.get("refused") and facts.out)


def _bring_refused(facts: Facts) -> list[Step]:
    return [
        facts.go_on(
            "what was refused did not come; once the reason is gone, this brings it"
        )
    ]


def _has_unfetched(facts: Facts) -> bool:
    return bool(facts.document.get("files")) and facts.is_final and not facts.out


def _fetch_files(facts: Facts) -> list[Step]:
    # A folder of its own for each task, so that one task's files never replace another's.
    folder = "result-" + facts.row.task_id[:ID_CHARACTERS]
    line = facts.context.command_line(
        "artifacts", "get", facts.row.task_id, "--out", folder
    )
    return [{"why": "this brings its files", "run": line}]


def _was_reused(facts: Facts) -> bool:
    is_repeated = bool(facts.document.get("reused") and facts.row.delivered_at)
    return is_repeated and facts.is_final and hasattr(facts.options, "again")


def _pay_again(facts: Facts) -> list[Step]:
    why = "this is the first answer again; only if your human wants a second paid task"
    return [facts.context.again_step(why)]


RULES: tuple[tuple[Callable[[Facts], bool], Callable[[Facts], list[Step]]], ...] = (
    (_is_running, _go_on),
    (_ended_early, _bring_the_rest),
    (_asks, _reply),
    (_can_be_mended, _mend),
    (_has_no_workspace, _name_workspace),
    (_lacks_files, _ask_for_missing),
    (_lacks_value, _ask_for_value),
    (_lacks_code, _ask_for_code),
    (_has_changes, _look_at_changes),
    (_has_refused, _bring_refused),
    (_has_unfetched, _fetch_files),
    (_was_reused, _pay_again),
)


def go_on_line(context: Context, row: Row, options: Namespace) -> str:
    """Return the line that goes on with a row: short, whatever the prompt was and wherever it came
    from.
    """
    words = ["result", row.task_id, "--wait"]
    if row.prompt_id:
        words += ["--prompt", row.prompt_id]
    words += repair_words(options)
    if options.verb == "result" and options.workspace:
        words += ["--workspace", options.workspace]
    return context.command_line(*words, *kept_words(options))


def kept_words(options: Namespace) -> list[str]:
    """Return --out, --want and the shape of this line, so that the next one brings the same to the
    same place.
    """
    wishes = _out_words(options) + _want_words(getattr(options, "want", []))
    return wishes + shape_words(options)


def _out_words(options: Namespace) -> list[str]:
    out = getattr(options, "out", None)
    return ["--out", out] if out else []


def _want_words(names: Sequence[str]) -> list[str]:
    return [word for name in names for word in ("--want", name)]


def reply_steps(
    context: Context, task_id: str, question: QuestionView, more: Sequence[str] = ()
) -> list[Step]:
    """Return one line for each answer that a question takes, so that no choice is made for the
    reader.
    """
    words = list(more)
    if question.get("id"):
        # So the line can be typed again, and never answers another question.
        words += ["--question", question["id"]]
    options = question.get("options") or []
    if not options:
        line = context.command_line("reply", task_id, "--say", "TEXT", *words)
        return [{"why": "it waits for an answer in words, in place of TEXT: " + line}]
    steps: list[Step] = []
    for option in options[:REPLIES_SHOWN]:
        why = "it waits for an answer; this one chooses %d of %d: %s" % (
            option["n"],
            len(options),
            label_text(option["label"]),
        )
        line = context.command_line("reply", task_id, "--option", option["n"], *words)
        steps.append({"why": why, "run": line})
    return steps


def label_text(label: str) -> str:
    """Return an option's label as a short quotation; it is foreign text."""
    text = escape_controls(" ".join(label.split()))
    if len(text) > LABEL_CHARACTERS:
        text = text[:LABEL_CHARACTERS] + "..."
    return '"%s"' % text


def bringing_steps(context: Context, entries: Sequence[Entry], out: str) -> list[Step]:
    """Return the step that looks once more for what did not come of the first such task of a
    batch.
    """
    for entry in entries:
        document = entry.document or {}
        if standing_for_exit(document) == "incomplete":
            folder = os.path.join(os.path.abspath(out), entry.folder_name)
            words = ["result", document["id"], "--wait", "--out", folder]
            for name in entry.request.want:
                words += ["--want", name]
            why = "not all of line %d came; this looks for it once more" % entry.index
            return [{"why": why, "run": context.command_line(*words)}]
    return []
