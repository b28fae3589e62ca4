"""What a prompt does: fences run as real processes, questions, skills, repositories, agent programs."""
from __future__ import annotations

import json
import os
import stat
import sys
import time

import pytest
from measure import run_quietly


def is_alive(pid):
    """True while the process runs; a zombie whose parent has not looked yet does not."""
    try:
        with open("/proc/%d/stat" % pid, encoding="ascii") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(is_true, seconds=10):
    end = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_fences_run_in_order_and_their_output_is_the_answer(api):
    task, events, done = api.run("Do this.\n" + api.fence("python", "print('one')") +
                                 api.fence("bash", "echo two; echo err >&2")
                                 + "```sh\necho never\n```\n" + api.fence("sh", "echo three"))
    kinds = [e["eventType"] for e in events]
    assert kinds[:2] == ["init", "text"] and kinds[-1] == "text" and kinds.count("tool_use") == 3
    assert events[0]["payload"]["rehearsal"] is True and "rehearsal" in api.words(events)[0]
    assert api.words(events, "stdout") == ["one", "two", "three"] and api.words(events, "stderr") == ["err"]
    assert api.words(events)[-1] == done["finalResult"] == "one\ntwo\nthree"
    assert (done["status"], done["lastSeq"]) == ("succeeded", len(events) - 1)
    assert [e["payload"]["is_error"] for e in events if e["eventType"] == "tool_result"] == [False] * 3
    assert api.get("/tasks/%s/content" % task["id"])["prompts"][0]["response"] == "one\ntwo\nthree"


def test_a_prompt_without_fences_says_that_nothing_was_run(api):
    _, events, done = api.run("Please think.\n```python\nimport os\n```\n")
    assert done["status"] == "succeeded"
    assert "rehearsal" in done["finalResult"] and "nothing to run" in done["finalResult"]
    assert api.words(events) == [done["finalResult"]]


def test_a_fence_that_fails_ends_the_prompt_with_its_last_words(api):
    _, events, done = api.run(api.fence("bash", "for i in 1 2 3 4 5 6 7; do echo line $i >&2; done; exit 7")
                              + api.fence("sh", "echo never"))
    assert done["status"] == "failed" and "exit code 7" in done["finalResult"] and "line 7" in done["finalResult"]
    assert "line 2" not in done["finalResult"] and "never" not in json.dumps(events)
    assert [e["payload"]["is_error"] for e in events if e["eventType"] == "tool_result"] == [True]


def test_a_fence_ended_by_a_signal_fails(api):
    assert "signal 9" in api.run(api.fence("sh", "kill -9 $$"))[2]["finalResult"]


def test_a_process_knows_nothing_of_the_servers_environment(start, monkeypatch):
    for name in ("REBYTE_API_KEY", "AWS_SECRET_ACCESS_KEY", "HTTPS_PROXY", "PYTHONPATH"):
        monkeypatch.setenv(name, "secret-word")
    api = start()
    task, _, done = api.run(api.fence("python", "import os, sys, json", "print(json.dumps(dict(os.environ)))",
                                      "print(os.getcwd()); print(repr(sys.stdin.read()))"))
    env, cwd, stdin = done["finalResult"].splitlines()
    env = json.loads(env)
    assert "secret-word" not in str(env) and not [n for n in env if n.startswith("REBYTE_")]
    assert env["HOME"] == cwd and cwd.endswith(task["workspaceId"]) and stdin == "''"
    assert env["ARTIFACTS_DIR"] == os.path.join(cwd, "artifacts") and os.path.isabs(env["TMPDIR"])


def test_python_fences_import_from_the_workspace(api):
    assert api.run(api.fence("sh", "echo 'x = 42' > mine.py") + api.fence("python", "import mine; print(mine.x)")
                   )[2]["finalResult"] == "42"


def test_output_comes_while_the_process_runs(api):
    task = api.create(api.fence("python", "import time", "print(repr(time.time()))", "time.sleep(5)"))
    connection, response = api.open_stream(task["id"])
    for name, data in api.read_frames(response):
        if data["eventType"] == "stdout":
            delay = time.time() - float(data["payload"]["content"])
            break
    connection.close()
    api.cancel(task["id"])
    assert delay < 0.1  # about 1 ms on an idle machine


def test_cancel_ends_grandchildren_even_those_that_will_not_listen(api):
    task = api.create(api.fence("bash", "(trap '' TERM; echo $BASHPID; while :; do sleep 0.05; done) &",
                                "sleep 60 & echo $!", "wait"))
    connection, response = api.open_stream(task["id"])
    pids = []
    for _, data in api.read_frames(response):
        if data["eventType"] == "stdout":
            pids.append(int(data["payload"]["content"]))
        if len(pids) == 2:
            break
    assert all(is_alive(pid) for pid in pids)
    api.cancel(task["id"])
    assert b'"canceled"' in response.read()
    connection.close()
    wait_until(lambda: not any(is_alive(pid) for pid in pids))


