"""The misbehaviours of one connect to an event stream; each connect to a prompt is counted from 0."""
from __future__ import annotations

import json

STREAM_FAULTS = ("early-done", "cut-stream", "renumber", "duplicates", "no-done", "silence")
EARLY_CONNECTS = 2
LATE_ROWS = 3
DUPLICATE_EVERY = 3


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
