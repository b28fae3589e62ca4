"""What a prompt does: fences as real processes, questions, skills, repositories, agents."""

from __future__ import annotations

import json
import os
import stat
import sys
import time

import pytest

from measure import run_quietly
from rebyte_local.execution.processes import LINE_LIMIT_BYTES, LineSplitter
from rebyte_local.execution.rehearsal import (
    find_steps,
    parse_question,
    substitute_code_path,
)


def test_only_fences_that_ask_for_it_are_steps():
    prompt = (
        "```python\nno\n```\n``` bash run\nyes 1\n```\n"
        "````markdown\n```python run\nquoted\n```\n````\n"
        "~~~sh run\r\nyes 2\r\n~~~\r\n```Python run\nno\n```\n"
        "```python run now\nno\n```\n    ```sh run\nno\n    ```\n"
        "`````ask run\nwhich?\n- a\n```\n- b\n`````\n```sh run\nnever closed\n"
    )
    assert find_steps(prompt) == [
        ("bash", "yes 1\n"),
        ("sh", "yes 2\n"),
        ("ask", "which?\n- a\n```\n- b\n"),
    ]


def test_code_means_the_workspace_only_where_it_is_the_folder():
    text = (
        "cd /code && cat '/code/a' /code; /codec /home/code/x ~/code/y a/code/z $X/code/w "
        '/code-x "/code"'
    )
    assert (
        substitute_code_path(text, "W")
        == "cd W && cat 'W/a' W; /codec /home/code/x ~/code/y a/code/z $X/code/w /code-x \"W\""
    )


def test_a_question_has_lines_and_options():
    assert parse_question("Which one?\nReally?\n- A\n-  b c \n") == (
        "Which one?\nReally?",
        ["A", "b c"],
    )
    assert parse_question("\n") == ("What now?", [])


def test_lines_are_cut_at_newlines_only_and_long_ones_are_kept_short():
    cutter = LineSplitter()
    assert cutter.feed(b"a\xc3") == [] and cutter.feed(
        b"\xa9\x0b\xe2\x80\xa8\xff\nb"
    ) == ["a\u00e9\x0b\u2028\ufffd"]
    for _ in range(100):
        assert cutter.feed(b"x" * 65536) == []
    line = cutter.feed(b"\n")[0]
    assert (
        line.startswith("b" + "x" * (LINE_LIMIT_BYTES - 1) + " [")
        and "more bytes" in line
    )
    assert (
        cutter.finish() == []
        and cutter.feed(b"end") == []
        and cutter.finish() == ["end"]
    )


def has_error(events):
    """Whether the tools that ran say that they failed."""
    return [
        event["payload"]["is_error"]
        for event in events
        if event["eventType"] == "tool_result"
    ]


def test_fences_run_in_order_and_their_output_is_the_answer(api):
    task, events, done = api.run(
        "Do this.\n"
        + api.fence("python", "print('one')")
        + api.fence("bash", "echo two; echo err >&2")
        + "```sh\necho never\n```\n"
        + api.sh("echo three")
    )
    kinds = [event["eventType"] for event in events]
    assert (
        kinds[:2] == ["init", "text"]
        and kinds[-1] == "text"
        and kinds.count("tool_use") == 3
    )
    assert (
        events[0]["payload"]["rehearsal"] is True
        and "rehearsal" in api.words(events)[0]
    )
    assert api.words(events, "stdout") == ["one", "two", "three"] and api.words(
        events, "stderr"
    ) == ["err"]
    assert api.words(events)[-1] == done["finalResult"] == "one\ntwo\nthree"
    assert (done["status"], done["lastSeq"]) == ("succeeded", len(events) - 1)
    assert has_error(events) == [False] * 3
    assert (
        api.get("/tasks/%s/content" % task["id"])["prompts"][0]["response"]
        == "one\ntwo\nthree"
    )


