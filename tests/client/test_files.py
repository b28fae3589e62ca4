"""Files and artifacts: slots, signed puts, forms, and downloads that may be sent elsewhere, always without the key."""
from __future__ import annotations

import io
import socket

import pytest
from scripted_server import Proxy, Server, answer, say_and_close

from rebyte_wire.errors import AnswerUnreadable, InputError, NetworkError, NotFound, StorageRefused

FILE = answer(200, b"bytes")


def refused(call):
    """Return the code of a call that must be refused."""
    with pytest.raises(NetworkError) as caught:
        call()
    return caught.value.code


def test_an_artifact_is_read_to_its_end(client_for):
    with Server(FILE) as server:
        with client_for(server).open_artifact("w", "report 1.pdf") as download:
            assert download.length == 5 and download.read(3) + download.read() + download.read() == b"bytes"
        assert server.requests[0][0] == "GET /v1/workspaces/w/artifacts/report%201.pdf HTTP/1.1"


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\\b", "a\nb", "a\0b"])
def test_a_name_that_is_none_is_refused_before_anything_is_sent(client_for, name):
    with Server(FILE) as server:
        for call in (client_for(server).open_artifact, client_for(server).delete_artifact):
            with pytest.raises(InputError):
                call("w", name)
        assert server.connections == 0


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_to_another_port_never_carries_the_key(client_for, status):
    with Server(FILE) as storage, Server(answer(status, b"", "Location: " + storage.url + "/f")) as server:
        client = client_for(server)
        assert client.open_artifact("w", "a").read() == b"bytes"
        assert b"CANARY" in server.heads[0] and b"CANARY" not in storage.heads[0] and b"API_KEY" not in storage.heads[0]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("call", [lambda c: c.get_task("t"), lambda c: c.stream_events("t"), lambda c: c.cancel_task("t"),
                                  lambda c: c.delete_task("t"), lambda c: c.create_upload("a")])
def test_an_api_call_is_never_sent_to_another_origin(client_for, status, call):
    with Server(FILE) as other, Server(answer(status, b"", "Location: " + other.url + "/v1/tasks/t")) as server:
        assert refused(lambda: call(client_for(server))) == "redirect_refused"
        assert other.connections == 0 and len(server.requests) == 1


def test_a_redirect_over_the_tunnel_to_another_host_never_carries_the_key(client_for, certificates, tls, monkeypatch):
    step = answer(302, b"", "Location: https://files.example.test/f?sig=1")
    with Server(step, FILE, context=tls()) as server, Proxy(server.port) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        client = client_for("https://api.example.test", environ={"REBYTE_CA_BUNDLE": str(certificates / "ca.pem")})
        assert client.open_artifact("w", "a").read() == b"bytes"
        assert [head.split(b" ")[1] for head in proxy.heads] == [b"api.example.test:443", b"files.example.test:443"]
        assert b"CANARY" in server.heads[0] and b"CANARY" not in server.heads[1]


@pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://127.0.0.1/f", "http://files.example.test/f", "gopher://x", "//[", ""])
def test_a_download_is_not_sent_to_a_place_that_is_not_safe(client_for, location):
    with Server(answer(302, b"", "Location: " + location)) as server:
        assert refused(lambda: client_for(server).open_artifact("w", "a")) in ("redirect_refused", "address_refused")


def test_a_circle_of_redirects_ends(client_for):
    with Server(answer(302, b"", "Location: /v1/again")) as server:
        assert refused(lambda: client_for(server).open_artifact("w", "a")) == "redirect_refused"
        assert len(server.requests) == 6


def test_a_signed_address_is_opened_without_key_and_redirects(client_for):
    with Server(FILE, answer(302, b"", "Location: /elsewhere"), answer(404, b"<Error><Code>NoSuchKey</Code></Error>")) as storage:
        client = client_for(storage)
        assert client.open_address(storage.url + "/f?sig=CANARY").read() == b"bytes"
        assert b"API_KEY" not in storage.heads[0]
        with pytest.raises(StorageRefused):
            client.open_address(storage.url + "/f")
        with pytest.raises(StorageRefused) as caught:
            client.open_address(storage.url + "/f?sig=CANARY")
        assert caught.value.code == "NoSuchKey" and "CANARY" not in str(caught.value.as_dict())


