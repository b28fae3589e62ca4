"""What can go wrong, as one family; each member knows its code, its hint and the exit code it ends a command with.

RebyteError
├── before anything is sent:  InputError, AuthError, GuardRefused, LedgerUnwritable
├── on the way:               NetworkError, DeadlineReached
├── about a paid start:       OutcomeUnknown, NotRecorded
└── from the service:         AuthError, RequestRefused, NotFound (RouteMissing), RateLimited, ServerError,
                              AnswerUnreadable, StorageRefused
This module imports nothing of the package.
"""

from __future__ import annotations

EXIT_DONE, EXIT_UNEXPECTED, EXIT_USAGE, EXIT_TASK_FAILED, EXIT_KEY, EXIT_NOT_FOUND = (
    0,
    1,
    2,
    3,
    4,
    5,
)
EXIT_CANCELED, EXIT_GUARD, EXIT_UNKNOWN, EXIT_SOME_FAILED, EXIT_NETWORK, EXIT_RATE_LIMITED = (
    6,
    7,
    8,
    9,
    10,
    11,
)
EXIT_SERVER, EXIT_QUESTION, EXIT_RUNNING, EXIT_INTERRUPTED, EXIT_TERMINATED = 12, 13, 75, 130, 143

# The one table of exit codes; --help and the documents are checked against it.
EXIT_CODES = (
    (EXIT_DONE, "done", "done, and what was awaited completed"),
    (
        EXIT_UNEXPECTED,
        "unexpected",
        "unexpected; also: started but could not be recorded (the ids are printed)",
    ),
    (EXIT_USAGE, "usage", "usage, bad input, or a 4xx that says the request is wrong"),
    (EXIT_TASK_FAILED, "task_failed", "the task ran and failed"),
    (EXIT_KEY, "key", "the key is missing or refused"),
    (EXIT_NOT_FOUND, "not_found", "not found"),
    (EXIT_CANCELED, "canceled", "the task was canceled"),
    (EXIT_GUARD, "guard", "a guard refused, or the ledger cannot be written before the send"),
    (EXIT_UNKNOWN, "unknown", "the outcome of a paid start is unknown"),
    (EXIT_SOME_FAILED, "some_failed", "some of many failed, or some names were refused"),
    (EXIT_NETWORK, "network", "network, proxy or TLS"),
    (EXIT_RATE_LIMITED, "rate_limited", "rate limited"),
    (EXIT_SERVER, "server", "server error, or an answer that cannot be read"),
    (EXIT_QUESTION, "question", "the task asks a question"),
    (EXIT_RUNNING, "running", "still running when the time was over"),
    (EXIT_INTERRUPTED, "interrupted", "interrupted (SIGINT)"),
    (EXIT_TERMINATED, "terminated", "interrupted (SIGTERM)"),
)


class RebyteError(Exception):
    """Base of the family: a message for people, and the data that decisions are made from.

    `outcome` speaks of paid starts only: "not_sent", "refused" (surely not made) or "unknown".
    """

    exit_code, default_code, default_hint = EXIT_UNEXPECTED, "unexpected", None
    default_retryable, default_outcome = False, None
    # Set by who knows more: what to do next, and what else is told beside the error.
    next = ()
    warnings = ()

    def __init__(
        self,
        message,
        *,
        code=None,
        hint=None,
        http_status=None,
        retryable=None,
        retry_after=None,
        outcome=None,
        details=None,
    ):
        """Keep what is given; what is not given comes from the class."""
        super().__init__(message)
        self.message, self.code, self.hint = (
            message,
            code or self.default_code,
            hint or self.default_hint,
        )
        self.http_status, self.retry_after, self.details = http_status, retry_after, details
        self.retryable = self.default_retryable if retryable is None else retryable
        self.outcome = outcome or self.default_outcome

    def __str__(self):
        """Return message and hint: what a traceback shows to who calls from Python."""
        return "{} {}".format(self.message, self.hint) if self.hint else self.message

    def as_dict(self) -> dict:
        """Return the error as the JSON object that commands print, without empty fields."""
        fields = {
            "code": self.code,
            "message": self.message,
            "hint": self.hint,
            "retryable": self.retryable,
            "httpStatus": self.http_status,
            "retryAfter": self.retry_after,
        }
        return {name: value for name, value in fields.items() if value not in (None, "")}


