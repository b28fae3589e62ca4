"""Files into a workspace's artifact store: small ones in forms of ten, large ones to signed addresses, several at once."""
from __future__ import annotations


from rebyte_flows.lanes import run_lanes
from rebyte_flows.orders import ARTIFACT_TYPES, type_of
from rebyte_flows.uploads import counted
from rebyte_wire.errors import AnswerUnreadable, InputError, StorageRefused

PUTS_AT_ONCE = 4
FORM_FILES, FORM_FILE_BYTES = 10, 10 * 1024 * 1024
ADDRESSES_AT_ONCE = 50
EXPIRED_STATUSES = (400, 403)


def check_items(items):
    """Raise InputError for types that the store refuses and for names that collide; nothing was sent."""
    refused = [item.name for item in items if not type_of(item.name)]
    if refused:
        raise InputError("the artifact store does not take the type of: %s" % ", ".join(refused), code="type_refused",
                         hint="the same line with --zip packs %s; taken as they are: %s" % (
                             "it" if len(refused) == 1 else "them", " ".join(sorted(ARTIFACT_TYPES))))
    names = [item.name for item in items]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError("two files are named %s; in the workspace they would be one" % ", ".join(twice), hint="rename one of them")


def put_all(client, workspace_id, items, moved=None):
    """Put attachments into a workspace; returns (uploaded, failed): [{"name","size"}] and [(name, exception)]."""
    small = [item for item in items if item.bytes <= FORM_FILE_BYTES]
    large = [item for item in items if item.bytes > FORM_FILE_BYTES]
    # One large file is worth a form of ten: the lanes take whichever is next.
    work = [[item] for item in large] + groups(small, FORM_FILES)
    addresses = {}
    for group in groups(large, ADDRESSES_AT_ONCE):
        addresses.update(addresses_for(client, workspace_id, group))

    def put(group):
        if group[0].bytes > FORM_FILE_BYTES:
            return [put_large(client, workspace_id, group[0], addresses.get(group[0].name), moved)]
        parts = [(item.name, type_of(item.name), opener(item, moved), item.bytes) for item in group]
        return client.upload_artifacts(workspace_id, parts).get("uploaded") or [{"name": item.name, "size": item.bytes} for item in group]
    uploaded, failed = [], []
    for group, outcome in zip(work, run_lanes(put, work, PUTS_AT_ONCE)):
        if isinstance(outcome, Exception):
            failed += [(item.name, outcome) for item in group]
        else:
            uploaded += outcome
    return uploaded, failed


def addresses_for(client, workspace_id, items):
    """Ask for the upload addresses of at most 50 files; returns {name: address}."""
    answer = client.request_artifact_uploads(workspace_id, [{"name": item.name, "contentType": type_of(item.name)} for item in items])
    slots = answer.get("files")
    return {slot.get("name"): slot.get("uploadUrl") for slot in slots if isinstance(slot, dict)} if isinstance(slots, list) else {}


def put_large(client, workspace_id, item, address, moved):
    """Put one file to its signed address; an expired one is replaced once."""
    for may_ask_again in (True, False):
        if not isinstance(address, str):
            raise AnswerUnreadable("The service gave no address to upload %s to." % item.name)
        try:
            client.put_bytes(address, opener(item, moved), item.bytes, type_of(item.name))
            return {"name": item.name, "size": item.bytes}
        except StorageRefused as problem:
            if not may_ask_again or problem.http_status not in EXPIRED_STATUSES:
                raise
            address = addresses_for(client, workspace_id, [item]).get(item.name)


def groups(items, most):
    """Cut a list into lists of at most `most`."""
    return [items[place:place + most] for place in range(0, len(items), most)]


def opener(item, moved):
    """Return a function that opens an attachment from its start and counts what is read."""
    return lambda: counted(item.open(), moved)
