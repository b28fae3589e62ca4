"""From words on the command line to a namespace, and to the texts that they name; errors name the nearest word."""

from __future__ import annotations

import argparse
import codecs
import os
import select
import sys

from rebyte_commands.verb_table import VERBS, closing, module_of, nearest, opening
from rebyte_wire.errors import InputError

NO_FLAG = "\0"
# An empty prompt has words of its own; an empty text of a machine or webhook takes away what was there.
MAY_BE_EMPTY = ("prompt", "prompt_flag", "instructions", "description", "say")
PIECE_BYTES = 1 << 18
GLOBAL_FLAGS_WITH_VALUE = ("--base-url", "--api-key-file", "--field", "--max-wait")


class Parser(argparse.ArgumentParser):
    """An argument parser that raises InputError instead of printing and exiting."""

    verb = examples = summary = ""

    def _parse_optional(self, arg_string):
        # argparse would take -=NAME, which names stdin, for a flag.
        return None if arg_string.startswith("-=") else super()._parse_optional(arg_string)

    def format_help(self):
        """Return the help of a verb: examples, flags, exit codes, environment."""
        usage, _, flags = super().format_help().partition("\n\n")
        return (
            opening(self.prog, self.summary, self.examples)
            + "\n"
            + flags
            + "\n"
            + closing(self.verb)
        )

    def error(self, message):
        """Raise InputError with the parser's words and the line that shows the right form."""
        message = message.replace(NO_FLAG, "")
        raise InputError(message, code="usage", hint=self.hint_for(message))

    def hint_for(self, message):
        """Return what to try next for a usage error."""
        if "unrecognized arguments" in message:
            return self._hint_for_unknown(message.split(": ", 1)[-1])
        if "--skills" in self._option_string_actions and "prompt" in message:
            return "--skills takes every word after it; put the prompt first or use --prompt"
        return "see: %s --help" % self.prog

    def _hint_for_unknown(self, words):
        first = next((word for word in words.split() if word.startswith("--")), None)
        known = first and nearest(first.split("=")[0], self._option_string_actions)
        return (
            "did you mean %s? see: %s --help" % (known, self.prog)
            if known
            else "see: %s --help" % self.prog
        )


def place_of_verb(words):
    """Return where the verb stands, None if nowhere: the first word that is neither a flag nor a global flag's value."""
    skip = False
    for place, word in enumerate(words):
        if skip:
            skip = False
        elif word in GLOBAL_FLAGS_WITH_VALUE:
            skip = True
        elif not word.startswith("-"):
            return place
    return None


def after_dashes_marked(words):
    """Return words without the first "--", and with a mark on what looks like a flag after it: argparse forgets the dashes."""
    if "--" not in words:
        return words
    place = words.index("--")
    return words[:place] + [
        NO_FLAG + word if word.startswith("-") else word for word in words[place + 1 :]
    ]


def without_mark(value):
    """Return a value of the command line as it was typed."""
    if isinstance(value, list):
        return [without_mark(item) for item in value]
    return value[len(NO_FLAG) :] if isinstance(value, str) and value.startswith(NO_FLAG) else value


def add_global_flags(parser):
    """Add the flags that stand before or after any verb."""
    group = parser.add_argument_group("everywhere")
    group.add_argument(
        "--local", action="store_true", help="use the server on this machine, started if need be"
    )
    group.add_argument(
        "--base-url", metavar="URL", help="another address of the API; needs its own --api-key-file"
    )
    group.add_argument("--api-key-file", metavar="F", help="read the key from this file")
    group.add_argument(
        "--max-wait",
        metavar="S",
        type=seconds,
        help="end after so many seconds and say how to go on (default 90)",
    )
    group.add_argument(
        "--json", dest="form", action="store_const", const="json", help="JSON, also on a terminal"
    )
    group.add_argument(
        "--text",
        dest="form",
        action="store_const",
        const="text",
        help="text for people, also off a terminal",
    )
    group.add_argument(
        "--field", metavar="PATH", help="print one field of the document, as id or files.0.path"
    )
    group.add_argument("--quiet", action="store_true", help="nothing on stderr but errors")
    group.add_argument("--debug", action="store_true", help="tracebacks on stderr")


