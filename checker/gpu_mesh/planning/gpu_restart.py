"""Decides whether the state of a host's GPUs rules out a restart of Ollama. Pure.

The restart playbook asks this after its look (playbooks/recovery/filter_plugins/judge_gpu.py), and the
recovery once more, when it records what the look found.
"""

from collections.abc import Callable

from msgspec import Struct

from gpu_mesh.diagnosis import gpu, gpu_history
from gpu_mesh.domain.causes import CAUSES, Cause
from gpu_mesh.domain.gpu import GpuFacts, NodeGpu
from gpu_mesh.domain.mesh import GpuRule, Node
from gpu_mesh.domain.recovery import Finding


class GpuJudgement(Struct, frozen=True):
    """What a look at the GPUs means for a restart, or for a reboot of the host."""

    finding: Finding = Finding.NONE  # NONE: nothing speaks against it
    cause: Cause | None = None
    words: str = ""


NOTHING = GpuJudgement()

GONE = "this look no longer shows what an earlier one did"
WAITS = "nvidia-smi waits for the GPU's driver; whether that hangs shows at the next look"


def judge(node: Node, before: NodeGpu | None, facts: GpuFacts | None, probed: Cause | None) -> GpuJudgement:
    """Return whether a restart may follow the look.

    1. Where the cause is the card's or the driver's, a restart does not help.
    2. Where memory of a card is the reason for the restart, this look must show that, too: what earlier looks
       have left is in the state, which the process writes that reads what nodes send.
    3. If nvidia-smi waits for the driver, it may hang, and then a restart would hang, too. One look cannot
       tell. So the first such look puts the restart off, until another one can.

    Args:
        node: the node as the inventory describes it.
        before: what earlier looks have left; None: there was none.
        facts: the look; None: the host has none.
        probed: the cause as the probe names it; None: a person asks.
    """
    if facts is None or node.expects_gpu.rule is GpuRule.NONE:
        return NOTHING
    known = gpu_history.remember(before, facts, None)
    probed_there = _BY_ITSELF.get(probed, probed) if probed else None
    # in_vram: not here known, so that a host whose bus never had a card is not said to miss one.
    found = gpu.find(gpu.Case(node, known, probed_there, in_vram=True))
    row = CAUSES[found.cause] if found and found.cause else None
    # Where a person asks, only what would make the restart hang or do harm stands against it.
    if found and row and (row.rules_out_restart if probed else row.calls):
        return GpuJudgement(Finding.GPU_AT_FAULT, found.cause, found.detail)
    if probed in _MUST_SHOW and not _MUST_SHOW[probed](facts):
        return GpuJudgement(Finding.GPU_WELL, probed, GONE)
    if gpu.is_unclear(known) and not _seen_before(before, facts):
        return GpuJudgement(Finding.GPU_UNCLEAR, probed, WAITS)
    return NOTHING


def _runner_holds(facts: GpuFacts) -> bool:
    return facts.loaded == 0 and any(holder.runner for holder in facts.holders)


def _not_in_use(facts: GpuFacts) -> bool:
    return bool(facts.loaded) and sum(card.used or 0 for card in facts.cards) < gpu_history.LEAST


_MUST_SHOW: dict[Cause | None, Callable[[GpuFacts], bool]] = {
    Cause.GPU_VRAM_HELD: _runner_holds,
    Cause.GPU_UNUSED: _not_in_use,
    Cause.GPU_CONTAINER_LOST: lambda facts: "NVML: Unknown Error" in "\n".join(facts.said + facts.ollama_log),
}
"""What one look must show for a restart because of the GPU."""

_BY_ITSELF = {Cause.TUNNEL_STUCK: Cause.TIMEOUT}
"""What is wrong with Ollama itself, where a probe cannot see past the tunnel."""


def _seen_before(before: NodeGpu | None, facts: GpuFacts) -> bool:
    """Return whether an earlier look in this boot saw a tool wait, and by now it would be known to hang."""
    if before is None or before.facts.boot != facts.boot:
        return False
    return gpu.is_unclear(before) and facts.at - before.facts.at >= gpu.STUCK_AFTER
