"""Decides the cause of what a probe observed, and describes causes for people. Pure.

A probe sees a node only from outside: it cannot tell an Ollama that is not exposed from one that does not
run, since both refuse connections. A look on the host refines such causes later (planning/findings.py).
"""

import shlex

from gpu_mesh.domain.causes import CAUSES, Cause, Diagnosis
from gpu_mesh.domain.health import Verdict
from gpu_mesh.domain.mesh import GpuRule, Node, RecoveryKind
from gpu_mesh.domain.model_name import canonical
from gpu_mesh.domain.observation import Fault, Observation, Reply
from gpu_mesh.domain.state import NodeState

LOADING_PATIENCE = 300.0
"""Seconds that a model may load before it is an impairment: Ollama's own OLLAMA_LOAD_TIMEOUT."""

STOPPING_PATIENCE = 300.0
"""Seconds past ``expires_at`` after which a model that is still loaded is stuck."""

USUAL_VRAM = 0.5
"""A model with less than this part of its usual share in VRAM has lost the GPU."""

SLOW_FACTOR, SLOW_MS, SLOW_SAMPLES = 5.0, 1000.0, 20
"""An answer is slow if it takes this many times the node's usual time, and at least this many milliseconds.
The usual time counts only after this many successful checks."""

_DIRECT = {
    Fault.DNS: Cause.DNS,
    Fault.REFUSED: Cause.REFUSED,
    Fault.NO_ROUTE: Cause.HOST_DOWN,
    Fault.CONNECT_TIMEOUT: Cause.TIMEOUT,
    Fault.READ_TIMEOUT: Cause.TIMEOUT,
    Fault.TLS: Cause.TLS,
    Fault.NO_TLS: Cause.NO_TLS,
    Fault.RESET: Cause.HTTP_ERROR,
    Fault.CLOSED: Cause.HTTP_ERROR,
    Fault.REDIRECT: Cause.NOT_OLLAMA,
    Fault.NOT_JSON: Cause.NOT_OLLAMA,
    Fault.UNREADABLE: Cause.NOT_OLLAMA,
    Fault.TOO_LARGE: Cause.NOT_OLLAMA,
    Fault.PROXY: Cause.PROXY,
    Fault.BROKEN: Cause.MISCONFIGURED,
    Fault.UNUSABLE: Cause.MISCONFIGURED,
    Fault.MONITOR: Cause.MONITOR,
}

_TUNNELLED = _DIRECT | {
    Fault.REFUSED: Cause.TUNNEL_DOWN,
    Fault.CONNECT_TIMEOUT: Cause.TUNNEL_STUCK,
    Fault.READ_TIMEOUT: Cause.TUNNEL_STUCK,
    Fault.RESET: Cause.REMOTE_OLLAMA_DOWN,
    Fault.CLOSED: Cause.REMOTE_OLLAMA_DOWN,
}

_SILENT = (Fault.READ_TIMEOUT, Fault.RESET, Fault.CLOSED)
"""The faults of a deep check that got no answer from Ollama at all."""


def diagnose(node: Node, seen: Observation, before: NodeState) -> Diagnosis:
    """Judge one observation.

    Args:
        node: the node as the inventory describes it.
        seen: what the probe observed.
        before: the node's state after the check before this one.
    """
    if seen.tags.fault is not None:
        return _failed(node, seen.tags, seen.tags.fault)
    for judge in (_runner_hung, _busy, _models_missing, _stuck_stopping, _loading, cpu_fallback, _slow):
        impairment = judge(node, seen, before)
        if impairment is not None:
            return impairment
    return Diagnosis(Verdict.OK)


def describe_cause(cause: Cause, node: Node) -> str:
    """Return the cause in words, as the start of a sentence."""
    if cause is Cause.TIMEOUT and node.tunnel:
        return "Ollama behind the tunnel hangs"  # what a look has found; a probe names the tunnel
    return _filled(CAUSES[cause].words, node)


def next_step(cause: Cause, node: Node) -> str:
    """Return what a person can do about the cause, in words."""
    if cause is Cause.NOT_EXPOSED and node.has_proxy:
        return _filled("see why the proxy at {url} does not reach Ollama", node)
    return _filled(CAUSES[cause].next_step, node)


def is_loading(seen: Observation) -> bool:
    """Return whether a model is being loaded: /api/tags answered, but /api/ps waits for the model."""
    return seen.ps is not None and seen.ps.fault is Fault.READ_TIMEOUT


def _failed(node: Node, reply: Reply, fault: Fault) -> Diagnosis:
    if fault is Fault.STATUS:
        cause = _cause_of_status(reply.status)
    else:
        cause = (_TUNNELLED if node.tunnel else _DIRECT)[fault]
    if fault in (Fault.CONNECT_TIMEOUT, Fault.READ_TIMEOUT):
        number = f"{node.timeout:g}s"
    else:
        number = "" if fault is Fault.REFUSED else reply.detail
    return _because(cause, node, number)


def _cause_of_status(status: int) -> Cause:
    """Return the cause of an HTTP error. Only a server's own failure (5xx) is one that a restart helps.

    401 and 403 come from a proxy that denies access, 429 from one that limits requests; 404 and the like from
    a server that is not Ollama.
    """
    if status in (401, 403):
        return Cause.FORBIDDEN
    if status == 429:
        return Cause.RATE_LIMITED
    return Cause.HTTP_ERROR if status >= 500 else Cause.NOT_OLLAMA


