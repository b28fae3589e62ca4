"""From lines or rows to the entries of a batch; every bad line is named before anything is sent."""

from __future__ import annotations

import csv
import json
import re

from rebyte_commands.arguments import read_text
from rebyte_commands.starting import file_id, place_fields, read_prompt_file
from rebyte_commands.verbs.files import attach, attach_skill, is_local_skill
from rebyte_flows.batch import Entry
from rebyte_flows.files.uploads import STREAM
from rebyte_flows.starting.orders import Order
from rebyte_flows.starting.rows import check_name
from rebyte_wire.errors import InputError, RebyteError

KEYS = {
    "once": str,
    "prompt": str,
    "prompt_file": str,
    "files": list,
    "executor": str,
    "model": str,
    "skills": list,
    "repo": str,
    "branch": str,
    "workspace": str,
    "want": list,
}
FIELD = re.compile(r"\{\{\s*([^{}]+?)\s*\}\}")


def read_entries(context, options):
    """Return the entries of the batch; raises one InputError that names every bad line."""
    typed = [{"prompt": text} for text in options.prompt] + [
        {"prompt_file": path} for path in options.prompt_file
    ]
    if bool(options.file) == bool(typed):
        raise InputError("a batch needs a FILE, or --prompt once or more", code="usage")
    if options.once_field and not options.template:
        raise InputError(
            '--once-field needs --template; a line of JSON names its task with "once"', code="usage"
        )
    rows = list(enumerate(typed, 1)) if typed else _read_rows(context, options)
    _check_stdin_once(options, [row for _, row in rows if isinstance(row, dict)])
    attachments, entries, bad = {}, [], []
    for number, row in rows:
        try:
            entries.append(_entry(context, options, len(entries) + len(bad) + 1, row, attachments))
        except RebyteError as problem:
            bad.append({"line": number, "message": problem.message})
    if bad:
        raise InputError(
            "%d of %d lines are wrong; line %d: %s"
            % (len(bad), len(rows), bad[0]["line"], bad[0]["message"]),
            code="bad_lines",
            hint="correct them; nothing was sent",
            details={"lines": bad[:50]},
        )
    if not entries:
        raise InputError("there is no line in %s" % options.file)
    return entries


def _check_stdin_once(options, rows):
    """Raise InputError when stdin is named more than once: it can be read only once."""
    lists = [row["files"] for row in rows if isinstance(row.get("files"), list)] + [
        options.file_flag
    ]
    streams = {
        word
        for words in lists
        for word in words
        if isinstance(word, str) and word.startswith(STREAM)
    }
    names = [options.file, options.template] + [row.get("prompt_file") for row in rows]
    if len(streams) + names.count("-") > 1:
        raise InputError("stdin was named twice; it can be read only once", code="usage")


def _read_rows(context, options):
    text = read_text(options.file, "the batch", context.stdin)
    if options.template:
        template = read_text(options.template, "the template", context.stdin)
        rows = (
            _csv_rows(text)
            if not options.file.endswith((".jsonl", ".ndjson"))
            else _json_rows(text)
        )
        return [(number, _filled(template, row, options.once_field)) for number, row in rows]
    if options.file.endswith(".csv"):
        raise InputError(
            "rows of a CSV need --template F, a prompt with {{field}} in it", code="usage"
        )
    return _json_rows(text)


def _csv_rows(text):
    reader = csv.DictReader(text.splitlines(True), strict=True)
    try:
        return [(reader.line_num, row) for row in reader]
    except csv.Error as problem:
        raise InputError("line %d is no CSV: %s" % (reader.line_num, problem))


def _json_rows(text):
    rows = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                rows.append((number, json.loads(line)))
            except (ValueError, RecursionError) as problem:
                rows.append((number, "not JSON: %s" % problem))
    return rows


def _filled(template, row, once_field):
    """Return the line that a row makes of the template, or words that say what is wrong."""
    if not isinstance(row, dict):
        return row if isinstance(row, str) else "an object was expected"
    missing = sorted({name for name in FIELD.findall(template) if row.get(name) is None})
    if missing or once_field and row.get(once_field) in (None, ""):
        return "the row has no %s" % ", ".join(missing or [once_field])
    line = {"prompt": FIELD.sub(lambda match: str(row[match.group(1)]), template)}
    if once_field:
        line["once"] = str(row[once_field])
    return line


def _entry(context, options, index, line, attachments):
    if not isinstance(line, dict):
        raise InputError(line if isinstance(line, str) else "an object was expected")
    _check_line(line)
    paths = line.get("files", []) + options.file_flag
    for path in paths:
        if path not in attachments:
            attachments[path] = attach(path, context.stdin, options.zip)
    skills = line.get("skills", []) + options.skill_flag + options.skills
    for word in skills:
        if word not in attachments and is_local_skill(word):
            attachments[word] = attach_skill(word)
    local = [word for word in skills if is_local_skill(word)]
    place = {
        name: line.get(name) or getattr(options, name)
        for name in ("executor", "model", "repo", "branch", "workspace")
    }
    order = Order(
        line["prompt"]
        if "prompt" in line
        else read_prompt_file(line["prompt_file"], context.stdin),
        **place_fields(context, **place),
        attachments=[attachments[word] for word in paths + local],
        skills=[word for word in skills if word not in local],
        file_ids=[file_id(word) for word in options.file_id],
        want=line.get("want", []) + options.want_flag,
        no_questions=options.no_questions,
        bare=options.bare,
    )
    return Entry(index, order, check_name(line["once"]) if "once" in line else None)


def _check_line(line):
    for key, value in line.items():
        if key not in KEYS:
            raise InputError("there is no key %r; the keys are: %s" % (key, ", ".join(KEYS)))
        if (
            not isinstance(value, KEYS[key])
            or KEYS[key] is list
            and not all(isinstance(item, str) for item in value)
        ):
            raise InputError(
                "%s is %s; %s was expected"
                % (
                    key,
                    json.dumps(value)[:60],
                    "a list of texts" if KEYS[key] is list else "a text",
                )
            )
    if ("prompt" in line) == ("prompt_file" in line):
        raise InputError("a line needs a prompt or a prompt_file")
