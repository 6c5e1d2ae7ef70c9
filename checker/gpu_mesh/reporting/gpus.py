"""Describes what a look at a host's GPUs showed: as text, and for the JSON output. Pure."""

from msgspec import Struct

from gpu_mesh.diagnosis import gpu
from gpu_mesh.domain.causes import Diagnosis
from gpu_mesh.domain.gpu import Card, GpuFacts, OnBus, Place, Slowdown, Vendor
from gpu_mesh.domain.health import Verdict
from gpu_mesh.domain.mesh import Node
from gpu_mesh.domain.state import NodeState
from gpu_mesh.text.humanize import format_duration

_GIB = 2**30

JUST_NOW = 60.0
"""Seconds: what is younger is told without its age."""


class CardReport(Struct, frozen=True):
    """One card. Sizes are bytes; None: it is not told."""

    vendor: Vendor
    bus: str  # its place on the PCI bus; "": it is seen on none
    lost: bool  # it no longer answers on the bus
    index: int | None  # the driver's number
    uuid: str
    name: str
    memory_used: int | None
    memory_total: int | None
    utilization: int | None  # per cent
    temperature: int | None  # degrees Celsius
    power: float | None  # watts
    slowed_by: tuple[Slowdown, ...]  # why its clocks are held down
    memory_errors: int | None = None  # uncorrected, since the driver was loaded
    recovery_action: str = ""  # what the driver asks for: none, reset, reboot …; "": not told
    divided: bool = False  # into instances (MIG)


class GpuReport(Struct, frozen=True):
    """What the newest look at the host's GPUs has shown."""

    seen: float  # Unix seconds
    outdated: bool  # it is too old to explain anything
    driver: str  # version of NVIDIA's; "": none is loaded
    cards: tuple[CardReport, ...]
    library: str = ""  # version of NVIDIA's library on disk; "": not seen


def report(node: Node, known: NodeState, now: float) -> GpuReport | None:
    """Return what is known of the GPUs of the node's host; None: nobody has looked.

    Args:
        node: the node.
        known: its state.
        now: Unix seconds.
    """
    if known.gpu is None:
        return None
    facts = known.gpu.facts
    return GpuReport(
        facts.at,
        not gpu.is_fresh(node, known.gpu, now),
        facts.driver,
        tuple(map(_card_report, facts.cards)),
        facts.library,
    )


def _card_report(card: Card) -> CardReport:
    return CardReport(
        vendor=card.vendor,
        bus=card.bus,
        lost=card.on_bus is OnBus.LOST,
        index=card.index,
        uuid=card.uuid,
        name=card.name,
        memory_used=card.used,
        memory_total=card.total,
        utilization=card.busy,
        temperature=card.temperature,
        power=card.power,
        slowed_by=card.slowed_by,
        memory_errors=card.ecc,
        recovery_action=card.recovery_action,
        divided=card.mig,
    )


def text(node: Node, known: NodeState, reason: str, now: float) -> str:
    """Return the node's GPUs, a line each, with what is wrong with them.

    Args:
        node: the node.
        known: its state.
        reason: why the newest look showed nothing; "": it did, or there was none.
        now: Unix seconds.
    """
    if known.gpu is None:
        return f"{node.key}: {reason or 'nobody has looked at its GPUs'}"
    facts = known.gpu.facts
    age = f" (seen {format_duration(now - facts.at)} ago)" if now - facts.at >= JUST_NOW else ""
    lines = [f"{node.key}: {reason or _driver(facts)}{age}"]
    lines += [f"  {_card(card)}" for card in facts.cards]
    lines += [f"  {each.name or 'process'} {each.pid} holds {_size(each.size)}" for each in facts.holders]
    shown = gpu.explain(node, known, Diagnosis(Verdict.OK), now)
    if shown.cause:
        lines.append(f"  {shown.detail}")
    return "\n".join(lines)


def _driver(facts: GpuFacts) -> str:
    if not facts.cards and not facts.driver:
        return "no GPU is seen" + (", as far as a container shows" if facts.place is Place.CONTAINER else "")
    return f"driver {facts.driver}" if facts.driver else "no driver of NVIDIA is loaded"


def _card(card: Card) -> str:
    """Return one card in a line; what is not told is left out."""
    parts = [gpu.name(card)]
    if card.on_bus in (OnBus.LOST, OnBus.ASLEEP):
        parts.append(card.on_bus.value)
    if card.total:
        parts.append(f"{_size(card.used)} of {_size(card.total)}")
    parts += [f"{value:.0f}{unit}" for value, unit in _numbers(card) if value is not None]
    return ", ".join(parts)


def _numbers(card: Card) -> tuple[tuple[float | None, str], ...]:
    return (card.busy, " %"), (card.temperature, " °C"), (card.power, " W")


def _size(size: int | None) -> str:
    return "an unknown size" if size is None else f"{size / _GIB:.1f} GiB"
