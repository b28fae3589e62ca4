"""Every curl command of the two documents this bundle was asked from runs as written against the
local server.

Only the address, the key, the example ids, the upload address and where a repository comes from
are replaced.
"""

from __future__ import annotations

import json
import os
import re
import shutil

import pytest

from measure import run_quietly
from rebyte_local.server import LocalServer

DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data")
MISSING = [name for name in ("bash", "curl", "jq", "git") if shutil.which(name) is None]
pytestmark = pytest.mark.skipif(bool(MISSING), reason="missing: " + ", ".join(MISSING))
# The status goes to stderr, so that what the commands do with stdout is untouched; the poll loop
# need not wait 5 s.
PRELUDE = "curl() { command curl -w '%{stderr}\\nSTATUS %{http_code}\\n' \"$@\"; }\nsleep() { command sleep 0.05; }\n"

TASK = {"id", "workspaceId", "url", "status", "createdAt"}
CASES = [  # in the order of the documents: a text the block has, its statuses, the fields of the JSON it ends with
    ("tasks-api-page", "Build a REST API with Express", [201], TASK),
    ("tasks-api-page", "RESP=$(curl", [201, 201], TASK),
    ("tasks-api-page", "/tasks?limit=10", [200], {"data", "total", "limit", "offset"}),
    (
        "tasks-api-page",
        "curl https://api.rebyte.ai/v1/tasks/550e8400-...",
        [200],
        {
            "id",
            "url",
            "status",
            "title",
            "executor",
            "model",
            "createdAt",
            "completedAt",
            "prompts",
        },
    ),
    ("tasks-api-page", "Now add authentication with JWT", [201], {"promptId"}),
    ("tasks-api-page", "/cancel", [200], {"id", "status", "canceledPrompts"}),
    ("tasks-api-page", "curl -N", [200], None),
    ("tasks-api-page", "/visibility", [200], {"visibility", "shareUrl"}),
    ("tasks-api-page", "curl -X DELETE", [204], None),
    ("tasks-api-page", "UPLOAD_URL_FROM_STEP_1", [200], None),
    ("tasks-api-page", "curl https://api.rebyte.ai/v1/workspaces/", [200], {"data"}),
    ("tasks-api-page", "curl -o report.pdf", [200], None),
    ("tasks-api-page", '-F "files=@report.pdf"', [201], {"uploaded"}),
    ("tasks-api-page", "@large-dataset.csv", [200], None),
    ("tasks-api-page", "/artifacts/report.pdf", [204], None),
    ("tasks-api-page", "while true", None, {"promptId"}),
    ("skill-page", "Your task description here", [201], TASK),
    ("skill-page", "FILE_RESP=", [201, 200, 201], TASK),
    ("skill-page", '"branchName": "main"', [201], TASK),
    ("skill-page", "/visibility", [200], {"visibility", "shareUrl"}),
    ("skill-page", "jq '{status, url}'", [200], {"status", "url"}),
    ("skill-page", "Now fix the issues you found", [201], {"promptId"}),
    ("skill-page", "TASK1=", [201, 201], TASK),
    ("skill-page", "curl -s -X DELETE", [204], None),
]


