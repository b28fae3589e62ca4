"""A model service on loopback that says what a script tells it, so that a real agent program can
be driven without an account.

It speaks the streams of Anthropic Messages, OpenAI Responses, OpenAI Chat Completions and Gemini.
It keeps no state: which turn is next follows from how many tool results a request carries, so that
a program may retry and ask as it likes.
"""

from __future__ import annotations

import collections
import gzip
import http.server
import json
import re
import threading

# A prompt may hold what is to be done, as JSON between marks: see PlannedModel.
PLAN = re.compile(r"@@(\{.*?\})@@", re.S)
SHELL_TOOLS = ("Bash", "bash", "exec_command", "run_shell_command", "shell_command")
COMMAND_KEYS = ("command", "cmd")
END = "That was all."

# `tools` is {name: schema}; `results` has the text of each tool result, in order; `items` all that
# was said to the model, in order, as (who, text), results among them.
Request = collections.namedtuple("Request", "api tools results text items")
# What the model says: a call or words, or an HTTP status.
Reply = collections.namedtuple("Reply", "status call words")
Call = collections.namedtuple("Call", "name arguments")


def shell(line: str):
    """Return a turn that types a line into the program's shell tool, whatever its name."""

    def turn(request: Request) -> Call:
        name = next(name for name in SHELL_TOOLS if name in request.tools)
        schema = request.tools[name]
        properties = schema.get("properties") or {"command": {}}
        arguments = {key: "a step" for key in schema.get("required") or []}
        key = next(key for key in COMMAND_KEYS if key in properties)
        arguments[key] = line(request) if callable(line) else line
        return Call(name, arguments)

    return turn


def call(name: str, /, **arguments):
    """Return a turn that calls a tool by its name."""
    return lambda request: Call(name, arguments)


def text_of(value) -> str:
    """Return the text in a tool result, in whichever shape a program sends it."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "\n".join(map(text_of, value))
    if isinstance(value, dict):
        known = [value[key] for key in ("text", "content", "output") if key in value]
        return text_of(known[0]) if known else json.dumps(value)
    return str(value)


def schema_of(tool: dict) -> dict:
    """Return the schema of a tool's arguments."""
    names = ("input_schema", "parametersJsonSchema", "parameters")
    return next((tool[name] for name in names if tool.get(name)), {})


class Messages:
    """Anthropic Messages."""

    path = "/messages"

    @staticmethod
    def tools(body):
        return body.get("tools") or []

    @staticmethod
    def results(body):
        blocks = [
            block
            for message in body.get("messages", [])
            if isinstance(message.get("content"), list)
            for block in message["content"]
        ]
        return [one.get("content") for one in blocks if one["type"] == "tool_result"]

    @staticmethod
    def events(said, called, number):
        block = {"type": "text", "text": ""}
        delta = {"type": "text_delta", "text": said}
        if called:
            identity = "toolu_%06d" % number
            block = dict(type="tool_use", id=identity, name=called.name, input={})
            words = json.dumps(called.arguments)
            delta = {"type": "input_json_delta", "partial_json": words}
        usage = {"input_tokens": 1, "output_tokens": 1}
        message = dict(
            id="msg_%06d" % number,
            type="message",
            role="assistant",
            model="scripted",
            content=[],
            stop_reason=None,
            usage=usage,
        )
        reason = "tool_use" if called else "end_turn"
        end = {"stop_reason": reason, "stop_sequence": None}
        for event in (
            {"type": "message_start", "message": message},
            {"type": "content_block_start", "index": 0, "content_block": block},
            {"type": "content_block_delta", "index": 0, "delta": delta},
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": end, "usage": usage},
            {"type": "message_stop"},
        ):
            yield event["type"], event


