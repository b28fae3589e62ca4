"""A far side in a few lines: unpacks what was sent, and publishes what it made of it."""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile

from rebyte_flows.code.applying.application import plan
from rebyte_flows.code.applying.journal import Journal
from rebyte_flows.code.git import Repository
from rebyte_flows.code.home.homecoming import Homecoming
from rebyte_flows.code.records import read_record
from rebyte_flows.code.sending.attachment import CodeTree
from rebyte_flows.state import StateFolder

TASK = "11111111-2222-4333-8444-555555555555"
DIGEST = "d" * 64
HOME = "demo-home.zip"


class Trip:
    """One tree that goes out, is worked on as `files`, and comes home."""

    def __init__(self, folder, tmp_path, **flags):
        self.repository = Repository(str(folder))
        self.tmp_path = tmp_path
        self.state = StateFolder(str(tmp_path / "state"))
        self.tree = CodeTree(self.repository, **flags)
        self.tree.note_start(self.state, DIGEST)
        self.record = read_record(self.state, DIGEST)
        self.files = {}
        self.modes = {}
        self.links = {}
        self.turn = 0
        self.name = self.tree.code_name
        with self.tree.open() as file, tarfile.open(fileobj=file) as tar:
            for member in tar:
                top, _, path = member.name.partition("/")
                assert top == self.name
                if member.issym():
                    self.links[path] = member.linkname
                else:
                    self.files[path] = tar.extractfile(member).read()
                    self.modes[path] = member.mode

    def zip(self, root=None, modes=True):
        """Return the zip that the far side publishes."""
        root = self.name + "/" if root is None else root
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for path, data in self.files.items():
                info = zipfile.ZipInfo(root + path, (2001, 1, 1, 0, 0, 0))
                info.create_system = 3
                info.compress_type = zipfile.ZIP_DEFLATED
                mode = self.modes.get(path, 0o644) if modes else 0
                info.external_attr = (mode and (stat.S_IFREG | mode)) << 16
                archive.writestr(info, data)
            for path, target in self.links.items():
                info = zipfile.ZipInfo(root + path)
                info.create_system = 3
                info.external_attr = (stat.S_IFLNK | 0o777) << 16
                archive.writestr(info, target)
        return buffer.getvalue()

    def home(self, data=None, **how):
        """Bring the zip home and return what the document says."""
        data = self.zip(**how) if data is None else data
        path = self.tmp_path / "home.zip"
        path.write_bytes(data)
        self.turn += 1
        listing = [{"name": self.name + "-home.zip", "size": len(data)}]
        files = [{"name": self.name + "-home.zip", "path": str(path)}]
        home = Homecoming(self.state, self.record, TASK)
        found = home.bring(None, "space", listing, files, "turn %d" % self.turn)
        self.record = home.record
        return found

    def apply(self, **how):
        """Apply as the command does; return the plan."""
        found = self.plan(**how)
        if found.steps and (not found.conflicts or how.get("beside")):
            self.carry_out(found)
        return found

    def plan(self, **how):
        """Decide as the command does."""
        return plan(self.repository, self.record, Journal(self.repository, TASK), **how)

    def carry_out(self, found):
        """Write what was decided."""
        Journal(self.repository, TASK).run(found.steps, found.applied)

    def undo(self):
        """Take the last apply back; return the paths that stand in the way."""
        journal = Journal(self.repository, TASK)
        operation = journal.last_done()
        differing = journal.differing(operation)
        if not differing:
            journal.begin_undo(operation)
            journal.finish()
        return differing

    def entries(self, name=None):
        """Return path -> (mode, id) of the result, or of another commit."""
        return self.repository.tree_of(name or self.record.result or self.record.base)

    def content(self, path, name=None):
        """Return what a path holds in the result, or in another commit."""
        return self.repository.blob(self.entries(name)[path][1])
