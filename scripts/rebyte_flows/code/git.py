"""Every call of git, as plumbing that runs nothing of the repository's own: no hook, no filter, no
pager, no monitor, no network.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
from contextlib import suppress

from rebyte_wire.errors import InputError, RebyteError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Any, Dict, Tuple

    # What a path of a tree is: its mode and the id of its content.
    Entry = Tuple[str, str]
    Entries = Dict[str, Entry]

GIT_SECONDS = 60
WORDS_CHARACTERS = 300
BLOBS_AT_ONCE = 100
WITHOUT_GIT = (
    "without git --file DIR --zip sends a folder, and --want NAME.zip brings one home"
)
BRING_IT_BACK = "bring it back there, or type the line where its working tree lies now"
MEND_GIT = "mend what git names (room on the disk, rights of .git), then type the same line again"
MAKE_A_REPOSITORY = "`git init` makes one; " + WITHOUT_GIT
# What git says where there is a repository all the same, and what helps then.
NO_WORKING_TREE_HINTS = (
    (
        "dubious ownership",
        "the folder belongs to another user; if you trust what lies there: git config --global "
        "--add safe.directory DIR, with the folder that git names",
    ),
    (
        "must be run in a work tree",
        "this is git's own side of a repository; go to its working tree, or make one with: git "
        "worktree add",
    ),
)
SETTINGS = (
    "core.hooksPath=" + os.devnull,
    "core.fsmonitor=false",
    # Names of branches get no log: nothing is written beside refs and objects.
    "core.logAllRefUpdates=false",
    # The shared part of a split index would lie in the git folder.
    "core.splitIndex=false",
    "core.quotePath=false",
    "core.pager=cat",
    "color.ui=false",
    "gc.auto=0",
    "maintenance.auto=false",
    # What is tracked stays, also where another system takes its name for git's own.
    "core.protectNTFS=false",
    "core.protectHFS=false",
    # Objects that a partial clone lacks are not fetched behind anybody's back.
    "protocol.allow=never",
)
ENVIRONMENT = {
    "LC_ALL": "C",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_PAGER": "cat",
    "GIT_EDITOR": "false",
    "GIT_AUTHOR_NAME": "rebyte",
    "GIT_AUTHOR_EMAIL": "rebyte@localhost",
    "GIT_COMMITTER_NAME": "rebyte",
    "GIT_COMMITTER_EMAIL": "rebyte@localhost",
}
FILE_MODE = "100644"
PROGRAM_MODE = "100755"
LINK_MODE = "120000"
SUBMODULE_MODE = "160000"
FILE_MODES = (FILE_MODE, PROGRAM_MODE)
PASSED_OVER = b"Ignoring path "
LFS_HEAD = b"version https://git-lfs.github.com/spec/"
LFS_POINTER_BYTES = 1024
# Attributes by which git stores other bytes than lie in the working tree.
CONVERSIONS = ("filter", "ident", "working-tree-encoding")
NO_CONVERSION = ("unspecified", "unset")


class Repository:
    """A git repository with a working tree, known by its root."""

    def __init__(self, root: str) -> None:
        self.root = root

    def __repr__(self) -> str:
        return "Repository(%r)" % self.root

    def run(
        self,
        *words: str,
        data: bytes = b"",
        index: str | None = None,
        date: str | None = None,
        codes: Sequence[int] = (0,),
    ) -> bytes:
        """Run git and return what it writes.

        `index` is another index file than the user's, `date` that of a commit. Raises RebyteError
        (code git_failed) for an exit code that is not among `codes`.
        """
        return self.ask(*words, data=data, index=index, date=date, codes=codes)[1]

    def ask(
        self,
        *words: str,
        data: bytes = b"",
        index: str | None = None,
        date: str | None = None,
        codes: Sequence[int] = (0,),
    ) -> tuple[int, bytes]:
        """Run git and return its exit code and what it writes; see run()."""
        environ = environment()
        if index is not None:
            environ["GIT_INDEX_FILE"] = index
        if date is not None:
            environ["GIT_AUTHOR_DATE"] = date
            environ["GIT_COMMITTER_DATE"] = date
        code, out, err = run_git(self.root, words, data, environ)
        # What an index cannot hold git passes over with a word, and no tree may lose a path.
        if code not in codes or err.startswith(PASSED_OVER):
            raise failed(words, code, err)
        return code, out

    def line(self, *words: str, codes: Sequence[int] = (0,)) -> str:
        """Run git and return the one line that it writes, "" when it says nothing."""
        return os.fsdecode(self.run(*words, codes=codes)).rstrip("\n")

    def is_on(self, setting: str) -> bool:
        """Say whether a setting that is on by itself was not turned off."""
        value = self.line("config", "--get", setting, codes=(0, 1)).lower()
        return value not in ("false", "no", "off", "0")

    def has_modes(self) -> bool:
        """Say whether the disk tells which files can be run."""
        return os.name != "nt" and self.is_on("core.fileMode")

    def commit_of(self, name: str) -> str | None:
        """Return the commit that a name stands for, None where there is none."""
        found = self.line(
            "rev-parse", "--verify", "--quiet", name + "^{commit}", codes=(0, 1, 128)
        )
        return found or None

    def git_path(self, name: str) -> str:
        """Return the path of a file of this working tree's own below its git folder."""
        path = self.line("rev-parse", "--git-path", name)
        return os.path.join(self.root, path)

    def write_blobs(self, contents: Iterable[bytes | str]) -> list[str]:
        """Write blobs and return their ids; each is the content, or the path of a file that has it.

        No filter and no conversion is run.
        """
        with tempfile.TemporaryDirectory(prefix="rebyte-") as folder:
            paths: list[bytes] = []
            for number, content in enumerate(contents):
                path = content
                if isinstance(content, bytes):
                    path = os.path.join(folder, str(number))
                    with open(path, "wb") as file:
                        file.write(content)
                paths.append(_quoted(os.fsencode(path)) + b"\n")
            if not paths:
                return []
            words = ("hash-object", "-w", "--no-filters", "--stdin-paths")
            return self.run(*words, data=b"".join(paths)).decode("ascii").split()

    def write_tree(self, entries: Iterable[tuple[str, str, str]]) -> str:
        """Write the tree of (path, mode, id) and return its id, through an index of its own."""
        with tempfile.TemporaryDirectory(prefix="rebyte-") as folder:
            index = os.path.join(folder, "index")
            lines = [
                b"%s %s 0\t%s\0" % (mode.encode(), id.encode(), os.fsencode(path))
                for path, mode, id in entries
            ]
            self.run(
                "update-index", "-z", "--index-info", data=b"".join(lines), index=index
            )
            # Blobs that a sparse or partial clone has never fetched are named all the same.
            words = ("write-tree", "--missing-ok")
            return self.run(*words, index=index).decode("ascii").strip()

    def commit_tree(
        self,
        tree: str,
        parents: Sequence[str],
        message: str,
        dated_as: str | None = None,
    ) -> str:
        """Write a commit and return its id; nothing refers to it yet.

        With the date of the commit `dated_as` the same tree is the same commit.
        """
        words = ["commit-tree", tree, "--no-gpg-sign"]
        for parent in parents:
            words += ["-p", parent]
        data = message.encode("utf-8", "replace")
        date = self._date_of(dated_as) if dated_as else None
        return self.run(*words, data=data, date=date).decode("ascii").strip()

    def _date_of(self, commit: str) -> str:
        """Return when a commit was made, as git takes a date: seconds and zone."""
        head = self.run("cat-file", "commit", commit).split(b"\n\n")[0]
        line = next(one for one in head.split(b"\n") if one.startswith(b"committer "))
        return line.rpartition(b"> ")[2].decode("ascii", "replace")

    def tree_of(self, name: str) -> Entries:
        """Return path -> (mode, id) for everything in the tree of a commit."""
        out = self.run("ls-tree", "-r", "-z", "--full-tree", name)
        found: Entries = {}
        for line in fields_of(out):
            about, _, path = line.partition("\t")
            mode, _, id = about.split(" ")
            found[path] = (mode, id)
        return found

    def attributes(
        self, paths: Iterable[str], names: Sequence[str], tree: str | None = None
    ) -> dict[str, dict[str, str]]:
        """Return path -> name -> value of some attributes, as the working tree has them, or as it
        would with the .gitattributes of a tree.
        """
        data = b"".join(os.fsencode(path) + b"\0" for path in paths)
        words = ["check-attr", "-z", "--stdin"]
        with tempfile.TemporaryDirectory(prefix="rebyte-") as folder:
            index = None
            if tree is not None:
                index = os.path.join(folder, "index")
                self.run("read-tree", tree, index=index)
                words.append("--cached")
            out = self.run(*words, *names, data=data, index=index)
        fields = list(fields_of(out))
        found: dict[str, dict[str, str]] = {}
        for path, name, value in zip(fields[::3], fields[1::3], fields[2::3]):
            found.setdefault(path, {})[name] = value
        return found

    def blob(self, id: str) -> bytes:
        """Return the content of a blob."""
        return self.run("cat-file", "blob", id)

    def blobs(self, ids: Sequence[str]) -> Iterator[bytes | None]:
        """Yield the content of each blob, None for one that is not here."""
        for start in range(0, len(ids), BLOBS_AT_ONCE):
            some = ids[start : start + BLOBS_AT_ONCE]
            data = "".join(id + "\n" for id in some).encode("ascii")
            out = self.run("cat-file", "--batch", data=data)
            place = 0
            for _ in some:
                end = out.index(b"\n", place)
                about = out[place:end].split(b" ")
                place = end + 1
                if len(about) < 3:
                    yield None
                    continue
                size = int(about[2])
                yield out[place : place + size]
                place += size + 1

    def sizes(self, ids: Sequence[str]) -> list[int]:
        """Return the size of each blob, 0 for one that is not here."""
        data = "".join(id + "\n" for id in ids).encode("ascii")
        out = self.run("cat-file", "--batch-check=%(objectsize)", data=data)
        lines = out.decode("ascii", "replace").splitlines()
        return [int(line) if line.isdigit() else 0 for line in lines]

    def update_ref(self, name: str, new: str, old: str | None = None) -> None:
        """Let a reference point to a commit; `old` is what it has to be now, "" for none."""
        words = ["update-ref", "--no-deref", name, new]
        if old is not None:
            words.append(old or "0" * len(new))
        self.run(*words)


