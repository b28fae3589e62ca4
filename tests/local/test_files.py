"""Files, artifacts and forms of the local server."""

from __future__ import annotations

import hashlib
import os
import re
import time

import pytest

from rebyte_local.execution.workspaces import fit_name
from rebyte_local.storage.artifacts import ARTIFACT_TYPES, artifact_type

BOUNDARY = "----boundary42"
TYPE = {"Content-Type": "application/octet-stream"}
CSV = {"Content-Type": "text/csv"}
ALLOWED = (
    ".pdf, .doc, .docx, .xls, .xlsx, .ppt, .pptx, .csv, .tsv, .rtf, .epub, .html, .htm, .zip, "
    ".gz, .tar, .tgz, .png, .jpg, .jpeg, .gif, .webp, .svg, .tiff, .tif, .bmp, .avif, .mp4, "
    ".webm, .mov, .avi, .mkv, .mp3, .wav, .ogg, .aac, .flac, .m4a"
)  # as the Tasks API page lists them


def put(api, store, *files):
    """Send a multipart body as curl -F writes it."""
    body = b"".join(
        b'--%s\r\nContent-Disposition: form-data; name="files"; filename="%s"\r\n'
        b"Content-Type: %s\r\n\r\n%s\r\n"
        % (BOUNDARY.encode(), name.encode(), content_type.encode(), data)
        for name, data, content_type in files
    )
    return api.post(
        store,
        body + b"--%s--\r\n" % BOUNDARY.encode(),
        {"Content-Type": "multipart/form-data; boundary=" + BOUNDARY},
    )


def store_of(task):
    return "/workspaces/%s/artifacts" % task["workspaceId"]


@pytest.fixture
def store(api):
    """The path of the artifacts of a new workspace."""
    return store_of(api.create("x"))


def listed(api, store):
    """(name, size, type) of the artifacts."""
    return [
        (item["name"], item["size"], item["contentType"])
        for item in api.get(store)["data"]
    ]


def names(api, store):
    return [name for name, _, _ in listed(api, store)]


def test_what_a_prompt_leaves_in_the_artifacts_folder_is_published(api):
    task, events, _ = api.run(
        api.fence(
            "bash",
            "printf a,b > /code/artifacts/t.csv",
            "printf z > $ARTIFACTS_DIR/z.ZIP",
            "echo x > artifacts/no.md; mkdir artifacts/sub.zip",
            "ln -s /etc/passwd artifacts/p.csv",
            "mkfifo artifacts/pipe.csv",
        )
    )
    assert [set(item) for item in api.get(store_of(task))["data"]] == [
        {"name", "size", "contentType", "downloadUrl"}
    ] * 2
    assert listed(api, store_of(task)) == [
        ("t.csv", 3, "text/csv"),
        ("z.ZIP", 1, "application/zip"),
    ]
    refused = "\n".join(api.words(events, "stderr"))
    for name in ("no.md", "sub.zip", "p.csv", "pipe.csv"):
        assert "artifacts/%s was not published" % name in refused


def test_files_left_by_a_prompt_that_failed_are_published_too(api):
    task, _, done = api.run(api.sh("echo 1 > artifacts/half.csv; exit 1"))
    assert done["status"] == "failed" and names(api, store_of(task)) == ["half.csv"]


def test_an_artifact_that_is_left_again_replaces_the_earlier_one_and_others_stay_as_they_are(
    api, folder
):
    task, _, _ = api.run(api.sh("echo 1 > artifacts/a.csv; echo 2 > artifacts/b.csv"))
    store, before = store_of(task), os.listdir(os.path.join(folder, "blobs"))
    api.follow_up(task["id"], api.sh("echo 3 > artifacts/b.csv"))
    api.stream(task["id"])
    assert (
        names(api, store) == ["a.csv", "b.csv"]
        and api.api("GET", store + "/b.csv").body == b"3\n"
    )
    assert len(set(before) & set(os.listdir(os.path.join(folder, "blobs")))) == 1


