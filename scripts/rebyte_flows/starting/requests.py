"""What a paid start would send: checked before anything leaves, and told apart from every other by
its digest.
"""

from __future__ import annotations

import hashlib
import json

from rebyte_flows.files.types import type_of, wanted_name
from rebyte_flows.starting.kinds import FOLLOW_UP, Kind, kind_for
from rebyte_wire.errors import InputError
from rebyte_wire.payloads import encode
from rebyte_wire.retry import parts_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from rebyte_flows.files.uploads import Attachment
    from rebyte_types import FileReference, Json

PROMPT_LIMIT_CHARACTERS = 100_000
DIGEST_CHARACTERS = 64
PART_DIGEST_CHARACTERS = 16


class StartRequest:
    """One paid start: a path below /v1, a JSON body, and local files that are uploaded just
    before.

    `body` is sent as it is, except that `prompt` gets a plain line for each attachment, wanted
    file and so on (see added_lines), at last `lines`, and `files` the uploaded ones. `ordinal`
    tells equal lines of a batch apart.
    """

    def __init__(
        self,
        path: str,
        body: Json,
        *,
        query: Sequence[tuple[str, str]] = (),
        attachments: Iterable[Attachment] = (),
        want: Iterable[str] = (),
        no_questions: bool = False,
        lines: Sequence[str] = (),
        bare: bool = False,
    ) -> None:
        kind = kind_for("POST", path)
        if kind is None:
            raise InputError("POST %s starts nothing" % path)
        self.kind: Kind = kind
        self.path = path
        self.query = list(query)
        self.body = {
            name: value for name, value in body.items() if value not in (None, [], ())
        }
        self.attachments = list(attachments)
        self.want = list(want)
        self.no_questions = no_questions
        self.lines = list(lines)
        self.bare = bare
        self.ordinal = 0
        self._digest: str | None = None
        self._check()

    def __repr__(self) -> str:
        return "StartRequest(%s, %d files)" % (self.path, len(self.attachments))

    @property
    def task_id(self) -> str | None:
        """The task that a follow-up belongs to, as it was typed; None for what starts something
        new.
        """
        return parts_of(self.path)[1] if self.kind.is_turn else None

    @property
    def names(self) -> list[str]:
        """The names of the attachments."""
        return [item.name for item in self.attachments]

    def _check(self) -> None:
        """Raise InputError for what the service would refuse or misunderstand."""
        if self.kind.name != "computer":
            self._check_prompt()
        # What is no JSON, half a surrogate pair or a NUL is refused before anything leaves.
        encode([self.preview(), self.query])

    def _check_prompt(self) -> None:
        prompt = self.body.get("prompt")
        if not isinstance(prompt, str) or not prompt.strip():
            raise InputError(
                "the prompt is empty; say what the task is to do",
                hint="pass it as one argument, or --prompt-file FILE",
            )
        names = self.names
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise InputError(
                "two files are named %s; in the task they would be one"
                % ", ".join(twice),
                hint="rename one of them",
            )
        if len(self.prompt_with(names)) > PROMPT_LIMIT_CHARACTERS:
            raise InputError(
                "the prompt is longer than the %d characters that the service takes"
                % PROMPT_LIMIT_CHARACTERS,
                hint="put the long part into a file and attach it with --file",
            )

    def prompt_with(self, names: Sequence[str]) -> str:
        """Return the prompt as it is sent when the attachments got these names on the service."""
        return "\n".join([self.body["prompt"], *self.added_lines(names)])

    def added_lines(self, names: Sequence[str]) -> list[str]:
        """Return the plain lines that are added to the prompt, none when `bare`."""
        if self.bare:
            return []
        lines = _attachment_lines(self.attachments, names)
        if self.want:
            lines.append(_want_line(self.want))
        if self.no_questions:
            lines.append(
                "Do not ask questions: decide yourself and say what you assumed."
            )
        # Last: they say how the answer has to end.
        lines += self.lines
        return ["", *lines] if lines else []

    def body_with(self, uploaded: Sequence[Any]) -> Json:
        """Return the body to send; `uploaded` are the entries of `files` that the attachments
        became, in order.
        """
        body = dict(self.body)
        if "prompt" in body:
            body["prompt"] = self.prompt_with([item["filename"] for item in uploaded])
        if uploaded:
            body["files"] = [*uploaded, *self.body.get("files", [])]
        return body

    def preview(self) -> Json:
        """Return the body as --dry-run shows it: the attachments have no ids yet."""
        placeholders = [
            {"id": "(told by the upload)", "filename": name} for name in self.names
        ]
        return self.body_with(placeholders)

    def parts(self) -> dict[str, str]:
        """Return what makes two requests the same, part by part, as short digests (no prompt
        text).
        """
        pieces: Json = self.body_with([{"filename": name} for name in self.names])
        if self.attachments:
            contents: list[Any] = [
                [item.name, item.sha256] for item in self.attachments
            ]
            pieces["files"] = contents + list(self.body.get("files", []))
        pieces["path"] = self.path
        if self.query:
            pieces["query"] = self.query
        return {name: digest_of_part(value) for name, value in pieces.items()}

    def digest(self) -> str:
        """Return the digest of all parts: the same line again gives the same digest.

        Raises InputError for an attached file that cannot be read.
        """
        if self._digest is None:
            try:
                self._digest = _digest(self.parts(), DIGEST_CHARACTERS)
            except OSError as problem:
                raise InputError(
                    "a file to attach cannot be read: %s" % problem
                ) from problem
        return self._digest


