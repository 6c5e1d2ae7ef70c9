"""Writes the man page from the syntax of the command line. Pure."""

import re
from collections.abc import Iterable

from gpu_mesh import __version__
from gpu_mesh.cli.commands import in_groups
from gpu_mesh.cli.grammar import Argument, Syntax, every

_FILES = (
    ("/etc/gpu-mesh, ~/.config/gpu-mesh", "inventory, Apprise configuration, key"),
    ("/var/lib/gpu-mesh, ~/.local/state/gpu-mesh", "state and history"),
    ("/var/log/gpu-mesh/gpu-mesh.log, ~/.local/state/gpu-mesh/log/gpu-mesh.log", "the log"),
)
_ENVIRONMENT = (
    ("GPU_MESH_CONFIG_DIR, GPU_MESH_STATE_DIR, GPU_MESH_LOG_DIR", "other folders than those below"),
    ("GPU_MESH_INVENTORY", "another inventory; several are separated by colons"),
    ("NO_COLOR", "if it is set, no view has colours"),
)


def man_page(syntax: Syntax) -> str:
    """Return the page of section 1, in the macros of man(7)."""
    by_name = {verb.name: verb for verb in syntax.verbs}
    shared = {option.names for option in syntax.options}
    lines = [
        f'.TH GPU-MESH 1 "" "gpu-mesh {__version__}" "Aurora GPU Mesh"',
        ".nh",  # a command is not hyphenated
        ".ad l",
        ".SH NAME",
        f"gpu-mesh \\- {_text(_as_name(syntax.about))}",
        ".SH SYNOPSIS",
        _text(syntax.usage),
        ".SH DESCRIPTION",
        _text(syntax.about),
        ".SH OPTIONS",
        "These may come before the command or after it.",
        *_arguments(syntax.options),
        ".SH COMMANDS",
    ]
    for group, commands in in_groups().items():
        lines += [f".SS {_quoted(group.value)}"]
        for name, command in commands.items():
            lines += [
                ".TP",
                f".B {_text(name)}",
                _text(f"{command.summary[0].upper()}{command.summary[1:]}."),
            ]
    for name in (name for commands in in_groups().values() for name in commands):
        lines += [f".SH {_quoted(f'gpu-mesh {name}'.upper())}", *_command(by_name[name], shared)]
    lines += [".SH ENVIRONMENT", *_tagged(_ENVIRONMENT), ".SH FILES", *_tagged(_FILES)]
    return "\n".join(lines) + "\n"


def _command(syntax: Syntax, shared: set[tuple[str, ...]]) -> list[str]:
    lines = []
    for each in every(syntax):
        if each.path != syntax.path:
            lines.append(f".SS {_quoted(' '.join(each.path))}")
        own = [option for option in each.options if option.names not in shared]
        lines += [_text(f"{each.about[0].upper()}{each.about[1:]}."), ".PP", _text(each.usage)]
        lines += _arguments([*each.places, *own])
    exits, _, examples = syntax.epilog.partition("\n\nexamples:\n")
    statuses = [line.split(maxsplit=1) for line in exits.splitlines()[1:]]
    lines += [
        ".PP",
        "Exit status:",
        *(line for code, when in statuses for line in (".TP", code, _text(when))),
    ]
    shown = [_text(line.strip()) for line in examples.splitlines()]
    return [*lines, ".PP", "Examples:", ".PP", ".RS", ".nf", *shown, ".fi", ".RE"]


def _arguments(arguments: Iterable[Argument]) -> list[str]:
    lines = []
    for each in arguments:
        names = ", ".join(f"\\fB{_text(name)}\\fR" for name in each.names)
        label = f"\\fI{_text(each.label)}\\fR" if each.label else ""
        lines += [".TP", " ".join(filter(None, (names, label))), _text(each.about)]
    return lines


def _tagged(rows: Iterable[tuple[str, str]]) -> list[str]:
    return [line for tag, words in rows for line in (".TP", f".I {_text(tag)}", _text(words))]


def _as_name(about: str) -> str:
    """Return a sentence as man pages give what a program does: without capital and full stop."""
    return about[:1].lower() + about[1:].rstrip(".")


def _quoted(text: str) -> str:
    return f'"{_text(text)}"'


def _text(text: str) -> str:
    """Return text as it is read: no letter of it is a command of the page."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace('"', "\\(dq")
    escaped = re.sub(r"[^\x00-\x7f]", lambda found: f"\\[u{ord(found[0]):04X}]", escaped)
    return re.sub(r"^([.'])", r"\\&\1", escaped)
