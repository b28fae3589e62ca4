"""What comes back instead of the JSON that was promised: each a clear error, never a traceback, a page or the key."""
from __future__ import annotations

import pytest
from scripted_server import Server, answer

from rebyte_wire.answers import MAX_JSON_BYTES
from rebyte_wire.errors import AnswerUnreadable, AuthError, NotFound, RequestRefused, RouteMissing, ServerError

PAGE = b"<!doctype html><html><head><title>Sign in</title></head><body>" + b"very long page " * 500 + b"</body></html>"


@pytest.mark.parametrize("body, headers", [
    (PAGE, []), (b"", []), (b"  \n", []), (b"[]", []), (b"null", []), (b'"text"', []), (b"7", []), (b"{", []), (b"\xff\xfe{}", []),
    (b"[" * 200000, []), (b'{"a":' * 100000, []), (b'{"n":' + b"9" * 5000 + b"}", []), (b'{"x":"' + b"y" * MAX_JSON_BYTES + b'"}', []),
    (b"\x1f\x8b\x08", ["Content-Encoding: gzip"]), (b"{}", ["Content-Encoding: br"]), (b"{}" + b" " * MAX_JSON_BYTES, [])], ids=range(16))
def test_an_answer_that_cannot_be_used_is_told_with_its_status(client_for, body, headers):
    with Server(answer(200, body, *headers)) as server:
        with pytest.raises(AnswerUnreadable) as caught:
            client_for(server).get_task("t")
    error = caught.value
    assert (error.code, error.exit_code, error.http_status) == ("bad_answer", 12, 200)
    assert len(error.message) < 200 and "very long" not in error.message


def test_json_is_handed_on_as_it_was_sent(client_for):
    sent = {"id": "t", "status": "a-new-word", "executor": None, "unknown": [1.5, {"\u2028": "\U0001f600"}], "n": 10 ** 30}
    with Server(answer(200, sent, "Content-Encoding: identity")) as server:
        assert client_for(server).get_task("t") == sent


def test_the_raw_door_takes_a_list_and_nothing(client_for):
    with Server(answer(200, [1]), answer(204), answer(200, b"")) as server:
        client = client_for(server)
        assert client.request("GET", "/webhooks?limit=1") == [1]
        assert client.request("DELETE", "/webhooks/1") is None
        assert client.request("DELETE", "/webhooks/2") is None


@pytest.mark.parametrize("body, code, message", [
    ({"error": {"code": "validation_error", "message": "prompt is required"}}, "validation_error", "HTTP 400: prompt is required"),
    ({"error": {"code": "limit_exceeded"}}, "limit_exceeded", "HTTP 400 without a message from the service."),
    ({"error": "plain words"}, "request_refused", "HTTP 400: plain words"), ({"message": "other shape"}, "request_refused", "HTTP 400: other shape"),
    ({"error": None}, "request_refused", "HTTP 400 without a message from the service."), ({"error": {"code": 7, "message": ["x"]}}, "request_refused", None),
    ([], "request_refused", None), ("text", "request_refused", None), (b"null", "request_refused", None), (PAGE, "request_refused", None),
    (b"", "request_refused", None), (b"[" * 100000, "request_refused", None), (b"\xff", "request_refused", None),
    ({"error": {"code": "x\r\ny", "message": "a\n\tb " + "z" * 5000}}, "request_refused", "HTTP 400: a b " + "z" * 296)])
def test_an_error_of_any_shape_is_told_in_one_short_line(client_for, body, code, message):
    with Server(answer(400, body)) as server:
        with pytest.raises(RequestRefused) as caught:
            client_for(server).get_task("t")
    assert caught.value.code == code and caught.value.http_status == 400
    assert caught.value.message == (message or "HTTP 400 without a message from the service.")


def test_an_error_that_echoes_the_key_or_a_signature_does_not_show_them(client_for):
    told = "bad rbk_CANARY_77aa at https://x/?X-Goog-Signature=CANARY&a=1&sig=CANARY"
    with Server(answer(400, {"error": {"code": "c", "message": told}})) as server:
        with pytest.raises(RequestRefused) as caught:
            client_for(server).get_task("t")
    assert "CANARY" not in str(caught.value.as_dict()) and "bad *** at" in caught.value.message


def test_no_such_task_and_no_such_route_are_told_apart(client_for):
    ours = {"error": {"code": "not_found", "message": "Task not found"}}
    for body, code in ((ours, "not_found"), (PAGE, "no_such_route"), (b"Cannot GET /v1/tasks/t", "no_such_route"), (b"", "no_such_route")):
        with Server(answer(404, body)) as server:
            with pytest.raises(NotFound) as caught:
                client_for(server).get_task("t")
            assert caught.value.code == code and caught.value.exit_code == 5
            assert isinstance(caught.value, RouteMissing) is (code == "no_such_route")


def test_a_401_names_the_proxies_that_drop_our_header(client_for):
    with Server(answer(401, {"error": {"code": "missing_api_key", "message": "no key"}})) as server:
        with pytest.raises(AuthError) as caught:
            client_for(server).get_task("t")
    assert caught.value.code == "missing_api_key" and "underscore" in caught.value.hint and caught.value.exit_code == 4


def test_a_status_counts_even_if_the_body_is_cut_or_encoded(client_for):
    def cut(sock):
        sock.sendall(answer(403, b"{", length=99))
    for step in (cut, answer(403, b"\x1f\x8b", "Content-Encoding: gzip")):
        with Server(step) as server:
            with pytest.raises(AuthError):
                client_for(server).get_task("t")


def test_a_gateway_page_is_a_server_error_without_the_page(client_for):
    with Server(answer(503, PAGE)) as server:
        with pytest.raises(ServerError) as caught:
            client_for(server).get_task("t")
    assert caught.value.message == "HTTP 503 without a message from the service." and len(server.requests) == 4
