"""It installs and stays as it was installed, one version is told everywhere, and the bytecode lies
in a safe place.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile

import pytest

from measure import ROOT, SCRIPTS, read, run_quietly

NAME = "skill-as-a-service"
DOOR = os.path.join(SCRIPTS, "rebyte_cli.py")


def make(target, home, **variables):
    """Run a target of the Makefile as someone at home in `home`; return (exit code, what was
    said).
    """
    if not shutil.which("make"):
        pytest.skip("make is not here")
    environ = dict(
        {
            name: value
            for name, value in os.environ.items()
            if name not in ("PREFIX", "DRY_RUN", "FORCE", "MAKEFLAGS")
        },
        HOME=str(home),
    )
    done = run_quietly(
        ["make", "-s", "-C", ROOT, target, "PYTHON=" + sys.executable]
        + ["%s=%s" % pair for pair in variables.items()],
        env=environ,
        stderr=subprocess.STDOUT,
    )
    return done.returncode, done.stdout.decode()


@pytest.fixture
def home(tmp_path):
    """A home of Claude Code, Codex and Gemini CLI."""
    for name in (".claude/skills", ".codex", ".gemini"):
        (tmp_path / name).mkdir(parents=True)
    return tmp_path


def test_it_makes_one_copy_and_a_link_for_who_does_not_look_there(home):
    code, said = make("install", home)
    copy = home / ".agents" / "skills" / NAME
    link = home / ".claude" / "skills" / NAME
    assert code == 0 and said.count("\n") == 2
    assert (copy / "SKILL.md").is_file() and not (copy / "tests").exists()
    assert os.access(str(copy / "scripts" / "rebyte_cli.py"), os.X_OK)
    assert link.is_symlink() and link.resolve() == copy.resolve()
    assert os.listdir(str(link.parent)) == os.listdir(str(copy.parent)) == [NAME]
    assert os.listdir(str(home / ".codex")) == os.listdir(str(home / ".gemini")) == []
    assert make("install", home)[0] == 0 and link.is_symlink()
    assert make("uninstall", home)[0] == 0
    assert os.listdir(str(link.parent)) == os.listdir(str(copy.parent)) == []
    assert "not there" in make("uninstall", home)[1]


def test_where_only_claude_code_is_there_is_a_copy_and_no_link(tmp_path):
    (tmp_path / ".claude").mkdir()
    assert make("install", tmp_path)[0] == 0
    assert not (tmp_path / ".claude" / "skills" / NAME).is_symlink()
    assert os.listdir(str(tmp_path)) == [".claude"]


def test_a_folder_that_is_a_link_to_the_shared_one_gets_nothing_of_its_own(home):
    (home / ".agents" / "skills").mkdir(parents=True)
    (home / ".claude" / "skills").rmdir()
    (home / ".claude" / "skills").symlink_to(home / ".agents" / "skills")
    code, said = make("install", home)
    assert code == 0 and "same" in said
    assert not (home / ".agents" / "skills" / NAME).is_symlink()


def test_a_copy_that_would_be_listed_twice_goes_unless_it_was_changed(home):
    own = home / ".codex" / "skills"
    make("install", home, PREFIX=str(own))
    (own / NAME / "notes.txt").write_text("keep me")
    code, said = make("install", home)
    assert code != 0 and "notes.txt" in said and (own / NAME).is_dir()
    (own / NAME / "notes.txt").unlink()
    code, said = make("install", home)
    assert code == 0 and "listed twice" in said and os.listdir(str(own)) == []


def test_a_dry_run_shows_and_does_nothing(home):
    code, said = make("install", home, DRY_RUN=1)
    assert code == 0 and said.count("would ") == 2 and not (home / ".agents").exists()


def test_where_there_is_no_harness_it_says_how_to_make_one(tmp_path):
    code, said = make("install", tmp_path)
    assert code != 0 and "PREFIX=" in said and os.listdir(str(tmp_path)) == []
    assert make("install", tmp_path, PREFIX=str(tmp_path / "a b" / "skills"))[0] == 0
    assert (tmp_path / "a b" / "skills" / NAME / "SKILL.md").is_file()


def test_what_it_did_not_make_is_left_and_named(home):
    theirs, link = (
        home / ".claude" / "skills" / NAME,
        home / ".agents" / "skills" / NAME,
    )
    link.parent.mkdir(parents=True)
    theirs.mkdir()
    (theirs / "SKILL.md").write_text("mine")
    (home / "checkout").mkdir()
    link.symlink_to(home / "checkout")
    for target in ("install", "uninstall"):
        code, said = make(target, home)
        assert code != 0 and said.count("left ") == 2 and "is a link" in said
    assert (
        (theirs / "SKILL.md").read_text() == "mine"
        and os.listdir(str(home / "checkout")) == []
        and link.is_symlink()
    )


def test_a_copy_that_somebody_changed_is_left_until_forced(home):
    make("install", home)
    changed = home / ".agents" / "skills" / NAME / "SKILL.md"
    changed.write_text("my own words")
    (home / ".agents" / "skills" / NAME / "notes.txt").write_text("keep me")
    for target in ("install", "uninstall"):
        code, said = make(target, home)
        assert code != 0 and "SKILL.md" in said and "notes.txt" in said
        assert changed.read_text() == "my own words"
    assert make("install", home, FORCE=1)[0] == 0
    assert changed.read_text() != "my own words"


def test_the_one_file_is_the_same_twice_and_holds_a_whole_skill(home, tmp_path):
    for name in ("one", "two"):
        assert make("dist", home, PREFIX=str(tmp_path / name))[0] == 0
    one, two = (tmp_path / name / (NAME + ".skill") for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()
    files = [tmp_path / "one" / (NAME + end) for end in (".mcpb", ".skill")]
    digests = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    sums = (tmp_path / "one" / "SHA256SUMS").read_text()
    expected = ["%s  %s\n" % pair for pair in zip(digests, [f.name for f in files])]
    assert sums == "".join(expected)
    with zipfile.ZipFile(str(one)) as archive:
        names = archive.namelist()
        assert {name.split("/")[1] for name in names} == {
            "SKILL.md",
            "LICENSE",
            "scripts",
            "references",
        } and names == sorted(names)
        archive.extractall(str(tmp_path / "out"))
    done = run_quietly(
        [
            sys.executable,
            "-I",
            str(tmp_path / "out" / NAME / "scripts" / "rebyte_cli.py"),
            "--version",
        ]
    )
    assert done.returncode == 0 and b"rebyte_cli.py" in done.stdout


def test_the_bundle_for_desktop_hosts_begins_the_server_as_its_manifest_says(
    home, tmp_path
):
    make("dist", home, PREFIX=str(tmp_path))
    folder = tmp_path / "out"
    with zipfile.ZipFile(str(tmp_path / (NAME + ".mcpb"))) as archive:
        archive.extractall(str(folder))
    manifest = json.loads((folder / "manifest.json").read_text())
    asked = manifest["user_config"]
    assert asked["api_key"]["sensitive"] and asked["max_tasks"]["required"]
    given = {"__dirname": str(folder), "user_config.max_tasks": "3"}
    given["user_config.folders"] = str(tmp_path)
    words = manifest["server"]["mcp_config"]["args"]
    for name, value in given.items():
        words = [word.replace("${%s}" % name, value) for word in words]
    assert not any("${" in word for word in words)
    line = b'{"jsonrpc":"2.0","id":1,"method":"tools/list"}\n'
    done = run_quietly([sys.executable, *words], input=line, stdin=None)
    tools = json.loads(done.stdout)["result"]["tools"]
    names = [tool["name"] for tool in manifest["tools"]]
    assert [tool["name"] for tool in tools] == names and done.returncode == 0


def test_links_in_what_is_shipped_lead_to_what_is_shipped(tmp_path, home):
    make("install", home)
    copy = home / ".agents" / "skills" / NAME
    for page in [copy / "SKILL.md"] + sorted((copy / "references").iterdir()):
        for target in re.findall(
            r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")
        ):
            assert (page.parent / target).exists(), "%s: %s" % (page.name, target)


def test_files_that_an_installed_document_names_are_installed(home):
    make("install", home)
    copy = home / ".agents" / "skills" / NAME
    for page in [copy / "SKILL.md"] + sorted((copy / "references").iterdir()):
        named = re.findall(
            r"\b(?:examples|tests|tools|scripts|references)/[\w/.-]*\w",
            page.read_text(encoding="utf-8"),
        )
        assert [name for name in named if not (copy / name).exists()] == [], page.name


def test_the_plugin_manifest_has_the_version_and_name_of_the_skill():
    plugin = json.loads(read(".claude-plugin", "marketplace.json"))["plugins"][0]
    assert plugin["version"] == version_of_the_skill()
    assert (plugin["name"], plugin["source"]) == (NAME, "./")
    assert not os.path.exists(os.path.join(ROOT, "skills"))


def test_no_manifest_makes_codex_put_a_plugin_before_the_name_of_a_clone():
    # Codex 0.171 calls a skill PLUGIN:SKILL where one of these lies above it.
    for folder in (".claude-plugin", ".codex-plugin"):
        assert not os.path.exists(os.path.join(ROOT, folder, "plugin.json"))
    market = json.loads(read(".claude-plugin", "marketplace.json"))
    # Claude Code asks for a plugin.json otherwise.
    assert market["plugins"][0]["strict"] is False


def test_it_works_where_a_rebyte_machine_keeps_it_found_in_the_documented_way(home):
    place = home / ".skills"
    place.mkdir()
    make("install", home)
    os.rename(str(place / NAME), str(place / ("acme-" + NAME)))
    seed = re.search(
        r"^SKILL_DIR=(\$\(find .*\))$",
        read("tests", "contract", "data", "skill-page.txt"),
        re.M,
    ).group(1)
    line = "SKILL_DIR=%s; python3 $SKILL_DIR/scripts/rebyte_cli.py --version" % seed
    done = run_quietly(
        ["sh", "-c", line],
        stderr=subprocess.STDOUT,
        cwd=str(home),
        env={
            "PATH": os.path.dirname(sys.executable) + os.pathsep + os.environ["PATH"],
            "HOME": str(home),
        },
    )
    assert done.returncode == 0 and b"rebyte_cli.py" in done.stdout, done.stdout


# One version, told in four places.


def version_of_the_skill():
    """Return the version in SKILL.md's metadata."""
    return re.search(r'^ +version: "([^"]+)"$', read("SKILL.md"), re.M).group(1)


