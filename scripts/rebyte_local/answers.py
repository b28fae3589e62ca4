"""What a route may give back: a whole answer, a file, a stream, or a refusal; and the documented limits, one check each."""
from __future__ import annotations

import json
import re
from xml.sax.saxutils import escape

JSON_TYPE = "application/json; charset=utf-8"
PROMPT_LIMIT_CHARS = 100000
FILENAME_LIMIT_CHARS = 255
EXECUTORS = ("claude", "gemini", "codex", "opencode")
VISIBILITIES = ("private", "shared", "public")
LIST_DEFAULT = 50
LIST_LIMIT = 100
SKILLS_LIMIT = 50
FILES_LIMIT = 100
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)
REPOSITORY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}/[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}", re.ASCII)
BRANCH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./+@#=-]{0,249}", re.ASCII)


class Answer:
    """A whole answer; head and body leave in one write."""

    def __init__(self, status, body=b"", content_type=JSON_TYPE, headers=None):
        self.status = status
        self.body = body
        self.content_type = content_type
        self.headers = dict(headers or {})
        self.cut_at = None  # number of body bytes to send before the connection is closed


class FileAnswer:
    """A file from the disk, sent in pieces with its Content-Length."""

    def __init__(self, path, length, content_type, headers=None):
        self.status = 200
        self.path = path
        self.length = length
        self.content_type = content_type
        self.headers = dict(headers or {})


class StreamAnswer:
    """Chunks sent as they come; a ConnectionCut raised by the iterator cuts the connection."""

    def __init__(self, chunks, content_type, headers=None):
        self.status = 200
        self.chunks = chunks
        self.content_type = content_type
        self.headers = dict(headers or {})


class ConnectionCut(Exception):
    """The connection is to be closed now, with nothing more said."""


class Refusal(Exception):
    """An error of the API: {"error":{"code","message"}}."""

    def __init__(self, status, code, message, headers=None):
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = headers

    def answer(self):
        """The refusal as an answer."""
        return json_answer(self.status, {"error": {"code": self.code, "message": self.message}}, self.headers)


class StorageRefusal(Exception):
    """An error of the storage addresses, which speak XML as the real storage does."""

    def __init__(self, status, code, message):
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message

    def answer(self):
        """The refusal as an answer."""
        text = "<?xml version='1.0' encoding='UTF-8'?><Error><Code>%s</Code><Message>%s</Message></Error>" % (
            escape(self.code), escape(self.message))
        return Answer(self.status, text.encode("utf-8", "replace"), "application/xml; charset=UTF-8")


def json_answer(status, value, headers=None):
    """A JSON answer, ASCII only so that any text can travel in it."""
    return Answer(status, json.dumps(value).encode("ascii"), headers=headers)


def no_content():
    """204 without a body."""
    return Answer(204, b"", None)


def not_found(what):
    """The refusal for something absent, deleted or never there."""
    return Refusal(404, "not_found", "%s not found" % what)


def invalid(message):
    """The refusal for a body, query or path that says something wrong."""
    return Refusal(400, "validation_error", message)


def is_uuid(text):
    """True for the one spelling of ids that the service uses."""
    return isinstance(text, str) and UUID.fullmatch(text) is not None


def check_prompt(body):
    """The prompt of a create or follow-up."""
    prompt = body.get("prompt")
    if not isinstance(prompt, str) or not prompt.strip():
        raise invalid("prompt is required and must be a non-empty string")
    if len(prompt) > PROMPT_LIMIT_CHARS:
        raise invalid("prompt is longer than %d characters" % PROMPT_LIMIT_CHARS)
    return prompt


def check_text(body, name, limit=500):
    """An optional short string, None when absent."""
    value = body.get(name)
    if value is not None and (not isinstance(value, str) or not value or len(value) > limit):
        raise invalid("%s must be a string of 1 to %d characters" % (name, limit))
    return value


def check_executor(body):
    """One of the documented executors, or None."""
    executor = check_text(body, "executor")
    if executor is not None and executor not in EXECUTORS:
        raise invalid("executor must be one of %s" % ", ".join(EXECUTORS))
    return executor


def check_workspace_id(body):
    """A UUID in lower case, or None."""
    value = body.get("workspaceId")
    if value is None:
        return None
    if not is_uuid(value):
        raise invalid("workspaceId must be a UUID")
    return value.lower()


def check_skills(body):
    """A list of slugs, [] when absent; any text is a slug, since the service takes several spellings."""
    skills = body.get("skills")
    if skills is None:
        return []
    if not isinstance(skills, list) or len(skills) > SKILLS_LIMIT:
        raise invalid("skills must be a list of at most %d strings" % SKILLS_LIMIT)
    if not all(isinstance(s, str) and 0 < len(s) <= 500 for s in skills):
        raise invalid("each skill must be a non-empty string")
    return skills


def check_repository(body):
    """(owner/repo or None, branch): the branch is main when none was said."""
    repository = check_text(body, "githubUrl")
    branch = check_text(body, "branchName", 250)
    if repository is not None and (not REPOSITORY.fullmatch(repository) or ".." in repository):
        raise invalid("githubUrl must look like owner/repo")
    if branch is not None and (not BRANCH.fullmatch(branch) or ".." in branch):
        raise invalid("branchName is not a branch name")
    return repository, branch or "main"


def check_filename(value, field="filename"):
    """A plain file name: no folders, no control characters, at most 255 characters."""
    if not isinstance(value, str) or not value.strip():
        raise invalid("%s is required and must be a non-empty string" % field)
    if len(value) > FILENAME_LIMIT_CHARS:
        raise invalid("%s is longer than %d characters" % (field, FILENAME_LIMIT_CHARS))
    is_folder = "/" in value or "\\" in value or value.strip() in (".", "..")
    if is_folder or any(ord(c) < 32 or ord(c) == 127 for c in value):
        raise invalid("%s must be a plain file name" % field)
    if any(0xD800 <= ord(c) <= 0xDFFF for c in value):
        raise invalid("%s is not valid Unicode" % field)
    return value


def check_file_references(body):
    """The files of a create or follow-up as [{"id","filename"}], [] when absent."""
    files = body.get("files")
    if files is None:
        return []
    if not isinstance(files, list) or len(files) > FILES_LIMIT or not all(isinstance(f, dict) for f in files):
        raise invalid("files must be a list of at most %d objects with id and filename" % FILES_LIMIT)
    names = [check_filename(f.get("filename"), "files[].filename") for f in files]
    if len(set(names)) != len(names):
        raise invalid("two files have the same filename")
    if not all(is_uuid(f.get("id")) for f in files):
        raise invalid("files[].id must be the id that POST /files gave")
    return [{"id": f["id"].lower(), "filename": name} for f, name in zip(files, names)]


def check_content_type(value):
    """A MIME type as declared for an upload; application/octet-stream when absent."""
    if value is None:
        return "application/octet-stream"
    if not isinstance(value, str) or not 0 < len(value) <= 255 or not re.fullmatch(r"[\x20-\x7e]+/[\x20-\x7e]+", value):
        raise invalid("contentType must look like text/csv")
    return value


def check_page(query):
    """(limit, offset) of a listing; beyond the documented bounds is refused, not clamped."""
    limit = _check_number(query, "limit", LIST_DEFAULT)
    offset = _check_number(query, "offset", 0)
    if not 1 <= limit <= LIST_LIMIT:
        raise invalid("limit must be between 1 and %d" % LIST_LIMIT)
    return limit, offset


def _check_number(query, name, default):
    text = query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise invalid("%s must be a whole number" % name)
    return int(text)
