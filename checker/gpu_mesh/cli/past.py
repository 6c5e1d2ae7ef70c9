"""What the commands on the history share: its opening, the time that is asked for, and how it is printed."""

import argparse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from gpu_mesh.cli.common import UsageError, add_json, node_of
from gpu_mesh.domain.mesh import Mesh
from gpu_mesh.storage import past
from gpu_mesh.storage.history import HistoryError
from gpu_mesh.storage.past import Past
from gpu_mesh.system.paths import Paths
from gpu_mesh.text.humanize import parse_duration

LONGEST = 5 * 366 * 86400.0
"""Seconds of the past that can be asked for: as far as incidents and days are kept."""

LEAST = 60.0


def add_since(parser: argparse.ArgumentParser, default: str) -> None:
    """Add the option that says how far back."""
    parser.add_argument(
        "--since",
        metavar="DURATION",
        default=default,
        help=f"how far back: 24h, 7d, 90d (default: {default})"
        if default
        else "over this time: 24h, 7d, 90d",
    )


def add_formats(parser: argparse.ArgumentParser) -> None:
    """Add the options that print for programs and for spreadsheets."""
    formats = parser.add_mutually_exclusive_group()
    add_json(formats)
    formats.add_argument("--csv", action="store_true", help="print a table for a spreadsheet; times in UTC")


def seconds_of(since: str) -> float:
    """Return the seconds that ``--since`` names.

    Raises:
        UsageError: it is no duration, or too long.
    """
    try:
        return parse_duration(since, LEAST, LONGEST)
    except ValueError as error:
        raise UsageError(f"--since: {error}") from error


@contextmanager
def opened(paths: Paths, mesh: Mesh) -> Iterator[Past]:
    """Open the history.

    Raises:
        UsageError: there is none, or it cannot be read.
    """
    if not mesh.settings.history_max:
        raise UsageError("no history is kept: mesh_monitor_history_max is 0")
    try:
        with past.opened(paths.state) as found:
            if found is None:
                raise UsageError("there is no history yet: it begins with the next check")
            yield found
    except HistoryError as error:
        raise UsageError(str(error)) from error


def key_of(mesh: Mesh, name: str) -> str:
    """Return the node's key; "" where none is named.

    Raises:
        UsageError: the inventory has no such node.
    """
    return node_of(mesh, name).key if name else ""


def names(mesh: Mesh) -> Mapping[str, str]:
    """Return the nodes' names for people, by key."""
    return {node.key: node.name for node in mesh.nodes}
