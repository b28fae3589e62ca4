"""Webhooks: create, list, get, delete, public key. deliveries.py calls them."""

from __future__ import annotations

import json
import re
import uuid
from urllib.parse import urlsplit

from rebyte_local.api.checks import list_of, optional_string, or_404
from rebyte_local.deliveries import is_loopback
from rebyte_local.formats import JsonObject, iso_microseconds, now_us
from rebyte_local.http.messages import (
    ApiError,
    Request,
    Response,
    json_response,
    no_content,
    require,
    validation_error,
)
from rebyte_local.service import Service

EVENTS = (
    "task.created",
    "task.running",
    "task.completed",
    "task.failed",
    "task.canceled",
)
WEBHOOKS_MOST = 3
URL_LIMIT_CHARS = 2048
NOT_DELIVERED = "not delivered: this server calls addresses of this machine only"
# A well-formed key that nothing is signed with: how the real service signs is not known.
PUBLIC_KEY = """-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA0MB75VuPUqY/jRL84R/x
QwGbUteS/Pc030zHiwnbhSULyiRYwKbeYt1IO0J6yRyjdKsUeSvmtcEULYEs633n
7qQTkISvydgGZt9i00YJk67Zw1b9v0ksWpyoX47vXQX1KUuR8hQa9nm/3NgnB+8L
HvcYywljW1GvM8E+m8L49PUpUkaonCERzMvKrWfmmwFDB4SBtalkVcex1xB1Dgr2
al6Lou6EaEaFMKChGC9pnWJOsJ7//DpN/quCKiyg1uWaVpGlT7Rx9PHWs3jBhtMk
SB0Ei0C2sfJsHbPk8B0Bu1ed46Z2JufcLLGX+6BetMTioRzXt+RZecH9Fh31wuvr
nwIDAQAB
-----END PUBLIC KEY-----
"""


def create_webhook(service: Service, request: Request) -> Response:
    """POST /webhooks -> 201; 200 with the one that is there for an address that is known."""
    body = request.json_object()
    url = _check_url(body.get("url"))
    secret = optional_string(body, "secret")
    require(
        secret is None or re.fullmatch(r"[\x20-\x7e]+", secret),
        "secret must be printable ASCII: it travels in a header",
    )
    facts = {
        "events": _check_events(body.get("events")),
        "description": optional_string(body, "description"),
        "secret": secret,
    }
    with service.database.transaction() as connection:
        webhooks = _all(service)
        for webhook in webhooks:
            if webhook["url"] == url:
                return json_response(200, _show(webhook))
        if len(webhooks) >= WEBHOOKS_MOST:
            raise ApiError(
                400,
                "limit_exceeded",
                "An organization may have at most %d webhooks" % WEBHOOKS_MOST,
            )
        connection.execute(
            "INSERT INTO webhooks(id,url,created,facts) VALUES(?,?,?,?)",
            (str(uuid.uuid4()), url, now_us(), json.dumps(facts)),
        )
        return json_response(201, _show(_all(service)[-1]))


def list_webhooks(service: Service, request: Request) -> Response:
    """GET /webhooks; the list is called webhooks, as others saw it."""
    return json_response(
        200, {"webhooks": [_show(webhook) for webhook in _all(service)]}
    )


def get_webhook(service: Service, request: Request) -> Response:
    """GET /webhooks/:id"""
    return json_response(200, _show(_webhook_of(service, request)))


def delete_webhook(service: Service, request: Request) -> Response:
    """DELETE /webhooks/:id -> 204; what waits for delivery is dropped."""
    service.database.write(
        "DELETE FROM webhooks WHERE id=?", _webhook_of(service, request)["id"]
    )
    return no_content()


def get_webhook_key(service: Service, request: Request) -> Response:
    """GET /webhooks/public_key; deliveries of this server carry no signature."""
    return json_response(
        200, {"publicKey": PUBLIC_KEY, "algorithm": "RSA-SHA256", "rehearsal": True}
    )


def _all(service: Service) -> list[JsonObject]:
    return service.database.rows("SELECT * FROM webhooks ORDER BY number")


def _webhook_of(service: Service, request: Request) -> JsonObject:
    return or_404(
        service.database.find("webhooks", request.params[0].lower()), "Webhook"
    )


def _show(webhook: JsonObject) -> JsonObject:
    """Return a webhook as the service tells it, never with its secret."""
    shown = {
        "id": webhook["id"],
        "url": webhook["url"],
        "events": webhook["events"],
        "description": webhook["description"],
        "hasSecret": webhook["secret"] is not None,
        "isActive": bool(webhook["active"]),
        "createdAt": iso_microseconds(webhook["created"]),
        "lastTriggeredAt": iso_microseconds(webhook["triggered"]),
        "failureCount": webhook["failures"],
        "rehearsal": True,
    }
    if not is_loopback(urlsplit(webhook["url"]).hostname):
        shown["note"] = NOT_DELIVERED
    return shown


def _check_url(url: object) -> str:
    if not isinstance(url, str) or not re.fullmatch(
        r"[\x21-\x7e]{1,%d}" % URL_LIMIT_CHARS, url
    ):
        raise validation_error("url is required and must be an https address")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise validation_error("url is not a valid address") from None
    require(
        parts.hostname and port != 0 and "@" not in parts.netloc,
        "url must name a host, without user name and password",
    )
    require(
        parts.scheme == "https"
        or parts.scheme == "http"
        and is_loopback(parts.hostname),
        "url must begin with https://; plain http is taken for this machine only",
    )
    return url


def _check_events(value: object) -> list[str]:
    known = ", ".join(EVENTS)
    events = list_of(str, value, "events is required and must be a list of: %s" % known)
    require(events, "events must not be empty; there are: %s" % known)
    for event in events:
        require(
            event in EVENTS,
            "events: there is no event %s; there are: %s" % (event[:50], known),
        )
    return list(dict.fromkeys(events))
