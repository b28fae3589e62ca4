"""What comes back instead of what was promised, and what that means for a paid start."""
from __future__ import annotations

import socket

import pytest
from scripted_server import Server, answer, chunked, reset, say_and_close

from rebyte_wire.answers import MAX_JSON_BYTES
from rebyte_wire.calls import Deadline
from rebyte_wire.errors import (AnswerUnreadable, AuthError, GuardRefused, NetworkError, NotFound, OutcomeUnknown, RateLimited, RebyteError,
                                RequestRefused, RouteMissing, ServerError)

PAGE = b"<!doctype html><html><head><title>Sign in</title></head><body>" + b"very long page " * 500 + b"</body></html>"


@pytest.mark.parametrize("body, headers", [
    (PAGE, []), (b"", []), (b"  \n", []), (b"[]", []), (b"null", []), (b'"text"', []), (b"7", []), (b"{", []), (b"\xff\xfe{}", []),
    (b"[" * 200000, []), (b'{"a":' * 100000, []), (b'{"n":' + b"9" * 5000 + b"}", []), (b'{"x":"' + b"y" * MAX_JSON_BYTES + b'"}', []),
    (b"\x1f\x8b\x08", ["Content-Encoding: gzip"]), (b"{}", ["Content-Encoding: br"]), (b"{}" + b" " * MAX_JSON_BYTES, [])])
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


# Paid starts: for every way to fail, was it not sent, refused, or is it unknown; and is it ever sent twice.

MADE = answer(201, {"id": "t"})
STARTS = {
    "create": lambda client: client.create_task("x"),
    "follow up": lambda client: client.follow_up("t", "x"),
    "computer": lambda client: client.request("POST", "/agent-computers", body={}),
    "raw create": lambda client: client.request("post", "/tasks/", body={"prompt": "x"}),
}


def failure(call, kind=RebyteError):
    """Return the error of a call that must fail."""
    with pytest.raises(kind) as caught:
        call()
    return caught.value


@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS)
@pytest.mark.parametrize("step", [
    say_and_close(b""), reset, say_and_close(b"HTTP/1.1 20"), say_and_close(b"rubbish\r\n\r\n"),
    say_and_close(answer(201, b'{"id":"t"', length=50)), chunked(b'{"id":"t"}', end=b"", kind="application/json"),
    answer(201, b""), answer(204, b""), answer(201, b"<html>"), answer(201, []), answer(201, {}), answer(201, {"id": ""}),
    answer(201, {"id": None, "promptId": 7}), answer(201, {"id": ["t"]}), answer(201, {"id": "t", "promptId": "p"}, "Content-Encoding: gzip"),
    answer(500), answer(502, b"<html>"), answer(503), answer(504), answer(408), answer(520), answer(303, b"", "Location: /v1/tasks/t"),
    answer(300), answer(304)], ids=lambda step: str(step)[:40])
def test_what_leaves_the_outcome_unknown_is_told_so_and_never_sent_again(client_for, step, start):
    with Server(step if callable(step) else say_and_close(step), MADE) as server:
        client = client_for(server)
        error = failure(lambda: start(client), OutcomeUnknown)
        assert (error.outcome, error.exit_code, error.code) == ("unknown", 8, "outcome_unknown")
        assert not error.retryable and client.waits == [] and len(server.requests) == 1


@pytest.mark.parametrize("status, kind", [
    (400, RequestRefused), (401, AuthError), (402, RequestRefused), (403, AuthError), (404, RouteMissing), (409, RequestRefused),
    (413, RequestRefused), (422, RequestRefused), (451, RequestRefused), (301, NetworkError), (302, NetworkError),
    (307, NetworkError), (308, NetworkError)])
def test_what_was_surely_not_made_is_told_as_refused_and_not_sent_again(client_for, status, kind):
    with Server(answer(status, b"", "Location: /v1/elsewhere"), MADE) as server:
        client = client_for(server)
        error = failure(lambda: client.create_task("x"), kind)
        assert error.outcome == "refused" and len(server.requests) == 1 and error.http_status == status


@pytest.mark.parametrize("step, waits", [
    (answer(429, b"", "Retry-After: 7"), [7.0]), (answer(429), [0.5]), (answer(425), [0.5]),
    (answer(503, b"", "Retry-After: 2"), [2.0]), (answer(503, b"", "Retry-After: 0"), [0.5])])
def test_what_says_not_now_is_waited_for_and_sent_again(client_for, step, waits):
    with Server(step, MADE) as server:
        client = client_for(server)
        assert client.create_task("x") == {"id": "t"}
        assert client.waits == waits and len(server.requests) == 2


@pytest.mark.parametrize("headers, retry_after", [(["Retry-After: 121"], 121), (["x-should-retry: false"], None)])
def test_a_service_that_asks_for_too_much_or_says_stop_is_left_alone(client_for, headers, retry_after):
    with Server(answer(429, b"", *headers), MADE) as server:
        error = failure(lambda: client_for(server).create_task("x"), RateLimited)
        assert (error.retry_after, error.outcome, error.exit_code, len(server.requests)) == (retry_after, "refused", 11, 1)


def test_a_wait_that_would_outlast_the_slice_is_not_begun(client_for):
    with Server(answer(429, b"", "Retry-After: 30"), MADE) as server:
        client = client_for(server, Deadline(20))
        error = failure(lambda: client.create_task("x"), RateLimited)
        assert error.retry_after == 30 and client.waits == [] and error.outcome == "refused"