def test_a_prompt_without_fences_says_that_nothing_was_run(api):
    _, events, done = api.run("Please think.\n```python\nimport os\n```\n")
    assert done["status"] == "succeeded"
    assert (
        "rehearsal" in done["finalResult"] and "nothing to run" in done["finalResult"]
    )
    assert api.words(events) == [done["finalResult"]]


def test_a_fence_that_fails_ends_the_prompt_with_its_last_words(api):
    _, events, done = api.run(
        api.fence("bash", "for i in 1 2 3 4 5 6 7; do echo line $i >&2; done; exit 7")
        + api.sh("echo never")
    )
    assert (
        done["status"] == "failed"
        and "exit code 7" in done["finalResult"]
        and "line 7" in done["finalResult"]
    )
    assert "line 2" not in done["finalResult"] and "never" not in json.dumps(events)
    assert has_error(events) == [True]
    assert "signal 9" in api.result(api.sh("kill -9 $$"))


def test_a_process_knows_nothing_of_the_servers_environment(start, monkeypatch):
    for name in (
        "REBYTE_API_KEY",
        "AWS_SECRET_ACCESS_KEY",
        "HTTPS_PROXY",
        "PYTHONPATH",
    ):
        monkeypatch.setenv(name, "secret-word")
    api = start()
    task, _, done = api.run(
        api.fence(
            "python",
            "import os, sys, json",
            "print(json.dumps(dict(os.environ)))",
            "print(os.getcwd()); print(repr(sys.stdin.read()))",
        )
    )
    env, cwd, stdin = done["finalResult"].splitlines()
    env = json.loads(env)
    assert "secret-word" not in str(env) and not [
        name for name in env if name.startswith("REBYTE_")
    ]
    assert env["HOME"] == cwd and cwd.endswith(task["workspaceId"]) and stdin == "''"
    assert env["ARTIFACTS_DIR"] == os.path.join(cwd, "artifacts") and os.path.isabs(
        env["TMPDIR"]
    )


def test_python_fences_import_from_the_workspace(api):
    assert (
        api.result(
            api.sh("echo 'x = 42' > mine.py")
            + api.fence("python", "import mine; print(mine.x)")
        )
        == "42"
    )


def test_output_comes_while_the_process_runs(api):
    task = api.create(
        api.fence("python", "import time", "print(repr(time.time()))", "time.sleep(5)")
    )
    delay = time.time() - float(api.first_output(task["id"]))
    api.cancel(task["id"])
    assert delay < 0.1  # about 1 ms on an idle machine


def test_cancel_ends_grandchildren_even_those_that_will_not_listen(api):
    task = api.create(
        api.fence(
            "bash",
            "(trap '' TERM; echo $BASHPID; while :; do sleep 0.05; done) &",
            "sleep 60 & echo $!",
            "wait",
        )
    )
    events, response = api.until(task["id"], count=2)
    pids = api.words(events, "stdout")
    assert len(pids) == 2 and all(map(api.is_alive, pids))
    api.cancel(task["id"])
    assert b'"canceled"' in response.read()
    api.wait_for_end_of(*pids)


def test_what_a_fence_leaves_running_is_ended_with_it(api):
    began = time.monotonic()
    _, _, done = api.run(api.sh("sleep 60 & echo $!"))
    assert done["status"] == "succeeded" and time.monotonic() - began < 1.5
    api.wait_for_end_of(done["finalResult"])


def test_no_more_than_the_width_runs_at_once(start, tmp_path):
    api, marks = start(width=2), tmp_path / "marks"
    marks.mkdir()
    script = api.fence(
        "python",
        "import os, time",
        "d = %r" % str(marks),
        "p = os.path.join(d, str(os.getpid()))",
        "open(p, 'w').close()",
        "time.sleep(0.1)",
        "print(len(os.listdir(d)))",
        "os.unlink(p)",
    )
    ids = [api.create(script)["id"] for _ in range(6)]
    assert max(int(api.stream(task_id)[1]["finalResult"]) for task_id in ids) <= 2


