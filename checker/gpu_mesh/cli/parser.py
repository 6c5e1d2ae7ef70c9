"""Parses the command line: the table of commands as parsers, and the help in groups."""

import argparse
import importlib
from collections.abc import Iterator
from typing import Any

from gpu_mesh import __version__
from gpu_mesh.cli.commands import COMMANDS, describe_exits, in_groups
from gpu_mesh.cli.common import add_shared
from gpu_mesh.cli.suggesting import SuggestingParser

DESCRIPTION = (
    "Watches Ollama nodes, names what is wrong, repairs it, proves the repair and tells the right person."
)
EPILOG = """\
examples:
  gpu-mesh -i inventory validate      is the inventory right?
  gpu-mesh check --deliver            check every node once, then send the alerts that are due
  gpu-mesh status                     what is going on
  gpu-mesh recover --dry-run          what would be repaired, and why not
  gpu-mesh best --model llama3.2      which node to use
  gpu-mesh demo                       watch a mesh fail and be repaired, on this machine alone
"""


_WIDTH, _NAME = 80, 13  # cells of a line of the help, and where the summaries begin


def parser() -> SuggestingParser:
    """Return the parser of the whole command line; without a command, ``command`` is None."""
    whole = _WholeParser(
        prog="gpu-mesh",
        usage="%(prog)s [OPTION ...] COMMAND ...",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_shared(whole)
    whole.add_argument("--version", action="version", version=f"gpu-mesh {__version__}")
    commands = whole.add_subparsers(
        dest="command",
        metavar="COMMAND",
        prog="gpu-mesh",
        help=argparse.SUPPRESS,  # the description lists them
    )
    commands.choices = commands._name_parser_map = _Parsers()  # type: ignore[assignment]
    whole.hidden = [name for name, command in COMMANDS.items() if command.group is None]
    return whole


class _WholeParser(SuggestingParser):
    """The parser of the whole command line; its help lists the commands, which a check need not word."""

    def format_help(self) -> str:
        """Return the help, with the commands in their groups."""
        self.description = f"{DESCRIPTION}\n\n{_groups()}"
        return super().format_help()


def module(name: str) -> Any:
    """Return the module of a command; it is loaded when it is needed."""
    return importlib.import_module(f"gpu_mesh.cli.{COMMANDS[name].module}")


class CommandParser(SuggestingParser):
    """The parser of one command; it imports the command's module when it parses."""

    _is_whole = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Add the command's own arguments, then parse."""
        self.complete()
        return super().parse_known_args(args, namespace)

    def complete(self) -> None:
        """Add the command's own arguments, once."""
        if self._is_whole:
            return
        self._is_whole = True
        name = self.prog.rpartition(" ")[2]
        own, command = module(name), COMMANDS[name]
        self.description = f"{command.summary[0].upper()}{command.summary[1:]}."
        self.epilog = f"{describe_exits(command)}\n\nexamples:\n  {own.EXAMPLES}"
        add_shared(self, inherited=True)
        own.add_arguments(self)


class _Parsers(dict[str, CommandParser]):
    """The parsers of all commands by name, each made when it is needed: making two dozen takes 10 ms."""

    def __missing__(self, name: str) -> CommandParser:
        if name not in COMMANDS:
            raise KeyError(name)
        made = CommandParser(prog=f"gpu-mesh {name}", formatter_class=argparse.RawDescriptionHelpFormatter)
        self[name] = made
        return made

    def __contains__(self, name: object) -> bool:
        return name in COMMANDS

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


def _groups() -> str:
    """Return the commands with their summaries, below the headings of their groups."""
    import textwrap  # not for a check

    parts = []
    for group, commands in in_groups().items():
        lines = [f"{group.value}:"]
        for name, command in commands.items():
            begin = f"  {name}".ljust(_NAME) + "  "
            lines += textwrap.wrap(
                command.summary, _WIDTH, initial_indent=begin, subsequent_indent=" " * len(begin)
            )
        parts.append("\n".join(lines))
    return "\n\n".join(parts)
