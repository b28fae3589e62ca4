"""Which events of a task were told already, over connects that each replay from the start. Keeps hashes, not events."""

from __future__ import annotations

import json


class EventDeduplicator:
    """Each event once: by its eventKey; else the k-th occurrence of (prompt, type, payload) on a connect is new once k
    exceeds what earlier connects told. The same `seq` twice on one connect is one event."""

    def __init__(self):
        self._told = set()
        self.begin_connect()

    def __repr__(self):
        return "Sightings(%d told, %d on this connect)" % (len(self._told), self.on_this_connect)

    def begin_connect(self):
        """Forget what this connection brought; keep what was told."""
        self._seqs, self._once, self._often = bytearray(), set(), {}
        self.on_this_connect, self.highest_seq = 0, -1

    def is_new(self, event):
        """Note an event of this connect and tell whether it was never told before."""
        self.on_this_connect += 1
        repeated = self._seen_seq(event.get("seq"))
        key = event.get("eventKey")
        if isinstance(key, str) and key:
            return self._tell(hash(("key", str(event.get("promptId")), key)))
        if repeated:
            return False
        content = hash(
            (
                str(event.get("promptId")),
                str(event.get("eventType")),
                json.dumps(event.get("payload"), sort_keys=True),
            )
        )
        count = self._count(content)
        return self._tell(content if count == 1 else hash((content, count)))

    def _seen_seq(self, seq):
        """Note a seq in a bitmap; True when this connect brought it before."""
        if type(seq) is not int or not 0 <= seq < 1 << 27:
            return False
        if seq > self.highest_seq:
            self.highest_seq = seq
        place, bit = seq >> 3, 1 << (seq & 7)
        if place >= len(self._seqs):
            self._seqs.extend(bytes(place - len(self._seqs) + 64))
        seen = self._seqs[place] & bit
        self._seqs[place] |= bit
        return bool(seen)

    def _count(self, content):
        if content not in self._once:
            self._once.add(content)
            return 1
        count = self._often[content] = self._often.get(content, 1) + 1
        return count

    def _tell(self, mark):
        if mark in self._told:
            return False
        self._told.add(mark)
        return True
