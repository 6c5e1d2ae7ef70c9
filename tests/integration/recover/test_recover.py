"""Recovery from claim to proof, with real playbooks, a real probe and a real state file."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from checkout import PROGRAMS
from gpu_mesh.diagnosis import evaluate
from gpu_mesh.domain.alert import AlertKind, Level
from gpu_mesh.domain.causes import Action, Cause
from gpu_mesh.domain.health import Status
from gpu_mesh.domain.mesh import Mesh, Node, Tunnel
from gpu_mesh.domain.observation import Fault, Observation, Reply
from gpu_mesh.domain.recovery import Attempt, Claim, Finding, Outcome, RecoveryResult
from gpu_mesh.domain.state import NodeRecovery
from gpu_mesh.recovery import lifecycle
from gpu_mesh.recovery.context import Context
from gpu_mesh.recovery.values import Job, Verification
from gpu_mesh.recovery.worker import recover
from gpu_mesh.standin.server import Standin, free_port
from marks import soak
from recover_world import World
from sites import eventually


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.end()


@pytest.mark.usefixtures("no_runners")
def test_a_failed_ollama_is_restarted_proved_and_told_of_once(world: World, closed_port: int) -> None:
    world.failing()
    world.paths.recover_wanted.touch()
    assert recover(world.site(world.node(closed_port, world.starting(closed_port)))) == 0
    known = world.known()
    assert (known.status, known.recovery.claim) == (Status.HEALTHY, None)
    assert [each.outcome for each in known.recovery.attempts] == [Outcome.RECOVERED]
    (alert,) = world.alerts()
    assert (alert.level, alert.node, alert.kind) == (Level.INFO, "gpu1", AlertKind.STATUS)
    assert alert.text.endswith("1 model; ran mesh_node_recovery_command, and Ollama answers on its own host")
    assert world.runs() == ["gpu1"]
    assert not world.paths.recover_wanted.exists()
    assert world.paths.deliver_wanted.exists()
    assert world.logged() == ["recovery_claimed", "recovery_acted", "recovery_verified"]


def test_nothing_is_touched_and_nothing_saved_while_all_is_well(
    world: World, standin: Callable[..., Standin]
) -> None:
    world.failing(status=Status.HEALTHY, failures=0, incident_since=0.0, cause=None)
    saved = world.paths.state_file.stat().st_mtime_ns
    assert recover(world.site(world.node(standin().port, "true"))) == 0
    assert world.paths.state_file.stat().st_mtime_ns == saved
    assert world.runs() == []


def test_an_ollama_that_answers_on_its_own_host_only_is_left_alone_and_told_of_once(
    world: World, standin: Callable[..., Standin], closed_port: int
) -> None:
    """Its own host sees it at the port that the tunnel's other end or a proxy has; the mesh does not."""
    ollama = standin()
    world.failing()
    hidden = world.node(closed_port, "true")
    look = f"http://127.0.0.1:{ollama.port}"
    site = world.site(hidden)
    behind = Context(
        site.paths,
        Mesh((replace(hidden, url=look),), world.settings),
        site.statefile,
        site.log,
        # From outside a closed port is asked: an Ollama that binds loopback alone, seen from elsewhere.
        observe=lambda node, at, **options: site.observe(hidden, at, **options),
        clock=site.clock,
    )
    assert recover(behind) == 0
    known = world.known()
    assert (known.status, known.cause) == (Status.UNHEALTHY, Cause.NOT_EXPOSED)
    assert [(each.outcome, each.finding) for each in known.recovery.attempts] == [
        (Outcome.DECLINED, "answers_on_its_host")
    ]
    (alert,) = world.alerts()
    assert alert.level is Level.ERROR
    assert alert.text.startswith("not restarted: Ollama answers on its own host, but not at ")
    assert "OLLAMA_HOST" in alert.next_step
    assert world.runs() == []


