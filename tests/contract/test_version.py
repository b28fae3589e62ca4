"""One version, told in four places."""
from __future__ import annotations

import os
import re
import subprocess
import sys

from project_tree import SCRIPTS, read


def version_of_the_skill():
    """Return the version in SKILL.md's metadata."""
    return re.search(r'^ +version: "([^"]+)"$', read("SKILL.md"), re.M).group(1)


def test_the_changelog_begins_with_the_version_of_the_skill():
    assert re.search(r"^## \[([^\]]+)\] - \d{4}-\d\d-\d\d$", read("CHANGELOG.md"), re.M).group(1) == version_of_the_skill()


def test_the_command_line_tells_the_version_of_the_skill():
    done = subprocess.run([sys.executable, os.path.join(SCRIPTS, "rebyte_cli.py"), "--version"],
                          stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, timeout=60)
    assert done.returncode == 0
    assert re.findall(r"\d+\.\d+\.\d+", done.stdout.decode()) == [version_of_the_skill()]
