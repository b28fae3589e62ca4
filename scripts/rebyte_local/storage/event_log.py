"""What prompts did, as it happens: a row per event, which readers can wait for."""

from __future__ import annotations

import json
import threading
from collections.abc import Generator

from rebyte_local.formats import JsonObject, iso_milliseconds, now_us
from rebyte_local.storage.database import Database

BLOCK_CHARS = 256 * 1024  # read at once
# Of one prompt's events; output beyond it is counted and dropped.
OUTPUT_LIMIT_CHARS = 128 * 1024 * 1024
# What must still fit after that: results, the answer, the end.
TOTAL_LIMIT_CHARS = OUTPUT_LIMIT_CHARS + 16 * 1024 * 1024


class Timeline:
    """The events of one prompt that has not ended; appending wakes those who wait."""

    def __init__(self, database: Database, prompt_id: str) -> None:
        kept = database.rows(
            "SELECT count(*) AS count, total(length(line)) AS size FROM events WHERE prompt=?",
            prompt_id,
        )[0]
        self._database = database
        self._prompt_id = prompt_id
        self._changed = threading.Condition()
        self._size = int(kept["size"])
        self.count: int = kept["count"]
        self.is_open = True

    def __repr__(self) -> str:
        return "Timeline(%s, events=%d, open=%r)" % (
            self._prompt_id,
            self.count,
            self.is_open,
        )

    @property
    def is_full(self) -> bool:
        """True when output no longer fits."""
        return self._size >= OUTPUT_LIMIT_CHARS

    def append(self, *events: tuple[str, JsonObject]) -> None:
        """Add (type, payload) pairs in one transaction and wake the readers."""
        with self._changed:
            if self._size >= TOTAL_LIMIT_CHARS:
                return
            rows = [
                (self._prompt_id, seq, self._line(seq, event_type, payload))
                for seq, (event_type, payload) in enumerate(events, self.count)
            ]
            with self._database.transaction() as connection:
                connection.executemany("INSERT INTO events VALUES(?,?,?)", rows)
            self.count += len(rows)
            self._size += sum(len(line) for _, _, line in rows)
            self._changed.notify_all()

    def _line(self, seq: int, event_type: str, payload: JsonObject) -> str:
        event = {
            "seq": seq,
            "timestamp": iso_milliseconds(now_us()),
            "promptId": self._prompt_id,
            "eventType": event_type,
            "payload": payload,
            "eventKey": "%s:%d" % (self._prompt_id[:8], seq),
        }
        if "parent" in payload:  # of a sub-agent: the tool use that began it
            event["parent"] = payload["parent"]
        return json.dumps(event, separators=(",", ":"))

    def close(self) -> None:
        """Let the readers go; a fault closes a timeline before the last events are appended."""
        with self._changed:
            self.is_open = False
            self._changed.notify_all()

    def wait(self, seen: int, seconds: float) -> bool:
        """Wait for more than `seen` events or the end; return False when the time is up."""
        with self._changed:
            return self._changed.wait_for(
                lambda: self.count > seen or not self.is_open, seconds
            )


class EventLog:
    """The events of all prompts of a folder, as lines of JSON."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._timelines: dict[str, Timeline] = {}
        self._lock = threading.Lock()

    def open(self, prompt_id: str) -> Timeline:
        """Open (or, after a restart, reopen) the timeline of a prompt that has not ended."""
        timeline = Timeline(self._database, prompt_id)
        with self._lock:
            self._timelines[prompt_id] = timeline
        return timeline

    def close(self, prompt_id: str) -> None:
        """Close the prompt's timeline; its events stay readable."""
        with self._lock:
            timeline = self._timelines.pop(prompt_id, None)
        if timeline:
            timeline.close()

    def timeline(self, prompt_id: str) -> Timeline:
        """Return the timeline of an open prompt; raises KeyError for one that has ended."""
        return self._timelines[prompt_id]

    def close_all(self) -> None:
        """Close every timeline."""
        for prompt_id in list(self._timelines):
            self.close(prompt_id)

    def follow(
        self, prompt_id: str, heartbeat_seconds: float, seen: int = 0
    ) -> Generator[list[str], None, None]:
        """Yield lists of lines, from the `seen`-th on, until the prompt ends.

        An empty list means that nothing came for `heartbeat_seconds`.
        """
        timeline = self._timelines.get(prompt_id)
        while True:
            # Looked at before reading, so that what came just before the end is still read.
            is_open = timeline is not None and timeline.is_open
            lines = self._read_block(prompt_id, seen)
            if lines:
                seen += len(lines)
                yield lines
            elif not is_open:
                return
            elif timeline and not timeline.wait(seen, heartbeat_seconds):
                yield []

    def read(self, prompt_id: str) -> Generator[list[str], None, None]:
        """Yield lists of lines, without waiting for more."""
        for lines in self.follow(prompt_id, 0):
            if not lines:
                return
            yield lines

    def _read_block(self, prompt_id: str, seen: int) -> list[str]:
        return self._database.texts(
            BLOCK_CHARS,
            "SELECT line FROM events WHERE prompt=? AND seq>=? ORDER BY seq",
            prompt_id,
            seen,
        )

    def tail(self, prompt_id: str, limit_chars: int) -> list[str]:
        """Return the last lines of a prompt, in order, of about so many characters."""
        return self._database.texts(
            limit_chars,
            "SELECT line FROM events WHERE prompt=? ORDER BY seq DESC",
            prompt_id,
        )[::-1]
