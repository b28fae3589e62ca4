"""Which events of a task were told already, when each connection replays them from the start."""

from __future__ import annotations

import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from rebyte_types import Event

SEQ_LIMIT = 1 << 27


class EventDeduplicator:
    """Each event once: by its eventKey, else by (prompt, type, payload). Keeps hashes, no events.

    Without a key the k-th occurrence on a connection is new if earlier ones brought fewer than k;
    the same `seq` twice on one connection is one event.
    """

    def __init__(self) -> None:
        self._seen: set[int] = set()
        self.begin_connect()

    def __repr__(self) -> str:
        return "EventDeduplicator(%d seen, %d on this connection)" % (
            len(self._seen),
            self.came,
        )

    def begin_connect(self) -> None:
        """Forget what this connection brought; keep what was seen."""
        self._seqs = bytearray()
        self._once: set[int] = set()
        self._counts: dict[int, int] = {}
        self.came = 0
        self.highest_seq = -1

    def is_new(self, event: Event) -> bool:
        """Note an event of this connection and say whether it was never seen before."""
        self.came += 1
        repeated = self._is_repeated(event.get("seq"))
        key = event.get("eventKey")
        prompt = str(event.get("promptId"))
        if isinstance(key, str) and key:
            return self._is_first(hash(("key", prompt, key)))
        if repeated:
            return False
        payload = json.dumps(event.get("payload"), sort_keys=True)
        content = hash((prompt, str(event.get("eventType")), payload))
        count = self._count(content)
        return self._is_first(content if count == 1 else hash((content, count)))

    def _is_repeated(self, seq: Any) -> bool:
        """Note a seq in a bitmap; True when this connection brought it before."""
        if type(seq) is not int or not 0 <= seq < SEQ_LIMIT:
            return False
        self.highest_seq = max(self.highest_seq, seq)
        index = seq >> 3
        bit = 1 << (seq & 7)
        if index >= len(self._seqs):
            self._seqs.extend(bytes(index - len(self._seqs) + 64))
        repeated = self._seqs[index] & bit
        self._seqs[index] |= bit
        return bool(repeated)

    def _count(self, content: int) -> int:
        """Return how often this connection brought it; most come once, and a set is smaller."""
        if content not in self._once:
            self._once.add(content)
            return 1
        self._counts[content] = self._counts.get(content, 1) + 1
        return self._counts[content]

    def _is_first(self, mark: int) -> bool:
        if mark in self._seen:
            return False
        self._seen.add(mark)
        return True