def test_a_question_waits_for_its_answer_and_takes_no_place(start):
    api = start(width=1)
    task_id = api.create(
        "```ask run\nWhich colour?\n- red\n- blue\n```\n"
        + api.sh('echo "chose $ANSWER"')
    )["id"]
    asked, response = api.asked(task_id)
    assert set(asked) == {"actionId", "messageId", "question", "options", "multiSelect"}
    assert (asked["question"], asked["options"]) == (
        "Which colour?",
        [{"label": "red"}, {"label": "blue"}],
    )
    assert isinstance(asked["actionId"], int) and isinstance(asked["messageId"], str)
    assert api.run("another task meanwhile")[2]["status"] == "succeeded"
    assert api.get("/tasks/" + task_id)["status"] == "running"
    for bad in (
        {},
        {"selectedOptions": [2]},
        {"selectedOptions": ["red"]},
        {"selectedOptions": [True]},
        {"customResponse": 1},
    ):
        assert api.answer(task_id, asked, **bad).status == 400
    assert api.answer(task_id, asked, selectedOptions=[1]).status == 200
    assert b"chose blue" in response.read()
    assert api.answer(task_id, asked, selectedOptions=[1]).status == 409


def test_an_answer_in_own_words_or_in_a_batch_is_taken(api):
    prompt = "```ask run\nName?\n```\n" + api.fence(
        "python", "import os; print(os.environ['ANSWER'])"
    )
    first, second = api.create(prompt)["id"], api.create(prompt)["id"]
    assert (
        api.answer(
            first, api.asked(first)[0], customResponse="J\u00f6rg; rm -rf $HOME"
        ).status
        == 200
    )
    assert api.stream(first)[1]["finalResult"] == "J\u00f6rg; rm -rf $HOME"
    asked, _ = api.asked(second)
    assert (
        api.answer(second, dict(asked, messageId="other"), customResponse="x").status
        == 409
    )
    right = {
        "messageId": asked["messageId"],
        "actionId": asked["actionId"],
        "answer": {"customResponse": "x"},
    }
    assert (
        api.post(
            "/tasks/%s/answer" % second,
            {"answers": [dict(right, messageId="other"), right]},
        ).status
        == 200
    )
    assert api.stream(second)[1]["finalResult"] == "x"


def test_nothing_to_answer_is_a_conflict_and_a_parked_task_can_be_canceled(api):
    quiet, _, _ = api.run("x")
    assert api.answer(quiet["id"], {"messageId": "m", "actionId": 1}).status == 409
    task = api.create("```ask run\nWell?\n```\n")
    _, response = api.asked(task["id"])
    api.cancel(task["id"])
    assert b'"canceled"' in response.read()


@pytest.fixture
def repos(tmp_path):
    """A folder of repositories with owner/repo in it: main and a branch other."""
    path = tmp_path / "repos" / "owner" / "repo"
    path.mkdir(parents=True)
    git = [
        "git",
        "-c",
        "user.name=t",
        "-c",
        "user.email=t@example.com",
        "-C",
        str(path),
    ]
    (path / "README.txt").write_text("main text")
    for words in (
        "init -q",
        "symbolic-ref HEAD refs/heads/main",
        "add .",
        "commit -qm one",
        "checkout -qb other",
    ):
        run_quietly(git + words.split(), check=True)
    (path / "README.txt").write_text("other text")
    run_quietly(git + ["commit", "-qam", "two"], check=True)
    return str(tmp_path / "repos")


