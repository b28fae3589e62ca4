"""Agent programs behind the API: what goes in, what their streams become, how they end."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import sqlite3
import time

import pytest

from agent_programs import calls, make_programs, plan
from measure import run_quietly
from rebyte_commands.shell.environment import HARNESS_MARKERS
from rebyte_local.agents import readiness
from rebyte_local.agents.roster import PROGRAMS, parse_agents
from rebyte_local.execution import agent_turn
from rebyte_local.execution.agent_turn import AgentTurn
from rebyte_local.execution.file_changes import Snapshot


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """Put programs of ours before PATH; gives what was set."""
    environ = make_programs(tmp_path / "programs")
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    return environ


def latest(api, task):
    """The newest turn of a task, as the API tells it."""
    return api.get("/tasks/" + task["id"])["prompts"][0]


def test_a_named_program_works_in_the_workspace_and_its_stream_becomes_events(
    start, programs
):
    api = start(agents="claude")
    order = plan(run=["echo 3 > artifacts/n.csv; echo done"], say="There are 3.")
    task, events, done = api.run("count them " + order, executor="claude")
    kinds = [event["eventType"] for event in events]
    assert kinds == [
        "init",
        "init",
        "tool_use",
        "tool_result",
        "text",
        "files_changed",
        "result",
    ]
    assert (done["status"], done["finalResult"]) == ("succeeded", "There are 3.")
    assert events[1]["payload"]["model"] == "fake-opus"
    assert events[3]["payload"]["output"] == "done\n"
    assert events[5]["payload"]["files"] == [
        {"path": "artifacts/n.csv", "kind": "added"}
    ]
    turn = latest(api, task)
    assert turn["usage"] == {"inputTokens": 100, "outputTokens": 7}
    assert turn["costUsd"] == 0.25 and turn["warnings"] == []
    assert "rehearsal" not in task
    names = api.get("/workspaces/%s/artifacts" % task["workspaceId"])["data"]
    assert [one["name"] for one in names] == ["n.csv"]


def test_a_follow_up_goes_on_with_the_conversation_and_costs_its_own_share(
    start, programs
):
    api = start(agents="claude")
    task, _, _ = api.run(plan(say="turn TURN"), executor="claude")
    api.server.close()
    api = start(agents="claude")
    api.follow_up(task["id"], plan(say="turn TURN"))
    done = api.stream(task["id"])[1]
    assert done["finalResult"] == "turn 2"
    assert latest(api, task)["costUsd"] == 0.25
    first, second = calls(programs)
    assert "--resume" not in first["argv"] and "--resume" in second["argv"]
    assert first["cwd"] == second["cwd"]


def test_a_prompt_is_no_command_of_the_program_itself(start, programs):
    api = start(agents="claude")
    task, _, _ = api.run("/clear " + plan(say="x"), executor="claude")
    for text in ("/clear ", " /compact "):
        api.follow_up(task["id"], text + plan(say="x"))
        api.stream(task["id"])
    sent = [call["prompt"] for call in calls(programs)]
    assert len(sent) == 3 and not [one for one in sent if one.lstrip()[0] == "/"]
    assert "/compact" in sent[2]


def test_nothing_of_ours_and_of_an_outer_harness_reaches_a_program(
    start, programs, monkeypatch
):
    monkeypatch.setenv("REBYTE_API_KEY", "rbk_secret")
    for name in HARNESS_MARKERS:
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "the owner's")
    start(agents="claude").run(plan(say="x"), executor="claude")
    env = calls(programs)[0]["env"]
    assert not [name for name in env if name.startswith("REBYTE_")]
    assert not set(HARNESS_MARKERS) & set(env)
    assert env["ANTHROPIC_API_KEY"] == "the owner's"
    assert env["HOME"] == programs["HOME"]


def test_without_agents_a_named_executor_is_rehearsed_and_the_turn_says_so(
    start, programs
):
    api = start()
    task, _, _ = api.run("x", executor="claude")
    assert "local start --agents claude" in latest(api, task)["warnings"][0]
    assert task["rehearsal"] is True
    assert not os.path.exists(programs["FAKE_LOG"])


def test_a_conversation_that_is_gone_begins_anew_with_what_was_said_in_front(
    start, programs
):
    api = start(agents="claude")
    task, _, _ = api.run("Count apples. " + plan(say="There are 3."), executor="claude")
    for name in os.listdir(os.path.join(programs["HOME"], "sessions")):
        os.unlink(os.path.join(programs["HOME"], "sessions", name))
    api.follow_up(task["id"], "And pears? " + plan(say="None."))
    events, done, _ = api.stream(task["id"])
    assert done["finalResult"] == "None."
    assert "a new one begins" in api.words(events, "agent_event")[0]
    last = calls(programs)[-1]
    assert "--resume" not in last["argv"]
    for words in ("Count apples.", "There are 3.", "And pears?"):
        assert words in last["prompt"]


def test_what_stands_in_the_way_of_a_program_is_told_at_once_with_the_remedy(
    start, programs, monkeypatch
):
    def reason(api, **fields):
        task, _, done = api.run("x", **fields)
        assert done["status"] == "failed" and "rehearsal" not in task
        return done["finalResult"]

    monkeypatch.setenv("FAKE_LOGGED_OUT", "1")
    api = start(agents="claude,opencode")
    assert "not logged in: claude auth login" in reason(api, executor="claude")
    assert "npm install -g opencode-ai" in reason(api, executor="opencode")
    assert "--agents claude,opencode,codex" in reason(api, executor="codex")
    assert "no name of a model" in reason(api, executor="claude", model="--resume")
    os.unlink(os.path.join(os.path.dirname(programs["HOME"]), "commands", "socat"))
    monkeypatch.setenv("PATH", programs["PATH"].split(os.pathsep)[0])
    assert "--agents claude:full" in reason(api, executor="claude")
    assert calls(programs) == []


def test_a_box_that_the_system_does_not_allow_is_told_at_once(start, programs):
    path = os.path.join(programs["PATH"].split(os.pathsep)[0], "bwrap")
    os.unlink(path)
    with open(path, "w") as file:
        file.write("#!/bin/sh\nexit 1\n")
    os.chmod(path, 0o755)
    api = start(agents="claude:boxed")
    _, _, done = api.run("x", executor="claude")
    assert "bwrap does not work here" in done["finalResult"]
    assert "bwrap" in api.server.programs[0]["problem"]


@pytest.mark.parametrize(
    "error", [sqlite3.OperationalError("database or disk is full"), OSError(28, "full")]
)
def test_a_program_that_fills_the_disk_fails_with_the_folder_to_clear(
    start, programs, monkeypatch, error
):
    def fill(self, result, reader, **more):
        raise error

    api = start(agents="claude")
    monkeypatch.setattr(AgentTurn, "_conclude", fill)
    task, _, done = api.run(plan(say="x"), executor="claude")
    assert done["status"] == "failed" and "The disk is full" in done["finalResult"]
    assert task["workspaceId"] in done["finalResult"]


def test_a_file_that_finds_no_room_in_the_store_costs_no_answer(
    start, programs, monkeypatch
):
    def refuse(read, limit=None):
        raise OSError(28, "No space left on device")

    api = start(agents="claude")
    monkeypatch.setattr(api.server._service.blobs, "store", refuse)
    order = plan(run=["echo 3 > artifacts/n.csv"], say="There are 3.")
    _, events, done = api.run(order, executor="claude")
    assert (done["status"], done["finalResult"]) == ("succeeded", "There are 3.")
    assert "No space left" in api.words(events, "stderr")[-1]


def test_a_folder_of_results_that_was_locked_costs_no_answer(
    start, programs, monkeypatch
):
    def refuse(workspace):
        raise PermissionError(13, "Permission denied")

    api = start(agents="claude")
    monkeypatch.setattr(api.server._service.artifacts, "published_folder", refuse)
    _, events, done = api.run(plan(say="There are 3."), executor="claude")
    assert (done["status"], done["finalResult"]) == ("succeeded", "There are 3.")
    assert "cannot be read any more" in api.words(events, "stderr")[-1]


def test_a_program_that_does_not_heed_its_end_is_killed_with_its_tools(
    start, programs, tmp_path, monkeypatch
):
    monkeypatch.setattr(agent_turn, "AGENT_GRACE_SECONDS", 0.2)
    path = os.path.join(programs["PATH"].split(os.pathsep)[0], "claude")
    with open(path) as file:
        text = file.read()
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)"
    with open(path, "w") as file:
        file.write(text.replace("\n", "\n%s\n" % deaf, 1))
    api = start(agents="claude")
    mark = str(tmp_path / "pid")
    line = "trap '' TERM; echo $$ > %s; %s; %s" % (mark, SLEEP, SLEEP)
    task = api.create(plan(run=[line]), executor="claude")
    api.wait_until(lambda: os.path.exists(mark) and sleeping())
    api.cancel(task["id"])
    assert api.stream(task["id"])[1]["status"] == "canceled"
    api.wait_until(lambda: not sleeping())


def test_without_a_name_the_owners_first_answers_and_marked_code_is_rehearsed(
    start, programs
):
    api = start(agents="codex,claude")
    task, _, done = api.run(plan(say="by codex"))
    assert done["finalResult"] == "by codex"
    assert api.get("/tasks/" + task["id"])["executor"] == "codex"
    task, _, done = api.run(api.sh("echo rehearsed"))
    assert task["rehearsal"] is True and done["finalResult"] == "rehearsed"
    assert api.post("/tasks", {"prompt": "x", "executor": "pi"}).status == 400


def test_usage_that_counts_over_the_conversation_is_told_as_the_turns_share(
    start, programs
):
    api = start(agents="codex")
    task, _, _ = api.run("a", executor="codex")
    first = latest(api, task)["usage"]["inputTokens"]
    api.follow_up(task["id"], "b" * 1000)
    api.stream(task["id"])
    sent = [len(call["prompt"]) * 10 for call in calls(programs)]
    assert [first, latest(api, task)["usage"]["inputTokens"]] == [
        sent[0],
        sent[1] - sent[0],
    ]


def test_one_program_of_a_kind_works_in_a_workspace_at_a_time(
    start, programs, tmp_path
):
    api = start(agents="claude,codex", width=3)
    place, log = str(tmp_path / "go"), str(tmp_path / "log")
    hold = "echo in >> %s; while [ ! -e %s ]; do sleep 0.02; done" % (log, place)
    first = api.create(plan(run=[hold]), executor="claude")
    api.wait_until(lambda: os.path.exists(log))
    where = {"workspaceId": first["workspaceId"]}
    second = api.create(plan(run=["echo second >> " + log]), executor="claude", **where)
    other = api.create(plan(run=["echo other >> " + log]), executor="codex", **where)
    api.stream(other["id"])
    open(place, "w").close()
    api.stream(second["id"])
    with open(log, encoding="utf-8") as file:
        assert file.read().split() == ["in", "other", "second"]


# Several Pythons may run this at once: each looks for its own.
SLEEP = "sleep %d" % (100000 + os.getpid())
# What a tool may leave behind: in its group, in a session of its own, without its environment.
LEFT = "{0} & setsid {0} & env -i %s {0} & ".format(SLEEP)
FOREGROUND = "echo $$ > %%s; env -i %s" % SLEEP


def sleeping():
    listing = run_quietly(["ps", "axww", "-o", "args="]).stdout.decode()
    return [line for line in listing.splitlines() if line.strip() == SLEEP]


def begin(api, tmp_path):
    """Start a task that holds a tool with something behind it; gives the task."""
    mark = str(tmp_path / "pid")
    setsid = shutil.which("setsid")
    line = LEFT % setsid + FOREGROUND % mark
    task = api.create(plan(run=[line]), executor="claude")
    api.wait_until(lambda: os.path.exists(mark) and len(sleeping()) == 4)
    return task


@pytest.mark.skipif(not shutil.which("setsid"), reason="there is no setsid here")
@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="there is no /proc here")
def test_a_cancel_and_a_stop_in_the_middle_of_a_tool_leave_no_process(
    start, programs, tmp_path
):
    api = start(agents="claude")
    task = begin(api, tmp_path)
    api.cancel(task["id"])
    api.stream(task["id"])
    api.wait_until(lambda: not sleeping())
    os.unlink(str(tmp_path / "pid"))
    begin(api, tmp_path)
    api.server.close()
    assert not sleeping()


def test_a_server_that_is_killed_takes_its_programs_along_and_the_next_one_goes_on(
    spawn, programs, tmp_path
):
    process, api = spawn(agents="claude")
    mark = str(tmp_path / "pid")
    line = "setsid %s & echo $$ > %s; %s" % (SLEEP, mark, SLEEP)
    task = api.create(plan(run=[line]), executor="claude")
    api.wait_until(lambda: os.path.exists(mark) and len(sleeping()) == 2)
    os.kill(process.pid, signal.SIGKILL)
    api.wait_until(lambda: not sleeping())
    _, again = spawn(agents="claude")
    assert again.get("/tasks/" + task["id"])["status"] == "failed"
    again.follow_up(task["id"], plan(say="turn TURN"))
    assert again.stream(task["id"])[1]["finalResult"] == "turn 2"


def test_a_program_that_gets_nowhere_is_ended_in_its_time_and_says_why(start, programs):
    api = start(agents="claude", agent_silence=0.3)
    retry = {"type": "system", "subtype": "api_retry", "error": "overloaded"}
    order = plan(raw=[json.dumps(retry)], sleep=60)
    _, _, done = api.run(order, executor="claude")
    assert "did not answer" in done["finalResult"]
    assert "overloaded" in done["finalResult"]
    api = start(agents="claude", agent_limit=0.3, folder=api.server.folder + "2")
    _, _, done = api.run(plan(sleep=60), executor="claude")
    assert "it ran for more than 0 seconds" in done["finalResult"]


def test_what_a_program_says_last_outranks_its_exit_code(start, programs):
    api = start(agents="claude")
    task, _, done = api.run(plan(say="fine", code=3), executor="claude")
    assert (done["status"], done["finalResult"]) == ("succeeded", "fine")
    assert "exit code 3" in latest(api, task)["warnings"][0]
    _, _, done = api.run(plan(error="no key"), executor="claude")
    assert (done["status"], done["finalResult"]) == ("failed", "no key")
    _, events, done = api.run(plan(say="", end=False), executor="claude")
    assert done["status"] == "failed" and "no last word" in done["finalResult"]


@pytest.mark.parametrize(
    "words, spelled",
    [
        ("", []),
        (" codex:full , claude ", ["codex:full", "claude"]),
        ("all,codex:full", ["claude", "codex:full"]),
        ("claude,claude", ["claude"]),
        ("claude:full,claude", "claude:full or claude: name one"),
        (" , ", "it names no program; known are claude, "),
        ("ALL", "ALL is no program known here; known are claude, codex, gemini,"),
        ("all:full", "opencode, pi, and all"),
    ],
)
def test_the_words_that_switch_programs_on_mean_one_level_each(
    programs, monkeypatch, words, spelled
):
    monkeypatch.setenv("PATH", programs["PATH"].split(os.pathsep)[0])
    if isinstance(spelled, str):
        with pytest.raises(ValueError, match=spelled):
            parse_agents(words)
    else:
        assert [one.spelled for one in parse_agents(words).values()] == spelled


def test_a_cost_that_no_float_can_hold_is_no_cost(start, programs):
    api = start(agents="claude")
    raw = '{"type":"result","subtype":"success","total_cost_usd":1%s}' % ("0" * 400)
    task, _, done = api.run(plan(raw=[raw], say="end"), executor="claude")
    assert (done["status"], done["finalResult"]) == ("succeeded", "end")
    assert latest(api, task)["costUsd"] == 0.25


@pytest.mark.parametrize(
    "line, warning",
    [
        ("true", "no file in its folder changed"),
        ('rm -rf "$PWD"', "cannot be read any more (No such file"),
        ('rm -rf "$PWD"; touch "$PWD"', "cannot be read any more (Not a directory"),
        ('rm -rf "$PWD"; ln -s / "$PWD"', "a link is in its place"),
    ],
)
def test_what_became_of_the_folder_of_a_turn_is_told_as_it_is(
    start, programs, line, warning
):
    api = start(agents="claude")
    task, events, done = api.run(plan(run=[line], say="did"), executor="claude")
    assert (done["status"], done["finalResult"]) == ("succeeded", "did")
    assert warning in " ".join(latest(api, task)["warnings"])
    assert "files_changed" not in [event["eventType"] for event in events]


def close_folder(monkeypatch, error):
    """Let no folder be read any more whose name is "closed"."""
    look = os.scandir

    def refuse(path):
        if str(path).endswith("closed"):
            raise OSError(error, os.strerror(error), str(path))
        return look(path)

    monkeypatch.setattr(os, "scandir", refuse)


CLOSED = "what it changed in closed is not known"


@pytest.mark.parametrize(
    "error, changes, trouble",
    [
        (errno.EACCES, [], CLOSED),
        (errno.ENOENT, [{"path": "closed/kept", "kind": "deleted"}], "None"),
    ],
)
def test_files_are_told_as_deleted_only_where_their_folder_is_gone(
    tmp_path, monkeypatch, error, changes, trouble
):
    (tmp_path / "closed").mkdir()
    (tmp_path / "closed" / "kept").write_text("x")
    before = Snapshot(str(tmp_path))
    close_folder(monkeypatch, error)
    assert before.changes() == changes
    assert trouble in str(before.trouble)


def test_a_turn_in_whose_folder_something_is_locked_is_not_told_as_idle(
    start, programs, monkeypatch
):
    api = start(agents="claude")
    close_folder(monkeypatch, errno.EACCES)
    task, _, _ = api.run(plan(run=["mkdir closed"], say="did"), executor="claude")
    words = " ".join(latest(api, task)["warnings"])
    assert CLOSED in words and "no file in its folder changed" not in words


@pytest.mark.parametrize(
    "first, words",
    [
        (
            "#!/no/such",
            "its first line names an interpreter that is not there: /no/such",
        ),
        ("#! /bin/sh\r", r"an interpreter that is not there: /bin/sh\r"),
        ("\x7fELF", "Exec format error"),
    ],
)
def test_a_program_that_cannot_be_started_says_what_is_missing(
    start, programs, first, words
):
    path = os.path.join(programs["PATH"].split(os.pathsep)[0], "claude")
    with open(path, "w") as file:
        file.write(first + "\n")
    _, _, done = start(agents="claude").run("x", executor="claude")
    assert done["status"] == "failed" and words in done["finalResult"]


def test_a_byte_order_mark_before_a_stream_is_passed_over(start, programs):
    path = os.path.join(programs["PATH"].split(os.pathsep)[0], "claude")
    with open(path) as file:
        text = file.read()
    with open(path, "w") as file:
        file.write(
            text.replace('out(type="system"', 'print(end="\\ufeff")\nout(type="system"')
        )
    api = start(agents="claude")
    _, events, done = api.run(plan(say="fine", code=0), executor="claude")
    assert (done["status"], done["finalResult"]) == ("succeeded", "fine")
    assert api.words(events, "stdout") == []


def test_a_line_of_a_megabyte_and_a_line_that_is_no_json_go_through(start, programs):
    api = start(agents="claude")
    order = plan(raw=["oops {"], long=1 << 20, say="end")
    _, events, done = api.run(order, executor="claude")
    assert done["status"] == "succeeded"
    assert max(map(len, api.words(events))) == 1 << 20
    assert api.words(events, "stdout") == ["oops {"]


def test_skills_of_a_task_lie_where_the_programs_look_for_them(
    start, programs, tmp_path
):
    (tmp_path / "skills" / "pdf").mkdir(parents=True)
    (tmp_path / "skills" / "pdf" / "SKILL.md").write_text("read it")
    api = start(agents="claude", skills=str(tmp_path / "skills"))
    order = plan(run=["cat .claude/skills/pdf/SKILL.md .agents/skills/pdf/SKILL.md"])
    _, events, _ = api.run(order, executor="claude", skills=["pdf"])
    assert api.words(events, "tool_result") == ["read it" * 2]
    outside = tmp_path / "outside"
    outside.mkdir()
    task, _, _ = api.run(plan(run=["ln -s %s .claude" % outside]), executor="claude")
    more = {"workspaceId": task["workspaceId"], "skills": ["pdf"]}
    _, events, _ = api.run(plan(say="x"), executor="claude", **more)
    assert "is a link" in api.words(events, "stderr")[0]
    assert os.listdir(str(outside)) == []


@pytest.mark.skipif(not shutil.which("bwrap"), reason="there is no bwrap here")
def test_in_the_box_a_program_writes_into_its_workspace_and_not_into_the_home(
    start, programs, tmp_path, monkeypatch
):
    works = run_quietly(["bwrap", "--ro-bind", "/", "/", "true"]).returncode == 0
    if not works:
        pytest.skip("bwrap does not work here")
    commands = programs["PATH"].split(os.pathsep)[0]
    os.unlink(os.path.join(commands, "bwrap"))
    # Its state: what the program itself has to write.
    monkeypatch.setenv("CLAUDE_CONFIG_DIR", programs["HOME"] + "/sessions")
    monkeypatch.setenv("XDG_CACHE_HOME", programs["HOME"])
    monkeypatch.setenv("FAKE_LOG", programs["HOME"] + "/claude/log")
    os.makedirs(programs["HOME"] + "/claude")
    api = start(agents="claude:boxed")
    lines = ["echo 1 > artifacts/n.csv", "touch %s/out" % programs["HOME"]]
    _, events, done = api.run(plan(run=lines, say="did"), executor="claude")
    assert done["finalResult"] == "did", done
    errors = [
        event["payload"]["is_error"]
        for event in events
        if event["eventType"] == "tool_result"
    ]
    assert errors == [False, True]
    assert not os.path.exists(programs["HOME"] + "/out")


def test_the_page_of_a_task_folds_its_tools_and_tells_what_it_changed_and_used(
    start, programs
):
    api = start(agents="claude")
    hostile = "<script>alert(1)</script>"
    order = plan(run=["echo '%s' > n.csv; cat n.csv" % hostile], say="did <b>it</b>")
    task, _, _ = api.run(order, executor="claude")
    text = api.send("GET", task["url"]).text
    for part in (
        "claude, fake-opus",
        '<details class="note"><summary>\u2500\u2500 Bash  echo',
        "\u2500\u2500 done  &lt;script&gt;",
        "added    n.csv",
        "100 input tokens, 7 output tokens, 0.2500 USD",
        "did &lt;b&gt;it",
        "local server &middot; claude",
    ):
        assert part in text, part
    assert hostile not in text
    listed = api.send("GET", api.server.page_url).text
    assert "claude 9.9.9: default; not kept from: reading files outside" in listed


def test_of_all_that_are_found_one_that_is_ready_answers_first(
    start, programs, monkeypatch
):
    monkeypatch.setenv("FAKE_LOGGED_OUT", "1")
    monkeypatch.setenv("CODEX_API_KEY", "a key, so nobody has to be logged in")
    api = start(agents="all")
    assert list(api.server.agents) == ["codex", "claude"]
    assert api.result(plan(say="by codex")) == "by codex"


def problem(name, model=None, **environ):
    """Why a program is not run, by its environment alone."""
    return PROGRAMS[name].login_problem(environ, model)


def test_opencode_is_refused_where_it_would_ask_its_vendors_free_model(tmp_path):
    home = {"HOME": str(tmp_path)}
    config = tmp_path / ".config" / "opencode"
    data = tmp_path / ".local" / "share" / "opencode"
    config.mkdir(parents=True)
    data.mkdir(parents=True)
    (config / "opencode.json").write_text('{"theme": "dark"}')
    (data / "auth.json").write_text("{}")
    assert "free service" in problem("opencode", **home)
    assert problem("opencode", model="a/b", **home) is None
    content = json.dumps({"model": "a/b"})
    assert problem("opencode", OPENCODE_CONFIG_CONTENT=content, **home) is None
    elsewhere = str(tmp_path / "elsewhere")
    assert "free" in problem("opencode", XDG_DATA_HOME=elsewhere, **home)
    (data / "auth.json").write_text('{"anthropic": {"type": "api"}}')
    assert problem("opencode", **home) is None
    (data / "auth.json").unlink()
    (config / "opencode.json").write_text('{ // mine\n "model" : "a/b" }')
    assert problem("opencode", **home) is None


def test_gemini_and_codex_are_asked_for_a_login_only_where_they_need_one(tmp_path):
    home = {"HOME": str(tmp_path)}
    assert "not logged in" in problem("gemini", **home)
    assert problem("gemini", GEMINI_API_KEY="k", **home) is None
    (tmp_path / ".gemini").mkdir()
    settings = tmp_path / ".gemini" / "settings.json"
    settings.write_text('{"security": {"auth": {"selectedType": "oauth-personal"}}}')
    assert problem("gemini", **home) is None
    settings.write_text('{"security": {}}')
    assert "not logged in" in problem("gemini", **home)
    codex = PROGRAMS["codex"].needs_login
    assert codex(home) and not codex(dict(home, CODEX_API_KEY="k"))
    (tmp_path / ".codex").mkdir()
    config = tmp_path / ".codex" / "config.toml"
    config.write_text('model_provider = "openai"\n')
    assert codex(home)
    config.write_text('model = "x"\n[profiles.mine]\nmodel_provider = "mine"\n')
    assert not codex(home)


@pytest.mark.parametrize("parent_waits", [False, True])
def test_a_login_check_that_leaves_a_child_is_soon_over_and_leaves_nothing(
    tmp_path, monkeypatch, parent_waits
):
    monkeypatch.setattr(readiness, "CHECK_SECONDS", 0.5)
    command = tmp_path / "check"
    rest = "wait" if parent_waits else "exit 1"
    command.write_text("#!/bin/sh\nsleep 60 &\necho $! > pid\n%s\n" % rest)
    command.chmod(0o755)
    began = time.monotonic()
    env = dict(os.environ, TMPDIR=str(tmp_path))
    says_no = readiness._fails((str(command),), env)
    assert says_no is not parent_waits and time.monotonic() - began < 5
    pid = int((tmp_path / "pid").read_text())
    end = time.monotonic() + 10
    while os.path.exists("/proc/self") and is_running(pid):
        assert time.monotonic() < end
        time.sleep(0.01)


def is_running(pid):
    """Tell whether a process runs, and is more than its entry in the table."""
    try:
        with open("/proc/%d/stat" % pid) as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
