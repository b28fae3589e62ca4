"""The document of a task: what the sub-agent finally said, wherever the service put it, and what it asks."""

from __future__ import annotations

import time

from rebyte_flows.concurrency import EOF, ERROR, TIMEOUT, BackgroundReader
from rebyte_flows.following.stream import event_text, object_in
from rebyte_wire.errors import AuthError, DeadlineReached, InputError, RebyteError
from rebyte_wire.sse import Decoder
from rebyte_wire.status import dict_items, is_id, parse_timestamp, terminal_status

KEYS = (
    "id",
    "workspaceId",
    "url",
    "once",
    "status",
    "promptId",
    "next",
    "answer",
    "answerBytes",
    "answerPath",
    "question",
    "failure",
    "files",
    "missing",
    "refused",
    "warnings",
    "requested",
    "executor",
    "model",
    "seconds",
    "events",
    "transcriptPath",
    "reused",
    "service",
    "rehearsal",
    "error",
)
LAST_EVENTS = 5
SPOKEN = ("text", "assistant", "message", "response")
QUIET_SECONDS = 1.0
LOOK_SECONDS = 5.0


def task_document(**values):
    """Return a task document with the keys in their order, empty ones left out."""
    unknown = set(values) - set(KEYS)
    if unknown:
        raise KeyError("no such key in the document: %s" % ", ".join(sorted(unknown)))
    return {key: values[key] for key in KEYS if values.get(key) not in (None, "", [], {}, False)}


def exit_name(document):
    """Return the name in the exit table for how a document ended: done, task_failed, canceled, question, running, some_failed."""
    status = document.get("status")
    if status == "completed":
        return "some_failed" if document.get("missing") or document.get("refused") else "done"
    return {"failed": "task_failed", "canceled": "canceled", "question": "question"}.get(
        status, "running"
    )


class Reader:
    """Collects the answer from events in order: the words after the last tool use, else what `result` says."""

    def __init__(self):
        self._parts, self._result = [], ""
        self.events = self.tools = 0
        self.prompt_id = self.model = None
        self.rehearsal = False
        self.last = []

    def __repr__(self):
        return "Reader(%d events, %d tools)" % (self.events, self.tools)

    def take(self, event):
        """Take one event of the task itself; nested work counts as use of tools only."""
        payload = event.get("payload")
        payload = payload if isinstance(payload, dict) else {}
        kind = event.get("eventType")
        self.events += 1
        if kind not in ("init", "thinking"):
            self.last = (self.last + [(kind, payload)])[-LAST_EVENTS:]
        if "parent" in event:
            self.tools += kind == "tool_use"
            return
        self.prompt_id = event["promptId"] if is_id(event.get("promptId")) else self.prompt_id
        if kind == "tool_use":
            self.tools += 1
            self._parts = []
        elif kind == "init":
            self.model = payload.get("model") or self.model
            self.rehearsal = payload.get("rehearsal") is True
        elif kind in SPOKEN:
            self._say(event_text(payload), payload.get("is_delta"))
        elif kind == "result" and event_text(payload):
            self._result = event_text(payload)

    def _say(self, text, is_delta):
        if not text:
            return
        if is_delta:
            if not self._parts or not self._parts[-1][1]:
                self._parts.append(("", True))
            self._parts[-1] = (self._parts[-1][0] + text, True)
            return
        # A snapshot replaces what it repeats or continues; anything else is a paragraph of its own.
        while self._parts and _squeezed(self._parts[-1][0]) in _squeezed(text):
            self._parts.pop()
        if not any(_squeezed(text) in _squeezed(part) for part, _ in self._parts):
            self._parts.append((text, False))

    @property
    def words(self):
        """The text after the last tool use."""
        return "\n\n".join(text.strip("\n") for text, _ in self._parts if text.strip())

    def answer(self, client, task_id, *, task=None, final=None, prompt_id=None):
        """Return the answer by the ladder: words, `result`, `done.finalResult`, the task's own fields, /content; "" if none."""
        for text in (
            self.words,
            self._result,
            final,
            (task or {}).get("finalResult"),
            (task or {}).get("result"),
        ):
            if isinstance(text, str) and text.strip():
                return text
        return response_of(client, task_id, prompt_id or self.prompt_id)

    def last_events(self, limit_characters=300):
        """Return what was seen last, briefly, for the account of a failure."""
        return [
            {"type": kind, "text": _brief(payload)[:limit_characters]}
            for kind, payload in self.last
            if _brief(payload)
        ]


