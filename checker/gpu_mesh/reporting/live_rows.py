"""Writes the nodes of the live view: a row for each, with columns that are dropped from the right. Pure."""

from collections.abc import Sequence
from datetime import tzinfo

from msgspec import Struct

from gpu_mesh.domain.health import Status, Verdict
from gpu_mesh.domain.history import Sample
from gpu_mesh.reporting import vram
from gpu_mesh.reporting.live_view import HOUR, is_problem
from gpu_mesh.reporting.node_report import NodeReport
from gpu_mesh.reporting.shown import STYLES, milliseconds, on_cpu, per_cent, sleeps
from gpu_mesh.reporting.styled import Line, Part, literal
from gpu_mesh.text import bars
from gpu_mesh.text.humanize import ago, format_duration
from gpu_mesh.text.paint import Style
from gpu_mesh.text.table import cells, cut, fitted
from gpu_mesh.text.zones import localized

SIGNS = {
    Status.HEALTHY: "●",
    Status.DEGRADED: "▲",
    Status.UNHEALTHY: "✖",
    Status.OFFLINE: "■",
    Status.UNKNOWN: "○",
}
"""One cell wide at every terminal; the word stands beside it."""

DISABLED = "–"
SLEEPING = "z"
_STATUS, _RESPONSE, _RATE, _USUAL, _MODELS = 9, 8, 5, 8, 6
_LEAST, _BEST = 13, 60  # cells for what is wrong or loaded
_GAP = 2
_ACKNOWLEDGED = "acknowledged"
_SHORTEST_NAME = 6  # cells


class Columns(Struct, frozen=True):
    """How many cells each column has; 0: it is left out."""

    node: int
    what: int  # what is wrong, or which models are loaded
    vram: int
    response: int = 0
    rate: int = 0
    hour: int = 0
    usual: int = 0
    models: int = 0


def columns(nodes: Sequence[NodeReport], width: int, *, with_hour: bool) -> Columns:
    """Return what fits into so many cells: from the left to the right, what is most wanted first.

    Args:
        nodes: the nodes that are shown.
        width: cells of the screen.
        with_hour: whether the last hour is known of any node.
    """
    longest = max((cells(literal(node.name)) for node in nodes), default=0)
    node = max(4, min(longest, 12 if width < 100 else 20 if width < 160 else 32))
    memory = 8 if width < 100 else 22  # a bar, or one with figures
    left = width - (2 + node + _GAP + _STATUS) - (_GAP + memory) - _GAP
    hour = (8 if width < 100 else 12 if width < 140 else 24) if with_hour else 0
    wanted = {"response": _RESPONSE, "rate": _RATE, "hour": hour, "usual": _USUAL, "models": _MODELS}
    fit: dict[str, int] = {}
    for name, cell in wanted.items():
        if left - _LEAST - (_GAP + cell) < 0 or (name in ("usual", "models") and width < 120):
            break
        if cell:
            fit[name] = cell
            left -= _GAP + cell
    return Columns(node, max(1, min(left, _BEST)), memory, **fit)


def heads(of: Columns) -> Line:
    """Return the line that names the columns."""
    parts = [" " * 2 + fitted("node", of.node), fitted("status", _STATUS), fitted("cause or model", of.what)]
    parts.append(fitted("VRAM", of.vram))
    for head, width in (("response", of.response), ("24 h", of.rate)):
        parts += [fitted(head, width, right=True)] if width else []
    parts += [fitted("hour" if of.hour < len("last hour") else "last hour", of.hour)] if of.hour else []
    for head, width in (("usual", of.usual), ("models", of.models)):
        parts += [fitted(head, width, right=True)] if width else []
    return (Part((" " * _GAP).join(parts), Style.DIM),)


