"""The work of ``gpu-mesh silence``: reads what a person wants muted, adds, lists and ends silences."""

import difflib
import os
import pwd
from collections.abc import Callable, Iterable, Mapping

from msgspec import Struct

from gpu_mesh.domain.alert import Level, Silence
from gpu_mesh.domain.event import Severity, event
from gpu_mesh.domain.mesh import Mesh
from gpu_mesh.domain.state import State
from gpu_mesh.silences import silences
from gpu_mesh.silences.silences import InForce
from gpu_mesh.storage.state_file import StateFile
from gpu_mesh.system.log import Log
from gpu_mesh.text import humanize
from gpu_mesh.text.humanize import moment, until_words
from gpu_mesh.text.sanitize import one_line
from gpu_mesh.text.table import aligned

EXAMPLE = "gpu-mesh silence add iceland --for 2h --reason 'driver update'"
_LISTED = 10  # right names in a message


class Wish(Struct, frozen=True):
    """A silence as the command line has it."""

    names: tuple[str, ...]  # of nodes and groups
    everything: bool
    length: str
    reason: str
    levels: tuple[str, ...]
    no_recovery: bool


def read(wish: Wish, mesh: Mesh, author: str, now: float) -> Silence:
    """Turn the wish into a silence without a number.

    Args:
        wish: what the command line says.
        mesh: whose nodes and groups there are.
        author: who adds it.
        now: Unix seconds.

    Raises:
        ValueError: something is missing or does not exist; the message says what to write instead.
    """
    if not wish.names and not wish.everything:
        raise ValueError(f"say what to silence: nodes, groups, or --all; such as {EXAMPLE}")
    if wish.names and wish.everything:
        raise ValueError(f"--all means every node: leave out {' '.join(wish.names)}, or --all")
    if not wish.length:
        raise ValueError(f"a silence needs an end: add --for with 30m, 2h or 1d; such as {EXAMPLE}")
    reason = one_line(wish.reason, 200)
    if not reason:
        raise ValueError(f"a silence needs a reason: add --reason with a few words; such as {EXAMPLE}")
    keys = tuple(node.key for node in mesh.nodes)
    groups = tuple(dict.fromkeys(group for node in mesh.nodes for group in node.groups))
    for name in wish.names:
        if name not in keys and name not in groups:
            raise ValueError(f"there is no node or group {name!r}; {_nearest(name, (*keys, *groups))}")
    for level in wish.levels:
        if level.lower() not in list(Level):
            raise ValueError(f"there is no level {level!r}; {_nearest(level.lower(), tuple(Level))}")
    wanted = {level.lower() for level in wish.levels}
    return Silence(
        id=0,
        at=now,
        until=now + humanize.parse(wish.length, silences.LONGEST),
        reason=reason,
        author=one_line(author, 60) or "somebody",
        nodes=tuple(key for key in keys if key in wish.names),
        groups=tuple(group for group in groups if group in wish.names and group not in keys),
        levels=tuple(level for level in Level if level in wanted),
        no_recovery=wish.no_recovery,
    )


def add(wanted: Silence, file: StateFile, log: Log, now: float) -> str:
    """Put the silence into the state and the log; return what to tell.

    Raises:
        StateError: the state may not be written.
    """
    with file.update(now) as state:
        added = silences.add(state, wanted, now)
    told = _told(added, now)
    log.write([event("silence_added", Severity.INFO, id=added.id, author=added.author, line=told)], now)
    return f"{told[0].upper()}{told[1:]}\nChecks go on. To end it early: gpu-mesh silence end {added.id}\n"


def end(number: int, file: StateFile, log: Log, author: str, now: float, mesh: Callable[[], Mesh]) -> str:
    """End the silence of that number in the state, note it in the log; return what to tell.

    Args:
        number: the silence's.
        file: the state.
        log: takes that it was ended.
        author: who ends it.
        now: Unix seconds.
        mesh: returns the mesh, which tells what else its nodes are muted by.

    Raises:
        ValueError: there is none of that number.
        StateError: the state may not be written.
    """
    if not any(each.id == number for each in file.load().silences):
        raise ValueError(f"there is no silence {number}; see which there are: gpu-mesh silence list")
    with file.update(now) as state:
        before = silences.end(state, number, now)
    if before is None:
        return f"Silence {number} has just been forgotten: it ended a day ago\n"
    over = before.until <= now
    if not over:
        log.write([event("silence_ended", Severity.INFO, id=number, author=author)], now)
    left = silences.left(mesh(), state.silences, before, now)
    said = f"ended already, at {until_words(before.until, now)}" if over else "has ended"
    if left:
        lines = "".join(f"\n  {silences.described(each, now)}" for each in left)
        said += f", but alerts of {silences.scope(before)} still rest because of:{lines}"
    elif not over:
        said += f": alerts of {silences.scope(before)} are told again"
    return f"Silence {number} {said}\n"


def table(mesh: Mesh, state: State, now: float) -> str:
    """Write what is silent now, and the silences that ended within a day.

    Args:
        mesh: for its maintenance windows.
        state: as loaded.
        now: Unix seconds.
    """
    over = [each for each in silences.remembered(state.silences, now) if each.until <= now]
    rows: list[tuple[str, ...]] = [
        *(_row(each, moment(each.until)) for each in silences.in_force(mesh, state.silences, now)),
        *(_row(each, f"ended {moment(each.until)}") for each in over),
    ]
    if not rows:
        return f"Nothing is silenced. To silence a node: {EXAMPLE}\n"
    header = ("No", "What", "Until", "By", "Why", "Recovery")
    return "".join(f"{line}\n" for line in aligned([header, *rows]))


def login(environ: Mapping[str, str]) -> str:
    """Name the person at the keyboard: who called sudo, else who logged in, else whose process this is."""
    if name := environ.get("SUDO_USER", ""):
        return name
    try:
        return os.getlogin()
    except OSError:  # no terminal
        pass
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's user is only a number
        return f"user {os.getuid()}"


def _row(each: Silence | InForce, until: str) -> tuple[str, ...]:
    return (
        "-" if each.id is None else str(each.id),
        silences.scope(each),
        until,
        each.author or "maintenance",
        each.reason,
        "off" if each.no_recovery else "on",
    )


def _told(added: Silence, now: float) -> str:
    (shown,) = silences.in_force(Mesh(()), (added,), now)
    return silences.described(shown, now)


def _nearest(name: str, known: Iterable[str]) -> str:
    names = tuple(known)
    near = difflib.get_close_matches(name, names, n=1)
    if near:
        return f"did you mean {near[0]}?"
    if name == "all":
        return "to silence everything: --all"
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"there are: {', '.join(names[:_LISTED])}{more}"