def test_an_artifact_comes_home_as_an_attachment_and_by_its_signed_address(api, store):
    data = bytes(range(256)) * 5000
    put(api, store, ("r\u00e9port.pdf", data, "application/pdf"))
    url = api.get(store)["data"][0]["downloadUrl"]
    direct = api.api("GET", store + "/r%C3%A9port.pdf")
    assert direct.body == data and direct.headers["Content-Length"] == str(len(data))
    assert direct.headers["Content-Disposition"].startswith(
        'attachment; filename="r_port.pdf"'
    )
    signed = api.send("GET", url)
    assert signed.body == data and signed.headers["Content-Type"] == "application/pdf"
    assert api.send("GET", url, headers={"API_KEY": api.key}).status == 400
    assert api.send("GET", url.replace("port", "qort")).status == 403
    assert api.send("GET", "/v1" + store + "/r%C3%A9port.pdf").status == 401
    assert api.delete(store + "/r%C3%A9port.pdf") == 204
    gone = api.send("GET", url)
    assert gone.status == 404 and "<Code>NoSuchKey</Code>" in gone.text


def test_signed_addresses_expire(start):
    api = start(signed_seconds=-1)
    task, _, _ = api.run(api.sh("echo 1 > artifacts/a.csv"))
    download, upload = (
        api.get(store_of(task))["data"][0]["downloadUrl"],
        api.post("/files", {"filename": "a.csv"}).json["uploadUrl"],
    )
    for reply in (api.send("GET", download), api.send("PUT", upload, b"1", TYPE)):
        assert reply.status == 400 and "ExpiredToken" in reply.text


def test_an_upload_merges_and_answers_as_documented(api, store):
    reply = put(
        api,
        store,
        ("report.pdf", b"%PDF", "application/pdf"),
        ("data.csv", b"1,2", "application/octet-stream"),
    )
    assert reply.status == 201
    assert reply.json == {
        "uploaded": [
            {"name": "report.pdf", "size": 4, "contentType": "application/pdf"},
            {"name": "data.csv", "size": 3, "contentType": "text/csv"},
        ]
    }
    put(api, store, ("data.csv", b"new", "text/csv"), ("empty.png", b"", "image/png"))
    assert names(api, store) == ["data.csv", "empty.png", "report.pdf"]
    assert api.api("GET", store + "/data.csv").body == b"new"
    assert api.api("GET", store + "/empty.png").body == b""


def test_bytes_that_look_like_the_boundary_come_through(api, store):
    data = (b"\r\n--" + BOUNDARY.encode()[:-1] + b"\r\n\r\n--") * 9000
    assert put(api, store, ("a.zip", data, "application/zip")).status == 201
    assert api.api("GET", store + "/a.zip").body == data


@pytest.mark.parametrize(
    "told,wanted",
    [
        ('filename="a%22b.csv"', 'a"b.csv'),
        ('filename="a\\"b; c.csv"', 'a"b; c.csv'),
        ("filename=plain.csv", "plain.csv"),
        ("filename*=UTF-8''r%C3%A9sum%C3%A9.csv", "r\u00e9sum\u00e9.csv"),
        ("filename=\"x.csv\"; filename*=utf-8''%E2%82%AC.csv", "\u20ac.csv"),
        ('FILENAME="A.CSV"', "A.CSV"),
    ],
)
def test_the_name_in_a_form_is_read_in_each_of_its_spellings(steady, told, wanted):
    other = '--b\r\ncontent-disposition: form-data; name="note"; filename="no.csv"\r\n\r\nx\r\n'
    body = (
        other
        + "--b\r\ncontent-disposition: form-data; name=files; %s\r\n\r\n1\r\n--b--\r\n"
        % told
    )
    reply = steady.post(
        steady.store, body, {"Content-Type": "multipart/form-data; boundary=b"}
    )
    assert reply.json["uploaded"] == [
        {"name": wanted, "size": 1, "contentType": "text/csv"}
    ]
    assert steady.delete(steady.store) == 204


