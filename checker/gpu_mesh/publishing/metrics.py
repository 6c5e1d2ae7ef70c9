"""Writes a report as metrics in the text format 0.0.4 of Prometheus. Pure.

A value that is not known is left out, and so is what a node said that no longer answers: no old value is told
as new. There are no timestamps, since node_exporter refuses them. Text from outside is only ever the value of
a label.
"""

import math
from collections.abc import Iterator
from enum import StrEnum

from msgspec import Struct

from gpu_mesh import __version__
from gpu_mesh.domain.health import Status
from gpu_mesh.reporting.gpus import CardReport
from gpu_mesh.reporting.node_report import LoadedModelReport, NodeReport
from gpu_mesh.reporting.report import Report
from gpu_mesh.text.sanitize import one_line

_LONGEST = 200  # characters of a label's value
_MOST_MODELS = 64  # loaded ones of a node: each new name is a new series for good


class Kind(StrEnum):
    """The type of a family."""

    GAUGE = "gauge"
    COUNTER = "counter"


class Family(Struct, frozen=True):
    """What is said of all samples with one name."""

    help: str  # one line, without a backslash
    kind: Kind = Kind.GAUGE


FAMILIES = {
    "gpu_mesh_info": Family("The version of gpu-mesh; always 1."),
    "gpu_mesh_last_check_timestamp_seconds": Family("When the last check of the mesh began, in Unix time."),
    "gpu_mesh_check_duration_seconds": Family("How long the last check of the mesh took."),
    "gpu_mesh_health_ratio": Family("Mean over the nodes: 1 healthy, 0.5 degraded, 0 otherwise."),
    "gpu_mesh_alerts_waiting": Family("Alerts that have not reached every URL that wants them."),
    "gpu_mesh_node_info": Family("A node's name, URL and version of Ollama; always 1."),
    "gpu_mesh_node_status": Family("1 for the status that the node has, 0 for the others."),
    "gpu_mesh_node_cause": Family("1 for the cause of the node's trouble; absent while there is none."),
    "gpu_mesh_node_up": Family("Whether the node served in the last check, even if it was impaired."),
    "gpu_mesh_node_response_seconds": Family("Response time in the last check; absent without an answer."),
    "gpu_mesh_node_success_ratio": Family("The share of the checks of the last 24 hours in which it served."),
    "gpu_mesh_node_score_ratio": Family(
        "Uptime score: a mean of checks whose weight halves every 120 checks."
    ),
    "gpu_mesh_node_checks_total": Family("Checks of the node, by verdict.", Kind.COUNTER),
    "gpu_mesh_node_silenced": Family("Whether a silence or a maintenance window mutes its alerts."),
    "gpu_mesh_node_draining": Family("Whether it takes no new requests, by a person or before a repair."),
    "gpu_mesh_node_asleep": Family("Whether it sleeps, as it may; its status is unknown then."),
    "gpu_mesh_node_needs_person": Family("Whether a person was called in this incident."),
    "gpu_mesh_recoveries_total": Family(
        "Recoveries of the node that have ended, by playbook and by what came of them.", Kind.COUNTER
    ),
    "gpu_mesh_node_models": Family("Models that the node can run."),
    "gpu_mesh_model_loaded_info": Family("A model that is loaded; always 1."),
    "gpu_mesh_model_memory_bytes": Family("Memory that a loaded model takes in all."),
    "gpu_mesh_model_vram_bytes": Family("The part of it that is in VRAM; 0: it runs on the CPU."),
    "gpu_mesh_model_expires_timestamp_seconds": Family(
        "When a loaded model is unloaded if nobody uses it, in Unix time by the node's clock."
    ),
    "gpu_mesh_gpu_memory_used_bytes": Family("Memory in use, as the newest look at the GPUs showed."),
    "gpu_mesh_gpu_memory_total_bytes": Family("Memory of a GPU."),
    "gpu_mesh_gpu_utilization_ratio": Family("How busy a GPU was, as the newest look showed."),
    "gpu_mesh_gpu_temperature_celsius": Family("Temperature of a GPU, as the newest look showed."),
    "gpu_mesh_gpu_power_watts": Family("Power that a GPU draws, as the newest look showed."),
    "gpu_mesh_gpu_slowdown": Family("1 for why a GPU's clocks are held down; absent while they are not."),
}
"""All families, by name, in the order in which they are written."""

_Sample = tuple[str, str, float | None]  # family, labels, value; None: it is not known


def text(of: Report) -> str:
    """Return the metrics of a mesh; a family of which nothing is known is left out."""
    found: dict[str, dict[str, float]] = {name: {} for name in FAMILIES}
    for name, labels, value in _samples(of):
        if value is not None and math.isfinite(value):
            # A node may name a model twice: of two samples with the same labels the first one counts.
            found[name].setdefault(labels, value)
    lines: list[str] = []
    for name, samples in found.items():
        if samples:
            family = FAMILIES[name]
            lines += (f"# HELP {name} {family.help}", f"# TYPE {name} {family.kind}")
            lines += (f"{name}{labels} {value!r}" for labels, value in samples.items())
    return "\n".join(lines) + "\n"


