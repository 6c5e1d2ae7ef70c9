"""The reports: exit status, status, statistics and dashboard as people read them."""

import re

import pytest
from msgspec.structs import astuple, replace

from factories import NOW, behind, plain
from gpu_mesh.domain.alert import Alert, AlertKind, Level
from gpu_mesh.domain.causes import Action, Cause
from gpu_mesh.domain.gpu import Card, GpuFacts, NodeGpu
from gpu_mesh.domain.health import Status, Verdict
from gpu_mesh.domain.history import EventKind, PastEvent
from gpu_mesh.domain.mesh import GpuExpectation, GpuRule, Mesh
from gpu_mesh.domain.observation import LoadedModel
from gpu_mesh.domain.recovery import Attempt, Claim, Outcome
from gpu_mesh.domain.state import NodeRecovery, NodeState, NodeStatistics, State, Tick
from gpu_mesh.reporting import console
from gpu_mesh.reporting.report import exit_status, recent_alerts, report
from gpu_mesh.reporting.status import Look, status_text
from gpu_mesh.text.commands import Shell
from gpu_mesh.text.paint import Paint

LOCAL = plain("local", name="Local GPU", url="http://127.0.0.1:11434", on_monitor=True)
ICELAND = behind("iceland", 8080, "gpu.example.net", name="Iceland")
MESH = Mesh((LOCAL, ICELAND))
WELL = NodeState(
    status=Status.HEALTHY,
    verdict=Verdict.OK,
    response_ms=45.2,
    statistics=NodeStatistics(usual_ms=40, checks=4, successes=3, score_weight=1, score_value=0.9),
    models=("a", "b"),
    loaded=(LoadedModel("a", 100, 40, NOW + 300, 4096),),
    last_check=NOW - 12,
)
DOWN = NodeState(
    status=Status.UNHEALTHY,
    verdict=Verdict.FAILED,
    cause=Cause.TUNNEL_DOWN,
    failures=3,
    detail="Tunnel down: nothing listens on local port 8080",
    statistics=NodeStatistics(checks=3, score_weight=1),
    last_check=NOW - 12,
)


def state(local: NodeState | None, iceland: NodeState | None, *, age: float = 12.0) -> State:
    nodes = {key: node for key, node in (("local", local), ("iceland", iceland)) if node}
    return State(tick=Tick(NOW - age, 0.1, 30.0), nodes=nodes)


def after(attempts: tuple[Attempt, ...]) -> NodeState:
    return replace(DOWN, recovery=replace(DOWN.recovery, attempts=attempts))


def with_status(status: Status) -> NodeState:
    return replace(WELL, status=status)


EXITS = [
    # local, iceland, age of the last check in seconds → exit status
    (Status.HEALTHY, Status.HEALTHY, 12, 0),
    (Status.HEALTHY, Status.DEGRADED, 12, 1),
    (Status.DEGRADED, Status.UNHEALTHY, 12, 2),
    (Status.HEALTHY, Status.OFFLINE, 12, 2),
    (Status.HEALTHY, Status.UNKNOWN, 12, 3),
    (Status.DEGRADED, Status.UNKNOWN, 12, 3),
    (Status.OFFLINE, Status.UNKNOWN, 12, 2),
    (Status.HEALTHY, Status.HEALTHY, 91, 3),
    (Status.OFFLINE, Status.OFFLINE, 91, 3),
    (Status.HEALTHY, Status.HEALTHY, -20, 0),
    (Status.HEALTHY, Status.HEALTHY, -3600, 3),
]


@pytest.mark.parametrize(("local", "iceland", "age", "expected"), EXITS)
def test_the_exit_status_is_that_of_a_monitoring_plugin(
    local: Status, iceland: Status, age: float, expected: int
) -> None:
    assert (
        exit_status(report(MESH, state(with_status(local), with_status(iceland), age=age), NOW)) == expected
    )


