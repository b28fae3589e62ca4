"""What a paid start would send: checked before anything leaves, and told apart from every other by its digest."""

from __future__ import annotations

import hashlib
import json
import os

from rebyte_wire.errors import InputError
from rebyte_wire.retry import kind_of_start, parts_of

PROMPT_LIMIT_CHARACTERS = 100_000
# What the service's artifact store takes, with the types it is sent as; anything else has to be zipped.
ARTIFACT_TYPES = {
    ".pdf": "application/pdf",
    ".doc": "application/msword",
    ".rtf": "application/rtf",
    ".epub": "application/epub+zip",
    ".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ".xls": "application/vnd.ms-excel",
    ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    ".ppt": "application/vnd.ms-powerpoint",
    ".pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    ".csv": "text/csv",
    ".tsv": "text/tab-separated-values",
    ".html": "text/html",
    ".htm": "text/html",
    ".zip": "application/zip",
    ".gz": "application/gzip",
    ".tar": "application/x-tar",
    ".tgz": "application/gzip",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".gif": "image/gif",
    ".webp": "image/webp",
    ".svg": "image/svg+xml",
    ".tiff": "image/tiff",
    ".tif": "image/tiff",
    ".bmp": "image/bmp",
    ".avif": "image/avif",
    ".mp4": "video/mp4",
    ".webm": "video/webm",
    ".mov": "video/quicktime",
    ".avi": "video/x-msvideo",
    ".mkv": "video/x-matroska",
    ".mp3": "audio/mpeg",
    ".wav": "audio/wav",
    ".ogg": "audio/ogg",
    ".aac": "audio/aac",
    ".flac": "audio/flac",
    ".m4a": "audio/mp4",
}


class Order:
    """One paid start before it is sent: `kind` is task, follow-up or computer; `fields` go into the body as they are.

    `attachments` are uploaded just before; `file_ids` were uploaded earlier; the remaining arguments add one plain
    line each to the prompt unless `bare`.
    """

    def __init__(
        self,
        prompt,
        *,
        kind="task",
        task_id=None,
        attachments=(),
        file_ids=(),
        want=(),
        no_questions=False,
        bare=False,
        ordinal=0,
        **fields,
    ):
        self.kind, self.prompt, self.task_id, self.ordinal = kind, prompt, task_id, ordinal
        self.attachments, self.file_ids, self.want = list(attachments), list(file_ids), list(want)
        self.no_questions, self.bare = no_questions, bare
        self.fields = {name: value for name, value in fields.items() if value not in (None, [], ())}
        self._check()

    def __repr__(self):
        return "Order(%s, %d characters, %d files)" % (
            self.kind,
            len(self.prompt or ""),
            len(self.attachments),
        )

    def _check(self):
        if self.kind == "computer":
            return
        if not isinstance(self.prompt, str) or not self.prompt.strip():
            raise InputError(
                "the prompt is empty; say what the task is to do",
                hint="pass it as one argument, or --prompt-file FILE",
            )
        names = [item.name for item in self.attachments]
        if len(set(names)) != len(names):
            twice = sorted({name for name in names if names.count(name) > 1})
            raise InputError(
                "two files are named %s; in the task they would be one" % ", ".join(twice),
                hint="rename one of them",
            )
        length = len(self.prompt_with(names))
        if length > PROMPT_LIMIT_CHARACTERS:
            raise InputError(
                "the prompt is longer than the %d characters that the service takes"
                % PROMPT_LIMIT_CHARACTERS,
                hint="put the long part into a file and attach it with --file",
            )

    def prompt_with(self, names):
        """Return the prompt as it is sent when the attached files got these names on the service."""
        return "\n".join([self.prompt] + self.added_lines(names))

    def added_lines(self, names):
        """Return the plain lines that are added to the prompt, none when bare."""
        if self.bare:
            return []
        lines, skills = [], [name for item, name in zip(self.attachments, names) if item.is_skill]
        plain = [name for name in names if name not in skills]
        if plain:
            lines.append("Attached for you: %s" % ", ".join("/code/" + name for name in plain))
        lines += [
            "A skill for this task lies packed in /code/%s: unpack it, read its SKILL.md first, and use it."
            % name
            for name in skills
        ]
        if self.want:
            lines.append(_want_line(self.want))
        if self.no_questions:
            lines.append("Do not ask questions: decide yourself and say what you assumed.")
        return [""] + lines if lines else []

    def parts(self):
        """Return what makes two orders the same, part by part, as short digests (no prompt text)."""
        pieces = dict(
            self.fields,
            kind=self.kind,
            prompt=self.prompt,
            task=self.task_id,
            bare=self.bare,
            want=self.want,
            no_questions=self.no_questions,
            file_ids=self.file_ids,
            local_skills=[item.name for item in self.attachments if item.is_skill],
            files=[(item.name, item.sha256) for item in self.attachments],
        )
        return {
            name: _short(value) for name, value in pieces.items() if value not in (None, [], False)
        }

    def send(self, client, prompt, files, before_send):
        """Send it through a client and return the service's answer."""
        if self.kind == "follow-up":
            return client.follow_up(
                self.task_id,
                prompt,
                self.fields.get("skills"),
                files=files or None,
                before_send=before_send,
            )
        if self.kind == "computer":
            return client.create_computer(before_send=before_send, **self.fields)
        return client.create_task(
            prompt, files=files or None, before_send=before_send, **self.fields
        )

    def digest(self):
        """Return the digest of all parts: the same line again gives the same digest."""
        return _short(self.parts(), 64)


class RawOrder(Order):
    """A paid start as `api` sends it: a path, a body and a query, nothing added and nothing uploaded."""

    def __init__(self, path, body, query=None):
        kind = kind_of_start("POST", path)
        # As it was typed: an id need not be in small letters.
        task_id = parts_of(path)[1] if kind == "follow-up" else None
        super().__init__(body.get("prompt"), kind=kind, task_id=task_id, bare=True)
        self.path, self.body, self.query = path, body, query or None
        self.fields = {
            mine: body[theirs]
            for mine, theirs in (
                ("workspace_id", "workspaceId"),
                ("executor", "executor"),
                ("model", "model"),
            )
            if isinstance(body.get(theirs), str)
        }

    def parts(self):
        """Return what makes two raw starts the same: the path and each field of the body."""
        query = {"query": _short(self.query)} if self.query else {}
        return dict(
            {"field " + name: _short(value) for name, value in self.body.items()},
            path=_short(self.path),
            **query,
        )

    def send(self, client, prompt, files, before_send):
        """Send the body as it is."""
        return client.request(
            "POST", self.path, query=self.query, body=self.body, before_send=before_send
        )


def part_digest(value):
    """Return the digest under which a part of an order is kept, for telling later whether something has the same part."""
    return _short(value)


def digest_of_prompt(text):
    """Return the digest of a prompt exactly as sent, for finding its task again."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _short(value, length=16):
    text = json.dumps(value, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:length]


def type_of(name):
    """Return the content type of a file that the artifact store takes, by its extension; None when it refuses it."""
    return ARTIFACT_TYPES.get(os.path.splitext(name)[1].lower())


def _want_line(want):
    line = "When you are done, publish these as artifacts of this workspace: %s." % ", ".join(
        map(wanted_name, want)
    )
    refused = [name for name in want if not type_of(name)]
    if refused:
        line += (
            " The artifact store refuses the type of %s, so publish a zip that holds it."
            % ", ".join(refused)
        )
    return line


def wanted_name(name):
    """Return the name under which a wanted file can come: its own, or that of a zip when its type is refused."""
    return name if type_of(name) else os.path.splitext(name)[0] + ".zip"