def _samples(of: Report) -> Iterator[_Sample]:
    mesh = of.mesh
    yield "gpu_mesh_info", _labels(version=__version__), 1
    yield "gpu_mesh_alerts_waiting", "", mesh.alerts_waiting
    if mesh.last_check is not None:
        yield "gpu_mesh_last_check_timestamp_seconds", "", mesh.last_check
        yield "gpu_mesh_check_duration_seconds", "", mesh.check_seconds
        yield "gpu_mesh_health_ratio", "", _ratio(mesh.health)
    for node in of.nodes:
        yield (
            "gpu_mesh_node_info",
            _labels(node=node.node, name=node.name, url=node.url, version=node.version),
            1,
        )
        if node.enabled:
            yield from _of_node(node)


def _of_node(node: NodeReport) -> Iterator[_Sample]:
    labels = _labels(node=node.node)
    for status in Status:
        yield "gpu_mesh_node_status", _and(labels, "status", status), int(node.status is status)
    if node.cause:
        yield "gpu_mesh_node_cause", _and(labels, "cause", node.cause), 1
    if node.status is not Status.UNKNOWN:
        yield "gpu_mesh_node_up", labels, int(node.answers)
    yield "gpu_mesh_node_success_ratio", labels, _ratio(node.success_rate_24h)
    yield "gpu_mesh_node_score_ratio", labels, _ratio(node.score)
    yield "gpu_mesh_node_checks_total", _and(labels, "verdict", "ok"), node.checks.ok
    yield "gpu_mesh_node_checks_total", _and(labels, "verdict", "impaired"), node.checks.impaired
    yield "gpu_mesh_node_checks_total", _and(labels, "verdict", "failed"), node.checks.failed
    yield "gpu_mesh_node_silenced", labels, int(node.silenced_until is not None)
    yield "gpu_mesh_node_draining", labels, int(node.draining_until is not None)
    yield "gpu_mesh_node_asleep", labels, int(node.asleep_since is not None)
    yield "gpu_mesh_node_needs_person", labels, int(node.person_called is not None)
    for each in node.recoveries:
        named = _and(_and(labels, "playbook", each.playbook), "outcome", each.outcome)
        yield "gpu_mesh_recoveries_total", named, each.count
    if node.answers:
        yield "gpu_mesh_node_response_seconds", labels, _part(node.response_ms, 1000)
        yield "gpu_mesh_node_models", labels, len(node.models)
        for model in node.loaded_models[:_MOST_MODELS]:
            yield from _of_model(model, _and(labels, "model", model.name))
    if node.gpu and not node.gpu.outdated:
        for number, card in enumerate(node.gpu.cards):
            yield from _of_card(card, _and(labels, "gpu", _card_name(card, number)))


def _of_model(model: LoadedModelReport, labels: str) -> Iterator[_Sample]:
    yield "gpu_mesh_model_loaded_info", labels, 1
    yield "gpu_mesh_model_memory_bytes", labels, model.size
    yield "gpu_mesh_model_vram_bytes", labels, model.size_vram
    yield "gpu_mesh_model_expires_timestamp_seconds", labels, model.expires_at


def _of_card(card: CardReport, labels: str) -> Iterator[_Sample]:
    yield "gpu_mesh_gpu_memory_used_bytes", labels, card.memory_used
    yield "gpu_mesh_gpu_memory_total_bytes", labels, card.memory_total
    yield "gpu_mesh_gpu_utilization_ratio", labels, _ratio(card.utilization)
    yield "gpu_mesh_gpu_temperature_celsius", labels, card.temperature
    yield "gpu_mesh_gpu_power_watts", labels, card.power
    for why in card.slowed_by:
        yield "gpu_mesh_gpu_slowdown", _and(labels, "reason", why), 1


def _card_name(card: CardReport, number: int) -> str:
    """Return what tells a card from the others of its node: the driver's number, or its place on the bus."""
    return str(card.index) if card.index is not None else card.bus or card.uuid or f"card-{number}"


def _ratio(per_cent: float | None) -> float | None:
    return _part(per_cent, 100)


def _part(value: float | None, of: int) -> float | None:
    return None if value is None else round(value / of, 6)


def _labels(**values: str) -> str:
    pairs = (f'{name}="{_escaped(value)}"' for name, value in values.items())
    return f"{{{','.join(pairs)}}}"


def _and(labels: str, name: str, value: str) -> str:
    return f'{labels[:-1]},{name}="{_escaped(value)}"}}'


def _escaped(value: str) -> str:
    """Return the value of a label as one visible line, in which nothing ends it early."""
    if len(value) > _LONGEST or not value.isprintable():
        value = one_line(value, _LONGEST)
    return value.replace("\\", r"\\").replace('"', r"\"")
