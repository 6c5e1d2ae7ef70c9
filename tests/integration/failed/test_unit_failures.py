"""Who watches the watcher: failed units, gaps between checks, heartbeats of checks that break off."""

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from msgspec.structs import replace

from checkout import PROGRAMS
from gpu_mesh.domain.alert import Level
from gpu_mesh.domain.state import FailedUnit, State
from gpu_mesh.standin.server import Standin
from gpu_mesh.storage.state_file import StateFile
from gpu_mesh.system.log import Log
from sites import Receiver, Site, eventually

CHECK = "gpu-mesh-check.service"
DELIVER = "gpu-mesh-deliver.service"
RUN = "0123456789abcdef0123456789abcdef"
EARLIER = "fedcba9876543210fedcba9876543210"


class Systemd:
    """Programs in the place of systemctl and journalctl, which say what a test wants."""

    def __init__(self, folder: Path, site: Site) -> None:
        self.folder = folder
        folder.mkdir()
        answers = (PROGRAMS / "answers.py").read_text()
        for name in ("systemctl", "journalctl"):
            program = folder / name
            program.write_text(f"#!{sys.executable}\n{answers}")
            program.chmod(0o755)
        site.environment["PATH"] = f"{folder}{os.pathsep}{site.environment['PATH']}"

    def says(self, name: str, text: str) -> None:
        (self.folder / f"{name}.answer").write_text(text)

    def journal(self, *entries: tuple[str, object]) -> None:
        """Answer ``journalctl``: the run that wrote ("": not known) and the message."""
        self.says(
            "journalctl",
            "".join(
                json.dumps(
                    {"MESSAGE": message, "_PID": "7"} | ({"_SYSTEMD_INVOCATION_ID": run} if run else {})
                )
                + "\n"
                for run, message in entries
            ),
        )

    def shows(self, *units: tuple[str, str, str, float]) -> None:
        """Answer ``systemctl show``: unit, ActiveState, Result, and the seconds since it ended, or began."""
        now = time.clock_gettime(time.CLOCK_MONOTONIC)
        self.says(
            "systemctl",
            "\n".join(
                f"Id={unit}\nActiveState={active}\nResult={result}\n"
                f"{'ExecMainExit' if unit.endswith('.service') else 'ActiveEnter'}TimestampMonotonic="
                f"{int((now - ago) * 1e6) if ago >= 0 else 0}\n"
                for unit, active, result, ago in units
            ),
        )

    @property
    def asked(self) -> list[list[str]]:
        file = self.folder / "asked"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


@pytest.fixture
def systemd(site: Site, tmp_path: Path) -> Systemd:
    return Systemd(tmp_path / "systemd", site)


def as_systemd_calls(site: Site, unit: str, result: str, code: str, status: str) -> dict[str, str]:
    return {
        **site.environment,
        "MONITOR_UNIT": unit,
        "MONITOR_SERVICE_RESULT": result,
        "MONITOR_EXIT_CODE": code,
        "MONITOR_EXIT_STATUS": status,
        "MONITOR_INVOCATION_ID": RUN,
    }


def change(site: Site, what: Callable[[State], None]) -> None:
    with StateFile(site.state_dir, Log(site.paths.log_file)).update(time.time()) as state:
        what(state)


def failed_at(site: Site, seconds_ago: float, unit: str = DELIVER) -> None:
    at = time.time() - seconds_ago
    known = FailedUnit(since=at, at=at, alerted_at=at, notified=True)
    change(site, lambda state: state.failed_units.update({unit: known}))


