"""The rest of the API, which RebyteClient inherits: machines that last, webhooks, credits, and what is undocumented.

The key of a machine's sandbox is a secret: it is shown as *** unless get_computer is asked for it by name.
"""

from __future__ import annotations

from rebyte_wire.errors import AnswerUnreadable, InputError
from rebyte_wire.status import is_id

SECRET_FIELDS = frozenset(("sandboxApiKey",))
HIDDEN = "***"


class Services:
    """Computers, webhooks, credits and the undocumented calls of a client that has a transport."""

    # computers

    def create_computer(self, name=None, icon=None, *, before_send=None) -> dict:
        """Start a machine that lasts: POST /agent-computers. Paid, like create_task; returns while it is provisioned."""
        return redact(
            self._transport.fetch(
                "POST",
                "/agent-computers",
                body=omit_none(name=name, icon=icon),
                before_send=before_send,
            )
        )

    def list_computers(self, limit=None, offset=None) -> dict:
        """List the organization's computers, newest first: GET /agent-computers. At most 100 at once."""
        return redact(
            self._transport.fetch(
                "GET", "/agent-computers", query={"limit": limit, "offset": offset}
            )
        )

    def get_computer(self, id, *, reveal=()) -> dict:
        """Get a computer and its status: GET /agent-computers/:id. `reveal` names secret fields to show as they are."""
        return redact(self._transport.fetch("GET", format_path("/agent-computers/{}", id)), reveal)

    # webhooks

    def create_webhook(self, url, events, description=None, secret=None) -> dict:
        """Have an https address told of events: POST /webhooks. At most 3; list first, the same address may fire twice."""
        return self._transport.fetch(
            "POST",
            "/webhooks",
            body=omit_none(url=url, events=list(events), description=description, secret=secret),
        )

    def list_webhooks(self) -> dict:
        """List the webhooks: GET /webhooks. Whether the service calls the list data, webhooks or nothing: it is `data` here."""
        answer = self._transport.fetch("GET", "/webhooks", expected=(dict, list))
        more = {} if isinstance(answer, list) else dict(answer)
        items = answer if isinstance(answer, list) else more.get("data", more.pop("webhooks", None))
        if not isinstance(items, list):
            raise AnswerUnreadable(
                "The list of webhooks cannot be used; expected an array, or one under data or webhooks."
            )
        return dict(more, data=items)

    def get_webhook(self, id) -> dict:
        """Get a webhook with its count of failures, never its secret: GET /webhooks/:id."""
        return self._transport.fetch("GET", format_path("/webhooks/{}", id))

    def delete_webhook(self, id) -> None:
        """Delete a webhook: DELETE /webhooks/:id."""
        self._transport.fetch("DELETE", format_path("/webhooks/{}", id))

    def get_webhook_key(self) -> dict:
        """Get the key that signatures are checked with: GET /webhooks/public_key. Its shape is not documented."""
        return self._transport.fetch("GET", "/webhooks/public_key")

    # undocumented: seen in use by others, may answer RouteMissing on some deployments

    def task_content(self, id, events=False) -> dict:
        """Get the prompts with their answers, and their events if asked: GET /tasks/:id/content."""
        return self._transport.fetch(
            "GET",
            format_path("/tasks/{}/content", id),
            query={"include": "events" if events else None},
        )

    def prompt_events(self, id, prompt_id) -> dict:
        """Get the events of one delegated prompt: GET /tasks/:id/prompts/:promptId/events."""
        return self._transport.fetch(
            "GET", format_path("/tasks/{}/prompts/{}/events", id, prompt_id)
        )

    def answer_question(self, id, answer) -> dict:
        """Answer what a task asks: POST /tasks/:id/answer. 409 (RequestRefused) means nothing is asked any more."""
        return self._transport.fetch("POST", format_path("/tasks/{}/answer", id), body=answer)

    def update_computer(self, id, *, instructions=None, views=None) -> dict:
        """Change a computer's standing instructions or switch views ({id: bool}): PATCH /agent-computers/:id. No rename."""
        body = omit_none(agent_instructions=instructions, views=views)
        return redact(
            self._transport.fetch("PATCH", format_path("/agent-computers/{}", id), body=body)
        )

    def delete_computer(self, id) -> None:
        """Delete a computer and free its machine: DELETE /agent-computers/:id."""
        self._transport.fetch("DELETE", format_path("/agent-computers/{}", id))

    def get_health(self) -> dict:
        """Ask whether the service is up: GET /health, beside /v1."""
        return self._transport.fetch("GET", "/health", base=self.base_url[: -len("/v1")])

    # credits, undocumented too

    def get_credits(self) -> dict:
        """Get what the organization has left to spend: GET /billing/credits."""
        return self._transport.fetch("GET", "/billing/credits")


def redact(answer, reveal=()):
    """Return an answer whose secret fields were changed to ***, but for those that `reveal` names."""
    left = [answer]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            value.update(
                (name, HIDDEN) for name in SECRET_FIELDS if value.get(name) and name not in reveal
            )
        left += (
            value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        )
    return answer


def omit_none(**fields) -> dict:
    """Return the fields that were given: the service decides about the others."""
    return {name: value for name, value in fields.items() if value is not None}


def format_path(template, *ids) -> str:
    """Fill ids into a path; one that would lead elsewhere raises InputError before anything is sent."""
    for id in ids:
        if not is_id(id):
            raise InputError("{!r} is not an id; expected letters, digits and dashes.".format(id))
    return template.format(*ids)
