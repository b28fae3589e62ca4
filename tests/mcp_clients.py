"""Clients of others against `rebyte_cli.py mcp`: the official Python SDK (PyPI: mcp) in both eras,
fastmcp (PyPI) and the inspector's command line (npm), each where it is installed.

python3 tests/mcp_clients.py    lists and calls every tool; exit 1 when one that is there fails
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
DOOR = os.path.join(ROOT, "scripts", "rebyte_cli.py")
PROMPT = "Make a file.\n```sh run\nmkdir -p artifacts; echo 1 > artifacts/one.csv; echo done\n```"
TOOLS = ["start_task", "look", "reply", "fetch_files", "cancel_task", "list_tasks"]
CALL_SECONDS = 60


class World:
    """A folder with a state of its own, and the line that begins the server in it."""

    def __init__(self, folder):
        self.folder = os.path.realpath(folder)
        self.environ = dict(
            os.environ,
            REBYTE_STATE_DIR=os.path.join(self.folder, "state"),
            PYTHONDONTWRITEBYTECODE="1",
        )
        self.words = [DOOR, "--local", "mcp", "--max-tasks", "9", "--root", self.folder]

    def stop(self):
        """End the local server that the calls have begun."""
        subprocess.run(
            [sys.executable, DOOR, "local", "stop"],
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )


async def use(call, listed):
    """Use each tool once through `call(name, arguments)` -> structured content."""
    assert listed == TOOLS, listed
    started = await call("start_task", {"prompt": PROMPT})
    seen = await call("look", {"ids": [started["id"]]})
    assert (seen["status"], seen["answer"]) == ("completed", "done"), seen
    fetched = await call("fetch_files", {"id": started["id"], "folder": "home"})
    assert os.path.exists(fetched["files"][0]["path"]), fetched
    turn = await call("reply", {"id": started["id"], "prompt": "Once more."})
    assert turn["promptId"]
    assert (await call("cancel_task", {"ids": [started["id"]]}))["id"] == started["id"]
    assert (await call("list_tasks", {}))["total"] >= 1


def sdk(mode):
    """Return what drives the official SDK's client in one era."""

    async def drive(world):
        from mcp import Client, StdioServerParameters

        server = StdioServerParameters(
            command=sys.executable, args=world.words, env=world.environ
        )
        async with Client(
            server, mode=mode, read_timeout_seconds=CALL_SECONDS
        ) as client:
            listed = [tool.name for tool in (await client.list_tools()).tools]

            async def call(name, arguments):
                result = await client.call_tool(name, arguments)
                assert not result.is_error, result
                return result.structured_content

            await use(call, listed)

    return drive


async def fastmcp(world):
    """Drive fastmcp's client."""
    from fastmcp import Client
    from fastmcp.client.transports import StdioTransport

    transport = StdioTransport(sys.executable, world.words, env=world.environ)
    async with Client(transport) as client:
        listed = [tool.name for tool in await client.list_tools()]

        async def call(name, arguments):
            result = await client.call_tool(name, arguments)
            return result.structured_content

        await use(call, listed)


async def inspector(world):
    """Drive the inspector's command line, which begins a server for each call."""
    program = shutil.which("mcp-inspector")
    config = os.path.join(world.folder, "config.json")
    server = {
        "type": "stdio",
        "command": sys.executable,
        "args": world.words,
        "env": world.environ,
    }
    with open(config, "w") as file:
        json.dump({"mcpServers": {"rebyte": server}}, file)

    def ask(*words):
        line = [program, "--cli", "--config", config, "--server", "rebyte", *words]
        done = subprocess.run(
            line,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=CALL_SECONDS,
        )
        assert done.returncode == 0, done.stderr.decode()[-2000:]
        return json.loads(done.stdout)

    async def call(name, arguments):
        given = [
            word
            for key, value in arguments.items()
            for word in (
                "--tool-arg",
                "%s=%s" % (key, value if isinstance(value, str) else json.dumps(value)),
            )
        ]
        result = ask("--method", "tools/call", "--tool-name", name, *given)
        return result["structuredContent"]

    listed = [tool["name"] for tool in ask("--method", "tools/list")["tools"]]
    await use(call, listed)


CLIENTS = (
    ("mcp, by initialize", "mcp", sdk("legacy")),
    ("mcp, by server/discover", "mcp", sdk("auto")),
    ("fastmcp", "fastmcp", fastmcp),
    ("inspector", None, inspector),
)


def is_there(module):
    """Tell whether a client is installed."""
    if module is None:
        return shutil.which("mcp-inspector") is not None
    return importlib.util.find_spec(module) is not None


def main():
    """Drive every client that is there; exit 1 when one fails or none is there."""
    failed, driven = 0, 0
    for name, module, drive in CLIENTS:
        if not is_there(module):
            print("%-24s not installed, not run" % name)
            continue
        driven += 1
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            world = World(folder)
            try:
                asyncio.run(drive(world))
                word = "every tool"
            except BaseException as problem:
                failed += 1
                word = "FAILED: %s: %s" % (type(problem).__name__, problem)
                for inner in getattr(problem, "exceptions", ()):
                    word += "\n  %s: %s" % (type(inner).__name__, inner)
            finally:
                world.stop()
        print("%-24s %s, %.1f s" % (name, word, time.monotonic() - began))
    return 1 if failed or not driven else 0


if __name__ == "__main__":
    sys.exit(main())
