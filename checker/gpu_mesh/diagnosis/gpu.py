"""Decides what the GPUs of a node's host show, and what of its trouble they explain. Pure.

Each rule looks for one cause and returns what is to be added to its words. The first that finds something is
the verdict on all cards: what stops the driver as a whole comes before a single card, and that before a card
that only works badly. Where the rules come from stands in docs/gpu.md.
"""

import re
from collections.abc import Callable

from msgspec import Struct
from msgspec.structs import replace

from gpu_mesh.diagnosis.diagnose import describe_cause
from gpu_mesh.domain.causes import CAUSES, Cause, Diagnosis
from gpu_mesh.domain.gpu import (
    LOOKED_EVERY,
    LOOKS_AGAIN,
    POWER_BRAKE,
    THERMAL,
    Card,
    GpuFacts,
    NodeGpu,
    OnBus,
    Place,
    Smi,
    Vendor,
)
from gpu_mesh.domain.health import Status, Verdict
from gpu_mesh.domain.mesh import GpuRule, Node, RecoveryKind
from gpu_mesh.domain.state import NodeState

STUCK_AFTER = 20.0
"""Seconds between two looks that see the same process in state D: by then it hangs, and is not only slow."""

SLOWED_LOOKS = 3
"""Looks in a row that must see a card slowed down: a summer's afternoon is no fault."""

LOOKS_OF_MEMORY = 2
"""Looks in a row that must see memory held or unused: a model may be loaded between a look and a probe."""

LOST_XID_COUNTS, RESET_XID_COUNTS = 3600.0, 900.0
"""Seconds for which the kernel's log of such an error counts; a reset in between leaves no trace in it."""

A_DAY = 86400.0

_XID_LOST = frozenset({79})
_XID_RESET = frozenset({46, 48, 62, 64, 74, 95, 109, 110, 119, 120, 136, 140, 143, 155, 156, 158})
"""The driver's errors after which a card is gone, or needs a reset (NVIDIA's Xid catalog)."""

_FAILING = frozenset(
    {Cause.REFUSED, Cause.TIMEOUT, Cause.HTTP_ERROR, Cause.REMOTE_OLLAMA_DOWN, Cause.RUNNER_HUNG}
)
_SERVING = frozenset({Cause.CPU_FALLBACK, Cause.SLOW})
_ON_CPU = frozenset({Cause.CPU_FALLBACK})


class Case(Struct, frozen=True):
    """What the rules look at."""

    node: Node
    known: NodeGpu
    probed: Cause | None  # what is wrong as the probe names it
    in_vram: bool = False  # models were seen in VRAM, so it has a GPU, even if none is on a bus
    idle: bool = True  # no model is loaded now

    @property
    def facts(self) -> GpuFacts:
        """The newest look."""
        return self.known.facts

    @property
    def cards(self) -> tuple[Card, ...]:
        """The cards that count: in a container, whose bus may show those of others, the ones it was given."""
        if self.facts.place is not Place.CONTAINER:
            return self.facts.cards
        return tuple(card for card in self.facts.cards if card.index is not None)

    @property
    def told(self) -> str:
        """What nvidia-smi printed in the place of values; "" where the driver's devices are out of reach.

        A service that sees no devices, as in a hardened unit or a container, learns nothing from it.
        """
        return "\n".join(self.facts.said) if self.facts.devices else ""


class Rule(Struct, frozen=True):
    """How one cause is recognised, and which causes of a probe it explains."""

    cause: Cause
    finds: Callable[[Case], str | None]  # what to add to the cause's words; None: it is not so
    explains: frozenset[Cause]


