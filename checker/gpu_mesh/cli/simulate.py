"""``gpu-mesh simulate``: read a trace, and the inventory where one is needed; show what would follow."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import yaml
from msgspec import Struct

from gpu_mesh.cli.common import UsageError, add_json
from gpu_mesh.domain.mesh import Mesh
from gpu_mesh.inventory import reader
from gpu_mesh.inventory.mistakes import Mistake, describe
from gpu_mesh.simulation import simulator, story
from gpu_mesh.simulation.trace_parser import TraceError, read
from gpu_mesh.system.log import Log
from gpu_mesh.system.paths import Paths

EXAMPLES = "gpu-mesh simulate trace.yml\n  gpu-mesh simulate trace.yml --set recovery_max_attempts=1"

_LARGEST = 1_000_000  # bytes of a trace


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what only this command takes."""
    parser.add_argument("trace", metavar="TRACE", help="a YAML file")
    parser.add_argument(
        "--set",
        dest="given",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a setting (mesh_monitor_NAME) for this story; repeatable",
    )
    add_json(parser)


def run(arguments: argparse.Namespace, paths: Paths, _log: Log) -> int:
    """Show what would follow from a trace; 1 when that is not what the trace expects."""
    request = Request(
        Path(arguments.trace),
        tuple(arguments.given),
        paths.inventory if arguments.inventory else (),
        paths.inventory,
        arguments.monitor,
    )
    try:
        text, unmet = render(request, as_json=arguments.json)
    except ValueError as error:
        raise UsageError(str(error)) from error
    sys.stdout.write(text)
    sys.stderr.write("".join(f"not as expected: {each}\n" for each in unmet))
    return int(bool(unmet))


class Request(Struct, frozen=True):
    """What the command line asks for."""

    file: Path
    given: tuple[str, ...] = ()  # NAME=VALUE
    named: tuple[str, ...] = ()  # the inventory that the command line names; (): none
    usual: tuple[str, ...] = ()  # the inventory that is used where the trace has no nodes
    monitor: str | None = None  # whose settings count


class Document(Struct, frozen=True):
    """The story as ``--json`` writes it."""

    schema: int
    about: str
    seconds: float
    checks: int
    events: tuple[story.Event, ...]
    counts: story.Counts
    unmet: tuple[str, ...]


def render(request: Request, *, as_json: bool = False) -> tuple[str, tuple[str, ...]]:
    """Return the story as text, and each expectation of the trace that is not met.

    Raises:
        ValueError: the trace, the inventory or a setting cannot be used; names every mistake, one on a line.
    """
    given = {}
    for each in request.given:
        name, sign, value = each.partition("=")
        if not sign or not name:
            raise ValueError(f"--set wants NAME=VALUE, such as --set check_interval=10, not {each!r}")
        given[name.strip().removeprefix("mesh_monitor_")] = value.strip()
    document, lines = _parsed(request.file)
    has_nodes = isinstance(document, dict) and document.get("nodes") is not None
    inventory = _mesh(request.named if has_nodes else request.usual, request.monitor)
    try:
        trace = read(document, str(request.file), lines, inventory, given)
    except TraceError as error:
        raise ValueError(f"the trace cannot be used\n{describe(error.mistakes)}") from error
    result = simulator.simulate(trace)
    unmet = story.unmet(trace.expected, result)
    if not as_json:
        return story.table(result, trace.about), unmet
    whole = Document(
        story.SCHEMA,
        trace.about,
        result.seconds,
        result.checks,
        result.events,
        story.count(result),
        unmet,
    )
    return msgspec.json.format(msgspec.json.encode(whole), indent=2).decode() + "\n", unmet


def _mesh(sources: tuple[str, ...], monitor: str | None) -> Mesh | None:
    """Return the mesh of an inventory; None without one."""
    if not sources:
        return None
    found = reader.read(sources, monitor)
    if found.mesh is None:
        raise ValueError(f"the inventory cannot be used\n{describe(found.mistakes)}")
    return found.mesh


def _parsed(file: Path) -> tuple[object, dict[tuple[str | int, ...], int]]:
    """Return what the file says, and the line of each of its parts."""
    try:
        text = file.read_bytes()
    except OSError as error:
        raise ValueError(f"the trace {file} cannot be read: {error.strerror}; name a YAML file") from error
    if len(text) > _LARGEST:
        raise ValueError(f"{file} is larger than {_LARGEST} bytes: that is no trace")
    try:
        root = yaml.compose(text, yaml.SafeLoader)
        document = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        what = getattr(error, "problem", None) or "it cannot be decoded"
        place = f"{file}:{mark.line + 1}" if mark else str(file)
        raise ValueError(f"the trace cannot be used\n{place}: not valid YAML: {what}") from error
    twice = list(_twice(root, file)) if root else []
    if twice:
        raise ValueError(f"the trace cannot be used\n{describe(twice)}")
    return document, dict(_lines(root)) if root else {}


def _lines(node: yaml.Node, at: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], int]]:
    """Yield the line of each part, and of the parts in it, two levels deep."""
    yield at, node.start_mark.line + 1
    if len(at) == 2:
        return
    for key, inner, line in _inner(node):
        yield from _lines(inner, (*at, key))
        yield (*at, key), line


def _inner(node: yaml.Node) -> Iterator[tuple[str | int, yaml.Node, int]]:
    if isinstance(node, yaml.MappingNode):
        yield from ((key.value, value, key.start_mark.line + 1) for key, value in node.value)
    elif isinstance(node, yaml.SequenceNode):
        yield from ((number, each, each.start_mark.line + 1) for number, each in enumerate(node.value))


def _twice(node: yaml.Node, file: Path) -> Iterator[Mistake]:
    """Yield a mistake for each key that a mapping has twice: YAML would silently use the last one."""
    seen: set[Any] = set()
    for key, inner, line in _inner(node):
        if key in seen:
            yield Mistake(f"{key!r} is given twice", place=f"{file}:{line}")
        seen.add(key)
        yield from _twice(inner, file)