def test_the_changelog_begins_with_the_version_of_the_skill():
    assert (
        re.search(
            r"^## \[([^\]]+)\] - \d{4}-\d\d-\d\d$", read("CHANGELOG.md"), re.M
        ).group(1)
        == version_of_the_skill()
    )


def test_the_command_line_tells_the_version_of_the_skill():
    done = run_quietly(
        [sys.executable, os.path.join(SCRIPTS, "rebyte_cli.py"), "--version"]
    )
    assert done.returncode == 0
    assert re.findall(r"\d+\.\d+\.\d+", done.stdout.decode()) == [
        version_of_the_skill()
    ]


def bytecode_after_version(cache, *flags, **more):
    """Run --version with a cache folder; return the bytecode files that lie there afterwards."""
    env = {
        key: value
        for key, value in os.environ.items()
        if key not in ("PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX")
    }
    done = subprocess.run(
        [sys.executable] + list(flags) + [DOOR, "--version"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=dict(env, XDG_CACHE_HOME=str(cache), **more),
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    return sorted(
        os.path.join(place, name)
        for place, _, names in os.walk(str(cache))
        for name in names
    )


def test_the_second_call_finds_what_the_first_one_compiled(tmp_path):
    first = bytecode_after_version(tmp_path)
    assert [path for path in first if "main." in path] and os.stat(
        str(tmp_path / "rebyte")
    ).st_mode & 0o777 == 0o700
    before = {path: os.stat(path).st_mtime_ns for path in first}
    assert {
        path: os.stat(path).st_mtime_ns for path in bytecode_after_version(tmp_path)
    } == before


def test_only_modules_of_the_bundle_are_kept_there(tmp_path):
    assert [
        path
        for path in bytecode_after_version(tmp_path)
        if os.path.dirname(DOOR) not in path
    ] == []


@pytest.mark.parametrize(
    "flags, more", [(("-B",), {}), ((), {"PYTHONDONTWRITEBYTECODE": "1"})]
)
def test_who_wants_no_bytecode_gets_none(tmp_path, flags, more):
    assert bytecode_after_version(tmp_path, *flags, **more) == []


def test_a_folder_that_others_can_write_to_is_neither_read_nor_written(tmp_path):
    (tmp_path / "rebyte").mkdir()
    (tmp_path / "rebyte").chmod(0o770)
    assert bytecode_after_version(tmp_path) == []


def test_a_link_in_place_of_the_folder_is_not_followed(tmp_path):
    (tmp_path / "elsewhere").mkdir(0o700)
    (tmp_path / "rebyte").symlink_to(tmp_path / "elsewhere")
    assert bytecode_after_version(tmp_path) == []


def test_a_cache_that_cannot_be_made_is_done_without(tmp_path):
    (tmp_path / "rebyte").write_text("a file")
    assert bytecode_after_version(tmp_path) == [str(tmp_path / "rebyte")]
    assert bytecode_after_version("relative") == [] and not os.path.exists("relative")
