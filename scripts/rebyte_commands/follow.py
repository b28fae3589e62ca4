"""result: the document of a task as it stands now; --wait goes on to its end."""
from __future__ import annotations

from rebyte_commands.conversation import with_task
from rebyte_commands.jobs import finish

EXAMPLES = """examples:
  rebyte_cli.py result ID
  rebyte_cli.py result ID --wait --out result
"""


def flags(parser):
    """Declare the flags of result."""
    parser.add_argument("id", metavar="ID")
    parser.add_argument("--wait", action="store_true", help="go on to the end of the task")
    parser.add_argument("--prompt", dest="prompt_id", metavar="ID", help="that very turn instead of the latest")
    parser.add_argument("--out", metavar="DIR", help="bring the answer, the transcript and the files into this folder")
    parser.add_argument("--want", action="append", default=[], metavar="NAME", help="name what is missing if it did not come")
    parser.add_argument("--events", action="store_true", help="with its events in the document, as watch prints them")
    parser.add_argument("--workspace", metavar="ID", help="the workspace of a task that was made elsewhere")


def result(session, options):
    """Print the document of a task."""
    task_id = session.resolve(options.id)
    row = with_task(session, session.row_of(task_id, options.prompt_id))
    if options.workspace:
        row.workspace_id = session.workspace_of(options.workspace)
    if not options.wait:
        session.client.deadline = session.deadline.within(LOOK_SECONDS)
    return finish(session, row, options, answered=session.ledger.replies(task_id), with_events=options.events)


LOOK_SECONDS = 3
COMMANDS = {"result": (flags, result, EXAMPLES)}
