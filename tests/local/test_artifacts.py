"""Artifacts: what a task leaves, what a caller puts, how both come home."""
from __future__ import annotations

import http.client

import pytest

BOUNDARY = "----boundary42"


def multipart(*files, field="files"):
    """A multipart body as curl -F writes it."""
    body = b""
    for name, data, content_type in files:
        body += ("--%s\r\nContent-Disposition: form-data; name=\"%s\"; filename=\"%s\"\r\nContent-Type: %s\r\n\r\n" % (
            BOUNDARY, field, name, content_type)).encode() + data + b"\r\n"
    return body + ("--%s--\r\n" % BOUNDARY).encode()


def put(api, workspace, *files, **more):
    return api.api("POST", "/workspaces/%s/artifacts" % workspace, multipart(*files, **more),
                   {"Content-Type": "multipart/form-data; boundary=" + BOUNDARY})


@pytest.fixture
def workspace(api):
    return api.create("x")["workspaceId"]


def names(api, workspace):
    return [a["name"] for a in api.api("GET", "/workspaces/%s/artifacts" % workspace).json["data"]]


def test_what_a_prompt_leaves_in_the_artifacts_folder_is_published(api):
    task, events, _ = api.run(api.fence("bash", "printf a,b > /code/artifacts/t.csv", "printf z > $ARTIFACTS_DIR/z.ZIP",
                                        "echo x > artifacts/no.md; mkdir artifacts/sub.zip",
                                        "ln -s /etc/passwd artifacts/p.csv",
                                        "mkfifo artifacts/pipe.csv"))
    data = api.api("GET", "/workspaces/%s/artifacts" % task["workspaceId"]).json["data"]
    assert [set(a) for a in data] == [{"name", "size", "contentType", "downloadUrl"}] * 2
    assert [(a["name"], a["size"], a["contentType"]) for a in data] == [("t.csv", 3, "text/csv"),
                                                                        ("z.ZIP", 1, "application/zip")]
    refused = "\n".join(api.words(events, "stderr"))
    for name in ("no.md", "sub.zip", "p.csv", "pipe.csv"):
        assert "artifacts/%s was not published" % name in refused


def test_files_left_by_a_prompt_that_failed_are_published_too(api):
    task, _, done = api.run(api.fence("sh", "echo 1 > artifacts/half.csv; exit 1"))
    assert done["status"] == "failed" and names(api, task["workspaceId"]) == ["half.csv"]


def test_a_deleted_artifact_stays_deleted_until_it_is_left_again(api):
    task, _, _ = api.run(api.fence("sh", "echo 1 > artifacts/a.csv; echo 2 > artifacts/b.csv"))
    api.api("POST", "/tasks/%s/prompts" % task["id"], {"prompt": api.fence("sh", "echo 3 > artifacts/b.csv")})
    api.stream(task["id"])
    body = api.api("GET", "/workspaces/%s/artifacts/b.csv" % task["workspaceId"]).body
    assert names(api, task["workspaceId"]) == ["a.csv", "b.csv"] and body == b"3\n"


def test_an_artifact_comes_home_as_an_attachment_and_by_its_signed_address(api, workspace):
    data = bytes(range(256)) * 5000
    put(api, workspace, ("r\u00e9port.pdf", data, "application/pdf"))
    listed = api.api("GET", "/workspaces/%s/artifacts" % workspace).json["data"][0]
    direct = api.api("GET", "/workspaces/%s/artifacts/r%%C3%%A9port.pdf" % workspace)
    assert direct.body == data and direct.headers["Content-Length"] == str(len(data))
    assert direct.headers["Content-Disposition"].startswith("attachment; filename=\"r_port.pdf\"")
    signed = api.send("GET", listed["downloadUrl"])
    assert signed.body == data and signed.headers["Content-Type"] == "application/pdf"
    assert api.send("GET", listed["downloadUrl"], headers={"API_KEY": api.key}).status == 400
    assert api.send("GET", listed["downloadUrl"].replace("port", "qort")).status == 403
    assert api.send("GET", "/v1/workspaces/%s/artifacts/r%%C3%%A9port.pdf" % workspace).status == 401


def test_a_signed_download_expires(start):
    api = start(signed_seconds=-1)
    task, _, _ = api.run(api.fence("sh", "echo 1 > artifacts/a.csv"))
    url = api.api("GET", "/workspaces/%s/artifacts" % task["workspaceId"]).json["data"][0]["downloadUrl"]
    assert b"ExpiredToken" in api.send("GET", url).body


def test_an_upload_merges_and_answers_as_documented(api, workspace):
    reply = put(api, workspace, ("report.pdf", b"%PDF", "application/pdf"),
                ("data.csv", b"1,2", "application/octet-stream"))
    assert reply.status == 201
    assert reply.json == {"uploaded": [{"name": "report.pdf", "size": 4, "contentType": "application/pdf"},
                                       {"name": "data.csv", "size": 3, "contentType": "text/csv"}]}
    put(api, workspace, ("data.csv", b"new", "text/csv"), ("empty.png", b"", "image/png"))
    assert names(api, workspace) == ["data.csv", "empty.png", "report.pdf"]
    assert api.api("GET", "/workspaces/%s/artifacts/data.csv" % workspace).body == b"new"
    assert api.api("GET", "/workspaces/%s/artifacts/empty.png" % workspace).body == b""


