"""Puts single figures of a node into words, the same in every view. Pure."""

from collections import Counter
from collections.abc import Iterable

from msgspec import Struct

from gpu_mesh.domain.alert import Acknowledgement
from gpu_mesh.domain.health import Status
from gpu_mesh.reporting import vram
from gpu_mesh.reporting.node_report import LoadedModelReport, NodeReport
from gpu_mesh.reporting.report import Report
from gpu_mesh.text import bars
from gpu_mesh.text.humanize import ago, format_duration, lasted
from gpu_mesh.text.paint import Style

_BAR = 8  # cells

STYLES = {
    Status.HEALTHY: Style.GOOD,
    Status.DEGRADED: Style.WARN,
    Status.UNHEALTHY: Style.BAD,
    Status.OFFLINE: Style.BAD,
    Status.UNKNOWN: Style.DIM,
}

ASLEEP = "💤"

ALMOST_NOTHING = 0.005
"""The part of a model that counts as none: sizes are rounded."""


class _Kind(Struct, frozen=True):
    """How nodes of one kind are counted in a sentence."""

    one: str
    many: str
    every: str  # when all are of this kind: "all do not" could be read as "not all do"

    def verb(self, number: int) -> str:
        return self.one if number == 1 else self.many


_NOT_SERVING = _Kind("does not serve", "do not serve", "None of the {} nodes serves")
_DEGRADED = _Kind("is degraded", "are degraded", "All {} nodes are degraded")
_UNKNOWN = _Kind("is not known yet", "are not known yet", "Nothing is known yet of any of the {} nodes")
_HEALTHY = _Kind("is healthy", "are healthy", "All {} nodes are healthy")


def sentence(of: Report) -> str:
    """Return the state of the mesh in one sentence: how many nodes are not healthy, the worst first."""
    count = Counter(node.status for node in of.nodes if node.is_awake)
    number, sleeping = count.total(), sum(node.enabled and not node.is_awake for node in of.nodes)
    if of.mesh.last_check is None:
        return "The monitor has not checked anything yet"
    if not number:
        return "All nodes are asleep" if sleeping else "There is no node to watch"
    kinds = (
        (count[Status.UNHEALTHY] + count[Status.OFFLINE], _NOT_SERVING),
        (count[Status.DEGRADED], _DEGRADED),
        (count[Status.UNKNOWN], _UNKNOWN),
        (count[Status.HEALTHY], _HEALTHY),
    )
    (first, kind), *others = ((found, kind) for found, kind in kinds if found)
    if number == 1:
        return f"The node {kind.one}"
    if first == number:
        return kind.every.format(number)
    more = (f"{found} more {kind.verb(found)}" for found, kind in others if kind is not _HEALTHY)
    return ", ".join((f"{first} of {number} nodes {kind.verb(first)}", *more))


def counts(of: Report) -> str:
    """Return how many of the nodes that are awake are healthy, and how many sleep."""
    awake = [node for node in of.nodes if node.is_awake]
    healthy = sum(node.status is Status.HEALTHY for node in awake)
    sleeping = sum(node.enabled for node in of.nodes) - len(awake)
    return f"{healthy} of {len(awake)} nodes healthy{f', {sleeping} asleep' if sleeping else ''}"


def status_of(node: NodeReport) -> str:
    """Return a node's status in a word."""
    if not node.enabled:
        return "disabled"
    return str(node.status) if node.is_awake else "asleep"


def sign_of(node: NodeReport) -> str:
    """Return the sign of a node's status."""
    if not node.enabled:
        return "⏸"
    return node.status.icon if node.is_awake else ASLEEP


def sleeps(node: NodeReport, at: float) -> str:
    """Return for how long a node has been asleep, and how to wake it."""
    long = lasted(" for {}", node.asleep_since or at, at)
    woken = f"; woken {ago(node.woken_at, at)}, it has not answered yet" if node.woken_at else ""
    return f"asleep{long}{woken}; to wake it: gpu-mesh wake {node.node}"


