"""Server-sent events of a task's latest prompt: from the start, then as it happens, then done; and how each connect may misbehave."""
from __future__ import annotations

import json

from rebyte_local.answers import ConnectionCut, StreamAnswer, not_found

STREAM_FAULTS = ("early-done", "cut-stream", "renumber", "duplicates", "no-done", "silence")
EARLY_CONNECTS = 2
LATE_ROWS = 3
DUPLICATE_EVERY = 3
HEARTBEAT_SECONDS = 15.0
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

    def __repr__(self):
        return "Disturbance(connect=%d, sent=%d)" % (self._connect, self.sent)

    def says_done_early(self):
        """True on the first connects while early-done is on."""
        return self._faults.is_on("early-done") and self._connect < EARLY_CONNECTS

    def change(self, line):
        """The lines to send in place of one event."""
        self._index += 1
        if self._index >= self._reach:
            self._fresh += 1
        lines = [line]
        if self._faults.is_on("renumber"):
            lines = self._renumber(json.loads(line.decode("ascii")))
        self.sent += len(lines)
        if self._faults.is_on("duplicates") and self._index % DUPLICATE_EVERY == DUPLICATE_EVERY - 1:
            lines = lines + lines[-1:]
        return lines

    def _renumber(self, event):
        event.pop("eventKey", None)
        late = self._rows if self._index > 0 else 0
        rows = []
        if self._index == 1:
            rows = [dict(event, seq=1 + n, eventType="thinking", payload={"content": "late row %d" % (n + 1)})
                    for n in range(late)]
        event["seq"] = self._index + late
        return [json.dumps(e, separators=(",", ":")).encode("ascii") for e in rows + [event]]

    def be_silent(self, stopping):
        """Pause after the first event of the first connect."""
        if self._faults.is_on("silence") and self._connect == 0 and self._index == 0:
            stopping.wait(self._faults.value("silence"))

    def cuts_now(self):
        """True when this connect has sent as many events as no earlier one did."""
        if not self._faults.is_on("cut-stream") or self._fresh < self._faults.value("cut-stream"):
            return False
        self._faults.count("reach", self._prompt_id, step=self._fresh)
        return True


def strip_keys(block):
    """A block of event lines without eventKey."""
    lines = []
    for line in block.split(b"\n")[:-1]:
        event = json.loads(line.decode("ascii"))
        event.pop("eventKey", None)
        lines.append(json.dumps(event, separators=(",", ":")).encode("ascii"))
    return b"\n".join(lines) + b"\n"


def stream_events(service, request):
    """GET /tasks/:id/events"""
    task = service.find_task(request)
    prompt = service.records.latest_prompt(task["id"])
    if service.faults.any_of(STREAM_FAULTS):
        chunks = _disturbed(service, prompt)
    else:
        chunks = _plain(service, prompt)
    return StreamAnswer(chunks, EVENT_STREAM, {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})


def _frame(line):
    return b"event: event\ndata: " + line + b"\n\n"


def done_frame(status, last_seq, final):
    """The frame that ends a stream."""
    data = json.dumps({"status": status, "lastSeq": last_seq, "finalResult": final})
    return b"event: done\ndata: " + data.encode("ascii") + b"\n\n"


def _end(service, prompt_id, count):
    prompt = service.records.prompt(prompt_id)
    if prompt["status"] in ("pending", "running"):
        raise ConnectionCut()  # the server is going, not the prompt
    return done_frame(prompt["status"], count - 1, prompt.get("final", ""))


def _plain(service, prompt):
    count = 0
    for block, _ in service.timelines.follow(prompt["id"], HEARTBEAT_SECONDS):
        lines = block.split(b"\n")[:-1]
        count += len(lines)
        yield b"".join(_frame(line) for line in lines) or b": alive\n\n"
    yield _end(service, prompt["id"], count)


def _disturbed(service, prompt):
    disturbance = Disturbance(service.faults, prompt["id"])
    if disturbance.says_done_early():
        yield done_frame("succeeded", -1, "")
        return
    for block, _ in service.timelines.follow(prompt["id"], HEARTBEAT_SECONDS):
        if not block:
            yield b": alive\n\n"
        for line in block.split(b"\n")[:-1]:
            for changed in disturbance.change(line):
                yield _frame(changed)
            disturbance.be_silent(service.stopping)
            if disturbance.cuts_now():
                raise ConnectionCut()
    if not service.faults.is_on("no-done"):
        yield _end(service, prompt["id"], disturbance.sent)


def _json_pieces(service, prompt_id):
    """The events of a prompt as the inside of a JSON array, in pieces."""
    timeline = service.timelines.find(prompt_id)
    comma = b""
    left = timeline.size if timeline else None  # as it stands now, without waiting for more
    for block, offset in _read_so_far(service, prompt_id, left):
        if service.faults.is_on("renumber"):
            block = strip_keys(block)
        yield comma + block[:-1].replace(b"\n", b",")
        comma = b","


def _read_so_far(service, prompt_id, limit):
    for block, offset in service.timelines.follow(prompt_id, 0):
        if not block:
            return
        yield block, offset
        if limit is not None and offset >= limit:
            return


def list_prompt_events(service, request):
    """GET /tasks/:id/prompts/:promptId/events (undocumented)"""
    task = service.find_task(request)
    prompt = service.records.prompt(request.params[1].lower())
    if prompt is None or prompt["task"] != task["id"]:
        raise not_found("Prompt")

    def pieces():
        """The JSON, event by event."""
        yield b'{"promptId": "%s", "events": [' % prompt["id"].encode("ascii")
        for piece in _json_pieces(service, prompt["id"]):
            yield piece
        yield b"]}"
    return StreamAnswer(pieces(), "application/json; charset=utf-8")


def get_content(service, request):
    """GET /tasks/:id/content[?include=events] (undocumented)"""
    task = service.find_task(request)
    status = service.records.end(task["id"])[0]
    status = "succeeded" if status == "completed" else service.shown_status(status)  # the raw word, as seen in the wild
    has_events = "events" in request.query.get("include", "").split(",")
    prompts = service.records.prompts(task["id"])

    def pieces():
        """The JSON, prompt by prompt."""
        mark = b'"rehearsal": true, ' if task["rehearsal"] else b""
        yield b'{"id": "%s", "status": "%s", %s"prompts": [' % (task["id"].encode("ascii"), status.encode("ascii"), mark)
        for index, prompt in enumerate(prompts):
            head = json.dumps(_content_of(service, prompt)).encode("ascii")
            yield (b", " if index else b"") + (head[:-1] + b', "events": [' if has_events else head)
            if has_events:
                for piece in _json_pieces(service, prompt["id"]):
                    yield piece
                yield b"]}"
        yield b"]}"
    return StreamAnswer(pieces(), "application/json; charset=utf-8")


def _content_of(service, prompt):
    view = service.show_prompt(prompt)
    return {"id": view["id"], "status": view["status"], "userPrompt": prompt["text"],
            "submittedAt": view["submittedAt"], "completedAt": view["completedAt"], "response": prompt.get("response")}