def explain(node: Node, before: NodeState, judged: Diagnosis, now: float, *, idle: bool = True) -> Diagnosis:
    """Return the diagnosis of a probe, with the GPU as its cause where that is the reason.

    A node that serves without any trouble of its own is impaired by it. One cause that the GPU does not
    explain stays as it is.

    Args:
        node: the node as the inventory describes it.
        before: the node's state; its GPUs may not have been looked at.
        judged: what the probe showed.
        now: Unix seconds.
        idle: whether no model is loaded now.
    """
    known, failed, rule = before.gpu, judged.verdict is Verdict.FAILED, node.expects_gpu.rule
    if known is None or rule is GpuRule.NONE or not is_fresh(node, known, now, failed=failed):
        return judged
    if failed and not 0.0 < before.failing_since <= known.facts.at:
        return judged  # that was seen before it failed: the look of a recovery will tell
    if not failed and before.status in (Status.UNHEALTHY, Status.OFFLINE):
        return judged  # it answers again, perhaps after a reboot: the next look will tell
    if judged.cause is None and rule is GpuRule.AUTO and not before.vram:
        return judged  # it has never used a GPU, and need not
    found = find(Case(node, known, _itself(before, judged.cause), in_vram=bool(before.vram), idle=idle))
    if found is None:
        return judged
    if judged.cause is None:
        return replace(found, verdict=Verdict.IMPAIRED)
    detail = found.detail if judged.verdict is Verdict.IMPAIRED else f"{judged.detail}: {found.detail}"
    return replace(found, verdict=judged.verdict, detail=detail, explains=judged.cause)


def find(case: Case) -> Diagnosis | None:
    """Return the first cause that the facts show and that explains what the probe named, if it named any."""
    for rule in RULES:
        if case.probed is not None and case.probed not in rule.explains:
            continue
        number = rule.finds(case)
        if number is not None:
            words = describe_cause(rule.cause, case.node)
            detail = f"{words} ({number})" if number else words
            return Diagnosis(CAUSES[rule.cause].verdict, rule.cause, detail)
    return None


def is_fresh(node: Node, known: NodeGpu, now: float, *, failed: bool = False) -> bool:
    """Return whether the newest look may still explain something: for two looks' time, and in its boot.

    An interval that is shorter than the timer's counts as that: until the next look nothing else is known. Of
    a node that fails no longer than by default, however seldom it is looked at: a recovery looks, too.
    """
    interval = max(node.gpu_interval or LOOKED_EVERY, LOOKS_AGAIN)
    longest = 2 * (min(interval, LOOKED_EVERY) if failed else interval)
    return not known.outdated and now - known.facts.at <= longest


def _itself(before: NodeState, probed: Cause | None) -> Cause | None:
    """Return what is wrong with Ollama itself, where a look has already seen past a silent tunnel."""
    seen_past = before.refined_from is Cause.TUNNEL_STUCK and before.cause and before.cause.is_of_gpu
    return Cause.TIMEOUT if probed is Cause.TUNNEL_STUCK and seen_past else probed


def is_unclear(known: NodeGpu) -> bool:
    """Return whether a tool such as nvidia-smi waits for the driver, perhaps only for a while."""
    return bool(known.facts.waiting) or known.facts.smi is Smi.STUCK


def name(card: Card) -> str:
    """Return how people are told of a card: its number, its place on the bus, its model."""
    number = "" if card.index is None else f"GPU {card.index}"
    return ", ".join(filter(None, (number, card.bus, card.name))) or "the GPU"


def _stuck(case: Case) -> str | None:
    facts = case.facts
    for process in facts.waiting:
        since = case.known.waiting_since.get(f"{process.pid}:{process.start}", facts.at)
        if facts.at - since >= STUCK_AFTER:
            return f"{process.name or 'nvidia-smi'}, process {process.pid}, waits for it"
    if facts.ollama_waits and facts.smi is Smi.STUCK:
        return "nvidia-smi and Ollama wait for it"
    return None


def _lost(case: Case) -> str | None:
    lost = [card for card in case.cards if card.on_bus is OnBus.LOST]
    xid = _card_of_xid(case, _XID_LOST, LOST_XID_COUNTS)
    said = re.search(r"GPU is lost|fallen off the bus|determine the device handle", case.told, re.IGNORECASE)
    if lost:
        return "; ".join(map(name, lost[:4]))
    if xid:
        return xid
    return _named_in(case, case.told) if said else None


def _mismatch(case: Case) -> str | None:
    if re.search(r"Driver/library version mismatch", case.told, re.IGNORECASE):
        library = re.search(r"NVML library version: ([\d.]+)", case.told)
        on_disk = library[1] if library else case.facts.library
        return f"loaded {case.facts.driver}, on disk {on_disk}" if on_disk else f"loaded {case.facts.driver}"
    return None