def row(node: NodeReport, of: Columns, samples: Sequence[Sample], now: float) -> Line:
    """Return the row of a node.

    Args:
        node: the node.
        of: the widths of the columns.
        samples: its checks of the last hour, if they are known.
        now: Unix seconds.
    """
    sign, word, style = sign_of(node)
    name = Style.BOLD if is_problem(node) else Style.DIM if not node.is_awake else Style.PLAIN
    return (
        Part(f"{sign} ", style),
        Part(fitted(literal(node.name), of.node) + " " * _GAP, name),
        Part(fitted(word, _STATUS) + " " * _GAP, style),
        *_middle(node, of, now),
        *_right(node, of, samples, now),
    )


def below(node: NodeReport, width: int, now: float, zone: tzinfo) -> list[Line]:
    """Return the lines below the row of a node in trouble, at most two: what is being done, what to do."""
    if not is_problem(node):
        return []
    indent = " " * 4
    found = [(label, words) for label, words in story(node, now, zone) if label != "cause"]
    joints = {"now": "", _ACKNOWLEDGED: f"{_ACKNOWLEDGED} "}
    done = [joints.get(label, f"{label}: ") + words for label, words in found if label != "next"]
    lines = [(Part(cut(indent + " · ".join(done), width), Style.DIM),)] if done else []
    return lines + [
        (Part(f"{indent}next: ", Style.DIM), Part(words)) for label, words in found if label == "next"
    ]


def story(node: NodeReport, now: float, zone: tzinfo) -> list[tuple[str, str]]:
    """Return what is wrong with a node, what is done about it, and what to do: each with its label."""
    if not node.is_awake:
        return []
    repair = node.last_recovery if node.cause or node.unproved else ""
    doing = "a recovery is under way" if node.recovering else ""
    held = "" if doing else node.recovery_reason.partition(";")[0]
    given = node.acknowledged
    known = f"by {given.author} {ago(given.at, now)}" if given else ""
    reason = f": {given.reason}" if given and given.reason else ""
    found = (
        ("cause", _cause(node)),
        ("now", doing),
        ("drains", node.draining),
        (_ACKNOWLEDGED, known + reason),
        ("last repair", repair),
        ("no repair now", held),
        ("alerts muted", node.alerts_muted),
        ("next", node.next_step),
    )
    return [(label, literal(localized(words, zone, now))) for label, words in found if words]


def sign_of(node: NodeReport) -> tuple[str, str, Style]:
    """Return a node's sign, the word for its status, and their style."""
    if not node.enabled:
        return DISABLED, "disabled", Style.DIM
    if not node.is_awake:
        return SLEEPING, "asleep", Style.DIM
    return SIGNS[node.status], str(node.status), STYLES[node.status]


def loaded(node: NodeReport, width: int) -> str:
    """Return the models that are loaded, the largest first, in so many cells; of many the number."""
    found = sorted(node.loaded_models, key=lambda model: -(model.size or 0))
    for count in range(len(found), 0, -1):
        rest = f" +{len(found) - count}" if count < len(found) else ""
        text = ", ".join(literal(model.name) + on_cpu(model) for model in found[:count]) + rest
        if cells(text) <= width:
            return text
    if not found:
        return ""
    end = on_cpu(found[0]) + rest
    end = end if width - cells(end) >= _SHORTEST_NAME else rest
    return cut(literal(found[0].name), width - cells(end)) + end


def hour(samples: Sequence[Sample], usual: float | None, now: float, width: int) -> str:
    """Return the last hour in so many cells: the mean response time of each, and where checks failed.

    Args:
        samples: the checks.
        usual: the usual response time in milliseconds, which is a quarter as high as the line.
        now: Unix seconds.
        width: cells.
    """
    answers: list[list[float]] = [[] for _ in range(width)]
    failed = set()
    for sample in samples:
        slot = int((sample.at - (now - HOUR)) / HOUR * width)
        if not 0 <= slot <= width:
            continue
        slot = min(slot, width - 1)
        if sample.verdict is Verdict.FAILED:
            failed.add(slot)
        elif sample.ms is not None:
            answers[slot].append(sample.ms)
    means = [sum(found) / len(found) if found else None for found in answers]
    line = bars.spark(means, max(4 * (usual or 0.0), 1.0, *(mean or 0.0 for mean in means)))
    return "".join(bars.FAILED if slot in failed else letter for slot, letter in enumerate(line))


