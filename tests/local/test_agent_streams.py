"""The streams of agent programs: what each line becomes, whole, cut off, and of a newer version.

The streams here are short and of our own making. Recorded ones are read besides where they lie
beside the project, in the folder that AGENT_RECORDINGS names or in ../shared/recordings.
"""

from __future__ import annotations

import copy
import json
import os
import re

import pytest

from measure import ROOT
from rebyte_local.agents.program import BOXED, DEFAULT, FULL, Turn
from rebyte_local.agents.reading import Limits, TurnReader
from rebyte_local.agents.roster import PROGRAMS

SAID = "I count them."
ANSWER = "There are 3."
OUTPUT = "a.csv\nb.csv"
LINE = "ls"


def claude_line(kind, *blocks, **more):
    return dict(more, type=kind, message={"content": list(blocks)}, session_id="s-1")


STREAMS = {
    "claude": [
        {"type": "system", "subtype": "init", "session_id": "s-1", "model": "m-1"},
        claude_line("assistant", {"type": "thinking", "thinking": "hm"}),
        claude_line("assistant", {"type": "text", "text": SAID}),
        claude_line(
            "assistant",
            {
                "type": "tool_use",
                "id": "t1",
                "name": "Bash",
                "input": {"command": LINE},
            },
        ),
        claude_line(
            "user",
            {"type": "tool_result", "tool_use_id": "t1", "content": OUTPUT},
        ),
        claude_line("assistant", {"type": "text", "text": ANSWER}),
        {
            "usage": {"input_tokens": 20, "output_tokens": 4},
            "total_cost_usd": 0.5,
            "is_error": False,
            "result": ANSWER,
            "type": "result",
        },
    ],
    "codex": [
        {"type": "thread.started", "thread_id": "s-1"},
        {"type": "turn.started"},
        {"type": "item.completed", "item": {"type": "agent_message", "text": SAID}},
        {
            "type": "item.started",
            "item": {"id": "t1", "type": "command_execution", "command": LINE},
        },
        {
            "type": "item.completed",
            "item": {
                "id": "t1",
                "type": "command_execution",
                "command": LINE,
                "aggregated_output": OUTPUT,
                "exit_code": 0,
                "status": "completed",
            },
        },
        {"type": "item.completed", "item": {"type": "agent_message", "text": ANSWER}},
        {
            "type": "turn.completed",
            "usage": {"input_tokens": 20, "output_tokens": 4},
        },
    ],
    "gemini": [
        {"type": "init", "session_id": "s-1", "model": "m-1"},
        {"type": "message", "role": "user", "content": "Count."},
        {"type": "message", "role": "assistant", "content": SAID, "delta": True},
        {
            "type": "tool_use",
            "tool_name": "run_shell_command",
            "tool_id": "t1",
            "parameters": {"command": LINE},
        },
        {"type": "tool_result", "tool_id": "t1", "status": "success", "output": OUTPUT},
        {
            "type": "message",
            "role": "assistant",
            "content": ANSWER[:6],
            "delta": True,
        },
        {
            "type": "message",
            "role": "assistant",
            "content": ANSWER[6:],
            "delta": True,
        },
        {
            "type": "result",
            "status": "success",
            "stats": {"input_tokens": 20, "output_tokens": 4},
        },
    ],
    "opencode": [
        {"type": "step_start", "sessionID": "s-1", "part": {}},
        {"type": "text", "sessionID": "s-1", "part": {"text": SAID}},
        {
            "type": "tool_use",
            "sessionID": "s-1",
            "part": {
                "tool": "bash",
                "callID": "t1",
                "state": {
                    "status": "completed",
                    "input": {"command": LINE},
                    "output": OUTPUT,
                },
            },
        },
        {
            "type": "step_finish",
            "sessionID": "s-1",
            "part": {"reason": "tool-calls", "tokens": {"input": 9, "output": 3}},
        },
        {"type": "text", "sessionID": "s-1", "part": {"text": ANSWER}},
        {
            "type": "step_finish",
            "sessionID": "s-1",
            "part": {
                "reason": "stop",
                "tokens": {"input": 11, "output": 1},
                "cost": 0.5,
            },
        },
    ],
    "pi": [
        {"type": "session", "id": "s-1"},
        {
            "type": "message_end",
            "message": {
                "role": "assistant",
                "model": "m-1",
                "content": [
                    {"type": "text", "text": SAID},
                    {"type": "toolCall", "id": "t1", "name": "bash"},
                ],
                "usage": {"input": 9, "output": 3, "cost": {"total": 0.25}},
                "stopReason": "toolUse",
            },
        },
        {
            "type": "tool_execution_start",
            "toolCallId": "t1",
            "toolName": "bash",
            "args": {"command": LINE},
        },
        {
            "type": "tool_execution_end",
            "toolCallId": "t1",
            "result": {"content": [{"type": "text", "text": OUTPUT}]},
            "isError": False,
        },
        {
            "type": "message_end",
            "message": {
                "role": "assistant",
                "model": "m-1",
                "content": [{"type": "text", "text": ANSWER}],
                "usage": {"input": 11, "output": 1, "cost": {"total": 0.25}},
                "stopReason": "stop",
            },
        },
        {
            "type": "agent_end",
            "messages": [{"role": "assistant", "stopReason": "stop"}],
        },
    ],
}
# What ends a turn badly, though the exit code says nothing of it, and the reason to be told.
BAD_ENDS = {
    "claude": [{"type": "result", "is_error": True, "result": "no key"}],
    "codex": [{"type": "turn.failed", "error": {"message": "no key"}}],
    "gemini": [{"type": "result", "status": "error", "error": {"message": "no key"}}],
    "opencode": [{"type": "error", "error": {"data": {"message": "no key"}}}],
    "pi": [
        {
            "type": "agent_end",
            "messages": [{"stopReason": "error", "errorMessage": "no key"}],
        }
    ],
}
# How each tells that it only tries its service again.
RETRIES = {
    "claude": {"type": "system", "subtype": "api_retry", "error": "overloaded"},
    "codex": {"type": "error", "message": "Reconnecting... waiting for network"},
    "pi": {"type": "auto_retry_start", "errorMessage": "overloaded"},
}
each_program = pytest.mark.parametrize("name", sorted(STREAMS))


