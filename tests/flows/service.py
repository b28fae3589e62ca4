"""A service that says what a test wrote down: streams, statuses, contents, one after the other."""

from __future__ import annotations

import copy
import json

from rebyte_flows.following.ending import Outcome
from rebyte_flows.following.stream import Watch
from rebyte_wire.errors import NetworkError, NotFound
from rebyte_wire.requests import Deadline


def event(kind, seq, prompt="p1", **payload):
    return {
        "seq": seq,
        "promptId": prompt,
        "eventType": kind,
        "payload": payload,
        "eventKey": "%s:%d" % (prompt, seq),
    }


def frames(events, done="succeeded"):
    """Return the bytes of a stream with these events, and with this word in `done` if any."""
    text = "".join("event: event\ndata: %s\n\n" % json.dumps(item) for item in events)
    end = {"status": done, "lastSeq": events[-1]["seq"], "finalResult": ""}
    return (
        text + ("event: done\ndata: %s\n\n" % json.dumps(end) if done else "")
    ).encode()


class Stream:
    """An open stream that gives these bytes and then ends, or is cut."""

    def __init__(self, data, cut=False):
        self.data, self.cut, self.closed = data, cut, False

    def chunks(self):
        yield self.data
        if self.cut:
            raise NetworkError("cut", code="connection_cut")

    def close(self):
        self.closed = True


def watch(*words, **more):
    """Watch a task: the events, and at last the Outcome."""
    return Watch(*words, **more).events()


def next_of(script):
    """Take the next of some answers; the last one stays, and an error is raised."""
    found = script.pop(0) if len(script) > 1 else script[0]
    if isinstance(found, Exception):
        raise found
    return found


class Service:
    """Streams and statuses, one after the other; the last of each stays."""

    clock_skew = None

    def __init__(
        self, streams, statuses=("completed",), prompts=None, nested=None, **more
    ):
        self.streams = list(streams)
        self.statuses = list(statuses)
        self.prompts = prompts
        self.nested = nested or {}
        self.content = None
        self.artifacts = []
        self.deadline = Deadline(20)
        self.opened = []
        self.asked = []
        self.__dict__.update(more)

    def within(self, seconds):
        """Return the same service with another deadline."""
        view = copy.copy(self)
        view.deadline = self.deadline.within(seconds)
        return view

    def stream_events(self, task_id):
        found = next_of(self.streams)
        self.opened.append(found if isinstance(found, Stream) else Stream(found))
        return self.opened[-1]

    def get_task(self, task_id):
        self.asked.append("task")
        task = {"id": task_id, "status": next_of(self.statuses)}
        return dict(task, prompts=next_of(self.prompts)) if self.prompts else task

    def task_content(self, task_id, events=False):
        self.asked.append("content")
        if self.content is None:
            raise NotFound("no content here")
        return self.content

    def list_artifacts(self, workspace_id):
        return {"data": self.artifacts}

    def open_artifact(self, workspace_id, name):
        raise NotFound("no such artifact")

    def get_credits(self):
        return {}

    def cancel_task(self, task_id):
        self.asked.append("cancel")

    def prompt_events(self, task_id, prompt_id):
        self.asked.append(prompt_id)
        return {"events": next_of(self.nested[prompt_id])}


WORK = [
    event("init", 0),
    event("tool_use", 1, name="bash"),
    event("tool_result", 2, output="x"),
    event("text", 3, content="the answer"),
]


def told(service, **more):
    """Watch with a clock that goes on as the watch pauses, so that nothing waits."""
    now = [0.0]

    def sleep(seconds):
        now[0] += seconds

    seen = list(watch(service, "t", clock=lambda: now[0], sleep=sleep, **more))
    assert isinstance(seen[-1], Outcome) and all(
        stream.closed for stream in service.opened
    )
    return seen[:-1], seen[-1]
