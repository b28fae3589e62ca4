"""What helps against each cause that a check-up can find, and the sentence to ask the human with. Pure data."""
from __future__ import annotations

HOSTS = "api.rebyte.ai and storage.googleapis.com"
KEYS = "https://app.rebyte.ai/settings/api-keys"

# code -> (what helps, the sentence to ask; None where there is nobody to ask).
REMEDIES = {
    "python_incomplete": ("run it with another Python, 3.8 or newer, that has sqlite3 and ssl",
                          "Please install a Python 3.8 or newer that has the modules sqlite3 and ssl where I run."),
    "ledger_unwritable": ("point REBYTE_STATE_DIR at a folder that can be written and that stays",
                          "Please name a folder that I may write to and that stays, for REBYTE_STATE_DIR."),
    "missing_api_key": ("set REBYTE_API_KEY, or write the key to ~/.config/rebyte/api_key; --local needs none",
                        "I need a Rebyte API key. You can make one at " + KEYS + "; please put it in the file "
                        "~/.config/rebyte/api_key, or set REBYTE_API_KEY. Do not paste it into this conversation."),
    "invalid_api_key": ("the service does not take this key: make a new one",
                        "The service refuses the Rebyte API key. Please make a new one at " + KEYS + " and put it where the old one is."),
    "insufficient_scopes": ("the key may not read tasks: make one that may",
                            "The Rebyte API key lacks the right to read tasks. Please make one that has it at " + KEYS + "."),
    "header_dropped": ("a proxy on the way drops header names with an underscore, as nginx does unless underscores_in_headers is on",
                       "A proxy on the way drops the header API_KEY, because its name has an underscore. Please have it passed on "
                       "to api.rebyte.ai (nginx: underscores_in_headers on), or let me go there directly."),
    "dns_failed": ("no name is resolved from here; in a sandbox the network is probably off, or HTTPS_PROXY has to be set",
                   "Please allow network access to " + HOSTS + " where I run: their names are not resolved here."),
    "proxy_refused": ("the proxy's list of allowed hosts lacks this one",
                      "Please put " + HOSTS + " on the list of hosts that the proxy of my sandbox allows."),
    "connection_refused": ("nothing listens there: check the address, and whether HTTPS_PROXY has to be set",
                           "Please check that I may reach " + HOSTS + " on port 443, or tell me which proxy to use."),
    "connect_timeout": ("a firewall drops what is sent there; a proxy may be the only way out",
                        "Please let me reach " + HOSTS + " on port 443; a firewall seems to drop what I send."),
    "connect_failed": ("the network is not there, or something on the way hangs up",
                       "Please let me reach " + HOSTS + " on port 443; connections there break off."),
    "server_error": ("the service is in trouble: the same line later; nothing is wrong here", None),
    "no_such_route": ("the address answers but has no such part: check REBYTE_BASE_URL; else the endpoint is gone, and this bundle is too old",
                      "The service no longer has the endpoint that this skill uses. Is there a newer version of the skill?"),
    "bad_answer": ("something else answers at this address, such as a login page of the network; or REBYTE_BASE_URL is wrong",
                   "Something other than the API answers at its address, perhaps a login page. Please let me out of that network."),
    "clock_wrong": ("set this machine's clock; certificates and signed addresses depend on it",
                    "The clock of the machine where I run is wrong. Please set it."),
    "credits_low": ("ask your human to look at the balance at https://app.rebyte.ai", None),
}
TLS_ASK = ("A proxy between me and " + HOSTS + " reads TLS, and its certificate is not trusted. Please give me the file with its CA "
           "certificate for REBYTE_CA_BUNDLE.")
STRICT_ASK = ("The certificate of the proxy between me and " + HOSTS + " fails the strict check of Python 3.13. Please have it made "
              "properly, or allow me to set REBYTE_TLS_STRICT=0, which leaves out that one check.")


def remedy_for(problem):
    """Return what helps against an error, in one or two sentences."""
    if problem.code == "tls_failed" or problem.code not in REMEDIES:
        return problem.hint or "see the row of %s in references/errors.md" % problem.code
    return REMEDIES[problem.code][0]


def remedy_of(code):
    """Return what helps against a cause that is known by its code alone."""
    return REMEDIES[code][0]


def ask_for(problem):
    """Return the sentence to ask the human with, or None where asking does not help."""
    if problem.code == "tls_failed":
        return STRICT_ASK if "REBYTE_TLS_STRICT" in (problem.hint or "") else TLS_ASK
    return REMEDIES.get(problem.code, (None, None))[1]
