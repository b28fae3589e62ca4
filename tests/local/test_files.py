"""Files, artifacts and forms of the local server."""
from __future__ import annotations

import http.client
import os
import re
import time

import pytest

from rebyte_local.artifacts import TYPES, artifact_type
from rebyte_local.executors import find_steps, place_code, read_question
from rebyte_local.processes import LINE_LIMIT_BYTES, LineCutter
from rebyte_local.store import Store, derive_end, long_form, short_form
from rebyte_local.workspaces import fit_name

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
    return [a["name"] for a in api.get("/workspaces/%s/artifacts" % workspace)["data"]]


def test_what_a_prompt_leaves_in_the_artifacts_folder_is_published(api):
    task, events, _ = api.run(api.fence("bash", "printf a,b > /code/artifacts/t.csv", "printf z > $ARTIFACTS_DIR/z.ZIP",
                                        "echo x > artifacts/no.md; mkdir artifacts/sub.zip",
                                        "ln -s /etc/passwd artifacts/p.csv",
                                        "mkfifo artifacts/pipe.csv"))
    data = api.get("/workspaces/%s/artifacts" % task["workspaceId"])["data"]
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
    api.follow_up(task["id"], api.fence("sh", "echo 3 > artifacts/b.csv"))
    api.stream(task["id"])
    body = api.api("GET", "/workspaces/%s/artifacts/b.csv" % task["workspaceId"]).body
    assert names(api, task["workspaceId"]) == ["a.csv", "b.csv"] and body == b"3\n"


def test_an_artifact_comes_home_as_an_attachment_and_by_its_signed_address(api, workspace):
    data = bytes(range(256)) * 5000
    put(api, workspace, ("r\u00e9port.pdf", data, "application/pdf"))
    listed = api.get("/workspaces/%s/artifacts" % workspace)["data"][0]
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
    url = api.get("/workspaces/%s/artifacts" % task["workspaceId"])["data"][0]["downloadUrl"]
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


@pytest.mark.parametrize("told,wanted", [
    ('filename="a%22b.csv"', 'a"b.csv'), ('filename="a\\"b; c.csv"', 'a"b; c.csv'), ("filename=plain.csv", "plain.csv"),
    ("filename*=UTF-8''r%C3%A9sum%C3%A9.csv", "r\u00e9sum\u00e9.csv"),
    ("filename=\"x.csv\"; filename*=utf-8''%E2%82%AC.csv", "\u20ac.csv"), ('FILENAME="A.CSV"', "A.CSV")])
def test_the_name_in_a_form_is_read_in_each_of_its_spellings(steady, told, wanted):
    body = "--b\r\ncontent-disposition: form-data; name=files; %s\r\n\r\n1\r\n--b--\r\n" % told
    reply = steady.api("POST", "/workspaces/%s/artifacts" % steady.workspace, body, {"Content-Type": "multipart/form-data; boundary=b"})
    assert reply.json["uploaded"] == [{"name": wanted, "size": 1, "contentType": "text/csv"}]
    assert steady.api("DELETE", "/workspaces/%s/artifacts" % steady.workspace).status == 204


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
    data = api.get("/workspaces/%s/artifacts" % workspace)["data"]
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


# Files on their way in: slots, signed addresses, and the workspace they are copied to.

TYPE = {"Content-Type": "application/octet-stream"}


def upload(api, name, data, content_type=None):
    body = {"filename": name} if content_type is None else {"filename": name, "contentType": content_type}
    slot = api.api("POST", "/files", body).json
    reply = api.send("PUT", slot["uploadUrl"], data, {"Content-Type": content_type or TYPE["Content-Type"]})
    assert reply.status == 200, reply.body
    return {"id": slot["id"], "filename": slot["filename"]}


def test_a_slot_has_the_documented_fields(api):
    reply = api.api("POST", "/files", {"filename": "data.csv", "contentType": "text/csv"})
    assert reply.status == 201
    assert set(reply.json) == {"id", "filename", "uploadUrl", "maxFileSize"}
    assert (reply.json["filename"], reply.json["maxFileSize"]) == ("data.csv", 52428800)
    assert reply.json["uploadUrl"].startswith(api.url + "/storage/")
    expires = int(re.search(r"expires=(\d+)", reply.json["uploadUrl"]).group(1))
    assert 3590 < expires - time.time() < 3610


@pytest.mark.parametrize("body", [
    {}, {"filename": ""}, {"filename": 7}, {"filename": "x" * 256}, {"filename": "a/b"}, {"filename": ".."},
    {"filename": "a\\b"}, {"filename": "a\nb"}, {"filename": "a\x00"}, {"filename": "\ud800"},
    {"filename": "a", "contentType": "no type"}, {"filename": "a", "contentType": "a/b\r\nX: y"}])
def test_a_name_or_type_that_is_none_is_refused(steady, body):
    assert steady.api("POST", "/files", body).code == "validation_error"