@pytest.mark.parametrize(
    "files",
    [
        [(name, b"", "text/csv") for name in kinds]
        for kinds in (
            ["a.md"],
            ["noext"],
            ["../a.csv"],
            [""],
            ["%d.csv" % number for number in range(11)],
            ["ok.csv", "no.py"],
            [],
        )
    ]
    + [[("big.zip", b"x" * (10 * 1024 * 1024 + 1), "application/zip")]],
)
def test_an_upload_beyond_the_rules_is_refused_whole(steady, files):
    assert put(steady, steady.store, *files).refusal == (400, "validation_error")
    assert (
        names(steady, steady.store)
        == os.listdir(os.path.join(steady.folder, "blobs"))
        == []
    )


def test_ten_files_of_ten_megabytes_are_taken(api, store):
    reply = put(
        api,
        store,
        *[
            ("%d.zip" % number, b"x" * (10 * 1024 * 1024), "application/zip")
            for number in range(10)
        ],
    )
    assert reply.status == 201 and len(names(api, store)) == 10


@pytest.mark.parametrize(
    "content_type,body",
    [("application/json", b"{}"), ("multipart/form-data", b"")]
    + [
        ("multipart/form-data; boundary=b", body)
        for body in (
            b"",
            b"--b\r\n",
            b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.csv"\r\n\r\nx',
            b"--bXX\r\n\r\n",
            b"--b\r\n" + b"x" * 20000,
        )
    ],
)
def test_a_malformed_form_is_refused(steady, content_type, body):
    assert steady.post(steady.store, body, {"Content-Type": content_type}).status == 400


def test_signed_uploads_bring_large_files_to_the_store(api, store):
    reply = api.post(
        store + "/upload-url",
        {
            "files": [
                {"name": "large.csv", "contentType": "text/csv"},
                {"name": "model.zip"},
            ]
        },
    )
    files = reply.json["files"]
    assert (
        reply.status == 200
        and [set(file) for file in files] == [{"name", "uploadUrl", "expiresAt"}] * 2
    )
    assert files[0]["expiresAt"].endswith(".000Z")
    assert api.send("PUT", files[0]["uploadUrl"], b"1,2", CSV).status == 200
    assert api.send("PUT", files[1]["uploadUrl"], b"PK", TYPE).status == 200
    assert (
        api.send(
            "PUT", files[1]["uploadUrl"], b"PK", {"Content-Type": "application/zip"}
        ).status
        == 403
    )
    assert listed(api, store) == [
        ("large.csv", 3, "text/csv"),
        ("model.zip", 2, "application/zip"),
    ]


@pytest.mark.parametrize(
    "files", [None, [], {}, ["x"], [{}], [{"name": "a.py"}], [{"name": "a.csv"}] * 51]
)
def test_signed_uploads_have_limits(steady, files):
    assert (
        steady.post(steady.store + "/upload-url", {"files": files}).code
        == "validation_error"
    )


def test_one_artifact_or_all_are_deleted(api, store):
    put(api, store, *[(name, b"1", "text/csv") for name in ("a.csv", "b.csv", "c.csv")])
    assert api.delete(store + "/b.csv") == 204
    assert (
        api.delete(store + "/b.csv") == api.api("GET", store + "/b.csv").status == 404
    )
    assert names(api, store) == ["a.csv", "c.csv"]
    assert api.delete(store) == 204
    assert names(api, store) == []


def test_a_reader_keeps_what_it_reads_while_the_artifact_is_replaced(api, store):
    put(api, store, ("a.zip", b"x" * 9000000, "application/zip"))
    connection = api.connect()
    connection.request("GET", "/v1" + store + "/a.zip", headers={"API_KEY": api.key})
    response = connection.getresponse()
    first = response.read(10)
    put(api, store, ("a.zip", b"y", "application/zip"))
    assert first + response.read() == b"x" * 9000000


