"""``status NODE``: the whole story of one node, each part where it is known, hostile text in its place."""

import unicodedata

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from factories import NOW, behind, plain
from gpu_mesh.domain.alert import Acknowledgement, Level
from gpu_mesh.domain.causes import Action, Cause
from gpu_mesh.domain.gpu import Card, GpuFacts, NodeGpu, OnBus
from gpu_mesh.domain.health import Status, Verdict
from gpu_mesh.domain.history import EventKind, Incident, PastEvent, Period
from gpu_mesh.domain.mesh import Mesh, Node
from gpu_mesh.domain.observation import LoadedModel
from gpu_mesh.domain.recovery import Attempt, Outcome
from gpu_mesh.domain.state import NodeState, NodeStatistics, State, Tick
from gpu_mesh.reporting.availability import figures
from gpu_mesh.reporting.node_status import NodePast, node_text
from gpu_mesh.reporting.report import report
from gpu_mesh.reporting.status import Look
from gpu_mesh.text.table import cells

GIB = 2**30
WELL = NodeState(
    status=Status.HEALTHY,
    since=NOW - 7200,
    verdict=Verdict.OK,
    response_ms=8.4,
    statistics=NodeStatistics(usual_ms=9, checks=4, successes=4, score_weight=1, score_value=1),
    models=("qwen2.5-coder:32b", "llama3.2:latest"),
    cloud_models=("big:cloud",),
    loaded=(LoadedModel("llama3.2:latest", 4 * GIB, 3 * GIB, NOW + 300, 4096),),
    version="0.12.11",
    last_check=NOW - 12,
)
DOWN = replace(
    WELL,
    status=Status.OFFLINE,
    since=NOW - 600,
    verdict=Verdict.FAILED,
    cause=Cause.REFUSED,
    failures=5,
    detail="Connection refused",
)


def told(node: Node, known: NodeState, before: NodePast | None = None, width: int = 0) -> str:
    of = report(Mesh((node,)), State(tick=Tick(NOW - 12, 0.1, 30.0), nodes={node.key: known}), NOW)
    return node_text(of, of.nodes[0], before or NodePast(), Look("start it", width=width))


def test_of_a_node_that_is_well_figures_models_and_cards_are_told() -> None:
    cards = (
        Card(index=0, name="RTX 4090", used=6 * GIB, total=24 * GIB, temperature=61, power=212.0, busy=40),
        Card(index=1, name="RTX 4090", on_bus=OnBus.LOST),
    )
    seen = replace(WELL, gpu=NodeGpu(GpuFacts(at=NOW - 120, driver="570.1", cards=cards)))
    periods = [
        Period("gpu1", 0, 86400, watched=86400, down=864, answers=9, ms_max=8, histogram=(0, 9, *[0] * 10))
    ]
    incident = Incident("gpu1", NOW - 9000, NOW - 8400, Cause.REFUSED, Status.OFFLINE, "")
    event = PastEvent(NOW - 8400, EventKind.STATUS, "gpu1", "healthy, was offline")
    before = NodePast(figures("gpu1", periods, [incident], NOW), (event,))
    assert told(plain("gpu1"), seen, before).splitlines()[2:] == [
        "🟢 GPU1 is healthy since 2027-01-15 06:00 UTC (2 h)",
        "",
        "address   http://gpu1:11434",
        "",
        "figures   8 ms (usually 9 ms) · 24 h – · score 100 · Ollama 0.12.11",
        "          available 99.0% of 1 d · 1 incident · over after 10 min on average · p50 6 ms, p95 8 ms",
        "",
        "models    ● llama3.2:latest  4.0 GiB  25% on the CPU  context 4096  until 08:05 UTC",
        "          2 there: llama3.2:latest, qwen2.5-coder:32b",
        "          1 in the cloud: big:cloud",
        "",
        "GPU       GPU 0  RTX 4090  ━━────── 6.0/24.0 GiB  40% 61 °C 212 W",
        "          GPU 1  LOST",
        "          driver 570.1; seen 2 min ago",
        "",
        "Recently:",
        "   2 h 20 min ago  •  GPU1  healthy, was offline",
    ]


def test_of_a_node_in_trouble_cause_repairs_plan_and_next_step_are_told() -> None:
    attempt = Attempt(NOW - 60, Action.RESTART_OLLAMA, Outcome.NOT_RECOVERED, words="it was restarted")
    known = replace(
        DOWN,
        recovery=replace(DOWN.recovery, attempts=(attempt,)),
        alerting=replace(DOWN.alerting, acknowledged=Acknowledgement(NOW - 30, "anna", Level.ERROR, "on it")),
    )
    lines = told(plain("gpu1"), known).splitlines()[2:]
    assert lines[0] == "⚫ GPU1 is offline since 2027-01-15 07:50 UTC (10 min)"
    assert lines[1] == "   what: Connection refused (5 failures in a row)"
    assert lines[2] == "   last repair did not help (07:59:00 UTC): it was restarted"
    assert lines[3].startswith("   recovery: nothing: next attempt in ")
    assert lines[4] == "   acknowledged by anna 30 s ago: on it"
    assert lines[5].startswith("   next: see why Ollama stopped: ")
    assert "models    not known while it does not answer" in lines


def test_what_recovery_would_do_is_told() -> None:
    text = told(plain("gpu1"), replace(DOWN, failing_since=NOW - 600, cause_since=NOW - 600))
    assert "   recovery: look, then restart of ollama.service: " in text


def test_a_node_behind_a_tunnel_and_one_that_is_disabled_are_said_to_be() -> None:
    assert ", by a tunnel" in told(behind("pod", 8080), WELL)
    text = told(replace(plain("gpu1"), enabled=False), WELL)
    assert "⏸ GPU1 is disabled" in text
    assert "nobody checks it; mesh_node_enabled says so" in text


def test_a_model_that_is_kept_for_ever_is_said_to_stay() -> None:
    kept = replace(WELL, loaded=(LoadedModel("a", GIB, GIB, NOW + 9e9),))
    assert "● a  1.0 GiB  all in VRAM    stays loaded" in told(plain("gpu1"), kept)


TEXT = st.text(st.characters(exclude_categories=("Cn", "Cs")), max_size=200)


@given(TEXT, TEXT, st.sampled_from([60, 80, 200]))
def test_no_text_of_a_node_leaves_its_line(model: str, name: str, width: int) -> None:
    card = Card(name=name, total=GIB, used=1)
    known = replace(
        WELL,
        models=(model, name),
        cloud_models=(name,),
        version=model,
        loaded=(LoadedModel(model, GIB, 1),),
        gpu=NodeGpu(GpuFacts(at=NOW, cards=(card,), driver=name)),
    )
    plain_lines = told(plain("gpu1"), known).splitlines()
    lines = told(replace(plain("gpu1"), name=name), known, width=width).split("\n")
    bad = {letter for line in lines for letter in line if unicodedata.category(letter) in ("Cc", "Zl", "Zp")}
    assert bad == set()
    sections = lines[lines.index("", 1) + 1 :]
    assert max(map(cells, sections)) <= width
    assert len(plain_lines) == len(told(plain("gpu1"), known).split("\n"))