def test_a_unit_that_failed_is_told_through_apprise_with_its_last_lines_and_no_secret(
    site: Site, standin: Callable[..., Standin], systemd: Systemd, receiver: Receiver
) -> None:
    site.describe({"desk": {"url": standin().url}})
    site.alerts_go_to(receiver.url)
    systemd.journal(
        (RUN, "gone before"),
        (RUN, "Traceback (most recent call last):"),
        (RUN, None),
        (RUN, ["two of them", "in one entry"]),
        (RUN, list(b"requests.exceptions.ConnectionError: https://ops:hunter2@example.net/ \x1b[31mrefused")),
    )
    called = as_systemd_calls(site, CHECK, "exit-code", "exited", "1")
    done = site.run("failed", CHECK, env=called)
    assert done.returncode == 0
    assert done.stdout == ""
    (alert,) = site.state().alerts
    assert alert.text == (
        f"{CHECK} failed: exit status 1; it said: gone before | Traceback (most recent call last): | "
        "requests.exceptions.ConnectionError: https://… [31mrefused"
    )
    assert systemd.asked == [
        [
            "journalctl",
            "--quiet",
            "--no-pager",
            "--output=json",
            "--all",
            "--lines=12",
            f"_SYSTEMD_UNIT={CHECK}",
        ]
    ]
    assert site.paths.deliver_wanted.exists()
    assert "hunter2" not in site.paths.state_file.read_text() + "".join(site.log()) + done.stderr
    site.ok("deliver")
    assert [title.partition(";")[0] for title in receiver.titles] == [
        f"❌ [ERROR] GPU mesh: {CHECK} failed: exit status 1"
    ]


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        pytest.param(
            [(EARLIER, "was well"), (RUN, "no disk")], "no disk", id="the run before said other words"
        ),
        pytest.param(
            [(EARLIER, "was well"), (RUN, "no disk"), ("", "giving up")],
            "no disk | giving up",
            id="a process had ended before the journal looked which run it was of",
        ),
        pytest.param([("", "no disk"), (EARLIER, "was well")], "", id="the run said nothing"),
    ],
)
def test_the_last_lines_are_those_of_the_run_that_failed(
    site: Site, systemd: Systemd, entries: list[tuple[str, object]], said: str
) -> None:
    systemd.journal(*entries)
    site.ok("failed", CHECK, env=as_systemd_calls(site, CHECK, "exit-code", "exited", "3"))
    told = f"{CHECK} failed: exit status 3" + (f"; it said: {said}" if said else "")
    assert [alert.text for alert in site.state().alerts] == [told]


def test_a_unit_is_told_once_an_hour_whoever_calls_and_needs_no_inventory(
    site: Site, systemd: Systemd
) -> None:
    for _ in range(3):
        assert site.run("failed", "gpu-mesh-stats").returncode == 0
    assert [alert.text for alert in site.state().alerts] == ["gpu-mesh-stats.service failed"]
    assert [line.partition("event=")[2].split()[0] for line in site.log()] == ["alert"] + 2 * ["unit_failed"]
    change(site, lambda state: state.failed_units.update(_an_hour_earlier(state)))
    site.ok("failed", "gpu-mesh-stats")
    assert len(site.state().alerts) == 2


def _an_hour_earlier(state: State) -> dict[str, FailedUnit]:
    return {
        unit: replace(known, alerted_at=known.alerted_at - 3601) for unit, known in state.failed_units.items()
    }


def test_a_unit_of_the_users_own_systemd_is_asked_for_there(
    site: Site, standin: Callable[..., Standin], systemd: Systemd
) -> None:
    site.ok("failed", "--user", DELIVER)
    matches = [f"_SYSTEMD_USER_UNIT={DELIVER}", "+", f"_SYSTEMD_UNIT={DELIVER}", f"_UID={os.getuid()}"]
    assert systemd.asked[0][-4:] == matches
    assert "journalctl --user -u" in site.state().alerts[0].next_step
    site.describe({"desk": {"url": standin().url}})
    site.check()
    assert systemd.asked[1][:3] == ["systemctl", "--user", "show"]


def test_without_systemds_programs_a_failure_is_told_all_the_same(
    site: Site, standin: Callable[..., Standin], tmp_path: Path
) -> None:
    site.environment["PATH"] = str(tmp_path)
    site.ok("failed", CHECK)
    assert [alert.text for alert in site.state().alerts] == [f"{CHECK} failed"]
    site.describe({"desk": {"url": standin().url}})
    site.check()
    assert set(site.state().failed_units) == {CHECK}


