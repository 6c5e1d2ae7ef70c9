"""When a run for several nodes must be ended, and what its events say of one of its hosts."""

from pathlib import Path
from typing import Any

import pytest

from gpu_mesh.domain.mesh import Settings
from gpu_mesh.domain.recovery import Finding
from gpu_mesh.hosts import playbook_result
from gpu_mesh.hosts.joint_run import GRACE, JointRun, is_stuck

LATE = 100.0 - GRACE - 1

STUCK = {
    "it starts": ([], False, 150.0, False),
    "it has not started in time": ([], False, LATE, True),
    "a host waits for its turn, however long": ([], True, LATE, False),
    "a host is at work": ([150.0], False, LATE, False),
    "a host lets go of its lease": ([90.0], False, LATE, False),
    "the only host at work is late": ([LATE], True, 150.0, True),
    "one is late, and another still has time": ([LATE, 150.0], True, 150.0, False),
    "all are late": ([LATE, LATE - 20], False, 150.0, True),
}


@pytest.mark.parametrize("case", STUCK)
def test_a_run_is_ended_only_after_the_last_hosts_deadline(case: str) -> None:
    deadlines, asked, idle_until, stuck = STUCK[case]
    assert is_stuck(deadlines, asked=asked, idle_until=idle_until, now=100.0) is stuck


def event(name: str, host: str = "a", ignored: bool = False, **result: Any) -> dict[str, Any]:
    data = {"host": host, "task": "x", "res": result, "ignore_errors": ignored}
    return {"event": name, "event_data": data}


def stats(**reported: Any) -> dict[str, Any]:
    return event("runner_on_ok", ansible_stats={"data": reported})


FOUND = stats(gpu_mesh_finding="silent_on_its_host", gpu_mesh_said="silent", gpu_mesh_ended=False)
DONE = stats(gpu_mesh_finding="silent_on_its_host", gpu_mesh_said="restarted", gpu_mesh_done=True)
ENDED = stats(gpu_mesh_ended=True)
LEFT = stats(gpu_mesh_finding="answers_on_its_host", gpu_mesh_said="answers", gpu_mesh_ended="True")
FAILED = event("runner_on_failed", msg="no such unit")
IGNORED = event("runner_on_failed", ignored=True, msg="refused")
CUT_OFF = event("runner_on_failed", msg="Timed out", timedout={"period": 3})
LATE_BUT_OK = event("runner_on_ok", timedout={"period": 3})
TOO_LATE = event("runner_on_failed", msg="x gpu-mesh: the time of this host is over")
LOST = event("runner_on_unreachable", msg="ssh: connect to host a port 22: Connection refused")

READ = {
    "repaired": ([FOUND, DONE, ENDED], (True, True, True, Finding.SILENT, "restarted", "")),
    "left alone": ([LEFT], (True, False, True, Finding.ANSWERS, "answers", "")),
    "a failure that means nothing": (
        [FOUND, IGNORED, DONE, ENDED],
        (True, True, True, Finding.SILENT, "restarted", ""),
    ),
    "failed after its look": (
        [FOUND, FAILED, ENDED],
        (False, False, True, Finding.SILENT, "silent", "no such unit"),
    ),
    "failed before its look": ([FAILED, ENDED], (False, False, False, Finding.NONE, "", "no such unit")),
    "lost": (
        [LOST],
        (False, False, False, Finding.NO_SSH, "", "ssh: connect to host a port 22: Connection refused"),
    ),
    **{
        name: (
            [FOUND, late, ENDED],
            (False, False, True, Finding.SILENT, "silent", "the playbook was ended: it took longer than 9 s"),
        )
        for name, late in (("cut off", CUT_OFF), ("cut off unnoticed", LATE_BUT_OK), ("too late", TOO_LATE))
    },
}


@pytest.mark.parametrize("case", READ)
def test_one_hosts_events_say_what_came_of_it(case: str) -> None:
    events, expected = READ[case]
    result = playbook_result.read_host(Path("/p.yml"), "a", events, "a", 9.0, 1.0)
    seen = (result.success, result.done, result.looked, result.finding, result.said, result.reason)
    assert seen == expected
    assert result.contacted == "a"


@pytest.mark.parametrize(
    ("what", "host"),
    [
        (ENDED, "a"),
        (LEFT, "a"),
        (LOST, "a"),
        (FOUND, ""),
        (DONE, ""),
        (FAILED, ""),
        (IGNORED, ""),
        (CUT_OFF, ""),
    ],
)
def test_a_host_has_ended_when_it_says_so_or_cannot_be_reached(what: dict[str, Any], host: str) -> None:
    assert playbook_result.ended(what) == host
    if host:
        assert playbook_result.counts(what)
    assert playbook_result.host_of(what) == "a"


def test_what_a_host_has_printed_is_kept_only_while_it_is_at_work() -> None:
    run = JointRun(
        Path("/p.yml"),
        ["a", "b"],
        Settings(),
        (),
        on_monitor=False,
        extra={},
        changed=lambda: None,
        stop=lambda: False,
    )
    seats = run._seats
    for seat in seats.values():
        seat.deadline = 1e12
    for each in (FOUND, DONE, event("runner_on_ok", host="b", changed=True, stdout="x" * 100)):
        run._keep(each)
    assert [len(seat.events) for seat in seats.values()] == [2, 1]
    run._keep(ENDED)
    assert [len(seat.events) for seat in seats.values()] == [0, 1]
    assert seats["a"].result
    assert seats["a"].result.success
