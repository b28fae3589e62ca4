"""The events of tasks: as a stream, as content, as a list; and how each may misbehave."""

from __future__ import annotations

import json
from collections.abc import Generator

from rebyte_local.api.checks import or_404
from rebyte_local.api.tasks import label_rehearsal, show_prompt, show_status, task_of
from rebyte_local.faults import Faults
from rebyte_local.formats import JsonObject
from rebyte_local.http.messages import (
    ApiError,
    DropConnection,
    Request,
    Response,
    StreamResponse,
)
from rebyte_local.service import Service
from rebyte_local.storage.task_table import OPEN_STATUSES

STREAM_FAULTS = (
    "early-done",
    "cut-stream",
    "renumber",
    "duplicates",
    "no-done",
    "silence",
    "lost-end",
    "ping-events",
)
PING_FRAME = b"event: ping\ndata: {}\n\n"
EARLY_CONNECTS = 2
LATE_ROWS = 3
DUPLICATE_EVERY = 3
HEARTBEAT_SECONDS = 15.0
LEAST_SECONDS = 0.01  # between heartbeats, whatever a fault says
HEARTBEAT = b": alive\n\n"
EVENT_STREAM = "text/event-stream; charset=utf-8"
STREAM_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


class StreamFault:
    """What the faults do to the events of one connect, decided by counts alone."""

    def __init__(self, faults: Faults, prompt_id: str) -> None:
        self._faults = faults
        self._prompt_id = prompt_id
        self._connect = faults.count("connect", prompt_id)
        self._index = -1  # of the event in the prompt's own order
        self._new = 0  # events that no earlier connect sent
        self._reached = faults.count("reach", prompt_id, step=0)
        self.sent = 0

    def says_done_early(self) -> bool:
        """Return True on the first connects while early-done is on."""
        return self._faults.is_on("early-done") and self._connect < EARLY_CONNECTS

    def lines_for(self, line: str) -> list[str]:
        """Return the lines to send in place of one event."""
        self._index += 1
        if self._index >= self._reached:
            self._new += 1
        lines = [line]
        if self._faults.is_on("renumber"):
            lines = self._renumber(json.loads(line))
        self.sent += len(lines)
        if self._is_twice():
            lines.append(lines[-1])
        return lines

    def _is_twice(self) -> bool:
        """Return True for each third event while duplicates is on."""
        place = self._index % DUPLICATE_EVERY
        is_third = place == DUPLICATE_EVERY - 1
        return is_third and self._faults.is_on("duplicates")

    def _renumber(self, event: JsonObject) -> list[str]:
        """Insert late rows before the second event, one more on each connect."""
        late_rows = min(self._connect, LATE_ROWS)
        rows = []
        if self._index == 1:
            rows = [_late_row(event, number) for number in range(1, late_rows + 1)]
        shift = 0
        if self._index > 0:
            shift = late_rows
        moved = dict(event, seq=self._index + shift)
        rows.append(moved)
        return [_without_key(row) for row in rows]

    def silence_seconds(self) -> float:
        """Return how long to be silent now: only after the first event of the first connect."""
        is_first = self._connect == 0 and self._index == 0
        if not is_first:
            return 0.0
        return self._faults.value("silence")

    def loses_the_rest(self) -> bool:
        """Return True when the events after this one, and the end, are never sent."""
        if not self._faults.is_on("lost-end"):
            return False
        kept = self._faults.value("lost-end")
        return self._index + 1 >= kept

    def cuts_now(self) -> bool:
        """Return True when this connect has sent so many events that no earlier one did."""
        limit = self._faults.value("cut-stream")
        if not limit or self._new < limit:
            return False
        self._faults.count("reach", self._prompt_id, step=self._new)
        return True


def _late_row(event: JsonObject, number: int) -> JsonObject:
    """Return an event that comes before one that was sent already."""
    payload = {"content": "late row %d" % number}
    return dict(event, seq=number, eventType="thinking", payload=payload)


def _without_key(event: JsonObject) -> str:
    kept = {name: value for name, value in event.items() if name != "eventKey"}
    return json.dumps(kept, separators=(",", ":"))


def stream_events(service: Service, request: Request) -> Response:
    """GET /tasks/:id/events: the latest prompt's events from the start, then as they happen."""
    task = task_of(service, request)
    latest = service.tasks.prompts(task["id"])[-1]
    service.stopping.wait(service.faults.value("held-stream"))
    if service.faults.is_on("no-stream"):
        raise ApiError(404, "not_found", "Not found")
    frames = _frames
    if service.faults.is_on(*STREAM_FAULTS):
        frames = _disturbed_frames
    body = frames(service, latest["id"])
    return StreamResponse(body, EVENT_STREAM, dict(STREAM_HEADERS))


