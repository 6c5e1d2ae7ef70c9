"""Turns the commands within a sentence into what a person types where the sentence is read. Pure.

Next steps name commands in their plain form: ``gpu-mesh status``, ``ansible -m raw -a id gpu1``. Which
options and which user these need depends on how the monitor runs, and what decides does not know that.
"""

import re
import shlex

from msgspec import Struct


class Shell(Struct, frozen=True):
    """Where a person types a command of the monitor."""

    options: tuple[str, ...] = ()  # of gpu-mesh: -i, --monitor, --state-dir; none where it is installed
    inventory: tuple[str, ...] = ()  # its sources
    installed: bool = False  # by site.yml: then that also keeps the known host keys
    user: bool = False  # in user scope: its units are the user's own
    owner: str = ""  # who owns what the monitor keeps, if the person must become that user first
    ansible: str = "ansible"  # the program


IN_USER_SCOPE = " (in user scope with --user)"
"""What a text adds to a command on the monitor's units where it cannot know whose they are."""

AS_IT_IS = Shell()
"""One in which a command needs nothing more."""


def typed(text: str, shell: Shell) -> str:
    """Return the text with each command as it is typed in this shell."""
    if shell.installed:
        text = re.sub(_KEYGEN, "run site.yml again", text)
        text = text.replace(IN_USER_SCOPE, "")
    text = re.sub(_OWN_UNIT, lambda found: f"{_tool(found[1], shell)}{found[2]}", text)
    if shell.owner and not shell.user:
        text = re.sub(_SOCKETS, r"sudo \g<0>", text)
    text = re.sub(_LOGIN, lambda found: _login(found[1], shell), text)
    return re.sub(_GPU_MESH, lambda found: _gpu_mesh(shell, own_source=bool(found[1])), text)


_COMMAND = (
    r"(?<![\w./@-])"
    r"(?:sudo (?:-u [\w.-]+ )?)?(?:/[\w./-]+/)?"
    r"(?:ansible(?:-playbook)?|chmod|docker|gpu-mesh|journalctl|df|(?<=sudo )(?:mkdir|modprobe|rm|rmmod)"
    r"|nvidia-smi(?= -)|ss|ssh(?! server)|ssh-keygen|ssh-keyscan|systemctl)"
    r" [^`]+?(?=[;,.]? (?:on|or|as|when|and|to|by hand|inside) | there\b| \(|[;,] |[.;]?$)"
    r"|(?<![\w./@-])(?:lspci|nvidia-smi)\b"
)
"""A command within a sentence: a program that the next steps use, up to where the sentence continues."""

_BEFORE = r"(?<![\w./@-])(?<!sudo )"
_NAMES = (
    "ack|alerts|best|check|cluster|completion|dashboard|deliver|drain|export|history|incidents|init|look|publish"
    "|recover|report|run|silence|simulate|stats|status|top|undrain|validate|wake"
)
_GPU_MESH = rf"{_BEFORE}gpu-mesh (?=(-i )|(?:{_NAMES})\b)"
_LOGIN = _BEFORE + r"ansible (-m raw )"
_KEYGEN = _BEFORE + r"ssh-keygen -R (?:'[^']*'|\S+)"
_OWN_UNIT = _BEFORE + r"(journalctl|systemctl)(?: --user)?((?: start| restart| -u)? gpu-mesh[@.-])"
_SOCKETS = _BEFORE + r"ss -ltnp "


def with_commands(sentence: str) -> tuple[tuple[str, bool], ...]:
    """Split a sentence into parts, each with whether it is a command to copy."""
    parts: list[tuple[str, bool]] = []
    end = 0
    for found in re.finditer(_COMMAND, sentence):
        parts += [(sentence[end : found.start()], False), (found[0], True)]
        end = found.end()
    return tuple((part, is_command) for part, is_command in (*parts, (sentence[end:], False)) if part)


def _gpu_mesh(shell: Shell, *, own_source: bool) -> str:
    program = "sudo gpu-mesh" if shell.owner else "gpu-mesh"
    options = () if own_source else shell.options
    return f"{shlex.join((*program.split(), *options))} "


def _tool(program: str, shell: Shell) -> str:
    if shell.user:
        return f"{program} --user"
    return f"sudo {program}" if shell.owner else program


def _login(rest: str, shell: Shell) -> str:
    become = ("sudo", "-u", shell.owner) if shell.owner else ()
    sources = [part for source in shell.inventory for part in ("-i", source)]
    return f"{shlex.join((*become, shell.ansible, *sources))} {rest}"
