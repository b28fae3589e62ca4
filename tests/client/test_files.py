"""Files and artifacts: slots, signed puts, forms and downloads; other hosts never see the key."""

from __future__ import annotations

import io

import pytest

from rebyte_wire.errors import (
    AnswerUnreadable,
    InputError,
    NetworkError,
    NotFound,
    StorageRefused,
)
from scripted_server import Proxy, Server, answer, failure, say_and_close

FILE, TASK = answer(200, b"bytes"), answer(200, {"id": "t"})
REDIRECTS = [301, 302, 303, 307, 308]


def refused(call):
    """Return the code of a call that must be refused."""
    return failure(call, NetworkError).code


def open_one(client):
    """Open an artifact."""
    return client.open_artifact("w", "a")


def test_an_artifact_is_read_to_its_end_and_stays_there(served):
    client, server = served(FILE, TASK)
    with client.open_artifact("w", "report 1.pdf") as download:
        assert download.length == 5 and [download.read(3)] + [
            download.read() for _ in range(3)
        ] == [b"byt", b"es", b"", b""]
    assert (
        server.requests[0][0]
        == "GET /v1/workspaces/w/artifacts/report%201.pdf HTTP/1.1"
    )
    client.get_task("t")
    assert server.connections == 1


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\\b", "a\nb", "a\0b"])
def test_a_name_that_is_none_is_refused_before_anything_is_sent(served, name):
    client, server = served(FILE)
    for call in (client.open_artifact, client.delete_artifact):
        failure(lambda call=call: call("w", name), InputError)
    assert server.connections == 0


@pytest.mark.parametrize("status", REDIRECTS)
def test_a_redirect_to_another_port_never_carries_the_key(served, status):
    storage = served(FILE)[1]
    client, server = served(answer(status, b"", "Location: " + storage.url + "/f"))
    assert open_one(client).read() == b"bytes"
    assert (
        b"CANARY" in server.heads[0]
        and b"CANARY" not in storage.heads[0]
        and b"API_KEY" not in storage.heads[0]
    )


@pytest.mark.parametrize("status", REDIRECTS)
@pytest.mark.parametrize(
    "call",
    [
        lambda c: c.get_task("t"),
        lambda c: c.stream_events("t"),
        lambda c: c.cancel_task("t"),
        lambda c: c.delete_task("t"),
        lambda c: c.create_upload("a"),
    ],
)
def test_an_api_call_is_never_sent_to_another_origin(served, status, call):
    other = served(FILE)[1]
    client, server = served(
        answer(status, b"", "Location: " + other.url + "/v1/tasks/t")
    )
    assert (
        refused(lambda: call(client)) == "redirect_refused"
        and other.connections == 0
        and len(server.requests) == 1
    )


def test_a_redirect_over_the_tunnel_to_another_host_never_carries_the_key(
    client_for, certificates, tls, monkeypatch
):
    step = answer(302, b"", "Location: https://files.example.test/f?sig=1")
    with Server(step, FILE, context=tls()) as server, Proxy(server.port) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        client = client_for(
            "https://api.example.test",
            environ={"REBYTE_CA_BUNDLE": str(certificates / "ca.pem")},
        )
        assert open_one(client).read() == b"bytes"
        assert [head.split(b" ")[1] for head in proxy.heads] == [
            b"api.example.test:443",
            b"files.example.test:443",
        ]
        assert b"CANARY" in server.heads[0] and b"CANARY" not in server.heads[1]


@pytest.mark.parametrize(
    "location", ["file:///etc/passwd", "http://files.example.test/f", "//[", ""]
)
def test_a_download_is_not_sent_to_a_place_that_is_not_safe(served, location):
    client, _ = served(answer(302, b"", "Location: " + location))
    assert refused(lambda: open_one(client)) in ("redirect_refused", "address_refused")


def test_a_circle_of_redirects_ends(served):
    client, server = served(answer(302, b"", "Location: /v1/again"))
    assert (
        refused(lambda: open_one(client)) == "redirect_refused"
        and len(server.requests) == 6
    )


def test_a_signed_address_is_opened_without_key_and_redirects(served):
    client, storage = served(
        FILE,
        answer(302, b"", "Location: /elsewhere"),
        answer(404, b"<Error><Code>NoSuchKey</Code></Error>"),
    )
    assert (
        client.open_address(storage.url + "/f?sig=CANARY").read() == b"bytes"
        and b"API_KEY" not in storage.heads[0]
    )
    failure(lambda: client.open_address(storage.url + "/f"), StorageRefused)
    error = failure(
        lambda: client.open_address(storage.url + "/f?sig=CANARY"), StorageRefused
    )
    assert error.code == "NoSuchKey" and "CANARY" not in str(error.as_dict())


