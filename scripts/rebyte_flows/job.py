"""A whole job from Python: start, follow to an end that can be trusted, the answer, the files."""

from __future__ import annotations

import json
import os
import time
from functools import partial

from rebyte_flows.code.git import open_repository
from rebyte_flows.code.home.homecoming import homecoming_of
from rebyte_flows.code.sending.attachment import CodeTree
from rebyte_flows.code.sending.script import CodeScript
from rebyte_flows.files.atomic import open_folder
from rebyte_flows.files.uploads import Attachment
from rebyte_flows.following.expectation import REPAIRS_MOST, Expectation
from rebyte_flows.following.follower import Follower
from rebyte_flows.following.result import service_of
from rebyte_flows.starting.guards import Guards, owners_limit
from rebyte_flows.starting.ledger import open_ledger
from rebyte_flows.starting.requests import task_request
from rebyte_flows.starting.submitter import Submitter
from rebyte_flows.state import find_state
from rebyte_flows.values.contradictions import check_possible
from rebyte_flows.values.prompts import shape_lines
from rebyte_flows.values.schema import read_schema
from rebyte_wire.status import FINAL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from rebyte_client import RebyteClient
    from rebyte_flows.starting.ledger import Ledger
    from rebyte_flows.starting.rows import Row
    from rebyte_flows.state import StateFolder
    from rebyte_types import Event, Json, TaskDocument


def run(
    client: RebyteClient,
    prompt: str,
    *,
    files: Sequence[str] = (),
    out: str | None = None,
    want: Sequence[str] = (),
    once: str | None = None,
    again: bool = False,
    state: StateFolder | None = None,
    on_event: Callable[[Event], object] | None = None,
    no_questions: bool = False,
    bare: bool = False,
    schema: Json | bool | None = None,
    repair: int = 0,
    code: str | None = None,
    leave: Sequence[str] = (),
    send_secret: Sequence[str] = (),
    **fields: Any,
) -> TaskDocument:
    """Start one task, follow it, and return its document (see result.KEYS), as `run` does.

    `files` are paths; `code` is the root of a git repository whose working tree goes along, less
    the paths of `leave`, and whose changes come home as a branch (see CodeTree). `fields` are those
    of create_task (executor, model, workspace_id, skills, github_url, branch_name).
    Journaled: the same call again goes on with the same task, and the owner's
    REBYTE_MAX_TASKS_PER_DAY holds. Set `client.deadline` to bound it; past that the document's
    status is running. Raises what Submitter.submit raises. With `schema`, a JSON Schema as Python
    has it (True for any value), the document has `value`, or `valueErrors`; `repair` is how many
    paid turns may send the errors back, 2 at the most.
    """
    expected = None if schema is None else read_schema(json.dumps(schema))
    state = state or find_state(os.environ)
    if out:
        open_folder(out)
    attachments = [Attachment(path) for path in files]
    if code is not None:
        attachments += _code_attachments(code, send_secret, leave)
    ledger = open_ledger(client, state)
    try:
        order = task_request(
            prompt,
            attachments=attachments,
            want=want,
            no_questions=no_questions,
            lines=shape_lines(expected) if expected else (),
            bare=bare,
            **fields,
        )
        guards = Guards(owners_limit(os.environ), None, state.lasting, state.is_found)
        submitter = Submitter(client, ledger, guards=guards)
        if expected:
            check_possible(
                expected,
                partial(submitter.starts_anew, order, name=once, again=again),
            )
        started = submitter.submit(order, name=once, again=again)
        row = started.row
        expectation = None
        if expected:
            repairs = min(repair, REPAIRS_MOST)
            expectation = Expectation(expected, submitter, repairs)
        document = Follower(
            client,
            row,
            state=state,
            out=out,
            want=want,
            request=order,
            reused=started.reused,
            service=service_of(client),
            answered=ledger.answered(row.task_id),
            on_event=on_event,
            expectation=expectation,
            code=homecoming_of(ledger, state, row.task_id),
        ).follow()
        if document["status"] in FINAL:
            first = (expectation and expectation.first) or document
            _deliver(ledger, row, first)
        return document
    finally:
        ledger.close()


def _deliver(ledger: Ledger, row: Row, document: TaskDocument) -> None:
    """Note that the end of a turn was given to the caller; the first time counts."""
    ledger.update(
        row.id,
        delivered_at=row.delivered_at or time.time(),
        status=document["status"],
        prompt_id=document.get("promptId"),
    )


def _code_attachments(
    folder: str, send_secret: Sequence[str], leave: Sequence[str]
) -> list[Attachment]:
    """Return the working tree of a repository and the script that goes beside it."""
    tree = CodeTree(open_repository(folder), send_secret=send_secret, leave=leave)
    return [tree, CodeScript(tree.code_name)]
