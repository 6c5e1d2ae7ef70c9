"""What `gpu-mesh run` tells of its own commands that fail, where no systemd does."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace

from checkout import ROOT
from gpu_mesh.monitor import foreground
from gpu_mesh.standin.server import Standin
from gpu_mesh.storage.state_file import StateFile
from gpu_mesh.system.log import Log
from gpu_mesh.text.humanize import parse_duration
from sites import Receiver, Site, end_all_with, eventually, processes_with


@contextmanager
def monitor(site: Site) -> Iterator["subprocess.Popen[bytes]"]:
    with (site.folder / "monitor.err").open("wb") as errors:
        try:
            yield subprocess.Popen(
                site.command("run"), env=site.environment, stdout=subprocess.DEVNULL, stderr=errors
            )
        finally:
            end_all_with(f"HOME={site.folder}")


def told(site: Site) -> list[str]:
    return [alert.text for alert in site.state().alerts] if site.paths.state_file.exists() else []


def test_a_command_that_fails_again_and_again_is_told_of_once_and_once_when_it_works_again(
    site: Site, receiver: Receiver, closed_port: int
) -> None:
    desk = {"url": f"http://127.0.0.1:{closed_port}", "recovery": "none", "warn_after": 1}
    site.describe({"desk": desk}, check_interval=1, recover_interval=1)
    site.alerts_go_to("nosuchservice://hunter2")
    with monitor(site) as running:
        failures = "event=command_failed command=deliver exit_status=1"
        assert eventually(lambda: sum(failures in line for line in site.log()) >= 2)
        (failed,) = [alert for alert in site.state().alerts if not alert.node]
        said = "gpu-mesh deliver failed: exit status 1; it said: event=alert_config_broken reason="
        assert failed.text.startswith(said)
        assert failed.next_step == (
            f"see what it says: gpu-mesh -i {site.inventory} --state-dir {site.state_dir} deliver; "
            "gpu-mesh run goes on starting it"
        )
        shown = (site.folder / "monitor.err").read_text()
        assert "event=alert_config_broken" in shown, "what it says is seen where it was"
        site.alerts_go_to(receiver.url)
        assert eventually(lambda: any(text.startswith("gpu-mesh deliver works again") for text in told(site)))
        assert sum(text.startswith("gpu-mesh deliver failed") for text in told(site)) == 1
        running.send_signal(signal.SIGTERM)
        assert running.wait(20) == 0


def test_a_command_in_a_message_is_of_the_state_that_is_watched(
    site: Site, receiver: Receiver, closed_port: int
) -> None:
    down = {"url": f"http://127.0.0.1:{closed_port}", "unhealthy_threshold": 1, "offline_threshold": 2}
    site.describe(dict.fromkeys(("a", "b", "c", "d"), down), check_interval=1, recovery_brake=50)
    site.alerts_go_to(receiver.url)
    with monitor(site):
        assert eventually(lambda: any("recover --force" in body for body in receiver.bodies))
        (body,) = [body for body in receiver.bodies if "recover --force" in body]
        assert f"{site.typed} recover --force" in body


def test_a_command_that_is_killed_is_told_of_with_the_signal(
    site: Site, standin: Callable[..., Standin]
) -> None:
    hanging = standin(fault="hang")
    site.describe({"desk": {"url": hanging.url, "timeout": 30}}, check_interval=1)
    with monitor(site):
        assert eventually(lambda: hanging.connections)
        (check,) = [number for number in processes_with(f"HOME={site.folder}") if _is_check(number)]
        os.kill(check, signal.SIGKILL)
        assert eventually(lambda: told(site) == ["gpu-mesh check failed: it was killed (SIGKILL)"]), told(
            site
        )


def _is_check(number: int) -> bool:
    return Path(f"/proc/{number}/cmdline").read_bytes().endswith(b"\0check\0")


@pytest.mark.parametrize(
    ("program", "kept"),
    [
        ("print(*range(9), sep='\\n', file=sys.stderr)", ("6", "7", "8")),
        ("sys.stderr.write('no end of line')", ("no end of line",)),
        ("sys.stderr.write('password=' + 'x' * 9000 + '\\nlast\\n')", ("last",)),
        ("sys.stderr.write('password=' + 'x' * 9000)", ()),
        (
            "sys.stderr.write('x' * 1000000 + '\\n' + 'json://me:secret@host/ \\x1b[31m\\n')",
            ("json://… [31m",),
        ),
    ],
    ids=["the last few lines", "one without an end", "no part of a line", "nor of the only one", "harmless"],
)
def test_of_what_a_command_says_the_last_whole_lines_are_kept(program: str, kept: tuple[str, ...]) -> None:
    job = foreground._Job("check", 60.0)
    job.start([sys.executable, "-c", f"import sys; {program}"], dict(os.environ))
    assert eventually(lambda: job.ended() is not None)
    assert job.last_lines == kept


@pytest.mark.parametrize(
    ("ended_by", "tells"),
    [(signal.SIGINT, False), (signal.SIGTERM, True)],
    ids=["a person with Ctrl-C", "a container that is stopped"],
)
def test_only_a_watch_that_nobody_ended_at_the_terminal_counts_as_a_gap(
    site: Site, standin: Callable[..., Standin], ended_by: signal.Signals, tells: bool
) -> None:
    site.describe({"desk": {"url": standin().url}}, check_interval=1)
    with monitor(site) as running:
        assert eventually(lambda: site.paths.state_file.exists() and site.state().tick.at)
        running.send_signal(ended_by)
        assert running.wait(20) == 0
    with StateFile(site.state_dir, Log(site.paths.log_file)).update(time.time()) as state:
        state.tick = replace(state.tick, at=state.tick.at - 3600)
    site.check()
    assert [text.partition(" for")[0] for text in told(site)] == ["The mesh was unwatched"] * tells


@pytest.mark.parametrize("stopped", [False, True])
def test_a_command_that_hangs_is_ended_at_its_limit_even_if_it_is_stopped(stopped: bool) -> None:
    job = foreground._Job("check", 60.0)
    job.start([sys.executable, "-c", "import time; time.sleep(600)"], dict(os.environ))
    assert job.process is not None
    if stopped:
        job.send_signal(signal.SIGSTOP)
        stat = Path(f"/proc/{job.process.pid}/stat")
        assert eventually(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T"), (
            "it stops a little later"
        )
    now = time.monotonic()
    assert not job.keep_to_limit(now + job.limit - 1), "it may take that long"
    assert job.keep_to_limit(now + job.limit + 1)
    assert not job.keep_to_limit(now + job.limit + 2), "that is told once"
    if stopped:
        assert job.ended() is None
        job.keep_to_limit(now + job.limit + foreground.PATIENCE + 1)
    status: list[int | None] = []
    assert eventually(lambda: status.append(job.ended()) or status[-1] is not None)
    assert status[-1] == -(signal.SIGKILL if stopped else signal.SIGTERM)
    assert foreground._ending(job, status[-1] or 0) == "it took longer than 5 min, and was ended"


def test_the_commands_of_run_have_the_limits_of_the_units() -> None:
    for name, seconds in foreground.LIMITS.items():
        unit = ROOT / f"roles/mesh_monitor/templates/units/gpu-mesh-{name}.service.j2"
        (limit,) = [
            line.partition("=")[2]
            for line in unit.read_text().splitlines()
            if line.startswith("TimeoutStartSec=")
        ]
        assert parse_duration(limit) == seconds
