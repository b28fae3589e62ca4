"""A small script that goes along with the code: it unpacks the tree and packs it for the way home.

The prompt says all of it in words; who uses the script makes fewer mistakes: links stay links,
modes are told, and nothing that was sent is left out.
"""

from __future__ import annotations

from rebyte_flows.files.packing import Spooled

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO

ENDING = "-code.sh"
# POSIX sh; Python where it is there, else zip.
TEXT = r"""#!/bin/sh
# sh @NAME@-code.sh unpack    lays the code into @NAME@, beside this script
# sh @NAME@-code.sh home      packs it into @NAME@-home.zip, which is to be published
set -eu
cd "$(dirname "$0")"
archive="$(ls -t @NAME@*.tar.gz | head -n 1)"
python="$(command -v python3 || command -v python || true)"
case "${1-}" in
unpack)
  rm -rf "./@NAME@"
  tar -xzf "./$archive"
  echo "$PWD/@NAME@"
  ;;
home)
  rm -f "./@NAME@-home.zip"
  if [ -n "$python" ]; then
    "$python" - "$archive" <<'END'
import os, stat, sys, tarfile, zipfile

name = "@NAME@"
made = set("node_modules __pycache__ .venv venv .tox .pytest_cache .mypy_cache target".split())
with tarfile.open(sys.argv[1]) as tree:
    sent = set(tree.getnames())
paths = []
for folder, folders, files in os.walk(name):
    links = [each for each in folders if os.path.islink(os.path.join(folder, each))]
    folders[:] = [each for each in folders if each != ".git" and each not in links]
    paths += [os.path.join(folder, each) for each in files + links if each != ".git"]
with zipfile.ZipFile(name + "-home.zip", "w", zipfile.ZIP_DEFLATED) as home:
    for path in sorted(paths):
        inside = path.replace(os.sep, "/")
        if inside not in sent and made.intersection(inside.split("/")):
            continue
        mode = os.lstat(path).st_mode
        info = zipfile.ZipInfo(inside, (2000, 1, 1, 0, 0, 0))
        info.create_system = 3
        info.external_attr = (mode & 0xFFFF) << 16
        info.compress_type = zipfile.ZIP_DEFLATED
        if stat.S_ISLNK(mode):
            home.writestr(info, os.readlink(path))
        elif stat.S_ISREG(mode):
            with open(path, "rb") as source:
                home.writestr(info, source.read())
END
  else
    zip -q -r -y "@NAME@-home.zip" "@NAME@" -x "*/.git/*" "*/node_modules/*" "*/__pycache__/*"
  fi
  if [ -n "${ARTIFACTS_DIR-}" ] && [ -d "${ARTIFACTS_DIR-}" ]; then
    cp "@NAME@-home.zip" "$ARTIFACTS_DIR/"
  fi
  echo "$PWD/@NAME@-home.zip: publish it as an artifact of this workspace"
  ;;
*)
  echo "sh @NAME@-code.sh unpack, or: sh @NAME@-code.sh home" >&2
  exit 2
  ;;
esac
"""


class CodeScript(Spooled):
    """The script for one tree; `name` is that of its folder on the far side, plain ASCII."""

    is_listed = False

    def __init__(self, name: str) -> None:
        self.code_name = name
        super().__init__(name + ENDING, name + ENDING, self._fill)

    def _fill(self, file: BinaryIO) -> None:
        file.write(TEXT.replace("@NAME@", self.code_name).encode("ascii"))

    def prompt_lines(self, name: str) -> list[str]:
        """Return the line that offers the script."""
        return [
            "The script /code/%s does both, if you like: `sh /code/%s unpack` at first, "
            "`sh /code/%s home` at the end; the zip that it makes still has to be published."
            % (name, name, name)
        ]