def test_a_file_lies_in_the_workspace_before_the_prompt_runs(api):
    data = bytes(range(256)) * 1000
    files = [upload(api, "data.bin", data), upload(api, "na\u00efve \U0001f600.csv", b"2", "text/csv")]
    _, _, done = api.run(api.fence("python", "import hashlib, os",
                                   "print(hashlib.md5(open('/code/data.bin','rb').read()).hexdigest())",
                                   "print(ascii(sorted(n for n in os.listdir('.') if n != 'artifacts')))"), files=files)
    import hashlib
    assert done["finalResult"].splitlines() == [hashlib.md5(data).hexdigest(),
                                                "['data.bin', 'na\\xefve \\U0001f600.csv']"]


def test_a_name_of_255_wide_letters_is_shortened_and_said(api):
    name = "\u00e9" * 251 + ".csv"
    _, events, done = api.run(api.fence("sh", "ls | grep csv | wc -c"), files=[upload(api, name, b"1")])
    assert done["status"] == "succeeded" and int(done["finalResult"]) <= 256
    assert "too long for this machine" in api.words(events, "stderr")[0]


def test_a_planted_link_is_replaced_and_never_followed(api, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    task, _, _ = api.run(api.fence("sh", "ln -s %s data.csv" % victim))
    _, _, done = api.run(api.fence("sh", "cat data.csv"), files=[upload(api, "data.csv", b"new")],
                         workspaceId=task["workspaceId"])
    assert done["finalResult"] == "new" and victim.read_text() == "untouched"


def test_files_may_come_with_a_follow_up(api):
    task, _, _ = api.run("x")
    api.api("POST", "/tasks/%s/prompts" % task["id"],
            {"prompt": api.fence("sh", "cat late.txt"), "files": [upload(api, "late.txt", b"late")]})
    assert api.stream(task["id"])[1]["finalResult"] == "late"


def test_a_file_that_was_never_uploaded_is_refused_at_create(api):
    slot = api.api("POST", "/files", {"filename": "a.csv"}).json
    reply = api.api("POST", "/tasks", {"prompt": "x", "files": [{"id": slot["id"], "filename": "a.csv"}]})
    assert reply.status == 400 and "uploadUrl" in reply.json["error"]["message"]


def test_a_put_insists_on_the_declared_type_and_on_having_no_key(api):
    url = api.api("POST", "/files", {"filename": "a.csv", "contentType": "text/csv"}).json["uploadUrl"]
    wrong = api.send("PUT", url, b"1", TYPE)
    assert wrong.status == 403 and b"<Code>SignatureDoesNotMatch</Code>" in wrong.body
    assert wrong.headers["Content-Type"].startswith("application/xml")
    assert api.send("PUT", url, b"1").status == 403
    for name in ("API_KEY", "x-api-key"):
        keyed = api.send("PUT", url, b"1", {"Content-Type": "text/csv", name: api.key})
        assert keyed.status == 400 and b"<Error>" in keyed.body
    assert api.send("PUT", url, b"1", {"Content-Type": "text/csv"}).status == 200


def test_a_changed_address_opens_nothing(api):
    url = api.api("POST", "/files", {"filename": "a.csv"}).json["uploadUrl"]
    for bad in (url.replace("a.csv", "b.csv"), url[:-1] + ("0" if url[-1] != "0" else "1"), url.partition("?")[0],
                re.sub(r"expires=\d+", "expires=99999999999", url), re.sub(r"expires=\d+", "expires=", url)):
        assert api.send("PUT", bad, b"1", TYPE).status == 403
    assert api.send("GET", url, None, TYPE).status == 405


def test_an_address_expires(start):
    api = start(signed_seconds=-1)
    url = api.api("POST", "/files", {"filename": "a.csv"}).json["uploadUrl"]
    reply = api.send("PUT", url, b"1", TYPE)
    assert reply.status == 400 and b"ExpiredToken" in reply.body


def test_a_file_of_exactly_the_limit_is_taken_and_one_byte_more_is_not(api, folder):
    url = api.api("POST", "/files", {"filename": "a.bin"}).json["uploadUrl"]
    size = 52428800

    def pieces(total):
        while total:
            piece = b"\0" * min(total, 1 << 20)
            total -= len(piece)
            yield piece
    connection = http.client.HTTPConnection(api.url[7:], timeout=30)
    for total, wanted in ((size, 200), (size + 1, 400)):
        connection.request("PUT", url[len(api.url):], pieces(total), dict(TYPE, **{"Content-Length": str(total)}))
        response = connection.getresponse()
        assert response.status == wanted
        assert (b"EntityTooLarge" in response.read()) == (wanted == 400)
    connection.request("PUT", url[len(api.url):], pieces(size + 1), TYPE, encode_chunked=True)
    assert connection.getresponse().status == 400
    connection.close()
    blobs = os.path.join(folder, "blobs")
    assert [os.path.getsize(os.path.join(blobs, name)) for name in os.listdir(blobs)] == [size]


# The pure parts: fences, lines, names, signatures, times.

ALLOWED = (".pdf, .doc, .docx, .xls, .xlsx, .ppt, .pptx, .csv, .tsv, .rtf, .epub, .html, .htm, .zip, .gz, .tar, .tgz, "
           ".png, .jpg, .jpeg, .gif, .webp, .svg, .tiff, .tif, .bmp, .avif, .mp4, .webm, .mov, .avi, .mkv, .mp3, .wav, "
           ".ogg, .aac, .flac, .m4a")  # as the Tasks API page lists them


def test_only_fences_that_ask_for_it_are_steps():
    prompt = ("```python\nno\n```\n``` bash run\nyes 1\n```\n````markdown\n```python run\nquoted\n```\n````\n"
              "~~~sh run\r\nyes 2\r\n~~~\r\n```Python run\nno\n```\n"
              "```python run now\nno\n```\n    ```sh run\nno\n    ```\n"
              "`````ask run\nwhich?\n- a\n```\n- b\n`````\n```sh run\nnever closed\n")
    assert find_steps(prompt) == [("bash", "yes 1\n"), ("sh", "yes 2\n"), ("ask", "which?\n- a\n```\n- b\n")]


def test_code_means_the_workspace_only_where_it_is_the_folder():
    text = "cd /code && cat '/code/a' /code; /codec /home/code/x ~/code/y a/code/z $X/code/w /code-x \"/code\""
    assert place_code(text, "W") == "cd W && cat 'W/a' W; /codec /home/code/x ~/code/y a/code/z $X/code/w /code-x \"W\""


def test_a_question_has_lines_and_options():
    assert read_question("Which one?\nReally?\n- A\n-  b c \n") == ("Which one?\nReally?", ["A", "b c"])
    assert read_question("\n") == ("What now?", [])


def test_lines_are_cut_at_newlines_only_and_long_ones_are_kept_short():
    cutter = LineCutter()
    assert cutter.feed(b"a\xc3") == [] and cutter.feed(b"\xa9\x0b\xe2\x80\xa8\xff\nb") == ["a\u00e9\x0b\u2028\ufffd"]
    for _ in range(100):
        assert cutter.feed(b"x" * 65536) == []
    line = cutter.feed(b"\n")[0]
    assert line.startswith("b" + "x" * (LINE_LIMIT_BYTES - 1) + " [") and "more bytes" in line
    assert cutter.finish() == [] and cutter.feed(b"end") == [] and cutter.finish() == ["end"]


def test_the_store_takes_the_documented_kinds_of_files_and_no_others():
    assert {"." + kind for kind in TYPES} == set(ALLOWED.split(", "))
    assert artifact_type("A.B.CSV") == "text/csv"
    for name in ("csv", "a.md", "a.txt", "a.json", "a.py", "a.patch", "a.csv.", ".", ""):
        assert artifact_type(name) is None


def test_times_have_the_two_spellings_of_the_documents():
    assert short_form(1769601600000000) == "2026-01-28T12:00:00.000Z"
    assert long_form(1769601600000001) == "2026-01-28T12:00:00.000001+00:00"
    assert long_form(None) is None


@pytest.mark.parametrize("pairs,wanted", [
    ([("succeeded", 1)], ("completed", 1)), ([("failed", 1), ("succeeded", 2)], ("completed", 2)),
    ([("succeeded", 1), ("failed", 2)], ("failed", 2)), ([("succeeded", 1), ("canceled", 2)], ("canceled", 2)),
    ([("running", None), ("canceled", 2)], ("running", None)),
    ([("succeeded", 1), ("pending", None)], ("running", None))])
def test_a_tasks_status_follows_from_its_prompts(pairs, wanted):
    assert derive_end(pairs) == wanted


def test_a_long_name_is_shortened_in_its_middle():
    assert fit_name("short.csv") == "short.csv"
    name = fit_name("\u00e9" * 251 + ".csv")
    assert name.endswith("\u00e9.csv") and len(name.encode("utf-8")) <= 255
    assert len(fit_name("\u00e9" * 255).encode("utf-8")) <= 255


def test_a_cancel_that_came_first_stays_though_the_work_was_done(tmp_path):
    store = Store(str(tmp_path))
    task, prompt = store.add_task("x", {}, None, None, None, True)
    assert store.start_prompt(prompt["id"]) and not store.start_prompt(prompt["id"])
    assert store.cancel_prompts(task["id"]) == [prompt["id"]] and store.cancel_prompts(task["id"]) == []
    store.finish_prompt(prompt["id"], "succeeded", final="too late")
    assert store.prompt(prompt["id"])["status"] == "canceled"
    assert store.end(task["id"])[0] == "canceled"
    store.close()
