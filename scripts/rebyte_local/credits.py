"""Routes of credits: what is left to spend."""
from __future__ import annotations

from rebyte_local.answers import json_answer


def get_credits(service, request):
    """GET /billing/credits (undocumented)"""
    return json_answer(200, dict(service.purse.show(), rehearsal=True))
