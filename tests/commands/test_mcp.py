"""mcp: both eras of the protocol, what each tool does, and that nothing is paid twice or hangs."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from commands.conftest import DOOR, ask, posts, sh, wait_until
from measure import run_quietly
from rebyte_commands.mcp import calls, documents, protocol, roots, task_states, tools
from rebyte_commands.mcp import server as server_module
from rebyte_commands.mcp.calls import Starts
from rebyte_commands.mcp.roots import Roots
from rebyte_commands.mcp.server import McpServer, Settings
from rebyte_commands.mcp.tools import TOOLS, Line
from rebyte_commands.shell.environment import shell_join
from rebyte_wire.errors import GuardRefused

META = protocol.META
MODERN = {META + "protocolVersion": "2026-07-28", META + "clientCapabilities": {}}
TASKED = {
    **MODERN,
    META + "clientCapabilities": {"extensions": {protocol.TASKS_EXTENSION: {}}},
}


WHICH = ask("Which?", "red", "blue") + "\n" + sh('echo "chose $ANSWER"')


class Host:
    """A client of a few lines: sends, and waits for the answer with its id."""

    def __init__(self, may_start=True, most=None, roots=(), environ=None):
        self.lines, self.logged, self.number = [], [], 0
        settings = Settings([], environ or os.environ, may_start)
        self.server = McpServer(
            settings, Roots(roots), Starts(most), self, self.logged.append, "1"
        )

    def write(self, line):
        assert line.endswith(b"\n") and line.count(b"\n") == 1
        self.lines.append(json.loads(line))

    def flush(self):
        """Nothing is held back."""

    def send(self, method, params=None, **more):
        self.number += 1
        message = {"jsonrpc": "2.0", "id": self.number, "method": method, **more}
        self.server.take(json.dumps({**message, "params": params or {}}).encode())
        return message["id"]

    def tell(self, method, **params):
        message = {"jsonrpc": "2.0", "method": method, "params": params}
        self.server.take(json.dumps(message).encode())

    def answered(self, id):
        return next((line for line in self.lines if line.get("id") == id), None)

    def wait(self, id):
        wait_until(lambda: self.answered(id))
        return self.answered(id)

    def ask(self, method, params=None, **more):
        return self.wait(self.send(method, params, **more))

    def call(self, name, meta=None, **arguments):
        params = {"name": name, "arguments": arguments}
        return self.ask("tools/call", {**params, **({"_meta": meta} if meta else {})})

    def document(self, name, **arguments):
        result = self.call(name, **arguments)["result"]
        assert json.loads(result["content"][0]["text"]) == result["structuredContent"]
        assert len(result["content"][0]["text"]) <= 8192
        return result["structuredContent"]


@pytest.fixture
def host(world):
    return Host()


# The protocol


@pytest.mark.parametrize(
    "asked, agreed",
    [("2025-06-18",) * 2, ("2025-11-25",) * 2, ("1999-01-01", "2025-11-25"), (3,) * 2],
)
def test_a_session_of_the_old_era_begins_with_initialize(asked, agreed):
    host = Host()
    result = host.ask("initialize", {"protocolVersion": asked})["result"]
    assert result["protocolVersion"] == (agreed if agreed != 3 else "2025-11-25")
    assert result["serverInfo"]["name"] == "skill-as-a-service"
    assert "resultType" not in result and result["capabilities"] == {"tools": {}}
    host.tell("notifications/initialized")
    assert host.ask("ping")["result"] == {}


def test_a_request_of_the_new_era_needs_no_session():
    host = Host()
    found = host.ask("server/discover", {"_meta": MODERN})["result"]
    assert found["supportedVersions"] == ["2026-07-28"]
    assert found["resultType"] == "complete" and found["ttlMs"] == 0
    assert found["_meta"][META + "serverInfo"]["version"] == "1"
    listed = host.ask("tools/list", {"_meta": MODERN})["result"]
    assert listed["resultType"] == "complete" and listed["cacheScope"] == "private"


def test_a_version_that_is_not_spoken_is_told_with_those_that_are():
    for method in ("tools/list", "tools/call", "server/discover"):
        meta = {**MODERN, META + "protocolVersion": "2099-01-01"}
        error = Host().ask(method, {"_meta": meta})["error"]
        assert error["code"] == -32022
        assert error["data"] == {"supported": ["2026-07-28"], "requested": "2099-01-01"}


@pytest.mark.parametrize(
    "line, code",
    [
        (b"{broken", -32700),
        (b"\xff\xfe", -32700),
        (b'{"jsonrpc":"2.0","id":NaN,"method":"ping"}', -32700),
        (b'{"jsonrpc":"2.0","id":2,"method":"ping","params":{"a":-1e999}}', -32700),
        (b"[" * 100_000, -32700),
        (b'[{"jsonrpc":"2.0","id":1,"method":"ping"}]', -32600),
        (b'"ping"', -32600),
        (b'{"id":1,"method":"ping"}', -32600),
        (b'{"jsonrpc":"2.0","id":null,"method":"ping"}', -32600),
        (b'{"jsonrpc":"2.0","id":1.5,"method":"ping"}', -32600),
        (b'{"jsonrpc":"2.0","id":true,"method":"ping"}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":7}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":3}', -32600),
        (b'{"jsonrpc":"2.0","id":1}', -32600),
    ],
)
def test_what_is_no_message_is_answered_and_survived(line, code):
    host = Host()
    host.server.take(line)
    known = 1 if b'"id":1,"method"' in line and line.startswith(b"{") else None
    assert host.lines[0]["error"]["code"] == code and host.lines[0]["id"] == known
    assert host.ask("ping", id="after")["result"] == {}


@pytest.mark.parametrize("before", [b"\xef\xbb\xbf", b" \t"])
@pytest.mark.parametrize("params", [b"null", b"{}", b"[]"])
def test_what_hosts_write_loosely_is_understood(before, params):
    host = Host()
    line = b'{"jsonrpc":"2.0","id":"p","method":"ping","params":%s}\r\n'
    host.server.take(before + line % params)
    assert host.answered("p")["result"] == {}


@pytest.mark.parametrize("method", ["no/such", "resources/list", "x" * 10_000])
def test_an_unknown_method_is_answered_also_as_the_first_message(method):
    host = Host()
    error = host.ask(method)["error"]
    assert error["code"] == -32601 and len(error["message"]) < 200
    assert host.ask("initialize", {"protocolVersion": "2025-06-18"})["result"]


@pytest.mark.parametrize("id", ["x" * 100_000, 10**300, -1, "", "\u2028\x00\ud800"])
def test_an_id_comes_back_exactly(id):
    assert Host().ask("ping", id=id)["id"] == id


def test_a_line_without_end_is_told_and_what_follows_it_answered(monkeypatch, tmp_path):
    monkeypatch.setattr(protocol, "LINE_LIMIT_BYTES", 100)
    host = Host()
    ping = b'{"jsonrpc":"2.0","id":"p","method":"ping"}\n'
    (tmp_path / "in").write_bytes(b"x" * 350 + b"\n\n" + ping)
    with open(str(tmp_path / "in"), "rb") as stdin:
        host.server.serve(stdin)
    assert host.lines[0]["error"]["code"] == -32700 and host.answered("p")


def test_the_tools_are_six_few_words_and_true_about_what_they_do():
    host = Host()
    listed = host.ask("tools/list")["result"]["tools"]
    assert [tool["name"] for tool in listed] == list(TOOLS) and len(TOOLS) == 6
    assert len(json.dumps(listed)) / 4 < 1500
    assert listed == host.ask("tools/list")["result"]["tools"]
    only_read = [tool["name"] for tool in listed if tool["annotations"]["readOnlyHint"]]
    assert only_read == ["look", "list_tasks"]


SOME_ID = "0d26ef30-c2fe-4be2-b133-7178a804f735"


@pytest.mark.parametrize(
    "name, arguments",
    [
        ("start_task", {}),
        ("start_task", {"prompt": 3}),
        ("start_task", {"prompt": " "}),
        ("start_task", {"prompt": "x", "again": True}),
        ("start_task", {"prompt": "x", "files": "a"}),
        ("start_task", {"prompt": "x", "files": [1]}),
        ("look", {"ids": []}),
        ("look", {"ids": ["a"] * 21}),
        ("look", {"ids": ["abcdef"], "wait_seconds": 46}),
        ("look", {"ids": ["abcdef"], "wait_seconds": True}),
        ("look", {"ids": ["--again"]}),
        ("look", {"ids": ["a\0b"]}),
        ("reply", {"id": "abcdef"}),
        ("reply", {"id": SOME_ID, "option": []}),
        ("reply", {"id": "abcdef", "say": "x", "prompt": "y"}),
        ("reply", {"id": "abcdef", "say": "x", "files": ["y"]}),
        ("look", {"ids": [SOME_ID], "wait_seconds": 1.5}),
        ("look", {"ids": [SOME_ID], "any": 1.0}),
        ("list_tasks", {"limit": 0}),
        ("list_tasks", []),
    ],
)
def test_arguments_that_do_not_fit_are_a_tools_error_and_reach_nothing(
    host, server, name, arguments
):
    params = {"name": name, "arguments": arguments}
    result = host.ask("tools/call", params)["result"]
    error = result["structuredContent"]["error"]
    assert result["isError"] and error["hint"] and "--option" not in error["message"]
    assert posts(server) == []


@pytest.mark.parametrize(
    "name, arguments, message, hint",
    [
        ("start_task", {}, "prompt is missing", "prompt (string, required), files ("),
        ("start_task", {"prompt": "x", "code": "none"}, "/none: ", "code (string)"),
        ("start_task", {"prompt": "x", "code": "."}, "no git repo", "git repository"),
        (
            "start_task",
            {"prompt": "x", "files": ["none"]},
            "cannot read",
            "files (array",
        ),
        ("look", {"ids": ["@none"]}, "under the name none", "list_tasks shows"),
        ("list_tasks", {"limit": 0}, "limit has", "limit (integer from 1 to 100)"),
    ],
)
def test_a_wrong_call_says_what_to_do_in_words_of_the_tools(
    world, name, arguments, message, hint
):
    error = Host(roots=[str(world)]).document(name, **arguments)["error"]
    assert message in error["message"] and hint in error["hint"]
    assert "--" not in error["message"] + error["hint"]


def test_of_several_tasks_each_says_what_to_call_next(host):
    prompts = (WHICH, sh("exit 3"), sh("printf %06000d 1"))
    ids = [host.document("start_task", prompt=prompt)["id"] for prompt in prompts]
    seen = host.document("look", ids=ids)["tasks"]
    steps = {row["id"]: row["next"][0] for row in seen}
    assert {id: step["arguments"] for id, step in steps.items()} == {
        id: {"ids": [id]} for id in ids
    }
    assert "rebyte_cli" not in json.dumps(seen)


def test_an_answer_to_a_task_that_asks_nothing_says_what_to_call(host):
    made = host.document("start_task", prompt=sh("echo hi"))
    host.document("look", ids=[made["id"]])
    error = host.document("reply", id=made["id"], option=["1"])["error"]
    assert error["code"] == "no_question" and "look tells" in error["hint"]


@pytest.mark.parametrize("arguments", [None, {}, {"limit": 3.0}])
def test_what_means_the_same_to_a_host_is_taken(host, arguments):
    params = {"name": "list_tasks", "arguments": arguments}
    result = host.ask("tools/call", params)["result"]
    assert result["structuredContent"]["total"] == 0


def test_a_disk_without_room_for_a_call_is_a_tools_error(world, monkeypatch):
    def refuse():
        raise OSError(28, "No space left on device")

    host = Host(most=1)
    with monkeypatch.context() as patch:
        patch.setattr(calls.tempfile, "TemporaryFile", refuse)
        error = host.document("start_task", prompt="one")["error"]
    assert "No space left" in error["message"] and error["hint"]
    assert host.document("start_task", prompt="one")["id"]


def test_a_tool_that_is_not_there_is_a_protocols_error():
    assert Host().call("rm")["error"]["code"] == -32602
    assert Host().ask("tools/call", {"name": ["x"]})["error"]["code"] == -32602


# The tools


def test_a_job_from_its_start_to_its_files(server, world):
    host = Host(roots=[str(world)])
    prompt = sh("mkdir -p artifacts; cat /code/numbers.csv > artifacts/n.csv; echo hi")
    made = host.document("start_task", prompt=prompt, files=["numbers.csv"])
    assert made["next"][0]["tool"] == "look"
    seen = host.document("look", **made["next"][0]["arguments"])
    assert (seen["status"], seen["answer"]) == ("completed", "hi")
    step = seen["next"][0]
    assert step["tool"] == "fetch_files"
    home = host.document(step["tool"], **step["arguments"])
    with open(home["files"][0]["path"]) as file:
        assert file.read() == "1\n2\n3\n"
    turn = host.document("reply", id=made["id"], prompt=sh("echo again"))
    assert turn["next"][0]["tool"] == "look"
    assert host.document("look", ids=[made["id"]])["answer"] == "again"
    assert host.document("cancel_task", ids=[made["id"]])["id"] == made["id"]
    assert host.document("list_tasks")["total"] == 2
    assert host.document("start_task", prompt=prompt, files=["numbers.csv"])["reused"]


def test_a_question_comes_as_calls_that_answer_it(host, server):
    made = host.document("start_task", prompt=WHICH)
    seen = host.document("look", ids=[made["id"]])
    assert seen["status"] == "question"
    steps = [step["arguments"]["option"] for step in seen["next"]]
    assert steps == [["1"], ["2"]]
    host.document("reply", id=made["id"], option=["blue"])
    assert host.document("look", ids=[made["id"]])["answer"] == "chose blue"


def test_an_answer_of_a_given_shape_is_read_by_every_look(host):
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    prompt = sh("printf '```json\\n{\"n\": 7}\\n```\\n'")
    made = host.document("start_task", prompt=prompt, schema=schema)
    assert host.document("look", ids=[made["id"]])["value"] == {"n": 7}


def test_a_long_answer_stays_short_and_lies_whole_in_a_file(host):
    made = host.document("start_task", prompt=sh("yes word | head -n 9000"))
    seen = host.document("look", ids=[made["id"]])
    assert seen["answerBytes"] > 40_000 and os.path.exists(seen["answerPath"])


def test_a_failure_says_what_to_do_in_words_of_the_tools(host, monkeypatch):
    result = host.call("look", ids=["00000000-0000-4000-8000-000000000000"])["result"]
    assert result["isError"]
    assert result["structuredContent"]["error"]["code"] == "not_found"
    assert "--" not in json.dumps(result["structuredContent"]["error"].get("hint", ""))


@pytest.mark.parametrize(
    "words, call",
    [
        (["result", "abc", "--wait"], ("look", {"ids": ["abc"]})),
        (
            ["--local", "result", "abc", "--out", "d"],
            ("fetch_files", {"id": "abc", "folder": "d"}),
        ),
        (["wait", "a1", "b2", "--any"], ("look", {"ids": ["a1", "b2"]})),
        (["follow-up", "abc", "more"], ("reply", {"id": "abc", "prompt": "more"})),
        (
            ["reply", "abc", "--option", "2", "--question", "q"],
            ("reply", {"id": "abc", "option": ["2"]}),
        ),
        (
            ["artifacts", "get", "abc", "--out", "d"],
            ("fetch_files", {"id": "abc", "folder": "d"}),
        ),
        (["cancel", "abc"], ("cancel_task", {"ids": ["abc"]})),
        (["ledger", "list"], ("list_tasks", {})),
    ],
)
def test_a_line_of_next_becomes_the_call_that_stands_for_it(words, call):
    step = {"why": "w", "run": shell_join(words)}
    shown = documents.tool_result({"next": [step]})["structuredContent"]["next"][0]
    assert (shown["tool"], shown["arguments"]) == call and "run" not in shown


@pytest.mark.parametrize(
    "words",
    [["doctor"], ["run", "x", "--again"], ["share", "abc", "public"], ["apply", "abc"]],
)
def test_a_line_that_no_tool_stands_for_is_for_the_human(words):
    step = {"why": "w", "run": shell_join(words)}
    shown = documents.tool_result({"next": [step]})["structuredContent"]["next"][0]
    assert shown["ask"].endswith(step["run"]) and "run" not in shown


def test_a_look_changes_nothing_here_and_fetching_brings_the_code(world):
    home = world / "home"
    home.mkdir()

    def git(*words):
        return subprocess.run(
            ["git", "-C", str(home), *words], check=True, capture_output=True, text=True
        ).stdout

    git("init", "-q")
    (home / "a.txt").write_text("old\n")
    host = Host(roots=[str(world)])
    script = "sh home-code.sh unpack; echo new > home/a.txt; sh home-code.sh home"
    prompt = sh(script + "; mkdir -p artifacts; cp home-home.zip artifacts/")
    made = host.document("start_task", prompt=prompt, code="home", once="m")
    before = git("for-each-ref")
    seen = host.document("look", ids=[made["id"]])
    assert seen["status"] == "completed" and "changes" not in seen
    assert git("for-each-ref") == before
    fetched = host.document("fetch_files", id="@m", folder="out")
    assert fetched["changes"]["branch"] == "rebyte/m"
    assert git("show", "rebyte/m:a.txt") == "new\n"


# Guards


def test_nothing_is_started_unless_the_owner_set_a_limit(world, server):
    host = Host(may_start=False)
    document = host.document("start_task", prompt="x")
    assert document["error"]["code"] == "guard_no_limit"
    assert "--max-tasks" in document["next"][0]["ask"] and posts(server) == []


def test_twenty_starts_at_once_stay_within_the_limit(world, server):
    host = Host(most=5)
    ids = [
        host.send(
            "tools/call",
            {"name": "start_task", "arguments": {"prompt": "job %d" % number}},
        )
        for number in range(20)
    ]
    results = [host.wait(id)["result"] for id in ids]
    assert sum(not result["isError"] for result in results) == 5 == len(posts(server))


def test_twenty_equal_starts_at_once_are_one_task(host, server):
    params = {"name": "start_task", "arguments": {"prompt": "the same"}}
    ids = [host.send("tools/call", params) for _ in range(20)]
    made = {host.wait(id)["result"]["structuredContent"]["id"] for id in ids}
    assert len(made) == 1 == len(posts(server))


def test_a_start_that_made_nothing_does_not_count(world, server):
    host = Host(most=1)
    first = host.document("start_task", prompt="x" * 100_001)
    assert first["error"]["code"] == "invalid_input", first
    assert host.document("start_task", prompt="two")["id"]
    assert host.document("start_task", prompt="two")["reused"]
    refused = host.document("start_task", prompt="three")
    assert refused["error"]["code"] == "guard_tasks_per_command"


def test_the_limit_of_a_day_holds_over_the_ledger(world, server, monkeypatch):
    monkeypatch.setenv("REBYTE_MAX_TASKS_PER_DAY", "1")
    assert Host().document("start_task", prompt="one")["id"]
    refused = Host().document("start_task", prompt="two")
    assert refused["error"]["code"] == "guard_tasks_per_day"


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "out", "sub/../../x"])
def test_a_file_outside_of_the_named_folders_is_refused(world, server, path):
    (world / "inside").mkdir()
    (world / "inside" / "out").symlink_to("/etc/passwd")
    host = Host(roots=[str(world / "inside")])
    document = host.document("start_task", prompt="x", files=[path])
    assert document["error"]["code"] == "outside_roots" and posts(server) == []
    assert "--root" in document["error"]["hint"]


def test_without_any_folder_no_file_goes_out(host, server):
    document = host.document("start_task", prompt="x", files=["numbers.csv"])
    assert document["error"]["code"] == "outside_roots" and posts(server) == []


def test_the_folders_of_the_client_count_where_the_owner_named_none(world, server):
    folder = world / "a b"
    folder.mkdir()
    (folder / "n.csv").write_text("1\n")
    host = Host()
    host.ask(
        "initialize", {"protocolVersion": "2025-06-18", "capabilities": {"roots": {}}}
    )
    host.tell("notifications/initialized")
    asked = host.lines[-1]
    assert asked["method"] == "roots/list"
    roots = [{"uri": "https://x/"}, {"uri": folder.as_uri()}, {"uri": 3}, "x"]
    answer = {"jsonrpc": "2.0", "id": asked["id"], "result": {"roots": roots}}
    host.server.take(json.dumps(answer).encode())
    assert host.document("start_task", prompt="x", files=["n.csv"])["id"]
    other = host.document("start_task", prompt="y", files=[str(world / "numbers.csv")])
    assert other["error"]["code"] == "outside_roots"
    # A folder that is taken back is not used while the client says which are left.
    host.tell("notifications/roots/list_changed")
    params = {"name": "start_task", "arguments": {"prompt": "z", "files": ["n.csv"]}}
    late = host.send("tools/call", params)
    host.server.take(json.dumps({**answer, "result": {"roots": []}}).encode())
    assert host.wait(late)["result"]["structuredContent"]["error"]["code"] == (
        "outside_roots"
    )


# Time


def test_many_tasks_are_looked_at_without_waiting_where_that_is_asked_for(host):
    ids = [host.document("start_task", prompt=sh(LONG % n))["id"] for n in range(2)]
    began = time.monotonic()
    document = host.document("look", ids=ids, wait_seconds=0)
    assert time.monotonic() - began < 15
    assert {task["status"] for task in document["tasks"]} == {"running"}
    host.document("cancel_task", ids=ids)


LONG = "sleep 60 # %d"


@pytest.mark.parametrize(
    "answer",
    [
        {"roots": 5},
        {"roots": True},
        {"roots": [{"uri": "file:///a%00b"}]},
        {"roots": [{"uri": "file:///\ud800"}]},
        {"roots": [{"uri": "file:relative"}]},
        {"roots": [5, {"uri": 5}, {"uri": "file://[::1/x"}, {"uri": "http://x/"}]},
    ],
)
def test_roots_that_are_no_folders_are_left_out_and_survived(world, answer):
    host = Host()
    host.ask("initialize", {"capabilities": {"roots": {}}})
    response = {"jsonrpc": "2.0", "id": "rebyte-roots", "result": answer}
    host.server.take(json.dumps(response).encode())
    document = host.document("start_task", prompt="x", files=["numbers.csv"])
    assert document["error"]["code"] == "outside_roots"


def test_a_client_that_was_not_asked_changes_no_folder_of_the_owner(world):
    inside = world / "inside"
    inside.mkdir()
    host = Host(roots=[str(inside)])
    answer = {"roots": [{"uri": "file:///"}]}
    response = {"jsonrpc": "2.0", "id": "rebyte-roots", "result": answer}
    host.server.take(json.dumps(response).encode())
    document = host.document("start_task", prompt="x", files=["/etc/passwd"])
    assert document["error"]["code"] == "outside_roots"


@pytest.mark.parametrize(
    "arguments",
    [
        {"schema": {"title": "x" * 200_000}},
        {"executor": "\ud800"},
        {"files": ["\ud800"]},
    ],
)
def test_what_no_command_line_can_hold_is_a_tools_error_and_counts_for_nothing(
    world, arguments
):
    host = Host(most=1, roots=[str(world)])
    document = host.document("start_task", prompt="one", **arguments)
    assert document["error"]["code"] == "invalid_input"
    assert host.document("start_task", prompt="two")["id"]


class Begun:
    """A command that goes on, until a test says that it ended long ago."""

    def __init__(self, may_start):
        self.may_start = may_start
        self.is_forgotten = False

    def document(self):
        return {"reused": True}


def test_a_start_that_nobody_waited_for_is_not_given_for_the_same_words_much_later():
    starts, line = Starts(1), Line(["follow-up"], "go on")
    first = starts.join(line, Begun, new=1)
    first.is_forgotten = True
    second = starts.join(line, Begun, new=1)
    assert second is not first and second.may_start
    starts.ended(line, first, {})
    assert starts.join(line, Begun, new=1) is second


def test_a_command_is_forgotten_some_time_after_its_end(host, monkeypatch):
    child = host.server._child(Line(["ledger", "list"]))
    wait_until(lambda: child.is_over)
    assert not child.is_forgotten and child.last_line() == ""
    monkeypatch.setattr(calls, "KEPT_SECONDS", 0)
    assert child.is_forgotten and child.document()["total"] == 0


def test_of_two_calls_that_waited_for_one_start_the_first_counts_it():
    starts, line = Starts(2), Line(["create"], "x")
    first = starts.join(line, Begun, new=1)
    assert starts.join(line, None, new=1) is first
    starts.ended(line, first, {"id": "a"})
    second = starts.join(line, Begun, new=1)
    starts.ended(line, first, {"id": "a"})
    starts.ended(line, second, {"id": "a", "reused": True})
    assert starts.join(Line(["create"], "y"), lambda may_start: may_start, new=1)


@pytest.mark.parametrize(
    "document",
    [
        {"tasks": [{"id": "i" * 36, "title": "t" * 80, "n": n} for n in range(100)]},
        {"id": "i", "value": list(range(5000))},
        {"id": "i", "value": {"k%d" % n * 20: n for n in range(500)}},
        {"id": "i", "value": {"k" * 10_000: 1}},
        {"id": "i", "value": [["x" * 150] * 20] * 200},
    ],
)
def test_a_document_of_many_small_things_is_shortened_and_says_so(document):
    result = documents.tool_result(document)
    text = result["content"][0]["text"]
    assert len(text) <= 8192 and json.loads(text) == result["structuredContent"]
    assert "entries are shown" in result["structuredContent"]["cut"]
    assert result["structuredContent"].get("id") == document.get("id")


@pytest.mark.parametrize("answer", ["a" * 9000, "\u6f22" * 5000, "\U0001f600\n" * 3000])
def test_what_is_of_use_only_whole_is_not_cut(answer):
    path = "/" + "d" * 300 + "/answer.md"
    words = ["follow-up", SOME_ID, "wrong: " + "x" * 900]
    files = [{"name": "n", "path": path, "sha256": "0" * 64}] * 3
    steps = [{"why": "w", "run": shell_join(words)}]
    document = {"id": SOME_ID, "answer": answer, "answerPath": path, "files": files}
    result = documents.tool_result({**document, "next": steps})
    shown = result["structuredContent"]
    assert len(result["content"][0]["text"]) <= 8192
    assert shown["answerPath"] == path and shown["files"] == files
    assert shown["next"][0]["arguments"] == {"id": SOME_ID, "prompt": words[-1]}
    steps[0]["run"] += "y" * 9000
    shown = documents.tool_result({**document, "next": steps})["structuredContent"]
    assert "next" not in shown and shown["answerPath"].startswith("/ddd")
    result = documents.tool_result({**document, "answerPath": path * 30})
    assert len(result["content"][0]["text"]) <= 8192
    assert result["structuredContent"]["id"] == SOME_ID


def test_a_slow_look_holds_up_nothing_quick(host):
    made = host.document("start_task", prompt=sh("sleep 2"))
    arguments = {"ids": [made["id"]], "wait_seconds": 30}
    params = {"name": "look", "arguments": arguments, "_meta": {"progressToken": "t"}}
    slow = host.send("tools/call", params)
    began = time.monotonic()
    for _ in range(1000):
        assert host.ask("ping")["result"] == {}
    assert host.document("list_tasks")["total"] == 1
    assert time.monotonic() - began < 3 and not host.answered(slow)
    assert host.wait(slow)["result"]["structuredContent"]["status"] == "completed"


def test_progress_is_told_where_it_was_asked_for(host, monkeypatch):
    monkeypatch.setattr(calls, "TICK_SECONDS", 0.2)
    made = host.document("start_task", prompt=sh("sleep 1"))
    host.call("look", ids=[made["id"]], meta={"progressToken": 0})
    notices = [
        line["params"]
        for line in host.lines
        if line.get("method") == "notifications/progress"
    ]
    assert notices and all(notice["progressToken"] == 0 for notice in notices)
    steps = [notice["progress"] for notice in notices]
    assert steps == sorted(steps)


def test_a_cancelled_look_is_not_answered_and_its_task_runs_on(host, server):
    made = host.document("start_task", prompt=sh("sleep 60"))
    slow = host.send("tools/call", {"name": "look", "arguments": {"ids": [made["id"]]}})
    host.tell("notifications/cancelled", requestId=slow)
    host.tell("notifications/cancelled", requestId=[slow])
    host.tell("notifications/cancelled", requestId=slow)
    host.tell("notifications/cancelled", requestId="no such")
    wait_until(lambda: not host.server._calls)
    assert host.answered(slow) is None
    assert (
        host.document("look", ids=[made["id"]], wait_seconds=0)["status"] == "running"
    )
    host.document("cancel_task", ids=[made["id"]])


def test_a_cancel_of_what_was_not_read_or_has_ended_cancels_nothing():
    host = Host()
    calls_of = host.server._calls
    for id in (2, True, 1.0, None, {}):
        calls_of[1] = calls.Call()
        host.tell("notifications/cancelled", requestId=id)
        assert not calls_of.pop(1).is_cancelled
    assert host.call("look")["result"]["isError"]
    host.tell("notifications/cancelled", requestId=host.number)
    assert host.ask("ping")["result"] == {}


def test_no_call_outlasts_its_time(host, monkeypatch):
    assert calls.CALL_SECONDS + calls.END_SECONDS <= 50
    made = host.document("start_task", prompt=sh("sleep 60"))
    monkeypatch.setattr(calls, "CALL_SECONDS", 1)
    began = time.monotonic()
    seen = host.document("look", ids=[made["id"]])
    assert seen["status"] == "running" and time.monotonic() - began < 6
    host.document("cancel_task", ids=[made["id"]])


@pytest.mark.parametrize(
    "method, params",
    [
        ("tools/call", {"name": "cancel_task", "arguments": {"ids": [SOME_ID]}}),
        ("tools/call", {"name": "start_task", "arguments": {"prompt": "x"}}),
        ("tasks/update", {"taskId": SOME_ID, "inputResponses": {}}),
        ("tasks/cancel", {"taskId": SOME_ID}),
    ],
)
def test_no_call_outlasts_its_time_where_the_service_takes_it_and_stays_silent(
    world, monkeypatch, method, params
):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        monkeypatch.setenv("REBYTE_BASE_URL", "http://127.0.0.1:%d" % port)
        monkeypatch.setattr(calls, "CALL_SECONDS", 1)
        host = Host(environ=dict(os.environ))
        began = time.monotonic()
        told = host.ask(method, params)
        assert time.monotonic() - began < 3
        words = json.dumps(told)
        assert "document" not in words and "interrupted" not in words
    # The service is gone: a start under way comes to its end.
    for child in host.server.starts._under_way.values():
        child.stop()
        child.document()


def test_a_host_is_told_that_how_a_task_stands_could_not_be_asked(world, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        monkeypatch.setenv("REBYTE_BASE_URL", "http://127.0.0.1:%d" % port)
        monkeypatch.setattr(tools, "LOOK_SECONDS", 1)
        host = Host(environ=dict(os.environ))
        seen = host.document("look", ids=[SOME_ID], wait_seconds=0)
        both = host.document("look", ids=[SOME_ID, "1" + SOME_ID[1:]], wait_seconds=1)
        monkeypatch.setattr(calls, "CALL_SECONDS", 2)
        task = host.ask("tasks/get", {"taskId": SOME_ID})["result"]
    told = [row["warnings"][0] for row in (seen, *both["tasks"])]
    for words in (*told, task["statusMessage"]):
        assert "how it stands could not be asked just now" in words


def test_a_service_that_is_away_changes_nothing_about_when_a_task_was_made(
    host, server, monkeypatch
):
    made = host.document("start_task", prompt=sh("echo hi"))
    document = {"id": made["id"], "status": "running"}
    server.faults.enable("server-error")
    monkeypatch.setattr(calls, "CALL_SECONDS", 1)
    message = protocol.Message({"id": 1})
    moments = host.server._moments_of(document, message, calls.Call())
    row = host.document("list_tasks")["rows"][0]
    assert task_states.state(document, moments)["createdAt"] == row["startedAt"]


def test_many_files_wait_together_for_folders_that_no_client_names(monkeypatch):
    monkeypatch.setattr(roots, "ANSWER_SECONDS", 0.2)
    asked = Roots([])
    asked.expect()
    asked.take({"roots": [{"uri": "file:///"}]})
    assert asked.path("a") == "/a"
    asked.expect()
    began = time.monotonic()
    for _ in range(20):
        with pytest.raises(GuardRefused):
            asked.path("a")
    assert time.monotonic() - began < 2


def test_a_start_that_outlasts_a_call_is_waited_for_by_the_next_and_made_once(
    host, server, monkeypatch
):
    server.faults.enable("slow-create", seconds=2)
    monkeypatch.setattr(calls, "CALL_SECONDS", 0.7)
    first = host.document("start_task", prompt="slow")
    assert first["status"] == "starting" and "next" in first
    monkeypatch.setattr(calls, "CALL_SECONDS", 20)
    assert host.document("start_task", prompt="slow")["id"]
    assert len(posts(server)) == 1


def test_too_many_calls_at_once_are_refused_and_so_is_an_id_twice(host, monkeypatch):
    made = host.document("start_task", prompt=sh("sleep 60"))
    params = {"name": "look", "arguments": {"ids": [made["id"]]}}
    slow = host.send("tools/call", params)
    host.send("tools/call", params, id=slow)
    assert host.lines[-1]["error"]["code"] == -32000
    monkeypatch.setattr(server_module, "CALLS_AT_ONCE", 1)
    assert host.ask("tools/call", params)["error"]["code"] == -32000
    host.tell("notifications/cancelled", requestId=slow)
    wait_until(lambda: not host.server._calls)
    host.document("cancel_task", ids=[made["id"]])


def test_a_machine_without_room_for_a_thread_ends_a_call_and_not_the_session(
    host, monkeypatch
):
    def refuse(thread):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        assert host.call("list_tasks")["error"]["code"] == -32000
    assert host.document("list_tasks")["total"] == 0


# The tasks extension


def test_a_client_that_takes_tasks_gets_the_task_of_the_service(host):
    params = {"name": "start_task", "arguments": {"prompt": sh("echo hi")}}
    made = host.ask("tools/call", {**params, "_meta": TASKED})["result"]
    assert (made["resultType"], made["status"]) == ("task", "working")
    where = {"taskId": made["taskId"], "_meta": TASKED}
    wait_until(lambda: host.ask("tasks/get", where)["result"]["status"] != "working")
    seen = host.ask("tasks/get", where)["result"]
    assert (seen["resultType"], seen["status"]) == ("complete", "completed")
    assert seen["result"]["structuredContent"]["answer"] == "hi"
    plain = host.ask("tools/call", {**params, "_meta": MODERN})["result"]
    assert plain["resultType"] == "complete" and plain["structuredContent"]["id"]


def test_a_task_tells_when_it_was_made_and_last_changed_also_after_a_restart(
    host, rebyte
):
    params = {"name": "start_task", "arguments": {"prompt": sh("sleep 1")}}
    made = host.ask("tools/call", {**params, "_meta": TASKED})["result"]
    where = {"taskId": made["taskId"], "_meta": TASKED}
    wait_until(lambda: host.ask("tasks/get", where)["result"]["status"] != "working")
    seen = host.ask("tasks/get", where)["result"]
    task = rebyte("get", made["taskId"])
    made_at, ended_at = (task[name][:19] + "Z" for name in ("createdAt", "completedAt"))
    assert made["createdAt"] == seen["createdAt"] == made_at
    assert (made["lastUpdatedAt"], seen["lastUpdatedAt"]) == (made_at, ended_at)
    again = Host().ask("tasks/get", where)["result"]
    assert [again[name] for name in TIMES] == [seen[name] for name in TIMES]


TIMES = ("createdAt", "lastUpdatedAt")


@pytest.mark.parametrize(
    "task, status, moments",
    [
        ({"createdAt": "1970-01-01T00:00:05Z"}, "running", (5, 5)),
        ({"createdAt": "1970-01-01T00:00:05Z"}, "question", (5, 99)),
        (
            {
                "createdAt": "1970-01-01T00:00:05.000Z",
                "completedAt": 7,
                "prompts": [{"submittedAt": "1970-01-01T00:00:07Z"}, None],
            },
            "running",
            (5, 7),
        ),
        ({"error": {}}, "running", (99, 99)),
    ],
)
def test_the_moments_of_a_task_are_those_that_its_service_tells(task, status, moments):
    found = task_states.moments_of(task, {"status": status}, 99)
    assert (found.created, found.updated) == moments


def test_a_question_is_input_that_the_client_is_asked_for(host):
    prompt = WHICH
    params = {"name": "start_task", "arguments": {"prompt": prompt}, "_meta": TASKED}
    where = {"taskId": host.ask("tools/call", params)["result"]["taskId"]}
    wait_until(lambda: host.ask("tasks/get", where)["result"]["status"] != "working")
    requests = host.ask("tasks/get", where)["result"]["inputRequests"]
    ((key, request),) = requests.items()
    assert request["method"] == "elicitation/create"
    schema = request["params"]["requestedSchema"]
    assert schema["properties"]["answer"]["enum"] == ["red", "blue"]
    answer = {key: {"action": "accept", "content": {"answer": "blue"}}}
    assert "result" in host.ask("tasks/update", {**where, "inputResponses": answer})
    wait_until(lambda: host.ask("tasks/get", where)["result"]["status"] == "completed")
    seen = host.ask("tasks/get", where)["result"]["result"]["structuredContent"]
    assert "blue" in seen["answer"]


QUESTION = {
    "id": "t",
    "question": {"id": "q", "text": "Which?", "options": [{"n": 1, "label": "red"}]},
}


@pytest.mark.parametrize(
    "content, reply",
    [
        ({"answer": "red"}, {"id": "t", "option": ["red"]}),
        ({"answer": ["red", "blue"]}, {"id": "t", "option": ["red", "blue"]}),
        ({"answer": ""}, None),
        ({}, None),
        ("red", None),
    ],
)
def test_what_a_client_answers_is_read_strictly(content, reply):
    responses = {"question-q": {"action": "accept", "content": content}}
    assert task_states.reply_to(QUESTION, responses) == reply
    for other in ([], None, {"question-q": 3}, {"question-p": responses["question-q"]}):
        assert task_states.reply_to(QUESTION, other) is None
    declined = {"question-q": {"action": "decline", "content": {"answer": "red"}}}
    assert task_states.reply_to(QUESTION, declined) is None
    open_question = {"id": "t", "question": {"text": "Who?"}}
    words = {"question-1": {"action": "accept", "content": {"answer": "me"}}}
    assert task_states.reply_to(open_question, words) == {"id": "t", "say": "me"}


def test_a_task_that_failed_or_was_cancelled_says_so(host):
    def start(prompt):
        params = {
            "name": "start_task",
            "arguments": {"prompt": prompt},
            "_meta": TASKED,
        }
        return {"taskId": host.ask("tools/call", params)["result"]["taskId"]}

    failing, running = start(sh("exit 3")), start(sh("sleep 60"))
    wait_until(lambda: host.ask("tasks/get", failing)["result"]["status"] != "working")
    assert host.ask("tasks/get", failing)["result"]["result"]["isError"]
    assert host.ask("tasks/cancel", running)["result"] == {}
    assert host.ask("tasks/get", running)["result"]["status"] == "cancelled"
    unknown = "00000000-0000-4000-8000-000000000000"
    for id in (unknown, "x", "", None, "@none", "a\0b", "\ud800"):
        error = host.ask("tasks/get", {"taskId": id})["error"]
        assert error["code"] == -32602 and "rebyte_cli" not in json.dumps(error)


def test_a_key_that_is_refused_is_no_fault_of_the_request(world, monkeypatch):
    monkeypatch.setenv("REBYTE_API_KEY", "rbk_another")
    host = Host(environ=dict(os.environ))
    task = "00000000-0000-4000-8000-000000000000"
    error = host.ask("tasks/get", {"taskId": task})["error"]
    assert error["code"] == protocol.INTERNAL_ERROR
    assert error["data"]["code"] == "invalid_api_key"


# As a process


def begin(*words, **more):
    """Begin the server as a host does."""
    return subprocess.Popen(
        [sys.executable, DOOR, "mcp", *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **more,
    )


def test_the_end_of_the_input_ends_the_process_well(world, server):
    child = begin("--max-tasks", "3")
    params = {"name": "start_task", "arguments": {"prompt": "x"}}
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    out, _ = child.communicate(json.dumps(call).encode() + b"\n", timeout=30)
    assert child.returncode == 0
    lines = [json.loads(line) for line in out.splitlines()]
    assert all(line["jsonrpc"] == "2.0" for line in lines)


def test_a_signal_ends_the_process_with_what_only_waits_for_it(world, server):
    child = begin("--max-tasks", "3")

    def call(id, name, **arguments):
        params = {"name": name, "arguments": arguments}
        line = {"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}
        child.stdin.write(json.dumps(line).encode() + b"\n")
        child.stdin.flush()

    call(1, "start_task", prompt=sh(LONG % 3))
    answer = json.loads(child.stdout.readline())
    id = answer["result"]["structuredContent"]["id"]
    call(2, "look", ids=[id])
    wait_until(lambda: looks_at(id))
    child.terminate()
    out, _ = child.communicate(timeout=30)
    assert out == b"" and not looks_at(id)


def looks_at(id):
    listing = run_quietly(["ps", "axww", "-o", "args="]).stdout.decode()
    return [line for line in listing.splitlines() if "result" in line and id in line]


@pytest.mark.parametrize(
    "closed, code, said",
    [("<&-", 2, b"is closed"), ("</dev/null 2>&-", 0, b"")],
)
def test_a_stream_that_is_closed_from_the_start_is_told_or_done_without(
    world, closed, code, said
):
    line = 'exec "$0" "$1" mcp ' + closed
    done = subprocess.run(
        ["sh", "-c", line, sys.executable, DOOR],
        capture_output=True,
    )
    assert done.returncode == code and said in done.stderr


def test_that_nobody_reads_any_more_is_told_once():
    host = Host()
    host.write = no_reader
    for _ in range(3):
        host.send("ping")
    assert host.logged == ["the host reads no more"]


def no_reader(line):
    raise BrokenPipeError


def test_a_wrong_line_for_the_host_ends_with_words_on_stderr(world):
    child = begin("--root", str(world / "no such"))
    _, err = child.communicate(timeout=30)
    assert child.returncode == 2 and b"no such folder" in err


def test_a_host_that_is_killed_in_the_middle_of_a_start_pays_once(world, server):
    server.faults.enable("slow-create", seconds=1)
    params = {"name": "start_task", "arguments": {"prompt": "once only"}}
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    line = json.dumps(call).encode() + b"\n"
    child = begin("--max-tasks", "3", start_new_session=True)
    child.stdin.write(line)
    child.stdin.flush()
    wait_until(lambda: posts(server))
    os.killpg(child.pid, signal.SIGKILL)
    child.communicate()
    child = begin("--max-tasks", "3")
    child.stdin.write(line)
    child.stdin.flush()
    answer = []
    reader = threading.Thread(target=lambda: answer.append(child.stdout.readline()))
    reader.start()
    reader.join(30)
    document = json.loads(answer[0])["result"]["structuredContent"]
    child.communicate(timeout=30)
    assert document["id"] and len(posts(server)) == 1, document
