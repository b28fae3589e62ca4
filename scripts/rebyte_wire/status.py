"""The one place that reads the service's words for how a task or prompt stands."""
from __future__ import annotations

OUTCOMES = {
    "completed": "completed", "succeeded": "completed", "success": "completed", "done": "completed",
    "failed": "failed", "error": "failed",
    "canceled": "canceled", "cancelled": "canceled",
}


def outcome_of(word) -> str | None:
    """Return completed, failed or canceled; None for any other word, which means still running."""
    return OUTCOMES.get(word.strip().lower()) if isinstance(word, str) else None


def task_status(task: dict) -> str:
    """Return completed, failed, canceled or running for a task as the service describes it."""
    return outcome_of(task.get("status")) or "running"
