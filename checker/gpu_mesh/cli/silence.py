"""``gpu-mesh silence``: mute the alerts of nodes, groups or everything; list what is muted; end it."""

import argparse
import os
import time
from collections.abc import Callable, Iterable
from datetime import tzinfo
from functools import partial

from msgspec import Struct

from gpu_mesh.cli.commands import COMMANDS, describe_exits
from gpu_mesh.cli.common import UsageError, add_shared, any_mesh, mesh_of, say, shell, width
from gpu_mesh.cli.leading import with_reach
from gpu_mesh.cli.person import login
from gpu_mesh.cli.suggesting import SuggestingParser
from gpu_mesh.domain.alert import Level, Silence
from gpu_mesh.domain.cluster import Writer
from gpu_mesh.domain.event import Severity, event
from gpu_mesh.domain.mesh import Mesh
from gpu_mesh.domain.state import State
from gpu_mesh.silences import silences
from gpu_mesh.silences.silences import InForce
from gpu_mesh.storage.place import state_of
from gpu_mesh.storage.state_file import StateFile
from gpu_mesh.system.log import Log
from gpu_mesh.system.paths import Paths
from gpu_mesh.text import humanize
from gpu_mesh.text.commands import typed
from gpu_mesh.text.humanize import until_words
from gpu_mesh.text.sanitize import one_line
from gpu_mesh.text.suggest import did_you_mean
from gpu_mesh.text.table import aligned_within
from gpu_mesh.text.zones import full

EXAMPLE = "gpu-mesh silence add iceland --for 2h --reason 'driver update'"
EXAMPLES = f"{EXAMPLE} --no-recovery\n  gpu-mesh silence list\n  gpu-mesh silence end 3"
_LISTED = 10  # right names in a message


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what only this command takes."""
    verbs = parser.add_subparsers(dest="what", required=True, metavar="WHAT", parser_class=SuggestingParser)
    adding = _add_verb(
        verbs,
        "add",
        "mute the alerts of nodes, of groups or of everything",
        f"{EXAMPLE} --no-recovery\n"
        "  gpu-mesh silence add --all --for 30m --reason 'new switch' --level warning",
    )
    adding.usage = (
        "%(prog)s (NODE|GROUP ... | --all) --for TIME --reason REASON\n"
        "       [--level LEVEL ...] [--until-healthy] [--no-recovery]\n"
        "       [-h] [-i SOURCE] [--monitor HOST] [--state-dir DIR] [-v]"
    )
    adding.add_argument("names", nargs="*", metavar="NODE|GROUP", help="whose alerts")
    adding.add_argument("--all", action="store_true", help="everybody's, and the monitor's own")
    adding.add_argument(
        "--for", dest="length", default="", metavar="TIME", help="how long: 30m, 2h, 1h30m, 1d"
    )
    adding.add_argument("--reason", default="", help="why; others will read it")
    adding.add_argument("--level", action="append", default=[], help="only this level; repeatable")
    adding.add_argument(
        "--until-healthy",
        action="store_true",
        help="end it early, once they failed and are healthy",
    )
    adding.add_argument("--no-recovery", action="store_true", help="nothing is repaired meanwhile")
    _add_verb(verbs, "list", "list what is muted, and until when", "gpu-mesh silence list")
    ending = _add_verb(verbs, "end", "end a silence now", "gpu-mesh silence end 3")
    ending.add_argument("number", type=int, metavar="ID", help="its number in the list")


def _add_verb(
    verbs: "argparse._SubParsersAction[SuggestingParser]", name: str, summary: str, examples: str
) -> argparse.ArgumentParser:
    verb = verbs.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog=f"{describe_exits(COMMANDS['silence'])}\n\nexamples:\n  {examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_shared(verb, inherited=True)
    return verb


def run(arguments: argparse.Namespace, paths: Paths, log: Log) -> int:
    """Mute alerts for a while, list what is muted, or end it."""
    now, author = time.time(), login(os.environ)
    mesh = any_mesh(arguments, paths)
    file = state_of(paths, mesh, log, writer=Writer.PERSON)
    try:
        if arguments.what == "end":
            said = end(arguments.number, file, log, author, now, partial(any_mesh, arguments, paths))
        elif arguments.what == "list":
            said = table(mesh_of(arguments, paths), file.load(), now, None, width())
        else:
            request = Request(
                names=tuple(arguments.names),
                everything=arguments.all,
                length=arguments.length,
                reason=arguments.reason,
                levels=tuple(arguments.level),
                no_recovery=arguments.no_recovery,
                until_healthy=arguments.until_healthy,
            )
            said = add(read(request, mesh_of(arguments, paths), author, now), file, log, now)
    except ValueError as error:
        raise UsageError(str(error)) from error
    said = typed(said, shell(arguments, paths))
    say(said if arguments.what == "list" else with_reach(said, file, mesh), now)
    return 0


class Request(Struct, frozen=True):
    """A silence as the command line asks for it."""

    names: tuple[str, ...]  # of nodes and groups
    everything: bool
    length: str
    reason: str
    levels: tuple[str, ...]
    no_recovery: bool
    until_healthy: bool = False


def read(request: Request, mesh: Mesh, author: str, now: float) -> Silence:
    """Turn the request into a silence without a number.

    Args:
        request: what the command line says.
        mesh: the nodes and groups that can be named.
        author: who adds it.
        now: Unix seconds.

    Raises:
        ValueError: something is missing or does not exist; the message says what to write instead.
    """
    if not request.names and not request.everything:
        raise ValueError(f"say what to silence: nodes, groups, or --all; such as {EXAMPLE}")
    if request.names and request.everything:
        raise ValueError(f"--all means every node: leave out {' '.join(request.names)}, or --all")
    if not request.length:
        raise ValueError(f"a silence needs an end: add --for with 30m, 2h or 1d; such as {EXAMPLE}")
    reason = one_line(request.reason, 200)
    if not reason:
        raise ValueError(f"a silence needs a reason: add --reason with a few words; such as {EXAMPLE}")
    keys = tuple(node.key for node in mesh.nodes)
    groups = tuple(dict.fromkeys(group for node in mesh.nodes for group in node.groups))
    for name in request.names:
        if name not in keys and name not in groups:
            raise ValueError(f"there is no node or group {name!r}; {_nearest(name, (*keys, *groups))}")
    for level in request.levels:
        if level.lower() not in list(Level):
            raise ValueError(f"there is no level {level!r}; {_nearest(level.lower(), tuple(Level))}")
    wanted = {level.lower() for level in request.levels}
    return Silence(
        id=0,
        at=now,
        until=now + humanize.parse_duration(request.length, 60, silences.LONGEST),
        reason=reason,
        author=one_line(author, 60) or "somebody",
        nodes=tuple(key for key in keys if key in request.names),
        groups=tuple(group for group in groups if group in request.names and group not in keys),
        levels=tuple(level for level in Level if level in wanted),
        no_recovery=request.no_recovery,
        until_healthy=request.until_healthy,
    )


def add(wanted: Silence, file: StateFile, log: Log, now: float) -> str:
    """Add the silence to the state and the log; return the text for the person.

    Raises:
        StateError: the state cannot be written.
    """
    with file.update(now) as state:
        added = silences.add(state, wanted, now)
    words = _words(added, now)
    log.write([event("silence_added", Severity.INFO, id=added.id, author=added.author, line=words)], now)
    return f"{words[0].upper()}{words[1:]}\nChecks go on. To end it early: gpu-mesh silence end {added.id}\n"


def end(number: int, file: StateFile, log: Log, author: str, now: float, mesh: Callable[[], Mesh]) -> str:
    """End the silence with that number in the state, and log it; return the text for the person.

    Args:
        number: the silence's.
        file: the state.
        log: the log.
        author: who ends it.
        now: Unix seconds.
        mesh: returns the mesh, to find what else mutes its nodes.

    Raises:
        ValueError: there is no silence with that number.
        StateError: the state cannot be written.
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
        said += f", but alerts of {silences.scope(before)} stay muted by:{lines}"
    elif not over:
        said += f": it no longer mutes alerts of {silences.scope(before)}"
    return f"Silence {number} {said}\n"


