"""Break the code that money, bytes and time depend on, one place at a time; name what no test notices.

python3 tests/mutants.py [--only WORD] [--jobs 2]

Each mutant is one replacement in a copy of the tree; the tests of its room have to fail. A mutant
whose text is not found is an error: the list has to keep up with the code. Exit 0 when nothing
survives but what SURVIVES explains.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import threading

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TEST_SECONDS = 100
IGNORED = shutil.ignore_patterns(".git", "__pycache__", ".venv*", ".mypy_cache")
WIRE = ["tests/wire", "tests/client"]
STARTS = [
    "tests/flows/test_starts.py",
    "tests/flows/test_reconciliation.py",
    "tests/flows/test_ledger.py",
]
STREAM = [
    "tests/flows/test_ending.py",
    "tests/flows/test_events.py",
    "tests/flows/test_silence.py",
    "tests/flows/test_follower.py",
    "tests/flows/test_stream.py",
]
PLACES = ["tests/flows/test_places.py", "tests/commands/test_places.py"]
SILENCE = ["tests/flows/test_silence.py"]
MCP = ["tests/commands/test_mcp.py"]
FILES = ["tests/flows/test_downloads.py", "tests/flows/test_uploads.py"]
COMMANDS = [
    "tests/commands/test_decisions.py",
    "tests/commands/test_tasks.py",
    "tests/commands/test_batch.py",
]

AGENTS = ["tests/local/test_agents.py", "tests/local/test_agent_streams.py"]

CODE = "tests/flows/code/"

# (file below scripts/, what stands there, what is put there, the tests that have to notice)
MUTANTS = (
    # Answers of a given shape: what is taken for a value, what it costs, and what a page may run.
    (
        "rebyte_flows/values/extraction.py",
        "                return whole[::-1] + pairs[::-1], start",
        "                end = start + 1; match = OPENER.search(prose, end); continue",
        ["tests/flows/test_extraction.py"],
    ),
    (
        "rebyte_flows/values/reader.py",
        "    if found.is_cut:",
        "    if False:",
        ["tests/flows/test_extraction.py"],
    ),
    (
        "rebyte_flows/values/strict_json.py",
        "    if isinstance(one, bool) or isinstance(other, bool):",
        "    if False:",
        ["tests/flows/test_schema.py"],
    ),
    (
        "rebyte_flows/values/schema.py",
        "        if key in self._under_way:",
        "        if False:",
        ["tests/flows/test_schema.py"],
    ),
    (
        "rebyte_flows/values/reader.py",
        "    named = [pair for pair in found if pair[0] >= 0]",
        "    named = list(found)",
        ["tests/commands/test_values.py"],
    ),
    (
        "rebyte_flows/values/table.py",
        '    return "\'" + text if is_formula else text',
        "    return text",
        ["tests/flows/test_table.py"],
    ),
    (
        "rebyte_flows/following/result.py",
        "    if key in ANY_VALUE_KEYS:",
        "    if False:",
        ["tests/commands/test_values.py"],
    ),
    (
        "rebyte_flows/following/expectation.py",
        "        if number > self.repairs and",
        "        if len(self.rows) >= self.repairs and",
        ["tests/flows/test_expectation.py"],
    ),
    (
        "rebyte_flows/following/expectation.py",
        "        turn = submitter.submit(request, name=name).row",
        "        turn = submitter.submit(request).row",
        ["tests/flows/test_expectation.py", "tests/commands/test_values.py"],
    ),
    (
        "rebyte_flows/following/expectation.py",
        "self._is_unread or ",
        "",
        ["tests/flows/test_expectation.py"],
    ),
    (
        "rebyte_flows/report/markup.py",
        "    return escape(HIDDEN.sub(_shown, str(value)))",
        "    return HIDDEN.sub(_shown, str(value))",
        ["tests/flows/test_report.py"],
    ),
    (
        "rebyte_flows/report/markup.py",
        "    return bool(WEB.match(address)) and not HIDDEN.search(address)",
        "    return True",
        ["tests/flows/test_report.py"],
    ),
    # Code there and back: what must not come home, be run, be lost or be overwritten.
    (
        "rebyte_flows/code/home/archive_names.py",
        '(_climbs, "a part of it climbs out of its folder"),',
        "",
        [CODE + "test_hostile_archives.py"],
    ),
    (
        "rebyte_flows/code/home/archive_names.py",
        '(is_git_folder, "a part of it is git\'s own folder"),',
        "",
        [CODE + "test_hostile_archives.py"],
    ),
    (
        "rebyte_flows/code/paths.py",
        'plain = IGNORABLE.sub("", part)',
        "plain = part",
        [CODE + "test_hostile_archives.py"],
    ),
    (
        "rebyte_flows/code/paths.py",
        'unicodedata.normalize("NFKC", plain).casefold()',
        "plain.casefold()",
        [CODE + "test_hostile_archives.py"],
    ),
    (
        "rebyte_flows/code/paths.py",
        " or SHORT_NAME.fullmatch(plain) is not None",
        "",
        [CODE + "test_hostile_archives.py"],
    ),
    (
        "rebyte_flows/code/home/tree.py",
        "leaves_tree(path, links) or reaches_git(links[path])",
        "leaves_tree(path, links)",
        [CODE + "test_hostile_archives.py"],
    ),
    (
        "rebyte_flows/code/home/members.py",
        "self._refuse_bombs(members)\n",
        "pass\n",
        [CODE + "test_hostile_archives.py"],
    ),
    (
        "rebyte_flows/code/home/tree.py",
        "refuse_collisions(self._entries, self._known.entries)\n",
        "pass\n",
        [CODE + "test_hostile_archives.py"],
    ),
    (
        "rebyte_flows/code/home/tree.py",
        "self._refuse_links(intake.links)\n",
        "pass\n",
        [CODE + "test_hostile_archives.py"],
    ),
    (
        "rebyte_flows/code/home/archive.py",
        "self._check_places(infos)\n",
        "pass\n",
        [CODE + "test_hostile_archives.py"],
    ),
    (
        "rebyte_flows/code/home/archive.py",
        " or mode & SPECIAL_BITS",
        "",
        [CODE + "test_hostile_archives.py"],
    ),
    (
        "rebyte_flows/code/home/tree.py",
        " - left_behind(missing, returned)",
        "",
        [CODE + "test_kinds.py"],
    ),
    (
        "rebyte_flows/code/home/intake.py",
        "if old is not None and are_same(old, data):",
        "if False:",
        [CODE + "test_kinds.py"],
    ),
    (
        "rebyte_flows/code/home/tree.py",
        "message, dated_as=parent)",
        "message)",
        [CODE + "test_kinds.py"],
    ),
    (
        "rebyte_flows/code/git.py",
        'name[:4].upper() != "GIT_"',
        "True",
        [CODE + "test_kinds.py"],
    ),
    (
        "rebyte_flows/code/git.py",
        '"core.hooksPath=" + os.devnull,',
        "",
        [CODE + "test_kinds.py"],
    ),
    (
        "rebyte_flows/code/git.py",
        '"core.fsmonitor=false",',
        "",
        [CODE + "test_kinds.py"],
    ),
    (
        "rebyte_flows/code/git.py",
        '"core.logAllRefUpdates=false",',
        "",
        [CODE + "test_kinds.py"],
    ),
    (
        "rebyte_flows/code/git.py",
        '"--no-filters", ',
        "",
        [CODE + "test_kinds.py"],
    ),
    (
        "rebyte_flows/code/git.py",
        '("write-tree", "--missing-ok")',
        '("write-tree",)',
        [CODE + "test_kinds.py"],
    ),
    (
        "rebyte_flows/code/sending/snapshot.py",
        "elif item.tracked is not None:\n            secrets",
        "elif False:\n            secrets",
        [CODE + "test_secrets.py"],
    ),
    (
        "rebyte_flows/code/sending/storing.py",
        "if is_converted_by_git(attributes) and tracked is not None:",
        "if False:",
        [CODE + "test_kinds.py"],
    ),
    (
        "rebyte_flows/code/sending/listing.py",
        "_judge_links(found)\n",
        "pass\n",
        [CODE + "test_kinds.py"],
    ),
    (
        "rebyte_flows/code/sending/tree_archive.py",
        "info.mtime = MOMENT",
        "info.mtime = id(info)",
        [CODE + "test_kinds.py"],
    ),
    (
        "rebyte_flows/code/applying/journal.py",
        "self._roll_back(applied)\n",
        "pass\n",
        [CODE + "test_apply.py"],
    ),
    (
        "rebyte_flows/code/applying/merging.py",
        "return _with_style(lines, ours)",
        "return lines",
        [CODE + "test_apply.py"],
    ),
    (
        "rebyte_flows/code/applying/deciding.py",
        "self._check_room(change.path)\n",
        "pass\n",
        [CODE + "test_apply.py"],
    ),
    (
        "rebyte_flows/code/applying/deciding.py",
        "if change.path not in self._applied:",
        "if True:",
        [CODE + "test_verbs.py"],
    ),
    (
        "rebyte_flows/code/applying/deciding.py",
        "return (stored[0], ours[1]) if is_as_sent else stored",
        "return stored",
        [CODE + "test_kinds.py"],
    ),
    (
        "rebyte_flows/code/home/tree.py",
        "self._warn_of_filters(tree)\n",
        "pass\n",
        [CODE + "test_kinds.py"],
    ),
    (
        "rebyte_flows/code/git.py",
        " or err.startswith(PASSED_OVER)",
        "",
        [CODE + "test_kinds.py"],
    ),
    # Agent programs: what goes in, what an end means, what is left behind.
    (
        "rebyte_local/agents/environment.py",
        "if name not in HIDDEN and not name.startswith(HIDDEN_PREFIXES)",
        "if name not in HIDDEN",
        AGENTS,
    ),
    (
        "rebyte_local/agents/environment.py",
        "if name not in HIDDEN and not name.startswith(HIDDEN_PREFIXES)",
        "if not name.startswith(HIDDEN_PREFIXES)",
        AGENTS,
    ),
    (
        "rebyte_local/agents/environment.py",
        '"--ro-bind",',
        '"--bind",',
        AGENTS,
    ),
    ("rebyte_local/agents/reading.py", "if quiet > limit:", "if False:", AGENTS),
    (
        "rebyte_local/agents/reading.py",
        "if self._has_ended_well():",
        "if code == 0:",
        AGENTS,
    ),
    (
        "rebyte_local/agents/reading.py",
        "if kind in GOING_ON and is_own:",
        "if False:",
        AGENTS,
    ),
    (
        "rebyte_local/agents/opencode.py",
        'if model or MODEL.search(environ.get(OPTIONS, "")) or _has_login(environ):',
        "if True:",
        AGENTS,
    ),
    (
        "rebyte_local/agents/codex.py",
        "return all(provider == OWN_PROVIDER for provider in providers)",
        "return True",
        AGENTS,
    ),
    (
        "rebyte_local/execution/agent_turn.py",
        "if session and self._is_gone(result, reader):",
        "if False:",
        AGENTS,
    ),
    (
        "rebyte_local/execution/agent_turn.py",
        "reader.overdue, AGENT_LINE_LIMIT_BYTES, AGENT_GRACE_SECONDS",
        "reader.overdue",
        AGENTS,
    ),
    (
        "rebyte_local/storage/sessions.py",
        "shares[name] = total - known if total >= known else total",
        "shares[name] = total",
        AGENTS,
    ),
    (
        "rebyte_local/execution/executors.py",
        "if service.agent or find_steps(prompt):",
        "if service.agent:",
        AGENTS,
    ),
    (
        "rebyte_local/execution/runner.py",
        'return (program, task["workspace"]) if program else ("", task["id"])',
        'return ("", task["id"])',
        AGENTS,
    ),
    (
        "rebyte_local/execution/guard.py",
        "kill_marked((INSTANCE, instance))",
        "pass",
        AGENTS,
    ),
    (
        "rebyte_local/execution/process_tree.py",
        "if self._known.get(one.pid) == one.started:",
        "if False:",
        AGENTS,
    ),
    (
        "rebyte_local/execution/workspaces.py",
        "if os.path.islink(folder):",
        "if False:",
        AGENTS,
    ),
    # Connections: which one, for how long, and what is left behind.
    ("rebyte_wire/connections.py", "if not is_hang_up(error):", "if False:", WIRE),
    (
        "rebyte_wire/connections.py",
        "connection = self.take_idle(pool_key) if request.idempotent else None",
        "connection = self.take_idle(pool_key)",
        WIRE,
    ),
    (
        "rebyte_wire/connections.py",
        "request.read_seconds = min(usual_seconds, EARLY_RESPONSE_SECONDS)",
        "request.read_seconds = usual_seconds",
        WIRE,
    ),
    (
        "rebyte_wire/connections.py",
        "if connection is None or not connection.is_dead():",
        "if True:",
        WIRE,
    ),
    (
        "rebyte_wire/connections.py",
        "keep = connection.reusable and not will_close and not self._closed",
        "keep = connection.reusable and not will_close",
        WIRE,
    ),
    (
        "rebyte_wire/connections.py",
        "keep = connection.reusable and not will_close and not self._closed",
        "keep = connection.reusable and not self._closed",
        WIRE,
    ),
    (
        "rebyte_wire/connections.py",
        "return isinstance(error.__cause__, ConnectionError)",
        "return True",
        WIRE,
    ),
    # Retries and redirects: the tables.
    (
        "rebyte_wire/retry.py",
        "if tried > MAX_RETRIES",
        "if tried > MAX_RETRIES + 9",
        WIRE,
    ),
    (
        "rebyte_wire/retry.py",
        "if status in REFUSED or (status == 503 and has_retry_after):",
        "if status in REFUSED or status == 503:",
        WIRE,
    ),
    (
        "rebyte_wire/retry.py",
        'if idempotent or failure.outcome == "not_sent":',
        "if idempotent:",
        WIRE,
    ),
    (
        "rebyte_wire/retry.py",
        "return failure.http_status in NOT_BEGUN",
        "return True",
        WIRE,
    ),
    (
        "rebyte_wire/redirects.py",
        'if here.scheme == "https" and there.scheme == "http":',
        "if False:",
        WIRE,
    ),
    (
        "rebyte_wire/redirects.py",
        "if origin_of(url) == origin_of(target):",
        "if True:",
        WIRE,
    ),
    # What a line typed again means.
    (
        "rebyte_flows/starting/rows.py",
        "if again and not _is_same_again(row, same):",
        "if again:",
        STARTS,
    ),
    ("rebyte_flows/starting/rows.py", "    if held:\n", "    if False:\n", STARTS),
    (
        "rebyte_flows/starting/rows.py",
        "return START if row.state == CLAIMED else RECONCILE",
        "return RECONCILE",
        STARTS,
    ),
    (
        "rebyte_flows/starting/rows.py",
        "is_ours = named or now - row.claimed_at < RESUME_SECONDS",
        "is_ours = now - row.claimed_at < RESUME_SECONDS",
        STARTS,
    ),
    (
        "rebyte_flows/starting/rows.py",
        "return row.kind_value.repeats and 0 <= age < REUSE_SECONDS",
        "return row.kind_value.repeats and age < REUSE_SECONDS",
        STARTS,
    ),
    (
        "rebyte_flows/starting/rows.py",
        "return row.kind_value.repeats and 0 <= age < REUSE_SECONDS",
        "return 0 <= age < REUSE_SECONDS",
        STARTS,
    ),
    # The ledger.
    (
        "rebyte_flows/starting/ledger.py",
        "if guards is not None and request.kind.counts:",
        "if guards is not None:",
        STARTS,
    ),
    (
        "rebyte_flows/starting/merging.py",
        "return theirs.revision > mine.revision",
        "return False",
        PLACES,
    ),
    (
        "rebyte_flows/starting/merging.py",
        "return theirs.state in STARTED",
        "return False",
        PLACES,
    ),
    (
        "rebyte_flows/starting/ledger.py",
        "if self._has_rival(row):",
        "if False:",
        PLACES,
    ),
    (
        "rebyte_flows/starting/ledger.py",
        "folders = [self.state, *map(StateFolder, self.state.others)]",
        "folders = [self.state]",
        PLACES,
    ),
    (
        "rebyte_flows/places.py",
        "return stat.S_ISDIR(found.st_mode) and not found.st_mode & forbidden",
        "return True",
        PLACES,
    ),
    (
        "rebyte_flows/following/stream.py",
        "if self.seen.highest_seq > highest:",
        "if False:",
        SILENCE,
    ),
    (
        "rebyte_commands/mcp/server.py",
        "if new and not self.settings.may_start:",
        "if False:",
        MCP,
    ),
    (
        "rebyte_commands/mcp/calls.py",
        "if key not in self._under_way:",
        "if True:",
        MCP,
    ),
    (
        "rebyte_commands/mcp/roots.py",
        "if real == folder or real.startswith(folder.rstrip(os.sep) + os.sep):",
        "if True:",
        MCP,
    ),
    (
        "rebyte_commands/mcp/documents.py",
        "return None if options.again else",
        "return",
        MCP,
    ),
    (
        "rebyte_flows/starting/table.py",
        "now + CLOCK_TOLERANCE_SECONDS,",
        "now + 10**9,",
        STARTS,
    ),
    (
        "rebyte_flows/starting/ledger.py",
        "        self.in_flight[number] = True\n",
        "",
        STARTS,
    ),
    (
        "rebyte_flows/starting/ledger.py",
        "return row.id in self.in_flight",
        "return True",
        STARTS,
    ),
    (
        "rebyte_flows/starting/ledger.py",
        "state = NOT_SENT if row.state == CLAIMED else UNKNOWN",
        "state = UNKNOWN",
        STARTS,
    ),
    (
        "rebyte_flows/starting/ledger.py",
        "            if earlier is not None and name and not again:\n",
        "            if False:\n",
        STARTS,
    ),
    # Sending.
    (
        "rebyte_flows/starting/submitter.py",
        "if row.state in NEVER_STARTED:\n                    continue",
        "if False:\n                    continue",
        STARTS,
    ),
    (
        "rebyte_flows/starting/submitter.py",
        "if sent:\n            outcome = getattr",
        "if True:\n            outcome = getattr",
        STARTS,
    ),
    (
        "rebyte_flows/starting/submitter.py",
        "            self.ledger.release(row.id)\n",
        "            pass\n",
        STARTS,
    ),
    (
        "rebyte_flows/starting/submitter.py",
        "if self.ledger.in_flight.get(row.id):",
        "if False:",
        STARTS,
    ),
    (
        "rebyte_flows/starting/guards.py",
        "if by_this_command + new > self.per_command:",
        "if by_this_command > self.per_command:",
        STARTS,
    ),
    # Reconciliation: what is proven.
    (
        "rebyte_flows/starting/reconciliation.py",
        "if not told or len(told) > len(group) or len(digests) > 1:",
        "if not told or len(told) > len(group):",
        STARTS,
    ),
    (
        "rebyte_flows/starting/reconciliation.py",
        "if not told or len(told) > len(group) or len(digests) > 1:",
        "if not told or len(digests) > 1:",
        STARTS,
    ),
    (
        "rebyte_flows/starting/reconciliation.py",
        "if match.id not in known and match.digest in (None, row.prompt_digest)",
        "if match.digest in (None, row.prompt_digest)",
        STARTS,
    ),
    (
        "rebyte_flows/starting/reconciliation.py",
        "return has_name and len(matches) == 1 and len(equals) == 1",
        "return has_name and len(matches) == 1",
        STARTS,
    ),
    (
        "rebyte_flows/starting/reconciliation.py",
        "if asked and reported and asked != reported:",
        "if False:",
        STARTS,
    ),
    (
        "rebyte_flows/starting/reconciliation.py",
        "if created is not None and created < since:",
        "if False:",
        STARTS,
    ),
    (
        "rebyte_flows/starting/reconciliation.py",
        "created = None if moment is None else moment - skew",
        "created = moment",
        STARTS,
    ),
    (
        "rebyte_flows/starting/reconciliation.py",
        "if reached_older or len(items) < PAGE_ROWS:",
        "if True:",
        STARTS,
    ),
    (
        "rebyte_flows/starting/reconciliation.py",
        "if pause > 0 and left is not None and left <= pause:",
        "if False:",
        STARTS,
    ),
    (
        "rebyte_flows/starting/reconciliation.py",
        "    if since < 0:\n",
        "    if False:\n",
        STARTS,
    ),
    (
        "rebyte_flows/starting/reconciliation.py",
        "    if oldest > now:\n",
        "    if False:\n",
        STARTS,
    ),
    # The end of a stream.
    (
        "rebyte_flows/following/ending.py",
        "    if connect.cut or connect.left:\n",
        "    if False:\n",
        STREAM,
    ),
    (
        "rebyte_flows/following/ending.py",
        "if connect.came == 0 or connect.cut or connect.behind:",
        "if connect.came == 0 or connect.cut:",
        STREAM,
    ),
    (
        "rebyte_flows/following/ending.py",
        "if connect.came == 0 or connect.cut or connect.behind:",
        "if connect.cut or connect.behind:",
        STREAM,
    ),
    (
        "rebyte_flows/following/ending.py",
        "    if waited >= DRAIN_AT_MOST_SECONDS:\n",
        "    if False:\n",
        STREAM,
    ),
    (
        "rebyte_flows/following/ending.py",
        "return was_over and min(waited, quiet) >= DRAIN_AT_LEAST_SECONDS",
        "return was_over",
        STREAM,
    ),
    (
        "rebyte_flows/following/ending.py",
        "return waited >= DRAIN_AT_MOST_SECONDS and quiet >= patience",
        "return waited >= DRAIN_AT_MOST_SECONDS",
        STREAM,
    ),
    (
        "rebyte_flows/following/ending.py",
        "    if spoken and _is_whole(connect, was_over):\n",
        "    if _is_whole(connect, was_over):\n",
        STREAM,
    ),
    (
        "rebyte_flows/following/stream.py",
        "if self.question and state.status is None:",
        "if self.question:",
        STREAM,
    ),
    (
        "rebyte_flows/following/stream.py",
        'if kind in ("tool_use", ASKING):\n            self.spoken = False',
        'if kind in ("tool_use", ASKING):\n            pass',
        STREAM,
    ),
    (
        "rebyte_flows/following/stream.py",
        "behind=isinstance(last, int) and last > self.seen.highest_seq,",
        "behind=False,",
        STREAM,
    ),
    (
        "rebyte_flows/following/stream.py",
        "self.news_at = self.clock()\n        self.progress_at",
        "self.progress_at",
        STREAM,
    ),
    (
        "rebyte_flows/following/polling.py",
        "        if self._failures > FAILURES_AT_MOST:\n",
        "        if False:\n",
        STREAM,
    ),
    (
        "rebyte_flows/following/polling.py",
        "        if self.status is None:\n            self._over_at = None\n",
        "        if self.status is None:\n            pass\n",
        STREAM,
    ),
    (
        "rebyte_flows/following/polling.py",
        "if isinstance(problem, DeadlineReached) or not self._may_pass(problem):",
        "if isinstance(problem, DeadlineReached):",
        STREAM,
    ),
    # Questions.
    (
        "rebyte_flows/following/questions.py",
        "return None if str(question.message_id) in answered else question",
        "return question",
        STREAM,
    ),
    (
        "rebyte_flows/following/questions.py",
        "    if content is None and stream:\n",
        "    if False:\n",
        STREAM,
    ),
    (
        "rebyte_flows/following/questions.py",
        "return int(word) - 1",
        "return int(word)",
        STREAM,
    ),
    # Files home.
    (
        "rebyte_flows/files/atomic.py",
        "    if not stat.S_ISREG(found.st_mode):\n        raise InputError(",
        "    if False:\n        raise InputError(",
        FILES,
    ),
    (
        "rebyte_flows/files/atomic.py",
        "while written < len(piece):",
        "while False:",
        FILES,
    ),
    (
        "rebyte_flows/files/downloads.py",
        'if reason is None and is_unasked and is_obeyed(item["name"]):',
        "if False:",
        FILES,
    ),
    (
        "rebyte_flows/files/downloads.py",
        "wanted = {normalize(name): name for name in names}",
        "wanted = {name: name for name in names}",
        FILES,
    ),
    # What the shell sees.
    (
        "rebyte_commands/jobs/next_steps.py",
        "own = [name for name in wanted if name in names]",
        "own = wanted",
        COMMANDS,
    ),
    (
        "rebyte_commands/jobs/exit_codes.py",
        'if "unknown" in found:',
        "if False:",
        COMMANDS,
    ),
)
# (file, what stands there, what is put there) -> why it cannot be noticed.
SURVIVES: dict = {}


class Tree:
    """A copy of the tree in which one mutant at a time lives."""

    def __init__(self, folder):
        self.folder = os.path.join(folder, "tree")
        shutil.copytree(ROOT, self.folder, ignore=IGNORED)

    def survives(self, path, before, after, tests):
        """Say whether the tests pass although the code is broken; LookupError if it cannot be."""
        place = os.path.join(self.folder, "scripts", path)
        with open(place, encoding="utf-8") as file:
            text = file.read()
        if before not in text:
            raise LookupError(before)
        with open(place, "w", encoding="utf-8") as file:
            file.write(text.replace(before, after, 1))
        try:
            return self._passes(tests)
        finally:
            with open(place, "w", encoding="utf-8") as file:
                file.write(text)

    def _passes(self, tests):
        there = [
            test for test in tests if os.path.exists(os.path.join(self.folder, test))
        ]
        command = [sys.executable, "-B", "-m", "pytest", "-q", "-x", *there]
        try:
            done = subprocess.run(
                command,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=TEST_SECONDS,
            )
        except subprocess.TimeoutExpired:
            return False
        return done.returncode == 0


def main():
    """Try every mutant and print what survived."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--only",
        default="",
        help="mutants whose file or text has this; several words with |",
    )
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    words = options.only.split("|")
    left = [mutant for mutant in MUTANTS if any(word in mutant[0] for word in words)]
    count = len(left)
    survivors, missing, lock = [], [], threading.Lock()

    def work():
        with tempfile.TemporaryDirectory() as folder:
            tree = Tree(folder)
            while True:
                with lock:
                    if not left:
                        return
                    mutant = left.pop(0)
                try:
                    if tree.survives(*mutant):
                        survivors.append(mutant)
                        print(
                            "survives: %s: %s"
                            % (mutant[0], mutant[2].strip() or mutant[1])
                        )
                except LookupError:
                    missing.append(mutant)
                    print("not found: %s: %s" % (mutant[0], mutant[1].strip()))

    threads = [threading.Thread(target=work) for _ in range(options.jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    unexplained = [mutant for mutant in survivors if mutant[:3] not in SURVIVES]
    print(
        "%d mutants, %d killed, %d survived (%d explained), %d not found"
        % (
            count,
            count - len(survivors) - len(missing),
            len(survivors),
            len(survivors) - len(unexplained),
            len(missing),
        )
    )
    return 1 if unexplained or missing else 0


if __name__ == "__main__":
    sys.exit(main())