def environment() -> dict[str, str]:
    """Return the environment that git gets: nothing of GIT_* but ours."""
    kept = {
        name: value for name, value in os.environ.items() if name[:4].upper() != "GIT_"
    }
    kept.update(ENVIRONMENT)
    return kept


def run_git(
    folder: str, words: Sequence[str], data: bytes, environ: dict[str, str]
) -> tuple[int, bytes, bytes]:
    """Run git in a folder and return (exit code, stdout, stderr); it may take GIT_SECONDS."""
    argv = ["git"]
    for setting in SETTINGS:
        argv += ["-c", setting]
    try:
        done = subprocess.run(
            [*argv, *words],
            cwd=folder,
            env=environ,
            input=data,
            capture_output=True,
            timeout=GIT_SECONDS,
            check=False,
        )
    except FileNotFoundError:
        raise InputError(
            "git is not installed here, and code goes there and back through it",
            code="no_git",
            hint=WITHOUT_GIT,
        ) from None
    except subprocess.TimeoutExpired:
        raise RebyteError(
            "git %s did not end within %d seconds" % (words[0], GIT_SECONDS),
            code="git_failed",
        ) from None
    return done.returncode, done.stdout, done.stderr


def failed(words: Sequence[str], code: int, err: bytes) -> RebyteError:
    """Return the error for a call of git that went wrong, in git's own words."""
    said = " ".join(err.decode("utf-8", "replace").split())[:WORDS_CHARACTERS]
    return RebyteError(
        "git %s ended with %d: %s" % (words[0], code, said or "no words"),
        code="git_failed",
        hint=MEND_GIT,
    )