def test_what_a_fence_leaves_running_is_ended_with_it(api):
    began = time.monotonic()
    _, _, done = api.run(api.fence("sh", "sleep 60 & echo $!"))
    assert done["status"] == "succeeded" and time.monotonic() - began < 1.5
    wait_until(lambda: not is_alive(int(done["finalResult"])))


def test_no_more_than_the_width_runs_at_once(start, tmp_path):
    api = start(width=2)
    tmp_path = tmp_path / "marks"
    tmp_path.mkdir()
    script = api.fence("python", "import os, time", "d = %r" % str(tmp_path), "p = os.path.join(d, str(os.getpid()))",
                       "open(p, 'w').close()", "time.sleep(0.1)", "print(len(os.listdir(d)))", "os.unlink(p)")
    ids = [api.create(script)["id"] for _ in range(6)]
    assert max(int(api.stream(i)[1]["finalResult"]) for i in ids) <= 2


def answer(api, task, events, **given):
    asked = [e for e in events if e["eventType"] == "ask_user_question"][-1]["payload"]
    return api.api("POST", "/tasks/%s/answer" % task["id"],
                   {"messageId": asked["messageId"], "actionId": asked["actionId"], "answer": given})


def ask_and_read(api, task):
    """(connection, response, events up to the question)."""
    connection, response = api.open_stream(task["id"])
    events = []
    for _, data in api.read_frames(response):
        events.append(data)
        if data["eventType"] == "ask_user_question":
            return connection, response, events


def test_a_question_waits_for_its_answer_and_takes_no_place(start):
    api = start(width=1)
    task = api.create("```ask run\nWhich colour?\n- red\n- blue\n```\n" + api.fence("sh", "echo \"chose $ANSWER\""))
    connection, response, events = ask_and_read(api, task)
    payload = events[-1]["payload"]
    assert set(payload) == {"actionId", "messageId", "question", "options", "multiSelect"}
    assert (payload["question"], payload["options"]) == ("Which colour?", [{"label": "red"}, {"label": "blue"}])
    assert isinstance(payload["actionId"], int) and isinstance(payload["messageId"], str)
    assert api.run("another task meanwhile")[2]["status"] == "succeeded"
    assert api.get("/tasks/" + task["id"])["status"] == "running"
    for bad in ({}, {"selectedOptions": [2]}, {"selectedOptions": ["red"]}, {"selectedOptions": [True]},
                {"customResponse": 1}):
        assert answer(api, task, events, **bad).status == 400
    assert answer(api, task, events, selectedOptions=[1]).status == 200
    assert b"chose blue" in response.read()
    connection.close()
    assert answer(api, task, events, selectedOptions=[1]).status == 409


def test_an_answer_in_own_words_or_in_a_batch_is_taken(api):
    prompt = "```ask run\nName?\n```\n" + api.fence("python", "import os; print(os.environ['ANSWER'])")
    task = api.create(prompt)
    connection, response, events = ask_and_read(api, task)
    assert answer(api, task, events, customResponse="J\u00f6rg; rm -rf $HOME").status == 200
    connection.close()
    assert api.stream(task["id"])[1]["finalResult"] == "J\u00f6rg; rm -rf $HOME"
    task = api.create(prompt)
    connection, response, events = ask_and_read(api, task)
    asked = events[-1]["payload"]
    wrong = {"messageId": "other", "actionId": asked["actionId"], "answer": {"customResponse": "x"}}
    assert api.api("POST", "/tasks/%s/answer" % task["id"], wrong).status == 409
    right = dict(wrong, messageId=asked["messageId"])
    assert api.api("POST", "/tasks/%s/answer" % task["id"], {"answers": [wrong, right]}).status == 200
    connection.close()
    assert api.stream(task["id"])[1]["finalResult"] == "x"


def test_nothing_to_answer_is_a_conflict_and_a_parked_task_can_be_canceled(api):
    quiet, _, _ = api.run("x")
    assert api.api("POST", "/tasks/%s/answer" % quiet["id"], {"messageId": "m", "actionId": 1,
                                                              "answer": {}}).status == 409
    task = api.create("```ask run\nWell?\n```\n")
    connection, response, _ = ask_and_read(api, task)
    api.cancel(task["id"])
    assert b'"canceled"' in response.read()
    connection.close()


