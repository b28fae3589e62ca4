"""Which programs the owner switched on, at which level: the words of --agents."""

from __future__ import annotations

import os
import shutil
import sys
from typing import NamedTuple

from rebyte_local.agents import claude, codex, gemini, opencode, pi
from rebyte_local.agents.environment import boxed
from rebyte_local.agents.program import BOXED, DEFAULT, Environment, Program, Turn

PROGRAMS: dict[str, Program] = {
    module.PROGRAM.name: module.PROGRAM
    for module in (claude, codex, gemini, opencode, pi)
}
ALL = "all"
KNOWN = "known are %s, and all" % ", ".join(PROGRAMS)


class Agent(NamedTuple):
    """A program that is switched on, and its level."""

    program: Program
    level: str

    @property
    def spelled(self) -> str:
        """What --agents calls it."""
        name = self.program.name
        return name if self.level == DEFAULT else "%s:%s" % (name, self.level)


def parse_agents(words: str) -> dict[str, Agent]:
    """Return the agents that words name, in order, none for no words; raises ValueError.

    `all` stands for every program that is found here and has a level of its own to work under; a
    level that is named for one of them counts.
    """
    parts = [part.strip() for part in words.split(",")]
    names = [part for part in parts if part]
    if words and not names:
        raise ValueError("it names no program; %s" % KNOWN)
    named = _named([word for word in names if word != ALL])
    agents: dict[str, Agent] = {}
    for word in names:
        for agent in _found() if word == ALL else [_agent(word)]:
            name = agent.program.name
            agents.setdefault(name, named.get(name, agent))
    return agents


def _named(words: list[str]) -> dict[str, Agent]:
    """Return the agents of words without `all`; raises ValueError for two levels of one program."""
    named: dict[str, Agent] = {}
    for agent in map(_agent, words):
        known = named.setdefault(agent.program.name, agent)
        if known != agent:
            raise ValueError("%s or %s: name one" % (known.spelled, agent.spelled))
    return named


def _found() -> list[Agent]:
    return [
        Agent(program, DEFAULT)
        for program in PROGRAMS.values()
        if DEFAULT in program.levels and shutil.which(program.name)
    ]


def _agent(word: str) -> Agent:
    name, _, level = word.partition(":")
    program = PROGRAMS.get(name)
    if program is None:
        raise ValueError("%s is no program known here; %s" % (word, KNOWN))
    level = level or DEFAULT
    if level in program.levels:
        return Agent(program, level)
    spellings = ", ".join(Agent(program, known).spelled for known in program.levels)
    raise ValueError("%s: name one of %s" % (word, spellings))


def find_command(name: str) -> str | None:
    """Return the path of a command on the server's PATH, None where there is none."""
    path = shutil.which(name)
    return os.path.abspath(path) if path else None


def missing_needs(agent: Agent) -> list[str]:
    """Return the commands that a level calls for and that are not here."""
    needs: tuple[str, ...] = ()
    if agent.level == BOXED:
        needs = ("bwrap",)
    elif agent.level == DEFAULT and sys.platform.startswith("linux"):
        # Elsewhere the system itself has what is called for.
        needs = agent.program.needs
    return [name for name in needs if not find_command(name)]


def command_of(agent: Agent, turn: Turn, env: Environment, workspace: str) -> list[str]:
    """Return the whole command line of a turn."""
    words = agent.program.command(turn)
    words[0] = find_command(words[0]) or words[0]
    if agent.level == BOXED:
        return boxed(words, agent.program, env, workspace)
    return words
