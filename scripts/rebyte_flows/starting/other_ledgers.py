"""The ledgers that the same user keeps in other folders, in a sandbox or out of it: read, and
written to only where rows are forgotten.
"""

from __future__ import annotations

import os
import shutil
import stat
from contextlib import closing, suppress

from rebyte_flows.places import is_trusted
from rebyte_flows.starting.database import (
    SCHEMA_VERSION,
    Database,
    map_exceptions,
    open_to_read,
)
from rebyte_flows.starting.rows import COLUMNS, Row
from rebyte_wire.errors import LedgerUnwritable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from rebyte_flows.state import StateFolder

LEDGER_FILE = "ledger.db"
COPY_ATTEMPTS = 5
READ_ROWS = "SELECT %s FROM starts ORDER BY id" % ", ".join(COLUMNS)


class OtherLedger:
    """One ledger in a folder of another run; what cannot be trusted is as good as not there."""

    def __init__(self, folder: str, scratch: StateFolder) -> None:
        self.folder = folder
        self._path = os.path.join(folder, LEDGER_FILE)
        self._scratch = scratch
        self._connection: Any = None
        self._version_seen: int | None = None
        self._stamps_seen: list[Sequence[int]] | None = None

    def __repr__(self) -> str:
        return "OtherLedger(%r)" % self.folder

    @property
    def is_hidden(self) -> bool:
        """True where something lies here, and this run may not see what."""
        try:
            os.lstat(self._path)
        except PermissionError:
            return True
        except OSError:
            return False
        return not os.access(self._path, os.R_OK)

    def news(self) -> list[Row]:
        """Return all rows if there are new ones since the last look, else none.

        Raises LedgerUnwritable for a file that is there and cannot be read.
        """
        if not self._is_there():
            return []
        try:
            with map_exceptions("read the ledger in %s" % self.folder):
                return self._read_in_place()
        except LedgerUnwritable:
            self.close()
        return self._read_copy()

    def forget_look(self) -> None:
        """Note that what was read last came to nothing: the next look returns it again."""
        self._version_seen = None
        self._stamps_seen = None

    def _is_there(self) -> bool:
        if not is_trusted(self.folder):
            return False
        try:
            return stat.S_ISREG(os.lstat(self._path).st_mode)
        except OSError:
            return False

    def _read_in_place(self) -> list[Row]:
        if self._connection is None:
            self._connection = open_to_read(self._path)
            self._version_seen = None
            version = self._connection.execute("PRAGMA user_version").fetchone()[0]
            if version != SCHEMA_VERSION:
                raise LedgerUnwritable("the ledger has version %d" % version)
        # It changes with every commit of another connection.
        found = self._connection.execute("PRAGMA data_version").fetchone()[0]
        if found == self._version_seen:
            return []
        rows = self._connection.execute(READ_ROWS).fetchall()
        self._version_seen = found
        return [Row(values) for values in rows]

    def _read_copy(self) -> list[Row]:
        """Read an older version, or a file whose folder cannot be written, by way of a copy."""
        found = self._stamps()
        if found == self._stamps_seen:
            return []
        folder = self._scratch.folder("copies", os.urandom(6).hex())
        copy = os.path.join(folder, LEDGER_FILE)
        try:
            with map_exceptions("read the ledger in %s" % self.folder):
                self._copy_to(copy)
                found = self._stamps()
            with closing(Database(copy)) as database:
                rows = database.query(READ_ROWS)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        self._stamps_seen = found
        return [Row(values) for values in rows]

    def _copy_to(self, copy: str) -> None:
        """Copy the file and its journal, once more where another run wrote to them meanwhile."""
        for _ in range(COPY_ATTEMPTS):
            before = self._stamps()
            with suppress(FileNotFoundError):
                shutil.copyfile(self._path + "-wal", copy + "-wal")
            shutil.copyfile(self._path, copy)
            if self._stamps() == before:
                return
        raise OSError("another run writes to it all the time")

    def _stamps(self) -> list[Sequence[int]]:
        return [_stamp(self._path + end) for end in ("", "-wal")]

    def open_to_write(self) -> Database | None:
        """Return the file opened to remove rows from it, None where there is none.

        Raises LedgerUnwritable where it cannot be written.
        """
        if not self._is_there():
            return None
        if not os.access(self.folder, os.W_OK):
            raise LedgerUnwritable("%s cannot be written from here" % self.folder)
        return Database(self._path)

    def close(self) -> None:
        """Close the file."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None


def open_others(state: StateFolder) -> list[OtherLedger]:
    """Return the ledgers that a run of this user may keep in other folders, there or not."""
    return [OtherLedger(folder, state) for folder in state.others]


def _stamp(path: str) -> Sequence[int]:
    """Return what changes with a file, nothing where there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return ()
    return found.st_ino, found.st_size, found.st_mtime_ns
