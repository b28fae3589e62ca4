"""Stands in for an agent when the documents' commands are tested: no model, it does the one thing prompts ask by name.

Reads the prompt on stdin, publishes an artifact for each name that the prompt's publish line asks for (a zip holds one
small text file), and says so on stdout.
"""
from __future__ import annotations

import os
import re
import sys
import zipfile

PUBLISH_LINE = re.compile(r"^When you are done, publish these as artifacts of this workspace: (.*?)\.(?:\s|$)", re.M)


def publish(name: str, folder: str) -> None:
    """Leave one file in the artifacts folder."""
    place = os.path.join(folder, name)
    if name.endswith(".zip"):
        with zipfile.ZipFile(place, "w") as archive:
            archive.writestr(os.path.splitext(name)[0] + ".txt", "sample\n")
    else:
        with open(place, "w", encoding="utf-8") as file:
            file.write("sample,1\n")


def main() -> None:
    """Do what the prompt asks by name, and answer."""
    prompt = sys.stdin.read()
    names = [name for line in PUBLISH_LINE.findall(prompt) for name in line.split(", ")]
    for name in names:
        publish(name, os.environ["ARTIFACTS_DIR"])
    print("Sample answer: %d files published." % len(names))


if __name__ == "__main__":
    main()
