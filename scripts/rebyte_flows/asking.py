"""Questions a task asks: finding the one that is open, and the body that answers it."""
from __future__ import annotations

from rebyte_flows.pump import CUT, ENDED, QUIET, Pump
from rebyte_flows.result import prompts_in, question_of
from rebyte_flows.stream import object_in
from rebyte_wire.errors import AuthError, DeadlineReached, InputError, RebyteError
from rebyte_wire.sse import Decoder
from rebyte_wire.status import outcome_of

QUIET_SECONDS = 1.0


def open_question(client, task_id, answered=()):
    """Return the question a running task waits with (see question_of, plus "promptId"), or None.

    Reads what the stream replays until it falls silent for a second. A deployment without a stream asks nothing.
    """
    if outcome_of(client.get_task(task_id).get("status")):
        return None
    try:
        last = _last_event(client, task_id)
    except AuthError:
        raise
    except RebyteError:
        return None
    return _asked(last, answered)


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


def _asked(event, answered):
    if not event or event.get("eventType") != "ask_user_question" or not isinstance(event.get("payload"), dict):
        return None
    question = dict(question_of(event["payload"]), promptId=event.get("promptId"))
    return None if str(question["messageId"]) in {str(word) for word in answered} else question


def _last_event(client, task_id):
    pump, decoder, last = Pump(client.stream_events(task_id)), Decoder(), None
    try:
        while True:
            chunk = pump.get(QUIET_SECONDS)
            if chunk in (QUIET, ENDED, CUT):
                return last
            for frame in decoder.feed(chunk):
                if frame.event == "done":
                    return last
                last = object_in(frame.data) or last
    finally:
        pump.close()


def answer_body(asked, options, say):
    """Return the body that answers a question with options (numbers from 1, or labels) or words; raises InputError."""
    if asked["count"] > 1:
        raise InputError("it asks %d questions at once, and no source says how the service takes several answers" % asked["count"],
                         code="several_questions", hint="answer in a browser at the task's address, or send a follow-up with --anyway")
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
    same = [place for place, label in enumerate(labels) if label.strip().casefold() == word.strip().casefold()]
    if len(same) == 1:
        return same[0]
    if word.isascii() and word.isdigit() and 1 <= int(word) <= len(labels):
        return int(word) - 1
    raise InputError("there is no option %r" % word, hint="the options are: %s" %
                     "; ".join("%d %s" % (n, label) for n, label in enumerate(labels, 1)) if labels else "it takes words: --say TEXT")