def test_a_missing_artifact_is_not_found(served):
    client, _ = served(answer(404, {"error": {"code": "not_found", "message": "no"}}))
    failure(lambda: open_one(client), NotFound)


def test_artifacts_are_uploaded_as_a_form_with_a_length(served, tmp_path):
    paths = [tmp_path / "a.csv", tmp_path / 'b".pdf']
    for path in paths:
        path.write_bytes(path.name.encode() * 100000)
    client, server = served(answer(503), answer(201, {"uploaded": []}))
    assert client.upload_artifacts("w", list(map(str, paths))) == {"uploaded": []}
    (_, first, body), (_, _, again) = server.requests
    assert (
        body == again
        and first["Content-Length"] == str(len(body))
        and "Transfer-Encoding" not in first
    )
    assert (
        body.count(b'name="files"') == 2
        and b'filename="b%22.pdf"' in body
        and b"a.csv" * 100000 in body
    )


def fill(download):
    """Read a download with readinto to its end; return the bytes."""
    buffer, got = bytearray(4), b""
    for count in iter(lambda: download.readinto(buffer), 0):
        got += bytes(buffer[:count])
    return got


CHUNKS = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n"
)


@pytest.mark.parametrize("said", [answer(200, b"abcdefg"), CHUNKS + b"0\r\n\r\n"])
def test_a_download_fills_a_buffer_and_keeps_its_connection(served, said):
    client, server = served(said)
    assert [fill(open_one(client)) for _ in range(2)] == [
        b"abcdefg"
    ] * 2 and server.connections == 1


@pytest.mark.parametrize("said", [answer(200, b"abcdefg", length=9), CHUNKS])
@pytest.mark.parametrize(
    "take",
    [fill, lambda download: list(iter(lambda: download.read(2), b""))],
    ids=["readinto", "read"],
)
def test_a_download_shorter_than_told_raises_and_never_just_ends(served, said, take):
    client, _ = served(say_and_close(said))
    assert refused(lambda: take(open_one(client))) == "short_body"


def test_a_download_closed_before_its_end_never_looks_complete(served):
    download = open_one(served(FILE)[0])
    assert download.read(2) == b"by"
    download.close()
    assert refused(lambda: download.read(2)) == "short_body"


def test_bytes_beyond_the_told_length_are_in_no_answer(served):
    client, _ = served(answer(200, b"abcdefg", length=5))
    assert [fill(open_one(client)) for _ in range(2)] == [b"abcde"] * 2


@pytest.mark.parametrize("signed", [True, False])
def test_a_part_that_nobody_asked_for_is_never_taken_for_the_whole(served, signed):
    client, server = served(answer(206, b"data", "Content-Range: bytes 0-3/8"))
    url = server.url + "/f"
    error = failure(
        lambda: client.open_address(url) if signed else open_one(client), NetworkError
    )
    assert (error.code, error.http_status) == ("short_body", 206)
    assert len(server.requests) == 1


def test_a_download_compressed_unasked_is_refused(served):
    client, _ = served(answer(200, b"abc", "Content-Encoding: gzip"))
    assert "compressed" in failure(lambda: open_one(client), AnswerUnreadable).message


# The client's files section: slots, signed puts, and when they are tried again.

EXPIRED = answer(
    403,
    b"<?xml version='1.0'?><Error><Code>ExpiredToken</Code><Message>CANARY</Message></Error>",
)


def slot(storage, **more):
    """Return an answer of POST /files whose address leads to a server."""
    return answer(
        201,
        dict(
            {
                "id": "f",
                "filename": "a-1.csv",
                "uploadUrl": storage.url + "/up?X-Goog-Signature=CANARY",
            },
            **more,
        ),
    )


def put(client, url, source=lambda: io.BytesIO(b"data"), kind="text/csv"):
    """Put four bytes."""
    return client.put_bytes(url, source, 4, kind)


@pytest.fixture
def file(tmp_path):
    """A small file to upload."""
    path = tmp_path / "a.csv"
    path.write_bytes(b"1,2\n" * 1000)
    return str(path)


@pytest.fixture
def storage(served):
    """A storage that takes what comes."""
    return served(answer(200))[1]


def test_a_file_is_uploaded_in_two_steps_and_the_service_names_it(
    served, storage, file
):
    client, server = served(slot(storage))
    assert client.upload_file(file, content_type="text/csv") == {
        "id": "f",
        "filename": "a-1.csv",
    }
    line, headers, body = storage.requests[0]
    assert (
        line == "PUT /up?X-Goog-Signature=CANARY HTTP/1.1" and body == b"1,2\n" * 1000
    )
    assert headers == {
        "Host": "127.0.0.1:%d" % storage.port,
        "Accept-Encoding": "identity",
        "Content-Type": "text/csv",
        "Content-Length": "4000",
    }
    assert b'"filename": "a.csv"' in server.requests[0][2]


