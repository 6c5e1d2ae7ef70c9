"""Decides what a person sees of the live view: which nodes, in which order, from which row on. Pure."""

from collections.abc import Callable, Mapping, Sequence
from enum import Enum, StrEnum, auto

from msgspec import Struct
from msgspec.structs import replace

from gpu_mesh.domain.health import Status
from gpu_mesh.domain.history import Sample
from gpu_mesh.reporting import vram
from gpu_mesh.reporting.node_report import NodeReport
from gpu_mesh.reporting.report import Report
from gpu_mesh.reporting.shown import status_of

Samples = Mapping[str, tuple[Sample, ...]]
"""The checks of the last hour, by node; empty where no history is kept."""

HOUR = 3600.0  # seconds


class Key(Enum):
    """A key that is no letter."""

    UP = auto()
    DOWN = auto()
    PAGE_UP = auto()
    PAGE_DOWN = auto()
    HOME = auto()
    END = auto()
    ENTER = auto()
    ESCAPE = auto()
    BACKSPACE = auto()


class Order(StrEnum):
    """What the nodes are sorted by; the value is how it is named to people."""

    TROUBLE = "trouble"
    NAME = "name"
    RESPONSE = "response"
    VRAM = "VRAM"
    RELIABILITY = "24 h"


class View(Struct, frozen=True):
    """What a person has chosen to see."""

    selected: str = ""  # a node's key; "": none
    filter: str = ""
    typing: bool = False  # the filter is being typed
    order: Order = Order.TROUBLE
    only_problems: bool = False
    detail: bool = False  # the selected node alone is shown
    help: bool = False
    first: int = 0  # the first visible row: of the nodes, or of what is shown of one
    left: bool = False  # the person has had enough


TROUBLE_FIRST = (Status.OFFLINE, Status.UNHEALTHY, Status.DEGRADED, Status.UNKNOWN, Status.HEALTHY)

LONGEST_FILTER = 40

_LETTERS: dict[Key | str, Key] = {"k": Key.UP, "j": Key.DOWN, "g": Key.HOME, "G": Key.END}


def press(view: View, key: Key | str, report: Report, height: int) -> View:
    """Return what is seen after a key.

    Args:
        view: what is seen before it.
        key: the key; a letter as itself.
        report: the mesh.
        height: lines of the screen.
    """
    if view.typing:
        return _typed(view, key)
    key = _LETTERS.get(key, key)
    if key == "q":
        return replace(view, left=True)
    if key == "?" or (view.help and key in (Key.ESCAPE, Key.ENTER)):
        return replace(view, help=not view.help, first=0)
    if view.help or key in _MOVES:
        return _moved(view, key, report, height)
    if key is Key.ESCAPE:
        return _back(view)
    if key is Key.ENTER:
        return _opened(view, report)
    return _chosen(view, key)


def shown(report: Report, view: View) -> tuple[NodeReport, ...]:
    """Return the nodes that the view shows, in its order; disabled ones last."""
    found = [node for node in report.nodes if _is_wanted(node, view)]
    return tuple(
        sorted(found, key=lambda node: (not node.enabled, not node.is_awake, *_ORDERS[view.order](node)))
    )


def opened(report: Report, view: View) -> NodeReport | None:
    """Return the node that is shown alone; None: none is, or it is gone."""
    return next((node for node in report.nodes if view.detail and node.node == view.selected), None)


def is_problem(node: NodeReport) -> bool:
    """Return whether somebody should look at the node."""
    return node.is_awake and node.status is not Status.HEALTHY


def window(heights: Sequence[int], room: int, first: int, chosen: int | None) -> tuple[int, int]:
    """Return which rows are visible: the first one, and the one behind the last one.

    Where rows are left out above or below, a line is left for saying so.

    Args:
        heights: lines of each row.
        room: lines that there are.
        first: the first row that was visible before.
        chosen: a row that must be visible.
    """
    count = len(heights)
    first = max(0, min(first, count - 1, count if chosen is None else chosen))
    while first > 0 and _end(heights, room, first - 1) == count:
        first -= 1  # there is room for what is above
    while chosen is not None and first < chosen and _end(heights, room, first) <= chosen:
        first += 1
    return first, _end(heights, room, first)