def last_words(answer, limit_characters=300):
    """Return the end of a failed task's answer, from the start of a line on: errors are told last."""
    lines = (answer or "").strip().split("\n")
    kept = lines[-1][:limit_characters]
    for line in lines[-2::-1]:
        if len(line) + 1 + len(kept) > limit_characters:
            break
        kept = line + "\n" + kept
    return kept


def seconds_taken(task, prompt_id=None):
    """Return the seconds from a turn's submission to its end as the service tells them (else the task's), or None."""
    turns = [prompt for prompt in prompts_in(task) if prompt.get("id") == prompt_id] or [
        dict(task, submittedAt=task.get("createdAt"))
    ]
    began, ended = (
        parse_timestamp(turns[0].get("submittedAt")),
        parse_timestamp(turns[0].get("completedAt")),
    )
    return None if began is None or ended is None else max(0.0, ended - began)


def response_of(client, task_id, prompt_id=None):
    """Return the answer that the undocumented /content holds for a prompt (the latest when none is named), or "".

    Raises where it is offered and cannot be read just now, so that silence is not taken for an empty answer.
    """
    try:
        return response_in(client.task_content(task_id), prompt_id)
    except RebyteError as problem:
        if problem.retryable or isinstance(problem, AuthError):
            raise
        return ""


def response_in(content, prompt_id=None):
    """Return the response in a content, of a prompt or of the latest one, or ""."""
    prompts = [
        prompt
        for prompt in prompts_in(content)
        if prompt_id is None or prompt.get("id") == prompt_id
    ]
    text = prompts[-1].get("response") if prompts else None
    return text if isinstance(text, str) else ""


def prompts_in(content):
    """Return the prompts of a task or content, oldest first."""
    return sorted(
        dict_items(content, "prompts"),
        key=lambda prompt: parse_timestamp(prompt.get("submittedAt")) or 0,
    )


def is_latest(task, prompt_id):
    """Tell whether a prompt is the latest of a task; no prompt means the latest, and a task that tells of none has one."""
    ids = [prompt.get("id") for prompt in prompts_in(task)]
    return prompt_id is None or not ids or ids[-1] == prompt_id


def question_of(payload):
    """Return {"text","multi","options":[{"n","label"}],"messageId","actionId","count"} of what a task asks; options count from 1.

    Several questions asked at once stand in one text, with the options of the first; `count` says how many there are.
    """
    many = payload.get("questions")
    many = [item for item in many if isinstance(item, dict)] if isinstance(many, list) else []
    first = many[0] if many else payload
    text = "\n".join(str(item.get("question") or "") for item in many or [payload])
    options = first.get("options") if isinstance(first.get("options"), list) else []
    labels = [option.get("label") if isinstance(option, dict) else option for option in options]
    return {
        "text": text,
        "count": max(len(many), 1),
        "multi": bool(first.get("multiSelect")),
        "options": [{"n": n, "label": str(label)} for n, label in enumerate(labels, 1)],
        "messageId": payload.get("messageId"),
        "actionId": payload.get("actionId"),
    }


def shown(question):
    """Return a question as documents show it: id (where it is one), text, multi, options."""
    told = {key: question[key] for key in ("text", "multi", "options")}
    return dict(told, id=question["messageId"]) if is_id(question.get("messageId")) else told


def _brief(payload):
    text = event_text(payload)
    for key in ("output", "name", "tool_name", "question"):
        if not text and isinstance(payload.get(key), str):
            text = payload[key]
    return text.strip()


