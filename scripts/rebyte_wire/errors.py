"""What can go wrong, as one family; each member knows its code, its hint and its exit code.

RebyteError
├── before anything is sent:  InputError, AuthError, GuardRefused, LedgerUnwritable
├── on the way:               NetworkError, DeadlineReached
├── about a paid start:       OutcomeUnknown, NotRecorded
└── from the service:         AuthError, RequestRefused, NotFound (RouteMissing), RateLimited,
                              ServerError, AnswerUnreadable, StorageRefused
This module imports nothing of the package.
"""

from __future__ import annotations

from collections import namedtuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from rebyte_types import Json, Step

EXIT_DONE = 0
EXIT_UNEXPECTED = 1
EXIT_USAGE = 2
EXIT_TASK_FAILED = 3
EXIT_KEY = 4
EXIT_NOT_FOUND = 5
EXIT_CANCELED = 6
EXIT_GUARD = 7
EXIT_UNKNOWN = 8
EXIT_SOME_FAILED = 9
EXIT_NETWORK = 10
EXIT_RATE_LIMITED = 11
EXIT_SERVER = 12
EXIT_QUESTION = 13
EXIT_RUNNING = 75
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143

ExitCode = namedtuple("ExitCode", "number short meaning")

# The one table of exit codes; --help and the documents are checked against it.
EXIT_CODES = (
    ExitCode(EXIT_DONE, "done", "done, and what was awaited completed"),
    ExitCode(
        EXIT_UNEXPECTED,
        "unexpected",
        "unexpected; also: started but could not be recorded (the ids are printed)",
    ),
    ExitCode(
        EXIT_USAGE,
        "usage",
        "usage, bad input, or a 4xx that says the request is wrong",
    ),
    ExitCode(EXIT_TASK_FAILED, "the task failed", "the task ran and failed"),
    ExitCode(EXIT_KEY, "key", "the key is missing or refused"),
    ExitCode(EXIT_NOT_FOUND, "not found", "not found"),
    ExitCode(EXIT_CANCELED, "canceled", "the task was canceled"),
    ExitCode(
        EXIT_GUARD,
        "guard",
        "a guard refused (spending, secrets, deletions), or the ledger cannot be written",
    ),
    ExitCode(
        EXIT_UNKNOWN,
        "outcome unknown",
        "the outcome of a paid start is unknown",
    ),
    ExitCode(
        EXIT_SOME_FAILED,
        "some failed",
        "some of many failed; files, code or the value did not come or do not fit",
    ),
    ExitCode(EXIT_NETWORK, "network", "network, proxy or TLS"),
    ExitCode(EXIT_RATE_LIMITED, "rate limit", "rate limited"),
    ExitCode(
        EXIT_SERVER,
        "server error",
        "server error, or an answer that cannot be read",
    ),
    ExitCode(EXIT_QUESTION, "it asks", "the task asks a question"),
    ExitCode(EXIT_RUNNING, "still running", "still running when the time was over"),
    ExitCode(EXIT_INTERRUPTED, "interrupted", "interrupted (SIGINT)"),
    ExitCode(EXIT_TERMINATED, "ended from outside", "interrupted (SIGTERM)"),
)


class RebyteError(Exception):
    """Base of the family: a message for people, and the data that decisions are made from.

    `outcome` speaks of paid starts only: "not_sent", "refused" (surely not made) or "unknown".
    `retry_after` is in seconds. `details`, `warnings` and `next` (lines to type) go into the
    document that reports the error; whoever knows more on the way up may fill them in.
    """

    exit_code: int = EXIT_UNEXPECTED
    default_code: str = "unexpected"
    default_hint: str | None = None
    default_retryable: bool = False
    default_outcome: str | None = None

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        hint: str | None = None,
        http_status: int | None = None,
        retryable: bool | None = None,
        retry_after: float | None = None,
        outcome: str | None = None,
        details: Json | None = None,
    ) -> None:
        """Keep what is given; what is not given comes from the class."""
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.hint = hint or self.default_hint
        self.http_status = http_status
        self.retryable = self.default_retryable if retryable is None else retryable
        self.retry_after = retry_after
        self.outcome = outcome or self.default_outcome
        self.details = details
        self.warnings: list[str] = []
        self.next: list[Step] = []

    def __str__(self) -> str:
        """Return message and hint: what a traceback shows to who calls from Python."""
        return "{} {}".format(self.message, self.hint) if self.hint else self.message

    def as_dict(self) -> dict[str, Any]:
        """Return the error as the JSON object that commands print, without empty fields."""
        fields = {
            "code": self.code,
            "message": self.message,
            "hint": self.hint,
            "retryable": self.retryable,
            "httpStatus": self.http_status,
            "retryAfter": self.retry_after,
        }
        return {
            name: value for name, value in fields.items() if value not in (None, "")
        }


