"""Routes of webhooks: create, list, get, delete, public key."""
from __future__ import annotations

from urllib.parse import urlsplit

from rebyte_local import answers
from rebyte_local.answers import Refusal, invalid, json_answer, no_content, not_found
from rebyte_local.hooks import EVENTS, HOOKS_MOST, is_here

URL_LIMIT_CHARS, TEXT_LIMIT_CHARS = 2048, 500
# A well-formed key that nothing is signed with: how the real service signs, and the shape of this answer, are not known.
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


def create_webhook(service, request):
    """POST /webhooks -> 201; the same address again gives the one that is there, as documented."""
    body = request.body.json_object()
    url, events = _check_url(body.get("url")), _check_events(body.get("events"))
    description = answers.check_text(body, "description", TEXT_LIMIT_CHARS)
    secret = answers.check_text(body, "secret", TEXT_LIMIT_CHARS)
    if secret is not None and not all(32 <= ord(letter) < 127 for letter in secret):
        raise invalid("secret must be printable ASCII: it travels in a header")
    known = [hook for hook in service.hooks.all() if hook["url"] == url]
    if known:
        return json_answer(200, service.hooks.show(known[0]))
    hook = service.hooks.add(url, events, description, secret)
    if hook is None:
        raise Refusal(400, "limit_exceeded", "An organization may have at most %d webhooks" % HOOKS_MOST)
    return json_answer(201, service.hooks.show(hook))


def list_webhooks(service, request):
    """GET /webhooks; the list is called webhooks, as others saw it."""
    return json_answer(200, {"webhooks": [service.hooks.show(hook) for hook in service.hooks.all()]})


def get_webhook(service, request):
    """GET /webhooks/:id"""
    return json_answer(200, service.hooks.show(_find(service, request)))


def delete_webhook(service, request):
    """DELETE /webhooks/:id -> 204; what waits for delivery is dropped."""
    service.hooks.remove(_find(service, request)["id"])
    return no_content()


def get_webhook_key(service, request):
    """GET /webhooks/public_key; deliveries of this server carry no signature."""
    return json_answer(200, {"publicKey": PUBLIC_KEY, "algorithm": "RSA-SHA256", "rehearsal": True})


def _check_url(url):
    if not isinstance(url, str) or not 0 < len(url) <= URL_LIMIT_CHARS or not all(32 < ord(letter) < 127 for letter in url):
        raise invalid("url is required and must be an https address")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise invalid("url is not a valid address") from None
    if parts.username is not None or parts.password is not None or not host or port == 0:
        raise invalid("url must name a host, without user name and password")
    if parts.scheme != "https" and not (parts.scheme == "http" and is_here(host)):
        raise invalid("url must begin with https://; plain http is taken for this machine only")
    return url


def _check_events(events):
    if not isinstance(events, list) or not events or not all(isinstance(event, str) for event in events):
        raise invalid("events is required and must be a list of: %s" % ", ".join(EVENTS))
    unknown = sorted(set(events) - set(EVENTS))
    if unknown:
        raise invalid("events: there is no event %s; there are: %s" % (unknown[0][:50], ", ".join(EVENTS)))
    return list(dict.fromkeys(events))


def _find(service, request):
    hook_id = request.params[0].lower()
    hook = service.hooks.find(hook_id) if answers.is_uuid(hook_id) else None
    if hook is None:
        raise not_found("Webhook")
    return hook