def fields_of(out: bytes) -> Iterator[str]:
    """Yield the fields of an output that ends each with a NUL."""
    for field in out.split(b"\0"):
        if field:
            yield os.fsdecode(field)


def is_converted_by_git(attributes: dict[str, str]) -> bool:
    """Say whether git stores other bytes than lie in the working tree, line ends apart."""
    found = (attributes.get(name, NO_CONVERSION[0]) for name in CONVERSIONS)
    return any(value not in NO_CONVERSION for value in found)


def open_repository(folder: str | None = None) -> Repository:
    """Return the repository whose root is `folder`, or that of the current folder when None.

    InputError where there is no git, no repository, no working tree, or another root than the
    folder that is meant.
    """
    place = folder or os.curdir
    if not os.path.isdir(place):
        raise InputError("--code %s: there is no such folder" % place)
    root = _root_of(place)
    if folder and os.path.realpath(folder) != os.path.realpath(root):
        raise InputError(
            "%s is not the root of its repository, which is %s" % (folder, root),
            code="not_the_root",
            hint="--code without a folder takes the repository of the current folder whole",
        )
    return Repository(os.path.realpath(root))


def find_repository(root: str, commit: str) -> Repository:
    """Return the repository of the current folder where it has a commit, as other working trees
    and moved ones do, else the one whose root was noted.
    """
    with suppress(InputError):
        here = open_repository(None)
        if here.commit_of(commit):
            return here
    if not os.path.isdir(root):
        raise InputError(
            "the repository that the code came from is gone: %s" % root,
            code="no_repository",
            hint=BRING_IT_BACK,
        )
    there = open_repository(root)
    if not there.commit_of(commit):
        raise InputError(
            "the repository at %s is another one than the code came from: it lacks %s"
            % (root, commit),
            code="no_repository",
            hint=BRING_IT_BACK,
        )
    return there