def read_blocks(document):
    """The commands of a document, block by block, those with curl in them."""
    with open(os.path.join(DATA, document + ".txt"), encoding="utf-8") as file:
        text = file.read()
    if document == "skill-page":
        blocks = re.findall(r"^```bash\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    else:  # the page lost its fences: a block ends at an empty line or at the next endpoint's heading
        blocks = [
            re.split(r"\n\n|\n(?=(?:GET|POST|PUT|PATCH|DELETE) /)", part)[0]
            for part in text.split("Terminal window\n")[1:]
        ]
    return [block for block in blocks if "curl" in block]


BLOCKS = [
    (document, block)
    for document in ("tasks-api-page", "skill-page")
    for block in read_blocks(document)
]


def test_no_command_of_the_documents_is_left_out():
    assert len(BLOCKS) == len(CASES)
    for (document, block), (wanted_document, needle, _, _) in zip(BLOCKS, CASES):
        assert document == wanted_document and needle in block
    for document in ("tasks-api-page", "skill-page"):
        with open(os.path.join(DATA, document + ".txt"), encoding="utf-8") as file:
            commands = len(re.findall(r"(?:^|\$\()curl ", file.read(), re.MULTILINE))
        assert commands == sum(
            len(re.findall(r"(?:^|\$\()curl ", b, re.MULTILINE))
            for d, b in BLOCKS
            if d == document
        )


@pytest.fixture
def world(tmp_path):
    """(server, folder to work in, environment) with the files and repositories the documents speak
    of.
    """
    for name in ("your-org/your-repo", "owner/repo"):
        path = tmp_path / "repos" / name
        path.mkdir(parents=True)
        git = [
            "git",
            "-C",
            str(path),
            "-c",
            "user.name=t",
            "-c",
            "user.email=t@example.com",
        ]
        for words in (
            ["init", "-q"],
            ["symbolic-ref", "HEAD", "refs/heads/main"],
            ["commit", "-q", "--allow-empty", "-m", "x"],
        ):
            run_quietly(git + words, check=True)
    work = tmp_path / "work"
    work.mkdir()
    for name in ("data.csv", "large-dataset.csv", "report.pdf"):
        (work / name).write_bytes(b"content of " + name.encode())
    with LocalServer(tmp_path / "state", repos=str(tmp_path / "repos")) as server:
        env = dict(os.environ, REBYTE_API_KEY=server.key, NO_PROXY="127.0.0.1")
        yield server, work, env


def run(world, script):
    """(stdout, statuses) of a script run by bash as written."""
    server, work, env = world
    done = run_quietly(["bash", "-c", PRELUDE + script], cwd=str(work), env=env)
    errors = done.stderr.decode()
    assert done.returncode == 0, errors
    return done.stdout.decode(), [
        int(s) for s in re.findall(r"^STATUS (\d+)$", errors, re.MULTILINE)
    ]


def prepare(world, is_parked):
    """A task, its workspace with a report in its store, and an upload address of each kind."""
    server, work, env = world
    prompt = "```ask run\nGo on?\n```" if is_parked else "Say hello"

    def call(path, *words):
        out = run_quietly(
            ["curl", "-sS", "-H", "API_KEY: " + server.key, server.base_url + path]
            + list(words),
            cwd=str(work),
            env=env,
            check=True,
        ).stdout
        return json.loads(out.decode())

    task = call("/tasks", "-d", json.dumps({"prompt": prompt}))
    store = "/workspaces/%s/artifacts" % task["workspaceId"]
    call(store, "-F", "files=@report.pdf")
    upload = call("/files", "-d", '{"filename": "data.csv"}')["uploadUrl"]
    large = call(
        store + "/upload-url",
        "-d",
        '{"files": [{"name": "large-dataset.csv", "contentType": "text/csv"}]}',
    )
    return task, upload, large["files"][0]["uploadUrl"]


def replace(world, block, task, upload, large):
    """The block with only address, key, ids and upload addresses replaced."""
    server, _, env = world
    env["TASK_ID"] = task["id"]
    block = block.replace("https://api.rebyte.ai", server.url).replace(
        "rbk_xxx", server.key
    )
    block = block.replace("550e8400-...", task["id"]).replace(
        "660e8400-...", task["workspaceId"]
    )
    block = block.replace("the-task-id-from-create", task["id"])
    return block.replace("UPLOAD_URL_FROM_STEP_1", upload).replace(
        '"UPLOAD_URL"', '"%s"' % large
    )


@pytest.mark.parametrize(
    "number", range(len(CASES)), ids=["%s: %s" % case[:2] for case in CASES]
)
def test_a_command_of_the_documents_does_what_they_say(world, number):
    server, work, _ = world
    _, needle, statuses, fields = CASES[number]
    task, upload, large = prepare(world, is_parked=needle == "/cancel")
    count = len(server.requests)
    script = replace(world, BLOCKS[number][1], task, upload, large)
    out, told = run(world, script + ('\necho "$TASK1"' if "TASK1=" in script else ""))
    assert told == [r["status"] for r in server.requests[count:]]
    if statuses is None:
        assert (
            told[0] == told[-1] == 201
            and set(told[1:-1]) == {200}
            and "Status: completed\n" in out
        )
    else:
        assert told == statuses
    if fields is not None:
        assert fields <= set(read_last_json(out))
    check_effect(server, work, needle, task, out)


def read_last_json(text):
    """The JSON document at the end of a text; several may stand one after the other."""
    decoder, value = json.JSONDecoder(), None
    at = text.find("{")
    while at >= 0:
        value, end = decoder.raw_decode(text, at)
        at = text.find("{", end)
    return value


def check_effect(server, work, needle, task, out):
    """What a command changed besides its answer."""
    if needle == "curl -N":
        assert "event: event\ndata: {" in out and "event: done\ndata: {" in out
    elif needle == "/cancel":
        assert read_last_json(out) == {
            "id": task["id"],
            "status": "canceled",
            "canceledPrompts": 1,
        }
    elif needle == "curl -o report.pdf":
        assert (work / "report.pdf").read_bytes() == b"content of report.pdf"
    elif needle.startswith("-F"):
        assert read_last_json(out)["uploaded"][1] == {
            "name": "data.csv",
            "size": 19,
            "contentType": "text/csv",
        }
    elif needle in ("RESP=$(curl", "TASK1="):
        created = [r for r in server.requests if r["path"] == "/v1/tasks"]
        assert (
            len(created) == 3 and server.requests[-1]["bytes"] > 80
        )  # the second one named the workspace
