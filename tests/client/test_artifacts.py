"""The client's artifacts section: downloads that may be sent elsewhere, always without the key; uploads as forms."""
from __future__ import annotations

import pytest
from scripted_server import Proxy, Server, answer

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