@pytest.mark.parametrize(
    ("took", "timeout", "age", "stale"),
    [
        (0.1, 10, 90, False),
        (0.1, 10, 91, True),
        (0.1, 120, 180, False),  # a node that hangs holds the next check up for so long
        (120, 120, 260, False),
        (120, 120, 280, True),
    ],
)
def test_a_check_that_a_hanging_node_holds_up_is_not_stale(
    took: float, timeout: float, age: float, stale: bool
) -> None:
    known = State(tick=Tick(NOW - age, took, 30.0), nodes={"local": WELL})
    told = report(Mesh((replace(LOCAL, timeout=timeout),)), known, NOW).mesh
    assert (told.stale, told.watched) == (stale, not stale)


def test_a_repair_of_an_earlier_incident_is_not_told_as_one_of_this() -> None:
    before = Attempt(NOW - 600, Action.REBUILD_TUNNEL, Outcome.RECOVERED, words="it was rebuilt")
    known = replace(after((before,)), incident_since=NOW - 90)
    assert report(MESH, state(WELL, known), NOW).nodes[1].last_recovery == ""
    known = replace(known, incident_since=NOW - 700)
    assert "it was rebuilt" in report(MESH, state(WELL, known), NOW).nodes[1].last_recovery


def test_trouble_is_told_with_how_long_the_node_has_not_been_healthy() -> None:
    known = replace(DOWN, since=NOW - 30, incident_since=NOW - 90)
    assert "Iceland  unhealthy (1 min 30 s)  " in status_text(report(MESH, state(WELL, known), NOW))


def test_a_disabled_node_does_not_count() -> None:
    mesh = Mesh((LOCAL, replace(ICELAND, enabled=False)))
    assert exit_status(report(mesh, state(WELL, None), NOW)) == 0


def test_the_status_tells_trouble_first_and_of_each_healthy_node_one_line() -> None:
    known = state(WELL, replace(DOWN, since=NOW - 90))
    event = PastEvent(NOW - 90, EventKind.STATUS, "iceland", "unhealthy, was degraded")
    assert status_text(report(MESH, known, NOW), (event,)).splitlines() == [
        "The monitor runs: checked 12 s ago, every 30 s · 1 of 2 nodes healthy · health 50.0%",
        "",
        f"🔴  Iceland  unhealthy (1 min 30 s)  {DOWN.detail} (3 failures in a row)",
        "   next: see on the monitor: journalctl -u gpu-mesh-tunnel@iceland",
        "",
        "🟢  Local GPU  45 ms  –  0.0 GiB VRAM  a (0.0 GiB, 60% CPU)",
        "",
        "Recently:",
        "   1 min 30 s ago  •  Iceland  unhealthy, was degraded",
    ]


def test_the_worst_node_comes_first_and_a_disabled_one_last() -> None:
    statuses = (Status.DEGRADED, Status.HEALTHY, Status.OFFLINE, Status.UNKNOWN, Status.UNHEALTHY)
    nodes = tuple(plain(status.value) for status in statuses)
    off = replace(plain("off"), enabled=False)
    known = {node.key: with_status(status) for node, status in zip(nodes, statuses, strict=True)}
    told = report(Mesh((off, *nodes)), State(tick=Tick(NOW - 12, 0.1, 30.0), nodes=known), NOW)
    rows = [line.split() for line in status_text(told).splitlines()[1:] if line and line[0] != " "]
    assert [row[1] for row in rows] == ["OFFLINE", "UNHEALTHY", "DEGRADED", "UNKNOWN", "HEALTHY", "OFF"]


@pytest.mark.parametrize(("number", "lines"), [(20, 20), (21, 1)])
def test_of_many_healthy_nodes_only_the_number_is_told_unless_all_are_asked_for(
    number: int, lines: int
) -> None:
    nodes = tuple(plain(f"gpu{each}") for each in range(number))
    known = State(tick=Tick(NOW - 12, 0.1, 30.0), nodes=dict.fromkeys((node.key for node in nodes), WELL))
    told = report(Mesh(nodes), known, NOW)
    assert len(status_text(told).splitlines()) == 2 + lines
    assert len(status_text(told, (), Look(everyone=True)).splitlines()) == 2 + number
    if lines == 1:
        assert status_text(told).splitlines()[-1] == (
            "🟢  21 nodes are healthy; each of them: gpu-mesh status --all"
        )


