"""What looks like a secret, by its name or by its content: it does not leave unless its owner says
so.
"""

from __future__ import annotations

import fnmatch
import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

# Patterns of a file's own name, in small letters.
NAMES = (
    ".env*",
    "*.env",
    "*.pem",
    "*.key",
    "*.p12",
    "*.pfx",
    "*.p8",
    "*.ppk",
    "*.jks",
    "*.keystore",
    "*.kdbx",
    "*.ovpn",
    ".npmrc",
    ".netrc",
    "_netrc",
    ".pypirc",
    ".pgpass",
    ".my.cnf",
    ".htpasswd",
    ".git-credentials",
    ".dockercfg",
    ".vault-token",
    ".terraformrc",
    "terraform.rc",
    "kubeconfig",
    "*.kubeconfig",
    "*.tfstate",
    "*.tfstate.*",
    "*.tfvars",
    "credentials*",
    ".credentials*",
    "client_secret*",
    "service-account*.json",
    "service_account*.json",
    "secrets.yml",
    "secrets.yaml",
    "secrets.json",
    "secrets.toml",
    "secrets.ini",
    "secring.*",
    "id_*",
)
# Whole paths, where the name alone says nothing.
PLACES = ("*.docker/config.json", "*.kube/config", "*.aws/config", "*.ssh/config")
# What shows how such a file is written, and holds nothing.
SAMPLES = re.compile(r"[._-](example|sample|template|dist|defaults?)(\.[a-z0-9]+)?$")
PUBLIC = (".pub", ".key.md")
# Programs and texts may speak of keys and credentials without holding one.
SOURCES = re.compile(
    r"(pyi?|pyx|[mc]?jsx?|tsx?|vue|svelte|go|rs|java|kts?|scala|clj|rb|php|p[lm]|lua|[ch]|cc|"
    r"[ch]pp|cxx|cs|fs|swift|mm?|dart|exs?|erl|hs|ml|(ba|z)?sh|ps1|md|rst|txt|adoc|html?|s?css|sql|"
    r"proto|graphql|ipynb|r|jl|tf|svg|png|snap|feature)"
)
# Only these patterns can be the name of a program as well.
BROAD = ("credentials*", ".credentials*", "client_secret*", "id_*")
# (what has to stand there at least, the pattern, what it is): the first is found fast.
CONTENTS = (
    (b"PRIVATE KEY", rb"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY", "a private key"),
    (b"PuTTY-User", rb"PuTTY-User-Key-File-\d", "a private key"),
    (b"AKIA", rb"\bAKIA[A-Z2-7]{16}\b", "an AWS access key"),
    (b"ASIA", rb"\bASIA[A-Z2-7]{16}\b", "an AWS access key"),
    (b"ghp_", rb"\bghp_[A-Za-z0-9]{36}", "a GitHub token"),
    (b"gho_", rb"\bgho_[A-Za-z0-9]{36}", "a GitHub token"),
    (b"ghu_", rb"\bghu_[A-Za-z0-9]{36}", "a GitHub token"),
    (b"ghs_", rb"\bghs_[A-Za-z0-9]{36}", "a GitHub token"),
    (b"ghr_", rb"\bghr_[A-Za-z0-9]{36}", "a GitHub token"),
    (b"github_pat_", rb"github_pat_[A-Za-z0-9_]{22}", "a GitHub token"),
    (b"glpat-", rb"\bglpat-[\w-]{20}", "a GitLab token"),
    (b"xox", rb"\bxox[abeoprs]-[A-Za-z0-9-]{10}", "a Slack token"),
    (
        b"hooks.slack",
        rb"hooks\.slack\.com/services/T\w{6,}/B\w{6,}/\w{16}",
        "a Slack hook",
    ),
    (b"sk-ant-", rb"\bsk-ant-[\w-]{20}", "an Anthropic key"),
    (b"sk-", rb"(?<![\w-])sk-(?:proj-|svcacct-)?[A-Za-z0-9_]{20}", "an OpenAI key"),
    (b"k_live_", rb"\b[rs]k_live_[A-Za-z0-9]{16}", "a Stripe key"),
    (b"AIza", rb"\bAIza[\w-]{35}", "a Google key"),
    (b"ya29.", rb"\bya29\.[\w-]{20}", "a Google token"),
    (b"GOCSPX-", rb"\bGOCSPX-[\w-]{20}", "a Google secret"),
    (b"npm_", rb"\bnpm_[A-Za-z0-9]{36}", "an npm token"),
    (b"pypi-AgE", rb"pypi-AgE[\w-]{20}", "a PyPI token"),
    (b"hf_", rb"\bhf_[A-Za-z0-9]{30}", "a Hugging Face token"),
    (b"SG.", rb"\bSG\.[\w-]{16,}\.[\w-]{16}", "a SendGrid key"),
    (b"dop_v1_", rb"\bdop_v1_[0-9a-f]{32}", "a DigitalOcean token"),
    (b"dapi", rb"\bdapi[0-9a-f]{32}", "a Databricks token"),
    (b"shpat_", rb"\bshpat_[0-9a-fA-F]{32}", "a Shopify token"),
    (b"AGE-SECRET-KEY-1", rb"\bAGE-SECRET-KEY-1[A-Z0-9]{30}", "an age key"),
    (b"hvs.", rb"\bhvs\.[\w-]{24}", "a Vault token"),
    (b"rbk_", rb"\brbk_[\w-]{12}", "a Rebyte key"),
)
PATTERNS = tuple(
    (mark, re.compile(pattern), words) for mark, pattern, words in CONTENTS
)
# Documentation blanks keys out so. Any other word in one is asked about: a guess may be wrong.
BLANKED_OUT = re.compile(rb"x{12}|X{12}|\*{12}|\.{12}")
# No pattern is longer; so much of the last piece is looked at again with the next one.
OVERLAP_BYTES = 256
NUL = b"\0"


