"""Decides what is remembered of a node's GPUs after one more look. Pure.

Some causes show only in several looks: a process that waits for the driver in two of them, a card that is
slowed down in three.
"""

from collections.abc import Sequence

from msgspec.structs import replace

from gpu_mesh.domain.gpu import POWER_BRAKE, THERMAL, GpuFacts, NodeGpu, Vendor
from gpu_mesh.domain.observation import LoadedModel

MUCH = 0.25
"""The part of a card's memory that programs have in use from which on it counts as held."""

APART = 60.0
"""Seconds between two looks from which on they are two in a row."""

LEAST = 2**29
"""Bytes that Ollama must say it has in GPU memory before that is compared with what the cards have in use."""


def remember(before: NodeGpu | None, facts: GpuFacts, loaded: Sequence[LoadedModel] | None) -> NodeGpu:
    """Return what is remembered after a look.

    What earlier looks saw counts only in the same boot of the host; how many cards it had counts for ever.

    Args:
        before: what was remembered; None: nothing.
        facts: the look.
        loaded: the models that Ollama says it has loaded; None: not known, and what depends on them stays.
    """
    same_boot = before is not None and before.facts.boot == facts.boot
    earlier = before if before is not None and same_boot else NodeGpu(facts)
    # A person may look twice within a second: such looks count as one.
    apart = int(earlier is not before or facts.at - earlier.facts.at >= APART)
    waiting = {f"{each.pid}:{each.start}": each for each in facts.waiting}
    return NodeGpu(
        facts,
        waiting_since={key: earlier.waiting_since.get(key, facts.at) for key in waiting},
        throttled={
            key: earlier.throttled.get(key, 0) + apart
            for card in facts.cards
            if card.throttle & (THERMAL | POWER_BRAKE) and (key := card.bus or str(card.index))
        },
        most=max(before.most if before else 0, _count(facts)),
        held=_counted(earlier.held, _is_held(facts, loaded), apart),
        unused=_counted(earlier.unused, _is_unused(facts, loaded), apart),
    )


def forget_cards(known: NodeGpu) -> NodeGpu:
    """Return what is remembered once the cards that are there now are all that are expected."""
    return replace(known, most=_count(known.facts))


def after_restart(known: NodeGpu) -> NodeGpu:
    """Return what is remembered after a restart: whatever was wrong before must show anew."""
    return replace(known, held=0, unused=0, outdated=True)


def _count(facts: GpuFacts) -> int:
    return sum(card.vendor is not Vendor.OTHER for card in facts.present)


def _counted(looks: int, seen: bool | None, apart: int) -> int:  # noqa: FBT001 - it reads well there
    """Return the number of looks in a row; None: this one cannot tell, and changes nothing."""
    return looks if seen is None else max(1, looks + apart) if seen else 0


def _is_held(facts: GpuFacts, loaded: Sequence[LoadedModel] | None) -> bool | None:
    if loaded is None:
        return None
    if loaded:
        return False
    # By programs that compute: a desktop is none; of a card that shares the host's memory nothing is known.
    size = sum(holder.size or 0 for holder in facts.holders)
    totals = [card.total for card in facts.present if card.vendor is Vendor.NVIDIA and card.total]
    return bool(totals) and size >= MUCH * min(totals)


def _is_unused(facts: GpuFacts, loaded: Sequence[LoadedModel] | None) -> bool | None:
    """Return whether the cards have less than half of what Ollama says in use.

    Where a card shares the memory of the host, the driver tells nothing.
    """
    if loaded is None:
        return None
    said = sum(model.size_vram for model in loaded)
    if any(card.vendor is Vendor.AMD for card in facts.present):
        return False  # a model may lie in memory that such a card shares with the host
    used = [card.used for card in facts.present]
    known = [size for size in used if size is not None]
    return said >= LEAST and bool(used) and len(known) == len(used) and sum(known) < said / 2
