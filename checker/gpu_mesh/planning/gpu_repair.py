"""Decides by a look at the GPUs whether a repair of them may follow, and whether one has helped. Pure.

The playbook of the repair asks this after its look (playbooks/recovery/filter_plugins/judge_gpu.py), and the
recovery once more, when it records what the look found.
"""

from msgspec.structs import replace

from gpu_mesh.diagnosis import gpu, gpu_history
from gpu_mesh.domain.causes import Action, Cause
from gpu_mesh.domain.gpu import GpuFacts, NodeGpu, Place
from gpu_mesh.domain.mesh import Node
from gpu_mesh.domain.recovery import Attempt, Finding, Outcome
from gpu_mesh.domain.state import NodeState
from gpu_mesh.planning import gpu_allowed
from gpu_mesh.planning.gpu_restart import GONE, WAITS, GpuJudgement


def judge(
    action: Action, node: Node, before: NodeGpu | None, facts: GpuFacts | None, probed: Cause | None
) -> GpuJudgement:
    """Return whether the look itself shows a cause against which the repair helps: GPU_AT_FAULT.

    What earlier looks have left is in the state, which the process writes that reads what nodes send. So it
    is no reason by itself.

    Args:
        action: the repair.
        node: the node as the inventory describes it.
        before: what earlier looks have left; None: there was none.
        facts: the look; None: the host has none.
        probed: the cause as the probe names it; None: a person asks.
    """
    if facts is None or facts.place is not Place.HOST:
        return GpuJudgement(Finding.GPU_WELL, None, "no look at the GPUs of this host is possible")
    known = gpu_history.remember(before, facts, None)
    found = gpu.find(gpu.Case(node, known, _of_ollama(action, probed), in_vram=True))
    if found and gpu_allowed.helps(action, found.cause, facts):
        return GpuJudgement(Finding.GPU_AT_FAULT, found.cause, found.detail)
    if gpu.is_unclear(known):
        return GpuJudgement(Finding.GPU_UNCLEAR, None, WAITS)
    return GpuJudgement(Finding.GPU_WELL, None, GONE)


def _of_ollama(action: Action, probed: Cause | None) -> Cause | None:
    """Return what is wrong with Ollama itself, as far as that is known.

    What a reload of the module helps against is a fault only while models run on the CPU.
    """
    if action is Action.RELOAD_GPU_MODULE:
        return Cause.CPU_FALLBACK
    return None if probed is None or probed.is_of_gpu else probed


def after_look(node: Node, known: NodeState) -> NodeState:
    """Return the node's state after a look, which may show that a repair was in vain.

    A look in another boot shows that the reboot is over. That a repair has helped, a loaded model proves.
    """
    if known.gpu is None:
        return known
    reboot, facts = known.recovery.reboot, known.gpu.facts
    is_over = reboot is not None and facts.boot not in ("", reboot.boot)
    found = gpu.find(gpu.Case(node, known.gpu, None, in_vram=True))

    def after(attempt: Attempt) -> Attempt:
        seen = is_over if attempt.action is Action.REBOOT_HOST else facts.at > attempt.at
        in_vain = found is not None and found.cause in gpu_allowed.HELPS.get(attempt.action, ())
        disproved = seen and in_vain and attempt.outcome is Outcome.UNPROVED
        return replace(attempt, outcome=Outcome.NOT_RECOVERED) if disproved else attempt

    attempts = tuple(map(after, known.recovery.attempts))
    if not is_over and attempts == known.recovery.attempts:
        return known
    return replace(
        known, recovery=replace(known.recovery, reboot=None if is_over else reboot, attempts=attempts)
    )