def test_a_missing_artifact_is_not_found(client_for):
    with Server(answer(404, {"error": {"code": "not_found", "message": "no"}})) as server:
        with pytest.raises(NotFound):
            client_for(server).open_artifact("w", "a")


def test_artifacts_are_uploaded_as_a_form_with_a_length(client_for, tmp_path):
    paths = []
    for name in ("a.csv", 'b".pdf'):
        (tmp_path / name).write_bytes(name.encode() * 100000)
        paths.append(str(tmp_path / name))
    with Server(answer(503), answer(201, {"uploaded": []})) as server:
        assert client_for(server).upload_artifacts("w", paths) == {"uploaded": []}
        (_, first, body), (_, second, again) = server.requests
    assert body == again and first["Content-Length"] == str(len(body)) and "Transfer-Encoding" not in first
    assert body.count(b'name="files"') == 2 and b'filename="b%22.pdf"' in body and b"a.csv" * 100000 in body


def fill(download):
    """Read a download with readinto to its end; return the bytes."""
    buffer, got = bytearray(4), b""
    for count in iter(lambda: download.readinto(buffer), 0):
        got += bytes(buffer[:count])
    return got


CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n"


@pytest.mark.parametrize("said", [answer(200, b"abcdefg"), CHUNKS + b"0\r\n\r\n"])
def test_a_download_fills_a_buffer_and_keeps_its_connection(client_for, said):
    with Server(said) as server:
        client = client_for(server)
        assert [fill(client.open_artifact("w", "a")) for _ in range(2)] == [b"abcdefg"] * 2 and server.connections == 1


@pytest.mark.parametrize("said", [answer(200, b"abcdefg", length=9), CHUNKS])
def test_a_cut_download_is_no_end(client_for, said):
    with Server(lambda sock: sock.sendall(said)) as server:
        assert refused(lambda: fill(client_for(server).open_artifact("w", "a"))) == "short_body"


def test_bytes_beyond_the_told_length_are_in_no_answer(client_for):
    with Server(answer(200, b"abcdefg", length=5)) as server:
        client = client_for(server)
        assert [fill(client.open_artifact("w", "a")) for _ in range(2)] == [b"abcde"] * 2


def test_a_download_compressed_unasked_is_refused(client_for):
    with Server(answer(200, b"abc", "Content-Encoding: gzip")) as server:
        with pytest.raises(AnswerUnreadable) as caught:
            client_for(server).open_artifact("w", "a")
        assert "compressed" in caught.value.message


# The client's files section: slots, signed puts, and when they are tried again.

EXPIRED = answer(403, b"<?xml version='1.0'?><Error><Code>ExpiredToken</Code><Message>CANARY</Message></Error>")


def slot(server, **more):
    """Return an answer of POST /files whose address leads to a server."""
    return answer(201, dict({"id": "f", "filename": "a-1.csv", "uploadUrl": server.url + "/up?X-Goog-Signature=CANARY"}, **more))


def put(client, url, source=lambda: io.BytesIO(b"data"), length=4):
    """Put four bytes."""
    return client.put_bytes(url, source, length, "text/csv")


@pytest.fixture
def file(tmp_path):
    """A small file to upload."""
    path = tmp_path / "a.csv"
    path.write_bytes(b"1,2\n" * 1000)
    return str(path)


def test_a_file_is_uploaded_in_two_steps_and_the_service_names_it(client_for, file):
    with Server(answer(200)) as storage, Server(slot(storage)) as server:
        assert client_for(server).upload_file(file, content_type="text/csv") == {"id": "f", "filename": "a-1.csv"}
        line, headers, body = storage.requests[0]
        assert line == "PUT /up?X-Goog-Signature=CANARY HTTP/1.1" and body == b"1,2\n" * 1000
        assert headers == {"Host": "127.0.0.1:%d" % storage.port, "Accept-Encoding": "identity", "Content-Type": "text/csv",
                           "Content-Length": "4000"}
        assert b'"filename": "a.csv"' in server.requests[0][2]


def test_without_a_type_none_is_declared_and_the_default_is_put(client_for, file):
    with Server(answer(200)) as storage, Server(slot(storage)) as server:
        client_for(server).upload_file(file, "other.csv")
        assert server.requests[0][2] == b'{"filename": "other.csv"}'
        assert storage.requests[0][1]["Content-Type"] == "application/octet-stream"


