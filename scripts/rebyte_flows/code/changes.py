"""What changed between two commits: how much, and what of it would run by itself."""

from __future__ import annotations

import re

from rebyte_flows.code.git import LINK_MODE, PROGRAM_MODE, SUBMODULE_MODE, fields_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rebyte_flows.code.git import Entry, Repository
    from rebyte_types import Json

NO_MODE = "000000"
# (what a whole path in small letters looks like, why somebody should look at it first).
SENSITIVE = tuple(
    (re.compile(pattern), why)
    for pattern, why in (
        (
            r"(.*/)?\.(github|gitlab|gitea|forgejo)/(workflows|actions|ci)/.*",
            "the CI runs it",
        ),
        (
            r"(.*/)?\.(circleci|buildkite|woodpecker|teamcity|semaphore|tekton)/.*",
            "the CI runs it",
        ),
        (
            r"(.*/)?(\.gitlab-ci|\.travis|\.drone|\.cirrus|\.appveyor|appveyor|azure-pipelines|"
            r"bitbucket-pipelines|buildspec|cloudbuild|\.woodpecker|codemagic)[^/]*\.ya?ml",
            "the CI runs it",
        ),
        (r"(.*/)?jenkinsfile([._-][^/]*)?", "the CI runs it"),
        (r"(.*/)?\.github/(dependabot|renovate)[^/]*", "a robot obeys it"),
        (r"(.*/)?\.?(git-?hooks|husky|hooks|lefthook)/.*", "git may run it as a hook"),
        (
            r"(.*/)?(\.pre-commit-config|\.?lefthook|\.overcommit)[^/]*\.ya?ml",
            "git runs what it names",
        ),
        (
            r"(.*/)?\.(gitattributes|gitmodules|gitconfig|lfsconfig|mailmap)",
            "git obeys it",
        ),
        (r"(.*/)?\.(vscode|idea|vs|zed|fleet)/.*", "an editor obeys it"),
        (r"(.*/)?[^/]*\.code-workspace", "an editor obeys it"),
        (
            r"(.*/)?\.?(vimrc|exrc|nvimrc|nvim\.lua|dir-locals\.el|editorconfig)",
            "an editor obeys it",
        ),
        (r"(.*/)?\.devcontainer(/.*|\.json)", "it makes the machine that you work on"),
        (r"(.*/)?(dockerfile|containerfile)([._-][^/]*)?", "a build runs it"),
        (r"(.*/)?[^/]*\.dockerfile", "a build runs it"),
        (r"(.*/)?(docker-)?compose[^/]*\.ya?ml", "a build runs it"),
        (r"(.*/)?(gnu)?makefile([._-][^/]*)?", "make runs it"),
        (r"(.*/)?[^/]*\.mk", "make runs it"),
        (
            r"(.*/)?\.?(justfile|taskfile|rakefile|gemfile|vagrantfile|procfile|tiltfile|brewfile|"
            r"guardfile|fastfile|snakefile|earthfile)([._-][^/]*)?",
            "a tool runs it",
        ),
        (r"(.*/)?cmakelists\.txt|(.*/)?[^/]*\.cmake", "a build runs it"),
        (
            r"(.*/)?(package|composer|deno|bower)\.jsonc?",
            "it may hold scripts that run by themselves",
        ),
        (
            r"(.*/)?(package-lock\.json|npm-shrinkwrap\.json|yarn\.lock|pnpm-lock\.yaml|"
            r"bun\.lockb?|deno\.lock|poetry\.lock|pdm\.lock|uv\.lock|pipfile(\.lock)?|"
            r"cargo\.lock|go\.sum|go\.mod|"
            r"gemfile\.lock|composer\.lock|packages\.lock\.json|gradle\.lockfile|mix\.lock|"
            r"pubspec\.lock|podfile(\.lock)?|flake\.lock|requirements[^/]*\.(txt|in)|"
            r"constraints[^/]*\.txt)",
            "it says which code of others is fetched",
        ),
        (
            r"(.*/)?(\.npmrc|\.yarnrc[^/]*|\.pnpmfile\.[^/]*|\.pypirc|pip\.conf|nuget\.config|"
            r"\.bundle/config|\.cargo/config[^/]*|bunfig\.toml|\.envrc|\.env[^/]*|\.tool-versions|"
            r"\.?mise[^/]*\.toml|\.nvmrc|\.python-version)",
            "a tool obeys it where you work",
        ),
        (
            r"(.*/)?(setup\.(py|cfg)|pyproject\.toml|conftest\.py|tox\.ini|noxfile\.py|pytest\.ini|"
            r"sitecustomize\.py|usercustomize\.py|tasks\.py|fabfile\.py|dodo\.py|manage\.py|"
            r"[^/]*\.pth)",
            "Python and its tools run it",
        ),
        (
            r"(.*/)?(build\.rs|build\.gradle[^/]*|settings\.gradle[^/]*|gradle\.properties|"
            r"gradlew[^/]*|mvnw[^/]*|pom\.xml|build\.sbt|build\.xml|build\.zig|cargo\.toml|"
            r"package\.swift|[^/]*\.gemspec|mix\.exs|meson\.build|sconstruct|wscript|"
            r"configure(\.ac)?|bootstrap|autogen\.sh|build(\.bazel)?|workspace(\.bazel)?|"
            r"module\.bazel|[^/]*\.bzl|flake\.nix|default\.nix|shell\.nix|[^/]*\.(cs|fs|vb)proj|"
            r"directory\.build\.[^/]*|gruntfile[^/]*|gulpfile[^/]*|webpack\.config\.[^/]*|"
            r"[^/]*\.config\.(js|cjs|mjs|ts))",
            "a build runs it",
        ),
        (r"(.*/)?gradle/wrapper/.*|(.*/)?\.mvn/.*|(.*/)?\.yarn/.*", "a build runs it"),
        (
            r"(.*/)?(agents?|claude|gemini|skill|copilot-instructions|conventions|qwen|codex)"
            r"(\.local)?\.md",
            "agents obey it",
        ),
        (
            r"(.*/)?\.(cursor|claude|codex|gemini|windsurf|continue|aider[^/]*|roo|kiro|opencode|"
            r"agents|qwen|amazonq|clinerules)(/.*)?",
            "agents obey it",
        ),
        (
            r"(.*/)?(\.cursorrules|\.windsurfrules|\.mcp\.json|mcp\.json|opencode\.jsonc?)",
            "agents obey it",
        ),
        (
            r"(.*/)?\.github/(instructions|prompts|agents|chatmodes)/.*",
            "agents obey it",
        ),
    )
)
NEW_LINK = "it is a link"
NEW_PROGRAM = "it can be run, and could not before"
NEW_SUBMODULE = "it is another repository"