def models(node: NodeReport) -> str:
    """Return the loaded models with their sizes, the largest first; if none is loaded, how many there are.

    The share on the CPU stands beside the size where it is not nothing.
    """
    if not node.answers:
        return "–"
    if not node.loaded_models:
        return f"no model loaded, {len(node.models)} there" if node.models else "no models"
    largest_first = sorted(node.loaded_models, key=lambda model: -(model.size or 0))
    return ", ".join(model.name + _facts(model) for model in largest_first)


def _facts(model: LoadedModelReport) -> str:
    size = vram.gib(model.size) if model.size else ""
    known = ", ".join(filter(None, (size, _share_on_cpu(model))))
    return f" ({known})" if known else ""


def on_cpu(model: LoadedModelReport) -> str:
    """Return how much of a model the CPU computes, as it stands behind its name; "": nothing of note."""
    share = _share_on_cpu(model)
    return f" ({share})" if share else ""


def _share_on_cpu(model: LoadedModelReport) -> str:
    share = vram.on_cpu(model)
    return f"{share:.0%} CPU" if share and share > ALMOST_NOTHING else ""


def memory(node: NodeReport) -> str:
    """Return how full the cards' memory is; where that is not known, what Ollama says it uses."""
    used, whole, share = vram.used(node), vram.total(node), vram.share(node)
    if share is None or whole is None:
        return f"{vram.gib(used)} VRAM" if used else "–"
    return f"{bars.bar(share, _BAR)} {used / vram.GIB:.0f}/{whole / vram.GIB:.0f} GiB"


def response(node: NodeReport) -> str:
    """Return the response time of the last check; –: it did not answer."""
    return milliseconds(node.response_ms if node.answers else None)


def milliseconds(value: float | None) -> str:
    """Return a response time for a narrow column: ``45 ms``, ``12.3 s``; –: there is none."""
    if value is None:
        return "–"
    return f"{value:.0f} ms" if value < 9999.5 else f"{value / 1000:.1f} s"


def per_cent(value: float | None) -> str:
    """Return a rate: ``99.9%``, ``100%``; what is less than all never reads as all. –: not known yet."""
    if value is None:
        return "–"
    return "100%" if value >= 100 else f"{min(value, 99.9):.1f}%"


def what_is_done(node: NodeReport, at: float, *, whole: bool = False) -> list[str]:
    """Return what was done about a node that is not well, what is done now, and who knows of it, in clauses.

    Args:
        node: the node.
        at: Unix seconds.
        whole: whether the whole plan of recovery is told, not only why nothing is repaired.
    """
    done = [f"last repair {node.last_recovery}"] if node.last_recovery else []
    if node.recovering:
        done.append("a recovery is under way")
    elif whole and node.recovery_plan:
        done.append(f"recovery: {node.recovery_plan}")
    elif node.recovery_reason:
        done.append(f"no repair now: {node.recovery_reason.partition(';')[0]}")
    if node.draining:
        done.append(drains(node))
    if node.acknowledged:
        done.append(acknowledged(node.acknowledged, at))
    if node.alerts_muted:
        done.append(f"alerts muted: {node.alerts_muted}")
    return done


def drains(node: NodeReport) -> str:
    """Return that a node takes no new requests, why and until when."""
    return f"takes no new requests: {node.draining}"


def acknowledged(given: Acknowledgement, at: float) -> str:
    """Return who knows of a node's trouble, since when and why."""
    reason = f": {given.reason}" if given.reason else ""
    return f"acknowledged by {given.author} {ago(given.at, at)}{reason}"


def duration(seconds: float | None) -> str:
    """Return a duration; –: there is none."""
    return "–" if seconds is None else format_duration(seconds)


def indented(lines: Iterable[str]) -> list[str]:
    """Return the lines, indented below what they belong to."""
    return [f"   {line}" for line in lines]