def test_a_file_too_large_is_refused_before_a_slot_is_asked_for(client_for, tmp_path):
    path = tmp_path / "big"
    with open(str(path), "wb") as sparse:
        sparse.truncate(52_428_801)
    with Server(answer(500)) as server:
        for bad in (str(path), str(tmp_path), str(tmp_path / "gone")):
            with pytest.raises(InputError):
                client_for(server).upload_file(bad)
        assert server.connections == 0


def test_a_file_larger_than_the_slot_is_not_put(client_for, file):
    with Server(answer(200)) as storage, Server(slot(storage, maxFileSize=3999)) as server:
        with pytest.raises(InputError):
            client_for(server).upload_file(file)
        assert storage.connections == 0


@pytest.mark.parametrize("answered", [{}, {"id": "f"}, {"uploadUrl": "http://127.0.0.1:1/"}, {"id": 7, "uploadUrl": None}])
def test_a_slot_without_id_or_address_is_an_error(client_for, file, answered):
    with Server(answer(201, answered)) as server:
        with pytest.raises(AnswerUnreadable):
            client_for(server).upload_file(file)


def test_an_expired_address_is_replaced_once(client_for, file):
    with Server(EXPIRED, answer(200)) as storage, Server(slot(storage), slot(storage, id="f2")) as server:
        assert client_for(server).upload_file(file)["id"] == "f2"
    with Server(EXPIRED) as storage, Server(slot(storage)) as server:
        with pytest.raises(StorageRefused) as caught:
            client_for(server).upload_file(file)
        assert len(storage.requests) == len(server.requests) == 2
    assert caught.value.code == "ExpiredToken" and "CANARY" not in str(caught.value.as_dict()) and caught.value.exit_code == 12


@pytest.mark.parametrize("step", [say_and_close(b""), answer(408), answer(429), answer(500), answer(503)])
def test_a_put_that_may_pass_is_sent_again_from_its_first_byte(client_for, step):
    file = io.BytesIO(b"....data")
    file.seek(4)
    with Server(step, answer(200)) as storage:
        put(client_for(storage), storage.url + "/up", file)
        assert [body for _, _, body in storage.requests] == [b"data", b"data"]


@pytest.mark.parametrize("status", [400, 403, 404, 412, 301, 302, 303, 307, 308])
def test_a_put_that_is_refused_or_sent_elsewhere_is_over(client_for, status):
    with Server(answer(200)) as elsewhere:
        with Server(answer(status, b"", "Location: " + elsewhere.url), answer(200)) as storage:
            with pytest.raises(StorageRefused) as caught:
                put(client_for(storage), storage.url + "/up?sig=CANARY")
            assert caught.value.http_status == status and len(storage.requests) == 1
        assert elsewhere.connections == 0


@pytest.mark.parametrize("url", ["http://storage.example.test/", "https://169.254.169.254/", "https://127.0.0.1/", "file:///etc/passwd",
                                 "ftp://x/", "https://user:pw@x.example.test/", "https://[::ffff:10.0.0.1]/", "https://0x7f.1/", None, 7])
def test_a_public_service_cannot_name_an_unsafe_address(client_for, url):
    client = client_for("https://api.example.test")
    for call in (lambda: put(client, url), lambda: client.open_address(url)):
        with pytest.raises(NetworkError) as caught:
            call()
        assert caught.value.code == "address_refused" and client.waits == []


def test_a_public_name_that_leads_into_a_private_network_gets_no_byte(client_for, monkeypatch):
    with Server(answer(200)) as private:
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", private.port))]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **more: found)
        with pytest.raises(NetworkError) as caught:
            put(client_for("https://api.example.test"), "https://files.example.test/up")
        assert caught.value.code == "address_refused" and private.received == 0


@pytest.mark.parametrize("kind", ["text/csv\r\nX-Forged: 1", "text/\u00fc", ""])
def test_a_content_type_that_cannot_travel_is_refused(client_for, kind):
    with pytest.raises(InputError):
        client_for("http://127.0.0.1:1").put_bytes("http://127.0.0.1:1/", io.BytesIO(b""), 0, kind)
