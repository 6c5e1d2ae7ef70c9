"""Reads the parsers into values, from which completions and the man page are made."""

import argparse
from enum import Enum, auto

from msgspec import Struct

from gpu_mesh.cli import parser as parsers
from gpu_mesh.cli.commands import COMMANDS
from gpu_mesh.cli.suggesting import SuggestingParser, is_branch


class Kind(Enum):
    """What a value is, for completing it."""

    NOTHING = auto()  # an option without one
    WORD = auto()  # one of a few
    FILE = auto()
    FOLDER = auto()
    NODE = auto()  # a key of the inventory
    OTHER = auto()


class Argument(Struct, frozen=True):
    """An option, or a word that stands for itself."""

    names: tuple[str, ...]  # of an option, the short one first; else none
    label: str  # how its value is written in the help; "": it has none
    words: tuple[str, ...]  # which it may be; none: any
    about: str
    kind: Kind
    many: bool = False  # it may be given several times


class Syntax(Struct, frozen=True):
    """What may follow a command, or a word of it."""

    path: tuple[str, ...]  # the words before it; none: the program itself
    about: str
    usage: str  # in one line
    epilog: str
    options: tuple[Argument, ...]
    places: tuple[Argument, ...]  # arguments that are no options
    verbs: tuple["Syntax", ...]  # words that have a syntax of their own

    @property
    def name(self) -> str:
        """Its last word."""
        return self.path[-1] if self.path else "gpu-mesh"


_KINDS = {
    "SOURCE": Kind.FILE,
    "TRACE": Kind.FILE,
    "FILE": Kind.FILE,
    "DIR": Kind.FOLDER,
    "NODE": Kind.NODE,
    "NODE|GROUP": Kind.NODE,
}


def read() -> Syntax:
    """Return the syntax of the whole command line; what nobody types is left out."""
    return _syntax(parsers.parser(), (), "")


def every(syntax: Syntax) -> tuple[Syntax, ...]:
    """Return the syntax and all below it."""
    return (syntax, *(each for verb in syntax.verbs for each in every(verb)))


def _syntax(parser: SuggestingParser, path: tuple[str, ...], about: str) -> Syntax:
    if isinstance(parser, parsers.CommandParser):
        parser.complete()
    shown = [action for action in parser._actions if action.help != argparse.SUPPRESS]
    branches = [action for action in parser._actions if is_branch(action)]
    verbs = []
    for branch in branches:
        summaries = {each.dest: each.help or "" for each in branch._choices_actions}  # type: ignore[attr-defined]
        for name in parser.words(branch):
            summary = summaries.get(name) or COMMANDS[name].summary
            verbs.append(_syntax(branch.choices[name], (*path, name), summary))  # type: ignore[index]
    return Syntax(
        path=path,
        about=about or (parser.description or "").partition("\n")[0],
        usage=" ".join(parser.format_usage().removeprefix("usage: ").split()),
        epilog=parser.epilog or "",
        options=tuple(_argument(parser, action) for action in shown if action.option_strings),
        places=tuple(
            _argument(parser, action)
            for action in shown
            if not action.option_strings and not is_branch(action)
        ),
        verbs=tuple(verbs),
    )


def _argument(parser: SuggestingParser, action: argparse.Action) -> Argument:
    words = tuple(parser.words(action))
    takes_value = action.nargs != 0
    label = str(action.metavar or ("|".join(words) if words else action.dest.upper())) if takes_value else ""
    kind = Kind.WORD if words else _KINDS.get(label, Kind.OTHER)
    return Argument(
        names=tuple(sorted(action.option_strings, key=len)),
        label=label,
        words=words,
        about=" ".join((action.help or "").replace("%%", "%").split()),
        kind=kind if takes_value else Kind.NOTHING,
        many=action.nargs in ("*", "+") or type(action).__name__ == "_AppendAction",
    )