def test_the_memory_of_the_cards_is_shown_while_the_look_is_fresh() -> None:
    gib = 2**30
    cards = (Card(index=0, used=6 * gib, total=24 * gib), Card(index=1, used=12 * gib, total=24 * gib))
    for age, expected in ((60, "━━━───── 18/48 GiB"), (86400, "━─────── 0/48 GiB")):
        seen = replace(WELL, gpu=NodeGpu(GpuFacts(at=NOW - age, cards=cards)))
        row = status_text(report(MESH, state(seen, WELL), NOW)).splitlines()[2]
        assert expected in row


def test_no_figure_has_more_places_than_it_is_worth_and_none_is_rounded_up_to_all() -> None:
    many = replace(
        WELL,
        response_ms=41.23456,
        statistics=replace(WELL.statistics, checks=1_000_000, successes=999_999, score_value=1 - 1e-9),
    )
    node = report(MESH, state(many, WELL), NOW).nodes[0]
    assert (node.response_ms, node.success_rate, node.score) == (41.23, 99.99, 99.99)


def test_the_status_is_coloured_where_there_are_colours_alone() -> None:
    told = report(MESH, state(WELL, DOWN), NOW)
    plain_text = status_text(told)
    assert "\x1b" not in plain_text
    coloured = status_text(told, (), Look(paint=Paint(on=True)))
    assert "\x1b[31;1m🔴  Iceland" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == plain_text


def test_that_models_run_on_the_cpu_is_a_note_where_the_inventory_says_nothing_of_a_gpu() -> None:
    on_cpu, untold = replace(WELL, cpu_only=True), replace(LOCAL, expects_gpu=GpuExpectation())
    told = report(Mesh((untold, ICELAND)), state(on_cpu, WELL), NOW)
    (note,) = told.nodes[0].notes
    assert note == (
        "its models run on the CPU, and none was ever seen in VRAM; if it has a GPU that Ollama should use, "
        "set mesh_node_expects_gpu: true, else false"
    )
    lines = status_text(told).splitlines()
    assert [line for line in lines if "note" in line] == [lines[3]] == [f"   note: {note}"]
    for rule in (GpuRule.EXPECTED, GpuRule.NONE):
        mesh = Mesh((replace(LOCAL, expects_gpu=GpuExpectation(rule)), ICELAND))
        assert [node.notes for node in report(mesh, state(on_cpu, WELL), NOW).nodes] == [(), ()]


def test_of_loaded_models_the_report_says_what_is_known() -> None:
    some = replace(
        WELL, loaded=(*WELL.loaded, LoadedModel("b", 100), LoadedModel("old")), cloud_models=("c",)
    )
    node = report(MESH, state(some, WELL), NOW).nodes[0]
    assert (node.models, node.cloud_models, node.loaded) == (("a", "b"), ("c",), ("a", "b", "old"))
    assert [astuple(model) for model in node.loaded_models] == [
        ("a", 100, 40, 4096, NOW + 300),
        ("b", 100, 0, None, None),
        ("old", None, None, None, None),
    ]


def test_where_a_large_model_is_loaded_is_seen_first() -> None:
    gib = 2**30
    some = (LoadedModel("small", 3 * gib, 3 * gib), LoadedModel("large", 25 * gib, 20 * gib))
    text = status_text(report(MESH, state(replace(WELL, loaded=some), WELL), NOW))
    assert "large (25.0 GiB, 20% CPU), small (3.0 GiB)" in text


def test_a_note_stands_beside_what_is_wrong() -> None:
    mesh = Mesh((LOCAL, replace(ICELAND, expects_gpu=GpuExpectation())))
    text = status_text(report(mesh, state(WELL, replace(DOWN, cpu_only=True)), NOW))
    *_, next_step, note = text.split("\n\n")[1].splitlines()
    assert next_step.startswith("   next: ")
    assert note.startswith("   note: its models run on the CPU")


def test_the_status_of_a_monitor_that_does_not_run_says_how_to_start_it() -> None:
    start = "systemctl start gpu-mesh.target"
    stale = status_text(report(MESH, state(WELL, DOWN, age=600), NOW), (), Look(start))
    assert stale.splitlines()[0] == (
        f"⚠️ STALE: nobody watches the mesh, the last check was 10 min ago; start it: {start}"
    )
    never = status_text(report(MESH, State(), NOW), (), Look("gpu-mesh run"))
    assert never.splitlines()[0] == "⚪ The monitor has not checked anything yet; start it: gpu-mesh run"


