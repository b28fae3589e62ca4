"""What is left to spend: a start costs one credit, and each further minute of work another."""
from __future__ import annotations

from rebyte_local.answers import Refusal
from rebyte_local.timestamps import long_form, now_us

FIRST_CREDITS = 10000
START_CREDITS = 1
MINUTE_SECONDS = 60
BALANCE, USED, BOUGHT, CHANGED = "credits.balance", "credits.used", "credits.bought", "credits.changed"


class Purse:
    """The credits of one folder; they outlive a restart."""

    def __init__(self, store, credits=None):
        self._store = store
        if credits is not None or store.recall(BALANCE) is None:
            credits = FIRST_CREDITS if credits is None else credits
            for name, value in ((BALANCE, credits), (BOUGHT, credits), (USED, 0), (CHANGED, now_us())):
                store.remember(name, value)

    def __repr__(self):
        return "Purse(%d)" % self._number(BALANCE)

    def _number(self, name):
        return int(self._store.recall(name))

    def _take(self, count):
        """Take credits in one transaction; False when there are not so many."""
        add = "UPDATE meta SET value=CAST(value AS INTEGER)+? WHERE name=? AND CAST(? AS INTEGER)<=" \
              "(SELECT CAST(value AS INTEGER) FROM meta WHERE name=?)"
        taken = self._store.write((add, (count, USED, count, BALANCE)), (add, (-count, BALANCE, count, BALANCE)))
        if taken[1]:
            self._store.remember(CHANGED, now_us())
        return bool(taken[1])

    def pay_start(self):
        """Pay for a start, or refuse it with 402; what the real service says when nothing is left is not known."""
        if not self._take(START_CREDITS):
            raise Refusal(402, "insufficient_credits", "Insufficient credits: %d left, and a start costs %d" % (
                self._number(BALANCE), START_CREDITS))

    def pay_work(self, seconds):
        """Pay for each whole minute of work, as far as the credits go: what runs is not ended for want of them."""
        minutes = int(seconds // MINUTE_SECONDS)
        if minutes and not self._take(minutes):
            self._take(self._number(BALANCE))

    def show(self):
        """The credits in the shape that others saw."""
        balance = self._number(BALANCE)
        return {"balance": balance, "expiringBalance": 0, "expiringAllowance": 0, "totalAvailable": balance,
                "lifetimePurchased": self._number(BOUGHT), "lifetimeUsed": self._number(USED),
                "updatedAt": long_form(self._number(CHANGED))}
