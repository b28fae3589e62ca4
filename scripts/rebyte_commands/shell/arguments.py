"""From words on the command line to a command and its options; errors name the nearest word."""

from __future__ import annotations

import argparse
import math
import os

from rebyte_commands.verb_table import (
    VERBS,
    commands_of,
    help_footer,
    help_header,
    nearest,
)
from rebyte_wire.errors import InputError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, NoReturn

    from rebyte_commands.verb_table import Command

# Stands before a word after "--" that begins with a dash, so that argparse takes it for no flag.
NO_FLAG = "\0"
# An empty prompt has words of its own; an empty text of a machine or webhook takes away what was
# there.
MAY_BE_EMPTY = ("prompt", "prompt_flag", "instructions", "description", "say")
GLOBAL_FLAGS_WITH_VALUE = ("--base-url", "--api-key-file", "--field", "--max-wait")
MAX_SECONDS = 1e9
MAX_COUNT = 1 << 31


class Parser(argparse.ArgumentParser):
    """An argument parser that raises InputError instead of printing and exiting."""

    examples = ""
    summary = ""

    def _parse_optional(self, arg_string: str) -> Any:
        # argparse would take -=NAME, which names stdin, for a flag.
        if arg_string.startswith("-="):
            return None
        return super()._parse_optional(arg_string)

    def format_help(self) -> str:
        """Return the help of a command: examples, flags, exit codes, environment."""
        _, _, flags = super().format_help().partition("\n\n")
        header = help_header(self.prog, self.summary, self.examples)
        return "%s\n%s\n%s" % (header, flags, help_footer())

    def error(self, message: str) -> NoReturn:
        """Raise InputError with the parser's words and the line that shows the right form."""
        message = message.replace(NO_FLAG, "")
        raise InputError(message, code="usage", hint=self._hint_for(message))

    def _hint_for(self, message: str) -> str:
        """Return what to try next for a usage error."""
        see_help = "see: %s --help" % self.prog
        if "unrecognized arguments" in message:
            words = message.split(": ", 1)[-1].split()
            flags = [word.split("=")[0] for word in words if word.startswith("--")]
            known = nearest(flags[0], self._option_string_actions) if flags else None
            return "did you mean %s? %s" % (known, see_help) if known else see_help
        if "--skills" in self._option_string_actions and "prompt" in message:
            return "--skills takes every word after it; put the prompt first or use --prompt"
        return see_help


def parse(words: Sequence[str], prog: str) -> tuple[argparse.Namespace, Command]:
    """Return the options and the command of a command line.

    Raises InputError, and SystemExit only for --help.
    """
    check_no_key(words)
    verb, rest = _take_word(words)
    if verb is None:
        raise InputError(
            "no verb was given", code="usage", hint="see: %s --help" % prog
        )
    if verb not in VERBS:
        raise _unknown("there is no verb %s" % verb, verb, VERBS, "%s --help" % prog)
    commands = commands_of(verb)
    name = verb
    if verb not in commands:
        name, rest = _take_action(verb, commands, rest, prog)
    parser = _parser_for(name, commands[name], prog)
    # A word after "--" is never a flag, so prompts may begin with a dash.
    options = parser.parse_intermixed_args(_mark_after_dashes(rest))
    for flag, value in vars(options).items():
        setattr(options, flag, _without_mark(value))
    options.verb = name
    check_not_empty(options)
    return options, commands[name]


def _take_word(words: Sequence[str]) -> tuple[str | None, list[str]]:
    """Return the first word that is neither a flag nor a global flag's value, and the words
    without it.
    """
    is_value = False
    for place, word in enumerate(words):
        if is_value:
            is_value = False
        elif word in GLOBAL_FLAGS_WITH_VALUE:
            is_value = True
        elif not word.startswith("-"):
            return word, [*words[:place], *words[place + 1 :]]
    return None, list(words)


def _take_action(
    verb: str, commands: dict[str, Command], words: Sequence[str], prog: str
) -> tuple[str, list[str]]:
    """Return the name of a command such as "artifacts get", and the words without its action."""
    action, rest = _take_word(words)
    actions = [name.split()[1] for name in commands]
    if action in actions:
        return "%s %s" % (verb, action), rest
    if "--help" in words or "-h" in words:
        _print_actions(verb, actions, prog)
    message = "%s needs one of: %s" % (verb, ", ".join(actions))
    raise _unknown(message, action or "", actions, "%s %s --help" % (prog, verb))


def _print_actions(verb: str, actions: Sequence[str], prog: str) -> NoReturn:
    """Print which actions a verb has, and exit."""
    parser = Parser(prog="%s %s" % (prog, verb))
    parser.summary = VERBS[verb][1]
    lines = ["  %s %s %s --help" % (prog, verb, action) for action in actions]
    parser.examples = "\n".join(["each action has flags of its own; examples:", *lines])
    add_global_flags(parser)
    parser.print_help()
    parser.exit()