def test_a_stuck_tunnel_is_rebuilt_after_the_look_and_ollama_is_not_restarted(
    world: World, standin: Callable[..., Standin], silent_port: int
) -> None:
    remote = standin()
    local = free_port()
    again = f"echo tunnel >>{world.commands}; {world.starting(local)}"
    node = world.node(
        local, "true", tunnel=Tunnel("pod", local, remote_port=remote.port, recovery_command=again)
    )
    world.failing(cause=Cause.TUNNEL_STUCK, detail="Tunnel stuck")
    assert recover(world.site(node)) == 0
    assert world.known().status is Status.HEALTHY
    assert world.runs() == ["tunnel"]
    assert "ran mesh_tunnel_recovery_command" in world.alerts()[0].text


def test_a_node_that_serves_again_by_itself_is_left_alone(
    world: World, standin: Callable[..., Standin]
) -> None:
    world.failing()
    assert recover(world.site(world.node(standin().port, "true"))) == 0
    assert world.runs() == []
    assert (world.known().status, world.known().recovery.claim, world.known().recovery.attempts) == (
        Status.HEALTHY,
        None,
        (),
    )
    (alert,) = world.alerts()
    assert alert.text.startswith("recovered after ")


def test_a_host_that_cannot_be_reached_is_not_blamed_while_the_monitors_own_network_is_gone(
    world: World, closed_port: int
) -> None:
    world.failing()
    with world.statefile.update(0.0) as state:
        state.offline_since = 1.0
    before = world.known()
    node = replace(world.node(closed_port, "true"), on_monitor=False)
    job = Job(node, Claim(0, 1, 1, Action.RESTART_OLLAMA), before, Cause.TIMEOUT)
    ending = RecoveryResult(
        2.0, Action.RESTART_OLLAMA, Outcome.DECLINED, Finding.HOST_DOWN, Cause.HOST_DOWN, "no route"
    )
    with world.statefile.update(2.0) as state:
        lifecycle.record_result(
            state, Mesh((job.node,)), job, ending, Verification(detail="no route"), counts=True
        )
    assert world.known() == before
    assert world.alerts() == []


@pytest.mark.usefixtures("no_runners")
def test_a_recovery_that_does_not_help_warns_waits_and_with_the_last_attempt_calls_a_person(
    world: World, closed_port: int
) -> None:
    world.settings = replace(world.settings, recovery_max_attempts=2)
    node = world.node(closed_port, "echo no such model store; exit 7")
    world.failing()
    assert recover(world.site(node)) == 0
    assert recover(world.site(node)) == 0  # its wait is not over
    assert recover(world.site(node, ahead=100)) == 0
    assert recover(world.site(node, ahead=600)) == 0  # all attempts are made
    assert world.runs() == ["gpu1"] * 2
    assert recover(world.site(node, ahead=4_200)) == 0  # the slow retry, which is no news
    assert world.runs() == ["gpu1"] * 3
    assert [alert.level for alert in world.alerts()] == [Level.WARNING, Level.CRITICAL]
    last = world.alerts()[-1]
    assert last.text == (
        "needs you: restart of Ollama failed (attempt 2 of 2): mesh_node_recovery_command was run: "
        "the command ended with status 7: no such model store"
    )
    assert last.next_step.startswith(
        "correct mesh_node_recovery_command of gpu1, which ended with status 7; or see why Ollama stopped"
    )
    assert [each.outcome for each in world.known().recovery.attempts] == [Outcome.FAILED] * 3


def test_a_restart_that_ends_well_is_no_success_until_a_probe_says_so(
    world: World, standin: Callable[..., Standin], closed_port: int
) -> None:
    """Ollama comes back on its own host, but the address by which the mesh knows it stays closed."""
    inside = free_port()
    node = world.node(inside, world.starting(inside))
    world.failing()
    site = world.site(node)
    outside = replace(node, url=f"http://127.0.0.1:{closed_port}")
    proof = Context(
        site.paths,
        site.mesh,
        site.statefile,
        site.log,
        observe=lambda node, at, **options: site.observe(outside, at, **options),
    )
    recover(proof)
    assert world.known().status is Status.UNHEALTHY
    assert world.known().recovery.attempts[0].outcome is Outcome.NOT_RECOVERED
    assert "did not help (attempt 1 of 3)" in world.alerts()[0].text
    assert "Connection refused" in world.alerts()[0].text


