"""Decides by a look at the GPUs whether a reboot of the host may follow, and whether one has helped. Pure.

The playbook of the reboot asks this after its look (playbooks/recovery/filter_plugins/judge_gpu.py), and the
recovery once more, when it records what the look found.
"""

from msgspec.structs import replace

from gpu_mesh.diagnosis import gpu, gpu_history
from gpu_mesh.domain.causes import Action, Cause
from gpu_mesh.domain.gpu import GpuFacts, NodeGpu, Place
from gpu_mesh.domain.mesh import Node
from gpu_mesh.domain.recovery import Attempt, Finding, Outcome
from gpu_mesh.domain.state import NodeState
from gpu_mesh.planning.gpu_restart import GONE, WAITS, GpuJudgement
from gpu_mesh.planning.reboots import REBOOT_HELPS


def judge(node: Node, before: NodeGpu | None, facts: GpuFacts | None, probed: Cause | None) -> GpuJudgement:
    """Return whether the look itself shows a cause for which the host may be rebooted: GPU_AT_FAULT.

    What earlier looks have left is in the state, which the process writes that reads what nodes send. So it
    is no reason by itself.

    Args:
        node: the node as the inventory describes it.
        before: what earlier looks have left; None: there was none.
        facts: the look; None: the host has none.
        probed: the cause as the probe names it; None: a person asks.
    """
    if facts is None or facts.place is not Place.HOST:
        return GpuJudgement(Finding.GPU_WELL, None, "no look at the GPUs of this host is possible")
    known = gpu_history.remember(before, facts, None)
    of_ollama = None if probed is None or probed.is_of_gpu else probed
    found = gpu.find(gpu.Case(node, known, of_ollama, in_vram=True))
    if found and found.cause in REBOOT_HELPS:
        return GpuJudgement(Finding.GPU_AT_FAULT, found.cause, found.detail)
    if gpu.is_unclear(known):
        return GpuJudgement(Finding.GPU_UNCLEAR, None, WAITS)
    return GpuJudgement(Finding.GPU_WELL, None, GONE)


def after_look(node: Node, known: NodeState) -> NodeState:
    """Return the node's state after a look that may show the host in another boot: then its reboot is over.

    What is still wrong then, the reboot has not helped against. That it has helped, a loaded model proves.
    """
    reboot = known.recovery.reboot
    if reboot is None or known.gpu is None or known.gpu.facts.boot in ("", reboot.boot):
        return known
    found = gpu.find(gpu.Case(node, known.gpu, None, in_vram=True))
    helped = not (found and found.cause in REBOOT_HELPS)
    attempts = tuple(each if helped else _disproved(each) for each in known.recovery.attempts)
    return replace(known, recovery=replace(known.recovery, reboot=None, attempts=attempts))


def _disproved(attempt: Attempt) -> Attempt:
    unproved = attempt.action is Action.REBOOT_HOST and attempt.outcome is Outcome.UNPROVED
    return replace(attempt, outcome=Outcome.NOT_RECOVERED) if unproved else attempt
