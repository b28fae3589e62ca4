"""Credits: what is left to spend, of which each start and each further minute costs one; they outlive a restart."""

from __future__ import annotations

from rebyte_local.messages import Refusal, json_answer
from rebyte_local.store import long_form, now_us

FIRST_CREDITS = 10000
START_CREDITS = 1
MINUTE_SECONDS = 60
BALANCE, USED, BOUGHT, CHANGED = (
    "credits.balance",
    "credits.used",
    "credits.bought",
    "credits.changed",
)


def fill(store, credits=None):
    """Begin with so many credits; without a number, with what an earlier server left."""
    if credits is not None or store.recall(BALANCE) is None:
        credits = FIRST_CREDITS if credits is None else credits
        for name, value in ((BALANCE, credits), (BOUGHT, credits), (USED, 0), (CHANGED, now_us())):
            store.remember(name, value)


def _take(store, count):
    """Take credits in one transaction; False when there are not so many."""
    add = (
        "UPDATE meta SET value=CAST(value AS INTEGER)+? WHERE name=? AND CAST(? AS INTEGER)<="
        "(SELECT CAST(value AS INTEGER) FROM meta WHERE name=?)"
    )
    taken = store.write((add, count, USED, count, BALANCE), (add, -count, BALANCE, count, BALANCE))[
        1
    ]
    if taken:
        store.remember(CHANGED, now_us())
    return bool(taken)


def pay_start(store):
    """Pay for a start, or refuse it with 402; what the real service says when nothing is left is not known."""
    if not _take(store, START_CREDITS):
        raise Refusal(
            402,
            "insufficient_credits",
            "Insufficient credits: %s left, and a start costs %d"
            % (store.recall(BALANCE), START_CREDITS),
        )


def pay_work(store, seconds):
    """Pay for each whole minute of work, as far as the credits go: what runs is not ended for want of them."""
    minutes = int(seconds // MINUTE_SECONDS)
    if minutes and not _take(store, minutes):
        _take(store, int(store.recall(BALANCE)))


def show(store):
    """The credits in the shape that others saw."""
    balance, used, bought, changed = (
        int(store.recall(name)) for name in (BALANCE, USED, BOUGHT, CHANGED)
    )
    return {
        "balance": balance,
        "expiringBalance": 0,
        "expiringAllowance": 0,
        "totalAvailable": balance,
        "lifetimePurchased": bought,
        "lifetimeUsed": used,
        "updatedAt": long_form(changed),
        "rehearsal": True,
    }


def get_credits(service, request):
    """GET /billing/credits (undocumented)"""
    return json_answer(200, show(service.store))
