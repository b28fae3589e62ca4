"""What make harnesses rests on, without any program: the rules of README.md are those that it tries,
and the scripted model speaks to each of them.
"""

from __future__ import annotations

import json
import os
import urllib.request

import pytest

import harnesses
from measure import read
from scripted_model import END, ScriptedModel, shell

PATHS = {
    "messages": "/v1/messages",
    "responses": "/v1/responses",
    "chat": "/v1/chat/completions",
    "gemini": "/v1beta/models/one:streamGenerateContent?alt=sse",
}
SCHEMA = {"properties": {"command": {"type": "string"}}, "required": ["command"]}
FIRST = {
    "messages": {
        "stream": True,
        "tools": [{"name": "Bash", "input_schema": SCHEMA}],
        "messages": [{"role": "user", "content": "go"}],
    },
    "responses": {
        "stream": True,
        "tools": [{"type": "function", "name": "exec_command", "parameters": SCHEMA}],
        "input": [{"role": "user", "content": "go"}],
    },
    "chat": {
        "stream": True,
        "tools": [{"function": {"name": "bash", "parameters": SCHEMA}}],
        "messages": [{"role": "user", "content": "go"}],
    },
    "gemini": {
        "tools": [
            {
                "functionDeclarations": [
                    {"name": "run_shell_command", "parametersJsonSchema": SCHEMA}
                ]
            }
        ],
        "contents": [{"role": "user", "parts": [{"text": "go"}]}],
    },
}
RESULTS = {
    "messages": (
        "messages",
        {"role": "user", "content": [{"type": "tool_result", "content": "it ran"}]},
    ),
    "responses": ("input", {"type": "function_call_output", "output": "it ran"}),
    "chat": ("messages", {"role": "tool", "content": "it ran"}),
    "gemini": (
        "contents",
        {"parts": [{"functionResponse": {"response": {"output": "it ran"}}}]},
    ),
}


def post(url, body):
    request = urllib.request.Request(url, json.dumps(body).encode(), method="POST")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=20) as answer:
        return answer.read().decode()


@pytest.mark.parametrize("api", sorted(PATHS))
def test_the_scripted_model_calls_the_shell_once_and_then_ends(api):
    with ScriptedModel([shell("echo typed")]) as model:
        body = json.loads(json.dumps(FIRST[api]))
        assert "echo typed" in post(model.url + PATHS[api], body)
        key, result = RESULTS[api]
        body[key].append(result)
        said = post(model.url + PATHS[api], body)
        assert END in said and "echo typed" not in said
        assert model.results() == ["it ran"]


def test_a_side_request_without_a_shell_takes_no_turn():
    with ScriptedModel([shell("echo typed")]) as model:
        body = {"stream": True, "messages": [{"role": "user", "content": "a title"}]}
        assert END in post(model.url + PATHS["chat"], body)
        assert model.requests == []


@pytest.mark.parametrize(
    "text, document",
    [
        ('Exit code 3\nrebyte: no\n{"a": 1}\nmore', {"a": 1}),
        ('Output: {"a": {"b": 2}}\nProcess Group', {"a": {"b": 2}}),
        ('{"cut": ', None),
        ("denied by policy", None),
    ],
)
def test_the_document_is_found_in_what_a_shell_tool_gives_back(text, document):
    assert harnesses.document_in(text) == document


def test_the_rules_in_the_readme_are_those_that_are_tried(tmp_path):
    home = str(tmp_path)
    world = harnesses.World(home, home, home, "PATH")
    words = harnesses.copilot(world, "", "rule")[0]
    tried = {
        ".claude/settings.json": harnesses.claude,
        ".codex/rules/default.rules": harnesses.codex,
        ".gemini/settings.json": harnesses.gemini,
        ".config/opencode/opencode.json": harnesses.opencode,
    }
    readme = read("README.md")
    for name, settings in tried.items():
        settings(world, "", "rule")
        written = read(os.path.join(home, name))
        rule = readme.split("`~/%s`: `" % name)[1].split("`")[0]
        if name.endswith(".json"):
            have = json.loads(written)
            wanted = json.loads(rule)
            assert {key: have[key] for key in wanted} == wanted
        else:
            assert rule == written.strip()
    assert "copilot --allow-tool '%s' --add-dir PATH" % words[4] in readme
    assert words[3:] == ["--allow-tool", "shell(python3)", "--add-dir", "PATH"]