def test_the_store_takes_the_documented_kinds_of_files_and_no_others():
    assert {"." + kind for kind in ARTIFACT_TYPES} == set(ALLOWED.split(", "))
    assert artifact_type("A.B.CSV") == "text/csv"
    for name in (
        "csv",
        "a.md",
        "a.txt",
        "a.json",
        "a.py",
        "a.patch",
        "a.csv.",
        ".",
        "",
    ):
        assert artifact_type(name) is None


# Files on their way in: slots, signed addresses, and the workspace they are copied to.


def slot(api, name="a.csv", **more):
    return api.post("/files", dict(more, filename=name)).json


def upload(api, name, data, content_type="application/octet-stream"):
    made = slot(api, name, contentType=content_type)
    assert (
        api.send("PUT", made["uploadUrl"], data, {"Content-Type": content_type}).status
        == 200
    )
    return {"id": made["id"], "filename": made["filename"]}


def test_a_slot_has_the_documented_fields(api):
    reply = api.post("/files", {"filename": "data.csv", "contentType": "text/csv"})
    assert reply.status == 201 and set(reply.json) == {
        "id",
        "filename",
        "uploadUrl",
        "maxFileSize",
    }
    assert (reply.json["filename"], reply.json["maxFileSize"]) == ("data.csv", 52428800)
    assert reply.json["uploadUrl"].startswith(api.url + "/storage/")
    assert (
        3590
        < int(re.search(r"expires=(\d+)", reply.json["uploadUrl"]).group(1))
        - time.time()
        < 3610
    )


@pytest.mark.parametrize(
    "body",
    [{}]
    + [
        {"filename": name}
        for name in (
            "",
            7,
            "x" * 256,
            "a/b",
            "..",
            "a\\b",
            "a\nb",
            "a\x00",
            "a\x7f",
            "\ud800",
        )
    ]
    + [
        {"filename": "a", "contentType": content_type}
        for content_type in ("no type", "a/b\r\nX: y")
    ],
)
def test_a_name_or_type_that_is_none_is_refused(steady, body):
    assert steady.post("/files", body).code == "validation_error"


def test_a_file_lies_in_the_workspace_before_the_prompt_runs(api):
    data = bytes(range(256)) * 1000
    files = [
        upload(api, "data.bin", data),
        upload(api, "na\u00efve \U0001f600.csv", b"2", "text/csv"),
    ]
    told = api.result(
        api.fence(
            "python",
            "import hashlib, os",
            "print(hashlib.md5(open('/code/data.bin','rb').read()).hexdigest())",
            "print(ascii(sorted(n for n in os.listdir('.') if n != 'artifacts')))",
        ),
        files=files,
    )
    assert told.splitlines() == [
        hashlib.md5(data).hexdigest(),
        "['data.bin', 'na\\xefve \\U0001f600.csv']",
    ]


def test_a_long_name_is_shortened_in_its_middle_and_said(api):
    long = "\u00e9" * 251 + ".csv"
    assert fit_name("short.csv") == "short.csv"
    assert (
        fit_name(long).endswith("\u00e9.csv")
        and len(fit_name(long).encode("utf-8")) <= 255
    )
    assert len(fit_name("\u00e9" * 255).encode("utf-8")) <= 255
    _, events, done = api.run(
        api.sh("ls | grep csv | wc -c"), files=[upload(api, long, b"1")]
    )
    assert done["status"] == "succeeded" and int(done["finalResult"]) <= 256
    assert "too long for this machine" in api.words(events, "stderr")[0]