@pytest.mark.soak
def test_several_nodes_are_recovered_at_the_same_time(world: World, closed_port: int) -> None:
    other = free_port()
    world.failing("gpu1")
    world.failing("gpu2")
    nodes = (
        world.node(closed_port, world.starting(closed_port), "gpu1"),
        world.node(other, world.starting(other), "gpu2"),
    )
    assert recover(world.site(*nodes)) == 0
    assert {key: known.status for key, known in world.statefile.load().nodes.items()} == {
        "gpu1": Status.HEALTHY,
        "gpu2": Status.HEALTHY,
    }
    assert sorted(world.runs()) == ["gpu1", "gpu2"]


def test_a_named_node_is_recovered_alone_and_insisting_does_not_wait(world: World, closed_port: int) -> None:
    waits = (Attempt(time.time(), Action.RESTART_OLLAMA, Outcome.FAILED),)
    world.failing("gpu1", recovery=NodeRecovery(attempts=waits))
    world.failing("gpu2")
    node = world.node(closed_port, world.starting(closed_port))
    site = world.site(node, world.node(1, "true", "gpu2"))
    assert recover(site, "gpu1") == 1
    assert world.runs() == []
    assert recover(site, "gpu1", force=True) == 0
    assert world.known().status is Status.HEALTHY
    assert world.runs() == ["gpu1"]