def _root_of(place: str) -> str:
    words = ("rev-parse", "--show-toplevel")
    code, out, err = run_git(place, words, b"", environment())
    root = os.fsdecode(out).rstrip("\n")
    if code == 0 and root:
        return root
    said = " ".join(err.decode("utf-8", "replace").split())[:WORDS_CHARACTERS]
    raise InputError(
        "%s is in no git repository with a working tree (%s)"
        % (os.path.abspath(place), said),
        code="no_repository",
        hint=_no_working_tree_hint(said),
    )


def _no_working_tree_hint(said: str) -> str:
    for words, hint in NO_WORKING_TREE_HINTS:
        if words in said:
            return hint
    return MAKE_A_REPOSITORY


def _quoted(path: bytes) -> bytes:
    """Return a path on one line as git reads it back."""
    # git drops a carriage return at the end of a line, as in the name of Icon files.
    is_plain = b"\n" not in path and b"\r" not in path
    if is_plain and path[:1] != b'"':
        return path
    return b'"%s"' % b"".join(b"\\%03o" % byte for byte in path)


def blob_digest(size: int, digits: int) -> Any:
    """Return a digest as git makes it for a blob of `size` bytes, its id having so many digits."""
    digest = hashlib.sha256() if digits == 64 else hashlib.sha1()
    digest.update(b"blob %d\0" % size)
    return digest


def blob_id(data: bytes, digits: int) -> str:
    """Return the id that git gives to a content, its ids having so many digits."""
    digest = blob_digest(len(data), digits)
    digest.update(data)
    return str(digest.hexdigest())