class Clock:
    """A clock that a test winds."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def read(name, lines, clock=None):
    """Read lines or records; gives (the reader, the events)."""
    reader = TurnReader(PROGRAMS[name], Limits(), clock=clock or Clock())
    events = []
    for line in lines:
        events += reader.read(line if isinstance(line, str) else json.dumps(line))
    return reader, events


def contents(events):
    """All that can be read in events, as one text."""
    return json.dumps(events, ensure_ascii=False)


@each_program
def test_a_whole_stream_becomes_its_events_its_answer_and_its_account(name):
    reader, events = read(name, STREAMS[name])
    tools = [payload for kind, payload in events if kind == "tool_use"]
    results = [payload for kind, payload in events if kind == "tool_result"]
    assert (reader.session, reader.tools, len(tools)) == ("s-1", 1, 1)
    assert tools[0]["id"] == "t1" and tools[0]["input"] == {"command": LINE}
    assert (results[0]["output"], results[0]["is_error"]) == (OUTPUT, False)
    assert ("text", SAID) in [(kind, one.get("content")) for kind, one in events]
    assert reader.answer() == ANSWER and reader.failed(0, "") is None
    assert (reader.usage["inputTokens"], reader.usage["outputTokens"]) == (20, 4)
    assert reader.cost in (0.5, None) and reader.warnings(0) == []


@each_program
def test_the_last_word_of_a_stream_outranks_the_exit_code(name):
    reader, _ = read(name, STREAMS[name][:-1] + BAD_ENDS[name])
    assert reader.failed(0, "noise on stderr") == "no key"
    reader, _ = read(name, STREAMS[name])
    assert reader.failed(3, "noise") is None and "exit code 3" in reader.warnings(3)[0]


@each_program
def test_a_stream_without_a_last_word_has_failed_whatever_the_exit_code(name):
    for count in range(len(STREAMS[name])):
        reader, _ = read(name, STREAMS[name][:count])
        assert reader.failed(0, "the words on stderr"), count
        assert reader.failed(-9, "")


@each_program
def test_a_line_that_is_cut_off_is_an_event_and_no_end(name):
    for count, record in enumerate(STREAMS[name]):
        line = json.dumps(record)
        half = line[: len(line) // 2]
        reader, events = read(name, STREAMS[name][:count] + [half])
        assert ("stdout", {"content": half}) == events[-1]
        assert reader.failed(0, "")


@each_program
def test_what_a_newer_version_adds_is_kept_and_changes_nothing(name):
    new = {"type": "brand.new", "text": "new words", "deep": {"list": [1, None]}}
    odd = [new, {"no": "type"}, {"type": 7}, {"type": ["x"]}, {"type": None}]
    lines = []
    for record in STREAMS[name]:
        lines += [dict(record, brand_new={"key": [1]}), *odd]
    lines.extend(["[]", "null", "7", '"text"', "{", ""])
    reader, events = read(name, lines)
    plain, usual = read(name, STREAMS[name])
    assert reader.failed(0, "") is None
    assert (reader.answer(), reader.usage) == (plain.answer(), plain.usage)
    assert "new words" in contents(events)
    known = [event for event in events if event[0] not in ("agent_event", "stdout")]
    assert known == usual


# Words where a newer version might put them.
MOVED = [
    ("claude", claude_line("assistant", {"type": "text", "words": {"content": "hi"}})),
    ("claude", claude_line("assistant", "hi")),
    ("claude", {"type": "assistant", "text": "hi"}),
    ("claude", {"type": "system", "subtype": "brand_new", "text": "hi"}),
    ("codex", {"type": "item.completed", "item": {"type": "brand_new", "said": "hi"}}),
    ("codex", {"type": "item.updated", "item": {"type": "brand_new", "text": "hi"}}),
    (
        "codex",
        {"type": "item.completed", "item": {"type": "agent_message", "content": "hi"}},
    ),
    ("gemini", {"type": "message", "text": "hi"}),
    ("gemini", {"type": "message", "role": "system", "content": "hi"}),
    ("gemini", {"type": "message", "content": [{"text": "hi"}]}),
    ("opencode", {"type": "text", "part": {"content": ["hi"]}}),
    ("opencode", {"type": "brand_new", "part": {"text": "hi"}}),
    ("pi", {"type": "message_end", "message": {"role": "custom", "content": "hi"}}),
]


@pytest.mark.parametrize("name, record", MOVED)
def test_words_that_stand_elsewhere_than_usual_are_not_lost(name, record):
    assert '"hi' in contents(read(name, [record])[1]).replace("\\", "")


def leaves(value, path=()):
    """Yield the path of every value inside a record."""
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in items if isinstance(value, (dict, list)) else ():
        yield from (
            leaves(inner, (*path, key))
            if isinstance(inner, (dict, list))
            else [(*path, key)]
        )


def changed(record, path, value):
    """Return a record with one value replaced, or taken away for Ellipsis."""
    record = copy.deepcopy(record)
    place = record
    for key in path[:-1]:
        place = place[key]
    if value is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return record


@each_program
def test_a_field_that_is_missing_or_of_another_kind_loses_nothing_but_itself(name):
    others = [..., None, 7, 1.5, True, "words", [], ["x"], {}, {"x": {"y": 1}}]
    for index, record in enumerate(STREAMS[name]):
        for path in leaves(record):
            for value in others:
                lines = list(STREAMS[name])
                lines[index] = changed(record, path, value)
                reader, events = read(name, lines)
                reader.failed(0, "")
                reader.answer()
                reader.warnings(1)
                json.dumps([events, reader.usage, reader.cost], allow_nan=False)
                rest = contents(read(name, STREAMS[name][:index])[1])[1:-1]
                assert rest in contents(events), (path, value)


@pytest.mark.parametrize("name", sorted(RETRIES))
def test_a_program_that_only_tries_its_service_again_is_ended(name):
    clock = Clock()
    reader, _ = read(name, STREAMS[name][:2], clock)
    for _ in range(13):
        assert reader.overdue() is None
        clock.now += 10
        reader.read(json.dumps(RETRIES[name]))
    assert "did not answer for 120 seconds" in reader.overdue()
    reader.read(json.dumps(STREAMS[name][2]))
    assert (
        reader.overdue() is None or name == "pi"
    )  # progress, so the count begins anew


def test_a_program_that_is_silent_or_never_ends_is_ended():
    clock = Clock()
    reader, _ = read("gemini", STREAMS["gemini"][:3], clock)
    reader.read_stderr("Attempt 1 failed with status 503. Retrying with backoff...")
    clock.now = 121
    assert "Attempt 1 failed" in reader.overdue()
    reader, _ = read("opencode", [], Clock())
    reader._clock.now = 1201
    assert "no sign of life for 1200 seconds" in reader.overdue()
    reader._progress_at = reader._clock.now = 7201
    assert "7200 seconds" in reader.overdue()


@each_program
def test_a_program_that_said_its_last_word_and_does_not_end_is_ended_and_has_not_failed(
    name,
):
    clock = Clock()
    reader, _ = read(name, STREAMS[name], clock)
    assert reader.overdue() is None
    clock.now = 21
    assert "did not end" in reader.overdue()
    assert reader.failed(-15, "") is None and "signal 15" in reader.warnings(-15)[0]


def test_a_reason_that_only_the_log_tells_is_told_with_the_failure():
    bare = {"type": "error", "error": {"data": {"message": "Check server logs."}}}
    reader, _ = read("opencode", [bare])
    line = (
        'level=ERROR message=failed ref=1 error="Model not found: a/\\"b\\"." cause="x"'
    )
    reader.read_stderr(line)
    reason = 'Check server logs. (Model not found: a/\\"b\\".)'
    assert reader.failed(1, "noise") == reason


def test_a_last_word_that_more_work_follows_was_none():
    reader, _ = read("claude", STREAMS["claude"] + STREAMS["claude"][2:4])
    assert reader.failed(0, "cut off") == "cut off"


INNER = {"type": "assistant", "parent_tool_use_id": "t1"}


@pytest.mark.parametrize(
    "name, after, reason",
    [
        ("opencode", BAD_ENDS["opencode"][0], "no key"),
        ("codex", {"type": "error", "message": "no key"}, "no key"),
        ("claude", dict(INNER, message={"content": "inner words"}), None),
        ("claude", dict(INNER, message={"content": "inner words"}, error="e"), None),
    ],
)
def test_after_the_last_word_a_failure_counts_and_a_sub_agent_does_not(
    name, after, reason
):
    reader, _ = read(name, [*STREAMS[name], after])
    assert reader.failed(0, "noise") == reason


@pytest.mark.parametrize(
    "name, tokens, cost",
    [("claude", 40, 0.5), ("codex", 20, None), ("gemini", 40, None)],
)
def test_of_several_last_words_costs_add_up_unless_the_program_counts_on(
    name, tokens, cost
):
    reader, _ = read(name, STREAMS[name] * 2)
    assert (reader.usage["inputTokens"], reader.cost) == (tokens, cost)


@pytest.mark.parametrize("number", [-1, -0.5, 10**30, 1e300, "9", None, True])
@pytest.mark.parametrize("name, index", [("claude", -1), ("opencode", -1), ("pi", 1)])
def test_a_number_that_cannot_be_what_a_turn_cost_is_none(name, index, number):
    line = json.dumps(STREAMS[name][index])
    for known in ("0.5", "0.25", "20", "11", "9"):
        line = line.replace(": %s" % known, ": %s" % json.dumps(number))
    reader, _ = read(name, [line])
    assert reader.cost is None and "inputTokens" not in reader.usage


@each_program
def test_an_answer_that_is_empty_is_told(name):
    words = re.compile("|".join(map(re.escape, (SAID, ANSWER, ANSWER[:6], ANSWER[6:]))))
    reader, _ = read(name, [words.sub("", json.dumps(one)) for one in STREAMS[name]])
    assert reader.failed(0, "") is None
    assert reader.warnings(0) == ["its answer is empty"]


def test_a_refusal_of_the_service_is_not_waited_for():
    clock = Clock()
    reader, _ = read("claude", [dict(RETRIES["claude"], error_status=401)], clock)
    clock.now = 11
    assert "refused it for 10 seconds: overloaded (status 401)" in reader.overdue()


def test_denied_tools_and_a_sub_agent_are_told_apart_from_the_answer():
    denial = {"type": "system", "subtype": "permission_denied", "tool_name": "Bash"}
    denial.update(tool_use_id="t9", message="needs approval")
    parent = {"parent_tool_use_id": "t1"}
    inner = claude_line("assistant", {"type": "text", "text": "inner words"}, **parent)
    lines = STREAMS["claude"][:-1] + [denial, inner]
    lines.append(dict(STREAMS["claude"][-1], permission_denials=[denial]))
    reader, events = read("claude", lines)
    assert reader.answer() == ANSWER
    assert reader.warnings(0) == ["1 uses of tools were denied: Bash (needs approval)"]
    assert events[-1][1]["parent"] == "t1"


def test_a_command_that_was_blocked_is_no_success_whatever_its_status():
    line = dict(STREAMS["gemini"][4], output="Blocked: command substitution")
    reader, events = read("gemini", STREAMS["gemini"][:4] + [line])
    assert events[-1][1]["is_error"] is True
    assert "1 uses of tools were denied: t1 (Blocked: " in reader.warnings(0)[0]


@pytest.mark.parametrize("given", ["--resume", "a b", "", "x" * 300, "$(id)"])
def test_an_id_of_a_conversation_that_could_be_something_else_is_not_kept(given):
    line = dict(STREAMS["claude"][0], session_id=given)
    assert read("claude", [line])[0].session == ""


def test_no_number_of_a_stream_makes_an_event_that_is_no_json():
    line = '{"type":"brand.new","a":NaN,"b":1e999,"c":[-Infinity]}'
    reader, events = read("codex", [line, "[" * 100000, '{"a":' * 100000])
    json.dumps(events, allow_nan=False)
    assert len(events) == 3


@each_program
@pytest.mark.parametrize("depth", [90, 150, 900, *range(970, 1000)])
def test_a_line_that_is_nested_very_deep_is_an_event_and_no_end(name, depth):
    deep = "[" * depth + "]" * depth
    reader, events = read(name, ['{"type":"brand.new","a":%s}' % deep])
    kinds = [kind for kind, _ in events]
    assert kinds == ["agent_event" if depth == 90 else "stdout"]
    assert deep in events[0][1]["content"]


def test_a_line_of_stderr_without_end_is_looked_through_in_time():
    reader, _ = read("opencode", [])
    line = '"stream error" message=failed ' * 100000
    assert reader.read_stderr(line) == [("stderr", {"content": line})]


def test_a_line_of_megabytes_is_read_whole():
    record = copy.deepcopy(STREAMS["gemini"][2])
    record["content"] = "x" * (3 << 20)
    reader, events = read("gemini", [record])
    assert len(events[0][1]["content"]) == 3 << 20


LEVELS = [
    (program.name, level)
    for program in PROGRAMS.values()
    for level in (DEFAULT, FULL, BOXED)
    if level in program.levels
]


@pytest.mark.parametrize("name, level", LEVELS)
def test_a_later_turn_names_the_conversation_and_no_default_bypasses(name, level):
    first = PROGRAMS[name].command(Turn(level, None, None))
    later = PROGRAMS[name].command(Turn(level, "model-x", "s-1"))
    assert "s-1" not in first and "s-1" in later and "model-x" in later
    if level == DEFAULT:
        words = " ".join(later)
        assert not re.search("yolo|bypass|danger|dontAsk|skip-permissions", words)
    assert PROGRAMS[name].levels[level] and first[0] == name


def recordings():
    """Yield (program, path) of each recorded stream that lies beside the project."""
    folders = [os.environ.get("AGENT_RECORDINGS", "")]
    for up in ("..", os.path.join("..", "..")):
        folders.append(os.path.join(ROOT, up, "shared", "recordings"))
    folder = next((one for one in folders if one and os.path.isdir(one)), None)
    for name in sorted(PROGRAMS) if folder else ():
        place = os.path.join(folder, name)
        for file in sorted(os.listdir(place)) if os.path.isdir(place) else ():
            if file.endswith(".jsonl"):
                yield name, os.path.join(place, file)


RECORDINGS = list(recordings())
# These failed although the program ended with 0.
SILENT_FAILURES = {
    "claude/sigint-in-tool",
    "gemini/sigterm-in-tool",
    "opencode/permission-rejected",
    "pi/failure",
}


def exit_codes(folder):
    """Return {file: exit code} as the folder's README tells it."""
    with open(os.path.join(folder, "README.md"), encoding="utf-8") as file:
        rows = re.findall(r"^\| (\S+\.jsonl) \|.*\| (-?\d+) \|", file.read(), re.M)
    return {name: int(code) for name, code in rows}


@pytest.mark.skipif(not RECORDINGS, reason="no recorded streams lie beside the project")
@pytest.mark.parametrize(
    "name, path", RECORDINGS, ids=["/".join(p.split("/")[-2:]) for _, p in RECORDINGS]
)
def test_a_recorded_stream_is_read_whole_and_cut_at_every_line(name, path):
    with open(path, encoding="utf-8") as file:
        lines = file.read().splitlines()
    reader, events = read(name, lines)
    folder, file_name = os.path.split(path)
    code = exit_codes(folder).get(file_name, 1)
    key = "%s/%s" % (name, file_name[: -len(".jsonl")])
    has_failed = reader.failed(code, "") is not None
    assert has_failed == (code != 0 or key in SILENT_FAILURES)
    assert not [event for event in events if event[0] == "stdout"]
    if "success" in file_name:
        assert reader.answer() == "Wrote out.csv." and "I write the file." in contents(
            events
        )
    whole = contents(events)
    for count in range(len(lines)):
        half = lines[count][: len(lines[count]) // 2]
        _, seen = read(name, lines[:count])
        assert contents(seen)[1:-1] in whole
        read(name, [*lines[:count], half]) if count % 5 == 0 else None