def test_a_planted_link_is_replaced_and_never_followed(api, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    task, _, _ = api.run(api.sh("ln -s %s data.csv" % victim))
    told = api.result(
        api.sh("cat data.csv"),
        files=[upload(api, "data.csv", b"new")],
        workspaceId=task["workspaceId"],
    )
    assert told == "new" and victim.read_text() == "untouched"


def test_a_folder_in_the_place_of_a_file_fails_the_task(api):
    task, _, _ = api.run(api.sh("mkdir data.csv"))
    told = api.result(
        "x", files=[upload(api, "data.csv", b"new")], workspaceId=task["workspaceId"]
    )
    assert told == "the file data.csv cannot be placed: there is a folder of that name"


def test_files_may_come_with_a_follow_up(api):
    task, _, _ = api.run("x")
    api.follow_up(
        task["id"], api.sh("cat late.txt"), files=[upload(api, "late.txt", b"late")]
    )
    assert api.stream(task["id"])[1]["finalResult"] == "late"


def test_a_file_that_was_never_uploaded_or_comes_twice_is_refused_at_create(api):
    file = {"id": slot(api)["id"], "filename": "a.csv"}
    for files, words in (([file], "uploadUrl"), ([file, file], "same filename")):
        reply = api.post("/tasks", {"prompt": "x", "files": files})
        assert reply.status == 400 and words in reply.json["error"]["message"]


def test_a_put_insists_on_the_declared_type_and_on_having_no_key(api):
    url = slot(api, contentType="text/csv")["uploadUrl"]
    wrong = api.send("PUT", url, b"1", TYPE)
    assert wrong.status == 403 and "<Code>SignatureDoesNotMatch</Code>" in wrong.text
    assert wrong.headers["Content-Type"].startswith("application/xml")
    assert api.send("PUT", url, b"1").status == 403
    for name in ("API_KEY", "x-api-key"):
        keyed = api.send("PUT", url, b"1", dict(CSV, **{name: api.key}))
        assert keyed.status == 400 and "<Error>" in keyed.text
    assert api.send("PUT", url, b"1", CSV).status == 200


def test_a_changed_address_opens_nothing(api):
    url = slot(api)["uploadUrl"]
    for bad in (
        url.replace("a.csv", "b.csv"),
        url[:-1] + ("0" if url[-1] != "0" else "1"),
        url.partition("?")[0],
        re.sub(r"expires=\d+", "expires=99999999999", url),
        re.sub(r"expires=\d+", "expires=", url),
    ):
        assert api.send("PUT", bad, b"1", TYPE).status == 403
    assert api.send("GET", url, None, TYPE).status == 405


def test_a_file_of_exactly_the_limit_is_taken_and_one_byte_more_is_not(api, folder):
    url, size, connection = slot(api)["uploadUrl"], 52428800, api.connect()

    def pieces(total):
        while total:
            piece = b"\0" * min(total, 1 << 20)
            total -= len(piece)
            yield piece

    for total, wanted in ((size, 200), (size + 1, 400)):
        connection.request(
            "PUT",
            url[len(api.url) :],
            pieces(total),
            dict(TYPE, **{"Content-Length": str(total)}),
        )
        response = connection.getresponse()
        assert response.status == wanted
        assert (b"EntityTooLarge" in response.read()) == (wanted == 400)
    blobs = os.path.join(folder, "blobs")
    assert [
        os.path.getsize(os.path.join(blobs, name)) for name in os.listdir(blobs)
    ] == [size]


def test_what_was_deleted_or_replaced_in_the_store_stays_so_when_a_later_prompt_ends(
    api,
):
    task, _, _ = api.run(
        api.sh("echo first > artifacts/a.csv; echo first > artifacts/b.csv")
    )
    store = store_of(task)
    assert api.delete(store + "/a.csv") == 204
    put(api, store, ("b.csv", b"mine", "text/csv"))
    api.run("hello", workspaceId=task["workspaceId"])
    assert listed(api, store) == [("b.csv", 4, "text/csv")]
    api.run(
        api.sh("echo second > artifacts/a.csv; echo longer > artifacts/b.csv"),
        workspaceId=task["workspaceId"],
    )
    assert listed(api, store) == [("a.csv", 7, "text/csv"), ("b.csv", 7, "text/csv")]
