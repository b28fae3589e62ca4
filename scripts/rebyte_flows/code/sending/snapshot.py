"""A working tree as it lies: which of its files are sent, and what is known of each."""

from __future__ import annotations

import os

from rebyte_flows.code.git import (
    SUBMODULE_MODE,
    Repository,
    blob_digest,
    blob_id,
)
from rebyte_flows.code.line_ends import BINARY, CRLF
from rebyte_flows.code.paths import matches, unmatched
from rebyte_flows.code.sending.listing import list_tree
from rebyte_flows.code.sending.secrets import SecretScanner, secret_name
from rebyte_flows.code.sending.tree_archive import PIECE_BYTES, changed
from rebyte_wire.errors import GuardRefused, InputError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from rebyte_flows.code.git import Entries
    from rebyte_flows.code.sending.listing import Item

SHA1_DIGITS = 40
SHA256_DIGITS = 64
SECRETS_SHOWN = 20
BY_REQUEST = "--leave"
ENCRYPTED = "git keeps it encrypted"


class TreeFile:
    """A file or link that is sent: where it lies, its mode, the id of its bytes, its size."""

    def __init__(self, item: Item, sha: str, size: int) -> None:
        self.item = item
        self.path = item.path
        self.mode = item.mode
        self.link = item.link
        self.sha = sha
        self.bytes = size
        # Lines end with CRLF somewhere, and git may store them otherwise.
        self.has_crlf = False

    def __repr__(self) -> str:
        return "TreeFile(%r, %d bytes)" % (self.path, self.bytes)


class Tree:
    """What of a working tree is sent, and what is left out: path -> why."""

    def __init__(self, repository: Repository) -> None:
        self.repository = repository
        self.files: list[TreeFile] = []
        self.left_out: dict[str, str] = {}
        # Paths that belong to the tree and are not sent: path -> (mode, id).
        self.kept: Entries = {}
        self.submodules: list[str] = []

    def __repr__(self) -> str:
        return "Tree(%d files of %s)" % (len(self.files), self.repository.root)

    @property
    def bytes(self) -> int:
        """How many bytes are sent, before they are packed."""
        return sum(file.bytes for file in self.files)

    def largest(self, most: int) -> list[TreeFile]:
        """Return the largest files."""
        return sorted(self.files, key=lambda file: -file.bytes)[:most]


def look_at(
    repository: Repository,
    *,
    send_secret: Sequence[str] = (),
    leave: Sequence[str] = (),
    own_keys: Sequence[bytes] = (),
) -> Tree:
    """Read a working tree and decide what of it is sent; nothing is written.

    Raises GuardRefused for tracked files that look like secrets and that nobody decided about, and
    InputError for a decision that names nothing.
    """
    tree = Tree(repository)
    items = list_tree(repository)
    _check_words(items, [*send_secret, *leave])
    reader = _Reader(repository, own_keys)
    secrets: list[tuple[str, str]] = []
    for item in items:
        is_allowed = matches(item.path, send_secret)
        if not is_allowed and matches(item.path, leave):
            item.why_not = BY_REQUEST
        if not _is_to_be_read(tree, item):
            continue
        secret = reader.read(item)
        if is_allowed or secret is None:
            tree.files.append(reader.file)
        elif item.tracked is not None:
            secrets.append((item.path, secret))
        else:
            _leave_out(tree, item, secret)
    if secrets:
        raise _secrets_found(secrets)
    return tree


class _Reader:
    """Reads the files of a tree one after the other; `file` is the last one."""

    def __init__(self, repository: Repository, own_keys: Sequence[bytes]) -> None:
        self.file: Any = None
        self._repository = repository
        self._digits = _digits(repository)
        self._own_keys = own_keys

    def read(self, item: Item) -> str | None:
        """Read a file and return why it looks like a secret, None if it does not."""
        scanner = SecretScanner(self._own_keys)
        self.file = read(item, self._repository, self._digits, scanner)
        if item.is_encrypted:
            return ENCRYPTED
        return secret_name(item.path) or scanner.found


def _is_to_be_read(tree: Tree, item: Item) -> bool:
    """Say whether a path may be sent; what may not is noted in the tree."""
    if item.why_not or not item.is_here:
        _leave_out(tree, item, item.why_not)
        return False
    if item.mode == SUBMODULE_MODE:
        tree.submodules.append(item.path)
        _keep(tree, item)
        return False
    return True


def _check_words(items: Iterable[Item], words: Sequence[str]) -> None:
    unknown = unmatched(words, [item.path for item in items])
    if unknown:
        raise InputError(
            "%s names nothing that would be sent" % unknown[0],
            hint="--send-secret and --leave take paths as seen from the root of the repository",
        )


def _leave_out(tree: Tree, item: Item, why: str | None) -> None:
    """Note what is not sent; what is tracked keeps its place in the tree."""
    if why is not None:
        tree.left_out[item.path] = why
    _keep(tree, item)


def _keep(tree: Tree, item: Item) -> None:
    if item.tracked is not None and item.submodule is None:
        tree.kept[item.path] = item.tracked


def _secrets_found(secrets: list[tuple[str, str]]) -> GuardRefused:
    shown = ", ".join("%s (%s)" % pair for pair in secrets[:3])
    return GuardRefused(
        "these tracked files (%d) look like secrets: %s" % (len(secrets), shown),
        code="secrets_found",
        hint="nothing was sent; --leave PATH keeps one at home, --send-secret PATH sends it "
        "knowingly",
        details={
            "secrets": [
                {"path": path, "why": why} for path, why in secrets[:SECRETS_SHOWN]
            ]
        },
    )


def _digits(repository: Repository) -> int:
    """Return how many digits the ids of this repository have."""
    name = repository.line(
        "config", "--get", "extensions.objectFormat", codes=(0, 1)
    ).lower()
    return SHA256_DIGITS if name == "sha256" else SHA1_DIGITS


def read(
    item: Item, repository: Repository, digits: int, scanner: SecretScanner
) -> TreeFile:
    """Read a file piece by piece: its id, its secrets, its line ends."""
    if item.link is not None:
        target = os.fsencode(item.link)
        return TreeFile(item, blob_id(target, digits), len(target))
    has_crlf = False
    has_nul = False
    last = b""
    try:
        with open(os.path.join(repository.root, item.path), "rb") as file:
            size = os.fstat(file.fileno()).st_size
            digest = blob_digest(size, digits)
            seen = 0
            for piece in iter(lambda: file.read(PIECE_BYTES), b""):
                seen += len(piece)
                digest.update(piece)
                scanner.feed(piece)
                has_nul = has_nul or BINARY in piece
                has_crlf = has_crlf or CRLF in last + piece
                last = piece[-1:]
    except OSError as problem:
        raise InputError(
            "cannot read %r: %s" % (item.path, problem.strerror),
            hint="--leave PATH keeps it at home",
        ) from problem
    if seen != size:
        raise changed(item.path)
    found = TreeFile(item, digest.hexdigest(), size)
    found.has_crlf = has_crlf and not has_nul
    return found