def _event_frame(line: str) -> bytes:
    return b"event: event\ndata: %s\n\n" % line.encode("ascii")


def _done_frame(status: str, last_seq: int, final_result: str) -> bytes:
    data = {"status": status, "lastSeq": last_seq, "finalResult": final_result}
    text = json.dumps(data)
    return b"event: done\ndata: %s\n\n" % text.encode("ascii")


def _end_frame(service: Service, prompt_id: str, count: int) -> bytes:
    prompt = service.tasks.prompt(prompt_id)
    if prompt["status"] in OPEN_STATUSES:
        raise DropConnection  # the server stops, the prompt has not ended
    final = prompt.get("final", "")
    return _done_frame(prompt["status"], count - 1, final)


def heartbeat_seconds(service: Service) -> float:
    """Return how long a stream may be silent before a heartbeat is sent."""
    seconds = service.faults.value("heartbeats", HEARTBEAT_SECONDS)
    return max(LEAST_SECONDS, seconds)


def _endless_heartbeats(service: Service) -> Generator[bytes, None, None]:
    seconds = heartbeat_seconds(service)
    while not service.stopping.wait(seconds):
        yield HEARTBEAT
    raise DropConnection


def _frames(service: Service, prompt_id: str) -> Generator[bytes, None, None]:
    count = 0
    seconds = heartbeat_seconds(service)
    for lines in service.events.follow(prompt_id, seconds):
        count += len(lines)
        frames = b"".join(map(_event_frame, lines))
        yield frames or HEARTBEAT
    yield _end_frame(service, prompt_id, count)


def _disturbed_frames(service: Service, prompt_id: str) -> Generator[bytes, None, None]:
    fault = StreamFault(service.faults, prompt_id)
    if fault.says_done_early():
        yield _done_frame("succeeded", -1, "")
        return
    seconds = heartbeat_seconds(service)
    for lines in service.events.follow(prompt_id, seconds):
        if not lines:
            yield HEARTBEAT
        for line in lines:
            sent = fault.lines_for(line)
            yield from map(_event_frame, sent)
            if service.faults.is_on("ping-events"):
                yield PING_FRAME
            silence = fault.silence_seconds()
            service.stopping.wait(silence)
            if fault.cuts_now():
                raise DropConnection
            if fault.loses_the_rest():
                yield from _endless_heartbeats(service)
    if not service.faults.is_on("no-done"):
        yield _end_frame(service, prompt_id, fault.sent)


def _open_object(head: JsonObject) -> bytes:
    """Return a JSON object without its last brace, so that more can follow."""
    text = json.dumps(head)
    return text.encode("ascii")[:-1]


def _with_events(
    service: Service, head: JsonObject, prompt_id: str
) -> Generator[bytes, None, None]:
    """Yield the pieces of a JSON object that ends with a prompt's events."""
    yield _open_object(head) + b', "events": ['
    comma = ""
    for lines in service.events.read(prompt_id):
        if service.faults.is_on("renumber"):
            events = map(json.loads, lines)
            lines = [_without_key(event) for event in events]
        piece = comma + ",".join(lines)
        yield piece.encode("ascii")
        comma = ","
    yield b"]}"


def list_prompt_events(service: Service, request: Request) -> Response:
    """GET /tasks/:id/prompts/:promptId/events (undocumented)"""
    task = task_of(service, request)
    prompt_id = request.params[1].lower()
    prompts = service.tasks.prompts(task["id"])
    named = [prompt for prompt in prompts if prompt["id"] == prompt_id]
    or_404(next(iter(named), None), "Prompt")
    head = {"promptId": prompt_id}
    body = _with_events(service, head, prompt_id)
    return StreamResponse(body)


def get_content(service: Service, request: Request) -> Response:
    """GET /tasks/:id/content[?include=events] (undocumented), prompts oldest first."""
    task = task_of(service, request)
    status = service.tasks.status(task["id"])[0]
    # The raw word of prompts, as it was seen on the real service.
    if status == "completed":
        status = "succeeded"
    told = {"id": task["id"], "status": show_status(service, status)}
    head = label_rehearsal(told, task)
    included = request.query.get("include", "")
    has_events = "events" in included.split(",")
    body = _content(service, head, has_events)
    return StreamResponse(body)


def _content(
    service: Service, head: JsonObject, has_events: bool
) -> Generator[bytes, None, None]:
    yield _open_object(head) + b', "prompts": ['
    prompts = service.tasks.prompts(head["id"])
    for index, prompt in enumerate(prompts):
        shown = show_prompt(service, prompt)
        shown["userPrompt"] = prompt["text"]
        shown["response"] = prompt.get("response")
        if index:
            yield b", "
        if has_events:
            yield from _with_events(service, shown, prompt["id"])
        else:
            text = json.dumps(shown)
            yield text.encode("ascii")
    yield b"]}"
