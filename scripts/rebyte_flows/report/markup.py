"""Foreign text as HTML: nothing in it is markup, and nothing hides or turns what is read."""

from __future__ import annotations

import re
from html import escape
from urllib.parse import quote

# Control characters, zero widths, bidi marks, surrogates, line separators and tags.
HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e0fff]"
)
ADDRESS_CHARACTERS = 2_000
WEB = re.compile(r"https?://[^\s<>\"'\\]+\Z", re.I)


def text(value: object) -> str:
    """Return a text for an element or a quoted attribute; what would be invisible is shown."""
    return escape(HIDDEN.sub(_shown, str(value)))


def _shown(match: re.Match[str]) -> str:
    return "\\u%04x" % ord(match.group())


def cut(value: str, characters: int) -> str:
    """Return a text that is not longer, and says how long it was where it is cut."""
    if len(value) <= characters:
        return value
    return value[:characters] + "... [%d characters in all]" % len(value)


def is_web(address: object, most: int) -> bool:
    """Tell whether something is an address of the web that is at most so long and hides nothing."""
    if not isinstance(address, str) or len(address) > most:
        return False
    return bool(WEB.match(address)) and not HIDDEN.search(address)


def link(address: object, shown: object, most: int = ADDRESS_CHARACTERS) -> str:
    """Return a link to an address of the web, and of any other or a longer one the bare text."""
    if is_web(address, most):
        return '<a href="%s" rel="noreferrer noopener">%s</a>' % (
            text(address),
            text(shown),
        )
    return text(shown)


def path_address(*parts: str) -> str:
    """Return the relative address of a file below the page's folder."""
    encoded = (quote(part, safe="", errors="surrogateescape") for part in parts if part)
    return "/".join(encoded)