def hour_parts(node: NodeReport, samples: Sequence[Sample], now: float, width: int) -> list[Part]:
    """Return a node's last hour in so many cells, with failures marked; of a disabled one nothing counts."""
    line = hour(samples if node.enabled else (), node.usual_response_ms, now, width)
    styles = {bars.FAILED: Style.BAD, bars.NOTHING: Style.DIM}
    return [Part(letter, styles.get(letter, Style.PLAIN)) for letter in line]


def long(node: NodeReport, now: float) -> str:
    """Return for how long a node has been so, in its largest unit: ``12 min``; "": not known."""
    since = node.incident_since or node.since
    if since is None:
        return ""
    number, unit = format_duration(now - since).split()[:2]
    return f"{number} {unit}"


def _middle(node: NodeReport, of: Columns, now: float) -> tuple[Part, ...]:
    """Return the columns from what is wrong to the response: words may fill those that have no value."""
    gap, full = " " * _GAP, of.what + _GAP + of.vram
    response = (gap + fitted(milliseconds(node.response_ms), of.response, right=True)) if of.response else ""
    if not node.answers:
        full += len(response)
        words = _why_silent(node, now)
        return (Part(_with_age(node, words, now, full), Style.DIM if not is_problem(node) else Style.PLAIN),)
    if node.cause is not None:
        return Part(_with_age(node, _cause(node), now, full)), Part(response)
    if node.draining:
        return Part(fitted(cut(literal(f"drains: {node.draining}"), full), full)), Part(response)
    models = loaded(node, of.what)
    return (
        Part(fitted(models or "none loaded", of.what) + gap, Style.PLAIN if models else Style.DIM),
        Part(fitted(_memory(node, of.vram), of.vram)),
        Part(response),
    )


def _why_silent(node: NodeReport, now: float) -> str:
    if not node.enabled:
        return "switched off in the inventory"
    return (_cause(node) or "not checked yet") if node.is_awake else sleeps(node, now)


def _with_age(node: NodeReport, words: str, now: float, width: int) -> str:
    """Return the words and how long it has been so, which is never cut off."""
    age = f" · {long(node, now)}" if is_problem(node) and node.since else ""
    return fitted(cut(literal(words), width - cells(age)) + age, width)


def _right(node: NodeReport, of: Columns, samples: Sequence[Sample], now: float) -> tuple[Part, ...]:
    gap = " " * _GAP
    parts = [Part(gap + fitted(per_cent(node.success_rate_24h), of.rate, right=True))] if of.rate else []
    if of.hour:
        parts += [Part(gap), *hour_parts(node, samples, now, of.hour)]
    if of.usual:
        parts.append(
            Part(gap + fitted(milliseconds(node.usual_response_ms), of.usual, right=True), Style.DIM)
        )
    if of.models:
        count = str(len(node.models)) if node.answers else "–"
        parts.append(Part(gap + fitted(count, of.models, right=True), Style.DIM))
    return tuple(parts)


def _cause(node: NodeReport) -> str:
    """Return what is wrong, in words; with how often in a row it was so, if that is known."""
    return node.detail or (str(node.cause).replace("_", " ") if node.cause else "")


def _memory(node: NodeReport, width: int) -> str:
    """Return a bar of the memory in use, with figures if they fit; without a known whole, the figure."""
    used, whole, share = vram.used(node), vram.total(node), vram.share(node)
    if share is None or whole is None:
        return vram.gib(used) if used else "–"
    if width < 20:
        return bars.bar(share, width)
    return f"{bars.bar(share, 8)} {used / vram.GIB:.1f}/{whole / vram.GIB:.0f} GiB"
