"""Credits: each start costs one, and each further minute of work."""

from __future__ import annotations

from rebyte_local.http.messages import ApiError, Request, Response, json_response
from rebyte_local.service import Service
from rebyte_local.storage.credits import BALANCE, CHANGED, PURCHASED, USED
from rebyte_local.timestamps import iso_microseconds

START_CREDITS = 1


def charge_start(service: Service) -> None:
    """Take the price of a start, or raise ApiError 402.

    What the real service says when nothing is left is not known.
    """
    if service.credits.take(START_CREDITS):
        return
    left = service.credits.get(BALANCE)
    message = "Insufficient credits: %d left, and a start costs %d" % (left, START_CREDITS)
    raise ApiError(402, "insufficient_credits", message)


def get_credits(service: Service, request: Request) -> Response:
    """GET /billing/credits (undocumented)"""
    account = service.credits
    answer = {
        "balance": account.get(BALANCE),
        "expiringBalance": 0,
        "expiringAllowance": 0,
        "totalAvailable": account.get(BALANCE),
        "lifetimePurchased": account.get(PURCHASED),
        "lifetimeUsed": account.get(USED),
        "updatedAt": iso_microseconds(account.get(CHANGED)),
        "rehearsal": True,
    }
    return json_response(200, answer)