class Change:
    """One path that differs between two commits: both modes and ids, and the lines that came and
    went, None for a binary.
    """

    def __init__(self, path: str, old: Entry, new: Entry) -> None:
        self.path = path
        self.old = old
        self.new = new
        self.added: int | None = None
        self.removed: int | None = None

    def __repr__(self) -> str:
        return "Change(%s %s)" % (self.kind, self.path)

    @property
    def kind(self) -> str:
        """added, deleted or modified."""
        if self.old[0] == NO_MODE:
            return "added"
        return "deleted" if self.new[0] == NO_MODE else "modified"

    @property
    def why_sensitive(self) -> str | None:
        """Why somebody should look at it before it is applied, None where nothing speaks for it."""
        if self.new[0] == NO_MODE:
            return sensitive_name(self.path)
        if LINK_MODE in (self.new[0], self.old[0]):
            return NEW_LINK
        if SUBMODULE_MODE in (self.new[0], self.old[0]):
            return NEW_SUBMODULE
        if self.new[0] == PROGRAM_MODE and self.old[0] != PROGRAM_MODE:
            return NEW_PROGRAM
        return sensitive_name(self.path)


def sensitive_name(path: str) -> str | None:
    """Return why a file of this name may run or be obeyed by itself, None if it will not."""
    small = path.casefold()
    for pattern, why in SENSITIVE:
        if pattern.fullmatch(small):
            return why
    return None


def changes_between(repository: Repository, old: str, new: str) -> list[Change]:
    """Return what differs between two commits, by path; a rename is a path gone and a new one."""
    words = ("diff-tree", "-r", "-z", "--no-renames", "--no-ext-diff", "--no-textconv")
    raw = list(fields_of(repository.run(*words, "--raw", "--no-abbrev", old, new)))
    found: dict[str, Change] = {}
    for about, path in zip(raw[::2], raw[1::2]):
        old_mode, new_mode, old_id, new_id, _ = about[1:].split(" ")
        found[path] = Change(path, (old_mode, old_id), (new_mode, new_id))
    for line in fields_of(repository.run(*words, "--numstat", old, new)):
        added, removed, path = line.split("\t", 2)
        if path in found and added != "-":
            found[path].added = int(added)
            found[path].removed = int(removed)
    return list(found.values())


def summary(changes: list[Change]) -> Json:
    """Return the figures of some changes, with what is sensitive first."""
    figures: Json = {
        "sensitive": [change.path for change in changes if change.why_sensitive],
        "files": len(changes),
        "added": sum(change.added or 0 for change in changes),
        "removed": sum(change.removed or 0 for change in changes),
    }
    deleted = sum(change.kind == "deleted" for change in changes)
    if deleted:
        figures["deleted"] = deleted
    return figures
