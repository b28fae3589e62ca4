"""What the sub-agent finally said, wherever the service put it, and what it asks."""
from __future__ import annotations

from rebyte_flows.stream import words_of
from rebyte_flows.times import seconds_of
from rebyte_wire.errors import AuthError, RebyteError

LAST_EVENTS = 5
SPOKEN = ("text", "assistant", "message", "response")


class Reader:
    """Collects the answer from events in order: the words after the last tool use, else what `result` says."""

    def __init__(self):
        self._parts, self._stray, self._result = [], [], ""
        self.events = self.tools = 0
        self.prompt_id = self.executor = self.model = None
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
        self.prompt_id = event.get("promptId") or self.prompt_id
        if kind == "tool_use":
            self.tools += 1
            self._parts = []
        elif kind == "init":
            self.model = payload.get("model") or self.model
        elif kind in SPOKEN:
            self._say(words_of(payload), payload.get("is_delta"))
        elif kind == "result" and words_of(payload):
            self._result = words_of(payload)

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
        for text in (self.words, self._result, final, (task or {}).get("finalResult"), (task or {}).get("result")):
            if isinstance(text, str) and text.strip():
                return text
        return response_of(client, task_id, prompt_id or self.prompt_id)

    def last_events(self, limit_characters=300):
        """Return what was seen last, briefly, for the account of a failure."""
        return [{"type": kind, "text": _brief(payload)[:limit_characters]} for kind, payload in self.last if _brief(payload)]


def response_of(client, task_id, prompt_id=None):
    """Return the answer that the undocumented /content holds for a prompt (the latest when none is named), or ""."""
    try:
        return response_in(client.task_content(task_id), prompt_id)
    except AuthError:
        raise
    except RebyteError:
        return ""


def response_in(content, prompt_id=None):
    """Return the response in a content, of a prompt or of the latest one, or ""."""
    prompts = [prompt for prompt in prompts_in(content) if prompt_id is None or prompt.get("id") == prompt_id]
    text = prompts[-1].get("response") if prompts else None
    return text if isinstance(text, str) else ""


def prompts_in(content):
    """Return the prompts of a task or content, oldest first."""
    prompts = content.get("prompts")
    found = [prompt for prompt in prompts if isinstance(prompt, dict)] if isinstance(prompts, list) else []
    return sorted(found, key=lambda prompt: seconds_of(prompt.get("submittedAt")) or 0)


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
    return {"text": text, "count": max(len(many), 1), "multi": bool(first.get("multiSelect")),
            "options": [{"n": n, "label": str(label)} for n, label in enumerate(labels, 1)],
            "messageId": payload.get("messageId"), "actionId": payload.get("actionId")}


def shown(question):
    """Return a question as documents show it: text, multi, options."""
    return {key: question[key] for key in ("text", "multi", "options")}


def _brief(payload):
    text = words_of(payload)
    for key in ("output", "name", "tool_name", "question"):
        if not text and isinstance(payload.get(key), str):
            text = payload[key]
    return text.strip()


def _squeezed(text):
    return "".join(text.split())