def _driver_absent(case: Case) -> str | None:
    facts = case.facts
    said = "couldn't communicate with the NVIDIA driver" in "\n".join(facts.said)
    cards = _of_nvidia(case)
    if said and not facts.driver and cards and facts.place is Place.HOST:
        return "; ".join(map(name, cards[:4]))
    return None


def _init_failed(case: Case) -> str | None:
    if not re.search(r"No devices were found", case.told, re.IGNORECASE):
        return None
    failed = next((line for line in case.facts.kernel if "RmInitAdapter failed" in line), "")
    on_bus = [card for card in _of_nvidia(case) if card.on_bus is OnBus.OK]
    if failed:
        return _named_in(case, failed)
    # Without the kernel's log: the driver is loaded, a card answers on the bus, and yet there is none for it.
    return "; ".join(map(name, on_bus[:4])) if on_bus and not case.facts.kernel_read else None


def _reset_needed(case: Case) -> str | None:
    asking = [card for card in case.cards if card.reset_required or _asks(card)]
    if asking:
        action = next((card.recovery_action for card in asking if _asks(card)), "reset")
        return f"{'; '.join(map(name, asking[:4]))}: the driver asks for {action}"
    if re.search(r"GPU requires reset", case.told, re.IGNORECASE):
        return _named_in(case, case.told)
    if any(card.recovery_action for card in case.cards):
        return None  # the driver tells what it needs, and needs nothing
    return _card_of_xid(case, _XID_RESET, RESET_XID_COUNTS)


def _asks(card: Card) -> bool:
    return card.recovery_action not in ("", "none", "unknown")


def _memory_errors(case: Case) -> str | None:
    for card in case.cards:
        if card.remap_failed:
            return f"{name(card)}: a row could not be remapped"
        if card.remap_pending:
            return f"{name(card)}: a row is remapped with the next reset"
        if card.ecc:
            return f"{name(card)}: {card.ecc} uncorrected"
    return None


def _uvm_missing(case: Case) -> str | None:
    facts = case.facts
    on_host = facts.place is Place.HOST and "nvidia" in facts.modules and _of_nvidia(case)
    return "" if case.probed is Cause.CPU_FALLBACK and on_host and "nvidia_uvm" not in facts.modules else None


def _suspended(case: Case) -> str | None:
    resumed = case.facts.resumed
    woken = resumed is not None and resumed < A_DAY and case.facts.place is Place.HOST
    return "" if case.probed is Cause.CPU_FALLBACK and woken and _of_nvidia(case) else None


def _container_lost(case: Case) -> str | None:
    """Look at what nvidia-smi says within a container, or what an Ollama says that Docker runs."""
    facts = case.facts
    said = facts.said if facts.place is Place.CONTAINER else ()
    logged = facts.ollama_log if case.node.recovery is RecoveryKind.DOCKER and facts.smi is Smi.OK else ()
    return "NVML: Unknown Error" if "NVML: Unknown Error" in "\n".join((*said, *logged)) else None


def _absent(case: Case) -> str | None:
    facts, most = case.facts, case.known.most
    if facts.place is not Place.HOST or (case.in_vram and not most):
        return None
    there = sum(card.vendor is not Vendor.OTHER for card in facts.present)
    lost = len(facts.cards) - len(facts.present)
    wanted = case.node.expects_gpu.cards or most
    return f"{there} of {wanted} are on the bus" if there + lost < wanted else None


def _undiscovered(case: Case) -> str | None:
    if case.facts.smi is not Smi.OK or case.probed is not Cause.CPU_FALLBACK:
        return None
    return next((line for line in case.facts.ollama_log if re.search(_NOT_DISCOVERED, line)), None)


_NOT_DISCOVERED = (
    r"(?i)no compatible GPUs|library=cpu|discovery (?:failed|timed out)|failure during GPU discovery"
)


def _slowed(bits: int) -> Callable[[Case], str | None]:
    def finds(case: Case) -> str | None:
        for card in case.facts.cards:
            looks = case.known.throttled.get(card.bus or str(card.index), 0)
            if card.throttle & bits and looks >= SLOWED_LOOKS:
                heat = "" if card.temperature is None else f" at {card.temperature} °C"
                return f"{name(card)}{heat}, in {looks} looks"
        return None

    return finds