def test_a_node_that_does_not_exist_is_named_with_those_that_do(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    assert recover(world.site(world.node(1, "true")), "gpu9") == 2
    assert capsys.readouterr().err == "the inventory has no node gpu9; its nodes: gpu1\n"


def process(world: World, node: Node) -> "subprocess.Popen[bytes]":
    mesh = msgspec.json.encode(Mesh((node,), world.settings)).decode()
    arguments = [str(world.folder / "inventory.yml"), str(world.paths.state), mesh]
    return subprocess.Popen(
        [sys.executable, PROGRAMS / "recover.py", *arguments],
        stderr=subprocess.DEVNULL,
        env=os.environ | {"TMPDIR": str(world.folder)},  # a killed process cannot tidy up
    )


@pytest.mark.parametrize(
    "step",
    ["claimed", soak("looking"), soak("leased"), "acting", soak("proving")],
)
def test_killed_at_any_step_a_recovery_is_not_repeated_and_counts_once_its_claim_expires(
    world: World, standin: Callable[..., Standin], closed_port: int, leases: Path, step: str
) -> None:
    hanging = standin(fault="hang")  # on which the look waits
    comes_back = f"{world.starting(closed_port)} --models other"
    node = world.node(
        hanging.port if step == "looking" else closed_port,
        comes_back if step == "proving" else "sleep 2; exit 1",
        expected_models=("llama3.2",),
    )
    reached: dict[str, Callable[[], object]] = {
        "claimed": lambda: world.known().recovery.claim,
        "looking": lambda: hanging.connections,
        "leased": lambda: list(leases.glob("*/lease")),
        "acting": world.runs,
        "proving": lambda: world.paths.log_file.exists() and "recovery_acted" in world.logged(),
    }
    world.failing()
    before = world.known()
    killed = process(world, node)
    assert eventually(reached[step])
    killed.kill()
    killed.wait(10)
    claim = world.known().recovery.claim
    assert claim is not None
    assert claim.pid == killed.pid

    second = process(world, node)
    assert second.wait(30) == 0
    runs = world.runs()
    # Between the lease and the act there is next to no time.
    assert runs == ["gpu1"] * (step in ("acting", "proving")) or (step, runs) == ("leased", ["gpu1"])
    assert world.known() == replace(before, recovery=replace(before.recovery, claim=claim)), (
        "the claim is honoured, the incident not forgotten"
    )

    late = claim.until - time.time() + 1
    recover(world.site(node, ahead=late))
    assert world.runs() == runs, "the lost attempt is followed by the usual wait"
    assert [each.outcome for each in world.known().recovery.attempts] == [Outcome.LOST]
    assert world.alerts()[-1].text == (
        f"restart of Ollama was cut off (attempt 1 of 3): the process that did it ({killed.pid}) "
        "ended before it could say more"
    )
    if step == "acting":
        recover(world.site(node, ahead=late + 100))
        assert world.runs() == ["gpu1"] * 2


def test_two_processes_at_once_recover_a_node_once(world: World, closed_port: int) -> None:
    world.failing()
    node = world.node(closed_port, world.starting(closed_port))
    assert [each.wait(60) for each in [process(world, node), process(world, node)]] == [0, 0]
    assert world.runs() == ["gpu1"]
    assert world.known().status is Status.HEALTHY


def test_a_node_that_came_back_by_itself_is_healthy_at_once_and_untouched(
    world: World, standin: Callable[..., Standin]
) -> None:
    world.failing()
    assert recover(world.site(world.node(standin().port, "true"))) == 0
    assert (world.known().status, world.runs()) == (Status.HEALTHY, [])
    (alert,) = world.alerts()
    assert alert.level is Level.INFO
    assert "restart" not in alert.text


@pytest.mark.parametrize(
    ("look", "outcome"), [(False, Outcome.DECLINED), (True, Outcome.FAILED)], ids=["before", "after"]
)
def test_a_host_that_is_lost_counts_as_an_attempt_only_once_it_may_have_been_touched(
    world: World, closed_port: int, look: bool, outcome: Outcome
) -> None:
    stats = "    - ansible.builtin.set_stats: {data: {gpu_mesh_finding: silent_on_its_host}}\n"
    (world.folder / "restart_ollama.yml").write_text(
        "- hosts: mesh_nodes\n  gather_facts: false\n  tasks:\n"
        + stats * look
        + "    - ansible.builtin.raw: 'true'\n"
    )
    lost = f"{{ansible_host: 127.0.0.1, ansible_port: {closed_port}}}"
    (world.folder / "inventory.yml").write_text(f"mesh_nodes: {{hosts: {{gpu1: {lost}}}}}\n")
    world.settings = replace(world.settings, recovery_playbooks=str(world.folder))
    world.failing()
    recover(world.site(replace(world.node(closed_port, "true"), on_monitor=False)))
    (attempt,) = world.known().recovery.attempts
    assert (attempt.outcome, attempt.finding) == (outcome, "no_ssh")
    assert world.known().cause is Cause.REFUSED
    assert "Connection refused" in world.alerts()[0].text


def test_a_playbook_that_is_ended_before_its_look_is_over_is_no_attempt_that_counts(
    world: World, standin: Callable[..., Standin]
) -> None:
    """An Ollama that hangs makes the look take longer than this recovery has."""
    world.failing()
    world.settings = replace(world.settings, recovery_timeout=2.0)
    recover(world.site(world.node(standin(fault="hang").port, "sleep 5")))
    (attempt,) = world.known().recovery.attempts
    assert (attempt.outcome, world.known().recovery.claim) == (Outcome.DECLINED, None)
    assert "it took longer than 2 s" in world.alerts()[0].text


def test_a_playbook_that_is_ended_while_it_acts_is_an_attempt_that_counts(
    world: World, closed_port: int
) -> None:
    world.failing()
    world.settings = replace(world.settings, recovery_timeout=15.0)
    recover(world.site(world.node(closed_port, "sleep 60")))
    assert world.runs() == ["gpu1"]
    (attempt,) = world.known().recovery.attempts
    assert (attempt.outcome, attempt.finding) == (Outcome.FAILED, "silent_on_its_host")
    assert "(attempt 1 of 3): the playbook was ended: it took longer than 15 s" in world.alerts()[0].text


def test_an_operators_broken_playbook_is_told_of_once_and_is_no_attempt(
    world: World, closed_port: int
) -> None:
    own = world.folder / "restart_ollama.yml"
    own.write_text("- hosts: mesh_nodes\n  tasks: [\n")
    world.settings = replace(world.settings, recovery_playbooks=str(world.folder))
    world.failing()
    for ahead in (0, 900):
        recover(world.site(world.node(closed_port, "true"), ahead=ahead))
    assert [each.outcome for each in world.known().recovery.attempts] == [Outcome.DECLINED] * 2
    (alert,) = world.alerts()
    assert alert.text.startswith("not restarted: ")
    assert f"{own} cannot be run: " in alert.text
    assert "YAML" in alert.text


def test_a_recovery_that_is_stopped_before_it_looked_is_no_attempt(world: World, closed_port: int) -> None:
    world.failing()
    for ahead in (0, 100, 300):
        site = world.site(world.node(closed_port, "true"), ahead=ahead)
        threading.Timer(0.3, site.stopping.set).start()
        recover(site)
        assert "recovery_claimed" in world.logged()
        assert (world.known().recovery.attempts, world.known().recovery.claim) == ((), None)
    assert world.alerts() == []
    assert world.runs() == []


def test_a_recovery_that_is_stopped_while_it_acts_is_cut_off_at_once_and_counts(
    world: World, silent_port: int
) -> None:
    """The node's own timeout is not waited for: what ends the monitor has little patience."""
    failed = Attempt(1.0, Action.RESTART_OLLAMA, Outcome.FAILED)
    world.failing(recovery=NodeRecovery(attempts=(failed, failed)))
    node = replace(world.node(silent_port, "sleep 25"), timeout=60.0)
    site = world.site(node)
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(recover, site)
        assert eventually(world.runs)
        site.stopping.set()
        assert done.result(timeout=30) == 0
    known = world.known()
    assert (known.recovery.claim, known.recovery.attempts[-1].outcome) == (None, Outcome.LOST)
    (alert,) = world.alerts()
    assert alert.text.startswith("needs you: restart of Ollama was cut off (attempt 3 of 3)")


def test_a_repair_that_the_monitor_itself_could_not_prove_is_not_held_against_the_node(
    world: World, closed_port: int
) -> None:
    port = free_port()
    node = world.node(port, world.starting(port))
    world.failing()
    site = world.site(node)
    broken = Reply(Fault.MONITOR, detail="too many open files")
    recover(
        Context(
            site.paths,
            site.mesh,
            site.statefile,
            site.log,
            observe=lambda node, at, **options: Observation(node.key, at, broken),
        )
    )
    known = world.known()
    assert (known.status, known.failures) == (Status.UNHEALTHY, 3)
    assert known.recovery.attempts[-1].outcome is Outcome.LOST
    assert "but the monitor itself could not probe the node: " in known.recovery.attempts[-1].words


def test_a_proof_that_is_older_than_the_last_check_changes_nothing(
    world: World, standin: Callable[..., Standin]
) -> None:
    world.failing()
    site = world.site(world.node(standin().port, "true"))

    def observe(node: Node, at: float, **options: Any) -> Observation:
        seen = site.observe(node, at, **options)
        claimed = NodeRecovery(claim=world.known().recovery.claim)
        world.failing(last_check=at + 5, recovery=claimed)  # a check that began later, and failed
        return seen

    recover(Context(site.paths, site.mesh, site.statefile, site.log, observe=observe))
    assert (world.known().status, world.known().recovery.claim) == (Status.UNHEALTHY, None)
    assert world.alerts() == []


def test_a_repair_that_a_check_sees_to_have_helped_first_is_remembered(
    world: World, closed_port: int
) -> None:
    world.failing()
    node = world.node(closed_port, world.starting(closed_port))
    site = world.site(node)

    def observe(node: Node, at: float, **options: Any) -> Observation:
        seen = site.observe(node, at, **options)
        if seen.tags.fault is None:
            with world.statefile.update(at) as state:  # a check that began a moment later is saved first
                evaluate.apply_observation(state, node, replace(seen, at=at + 0.1))
            assert world.known().status is Status.HEALTHY
        return seen

    recover(Context(site.paths, site.mesh, site.statefile, site.log, observe=observe))
    known = world.known()
    assert (known.status, known.recovery.claim) == (Status.HEALTHY, None)
    assert [each.outcome for each in known.recovery.attempts] == [Outcome.RECOVERED]


def test_a_node_that_fails_during_a_slow_repair_is_repaired_meanwhile(world: World, closed_port: int) -> None:
    port = free_port()
    gate = world.folder / "gate"
    slow = world.node(closed_port, f"while [ ! -e {gate} ]; do sleep 0.2; done; exit 1")
    # As if on another machine, or it would wait: one machine gets one recovery at a time.
    quick = replace(world.node(port, world.starting(port), "gpu2"), on_monitor=False)
    world.failing()
    world.failing("gpu2", status=Status.HEALTHY, failures=0, incident_since=0.0, cause=None)
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(recover, world.site(slow, quick))
        assert eventually(world.runs)
        world.failing("gpu2")
        world.paths.recover_wanted.touch()
        assert eventually(lambda: world.known("gpu2").status is Status.HEALTHY)
        assert world.known("gpu1").recovery.claim is not None, "the slow one is still under way"
        gate.touch()
        done.result(timeout=60)
    assert not world.paths.recover_wanted.exists()


def test_a_folder_in_the_place_of_a_trigger_does_not_stop_a_recovery(world: World, closed_port: int) -> None:
    world.failing()
    world.paths.recover_wanted.mkdir()
    world.paths.deliver_wanted.symlink_to(world.folder / "nowhere/file")
    assert recover(world.site(world.node(closed_port, "exit 1"))) == 0
    assert (world.known().recovery.claim, len(world.alerts())) == (None, 1)
    assert not world.paths.recover_wanted.exists()
    assert world.paths.deliver_wanted.is_file()


def test_triggers_that_can_be_neither_cleared_nor_set_do_not_stop_a_recovery(
    world: World, closed_port: int
) -> None:
    world.failing()
    (world.folder / "run").write_text("a file where the runtime folder should be")
    paths = replace(world.paths, volatile=world.folder / "run")
    site = replace(world.site(world.node(closed_port, "exit 1")), paths=paths)
    assert recover(site) == 0
    assert (world.known().recovery.claim, len(world.alerts())) == (None, 1)
    assert (
        world.logged().count("trigger_failed") == 3
    )  # to clear its own; to set those of delivery and the page


@pytest.mark.parametrize(
    "command",
    ["the service", soak("by hand"), soak("by hand with --force")],
)
def test_a_clock_that_jumps_past_the_claim_of_a_process_at_work_brings_no_second_repair(
    world: World, closed_port: int, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    node = world.node(closed_port, f"sleep 2; {world.starting(closed_port)}")
    world.failing()
    at_work = process(world, node)
    assert eventually(world.runs)
    only = "" if command == "the service" else "gpu1"
    code = recover(world.site(node, ahead=86400.0), only, force=command.endswith("--force"))
    assert world.runs() == ["gpu1"]
    if only:
        assert code == 1
        assert "gpu1  refused: nothing: a recovery is under way since" in capsys.readouterr().out
    claim = world.known().recovery.claim
    assert claim is not None
    assert claim.pid == at_work.pid
    assert at_work.wait(60) == 0
    assert (world.known().status, world.known().recovery.claim) == (Status.HEALTHY, None)
    assert [each.outcome for each in world.known().recovery.attempts] == [Outcome.RECOVERED]