def test_without_a_type_none_is_declared_and_the_default_is_put(served, storage, file):
    client, server = served(slot(storage))
    client.upload_file(file, "other.csv")
    assert server.requests[0][2] == b'{"filename": "other.csv"}'
    assert storage.requests[0][1]["Content-Type"] == "application/octet-stream"


def test_a_file_too_large_is_refused_before_a_slot_is_asked_for(served, tmp_path):
    with open(str(tmp_path / "big"), "wb") as sparse:
        sparse.truncate(52_428_801)
    client, server = served(answer(500))
    for bad in (tmp_path / "big", tmp_path, tmp_path / "gone"):
        failure(lambda bad=bad: client.upload_file(str(bad)), InputError)
    assert server.connections == 0


def test_a_file_larger_than_the_slot_is_not_put(served, storage, file):
    client, _ = served(slot(storage, maxFileSize=3999))
    failure(lambda: client.upload_file(file), InputError)
    assert storage.connections == 0


@pytest.mark.parametrize(
    "answered",
    [
        {},
        {"id": "f"},
        {"uploadUrl": "http://127.0.0.1:1/"},
        {"id": 7, "uploadUrl": None},
    ],
)
def test_a_slot_without_id_or_address_is_an_error(served, file, answered):
    client, _ = served(answer(201, answered))
    failure(lambda: client.upload_file(file), AnswerUnreadable)


def test_an_expired_address_is_replaced_once(served, file):
    storage = served(EXPIRED, answer(200), EXPIRED)[1]
    client, server = served(slot(storage), slot(storage, id="f2"))
    assert client.upload_file(file)["id"] == "f2"
    error = failure(lambda: client.upload_file(file), StorageRefused)
    assert len(storage.requests) == len(server.requests) == 4
    assert (
        error.code == "ExpiredToken"
        and "CANARY" not in str(error.as_dict())
        and error.exit_code == 12
    )


@pytest.mark.parametrize(
    "step", [say_and_close(b""), answer(408), answer(429), answer(500), answer(503)]
)
def test_a_put_that_may_pass_is_sent_again_from_its_first_byte(served, step):
    file = io.BytesIO(b"....data")
    file.seek(4)
    client, storage = served(step, answer(200))
    put(client, storage.url + "/up", file)
    assert [body for _, _, body in storage.requests] == [b"data", b"data"]


@pytest.mark.parametrize("status", [400, 403, 404, 412] + REDIRECTS)
def test_a_put_that_is_refused_or_sent_elsewhere_is_over(served, status):
    elsewhere = served(answer(200))[1]
    client, storage = served(
        answer(status, b"", "Location: " + elsewhere.url), answer(200)
    )
    error = failure(lambda: put(client, storage.url + "/up?sig=CANARY"), StorageRefused)
    assert (
        error.http_status == status
        and len(storage.requests) == 1
        and elsewhere.connections == 0
    )


@pytest.mark.parametrize(
    "url",
    [
        "http://storage.example.test/",
        "https://169.254.169.254/",
        "https://user:pw@x.example.test/",
        None,
    ],
)
def test_a_public_service_cannot_name_an_unsafe_address(client_for, url):
    client = client_for("https://api.example.test")
    for call in (lambda: put(client, url), lambda: client.open_address(url)):
        assert refused(call) == "address_refused" and client.waits == []


def test_a_public_name_that_leads_into_a_private_network_gets_no_byte(
    client_for, storage, lead
):
    lead(storage.port)
    assert (
        refused(
            lambda: put(
                client_for("https://api.example.test"), "https://files.example.test/up"
            )
        )
        == "address_refused"
    )
    assert storage.received == 0


@pytest.mark.parametrize("kind", ["text/csv\r\nX-Forged: 1", "text/\u00fc", ""])
def test_a_content_type_that_cannot_travel_is_refused(client_for, kind):
    failure(
        lambda: put(client_for("http://127.0.0.1:1"), "http://127.0.0.1:1/", kind=kind),
        InputError,
    )


@pytest.mark.parametrize("coding", ["chunked ", "gzip, chunked", "identity, chunked"])
def test_a_transfer_coding_that_is_not_undone_is_no_file(served, coding):
    body = b"5\r\nhello\r\n0\r\n\r\n"
    said = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: %s\r\n\r\n" % coding.encode()
    failure(lambda: open_one(served(said + body)[0]).read(), AnswerUnreadable)
