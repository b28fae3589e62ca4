"""Credits of the local server: each start and each further minute costs one, and without any nothing starts."""
from __future__ import annotations

from rebyte_local.holdings import Purse
from rebyte_local.store import Store


def left(api):
    return api.api("GET", "/billing/credits").json["totalAvailable"]


def test_credits_go_down_as_tasks_run_and_at_zero_a_start_is_refused(start):
    api = start(credits=3)
    task = api.create("x")["id"]
    api.finish(task)
    assert left(api) == 2
    api.api("POST", "/tasks/%s/prompts" % task, {"prompt": "x"})
    api.api("POST", "/agent-computers", {})
    told = api.api("GET", "/billing/credits").json
    assert (told["balance"], told["lifetimeUsed"], told["lifetimePurchased"]) == (0, 3, 3)
    for path, body in (("/tasks", {"prompt": "x"}), ("/tasks/%s/prompts" % task, {"prompt": "x"}), ("/agent-computers", {})):
        reply = api.api("POST", path, body)
        assert (reply.status, reply.code) == (402, "insufficient_credits")
    assert api.api("GET", "/tasks").json["total"] == 1
    assert api.api("POST", "/tasks", {"prompt": ""}).code == "validation_error"


def test_credits_outlive_a_restart_and_can_be_set_anew(start):
    first = start(credits=5)
    first.create("x")
    first.server.close()
    again = start()
    assert left(again) == 4
    again.server.close()
    assert left(start(credits=9)) == 9


def test_each_further_minute_costs_one_as_far_as_they_go(tmp_path):
    store = Store(str(tmp_path))
    purse = Purse(store, 3)
    purse.pay_work(59)
    assert purse.show()["balance"] == 3
    purse.pay_work(130)
    assert purse.show()["balance"] == 1
    purse.pay_work(3600)
    assert (purse.show()["balance"], purse.show()["lifetimeUsed"]) == (0, 3)
    store.close()