class Responses:
    """OpenAI Responses."""

    path = "/responses"

    @staticmethod
    def tools(body):
        return body.get("tools") or []

    @staticmethod
    def results(body):
        items = body.get("input") if isinstance(body.get("input"), list) else []
        return [
            one.get("output")
            for one in items
            if one.get("type") == "function_call_output"
        ]

    @staticmethod
    def events(said, called, number):
        part = {"type": "output_text", "text": said, "annotations": []}
        item = dict(type="message", role="assistant", content=[part])
        if called:
            words = json.dumps(called.arguments)
            item = dict(type="function_call", name=called.name, arguments=words)
            item["call_id"] = "call_%06d" % number
        item.update(id="item_%06d" % number, status="completed")
        usage = dict(input_tokens=1, output_tokens=1, total_tokens=2)
        answer = dict(id="resp_%06d" % number, object="response", output=[])
        done = dict(answer, status="completed", output=[item], usage=usage)
        for event in (
            {"type": "response.created", "response": dict(answer, status="queued")},
            {"type": "response.output_item.added", "output_index": 0, "item": item},
            {"type": "response.output_item.done", "output_index": 0, "item": item},
            {"type": "response.completed", "response": done},
        ):
            yield event["type"], event


class Chat:
    """OpenAI Chat Completions."""

    path = "/chat/completions"

    @staticmethod
    def tools(body):
        return [tool["function"] for tool in body.get("tools") or []]

    @staticmethod
    def results(body):
        messages = body.get("messages", [])
        return [one.get("content") for one in messages if one["role"] == "tool"]

    @staticmethod
    def events(said, called, number):
        delta = {"role": "assistant", "content": said}
        if called:
            function = dict(name=called.name, arguments=json.dumps(called.arguments))
            identity = "call_%06d" % number
            one = dict(index=0, id=identity, type="function", function=function)
            delta = {"role": "assistant", "content": None, "tool_calls": [one]}
        head = dict(id="chat_%06d" % number, object="chat.completion.chunk", created=1)
        head["model"] = "scripted"
        usage = dict(prompt_tokens=1, completion_tokens=1, total_tokens=2)
        end = dict(index=0, delta={}, finish_reason="tool_calls" if called else "stop")
        first = dict(index=0, delta=delta, finish_reason=None)
        yield None, dict(head, choices=[first])
        yield None, dict(head, choices=[end], usage=usage)
        yield None, "[DONE]"


class Gemini:
    """Gemini's generateContent."""

    path = "enerateContent"

    @staticmethod
    def tools(body):
        groups = body.get("tools") or []
        return [
            one for group in groups for one in group.get("functionDeclarations", [])
        ]

    @staticmethod
    def results(body):
        parts = [
            part
            for content in body.get("contents", [])
            for part in content.get("parts", [])
        ]
        answers = [
            one["functionResponse"] for one in parts if "functionResponse" in one
        ]
        return [one.get("response") for one in answers]

    @staticmethod
    def events(said, called, number):
        part = {"text": said}
        if called:
            function = dict(name=called.name, args=called.arguments)
            part = {"functionCall": dict(function, id="call_%06d" % number)}
        content = {"role": "model", "parts": [part]}
        candidate = {"content": content, "finishReason": "STOP", "index": 0}
        usage = dict(promptTokenCount=1, candidatesTokenCount=1, totalTokenCount=2)
        yield None, {"candidates": [candidate], "usageMetadata": usage}


def items_of(body: dict):
    """Yield (who, text) of what was said to the model, in order: user, result or another word."""
    listed = body.get("messages") or body.get("contents") or body.get("input") or []
    for item in listed if isinstance(listed, list) else []:
        who = item.get("role") or item.get("type") or ""
        if who in ("tool", "function_call_output"):
            yield "result", text_of(item.get("content") or item.get("output"))
            continue
        blocks = item.get("content") or item.get("parts") or []
        for block in [blocks] if isinstance(blocks, str) else blocks:
            if isinstance(block, str):
                yield who, block
            elif block.get("type") == "tool_result" or "functionResponse" in block:
                yield "result", text_of(block.get("content") or "")
            elif isinstance(block.get("text"), str):
                yield who, block["text"]


APIS = (Messages, Responses, Chat, Gemini)