def _unknown(message: str, word: str, known: Any, see: str) -> InputError:
    close = nearest(word, known)
    hint = "did you mean %s? see: %s" % (close, see) if close else "see: %s" % see
    return InputError(message, code="usage", hint=hint)


def _parser_for(name: str, command: Command, prog: str) -> Parser:
    parser = Parser(prog="%s %s" % (prog, name), allow_abbrev=False)
    parser.summary = VERBS[name.split()[0]][1]
    parser.examples = command.examples
    if command.add_flags:
        command.add_flags(parser)
    add_global_flags(parser)
    return parser


def _mark_after_dashes(words: Sequence[str]) -> list[str]:
    """Return words without the first "--", and with a mark on what looks like a flag after it."""
    if "--" not in words:
        return list(words)
    place = words.index("--")
    marked = [
        NO_FLAG + word if word.startswith("-") else word for word in words[place + 1 :]
    ]
    return [*words[:place], *marked]


def _without_mark(value: Any) -> Any:
    """Return a value of the command line as it was typed."""
    if isinstance(value, list):
        return [_without_mark(item) for item in value]
    if isinstance(value, str) and value.startswith(NO_FLAG):
        return value[len(NO_FLAG) :]
    return value


def add_global_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that stand before or after any verb."""
    group = parser.add_argument_group("everywhere")
    group.add_argument(
        "--local",
        action="store_true",
        help="use the server on this machine, started if need be",
    )
    group.add_argument(
        "--base-url",
        metavar="URL",
        help="another address of the API; needs its own --api-key-file",
    )
    group.add_argument(
        "--api-key-file", metavar="F", help="read the key from this file"
    )
    group.add_argument(
        "--max-wait",
        metavar="S",
        type=seconds,
        help="end after so many seconds and say how to go on (default 90)",
    )
    group.add_argument(
        "--json",
        dest="form",
        action="store_const",
        const="json",
        help="JSON, also on a terminal",
    )
    group.add_argument(
        "--text",
        dest="form",
        action="store_const",
        const="text",
        help="text for people, also off a terminal",
    )
    group.add_argument(
        "--field",
        metavar="PATH",
        help="print one field of the document, as id or files.0.path",
    )
    group.add_argument(
        "--quiet", action="store_true", help="nothing on stderr but errors"
    )
    group.add_argument("--debug", action="store_true", help="tracebacks on stderr")


def unparsed_options(words: Sequence[str]) -> argparse.Namespace:
    """Return options for a line that could not be read: only how its error is to be told."""
    form = None
    if "--text" in words:
        form = "text"
    elif "--json" in words:
        form = "json"
    has_field = any(word.partition("=")[0] == "--field" for word in words)
    return argparse.Namespace(
        verb="",
        form=form,
        field="error" if has_field else None,
        quiet=False,
        debug="--debug" in words,
        local=False,
        base_url=None,
        api_key_file=None,
        max_wait=0.0,
    )


def check_not_empty(options: argparse.Namespace) -> None:
    """Refuse an empty value, as a shell variable that is not set leaves it.

    Another service, folder or machine than the one meant would be taken.
    """
    for name, value in vars(options).items():
        is_empty = value == "" or (isinstance(value, list) and "" in value)
        if is_empty and name not in MAY_BE_EMPTY:
            raise InputError(
                "%s is empty; perhaps a variable of the shell is not set"
                % name.replace("_", "-"),
                code="usage",
                hint="give it a value, or leave the flag out",
            )


def check_no_key(words: Sequence[str]) -> None:
    """Refuse a key on the command line, where every process of the machine can read it."""
    for word in words:
        if word.startswith("rbk_") or (word.startswith("--") and "=rbk_" in word):
            raise InputError(
                "a key stands on the command line, where other processes can read it",
                code="key_on_command_line",
                hint="set REBYTE_API_KEY, or write the key to a file and pass --api-key-file FILE; "
                "then make a new key",
            )


def decode_word(word: str) -> str:
    """Return a word of the command line as what was meant.

    Under LC_ALL=C words arrive with surrogates for the bytes behind them, which are UTF-8; bytes
    that are not stay as they are.
    """
    try:
        return os.fsencode(word).decode("utf-8")
    except UnicodeError:
        return word


def seconds(text: str) -> float:
    """Read a number of seconds, 0 or more."""
    number = float(text)
    if math.isnan(number) or not 0 <= number < MAX_SECONDS:
        raise ValueError(text)
    return number


def count(text: str) -> int:
    """Read a whole number, 0 or more."""
    number = int(text)
    if not 0 <= number < MAX_COUNT:
        raise ValueError(text)
    return number


def positive(text: str) -> int:
    """Read a whole number, 1 or more."""
    number = count(text)
    if not number:
        raise ValueError(text)
    return number