def secret_name(path: str) -> str | None:
    """Return why the name of a path says that it is a secret, None if it does not."""
    whole = path.lower()
    name = whole.rpartition("/")[2]
    if SAMPLES.search(name) or name.endswith(PUBLIC):
        return None
    if any(fnmatch.fnmatchcase(whole, place) for place in PLACES):
        return "its name is that of a file with secrets"
    for pattern in NAMES:
        if fnmatch.fnmatchcase(name, pattern) and not _is_source(name, pattern):
            return "its name is that of a file with secrets (%s)" % pattern
    return None


def _is_source(name: str, pattern: str) -> bool:
    """Say whether a broad pattern met the name of a program or a text."""
    suffix = name.rpartition(".")[2]
    if pattern == "id_*":
        return "." in name
    is_named = pattern in BROAD and "." in name.lstrip(".")
    return is_named and SOURCES.fullmatch(suffix) is not None


def secret_content(data: bytes, own_keys: Sequence[bytes] = ()) -> str | None:
    """Return which secret a piece of content holds, None if it holds none that is known.

    `own_keys` are keys of this very user, found wherever they stand.
    """
    if any(key and key in data for key in own_keys):
        return "it holds your own API key"
    for mark, pattern, words in PATTERNS:
        if mark not in data:
            continue
        found = (match.group() for match in pattern.finditer(data))
        if not all(map(BLANKED_OUT.search, found)):
            return "it holds " + words
    return None


class SecretScanner:
    """Looks through a file piece by piece; `found` says which secret it holds."""

    def __init__(self, own_keys: Sequence[bytes] = ()) -> None:
        self.found: str | None = None
        self._own_keys = own_keys
        self._rest = b""

    def __repr__(self) -> str:
        return "SecretScanner(%s)" % self.found

    def feed(self, piece: bytes) -> None:
        """Take the next piece."""
        if self.found is not None:
            return
        seen = self._rest + piece
        self.found = secret_content(seen, self._own_keys)
        if self.found is None and NUL in seen:
            # Some shells write UTF-16.
            self.found = secret_content(seen.replace(NUL, b""), self._own_keys)
        self._rest = piece[-OVERLAP_BYTES:]