class Handler(http.server.BaseHTTPRequestHandler):
    """One connection of an agent program."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        """Say nothing: the requests are kept."""

    def do_GET(self):
        """Name one model, for programs that look first."""
        self._send({"object": "list", "data": [{"id": "scripted", "object": "model"}]})

    do_HEAD = do_GET

    def do_POST(self):
        """Answer with the next turn of the script."""
        body = self._read()
        path = self.path.partition("?")[0]
        api = next((one for one in APIS if path.endswith(one.path)), None)
        if api is None:
            return self._send({"input_tokens": 1, "totalTokens": 1})
        tools = {tool.get("name"): schema_of(tool) for tool in api.tools(body)}
        results = [text_of(result) for result in api.results(body)]
        text = json.dumps(body, ensure_ascii=False)
        request = Request(api, tools, results, text, list(items_of(body)))
        reply = self.server.model.reply(request)
        if reply.status != 200:
            error = {"type": "error", "message": "told to fail", "code": reply.status}
            return self._send({"type": "error", "error": error}, reply.status)
        events = list(api.events(reply.words, reply.call, len(results) + 1))
        if body.get("stream") or "streamGenerate" in path:
            return self._stream(events)
        # Only side requests (a title, a summary) are asked for in one piece.
        return self._send(events[0][1] if api is Gemini else {})

    def _read(self):
        data = b""
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            while True:
                size = int(self.rfile.readline().partition(b";")[0], 16)
                data += self.rfile.read(size)
                self.rfile.readline()
                if not size:
                    break
        else:
            data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Content-Encoding") == "gzip":
            data = gzip.decompress(data)
        try:
            body = json.loads(data)
        except ValueError:
            body = {}
        return body if isinstance(body, dict) else {}

    def _send(self, value, status=200):
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _stream(self, events):
        lines = []
        for name, data in events:
            lines.append("event: %s\n" % name if name else "")
            text = data if isinstance(data, str) else json.dumps(data)
            lines.append("data: %s\n\n" % text)
        whole = "".join(lines).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Content-Length", str(len(whole)))
        self.end_headers()
        self.wfile.write(whole)


class Quiet(http.server.ThreadingHTTPServer):
    """A server that says nothing when a program hangs up."""

    daemon_threads = True

    def handle_error(self, request, client_address):
        """Leave it: the program that hung up is the one that is looked at."""


class ScriptedModel:
    """The service, on a free port, for the length of a with block.

    A turn is what `shell` or `call` returned; after the last one words end the conversation.
    `requests` has what came with tools, in order.
    """

    def __init__(self, turns) -> None:
        self.turns = turns
        self.requests = []
        self._lock = threading.Lock()
        self._server = Quiet(("127.0.0.1", 0), Handler)
        self._server.model = self
        self.url = "http://127.0.0.1:%d" % self._server.server_port

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()

    def reply(self, request: Request) -> Reply:
        """Return what to say to a request."""
        return Reply(200, self.next_call(request), END)

    def next_call(self, request: Request):
        """Return the call that the conversation is at, None at its end and for side requests."""
        if not any(name in request.tools for name in SHELL_TOOLS):
            return None
        with self._lock:
            self.requests.append(request)
        index = len(request.results)
        return self.turns[index](request) if index < len(self.turns) else None

    def results(self) -> list:
        """Return what the program gave back for each turn, as the model was told it."""
        longest = max((one.results for one in self.requests), key=len, default=[])
        return longest[: len(self.turns)]


class PlannedModel(ScriptedModel):
    """Does what the last prompt says that holds a plan: @@{"run": [lines], "say": words}@@.

    `status` in a plan is an HTTP error instead. It keeps no state either: where it stands in a plan
    follows from how many results came after it. `plans` has each plan that was begun, in order, and
    what was said before it in the same conversation.
    """

    def __init__(self) -> None:
        super().__init__(())

    def reply(self, request: Request) -> Reply:
        """Return the step of the plan that the conversation is at."""
        found = None
        results = 0
        for who, text in request.items:
            if who == "result":
                results += 1
                continue
            plans = PLAN.findall(text)
            if plans:
                found = json.loads(plans[-1])
                results = 0
        if found is None:
            return Reply(200, None, END)
        with self._lock:
            self.requests.append(request)
        lines = found.get("run", [])
        if "status" in found:
            return Reply(found["status"], None, "")
        is_shell = any(name in request.tools for name in SHELL_TOOLS)
        if results < len(lines) and is_shell:
            return Reply(200, shell(lines[results])(request), "")
        return Reply(200, None, found.get("say", END))