def test_after_the_installation_the_first_check_is_due() -> None:
    where = Shell(installed=True)
    never = status_text(report(MESH, State(), NOW), (), Look("systemctl start gpu-mesh.target", where))
    assert never.splitlines()[0] == (
        "⚪ The first check is due within 30 s; if none comes, start it: systemctl start gpu-mesh.target"
    )


def test_the_status_says_that_a_recovery_is_under_way() -> None:
    claimed = replace(
        DOWN, recovery=replace(DOWN.recovery, claim=Claim(NOW - 5, NOW + 60, 1, Action.REBUILD_TUNNEL))
    )
    assert "   a recovery is under way" in status_text(report(MESH, state(WELL, claimed), NOW))


def test_the_status_says_what_the_last_repair_found_and_what_a_person_can_do_about_that() -> None:
    attempt = Attempt(
        NOW - 60, Action.RESTART_OLLAMA, Outcome.DECLINED, "unit_missing", "its host has no unit"
    )
    text = status_text(
        report(MESH, state(WELL, replace(DOWN, recovery=replace(DOWN.recovery, attempts=(attempt,)))), NOW)
    )
    assert "last repair was not tried (07:59:00 UTC): its host has no unit" in text
    assert "   next: correct mesh_node_recovery or mesh_node_unit of iceland" in text


def test_the_status_says_why_nothing_more_is_repaired() -> None:
    failed = tuple(
        Attempt(NOW - 400 + number, Action.REBUILD_TUNNEL, Outcome.FAILED, "", "ssh is gone")
        for number in range(3)
    )
    text = status_text(
        report(MESH, state(WELL, replace(DOWN, recovery=replace(DOWN.recovery, attempts=failed))), NOW)
    )
    assert (
        "   no repair now: 3 of 3 attempts made: needs a person, the next attempt is due at 08:53 UTC\n"
        in text
    )


def test_the_status_says_that_alerts_reach_nobody() -> None:
    known = state(WELL, DOWN)
    known.alerts = [
        Alert(number, NOW, level, AlertKind.STATUS, "x", done=done)
        for number, level, done in ((1, Level.ERROR, True), (2, Level.INFO, True), (3, Level.ERROR, False))
    ]
    text = status_text(report(MESH, known, NOW))
    assert "⚠️ 1 alert reached nobody, because no URL wants them; see: gpu-mesh alerts test" in text


def test_the_status_shows_an_inventory_that_is_not_in_force() -> None:
    known = state(WELL, WELL)
    known.inventory_error = "mesh.yml:3: no such variable"
    assert "   mesh.yml:3: no such variable" in status_text(report(MESH, known, NOW))


def test_the_statistics_have_every_figure_of_every_node() -> None:
    lines = console.statistics(report(MESH, state(WELL, None), NOW)).splitlines()
    assert lines[0] == "Mesh health 50.0%, 1 of 2 nodes healthy"
    assert lines[2].split() == [
        "🟢",
        "Local",
        "GPU",
        "healthy",
        "90",
        "75.0%",
        "–",
        "45",
        "ms",
        "40",
        "ms",
        "2",
        "1",
        "0",
    ]
    assert lines[3].split() == ["⚪", "Iceland", "unknown", "–", "–", "–", "–", "–", "–", "–", "0"]


@pytest.mark.parametrize(
    "status", [Status.DEGRADED, Status.UNHEALTHY, Status.OFFLINE], ids=lambda status: status.value
)
def test_what_a_node_said_before_it_failed_is_shown_in_no_report_for_people(status: Status) -> None:
    silent = replace(WELL, status=status, verdict=Verdict.FAILED, cause=Cause.REFUSED, failures=1)
    told = report(MESH, state(WELL, silent), NOW)
    trouble = status_text(told).split("\n\n")[1]
    assert "45 ms" not in trouble
    assert "2 models" not in trouble
    row = console.statistics(told).splitlines()[3]
    assert row.split() == [
        *(status.icon, "Iceland", status.value, "90", "75.0%", "–"),
        *("–", "40", "ms", "–", "–", "1"),
    ]
    row = console.dashboard(told, (), 5)[3]
    assert row.split() == [status.icon, "Iceland", status.value, "–", "75.0%", "90"]
    kept = told.nodes[1]
    assert (kept.answers, kept.response_ms, kept.models) == (False, 45.2, ("a", "b"))