def test_bytes_that_look_like_the_boundary_come_through(api, workspace):
    data = (b"\r\n--" + BOUNDARY.encode()[:-1] + b"\r\n\r\n--") * 9000
    assert put(api, workspace, ("a.zip", data, "application/zip")).status == 201
    assert api.api("GET", "/workspaces/%s/artifacts/a.zip" % workspace).body == data


@pytest.mark.parametrize("files", [
    [("a.md", b"", "text/plain")], [("noext", b"", "text/plain")], [("../a.csv", b"", "text/csv")],
                                   [("", b"", "text/csv")],
    [("%d.csv" % n, b"", "text/csv") for n in range(11)], [("ok.csv", b"", "text/csv"), ("no.py", b"", "text/csv")],
    [("big.zip", b"x" * (10 * 1024 * 1024 + 1), "application/zip")], []])
def test_an_upload_beyond_the_rules_is_refused_whole(steady, files):
    reply = put(steady, steady.workspace, *files)
    assert (reply.status, reply.code) == (400, "validation_error")
    assert names(steady, steady.workspace) == []


def test_ten_files_of_ten_megabytes_are_taken(api, workspace):
    data = b"x" * (10 * 1024 * 1024)
    reply = put(api, workspace, *[("%d.zip" % n, data, "application/zip") for n in range(10)])
    assert reply.status == 201 and len(names(api, workspace)) == 10


@pytest.mark.parametrize("content_type,body", [
    ("application/json", b"{}"), ("multipart/form-data", b""), ("multipart/form-data; boundary=b", b"--b\r\n"),
    ("multipart/form-data; boundary=b",
     b"--b\r\nContent-Disposition: form-data; name=\"files\"; filename=\"a.csv\"\r\n\r\nx"),
    ("multipart/form-data; boundary=b", b"--bXX\r\n\r\n"), ("multipart/form-data; boundary=b", b"--b\r\n" +
                                                            b"x" * 20000)])
def test_a_malformed_form_is_refused(steady, content_type, body):
    reply = steady.api("POST", "/workspaces/%s/artifacts" % steady.workspace, body, {"Content-Type": content_type})
    assert reply.status == 400


def test_signed_uploads_bring_large_files_to_the_store(api, workspace):
    reply = api.api("POST", "/workspaces/%s/artifacts/upload-url" % workspace,
                    {"files": [{"name": "large.csv", "contentType": "text/csv"}, {"name": "model.zip"}]})
    files = reply.json["files"]
    assert reply.status == 200 and [set(f) for f in files] == [{"name", "uploadUrl", "expiresAt"}] * 2
    assert files[0]["expiresAt"].endswith(".000Z")
    assert api.send("PUT", files[0]["uploadUrl"], b"1,2", {"Content-Type": "text/csv"}).status == 200
    assert api.send("PUT", files[1]["uploadUrl"], b"PK", {"Content-Type": "application/octet-stream"}).status == 200
    assert api.send("PUT", files[1]["uploadUrl"], b"PK", {"Content-Type": "application/zip"}).status == 403
    data = api.api("GET", "/workspaces/%s/artifacts" % workspace).json["data"]
    assert [(a["name"], a["size"], a["contentType"]) for a in data] == [
        ("large.csv", 3, "text/csv"), ("model.zip", 2, "application/zip")]


@pytest.mark.parametrize("files", [None, [], {}, ["x"], [{}], [{"name": "a.py"}], [{"name": "a.csv"}] * 51])
def test_signed_uploads_have_limits(steady, files):
    assert steady.api("POST", "/workspaces/%s/artifacts/upload-url" % steady.workspace,
                      {"files": files}).code == "validation_error"


def test_one_artifact_or_all_are_deleted(api, workspace):
    put(api, workspace, *[(n, b"1", "text/csv") for n in ("a.csv", "b.csv", "c.csv")])
    path = "/workspaces/%s/artifacts" % workspace
    assert api.api("DELETE", path + "/b.csv").status == 204
    assert api.api("DELETE", path + "/b.csv").status == 404
    assert api.api("GET", path + "/b.csv").status == 404
    assert names(api, workspace) == ["a.csv", "c.csv"]
    assert api.api("DELETE", path).status == 204
    assert names(api, workspace) == []


def test_a_reader_keeps_what_it_reads_while_the_artifact_is_replaced(api, workspace):
    put(api, workspace, ("a.zip", b"x" * 9000000, "application/zip"))
    connection = http.client.HTTPConnection(api.url[7:], timeout=20)
    connection.request("GET", "/v1/workspaces/%s/artifacts/a.zip" % workspace, headers={"API_KEY": api.key})
    response = connection.getresponse()
    first = response.read(10)
    put(api, workspace, ("a.zip", b"y", "application/zip"))
    assert first + response.read() == b"x" * 9000000
    connection.close()
