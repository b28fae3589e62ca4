"""What many tasks came to, in one folder: results.jsonl, and their values as one table."""

from __future__ import annotations

import json
import os

from rebyte_flows.documents import is_sound
from rebyte_flows.files.atomic import write_whole
from rebyte_flows.following.events import parse_object
from rebyte_flows.values.table import choose, table_text, values_text
from rebyte_flows.values.validation import find_faults
from rebyte_wire.status import FINAL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from rebyte_flows.values.schema import Schema
    from rebyte_flows.values.table import Record
    from rebyte_types import Json

RESULTS = "results.jsonl"
VALUES = "values.jsonl"
TABLE = "table.csv"


class Results:
    """The files in a folder that tell of all its tasks; each is replaced as a whole.

    With a `schema` there are values.jsonl and table.csv as well; `keep` is (best or least, a
    property) where of several attempts at a line one is to be in them.
    """

    def __init__(
        self,
        folder: str,
        schema: Schema | None = None,
        keep: tuple[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.schema = schema
        self.keep = keep

    def __repr__(self) -> str:
        return "Results(%r)" % self.folder

    def write(self, records: Sequence[Record]) -> dict[str, str]:
        """Write every file, and return the paths by what they hold. Raises OSError."""
        lines = []
        for index, record in enumerate(records, 1):
            document = record.document or {"status": "waiting"}
            lines.append(json.dumps({"index": index, **document}) + "\n")
        paths = {"results": self._write(RESULTS, "".join(lines))}
        if self.schema is None:
            return paths
        chosen = self.chosen(records)
        paths["values"] = self._write(VALUES, values_text(chosen))
        paths["table"] = self._write(TABLE, table_text(chosen, self.schema))
        return paths

    def kept(self) -> dict[str, Json]:
        """Return the task documents that an earlier call wrote, by task id."""
        return _documents_in(os.path.join(self.folder, RESULTS))

    def is_whole(self, document: Json) -> bool:
        """Tell whether nothing more can come of a document; a value has to fit this very schema."""
        if not is_sound(document):
            # Somebody else wrote in it: it is asked for again, and not paid for again.
            return False
        if document.get("status") != "completed":
            return document.get("status") in FINAL
        if "answer" not in document:
            # It may be that it could not be read.
            return False
        if self.schema is None:
            return True
        return "value" in document and not find_faults(self.schema, document["value"])

    def chosen(self, records: Sequence[Record]) -> Sequence[Record]:
        """Return the records that stand in the table."""
        if self.keep is None:
            return records
        rule, prop = self.keep
        return choose(records, rule, prop)

    def _write(self, name: str, text: str) -> str:
        path = os.path.join(self.folder, name)
        write_whole(path, text)
        return os.path.abspath(path)


def _documents_in(path: str) -> dict[str, Json]:
    """Return the task documents in a results.jsonl by task id, without lines that are none."""
    kept: dict[str, Json] = {}
    # A pipe of that name would be waited for.
    if not os.path.isfile(path):
        return kept
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = file.readlines()
    except OSError:
        return kept
    for line in lines:
        found = parse_object(line)
        if found and isinstance(found.get("id"), str):
            found.pop("index", None)
            kept[found["id"]] = found
    return kept
