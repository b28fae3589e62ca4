"""Credits: each start costs one, and each further minute of work."""

from __future__ import annotations

from rebyte_local.formats import iso_microseconds
from rebyte_local.http.messages import ApiError, Request, Response, json_response
from rebyte_local.service import Service
from rebyte_local.storage.credits import BALANCE, CHANGED, PURCHASED, USED

START_CREDITS = 1


def charge_start(service: Service) -> None:
    """Take the price of a start, or raise ApiError 402.

    What the real service says when nothing is left is not known.
    """
    if service.credits.take(START_CREDITS):
        return
    raise ApiError(
        402,
        "insufficient_credits",
        (
            "Insufficient credits: %d left, and a start costs %d"
            % (service.credits.get(BALANCE), START_CREDITS)
        ),
    )


def get_credits(service: Service, request: Request) -> Response:
    """GET /billing/credits (undocumented)"""
    account = service.credits
    return json_response(
        200,
        {
            "balance": account.get(BALANCE),
            "expiringBalance": 0,
            "expiringAllowance": 0,
            "totalAvailable": account.get(BALANCE),
            "lifetimePurchased": account.get(PURCHASED),
            "lifetimeUsed": account.get(USED),
            "updatedAt": iso_microseconds(account.get(CHANGED)),
            "rehearsal": True,
        },
    )
