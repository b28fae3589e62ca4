"""What prompts did, as it happens: one append-only file of JSON lines per prompt, readable while it grows."""
from __future__ import annotations

import json
import os
import threading

from rebyte_local.store import now_us, short_form

BLOCK_BYTES = 256 * 1024
TOTAL_LIMIT_BYTES = 128 * 1024 * 1024  # of one prompt's events; output beyond it is counted and dropped
LATE_LIMIT_BYTES = TOTAL_LIMIT_BYTES + 16 * 1024 * 1024  # what must still fit after that: results, the answer, the end


class Timeline:
    """The events of one prompt that has not ended; a reader waits on it and reads the file by itself."""

    def __init__(self, path, prompt_id):
        self.path = path
        self.prompt_id = prompt_id
        self.closed = False
        self.resting = False  # a fault lets readers go before the last words are written
        self._changed = threading.Condition()
        self.count, self.size = _mend(path)
        self._file = None
        os.close(self._descriptor())  # readers find a file; the writer takes a descriptor only once it has something

    def __repr__(self):
        return "Timeline(%s, events=%d, closed=%r)" % (self.prompt_id, self.count, self.closed)

    def _descriptor(self):
        return os.open(self.path, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600)

    @property
    def is_full(self):
        """True when output no longer fits."""
        return self.size >= TOTAL_LIMIT_BYTES

    def append(self, event_type, payload):
        """Add one event and wake the readers."""
        self.append_all([(event_type, payload)])

    def append_all(self, events):
        """Add (type, payload) pairs with one write and wake the readers."""
        with self._changed:
            if self.closed or self.size >= LATE_LIMIT_BYTES:
                return
            data = b"".join(self._line(event_type, payload) for event_type, payload in events)
            if self._file is None:
                self._file = open(self._descriptor(), "ab")
            self._file.write(data)
            self._file.flush()
            self.size += len(data)
            self._changed.notify_all()

    def _line(self, event_type, payload):
        seq = self.count
        self.count += 1
        envelope = {"seq": seq, "timestamp": short_form(now_us()), "promptId": self.prompt_id, "eventType": event_type,
                    "payload": payload, "eventKey": "%s:%d" % (self.prompt_id[:8], seq)}
        return json.dumps(envelope, separators=(",", ":")).encode("ascii") + b"\n"

    def rest(self):
        """Let readers go as if it had ended, though more will come."""
        with self._changed:
            self.resting = True
            self._changed.notify_all()

    def close(self):
        """Nothing more will come."""
        with self._changed:
            if not self.closed:
                self.closed = True
                if self._file:
                    self._file.close()
            self._changed.notify_all()

    def is_over(self, offset):
        """True when a reader at `offset` has everything it will get."""
        with self._changed:
            return (self.closed or self.resting) and self.size <= offset

    def wait_beyond(self, offset, seconds):
        """Wait until there is more than `offset` bytes or the end; False when the time is up."""
        with self._changed:
            return self._changed.wait_for(lambda: self.size > offset or self.closed or self.resting, seconds)


def _mend(path):
    """(events, bytes) of a file left by a kill: a line that was cut off is removed."""
    if not os.path.exists(path):
        return 0, 0
    count = size = 0
    with open(path, "r+b") as file:
        for line in file:
            if line.endswith(b"\n"):
                count += 1
                size += len(line)
        file.truncate(size)
    return count, size


class Timelines:
    """All timelines of a folder; those that have not ended are held open."""

    def __init__(self, folder):
        self._folder = os.path.join(folder, "events")
        os.makedirs(self._folder, 0o700, exist_ok=True)
        self._open = {}
        self._lock = threading.Lock()

    def __repr__(self):
        return "Timelines(open=%d)" % len(self._open)

    def path(self, prompt_id):
        """The file of a prompt's events."""
        return os.path.join(self._folder, prompt_id + ".jsonl")

    def begin(self, prompt_id):
        """Open (or, after a restart, reopen) the timeline of a prompt that has not ended."""
        timeline = Timeline(self.path(prompt_id), prompt_id)
        with self._lock:
            self._open[prompt_id] = timeline
        return timeline

    def end(self, prompt_id):
        """Close the prompt's timeline; what it holds stays readable."""
        with self._lock:
            timeline = self._open.pop(prompt_id, None)
        if timeline:
            timeline.close()

    def find(self, prompt_id):
        """The open timeline of a prompt, or None."""
        with self._lock:
            return self._open.get(prompt_id)

    def end_all(self):
        """Close every timeline."""
        for prompt_id in list(self._open):
            self.end(prompt_id)

    def follow(self, prompt_id, heartbeat_seconds, offset=0):
        """Yield (block of whole lines, offset after it) until the prompt ends; an empty block is a heartbeat."""
        timeline = self.find(prompt_id)
        path = self.path(prompt_id)
        if timeline is None and not os.path.exists(path):
            return
        with open(path, "rb") as file:
            file.seek(offset)
            while True:
                block = _whole_lines(file)
                if block:
                    offset += len(block)
                    yield block, offset
                elif timeline is None or timeline.is_over(offset):
                    return
                elif not timeline.wait_beyond(offset, heartbeat_seconds):
                    yield b"", offset


def _whole_lines(file):
    block = file.read(BLOCK_BYTES)
    end = block.rfind(b"\n") + 1
    if not end and block:  # one line longer than a block
        block += file.readline()
        end = len(block) if block.endswith(b"\n") else 0
    if end < len(block):
        file.seek(end - len(block), os.SEEK_CUR)
    return block[:end]
