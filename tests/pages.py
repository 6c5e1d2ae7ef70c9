"""Meshes with a past, of any size, for the tests of what is published, and for its bench."""

from typing import Any

from msgspec.structs import replace

from factories import NOW, behind, plain
from gpu_mesh.domain.alert import Silence
from gpu_mesh.domain.causes import Action, Cause
from gpu_mesh.domain.gpu import Card, GpuFacts
from gpu_mesh.domain.health import Status, Verdict
from gpu_mesh.domain.history import Incident, Period
from gpu_mesh.domain.mesh import Mesh
from gpu_mesh.domain.observation import LoadedModel
from gpu_mesh.domain.recovery import Attempt, Outcome
from gpu_mesh.domain.state import NodeGpu, NodeRecovery, NodeState, NodeStatistics, State, Tick
from gpu_mesh.publishing import view
from gpu_mesh.publishing.past import A_DAY, DAYS, Past
from gpu_mesh.reporting.node_report import LoadedModelReport
from gpu_mesh.reporting.report import Report, report

TODAY = NOW // A_DAY * A_DAY
GIB = 2**30
NAMES = ("Vengeance", "Iceland", "Desk", "Rented pod")

WELL = NodeState(
    status=Status.HEALTHY,
    verdict=Verdict.OK,
    since=NOW - 3 * A_DAY,
    response_ms=34.0,
    statistics=NodeStatistics(checks=2880, successes=2876, score_weight=1, score_value=0.99),
    models=("llama3.2:latest", "qwen2.5-coder:32b"),
    loaded=(LoadedModel("qwen2.5-coder:32b", 22 * GIB, 22 * GIB, NOW + 300, 8192),),
    gpu=NodeGpu(GpuFacts(at=NOW - 60, cards=(Card(name="RTX 4090", used=21 * GIB, total=24 * GIB),))),
    last_check=NOW - 12,
)
OFFLINE = NodeState(
    status=Status.OFFLINE,
    verdict=Verdict.FAILED,
    since=NOW - 7500,
    cause=Cause.GPU_LOST,
    detail="A GPU has fallen off the bus (0000:0b:00.0)",
    failures=250,
    recovery=NodeRecovery(
        attempts=(Attempt(NOW - 7300, Action.NONE, Outcome.DECLINED, words="no restart helps there"),)
    ),
    last_check=NOW - 12,
)
DEGRADED = replace(
    WELL,
    status=Status.DEGRADED,
    verdict=Verdict.IMPAIRED,
    since=NOW - 900,
    cause=Cause.CPU_FALLBACK,
    detail="A model runs on the CPU: llama3.2:latest (0 of 4.1 GiB in VRAM)",
    gpu=None,
    loaded=(LoadedModel("llama3.2:latest", 4 * GIB, 0, NOW + 300, 8192),),
)


def mesh(nodes: int, troubled: dict[int, NodeState] | None = None, **fields: Any) -> Report:
    """Return the report on so many nodes; those in ``troubled``, by number, are in that state."""
    known = troubled or {}
    every = tuple(
        (behind if number % 3 == 1 else plain)(
            f"gpu{number}", *((8000 + number,) if number % 3 == 1 else ()), name=name(number)
        )
        for number in range(nodes)
    )
    state = State(
        tick=Tick(NOW - 12, 0.4, 30.0),
        nodes={node.key: known.get(number, WELL) for number, node in enumerate(every)},
        urls=1,
        **fields,
    )
    return report(Mesh(every), state, NOW)


def name(number: int) -> str:
    return NAMES[number] if number < len(NAMES) else f"Node {number}"


def day(number: int, back: int, *, down: float = 0.0, impaired: float = 0.0) -> Period:
    """Return a whole day of a node, so many days back."""
    length = NOW - TODAY if back == 0 else A_DAY
    return Period(f"gpu{number}", TODAY - back * A_DAY, length, watched=length, down=down, impaired=impaired)


def days(number: int, since: int = DAYS) -> tuple[Period, ...]:
    """Return the days of a node that now and then has trouble, of each colour."""
    trouble = {
        (7 * number + 11) % DAYS: 300.0,
        (13 * number + 40) % DAYS: 7200.0,
        (5 * number + 66) % DAYS: 30000.0,
    }
    return tuple(
        day(
            number,
            back,
            down=trouble.get(back, 0.0),
            impaired=5000.0 if back == (number + 30) % DAYS else 0.0,
        )
        for back in reversed(range(since))
    )


def past(nodes: int) -> Past:
    """Return what is remembered of so many nodes: the second one is new, the first has had incidents."""
    return Past(
        {f"gpu{number}": days(number, 20 if number == 1 else DAYS) for number in range(nodes)},
        (
            incident(0, 2.2, 400, Cause.REFUSED, "Connection refused", "restarted ollama.service"),
            incident(min(1, nodes - 1), 5.4, 95, Cause.TUNNEL_DOWN, "Tunnel down, port 8001 is closed", ""),
            incident(
                min(2, nodes - 1),
                9.1,
                8000,
                Cause.GPU_LOST,
                "A GPU has fallen off the bus",
                "",
                Status.OFFLINE,
            ),
        ),
    )


def incident(
    number: int,
    back: float,
    seconds: float,
    cause: Cause,
    detail: str,
    mended: str,
    worst: Status = Status.UNHEALTHY,
) -> Incident:
    """Return an incident of a node that began so many days back."""
    began = NOW - back * A_DAY
    return Incident(f"gpu{number}", began, began + seconds, cause, worst, detail, mended=mended)


SILENCE = Silence(3, NOW - 600, NOW + 7200, "driver update", "anna", nodes=("gpu1",))
IN_TROUBLE = {1: OFFLINE, 2: DEGRADED}
HOSTILE = "</title><script>alert(1)</script>\"' onload=x & \u202egpj.\x00\ufffe"


def hostile() -> view.Page:
    """Return a page all of whose texts from outside are hostile."""
    shown = mesh(3, IN_TROUBLE)
    model = LoadedModelReport(HOSTILE, None, None, None, None)
    texts = {"name": HOSTILE, "detail": HOSTILE, "next_step": HOSTILE, "loaded_models": (model,)}
    nodes = tuple(replace(node, **texts, last_recovery=HOSTILE) for node in shown.nodes)
    known = past(3)
    incidents = tuple(replace(each, detail=HOSTILE, mended=HOSTILE) for each in known.incidents)
    monitor = replace(shown.mesh, inventory_error=HOSTILE)
    return view.page(replace(shown, mesh=monitor, nodes=nodes), replace(known, incidents=incidents))
