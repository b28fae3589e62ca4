"""What a prompt is told of the code: where it lies, and how its changes come home. Plain lines;
nothing of ours has to run on the far side.
"""

from __future__ import annotations

FOLDER = "/code/"
HOME_ENDING = "-home.zip"


def location_line(archive: str, name: str) -> str:
    """Return the line that says where the code lies."""
    return (
        "The code to work on lies packed in %s%s: unpack it in /code, in place of any older "
        "folder %s%s, which that makes, and work in it."
        % (FOLDER, archive, FOLDER, name)
    )


def publish_line(name: str) -> str:
    """Return the line that asks for the changes."""
    return "When you are done, %s Nothing else of the code comes home." % _wish(name)


def go_on_line(name: str) -> str:
    """Return the line that asks for the changes of one more turn."""
    return "The code lies in %s%s as you left it. If you change it, %s" % (
        FOLDER,
        name,
        _wish(name),
    )


def again_prompt(name: str) -> str:
    """Return the prompt that asks for the archive which did not come."""
    wish = _wish(name)
    return wish[0].upper() + wish[1:]


def _wish(name: str) -> str:
    return (
        "pack the whole folder %s%s with your changes into a zip named %s%s, links as links, "
        "without .git and without dependencies and build output that you added, and publish that "
        "zip as an artifact of this workspace." % (FOLDER, name, name, HOME_ENDING)
    )