def test_a_repository_is_cloned_at_main_or_the_branch_asked_for(
    start, repos, monkeypatch
):
    monkeypatch.setenv(
        "GIT_WORK_TREE", repos
    )  # as in a hook, where git's own variables would mislead it
    api = start(repos=repos)
    script = api.sh("cat repo/README.txt")
    first, _, done = api.run(script, githubUrl="owner/repo")
    assert done["finalResult"] == "main text"
    assert (
        api.result(script, githubUrl="owner/repo", branchName="other") == "other text"
    )
    _, events, done = api.run(
        script, githubUrl="owner/repo", workspaceId=first["workspaceId"]
    )
    assert (
        done["finalResult"] == "main text"
        and "already in the workspace" in api.words(events, "stderr")[0]
    )
    _, events, done = api.run(
        api.sh("echo never"), githubUrl="owner/repo", branchName="nowhere"
    )
    assert (
        done["status"] == "failed"
        and "Remote branch nowhere not found" in done["finalResult"]
    )  # git's own words
    assert "never" not in api.words(events, "stdout")


def test_skills_are_copied_and_missing_ones_are_said(start, tmp_path):
    skill = tmp_path / "skills" / "pdf"
    skill.mkdir(parents=True)
    (skill / "SKILL.md").write_text("how to pdf")
    api = start(skills=str(tmp_path / "skills"))
    _, events, done = api.run(
        api.sh("cat ~/.skills/pdf/SKILL.md"),
        skills=["pdf", "nothing", "../..", "github:a/b#c", "any/"],
    )
    said = api.words(events, "stderr")
    assert (
        done["finalResult"] == "how to pdf"
        and len(said) == 4
        and all("not installed" in words for words in said)
    )
    other = start(folder=str(tmp_path / "other"))
    assert (
        "without a folder of skills"
        in other.words(other.run("x", skills=["pdf"])[1], "stderr")[0]
    )


def test_an_agent_program_gets_the_whole_prompt_and_speaks_in_deltas(start):
    program = (
        "import sys, os; t = sys.stdin.read(); print('got', len(t)); "
        "print(t[:5], file=sys.stderr); print(os.getcwd())"
    )
    api = start(agent=[sys.executable, "-c", program])
    task, events, done = api.run("```sh run\necho never\n```" + "x" * 90000)
    texts = [event["payload"] for event in events if event["eventType"] == "text"]
    assert [text["is_delta"] for text in texts] == [True, True] and texts[0][
        "content"
    ] == "got 90024\n"
    assert done["finalResult"].splitlines()[1].endswith(task["workspaceId"])
    assert "rehearsal" not in task and "rehearsal" not in api.get(
        "/tasks/" + task["id"]
    )


@pytest.mark.parametrize(
    "agent,words",
    [
        (["sh", "-c", "echo sorry >&2; exit 4"], ["exit code 4", "sorry"]),
        (["/no/such/agent"], ["cannot be started"]),
    ],
)
def test_an_agent_program_that_fails_or_is_not_there_fails_the_task(
    start, agent, words
):
    done = start(agent=agent).run("x")[2]
    assert done["status"] == "failed" and all(
        word in done["finalResult"] for word in words
    )


def test_much_output_on_both_pipes_neither_blocks_nor_is_lost(api):
    _, events, done = api.run(
        api.fence(
            "python",
            "import sys",
            "for i in range(5000):",
            "    print(i)",
            "    print(-i, file=sys.stderr)",
        )
    )
    assert done["status"] == "succeeded"
    assert api.words(events, "stdout") == [str(number) for number in range(5000)]
    assert len(api.words(events, "stderr")) == 5000
    assert [event["seq"] for event in events] == list(range(len(events)))


def test_binary_output_is_told_as_text(api):
    _, events, done = api.run(
        api.fence("python", "import sys; sys.stdout.buffer.write(bytes(range(256)))")
    )
    assert done["status"] == "succeeded" and "\ufffd" in done["finalResult"]


def test_scratch_folders_are_removed_and_workspaces_are_private(api, folder):
    task, _, _ = api.run(api.sh("echo x > $TMPDIR/t; echo hi"))
    api.wait_until(lambda: os.listdir(os.path.join(folder, "scratch")) == [])
    assert (
        stat.S_IMODE(
            os.stat(os.path.join(folder, "workspaces", task["workspaceId"])).st_mode
        )
        == 0o700
    )