def _vram_held(case: Case) -> str | None:
    runner = next((holder for holder in case.facts.holders if holder.runner), None)
    if runner is None or not case.idle or case.known.held < LOOKS_OF_MEMORY:
        return None
    return f"process {runner.pid}{_size(runner.size)}"


def _vram_taken(case: Case) -> str | None:
    if (
        not case.idle
        or case.known.held < LOOKS_OF_MEMORY
        or any(holder.runner for holder in case.facts.holders)
    ):
        return None
    holders = sorted(case.facts.holders, key=lambda each: -(each.size or 0))[:3]
    named = "; ".join(f"{each.name or 'a process'} {each.pid}{_size(each.size)}" for each in holders)
    return named or "whose it is cannot be seen"


def _unused(case: Case) -> str | None:
    if case.known.unused < LOOKS_OF_MEMORY:
        return None
    used = sum(card.used or 0 for card in case.facts.cards)
    return f"{_size(used).lstrip(', ')} in use"


def _size(size: int | None) -> str:
    return "" if size is None else f", {size / 2**30:.1f} GiB"


def _of_nvidia(case: Case) -> list[Card]:
    return [card for card in case.facts.present if card.vendor is Vendor.NVIDIA]


def _card_of_xid(case: Case, numbers: frozenset[int], most: float) -> str | None:
    """Return the card and the number of the newest such error in the kernel's log of so many seconds.

    In a container that log is the whole host's, and may be about the cards of others. A lost card that
    answers nvidia-smi is there again.
    """
    for line in reversed(case.facts.kernel if case.facts.place is not Place.CONTAINER else ()):
        found = re.match(r"(\d+) .*Xid \(PCI:([0-9a-fA-F:.]+)\): (\d+)", line)
        if found and int(found[3]) in numbers and int(found[1]) <= most:
            card = next((card for card in case.cards if card.bus.startswith(found[2].lower())), None)
            if numbers is _XID_LOST and card and card.index is not None:
                continue
            return f"{_at(case, found[2])}, Xid {found[3]}"
    return None


def _named_in(case: Case, text: str) -> str:
    """Return the card that a message of the driver names by its place on the bus."""
    found = re.search(r"(?:0{4})?([0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2})", text, re.IGNORECASE)
    return _at(case, found[1]) if found else ""


def _at(case: Case, bus: str) -> str:
    where = bus.lower()
    return next((name(card) for card in case.facts.cards if card.bus.startswith(where)), where)


RULES = (
    Rule(Cause.GPU_DRIVER_STUCK, _stuck, _FAILING | _SERVING | {Cause.LOADING, Cause.STUCK_STOPPING}),
    Rule(Cause.GPU_LOST, _lost, _FAILING | _SERVING | {Cause.STUCK_STOPPING}),
    Rule(Cause.GPU_DRIVER_MISMATCH, _mismatch, _FAILING | _SERVING | {Cause.STUCK_STOPPING}),
    Rule(Cause.GPU_DRIVER_ABSENT, _driver_absent, _SERVING),
    Rule(Cause.GPU_INIT_FAILED, _init_failed, _SERVING),
    Rule(Cause.GPU_RESET_NEEDED, _reset_needed, _FAILING | _SERVING | {Cause.STUCK_STOPPING}),
    Rule(Cause.GPU_MEMORY_ERRORS, _memory_errors, _FAILING | {Cause.SLOW}),
    Rule(Cause.GPU_CONTAINER_LOST, _container_lost, _ON_CPU),
    Rule(Cause.GPU_SUSPENDED, _suspended, _ON_CPU),
    Rule(Cause.GPU_UVM_MISSING, _uvm_missing, _ON_CPU),
    Rule(Cause.GPU_ABSENT, _absent, _SERVING),
    Rule(Cause.GPU_UNDISCOVERED, _undiscovered, _ON_CPU),
    Rule(Cause.GPU_POWER_BRAKE, _slowed(POWER_BRAKE), frozenset({Cause.SLOW})),
    Rule(Cause.GPU_HOT, _slowed(THERMAL), frozenset({Cause.SLOW})),
    Rule(Cause.GPU_VRAM_HELD, _vram_held, _SERVING),
    Rule(Cause.GPU_VRAM_TAKEN, _vram_taken, _SERVING),
    Rule(Cause.GPU_UNUSED, _unused, frozenset({Cause.SLOW})),
)
"""In the order in which they are asked."""