@pytest.mark.parametrize("name", ["../etc/passwd", "a b", "x" * 300])
def test_what_cannot_be_a_unit_is_refused_with_an_example(site: Site, name: str) -> None:
    done = site.run("failed", name)
    assert done.returncode == 2
    assert "name one such as gpu-mesh-check.service" in done.stderr


def test_a_state_that_cannot_be_written_fails_with_the_reason(site: Site, systemd: Systemd) -> None:
    site.nothing_can_be_saved(300)
    done = site.run("failed", CHECK)
    assert done.returncode == 2
    assert "state.json cannot be written: File too large" in done.stderr


def good_news(site: Site) -> list[str]:
    """Return what is told at level INFO, up to how long it took: all failures here are two minutes old."""
    told = [alert.text for alert in site.state().alerts if alert.level is Level.INFO]
    return [text.partition(" 2 min")[0] for text in told]


def test_a_check_tells_that_a_failed_unit_works_again_once_it_has_run_well_since(
    site: Site, standin: Callable[..., Standin], systemd: Systemd
) -> None:
    site.describe({"desk": {"url": standin().url}})
    for what, active, result, ago in (
        ("was only reset since", "inactive", "success", 500),
        ("has not run since the machine started", "inactive", "success", -1),
        ("runs, and nobody knows yet", "activating", "success", 1),
        ("failed again", "failed", "exit-code", 1),
    ):
        failed_at(site, 120)
        systemd.shows(("other.service", "inactive", "success", 1), (DELIVER, active, result, ago))
        site.check()
        assert good_news(site) == [], what
    asked = len(systemd.asked)
    assert asked == 4
    failed_at(site, 120)
    systemd.shows(("other.service", "inactive", "success", 1), (DELIVER, "inactive", "success", 1))
    site.check(2)
    assert good_news(site) == [f"{DELIVER} works again,"]
    assert len(systemd.asked) == asked + 1, "nothing failing is known any more: nothing is asked"


def test_a_path_unit_works_again_once_it_is_active_since(
    site: Site, standin: Callable[..., Standin], systemd: Systemd
) -> None:
    path = "gpu-mesh-deliver.path"
    site.describe({"desk": {"url": standin().url}})
    for active, result, ago, works in (
        ("active", "success", 500, False),  # so it was before it failed
        ("failed", "trigger-limit-hit", 10, False),
        ("inactive", "success", 10, False),  # stopped by a person
        ("active", "success", 10, True),
    ):
        failed_at(site, 120, path)
        systemd.shows((path, active, result, ago))
        site.check()
        assert good_news(site) == [f"{path} works again,"] * works, (active, result, ago)


def test_while_no_unit_failed_a_check_asks_nobody_and_loads_nothing_for_it(
    site: Site, standin: Callable[..., Standin], systemd: Systemd
) -> None:
    site.describe({"desk": {"url": standin().url}})
    site.check()
    site.program.insert(1, "-v")  # names each module as it is loaded
    loaded = site.run("check").stderr
    assert "gpu_mesh.alerting.monitor_alerts" in loaded
    assert "gpu_mesh.monitor.unit_failures" not in loaded
    assert systemd.asked == []


def test_a_systemctl_that_hangs_holds_a_check_for_its_patience_only(
    site: Site, standin: Callable[..., Standin], systemd: Systemd
) -> None:
    site.describe({"desk": {"url": standin().url}})
    failed_at(site, 120)
    (systemd.folder / "systemctl").write_text("#!/bin/sh\nexec sleep 300\n")
    site.check()
    assert site.state().nodes["desk"].statistics.checks == 1
    assert set(site.state().failed_units) == {DELIVER}


def test_a_check_after_a_gap_tells_once_how_long_the_mesh_was_unwatched(
    site: Site, standin: Callable[..., Standin], receiver: Receiver
) -> None:
    site.describe({"desk": {"url": standin().url}})
    site.alerts_go_to(receiver.url)
    by_hand = dict(site.environment)
    site.environment["GPU_MESH_RUN_PID"] = str(os.getpid())  # as a child of gpu-mesh run
    site.check()
    assert site.state().alerts == []
    assert site.run("status").stdout.startswith("The monitor runs: ")
    site.environment = by_hand
    change(site, lambda state: setattr(state, "tick", replace(state.tick, at=state.tick.at - 840)))
    assert site.run("status").returncode == 3
    site.check(2)
    site.ok("deliver")
    assert len(receiver.titles) == 1
    assert receiver.titles[0].startswith("⚠️ [WARNING] GPU mesh: The mesh was unwatched for 14 min ")
    assert site.run("status").returncode == 0


