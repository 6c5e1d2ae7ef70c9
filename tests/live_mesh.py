"""A made-up mesh of any size for the live view, with a little of everything that can be wrong in it."""

import time
from collections.abc import Sequence
from datetime import UTC
from typing import Any

from factories import NOW, behind, plain
from gpu_mesh.domain.alert import Acknowledgement, Level
from gpu_mesh.domain.causes import Action, Cause
from gpu_mesh.domain.gpu import Card, GpuFacts, NodeGpu
from gpu_mesh.domain.health import Status, Verdict
from gpu_mesh.domain.history import Sample
from gpu_mesh.domain.mesh import Mesh, Node
from gpu_mesh.domain.observation import LoadedModel
from gpu_mesh.domain.recovery import Attempt, Claim, Outcome
from gpu_mesh.domain.state import NodeAlerting, NodeRecovery, NodeState, NodeStatistics, State, Tick
from gpu_mesh.reporting.live import Screen
from gpu_mesh.reporting.report import Report, report
from gpu_mesh.storage.state_file import encode
from sites import Site

GIB = 2**30
HOUR_OF_CHECKS = 120

_MODELS = (
    ("llama3.2:3b", 3, 3),
    ("qwen2.5-coder:32b", 22, 22),
    ("deepseek-r1:70b-llama-distill-q4_K_M", 43, 24),
    ("nomic-embed-text", 1, 1),
)


def healthy(number: int = 0, now: float = NOW, **fields: Any) -> NodeState:
    """Return what is known of a healthy node, a little different for each number."""
    chosen = [_MODELS[(number + each) % len(_MODELS)] for each in range(number % 3)]
    loaded = tuple(LoadedModel(name, size * GIB, vram * GIB, now + 300, 8192) for name, size, vram in chosen)
    card = Card(
        index=0, name="NVIDIA RTX A6000", used=2 * GIB, total=48 * GIB, busy=35, temperature=61, power=182.4
    )
    statistics = NodeStatistics(
        checks=4000 + number,
        successes=4000 - number % 5,
        score_weight=100,
        score_value=100 - number % 4,
        hour=int(now // 3600),
        hourly_checks=(120,) * 24,
        hourly_successes=(120,) * 23 + (120 - number % 3,),
        usual_ms=40.0 + number,
    )
    known = {
        "status": Status.HEALTHY,
        "since": now - 86400 * (1 + number),
        "verdict": Verdict.OK,
        "response_ms": 38.0 + 7 * number,
        "last_check": now - 12,
        "models": tuple(name for name, _, _ in _MODELS),
        "loaded": loaded,
        "version": "0.12.3",
        "gpu": NodeGpu(GpuFacts(at=now - 200, driver="550.54", cards=(card,))) if number % 4 != 3 else None,
        "statistics": statistics,
    }
    return NodeState(**{**known, **fields})


def offline(now: float = NOW, **fields: Any) -> NodeState:
    known = {
        "status": Status.OFFLINE,
        "since": now - 2820,
        "verdict": Verdict.FAILED,
        "cause": Cause.HOST_DOWN,
        "detail": "Host down: no route to host",
        "failures": 94,
        "incident_since": now - 2900,
        "recovery": NodeRecovery(
            attempts=(
                Attempt(
                    now - 2700, Action.RESTART_OLLAMA, Outcome.FAILED, "", "ssh: connect: no route to host"
                ),
            )
        ),
        "alerting": NodeAlerting(
            acknowledged=Acknowledgement(now - 600, "anna", Level.CRITICAL, "the provider moves the rack")
        ),
    }
    return healthy(1, now, **{**known, **fields})


def tunnel_down(now: float = NOW, **fields: Any) -> NodeState:
    known = {
        "status": Status.UNHEALTHY,
        "since": now - 95,
        "verdict": Verdict.FAILED,
        "cause": Cause.TUNNEL_DOWN,
        "detail": "Tunnel down: nothing listens on local port 8080",
        "failures": 3,
        "incident_since": now - 150,
        "recovery": NodeRecovery(claim=Claim(now - 20, now + 60, 1, Action.REBUILD_TUNNEL)),
    }
    return healthy(2, now, **{**known, **fields})


def on_cpu(now: float = NOW, **fields: Any) -> NodeState:
    known = {
        "status": Status.DEGRADED,
        "since": now - 1900,
        "verdict": Verdict.IMPAIRED,
        "cause": Cause.CPU_FALLBACK,
        "detail": "A model runs on the CPU: llama3.2:3b, 0 % of it in VRAM",
        "impaired": 60,
        "incident_since": now - 1900,
    }
    return healthy(4, now, **{**known, **fields})


_TROUBLE = {1: offline, 2: tunnel_down, 3: on_cpu}
_NAMES = ("Vengeance", "Iceland", "Lab A", "Desk under the stairs", "gpu-rack-07", "Pod", "Nebula")


def mesh_of(
    count: int, now: float = NOW, *, troubled: bool = True, disabled: bool = True
) -> tuple[Mesh, State]:
    """Return a mesh of so many nodes: of 4 or more some have trouble, of 20 or more one is disabled."""
    nodes: list[Node] = []
    known: dict[str, NodeState] = {}
    for number in range(count):
        key = f"n{number}"
        name = _NAMES[number] if number < len(_NAMES) else f"gpu-{number:03}"
        make = behind if number == 2 else plain
        options: dict[str, Any] = {"port": 8080} if number == 2 else {}
        nodes.append(make(key, name=name, enabled=not (disabled and number == 19), **options))
        trouble = _TROUBLE.get(number) if troubled and count > 3 else None
        known[key] = trouble(now) if trouble else healthy(number, now)
    return Mesh(tuple(nodes)), State(tick=Tick(now - 12, 0.4, 30.0), nodes=known, urls=1)


def report_of(count: int, now: float = NOW, **options: Any) -> Report:
    mesh, state = mesh_of(count, now, **options)
    return report(mesh, state, now)


def samples_of(told: Report, *, checks: int = HOUR_OF_CHECKS) -> dict[str, tuple[Sample, ...]]:
    """Return a check every half minute of each node, with what its state now says in the last minutes."""
    found = {}
    for position, node in enumerate(told.nodes):
        begin = told.at - (told.at - (node.since or 0.0) if not node.answers else 0.0)
        usual = node.usual_response_ms or 40.0
        found[node.node] = tuple(
            Sample(node.node, at, 30.0, Verdict.FAILED)
            if not node.answers and at >= begin
            else Sample(
                node.node, at, 30.0, Verdict.OK, None, usual * (0.8 + (number * 7 + position) % 9 / 10)
            )
            for number in range(checks)
            for at in (told.at - 30.0 * (checks - number),)
        )
    return found


def put(site: Site, count: int, **options: Any) -> None:
    """Write inventory and state of such a mesh as it is now; nothing of it is ever asked."""
    mesh, state = mesh_of(count, time.time(), **options)
    site.describe(
        {
            node.key: {"name": node.name, "url": node.url, "enabled": node.enabled, "recovery": "none"}
            for node in mesh.nodes
        }
    )
    site.alerts_go_to("json://127.0.0.1:1")
    site.state_dir.mkdir(exist_ok=True)
    site.paths.state_file.write_bytes(encode(state))


def screen(told: Report, width: int, height: int, *, past: bool = True, **fields: Any) -> Screen:
    return Screen(told, samples_of(told) if past else {}, width, height, UTC, **fields)


def texts(lines: Sequence[Any]) -> list[str]:
    """Return the lines without their styles."""
    return ["".join(part.text for part in line) for line in lines]