def _squeezed(text):
    return "".join(text.split())


def open_question(client, task_id, answered=()):
    """Return the question a running task waits with (see question_of, plus "promptId"), or None.

    Asks /content; where that is not offered, reads what the stream replays until it falls silent for a second, or for
    LOOK_SECONDS: a task that keeps talking waits for nobody. A deployment without either asks nothing.
    """
    if terminal_status(client.get_task(task_id).get("status")):
        return None
    content = read_content(client, task_id)
    return (
        question_in_stream(client, task_id, answered)
        if content is None
        else question_in(content, answered)
    )


def question_in_content(client, task_id, answered=()):
    """Return the open question by one request to the undocumented /content, or None; forgiven where not offered."""
    content = read_content(client, task_id)
    return question_in(content, answered) if content else None


def read_content(client, task_id, events=True):
    """Return what the undocumented /content tells of a task, or None where it is not offered or cannot be read."""
    try:
        return client.task_content(task_id, events=events)
    except (AuthError, DeadlineReached):
        raise
    except RebyteError:
        return None


def question_in(content, answered=()):
    """Return the question that the last event of a content asks, or None."""
    prompts = prompts_in(content)
    events = prompts[-1].get("events") if prompts else None
    last = events[-1] if isinstance(events, list) and events else None
    return _asked(last, answered) if isinstance(last, dict) else None


def question_in_stream(client, task_id, answered=()):
    """Return the question that the stream's last event asks, or None; takes a second, LOOK_SECONDS for a task that keeps talking."""
    try:
        return _asked(_last_event(client, task_id), answered)
    except AuthError:
        raise
    except RebyteError:
        return None


def _asked(event, answered):
    if (
        not event
        or event.get("eventType") != "ask_user_question"
        or not isinstance(event.get("payload"), dict)
    ):
        return None
    question = dict(question_of(event["payload"]), promptId=event.get("promptId"))
    return None if str(question["messageId"]) in {str(word) for word in answered} else question


def _last_event(client, task_id):
    pump, decoder, last = BackgroundReader(client.stream_events(task_id)), Decoder(), None
    until = time.monotonic() + LOOK_SECONDS
    try:
        while True:
            chunk = pump.get(QUIET_SECONDS)
            if chunk in (TIMEOUT, EOF, ERROR):
                return last
            if time.monotonic() > until:
                return None
            for frame in decoder.feed(chunk):
                if frame.event == "done":
                    return last
                last = object_in(frame.data) or last
    finally:
        pump.close()


def answer_body(asked, options, say):
    """Return the body that answers a question with options (numbers from 1, or labels) or words; raises InputError."""
    if asked["count"] > 1:
        raise InputError(
            "it asks %d questions at once, and no source says how the service takes several answers"
            % asked["count"],
            code="several_questions",
            hint="answer in a browser at the task's address, or send a follow-up with --anyway",
        )
    labels = [option["label"] for option in asked["options"]]
    chosen = [_index_of(word, labels) for word in options]
    if len(chosen) > 1 and not asked["multi"]:
        raise InputError("the question takes one option, and %d were given" % len(chosen))
    answer = {"selectedOptions": chosen}
    if say is not None:
        answer["customResponse"] = say
    return {"messageId": asked["messageId"], "actionId": asked["actionId"], "answer": answer}


def _index_of(word, labels):
    """Return the index from 0 that the wire wants, for a number from 1 or a label."""
    same = [
        place
        for place, label in enumerate(labels)
        if label.strip().casefold() == word.strip().casefold()
    ]
    if len(same) == 1:
        return same[0]
    if word.isascii() and word.isdigit() and 1 <= int(word) <= len(labels):
        return int(word) - 1
    raise InputError(
        "there is no option %r" % word,
        hint="the options are: %s"
        % "; ".join("%d %s" % (n, label) for n, label in enumerate(labels, 1))
        if labels
        else "it takes words: --say TEXT",
    )
