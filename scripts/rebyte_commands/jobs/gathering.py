"""What several tasks came to, brought home as each ends: a folder each, and the files of all."""

from __future__ import annotations

import os
from contextlib import suppress

from rebyte_commands.jobs.code import homecoming_for
from rebyte_commands.jobs.pages import keep_diff
from rebyte_commands.jobs.shape import expectation_of, value_keys
from rebyte_commands.shell.identifiers import row_of
from rebyte_flows.entries import folder_name
from rebyte_flows.files.atomic import open_folder, remove_stale
from rebyte_flows.files.names import expand_user
from rebyte_flows.following.follower import Follower
from rebyte_flows.results import Results
from rebyte_flows.values.table import Record
from rebyte_wire.errors import DeadlineReached, InputError, RebyteError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence

    from rebyte_commands.shell.context import Context
    from rebyte_flows.following.ending import Outcome as Ending
    from rebyte_flows.values.schema import Schema
    from rebyte_types import Json

# What one of many tells of its folder, beside its end.
SHOWN_KEYS = ("missing", "refused", "answerPath", "changes")
PATH_KEYS = ("answerPath", "transcriptPath")
ID_CHARACTERS = 8


class Gathering:
    """The folder of a `wait`, and the whole document of each task that was brought there."""

    def __init__(
        self,
        context: Context,
        options: Namespace,
        ids: Sequence[str],
        folder: str,
        schema: Schema | None,
    ) -> None:
        self.folder = folder
        self._context = context
        self._options = options
        self._schema = schema
        self._rows = {id: row_of(context, id) for id in ids}
        self._results = Results(folder, schema)
        self._paths: dict[str, str] = {}
        # False where the files of all could not be written at last.
        self.is_written = True
        open_folder(folder)
        remove_stale(folder)
        # What an earlier slice brought stays; else many tasks would never all be brought.
        self.documents = self._kept_documents()
        self._write()

    def __repr__(self) -> str:
        return "Gathering(%d tasks in %r)" % (len(self._rows), self.folder)

    def bring(self, end: Ending) -> None:
        """Bring home what a task came to, and write the files of all anew.

        Raises what following it raises; a task that is gone is told as such.
        """
        if self._is_brought(end):
            return
        if end.error is not None:
            self.documents[end.id] = _gone(end)
        else:
            self.documents[end.id] = self._follow(end.id)
        self._write()

    def _kept_documents(self) -> dict[str, Json]:
        """Return what an earlier call brought whole into this folder."""
        return {
            id: document
            for id, document in self._results.kept().items()
            if id in self._rows
            and self._results.is_whole(document)
            and self._lies_here(id, document)
        }

    def _lies_here(self, id: str, document: Json) -> bool:
        """Tell whether all that a document names lies in the folder of its task."""
        if document.get("missing") or document.get("refused"):
            return False
        folder = os.path.abspath(os.path.join(self.folder, self._folder_name(id)))
        paths = [str(file.get("path")) for file in document.get("files", ())]
        paths += [document[key] for key in PATH_KEYS if key in document]
        return all(
            path.startswith(folder + os.sep) and os.path.isfile(path) for path in paths
        )

    def _is_brought(self, end: Ending) -> bool:
        """Tell whether an earlier call brought just this end; a task may have had more turns."""
        document = self.documents.get(end.id)
        if document is None or end.error is not None:
            return False
        told = (document.get("status"), document.get("promptId"))
        return told == (end.status, end.prompt_id)

    def _follow(self, id: str) -> Json:
        context = self._context
        folder = os.path.join(self.folder, self._folder_name(id))
        if os.path.islink(folder):
            raise InputError(
                "%s is a link, which is not followed" % folder,
                hint="move it away or pass another --out",
            )
        follower = Follower(
            context.client,
            self._rows[id],
            state=context.state,
            out=folder,
            service=context.service,
            answered=context.answered(id),
            code=homecoming_for(context, id),
            expectation=expectation_of(context, self._options, self._schema),
        )
        document: Json = dict(follower.follow())
        if document["status"] == "running":
            raise DeadlineReached("the time was over before it was brought home")
        with suppress(OSError):
            keep_diff(context, folder, document)
        return document

    def _name_of(self, id: str) -> str:
        return self._rows[id].name or id

    def _folder_name(self, id: str) -> str:
        place = list(self._rows).index(id) + 1
        return folder_name(place, self._rows[id].name or id[:ID_CHARACTERS])

    def _write(self) -> None:
        running = {"status": "running"}
        records = [
            Record(self._name_of(id), self.documents.get(id, {"id": id, **running}))
            for id in self._rows
        ]
        try:
            self._paths = self._results.write(records)
            self.is_written = True
        except OSError as problem:
            self.is_written = False
            self._context.error("the results cannot be written: %s" % problem)

    def told(self) -> Json:
        """Return what the report of the command tells of the folder."""
        return {**self._paths, "out": os.path.abspath(self.folder)}

    def keys_of(self, id: str, room: int) -> Json:
        """Return what the document of one task among many tells of what was brought."""
        document = self.documents.get(id, {})
        found = {key: document[key] for key in SHOWN_KEYS if key in document}
        return {**found, **value_keys(document, room)}


def _gone(end: Ending) -> Json:
    error = end.error.as_dict() if isinstance(end.error, RebyteError) else {}
    return {"id": end.id, "status": end.status, "error": error}


def gathering_of(
    context: Context, options: Namespace, ids: Sequence[str], schema: Schema | None
) -> Gathering | None:
    """Return the Gathering of a line, None where it asks for no folder and no value."""
    if options.out:
        return Gathering(context, options, ids, expand_user(options.out), schema)
    if schema is None:
        return None
    # Lazy: only a line without --out needs a name for its folder.
    from hashlib import sha256

    digest = sha256("\n".join(ids).encode()).hexdigest()
    folder = context.state.folder("batches", digest[:16])
    return Gathering(context, options, ids, folder, schema)
