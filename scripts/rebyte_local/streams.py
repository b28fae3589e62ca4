"""Server-sent events of a task's latest prompt: from the start, then as it happens, then done; and how each connect may misbehave."""

from __future__ import annotations

import json

from rebyte_local.messages import Answer, ConnectionCut, found
from rebyte_local.store import OPEN
from rebyte_local.tasks import find_task, mark, show_prompt, shown_status

STREAM_FAULTS = ("early-done", "cut-stream", "renumber", "duplicates", "no-done", "silence")
EARLY_CONNECTS = 2
LATE_ROWS = 3
DUPLICATE_EVERY = 3
HEARTBEAT_SECONDS = 15.0
HEARTBEAT = b": alive\n\n"
EVENT_STREAM = "text/event-stream; charset=utf-8"


class Disturbance:
    """What happens to the events of one connect, decided by counts alone."""

    def __init__(self, faults, prompt_id):
        self._faults = faults
        self._prompt_id = prompt_id
        self._connect = faults.count("connect", prompt_id)
        self._index = -1  # of the event in the prompt's own order
        self._fresh = 0
        self._reach = faults.count("reach", prompt_id, step=0)
        self._rows = min(self._connect, LATE_ROWS) if faults.is_on("renumber") else 0
        self.sent = 0

    def says_done_early(self):
        """True on the first connects while early-done is on."""
        return self._faults.is_on("early-done") and self._connect < EARLY_CONNECTS

    def change(self, line):
        """The lines to send in place of one event."""
        self._index += 1
        self._fresh += self._index >= self._reach
        lines = (
            self._renumber(json.loads(line.decode("ascii")))
            if self._faults.is_on("renumber")
            else [line]
        )
        self.sent += len(lines)
        if (
            self._faults.is_on("duplicates")
            and self._index % DUPLICATE_EVERY == DUPLICATE_EVERY - 1
        ):
            lines.append(lines[-1])
        return lines

    def _renumber(self, event):
        rows = []
        if self._index == 1:
            rows = [
                dict(
                    event,
                    seq=1 + number,
                    eventType="thinking",
                    payload={"content": "late row %d" % (number + 1)},
                )
                for number in range(self._rows)
            ]
        event["seq"] = self._index + (self._rows if self._index > 0 else 0)
        return [_without_key(row) for row in rows + [event]]

    def be_silent(self, stopping):
        """Pause after the first event of the first connect."""
        if self._connect == 0 and self._index == 0:
            stopping.wait(self._faults.value("silence", 0))

    def cuts_now(self):
        """True when this connect has sent as many events as no earlier one did."""
        if self._fresh < self._faults.value("cut-stream", float("inf")):
            return False
        self._faults.count("reach", self._prompt_id, step=self._fresh)
        return True


def _without_key(event):
    return json.dumps(
        {name: value for name, value in event.items() if name != "eventKey"}, separators=(",", ":")
    ).encode("ascii")


def stream_events(service, request):
    """GET /tasks/:id/events"""
    prompt_id = service.store.prompts(find_task(service, request)["id"])[-1]["id"]
    pieces = (_disturbed if service.faults.is_on(*STREAM_FAULTS) else _plain)(service, prompt_id)
    return Answer(
        200, pieces, EVENT_STREAM, {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    )


def _frame(line):
    return b"event: event\ndata: " + line + b"\n\n"


def _done(status, last_seq, final):
    data = json.dumps({"status": status, "lastSeq": last_seq, "finalResult": final})
    return b"event: done\ndata: " + data.encode("ascii") + b"\n\n"


def _end(service, prompt_id, count):
    prompt = service.store.prompt(prompt_id)
    if prompt["status"] in OPEN:
        raise ConnectionCut()  # the server is going, not the prompt
    return _done(prompt["status"], count - 1, prompt.get("final", ""))


def _plain(service, prompt_id):
    count = 0
    for lines in service.timelines.follow(prompt_id, HEARTBEAT_SECONDS):
        count += len(lines)
        yield b"".join(map(_frame, lines)) or HEARTBEAT
    yield _end(service, prompt_id, count)


def _disturbed(service, prompt_id):
    disturbance = Disturbance(service.faults, prompt_id)
    if disturbance.says_done_early():
        yield _done("succeeded", -1, "")
        return
    for lines in service.timelines.follow(prompt_id, HEARTBEAT_SECONDS):
        if not lines:
            yield HEARTBEAT
        for line in lines:
            yield from map(_frame, disturbance.change(line))
            disturbance.be_silent(service.stopping)
            if disturbance.cuts_now():
                raise ConnectionCut()
    if not service.faults.is_on("no-done"):
        yield _end(service, prompt_id, disturbance.sent)


def _with_events(service, head, prompt_id):
    """The pieces of a JSON object that ends with a prompt's events."""
    yield json.dumps(head).encode("ascii")[:-1] + b', "events": ['
    comma = b""
    for lines in service.timelines.read(prompt_id):
        if service.faults.is_on("renumber"):
            lines = [_without_key(json.loads(line.decode("ascii"))) for line in lines]
        yield comma + b",".join(lines)
        comma = b","
    yield b"]}"


def list_prompt_events(service, request):
    """GET /tasks/:id/prompts/:promptId/events (undocumented)"""
    task, prompt_id = find_task(service, request), request.params[1].lower()
    found("Prompt", prompt_id in [prompt["id"] for prompt in service.store.prompts(task["id"])])
    return Answer(200, _with_events(service, {"promptId": prompt_id}, prompt_id))


def get_content(service, request):
    """GET /tasks/:id/content[?include=events] (undocumented), prompts oldest first"""
    task = find_task(service, request)
    status = service.store.end(task["id"])[0]
    status = (
        "succeeded" if status == "completed" else shown_status(service, status)
    )  # the raw word, as seen in the wild
    head = mark({"id": task["id"], "status": status}, task)
    return Answer(
        200,
        _content(
            service, head, task["id"], "events" in request.query.get("include", "").split(",")
        ),
    )


def _content(service, head, task_id, has_events):
    yield json.dumps(head).encode("ascii")[:-1] + b', "prompts": ['
    for index, prompt in enumerate(service.store.prompts(task_id)):
        shown = dict(
            show_prompt(service, prompt), userPrompt=prompt["text"], response=prompt.get("response")
        )
        if index:
            yield b", "
        if has_events:
            yield from _with_events(service, shown, prompt["id"])
        else:
            yield json.dumps(shown).encode("ascii")
    yield b"]}"
