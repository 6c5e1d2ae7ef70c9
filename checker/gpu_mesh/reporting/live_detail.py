"""Writes what the live view shows of one node alone, and its help. Pure."""

from collections.abc import Iterable, Sequence
from datetime import datetime, tzinfo

from gpu_mesh.domain.history import Sample
from gpu_mesh.reporting import live_rows, shown, vram
from gpu_mesh.reporting.gpus import CardReport
from gpu_mesh.reporting.live_rows import SIGNS
from gpu_mesh.reporting.node_report import LoadedModelReport, NodeReport
from gpu_mesh.reporting.styled import Line, Part, literal
from gpu_mesh.text import bars
from gpu_mesh.text.humanize import ago, format_duration, plural
from gpu_mesh.text.paint import Style
from gpu_mesh.text.table import fitted, wrapped

_LABEL = 15  # cells
_WIDEST = 120  # cells: longer lines are hard to read

HELP = (
    ("q", "leave"),
    ("↑ ↓, k j", "select a node; of one node: scroll"),
    ("PgUp PgDn", "a screen further"),
    ("Home End, g G", "to the first, to the last"),
    ("Enter", "show all that is known of the node; again: back"),
    ("Esc", "back; take back the selection; then filter and p"),
    ("/", "show only nodes with a text in name, status, cause or models"),
    ("s", "sort by trouble, name, response, VRAM, success in 24 h"),
    ("p", "show only problems, or all"),
    ("?", "this help; again: back"),
)

_HOUR = (
    "the mean response time of a few minutes each, a quarter as high as the line if it is as usual; "
    f"{bars.FAILED} checks failed, {bars.NOTHING} there were none"
)
_COLUMNS = (
    ("VRAM", "how full the memory of the GPUs is; without a bar: nobody has looked at the GPUs"),
    ("24 h", "how many checks of the last 24 hours the node has passed"),
    ("last hour", _HOUR),
    ("usual", "the usual response time"),
)


def clock(at: float, zone: tzinfo) -> str:
    """Return the time of day of a Unix time in that zone, which is named: ``14:03:21 CET``."""
    return datetime.fromtimestamp(at, zone).strftime("%H:%M:%S %Z").rstrip()


def node_lines(
    node: NodeReport, samples: Sequence[Sample], now: float, width: int, zone: tzinfo
) -> list[Line]:
    """Return everything that is known of a node.

    Args:
        node: the node.
        samples: its checks of the last hour, if they are known.
        now: Unix seconds.
        width: cells of the screen.
        zone: the time zone of the times.
    """
    wide = min(width, _WIDEST)
    lines = [_title(node, now, zone), ()]
    for label, words in live_rows.story(node, now, zone):
        lines += _labelled(label, words, wide)
    for note in node.notes:
        lines += _labelled("note", literal(note), wide)
    if len(lines) > len((_title, "an empty line")):
        lines.append(())
    for label, words in _figures(node, now, zone):
        lines += _labelled(label, words, wide)
    if samples:
        line = live_rows.hour_parts(node, samples, now, min(60, max(8, wide - _LABEL - 2)))
        lines.append((Part("  " + fitted("last hour", _LABEL), Style.DIM), *line))
    return [*lines, (), *_models(node, wide), *_cards(node, now)]


def help_lines(width: int) -> list[Line]:
    """Return what the keys do, and what the signs mean."""
    wide = min(width, _WIDEST)
    lines: list[Line] = [(Part("Keys", Style.BOLD),)]
    for key, words in HELP:
        lines += _labelled(key, words, wide)
    signs = [(sign, shown.STYLES[status], str(status)) for status, sign in SIGNS.items()]
    signs.append((live_rows.DISABLED, Style.DIM, "disabled in the inventory: not checked"))
    lines += [(), (Part("Signs", Style.BOLD),)]
    lines += [(Part(f"  {sign} ", style), Part(word)) for sign, style, word in signs]
    lines += [(), (Part("Columns", Style.BOLD),)]
    for column, words in _COLUMNS:
        lines += _labelled(column, words, wide)
    return lines


def _title(node: NodeReport, now: float, zone: tzinfo) -> Line:
    sign, word, style = live_rows.sign_of(node)
    since = node.since if node.enabled else None
    long = f" for {format_duration(now - since)}, since {_day(since, now, zone)}" if since else ""
    return (
        Part(f"{sign} ", style),
        Part(literal(node.name) or literal(node.node), Style.BOLD),
        Part("  "),
        Part(word, style),
        Part(long, Style.DIM),
    )


