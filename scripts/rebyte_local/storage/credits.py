"""The account of credits: what is left to spend; it outlives a restart."""

from __future__ import annotations

from rebyte_local.formats import now_us
from rebyte_local.storage.database import Database

DEFAULT_CREDITS = 10000
MINUTE_SECONDS = 60
BALANCE = "credits.balance"
USED = "credits.used"
PURCHASED = "credits.bought"
CHANGED = "credits.changed"


class CreditAccount:
    """Credits of one folder, kept as settings of its database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def init_credits(self, credits: int | None) -> None:
        """Begin with so many credits; None keeps what an earlier server left, if any."""
        if credits is not None:
            self.reset(credits)
        elif not self._database.setting(BALANCE):
            self.reset(DEFAULT_CREDITS)

    def reset(self, balance: int) -> None:
        """Set the balance, as if so many credits had just been bought."""
        for name, value in {
            BALANCE: balance,
            PURCHASED: balance,
            USED: 0,
            CHANGED: now_us(),
        }.items():
            self._database.set_setting(name, value)

    def get(self, name: str) -> int:
        """Return one of BALANCE, USED, PURCHASED and CHANGED (microseconds since 1970)."""
        return int(self._database.setting(name))

    def take(self, count: int) -> bool:
        """Spend credits; return False and spend nothing when there are not so many."""
        with self._database.transaction() as connection:
            balance = self.get(BALANCE)
            if balance < count:
                return False
            used = self.get(USED) + count
            connection.executemany(
                "INSERT OR REPLACE INTO meta VALUES(?,?)",
                [(BALANCE, balance - count), (USED, used), (CHANGED, now_us())],
            )
        return True

    def take_for_work(self, seconds: float) -> None:
        """Spend one credit per whole minute, as far as they go: what runs is not ended."""
        minutes = int(seconds // MINUTE_SECONDS)
        self.take(min(minutes, self.get(BALANCE)))