@pytest.fixture
def repos(tmp_path):
    """A folder of repositories with owner/repo in it: main and a branch other."""
    path = tmp_path / "repos" / "owner" / "repo"
    path.mkdir(parents=True)
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.com", "-C", str(path)]
    (path / "README.txt").write_text("main text")
    for command in (["init", "-q"], ["symbolic-ref", "HEAD", "refs/heads/main"], ["add", "."], ["commit", "-qm", "one"],
                    ["checkout", "-qb", "other"]):
        run_quietly(git + command, check=True)
    (path / "README.txt").write_text("other text")
    run_quietly(git + ["commit", "-qam", "two"], check=True)
    return str(tmp_path / "repos")


def test_a_repository_is_cloned_at_main_or_the_branch_asked_for(start, repos):
    api = start(repos=repos)
    script = api.fence("sh", "cat repo/README.txt")
    first, _, done = api.run(script, githubUrl="owner/repo")
    assert done["finalResult"] == "main text"
    assert api.run(script, githubUrl="owner/repo", branchName="other")[2]["finalResult"] == "other text"
    _, events, done = api.run(script, githubUrl="owner/repo", workspaceId=first["workspaceId"])
    assert done["finalResult"] == "main text" and "already in the workspace" in api.words(events, "stderr")[0]


def test_a_branch_git_cannot_reach_fails_the_task_in_gits_own_words(start, repos):
    api = start(repos=repos)
    _, events, done = api.run(api.fence("sh", "echo never"), githubUrl="owner/repo", branchName="nowhere")
    assert done["status"] == "failed" and "Remote branch nowhere not found" in done["finalResult"]
    assert "never" not in api.words(events, "stdout")


def test_skills_are_copied_and_missing_ones_are_said(start, tmp_path):
    skill = tmp_path / "skills" / "pdf"
    skill.mkdir(parents=True)
    (skill / "SKILL.md").write_text("how to pdf")
    api = start(skills=str(tmp_path / "skills"))
    _, events, done = api.run(api.fence("sh", "cat ~/.skills/pdf/SKILL.md"),
                              skills=["pdf", "nothing", "../..", "github:a/b#c"])
    assert done["finalResult"] == "how to pdf"
    said = api.words(events, "stderr")
    assert len(said) == 3 and all("not installed" in s for s in said)


def test_skills_without_a_folder_of_skills_are_said(api):
    assert "without a folder of skills" in api.words(api.run("x", skills=["pdf"])[1], "stderr")[0]


def test_an_agent_program_gets_the_whole_prompt_and_speaks_in_deltas(start):
    program = ("import sys, os; t = sys.stdin.read(); print('got', len(t)); print(t[:5], file=sys.stderr); "
               "print(os.getcwd())")
    api = start(agent=[sys.executable, "-c", program])
    task, events, done = api.run("```sh run\necho never\n```" + "x" * 90000)
    texts = [e["payload"] for e in events if e["eventType"] == "text"]
    assert [t["is_delta"] for t in texts] == [True, True] and texts[0]["content"] == "got 90024\n"
    assert done["finalResult"].splitlines()[1].endswith(task["workspaceId"])
    assert "rehearsal" not in task and "rehearsal" not in api.get("/tasks/" + task["id"])


def test_an_agent_program_that_fails_or_is_not_there_fails_the_task(start, tmp_path):
    api = start(agent=["sh", "-c", "echo sorry >&2; exit 4"])
    done = api.run("x")[2]
    assert done["status"] == "failed" and "exit code 4" in done["finalResult"] and "sorry" in done["finalResult"]
    api = start(agent=["/no/such/agent"], folder=str(tmp_path / "second"))
    done = api.run("x")[2]
    assert done["status"] == "failed" and "cannot be started" in done["finalResult"]


def test_much_output_on_both_pipes_neither_blocks_nor_is_lost(api):
    _, events, done = api.run(api.fence("python", "import sys", "for i in range(5000):", "    print(i)",
                                        "    print(-i, file=sys.stderr)"))
    assert done["status"] == "succeeded"
    assert api.words(events, "stdout") == [str(i) for i in range(5000)]
    assert len(api.words(events, "stderr")) == 5000
    assert [e["seq"] for e in events] == list(range(len(events)))


def test_binary_output_is_told_as_text(api):
    _, events, done = api.run(api.fence("python", "import sys; sys.stdout.buffer.write(bytes(range(256)))"))
    assert done["status"] == "succeeded" and "\ufffd" in done["finalResult"]


def test_scratch_folders_are_removed_and_workspaces_are_private(api, folder):
    task, _, _ = api.run(api.fence("sh", "echo x > $TMPDIR/t; echo hi"))
    wait_until(lambda: os.listdir(os.path.join(folder, "scratch")) == [])
    path = os.path.join(folder, "workspaces", task["workspaceId"])
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o700
