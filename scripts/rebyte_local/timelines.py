"""What prompts did, as it happens: one append-only file of JSON lines per prompt, readable while it grows."""

from __future__ import annotations

import json
import os
import threading

from rebyte_local.store import now_us, short_form

BLOCK_BYTES = 256 * 1024
TOTAL_LIMIT_BYTES = (
    128 * 1024 * 1024
)  # of one prompt's events; output beyond it is counted and dropped
LATE_LIMIT_BYTES = (
    TOTAL_LIMIT_BYTES + 16 * 1024 * 1024
)  # what must still fit after that: results, the answer, the end


class Timeline:
    """The events of one prompt that has not ended; a reader waits on it and reads the file by itself."""

    def __init__(self, path, prompt_id):
        self._prompt_id = prompt_id
        self._is_closed = False
        self._is_resting = False  # a fault lets readers go before the last words are written
        self._changed = threading.Condition()
        self.count, self.size = _mend(path)
        self._path = path
        os.close(
            os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        )  # readers find a file

    def __repr__(self):
        return "Timeline(%s, events=%d, closed=%r)" % (self._prompt_id, self.count, self._is_closed)

    @property
    def is_full(self):
        """True when output no longer fits."""
        return self.size >= TOTAL_LIMIT_BYTES

    def append(self, *events):
        """Add (type, payload) pairs with one write and wake the readers."""
        with self._changed:
            if self._is_closed or self.size >= LATE_LIMIT_BYTES:
                return
            data = b"".join(self._line(*event) for event in events)
            with open(self._path, "ab") as file:
                file.write(data)
            self.size += len(data)
            self._changed.notify_all()

    def _line(self, event_type, payload):
        seq = self.count
        self.count += 1
        envelope = {
            "seq": seq,
            "timestamp": short_form(now_us()),
            "promptId": self._prompt_id,
            "eventType": event_type,
            "payload": payload,
            "eventKey": "%s:%d" % (self._prompt_id[:8], seq),
        }
        return json.dumps(envelope, separators=(",", ":")).encode("ascii") + b"\n"

    def rest(self):
        """Let readers go as if it had ended, though more will come."""
        with self._changed:
            self._is_resting = True
            self._changed.notify_all()

    def close(self):
        """Nothing more will come."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def wait_beyond(self, offset, seconds):
        """Wait for more than `offset` bytes; gives "more", "over" when none will come, or "" when the time is up."""

        def look():
            """What there is now."""
            return (
                "more"
                if self.size > offset
                else "over"
                if self._is_closed or self._is_resting
                else ""
            )

        with self._changed:
            return self._changed.wait_for(look, seconds)


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
        self._open = {}
        self._lock = threading.Lock()

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
        """Yield lists of lines until the prompt ends; an empty one is a heartbeat."""
        timeline = self.find(prompt_id)
        if timeline is None and not os.path.exists(self.path(prompt_id)):
            return
        with open(self.path(prompt_id), "rb") as file:
            file.seek(offset)
            while True:
                block = _whole_lines(file)
                if block:
                    offset += len(block)
                    yield block.split(b"\n")[:-1]
                    continue
                found = timeline.wait_beyond(offset, heartbeat_seconds) if timeline else "over"
                if found == "over":
                    return
                if not found:
                    yield []

    def read(self, prompt_id):
        """Yield blocks of lines, without waiting for more."""
        for lines in self.follow(prompt_id, 0):
            if not lines:
                return
            yield lines


def _whole_lines(file):
    block = file.read(BLOCK_BYTES)
    end = block.rfind(b"\n") + 1
    if not end and block:  # one line longer than a block
        block += file.readline()
        end = len(block) if block.endswith(b"\n") else 0
    if end < len(block):
        file.seek(end - len(block), os.SEEK_CUR)
    return block[:end]