class InputError(RebyteError):
    """Raised for input that cannot be right, before anything is sent."""

    exit_code = EXIT_USAGE
    default_code = "invalid_input"
    default_outcome = "not_sent"


class AuthError(RebyteError):
    """Raised when the key is missing, malformed, refused (401) or lacks a scope (403)."""

    exit_code = EXIT_KEY
    default_code = "invalid_api_key"
    default_hint = (
        "Get a key at https://app.rebyte.ai/settings/api-keys and set REBYTE_API_KEY."
    )


class RequestRefused(RebyteError):
    """Raised for a 4xx that says the request itself is wrong; the code is the service's own."""

    exit_code = EXIT_USAGE
    default_code = "request_refused"


class NotFound(RebyteError):
    """Raised when the service does not know the thing, or this key may not see it."""

    exit_code = EXIT_NOT_FOUND
    default_code = "not_found"
    default_hint = (
        "Check the id, and that the key belongs to the organization that owns it."
    )


class RouteMissing(NotFound):
    """Raised when the service has no such route, as opposed to no such task."""

    default_code = "no_such_route"
    default_hint = (
        "Check the base address; this deployment may not offer this part of the API"
        " (or no longer)."
    )


class GuardRefused(RebyteError):
    """Raised when a spending guard fired; nothing was sent."""

    exit_code = EXIT_GUARD
    default_code = "guard_refused"
    default_outcome = "not_sent"


class LedgerUnwritable(RebyteError):
    """Raised when a paid start could not be written down beforehand; nothing was sent."""

    exit_code = EXIT_GUARD
    default_code = "ledger_unwritable"
    default_outcome = "not_sent"


class OutcomeUnknown(RebyteError):
    """Raised when a paid start left and its outcome cannot be told; a repeat could pay twice."""

    exit_code = EXIT_UNKNOWN
    default_code = "outcome_unknown"
    default_outcome = "unknown"
    # True when the caller interrupted the wait for the answer.
    interrupted = False
    default_hint = (
        "The service may have started (and billed) it."
        " List the newest tasks before starting it again."
    )


class NotRecorded(RebyteError):
    """Raised when a paid start was made and not written down; the ids are in `details`."""

    default_code = "not_recorded"


class NetworkError(RebyteError):
    """Raised for names, connections, proxies, TLS, cuts and silence.

    `outcome` is "not_sent" if nothing left.
    """

    exit_code = EXIT_NETWORK
    default_code = "connect_failed"
    default_retryable = True


class RateLimited(RebyteError):
    """Raised for a 429 that could not be waited out; `retry_after` says for how long, if told."""

    exit_code = EXIT_RATE_LIMITED
    default_code = "rate_limited"
    default_hint = "Wait, then run the same line again."
    default_retryable = True


class ServerError(RebyteError):
    """Raised for a 5xx or 408 that did not go away."""

    exit_code = EXIT_SERVER
    default_code = "server_error"
    default_hint = "Nothing is wrong with the request; run the same line again later."
    default_retryable = True


class AnswerUnreadable(RebyteError):
    """Raised for a web page, or an empty, too big, too deep or encoded answer, or a wrong shape."""

    exit_code = EXIT_SERVER
    default_code = "bad_answer"
    default_hint = (
        "Check that the base address is the API's,"
        " and that no proxy or portal answers in its place."
    )


class StorageRefused(RebyteError):
    """Raised when the storage behind a signed address refuses; `code` is the storage's word."""

    exit_code = EXIT_SERVER
    default_code = "storage_refused"
    default_hint = (
        "Signed addresses expire; run the same line again to get a fresh one."
    )


class DeadlineReached(RebyteError):
    """Raised when the caller's time is over; what runs in the service goes on."""

    exit_code = EXIT_RUNNING
    default_code = "deadline"
    default_hint = "Run the same line again, or give it more time."
    default_retryable = True