def table(mesh: Mesh, state: State, now: float, zone: tzinfo | None, columns: int = 0) -> str:
    """Return a table of what is silenced now, and of the silences that ended within a day.

    Args:
        mesh: for its maintenance windows.
        state: as loaded.
        now: Unix seconds.
        zone: of the times; None: the machine's.
        columns: of a terminal, which the table is cut to; 0: nothing is cut.
    """
    over = [each for each in silences.remembered(state.silences, now) if each.until <= now]
    rows: list[tuple[str, ...]] = [
        *(_row(each, _until(each, zone)) for each in silences.in_force(mesh, state.silences, now)),
        *(_row(each, f"ended {full(each.until, zone)}") for each in over),
    ]
    if not rows:
        return f"Nothing is silenced. To silence a node: {EXAMPLE}\n"
    header = ("No", "What", "Until", "By", "Recovery", "Why")
    return "".join(f"{line}\n" for line in aligned_within([header, *rows], columns, optional=(3,)))


def _row(each: Silence | InForce, until: str) -> tuple[str, ...]:
    return (
        "-" if each.id is None else str(each.id),
        silences.scope(each),
        until,
        each.author or "maintenance",
        "off" if each.no_recovery else "on",
        one_line(each.reason, 200),
    )


def _until(each: InForce, zone: tzinfo | None) -> str:
    return f"{full(each.until, zone)}{', or healthy' if each.until_healthy else ''}"


def _words(added: Silence, now: float) -> str:
    (shown,) = silences.in_force(Mesh(()), (added,), now)
    return silences.described(shown, now)


def _nearest(name: str, known: Iterable[str]) -> str:
    names = tuple(known)
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    all_there_are = f"there are: {', '.join(names[:_LISTED])}{more}"
    return did_you_mean(name, names, "to silence everything: --all" if name == "all" else all_there_are)
