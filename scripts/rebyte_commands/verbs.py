"""The verb table: which module answers to a verb. Nothing is imported until its verb is typed."""
from __future__ import annotations

# verb -> (module in this room, one line for --help); the order is that of --help.
VERBS = {
    "run": ("run", "create, follow, answer, files home: one document"),
    "create": ("run", "start and return at once: ids and the live address"),
    "batch": ("batch", "many tasks from lines or rows, resumable: counts, failures, paths"),
    "result": ("follow", "the document of a task as it stands; --wait goes on to its end; --out brings the files"),
    "wait": ("wait", "wait for tasks: --all or --any; the documents of those that ended"),
    "watch": ("watch", "a task's events, one line each"),
    "follow-up": ("conversation", "one more turn in the same conversation and machine; --wait"),
    "reply": ("conversation", "answer the question a task asks: --option N or --say TEXT; --wait"),
    "cancel": ("tasks", "stop tasks"),
    "get": ("tasks", "one task as the service tells it"),
    "list": ("tasks", "tasks, newest first"),
    "share": ("tasks", "who may see a task: private, shared or public"),
    "delete": ("tasks", "delete tasks"),
    "upload": ("files", "upload files for a later task"),
    "artifacts": ("artifacts", "list, get, put or delete the files of a workspace"),
    "computers": ("computers", "machines that last: create, list, get, update, delete, wait"),
    "webhooks": ("webhooks", "be told of a task's end at an https address: create, list, get, delete, public-key"),
    "credits": ("credits", "what the organization has left to spend"),
    "ledger": ("ledger", "what was started from here: list, show, settle, forget"),
    "doctor": ("doctor", "what stands between this machine and a task, and the remedy"),
    "api": ("api", "any METHOD and PATH of the service"),
    "local": ("local", "the server on this machine: start, stop, status, serve"),
}


def module_of(verb):
    """Import and return the module that answers to a verb."""
    # First lazy seam: one verb, one module.
    from importlib import import_module
    return import_module("rebyte_commands." + VERBS[verb][0])


def nearest(word, words):
    """Return the known word that a misspelt one is closest to, or None."""
    # Only a misspelling pays for difflib.
    import difflib
    found = difflib.get_close_matches(word, list(words), 1, 0.6)
    return found[0] if found else None