def _day(at: float, now: float, zone: tzinfo) -> str:
    """Return a time with its date, if that is not today's."""
    date = datetime.fromtimestamp(at, zone).date()
    today = date == datetime.fromtimestamp(now, zone).date()
    return clock(at, zone) if today else f"{date} {clock(at, zone)}"


def _labelled(label: str, words: str, width: int) -> list[Line]:
    """Return words beside their label, in as many lines as they need."""
    found = wrapped(words, max(2, width - _LABEL - 2)) or [""]
    return [
        (Part("  " + fitted(label if number == 0 else "", _LABEL), Style.DIM), Part(line))
        for number, line in enumerate(found)
    ]


def _figures(node: NodeReport, now: float, zone: tzinfo) -> Iterable[tuple[str, str]]:
    yield "node", literal(node.node)
    yield "address", literal(node.url) + (" (tunnel)" if node.tunnel else "")
    if node.last_check:
        yield "checked", f"{ago(node.last_check, now)}, at {_day(node.last_check, now, zone)}"
    response = shown.milliseconds(node.response_ms if node.answers else None)
    yield "response", f"{response}, usually {shown.milliseconds(node.usual_response_ms)}"
    yield (
        "success",
        f"{shown.per_cent(node.success_rate_24h)} of 24 h, {shown.per_cent(node.success_rate)} of all time",
    )
    if node.score is not None:
        yield "score", f"{node.score:.0f} of 100"
    if node.consecutive_failures:
        yield "failures", f"{node.consecutive_failures} in a row"
    if node.recovery_attempts:
        yield "repairs", plural(node.recovery_attempts, "attempt")
    if node.version:
        yield "Ollama", literal(node.version)


def _models(node: NodeReport, width: int) -> list[Line]:
    if not node.answers:
        return [(Part("Models", Style.BOLD), Part("  not known while it does not answer", Style.DIM))]
    count = f"  {plural(len(node.models), 'model')}, {len(node.loaded_models)} loaded"
    lines: list[Line] = [(Part("Models", Style.BOLD), Part(count, Style.DIM))]
    lines += [_loaded(model) for model in node.loaded_models]
    names = {model.name for model in node.loaded_models}
    others = ", ".join(literal(name) for name in node.models if name not in names)
    return lines + (_labelled("not loaded", others, width) if others else [])


def _loaded(model: LoadedModelReport) -> Line:
    cpu = vram.on_cpu(model)
    parts = [literal(model.name)]
    if model.size:
        parts.append(vram.gib(model.size))
    if cpu is not None:
        parts.append("all in VRAM" if cpu <= shown.ALMOST_NOTHING else f"{cpu:.0%} on the CPU")
    if model.context_length:
        parts.append(f"context of {model.context_length} tokens")
    return (Part("  " + " · ".join(parts)),)


def _cards(node: NodeReport, now: float) -> list[Line]:
    if node.gpu is None:
        return []  # a node that only lends an API lacks nothing
    age = f", seen {ago(node.gpu.seen, now)}" + (": outdated" if node.gpu.outdated else "")
    driver = f"driver {literal(node.gpu.driver)}" if node.gpu.driver else "no driver of NVIDIA is loaded"
    lines: list[Line] = [(), (Part("GPUs", Style.BOLD), Part(f"  {driver}{age}", Style.DIM))]
    return lines + [_card(card) for card in node.gpu.cards]


def _card(card: CardReport) -> Line:
    name = literal(card.name) or f"a card of {card.vendor}"
    number = "" if card.index is None else f"{card.index}: "
    if card.lost:
        return Part(f"  {number}{name} "), Part("lost: it no longer answers on the bus", Style.BAD)
    parts = [number + name]
    if card.memory_total:
        used = card.memory_used or 0
        parts.append(
            f"{bars.bar(used / card.memory_total, 8)} {vram.gib(used)} of {vram.gib(card.memory_total)}"
        )
    values = ((card.utilization, " %"), (card.temperature, " °C"), (card.power, " W"))
    parts += [f"{value:.0f}{unit}" for value, unit in values if value is not None]
    return (Part("  " + " · ".join(parts)),)
