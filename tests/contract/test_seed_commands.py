"""Every curl command of the two documents this bundle was asked from runs as written against the local server.

Only the address, the key, the example ids, the upload address and where a repository comes from are replaced.
"""
from __future__ import annotations

import json
import os
import re
import shutil
import subprocess

import pytest

from rebyte_local.server import LocalServer

DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data")
MISSING = [name for name in ("bash", "curl", "jq", "git") if shutil.which(name) is None]
pytestmark = pytest.mark.skipif(bool(MISSING), reason="missing: " + ", ".join(MISSING))
# The status goes to stderr, so that what the commands do with stdout is untouched; the poll loop need not wait 5 s.
PRELUDE = "curl() { command curl -w '%{stderr}\\nSTATUS %{http_code}\\n' \"$@\"; }\nsleep() { command sleep 0.05; }\n"

CASES = [  # document, a text only this command has, its statuses, the fields of the JSON it prints
    ("tasks-api-page", "Build a REST API with Express", [201], {"id", "workspaceId", "url", "status", "createdAt"}),
    ("tasks-api-page", "RESP=", [201, 201], {"id", "workspaceId", "url", "status", "createdAt"}),
    ("tasks-api-page", "/tasks?limit=10", [200], {"data", "total", "limit", "offset"}),
    ("tasks-api-page", "curl https://api.rebyte.ai/v1/tasks/550e8400-... ", [200],
     {"id", "url", "status", "title", "executor", "model", "createdAt", "completedAt", "prompts"}),
    ("tasks-api-page", "Now add authentication with JWT", [201], {"promptId"}),
    ("tasks-api-page", "/cancel", [200], {"id", "status", "canceledPrompts"}),
    ("tasks-api-page", "/events", [200], None),
    ("tasks-api-page", "/visibility", [200], {"visibility", "shareUrl"}),
    ("tasks-api-page", "curl -X DELETE https://api.rebyte.ai/v1/tasks/", [204], None),
    ("tasks-api-page", "UPLOAD_URL_FROM_STEP_1", [200], None),
    ("tasks-api-page", "curl https://api.rebyte.ai/v1/workspaces/", [200], {"data"}),
    ("tasks-api-page", "curl -o report.pdf", [200], None),
    ("tasks-api-page", "-F \"files=@report.pdf\"", [201], {"uploaded"}),
    ("tasks-api-page", "large-dataset.csv", [200], None),
    ("tasks-api-page", "660e8400-.../artifacts/report.pdf \\\n-H \"API_KEY: rbk_xxx\"\nDELETE", [204], None),
    ("tasks-api-page", "660e8400-.../artifacts \\\n-H \"API_KEY: rbk_xxx\"\n#all", [204], None),
    ("tasks-api-page", "while true", None, {"promptId"}),
    ("skill-page", "Your task description here", [201], {"id", "workspaceId", "url", "status", "createdAt"}),
    ("skill-page", "FILE_RESP=", [201, 200, 201], {"id", "workspaceId", "url", "status", "createdAt"}),
    ("skill-page", "\"branchName\": \"main\"", [201], {"id", "workspaceId", "url", "status", "createdAt"}),
    ("skill-page", "/visibility", [200], {"visibility", "shareUrl"}),
    ("skill-page", "jq '{status, url}'", [200], {"status", "url"}),
    ("skill-page", "Now fix the issues you found", [201], {"promptId"}),
    ("skill-page", "TASK1=", [201, 201], {"id", "workspaceId", "url", "status", "createdAt"}),
    ("skill-page", "curl -s -X DELETE", [204], None),
]
