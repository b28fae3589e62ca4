"""The client's files section: slots, signed puts, and when they are tried again."""
from __future__ import annotations

import io
import socket

import pytest
from scripted_server import Server, answer, say_and_close

from rebyte_wire.errors import AnswerUnreadable, InputError, NetworkError, StorageRefused

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