def test_the_dashboard_shows_the_alerts_of_the_last_minutes_only() -> None:
    def alert(at: float) -> Alert:
        return Alert(1, at, Level.ERROR, AlertKind.STATUS, f"at {at - NOW:g}", node="iceland", name="Iceland")

    known = state(WELL, DOWN)
    known.alerts = [alert(NOW - 400), alert(NOW - 100)]
    lines = console.dashboard(report(MESH, known, NOW), recent_alerts(known, NOW - 300), 5)
    assert lines[-2] == "alerts of the last 5 min: 1 error"
    assert lines[-1].endswith("❌ [ERROR] Iceland: at -100")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://10.0.0.1:11434", 11434),
        ("https://gpu.example.net", 443),
        ("http://gpu.example.net", 80),
        ("http://[fd00::1]:11434", 11434),
        ("http://[fd00::1]", 80),
    ],
)
def test_the_port_of_a_node(url: str, expected: int) -> None:
    assert plain("n", url=url).port == expected


@pytest.mark.parametrize(("urls", "said"), [(0, True), (1, False), (None, False)])
def test_the_status_says_that_nobody_is_told_of_anything(urls: int | None, said: bool) -> None:
    known = state(WELL, WELL)
    known.urls = urls
    text = status_text(report(MESH, known, NOW))
    assert ("Nobody is told of anything: there is no URL that alerts go to" in text) is said


def test_after_a_finding_of_a_newer_version_the_next_step_is_that_of_the_cause() -> None:
    """Whoever goes back to this version can look at the nodes that the newer one has looked at."""

    def next_step(finding: str) -> str:
        attempt = Attempt(NOW, Action.RESTART_OLLAMA, Outcome.DECLINED, finding)
        known = replace(DOWN, recovery=NodeRecovery(attempts=(attempt,)))
        return report(MESH, State(nodes={"iceland": known}), NOW).nodes[1].next_step

    assert next_step("eaten_by_the_dog") == next_step("") != ""


# Nodes that sleep.


ASLEEP = replace(
    WELL, status=Status.UNKNOWN, verdict=None, loaded=(), asleep_since=NOW - 7200, since=NOW - 7200
)


def test_a_node_that_sleeps_counts_neither_for_the_exit_status_nor_for_the_health() -> None:
    one = report(MESH, state(WELL, ASLEEP), NOW)
    assert (exit_status(one), one.mesh.health) == (0, 100.0)
    assert exit_status(report(MESH, state(with_status(Status.DEGRADED), ASLEEP), NOW)) == 1
    assert exit_status(report(MESH, state(with_status(Status.OFFLINE), ASLEEP), NOW)) == 2
    both = report(MESH, state(ASLEEP, ASLEEP), NOW)
    assert (exit_status(both), both.mesh.health) == (0, None)


def test_a_node_that_sleeps_is_no_trouble_and_its_line_says_how_to_wake_it() -> None:
    of = report(MESH, state(WELL, ASLEEP), NOW)
    text = status_text(of, look=Look(where=Shell(("-i", "mesh.yml"))))
    assert "1 of 1 nodes healthy, 1 asleep · health 100%" in text
    (line,) = [line for line in text.splitlines() if "Iceland" in line]
    assert line == "💤  Iceland  asleep for 2 h; to wake it: gpu-mesh -i mesh.yml wake iceland"
    rows = "\n".join((console.statistics(of), *console.dashboard(of, (), 5)))
    assert rows.count("asleep") == 4, "a row each, and the numbers in both heads"
    assert "unknown" not in rows
    woken = replace(ASLEEP, woken_at=NOW - 60)
    assert "; woken 1 min ago, it has not answered yet; " in status_text(
        report(MESH, state(WELL, woken), NOW)
    )