class InputError(RebyteError):
    """Raised for input that cannot be right, before anything is sent."""

    exit_code, default_code, default_outcome = EXIT_USAGE, "invalid_input", "not_sent"


class AuthError(RebyteError):
    """Raised when the key is missing, malformed, refused (401) or lacks a scope (403)."""

    exit_code, default_code = EXIT_KEY, "invalid_api_key"
    default_hint = "Get a key at https://app.rebyte.ai/settings/api-keys and set REBYTE_API_KEY."


class RequestRefused(RebyteError):
    """Raised for a 4xx that says the request itself is wrong; the code is the service's own."""

    exit_code, default_code = EXIT_USAGE, "request_refused"


class NotFound(RebyteError):
    """Raised when the service does not know the thing, or this key may not see it."""

    exit_code, default_code = EXIT_NOT_FOUND, "not_found"
    default_hint = "Check the id, and that the key belongs to the organization that owns it."


class RouteMissing(NotFound):
    """Raised when the service has no such route, as opposed to no such task."""

    default_code = "no_such_route"
    default_hint = (
        "Check the base address; this deployment may not offer this part of the API (or no longer)."
    )


class GuardRefused(RebyteError):
    """Raised when a spending guard fired; nothing was sent."""

    exit_code, default_code, default_outcome = EXIT_GUARD, "guard_refused", "not_sent"


class LedgerUnwritable(RebyteError):
    """Raised when a paid start could not be written down beforehand; nothing was sent."""

    exit_code, default_code, default_outcome = EXIT_GUARD, "ledger_unwritable", "not_sent"


class OutcomeUnknown(RebyteError):
    """Raised when a paid start left and its outcome cannot be told; repeating it could pay twice."""

    exit_code, default_code, default_outcome = EXIT_UNKNOWN, "outcome_unknown", "unknown"
    default_hint = "The service may have started (and billed) it. List the newest tasks before starting it again."
    # True when the caller interrupted the wait for the answer.
    interrupted = False


class NotRecorded(RebyteError):
    """Raised when a paid start was made and could not be written down; the ids are in `details`."""

    default_code = "not_recorded"


class NetworkError(RebyteError):
    """Raised for names, connections, proxies, TLS, cuts and silence; `outcome` is "not_sent" if nothing left."""

    exit_code, default_code, default_retryable = EXIT_NETWORK, "connect_failed", True


class RateLimited(RebyteError):
    """Raised for a 429 that could not be waited out; `retry_after` holds the seconds asked for, if any."""

    exit_code, default_code, default_retryable = EXIT_RATE_LIMITED, "rate_limited", True
    default_hint = "Wait, then run the same line again."


class ServerError(RebyteError):
    """Raised for a 5xx or 408 that did not go away."""

    exit_code, default_code, default_retryable = EXIT_SERVER, "server_error", True
    default_hint = "Nothing is wrong with the request; run the same line again later."


class AnswerUnreadable(RebyteError):
    """Raised for an answer that is a web page, empty, of the wrong shape, too big, too deep, or encoded unasked."""

    exit_code, default_code = EXIT_SERVER, "bad_answer"
    default_hint = "Check that the base address is the API's, and that no proxy or portal answers in its place."


class StorageRefused(RebyteError):
    """Raised when the storage behind a signed address refuses; `code` is the storage's own word."""

    exit_code, default_code = EXIT_SERVER, "storage_refused"
    default_hint = "Signed addresses expire; run the same line again to get a fresh one."


class DeadlineReached(RebyteError):
    """Raised when the caller's time is over; what runs in the service goes on."""

    exit_code, default_code, default_retryable = EXIT_RUNNING, "deadline", True
    default_hint = "Run the same line again, or give it more time."
