"""The sentences to ask a human with, where an error is one that only they can mend."""

from __future__ import annotations

from rebyte_wire.addresses import origin_of
from rebyte_wire.credentials import DEFAULT_BASE_URL
from rebyte_wire.errors import RebyteError
from rebyte_wire.tls import CLOCK_HINT, HOST_HINT, NO_TLS_HINT, STRICT_HINT

API_HOST = "api.rebyte.ai"
STORAGE_HOST = "storage.googleapis.com"
HOSTS = API_HOST + " and " + STORAGE_HOST
KEYS = "https://app.rebyte.ai/settings/api-keys"
OTHER_BASE = (
    " The address is the one that REBYTE_BASE_URL or --base-url names: is it right?"
)

# By code; {hosts} are those that could not be reached.
ASKS = {
    "python_incomplete": (
        "Please install a Python 3.8 or newer that has the modules sqlite3 and ssl where I run."
    ),
    "ledger_unwritable": (
        "Please name a folder that I may write to and that stays, for REBYTE_STATE_DIR."
    ),
    "missing_api_key": (
        "I need a Rebyte API key. You can make one at "
        + KEYS
        + "; please put it in the file"
        " ~/.config/rebyte/api_key, or set REBYTE_API_KEY. Do not paste it into this conversation."
    ),
    "invalid_api_key": (
        "The service refuses the Rebyte API key. Please make a new one at "
        + KEYS
        + " and put it"
        " where the old one is."
    ),
    "insufficient_scopes": (
        "The Rebyte API key lacks the right to read tasks. Please make one that has it at "
        + KEYS
        + "."
    ),
    "header_dropped": (
        "A proxy on the way drops the header API_KEY, because its name has an underscore. Please"
        " have it passed on (nginx: underscores_in_headers on), or let me go there directly."
    ),
    "dns_failed": (
        "Please allow network access to {hosts} where I run: the name is not resolved here."
    ),
    "proxy_unreachable": (
        "The proxy that HTTPS_PROXY names where I run cannot be reached. Is its address right?"
    ),
    "proxy_auth_required": (
        "The proxy of my sandbox wants a user name and a password. Please put them into"
        " HTTPS_PROXY where I run, as http://USER:PASSWORD@HOST:PORT. Do not paste them into this"
        " conversation."
    ),
    "proxy_refused": (
        "Please put {hosts} on the list of hosts that the proxy of my sandbox allows."
    ),
    "connection_refused": (
        "Please check that I may reach {hosts} on port {port}, or tell me which proxy to use."
    ),
    "connect_timeout": (
        "Please let me reach {hosts} on port {port}; a firewall seems to drop what I send."
    ),
    "connect_failed": (
        "Please let me reach {hosts} on port {port}; connections there break off."
    ),
    "no_such_route": (
        "The service no longer has the endpoint that this skill uses. Is there a newer version of"
        " the skill?"
    ),
    "bad_answer": (
        "Something other than the API answers at its address, perhaps a login page. Please let me"
        " out of that network."
    ),
    "clock_wrong": "The clock of the machine where I run is wrong. Please set it.",
    "tls_failed": (
        "A proxy between me and {hosts} reads TLS, and its certificate is not trusted. Please give"
        " me the file with its CA certificate for REBYTE_CA_BUNDLE."
    ),
}
STRICT_ASK = (
    "The certificate of the proxy between me and {hosts} fails the strict check of Python 3.13."
    " Please have it made properly, or allow me to set REBYTE_TLS_STRICT=0, which leaves out that"
    " one check."
)
# What a handshake failed of, by the hint of the error.
TLS_ASKS = {
    STRICT_HINT: STRICT_ASK,
    CLOCK_HINT: ASKS["clock_wrong"],
    HOST_HINT: ASKS["bad_answer"],
    NO_TLS_HINT: ASKS["bad_answer"],
}


def ask_for(
    problem: RebyteError,
    base: str = DEFAULT_BASE_URL,
    check: str = "",
) -> str | None:
    """Return the sentence to ask the human with, or None where asking does not help.

    It names the host that could not be reached: that of a `base` address that is not the usual
    one, or the storage's for a `check` of that (storage.tls and the like).
    """
    text = ASKS.get(problem.code)
    if problem.code == "tls_failed":
        text = TLS_ASKS.get(problem.hint or "", text)
    if text is None or base == DEFAULT_BASE_URL or "{hosts}" not in text:
        return text and text.format(hosts=HOSTS, port=443)
    if check.startswith("storage."):
        return text.format(hosts=STORAGE_HOST, port=443)
    origin = origin_of(base)
    return text.format(hosts=origin.host, port=origin.port) + OTHER_BASE