def parse(words, prog):
    """Return (namespace, run function) of a command line; raises InputError, and SystemExit only for --help."""
    check_no_key(words)
    place = place_of_verb(words)
    if place is None:
        raise InputError("no verb was given", code="usage", hint="see: %s --help" % prog)
    verb, rest = words[place], words[:place] + words[place + 1 :]
    if verb not in VERBS:
        known = nearest(verb, VERBS)
        raise InputError(
            "there is no verb %s" % verb,
            code="usage",
            hint="did you mean %s?" % known if known else "see: %s --help" % prog,
        )
    flags, run, example = module_of(verb).COMMANDS[verb]
    parser = Parser(prog="%s %s" % (prog, verb), allow_abbrev=False)
    parser.verb, parser.summary, parser.examples = verb, VERBS[verb][1], example
    flags(parser)
    add_global_flags(parser)
    # A word after "--" is never a flag, so prompts may begin with a dash.
    options = parser.parse_intermixed_args(after_dashes_marked(rest))
    for name, value in vars(options).items():
        setattr(options, name, without_mark(value))
    options.verb = verb
    check_not_empty(options)
    return options, run


def check_not_empty(options):
    """Refuse an empty value, as a shell variable that is not set leaves it: another service, folder or machine would be taken."""
    for name, value in vars(options).items():
        if name not in MAY_BE_EMPTY and (value == "" or isinstance(value, list) and "" in value):
            raise InputError(
                "%s is empty; perhaps a variable of the shell is not set" % name.replace("_", "-"),
                code="usage",
                hint="give it a value, or leave the flag out",
            )


def check_no_key(words):
    """Refuse a key on the command line, where every process of the machine can read it."""
    for word in words:
        if word.startswith("rbk_") or word.startswith("--") and "=rbk_" in word:
            raise InputError(
                "a key stands on the command line, where other processes can read it",
                code="key_on_command_line",
                hint="set REBYTE_API_KEY, or write the key to a file and pass --api-key-file FILE; then make a new key",
            )


class Stdin:
    """stdin, read to its end but not beyond the time there is: a pipe that nobody closes is told instead of waited for."""

    def __init__(self, stream, deadline):
        self.stream, self.deadline = stream, deadline
        self.closed = stream is None or stream.closed

    def __repr__(self):
        return "Stdin(%r)" % self.deadline

    def read(self, size=-1):
        """Return up to `size` bytes (text, where the stream has no bytes below it), all without a size; b"" at the end."""
        source = getattr(self.stream, "buffer", self.stream)
        if not hasattr(source, "read1"):
            return source.read(size)
        pieces, left = [], sys.maxsize if size is None or size < 0 else size
        while left:
            self._wait(source)
            piece = source.read1(min(left, PIECE_BYTES))
            if not piece:
                break
            pieces.append(piece)
            left -= len(piece)
        return b"".join(pieces)

    def _wait(self, source):
        """Wait until something can be read; where the system cannot tell, the read itself waits."""
        try:
            ready = select.select([source], [], [], self.deadline.left())[0]
        except (OSError, ValueError, TypeError):
            return
        if not ready:
            raise InputError(
                "stdin did not end before the time was over",
                code="usage",
                hint="close it, pass a file, or give it more time with --max-wait S",
            )


def read_text(path, what, stdin, limit_bytes=None):
    """Return the text in a file (- for `stdin`), at most so many bytes of it; it has to be UTF-8, a byte order mark is passed over."""
    place = "stdin" if path == "-" else path
    try:
        if path == "-":
            if stdin.closed:
                raise InputError("%s was to come from stdin, and stdin is closed" % what)
            data = stdin.read(limit_bytes)
        else:
            # A pipe by name, as <(...) of a shell, is read like stdin; to open one without a writer must not wait.
            with open(
                path,
                "rb",
                opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0)),
            ) as file:
                data = Stdin(file, stdin.deadline).read(limit_bytes)
        # Where the limit cuts, it may cut a character.
        whole = limit_bytes is None or len(data) < limit_bytes
        return (
            codecs.getincrementaldecoder("utf-8-sig")().decode(data, whole)
            if isinstance(data, bytes)
            else data
        )
    except UnicodeDecodeError as problem:
        raise InputError(
            "%s in %s is not UTF-8 (byte %d)" % (what, place, problem.start),
            hint="save it as UTF-8, so that nothing of it is lost on the way",
        ) from None
    except (OSError, ValueError) as problem:
        raise InputError(
            "cannot read %s from %s: %s"
            % (what, place, getattr(problem, "strerror", None) or problem)
        )


def seconds(text):
    """Read a number of seconds, 0 or more."""
    number = float(text)
    if not 0 <= number < 1e9:
        raise ValueError(text)
    return number


def count(text):
    """Read a whole number, 0 or more."""
    number = int(text)
    if not 0 <= number < 1 << 31:
        raise ValueError(text)
    return number
