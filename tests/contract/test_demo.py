"""The demo tells a true story: short, quick, from anywhere, and it leaves nothing behind."""
from __future__ import annotations

import os
import subprocess
import sys
import time

from project_tree import ROOT

LINES_MOST = 20
SECONDS_MOST = 20


def run_python(tmp_path, *arguments):
    """Run this Python in an empty folder with its own temporary directory; return (exit code, lines)."""
    environ = dict(os.environ, TMPDIR=str(tmp_path), PYTHONDONTWRITEBYTECODE="1")
    done = subprocess.run([sys.executable] + list(arguments), cwd=str(tmp_path), env=environ, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=SECONDS_MOST * 4)
    return done.returncode, done.stdout.decode("utf-8", "replace").splitlines()


def test_the_demo_is_quick_short_and_leaves_nothing(tmp_path):
    began = time.monotonic()
    status, lines = run_python(tmp_path, os.path.join(ROOT, "examples", "demo.py"))
    assert status == 0, "\n".join(lines)
    assert time.monotonic() - began < SECONDS_MOST
    assert len(lines) <= LINES_MOST
    assert [line for line in lines if "equal" in line] and "no process left" in lines[-2]
    assert os.listdir(str(tmp_path)) == []


def test_the_demo_fails_when_the_figures_differ(tmp_path):
    script = ("import sys; sys.path.insert(0, %r); import demo; "
              "demo.best_month_by_sql = lambda: ('another figure', 1); sys.exit(demo.main())" % os.path.join(ROOT, "examples"))
    status, lines = run_python(tmp_path, "-B", "-c", script)
    assert status == 1
    assert "another figure" in lines[-1]
    assert os.listdir(str(tmp_path)) == []


def test_the_sample_orders_are_what_their_script_makes(tmp_path):
    status, lines = run_python(tmp_path, os.path.join(ROOT, "examples", "make_orders.py"))
    assert status == 0
    with open(os.path.join(ROOT, "examples", "orders.csv"), "rb") as file:
        assert file.read() == ("\n".join(lines) + "\n").encode()
