"""Files to the service: several at once, the same content under the same name once, counted as they go."""
from __future__ import annotations

import threading

from rebyte_flows.lanes import run_lanes

UPLOADS_AT_ONCE = 4


class Uploads:
    """Uploads attachments through one client and remembers them; safe to share by threads. `moved(bytes)` is told."""

    def __init__(self, client, moved=None):
        self.client, self.moved = client, moved
        self._slots, self._lock = {}, threading.Lock()

    def __repr__(self):
        return "Uploads(%d names)" % len(self._slots)

    def send(self, items):
        """Upload all and return what the service takes as `files`, in order; the first failure is raised."""
        outcomes = self.try_each(items)
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome
        return outcomes

    def try_each(self, items):
        """Upload each; return an entry of `files` or the exception for each, in order."""
        return run_lanes(self.send_one, items, UPLOADS_AT_ONCE)

    def send_one(self, item):
        """Upload one attachment unless the same was; returns {"id", "filename"} with the name that the service chose."""
        slot = self._slot_for(item)
        with slot.lock:
            if slot.entry is None:
                answer = self.client.upload_source(lambda: counted(item.open(), self.moved), item.bytes, item.name)
                slot.entry = {"id": answer["id"], "filename": answer.get("filename") or item.name}
        return dict(slot.entry)

    def _slot_for(self, item):
        """Return the place of an item; only files of equal name and size are read to compare them."""
        with self._lock:
            alike = self._slots.setdefault((item.name, item.bytes), [])
            for slot in alike:
                if slot.item is item or slot.item.sha256 == item.sha256:
                    return slot
            alike.append(_Slot(item))
            return alike[-1]


class _Slot:
    """One content under one name, and what the service called it."""

    def __init__(self, item):
        self.item, self.entry, self.lock = item, None, threading.Lock()


def counted(file, moved):
    """Return an open file that tells `moved` of each piece it gives; the file itself when nobody listens."""
    return _Counted(file, moved) if moved else file


class _Counted:
    """A file that is read to be sent."""

    def __init__(self, file, moved):
        self._file, self._moved = file, moved

    def read(self, size):
        """Read on, and tell how much it was."""
        piece = self._file.read(size)
        if piece:
            self._moved(len(piece))
        return piece

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file.close()
