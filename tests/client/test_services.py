"""The client's sections computers, webhooks and credits, and the routes that a deployment may lack."""
from __future__ import annotations

import pytest
from scripted_server import Server, answer

from rebyte_wire.errors import AnswerUnreadable, InputError, NotFound, OutcomeUnknown, RouteMissing

COMPUTER = {"id": "c1", "status": "ready", "sandboxId": "s1", "sandboxApiKey": "CANARY", "views": [{"id": "v"}]}
HOOK = {"id": "h1", "url": "https://a.example/x"}


def lines(server):
    return [request[0].rsplit(" ", 1)[0] for request in server.requests]


@pytest.mark.parametrize("call, answered, line, body", [
    (lambda c: c.create_computer("box", "B"), COMPUTER, "POST /v1/agent-computers", b'{"name": "box", "icon": "B"}'),
    (lambda c: c.create_computer(), COMPUTER, "POST /v1/agent-computers", b"{}"),
    (lambda c: c.list_computers(5, 10), {"data": [COMPUTER]}, "GET /v1/agent-computers?limit=5&offset=10", b""),
    (lambda c: c.get_computer("c1"), COMPUTER, "GET /v1/agent-computers/c1", b""),
    (lambda c: c.update_computer("c1", instructions="be brief", views={"v": False}), COMPUTER, "PATCH /v1/agent-computers/c1",
     b'{"agent_instructions": "be brief", "views": {"v": false}}'),
    (lambda c: c.create_webhook("https://a.example/x", ["task.failed"], secret="s"), HOOK, "POST /v1/webhooks",
     b'{"url": "https://a.example/x", "events": ["task.failed"], "secret": "s"}'),
    (lambda c: c.get_webhook("h1"), HOOK, "GET /v1/webhooks/h1", b""),
    (lambda c: c.get_webhook_key(), {"publicKey": "k"}, "GET /v1/webhooks/public_key", b""),
    (lambda c: c.get_credits(), {"balance": 1}, "GET /v1/billing/credits", b""),
    (lambda c: c.get_health(), {"status": "ok"}, "GET /health", b""),
])
def test_a_call_travels_as_documented(client_for, call, answered, line, body):
    with Server(answer(200, answered)) as server:
        assert isinstance(call(client_for(server)), dict)
        assert lines(server) == [line] and server.requests[0][2] == body


def test_credits_are_told_as_the_service_sends_them(client_for):
    with Server(answer(200, {"balance": 1.5, "unheard_of": None})) as server:
        assert client_for(server).get_credits() == {"balance": 1.5, "unheard_of": None}


@pytest.mark.parametrize("call", [lambda c: c.delete_computer("c1"), lambda c: c.delete_webhook("h1")])
def test_a_delete_gives_nothing_and_an_odd_id_is_never_sent(client_for, call):
    with Server(answer(204, b"")) as server:
        assert call(client_for(server)) is None
        for odd in ("", "..", "a/b", "a?b"):
            with pytest.raises(InputError):
                client_for(server).delete_computer(odd)
        assert server.connections == 1


@pytest.mark.parametrize("call", [
    lambda c: c.create_computer(), lambda c: c.list_computers(), lambda c: c.get_computer("c1"),
    lambda c: c.update_computer("c1", instructions=""), lambda c: c.request("GET", "/agent-computers/c1")])
def test_the_key_of_a_machine_is_shown_to_nobody(client_for, call):
    with Server(answer(200, dict(COMPUTER, data=[COMPUTER, {"deep": [COMPUTER]}]))) as server:
        told = call(client_for(server))
    assert "CANARY" not in str(told) and told["sandboxApiKey"] == "***"


def test_the_key_of_a_machine_is_shown_to_who_asks_for_it_by_name(client_for):
    with Server(answer(200, COMPUTER)) as server:
        assert client_for(server).get_computer("c1", reveal=("sandboxApiKey",))["sandboxApiKey"] == "CANARY"


@pytest.mark.parametrize("shape", [[HOOK], {"data": [HOOK], "total": 1}, {"webhooks": [HOOK], "total": 1}, {"data": []}])
def test_webhooks_are_listed_whatever_the_list_is_called(client_for, shape):
    with Server(answer(200, shape)) as server:
        told = client_for(server).list_webhooks()
    assert told["data"] in ([HOOK], []) and "webhooks" not in told
    assert isinstance(shape, list) or told.get("total") == shape.get("total")


def test_a_list_of_webhooks_in_no_known_shape_is_unreadable(client_for):
    with Server(answer(200, {"hooks": []})) as server, pytest.raises(AnswerUnreadable):
        client_for(server).list_webhooks()


def test_a_computer_is_a_paid_start_that_is_never_repeated_on_a_doubt(client_for):
    ran = []
    with Server(answer(500, {"error": {"code": "internal_error", "message": "x"}})) as server:
        with pytest.raises(OutcomeUnknown):
            client_for(server).create_computer("box", before_send=lambda: ran.append(len(server.requests)))
        assert ran == [0] and len(server.requests) == 1


@pytest.mark.parametrize("body", [
    b"<html>nginx</html>", b"", {"message": "Route GET:/v1/billing/credits not found", "error": "Not Found", "statusCode": 404},
    {"error": {"code": "not_found", "message": "Route GET /v1/billing/credits not found"}}, {"error": "Cannot GET /v1/billing/credits"}])
def test_a_route_that_is_not_there_is_told_apart_from_a_thing_that_is_not_there(client_for, body):
    with Server(answer(404, body), answer(404, {"error": {"code": "not_found", "message": "Task not found"}})) as server:
        client = client_for(server)
        with pytest.raises(RouteMissing) as caught:
            client.get_credits()
        assert "this service has no such route" in str(caught.value).lower() and caught.value.code == "no_such_route"
        with pytest.raises(NotFound) as caught:
            client.get_task("t")
        assert not isinstance(caught.value, RouteMissing) and "route" not in str(caught.value)