def task_request(
    prompt: str | None,
    *,
    executor: str | None = None,
    model: str | None = None,
    workspace_id: str | None = None,
    skills: Sequence[str] = (),
    github_url: str | None = None,
    branch_name: str | None = None,
    file_ids: Sequence[FileReference] = (),
    attachments: Iterable[Attachment] = (),
    want: Iterable[str] = (),
    no_questions: bool = False,
    lines: Sequence[str] = (),
    bare: bool = False,
) -> StartRequest:
    """Return the request for a new task; what is None or empty is left to the service."""
    body = {
        "prompt": prompt,
        "executor": executor,
        "model": model,
        "workspaceId": workspace_id,
        "skills": list(skills),
        "githubUrl": github_url,
        "branchName": branch_name,
        "files": list(file_ids),
    }
    return StartRequest(
        "/tasks",
        body,
        attachments=attachments,
        want=want,
        no_questions=no_questions,
        lines=lines,
        bare=bare,
    )


def follow_up_request(
    task_id: str,
    prompt: str | None,
    *,
    skills: Sequence[str] = (),
    file_ids: Sequence[FileReference] = (),
    attachments: Iterable[Attachment] = (),
    want: Iterable[str] = (),
    no_questions: bool = False,
    lines: Sequence[str] = (),
    bare: bool = False,
) -> StartRequest:
    """Return the request for one more turn of a task."""
    return StartRequest(
        "/tasks/%s/prompts" % task_id,
        {"prompt": prompt, "skills": list(skills), "files": list(file_ids)},
        attachments=attachments,
        want=want,
        no_questions=no_questions,
        lines=lines,
        bare=bare,
    )


def computer_request(name: str | None = None, icon: str | None = None) -> StartRequest:
    """Return the request for a machine that lasts."""
    return StartRequest("/agent-computers", {"name": name, "icon": icon})


def digest_of_prompt(text: str) -> str:
    """Return the digest of a prompt exactly as sent, for finding its task again."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def digest_of_part(value: Any) -> str:
    """Return the digest under which a part of a request is kept."""
    return _digest(value, PART_DIGEST_CHARACTERS)


def _digest(value: Any, length: int) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:length]


def _attachment_lines(
    attachments: Sequence[Attachment], names: Sequence[str]
) -> list[str]:
    """Return the lines that say where what is attached lies in the task's machine."""
    pairs = list(zip(attachments, names))
    files = ["/code/" + name for item, name in pairs if item.is_listed]
    lines = ["Attached for you: %s" % ", ".join(files)] if files else []
    for item, name in pairs:
        lines += item.prompt_lines(name)
    return lines


def _want_line(want: Sequence[str]) -> str:
    """Return the line that asks for artifacts by name."""
    names = ", ".join(map(wanted_name, want))
    line = (
        "When you are done, publish these as artifacts of this workspace: %s." % names
    )
    refused = [name for name in want if not type_of(name)]
    if refused:
        line += (
            " The artifact store refuses the type of %s, so publish a zip that holds it."
            % (", ".join(refused))
        )
    return line


def is_follow_up(request: StartRequest) -> bool:
    """Tell whether a request is one more turn of a task."""
    return request.kind is FOLLOW_UP