def _runner_hung(node: Node, seen: Observation, _before: NodeState) -> Diagnosis | None:
    """Return RUNNER_HUNG if a loaded model gave no whole answer, or a server error, and is not at work.

    Other error answers do not come from a runner: a proxy lets only GET pass or asks for a login, a model
    makes no text, or the queue is full.
    """
    deep = seen.deep
    if deep is None or seen.deep_excused:
        return None
    failed = deep.fault is Fault.STATUS and deep.status >= 500 and deep.status not in (501, 503)
    if deep.fault not in _SILENT and not failed:
        return None
    return _because(Cause.RUNNER_HUNG, node, f"{seen.deep_model}, {deep.detail}".rstrip(", "))


def _busy(node: Node, seen: Observation, _before: NodeState) -> Diagnosis | None:
    if seen.deep and seen.deep.fault is Fault.STATUS and seen.deep.status == 503:
        return _because(Cause.BUSY, node, seen.deep.detail)
    return None


def _models_missing(node: Node, seen: Observation, before: NodeState) -> Diagnosis | None:
    have = set(map(canonical, seen.models)) if node.expected_models else set()
    missing = [name for name in node.expected_models or () if canonical(name) not in have]
    if missing and not seen.models_cut:
        return _because(Cause.MODELS_MISSING, node, ", ".join(missing))
    if node.expected_models is None and not seen.models and before.had_models:
        return _because(Cause.MODELS_MISSING, node, f"0 left of {before.had_models}")
    return None


def _stuck_stopping(node: Node, seen: Observation, _before: NodeState) -> Diagnosis | None:
    clock = seen.node_clock or seen.at
    for model in seen.loaded:
        overdue = clock - model.expires_at
        if model.expires_at and overdue > STOPPING_PATIENCE:
            return _because(Cause.STUCK_STOPPING, node, f"{model.name}, {overdue / 60:.0f} min overdue")
    return None


def _loading(node: Node, seen: Observation, before: NodeState) -> Diagnosis | None:
    lasted = seen.at - before.loading_since
    if is_loading(seen) and before.loading_since and lasted > LOADING_PATIENCE:
        return _because(Cause.LOADING, node, f"{lasted / 60:.0f} min")
    return None


def cpu_fallback(node: Node, seen: Observation, before: NodeState) -> Diagnosis | None:
    """Return CPU_FALLBACK if nothing of a model is in VRAM, or much less than is usual for it on this node.

    A model that is too large for the VRAM runs partly on the CPU by design. A node that the inventory says
    nothing of may have no GPU, unless a model was seen in its VRAM.
    """
    rule = node.expects_gpu.rule
    if rule is GpuRule.NONE or (rule is GpuRule.AUTO and not before.vram):
        return None
    for model in seen.loaded:
        usual, share = before.vram.get(canonical(model.name), 0.0), model.vram_share
        if model.size and (not share or share < USUAL_VRAM * usual):
            number = f"{model.name}, {100 * share:.0f}% in VRAM"
            number += f", usually {100 * usual:.0f}%" if usual else ""
            return _because(Cause.CPU_FALLBACK, node, number)
    return None


def _slow(node: Node, seen: Observation, before: NodeState) -> Diagnosis | None:
    usual, now = before.statistics.usual_ms, seen.tags.ms
    if before.statistics.successes >= SLOW_SAMPLES and now >= SLOW_MS and now >= SLOW_FACTOR * usual:
        return _because(Cause.SLOW, node, f"{now:.0f} ms, usually {usual:.0f} ms")
    return None


def _because(cause: Cause, node: Node, number: str) -> Diagnosis:
    words = describe_cause(cause, node)
    return Diagnosis(CAUSES[cause].verdict, cause, f"{words} ({number})" if number else words)


def _filled(template: str, node: Node) -> str:
    if "{" not in template:  # as most are; of many nodes the rest would take long
        return template
    tunnel = node.tunnel
    host = tunnel.host if tunnel else "the monitor" if node.on_monitor else node.key
    unit, log = _SERVICE[node.recovery]
    return template.format(
        node=node.key,
        url=node.url,
        unit=unit.format(node=node),
        log=log.format(node=node),
        tunnel_log=(
            "what mesh_tunnel_recovery_command says"
            if tunnel and tunnel.recovery_command
            else f"journalctl -u gpu-mesh-tunnel@{node.key}"
        ),
        host=host,
        any_address="[::]" if node.url.partition("//")[2].startswith("[") else "0.0.0.0",  # noqa: S104
        known_host=shlex.quote(node.known_host),
        port=node.tunnel.local_port if node.tunnel else node.port,
    )


_SERVICE = {
    RecoveryKind.SYSTEMD: ("{node.unit}", "sudo journalctl -u {node.unit}"),
    RecoveryKind.SYSTEMD_USER: ("{node.unit}", "journalctl --user -u {node.unit}"),
    RecoveryKind.DOCKER: ("the container {node.container}", "sudo docker logs {node.container}"),
    RecoveryKind.COMMAND: ("Ollama", "its log"),
    RecoveryKind.NONE: ("Ollama", "its log"),
}
"""What runs Ollama on the node, and the command that shows its log."""
