"""Files on their way in: slots, signed addresses, and the workspace they are copied to."""
from __future__ import annotations

import http.client
import os
import re
import time

import pytest

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