def test_a_service_that_is_never_ready_is_asked_four_times(client_for):
    with Server(answer(503, b"", "Retry-After: 1")) as server:
        error = failure(lambda: client_for(server).create_task("x"), ServerError)
        assert error.outcome == "refused" and len(server.requests) == 4


# Before the first byte...

def closed_port():
    """Return an address where nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return "http://127.0.0.1:{}".format(sock.getsockname()[1])


def test_a_refused_connection_is_not_sent_and_tried_four_times(client_for):
    client = client_for(closed_port())
    error = failure(lambda: client.create_task("x"), NetworkError)
    assert (error.code, error.outcome, error.exit_code) == ("connection_refused", "not_sent", 10)
    assert client.waits == [0.5, 1.0, 2.0]


def test_an_unknown_host_is_not_sent(client_for, monkeypatch):
    def unknown(*args, **more):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    error = failure(lambda: client_for("https://api.example.test").create_task("x"), NetworkError)
    assert (error.code, error.outcome) == ("dns_failed", "not_sent") and "api.example.test" in error.message


def test_a_connect_that_takes_too_long_is_not_sent(client_for, monkeypatch):
    def slow(self, address):
        raise socket.timeout("timed out")
    with Server(MADE) as server:
        monkeypatch.setattr(socket.socket, "connect", slow)
        error = failure(lambda: client_for(server).create_task("x"), NetworkError)
    assert (error.code, error.outcome) == ("connect_timeout", "not_sent")


def test_the_next_address_of_a_name_is_tried_when_the_first_refuses(client_for, monkeypatch):
    dead = int(closed_port().rpartition(":")[2])
    with Server(MADE) as server:
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)) for port in (dead, server.port)]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **more: found)
        assert client_for(server).create_task("x") == {"id": "t"}


@pytest.mark.parametrize("raised", [GuardRefused("Too many."), OSError("disk full"), ConnectionError("mine"), KeyboardInterrupt()])
def test_what_before_send_raises_goes_to_the_caller_unchanged_and_nothing_is_sent(client_for, raised):
    def stop():
        raise raised
    with Server(MADE) as server:
        client = client_for(server)
        with pytest.raises(type(raised)) as caught:
            client.create_task("x", before_send=stop)
        assert caught.value is raised and client.waits == []
    assert server.received == 0 and server.connections <= 1


def test_before_send_runs_once_connected_and_again_for_each_try(client_for):
    seen = []
    with Server(answer(429), MADE) as server:
        client_for(server).create_task("x", before_send=lambda: seen.append(len(server.requests)))
        assert seen == [0, 1]
    seen.clear()
    failure(lambda: client_for(closed_port()).create_task("x", before_send=lambda: seen.append(1)))
    assert seen == []


# While the body is written...

@pytest.mark.parametrize("status, kind", [(413, RequestRefused), (401, AuthError), (429, RateLimited)])
def test_an_early_answer_is_read_though_the_write_failed(client_for, status, kind):
    def refuse(sock):
        sock.sendall(answer(status, {"error": {"code": "early", "message": "too much"}}, "x-should-retry: false"))
    with Server(refuse, early=True) as server:
        error = failure(lambda: client_for(server).create_task("x" * 30_000_000), kind)
    assert (error.outcome, error.code, error.http_status) == ("refused", "early", status)


def test_a_hang_up_while_we_write_without_an_answer_is_unknown(client_for):
    with Server(reset, early=True) as server:
        error = failure(lambda: client_for(server).create_task("x" * 30_000_000), OutcomeUnknown)
    assert error.__cause__.code == "connection_cut"


# Calls that are not paid...

def test_a_delete_that_is_gone_on_the_second_try_was_done_by_the_first(client_for):
    with Server(say_and_close(b""), answer(404)) as server:
        assert client_for(server).delete_task("t") is None
    with Server(answer(404)) as server:
        failure(lambda: client_for(server).delete_task("t"), RouteMissing)


def test_a_delete_that_never_left_before_is_not_taken_for_done(client_for, monkeypatch):
    real, fails = socket.getaddrinfo, [socket.gaierror(socket.EAI_AGAIN, "try again")]

    def once(*args, **more):
        if fails:
            raise fails.pop()
        return real(*args, **more)
    monkeypatch.setattr(socket, "getaddrinfo", once)
    with Server(answer(404)) as server:
        client = client_for(server)
        failure(lambda: client.delete_task("t"), RouteMissing)
        assert client.waits == [0.5]


def test_a_call_that_is_neither_paid_nor_repeatable_is_sent_once(client_for):
    for step in (say_and_close(b""), answer(500)):
        with Server(step) as server:
            error = failure(lambda: client_for(server).answer_question("t", {"answer": {}}))
            assert not isinstance(error, OutcomeUnknown) and len(server.requests) == 1


@pytest.mark.parametrize("call", [lambda client: client.cancel_task("t"), lambda client: client.set_visibility("t", "private"),
                                  lambda client: client.create_upload("a"), lambda client: client.list_tasks()])
def test_calls_with_the_same_end_state_are_sent_again(client_for, call):
    with Server(say_and_close(b""), answer(502), answer(200, {"id": "t"})) as server:
        assert call(client_for(server)) == {"id": "t"}
        assert len(server.requests) == 3
