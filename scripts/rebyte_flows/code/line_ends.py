"""Line ends: what git would store of a text, and how a text keeps the ones it had."""

from __future__ import annotations

CRLF = b"\r\n"
LF = b"\n"
BINARY = b"\0"


def is_text(data: bytes) -> bool:
    """Say whether a content is a text for git: it holds no NUL."""
    return BINARY not in data


def to_lf(data: bytes) -> bytes:
    """Return a text with LF alone."""
    return data.replace(CRLF, LF)


def to_crlf(data: bytes) -> bytes:
    """Return a text with CRLF alone."""
    return to_lf(data).replace(LF, CRLF)


def style_of(data: bytes) -> bytes | None:
    """Return the line end that all lines of a text have, None for a mixture, none, or no text."""
    if not is_text(data):
        return None
    lines = data.count(LF)
    wide = data.count(CRLF)
    if not lines or 0 < wide < lines:
        return None
    return CRLF if wide else LF


def like(data: bytes, model: bytes) -> bytes:
    """Return a text with the line ends of another, where both are texts of one style each."""
    style = style_of(model)
    if style is None or style_of(data) in (None, style):
        return data
    return to_crlf(data) if style == CRLF else to_lf(data)


def are_same(one: bytes, other: bytes) -> bool:
    """Say whether two contents are the same, or are texts that differ in line ends alone."""
    if one == other:
        return True
    return is_text(one) and is_text(other) and to_lf(one) == to_lf(other)


def is_converted(text: str, eol: str, autocrlf: str) -> bool:
    """Say whether git stores a file with LF: by its attributes text and eol, and core.autocrlf."""
    if text in ("unset", "binary"):
        return False
    if text in ("set", "auto") or eol in ("lf", "crlf"):
        return True
    return autocrlf in ("true", "input", "1", "yes", "on")


def is_forced(text: str, eol: str) -> bool:
    """Say whether the attributes alone decide, whatever line ends the stored file has."""
    return text == "set" or (text == "unspecified" and eol in ("lf", "crlf"))