def test_checks_by_hand_are_no_monitor_that_runs_and_leave_no_gap(
    site: Site, standin: Callable[..., Standin]
) -> None:
    site.describe({"desk": {"url": standin().url}})
    site.environment["SYSTEMD_EXEC_PID"] = str(os.getpid())  # as in a terminal that systemd started
    site.check()
    said = site.ok("status")
    assert ", by hand or by cron; to watch every " in said.splitlines()[0]
    change(site, lambda state: setattr(state, "tick", replace(state.tick, at=state.tick.at - 840)))
    site.check()
    assert site.state().alerts == []


class Switch(ThreadingHTTPServer):
    """A dead man's switch: keeps which addresses were asked for; hangs if it is told to."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Ping)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/ping/hunter2"
        self.asked: list[str] = []
        self.saved: list[bool] = []  # whether the check had saved its state when it asked
        self.state_file = Path()
        self.hangs = False
        self.released = threading.Event()


class _Ping(BaseHTTPRequestHandler):
    server: Switch

    def do_GET(self) -> None:
        self.server.asked.append(self.path.removeprefix("/ping/hunter2"))
        self.server.saved.append(self.server.state_file.exists())
        if self.server.hangs:
            self.server.released.wait()
            return
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def switch(site: Site) -> Iterator[Switch]:
    with Switch() as server:
        server.state_file = site.paths.state_file
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.released.set()
        server.shutdown()


def _block_saving(site: Site) -> None:
    site.nothing_can_be_saved()


def _block_reading(site: Site) -> None:
    site.paths.state_file.write_text('{"schema": 99}')  # a newer version's, which no other may touch


def test_a_good_check_sends_its_heartbeat_after_the_save(
    site: Site, standin: Callable[..., Standin], switch: Switch
) -> None:
    site.describe({"desk": {"url": standin(fault="http_500").url}}, heartbeat_url=switch.url)
    site.check()
    assert (switch.asked, switch.saved) == ([""], [True])


@pytest.mark.parametrize("break_it", [_block_saving, _block_reading])
def test_a_check_that_breaks_off_sends_a_failure_and_still_says_why(
    site: Site, standin: Callable[..., Standin], switch: Switch, break_it: Callable[[Site], None]
) -> None:
    site.describe({"desk": {"url": standin().url}}, heartbeat_url=switch.url)
    site.check()
    break_it(site)
    done = site.run("check")
    assert done.returncode == 2
    assert "state.json" in done.stderr
    assert switch.asked == ["", "/fail"]
    assert "hunter2" not in done.stderr + "".join(site.log())


def test_a_switch_that_hangs_keeps_no_failure_from_being_said(
    site: Site, standin: Callable[..., Standin], switch: Switch
) -> None:
    switch.hangs = True
    site.describe({"desk": {"url": standin().url}}, heartbeat_url=switch.url)
    site.run("status")  # reads the inventory
    site.state_dir.mkdir(exist_ok=True)
    _block_saving(site)
    done = site.run("check", timeout=30)
    assert done.returncode == 2
    assert "state.json cannot be written" in done.stderr
    assert switch.asked == ["/fail"]
    assert any("event=heartbeat_lost reason=read_timeout" in line for line in site.log())


def test_an_inventory_broken_by_an_edit_keeps_the_heartbeat_of_the_mesh_before(
    site: Site, standin: Callable[..., Standin], switch: Switch
) -> None:
    site.describe({"desk": {"url": standin().url}}, heartbeat_url=switch.url)
    site.check()
    site.inventory.write_text("{broken")
    site.check()
    assert eventually(lambda: switch.asked == ["", ""])