def _end(heights: Sequence[int], room: int, first: int) -> int:
    left = room - (first > 0)
    end = first
    while end < len(heights) and heights[end] + (end + 1 < len(heights)) <= left:
        left -= heights[end]
        end += 1
    return min(max(end, first + 1), len(heights))


def _typed(view: View, key: Key | str) -> View:
    if key is Key.ENTER:
        return replace(view, typing=False)
    if key is Key.ESCAPE:
        return replace(view, typing=False, filter="")
    if key is Key.BACKSPACE:
        return replace(view, filter=view.filter[:-1], first=0)
    if isinstance(key, str) and key.isprintable():
        return replace(view, filter=(view.filter + key)[:LONGEST_FILTER], first=0)
    return view


_MOVES: dict[Key | str, Callable[[int, int], int]] = {
    # where it is, rows of a page → where it goes
    Key.UP: lambda at, _: at - 1,
    Key.DOWN: lambda at, _: at + 1,
    Key.PAGE_UP: lambda at, page: at - page,
    Key.PAGE_DOWN: lambda at, page: at + page,
    Key.HOME: lambda _at, _page: 0,
    Key.END: lambda _at, _page: 1_000_000,
}


def _moved(view: View, key: Key | str, report: Report, height: int) -> View:
    move, page = _MOVES.get(key), max(1, height - 8)
    if move is None:
        return view
    if view.help or view.detail:
        return replace(view, first=max(0, move(view.first, page)))  # how far it goes: live.py
    keys = [node.node for node in shown(report, view)]
    if not keys:
        return view
    if view.selected not in keys:
        to_end = key is Key.END
        return replace(view, selected=keys[-1 if to_end else 0])
    to = max(0, min(len(keys) - 1, move(keys.index(view.selected), page)))
    return replace(view, selected=keys[to])


def _back(view: View) -> View:
    """Undo one choice: the newest kind first."""
    if view.detail:
        return replace(view, detail=False, first=0)
    if view.selected:
        return replace(view, selected="", first=0)
    return replace(view, filter="", only_problems=False, first=0)


def _opened(view: View, report: Report) -> View:
    if view.detail:
        return _back(view)
    keys = [node.node for node in shown(report, view)]
    if not keys:
        return view
    chosen = view.selected if view.selected in keys else keys[0]
    return replace(view, selected=chosen, detail=True, first=0)


def _chosen(view: View, key: Key | str) -> View:
    if view.detail:
        return view
    if key == "/":
        return replace(view, typing=True, selected="", first=0)
    if key == "p":
        return replace(view, only_problems=not view.only_problems, first=0)
    if key == "s":
        orders = list(Order)
        return replace(view, order=orders[(orders.index(view.order) + 1) % len(orders)], first=0)
    return view


def _is_wanted(node: NodeReport, view: View) -> bool:
    if view.only_problems and not is_problem(node):
        return False
    words = (node.node, node.name, status_of(node), node.detail, *node.models)
    return not view.filter or any(view.filter.casefold() in word.casefold() for word in words)


def _by_trouble(node: NodeReport) -> tuple[float, ...]:
    rank = TROUBLE_FIRST.index(node.status)
    return rank, -(node.since or 0.0) if is_problem(node) else 0.0


def _by_response(node: NodeReport) -> tuple[float, ...]:
    return (-node.response_ms,) if node.answers and node.response_ms is not None else (0.0,)


def _by_vram(node: NodeReport) -> tuple[float, ...]:
    return (-(vram.share(node) or 0.0), -vram.used(node))


def _by_reliability(node: NodeReport) -> tuple[float, ...]:
    return (101.0 if node.success_rate_24h is None else node.success_rate_24h,)


_ORDERS: dict[Order, Callable[[NodeReport], tuple[float | str, ...]]] = {
    Order.TROUBLE: _by_trouble,
    Order.NAME: lambda node: (node.name.casefold(),),
    Order.RESPONSE: _by_response,
    Order.VRAM: _by_vram,
    Order.RELIABILITY: _by_reliability,
}
