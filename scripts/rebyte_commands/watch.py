"""watch: a task's events as they come, one compact line each, the last one saying how it ended."""
from __future__ import annotations

from rebyte_commands.interrupts import Interrupted
from rebyte_commands.jobs import EXIT_BY_NAME, compact
from rebyte_commands.live import brief
from rebyte_commands.output import harmless, to_json
from rebyte_flows.document import exit_name
from rebyte_flows.result import question_of, shown
from rebyte_flows.stream import End, watch as events_of
from rebyte_wire.errors import EXIT_RUNNING, DeadlineReached

EXAMPLES = """examples:
  rebyte_cli.py watch ID
  rebyte_cli.py watch ID --raw --max-wait 600
"""


def flags(parser):
    """Declare the flags of watch."""
    parser.add_argument("id", metavar="ID")
    parser.add_argument("--raw", action="store_true", help="each event whole, as the service sent it")
    parser.add_argument("--prompt", dest="prompt_id", metavar="ID", help="that very turn instead of the latest")


def watch(session, options):
    """Print a task's events until it ends, asks, or the time is over."""
    task_id = session.resolve(options.id)
    written, end, code, as_text = 0, None, None, session.form == "text"
    try:
        for seen in events_of(session.client, task_id, prompt_id=options.prompt_id, answered=session.ledger.replies(task_id)):
            if isinstance(seen, End):
                end = seen
                break
            if not (as_text and seen.get("eventType") == "init"):
                session.write(_line(seen, options.raw, as_text))
            session.printed = True
            written += 1
    except DeadlineReached:
        code = EXIT_RUNNING
    except Interrupted as interrupt:
        code = interrupt.exit_code
        session.say("interrupted; the task runs on")
    done = {"id": task_id, "status": end.status if end else "running", "events": written}
    if end and end.question:
        asked = question_of(end.question)
        done["question"] = shown(asked)
    if not end:
        done["next"] = [{"why": "it still runs", "run": session.line("watch", task_id)}]
    session.write(_end_text(done) if as_text else to_json({"done": done}))
    return code if end is None else EXIT_BY_NAME[exit_name(done)]


def _line(event, raw, as_text):
    if raw:
        return to_json(event)
    if as_text:
        return ("    " if "parent" in event else "") + harmless(brief(event))
    return to_json(compact(event))


def _end_text(done):
    lines = ["-- %s, %d events" % (done["status"], done["events"])]
    if "question" in done:
        lines += [harmless("it asks: " + done["question"]["text"])]
        lines += [harmless("  %(n)d  %(label)s" % option) for option in done["question"]["options"]]
    return "\n".join(lines + ["next: " + step["run"] for step in done.get("next", [])])


COMMANDS = {"watch": (flags, watch, EXAMPLES)}
