"""The past as a person asks for it: what happened, what was broken, which node was worst."""

import json
import sqlite3
import time
from pathlib import Path

import pytest

from chronicle import Chronicle
from factories import EVERY, plain
from gpu_mesh.domain.gpu import Card, GpuFacts, NodeGpu
from gpu_mesh.monitor import check
from gpu_mesh.standin.server import Standin, free_port
from gpu_mesh.storage import history
from gpu_mesh.system.log import Log
from sites import Site


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A mesh whose node east failed half an hour ago for five checks; west has always been well."""
    site = Site(tmp_path_factory.mktemp("told"))
    site.describe({"east": {"url": "http://127.0.0.1:1"}, "west": {"url": "http://127.0.0.1:1"}})
    site.state_dir.mkdir()
    story = Chronicle(site.state_dir, plain("east"), plain("west"), at=time.time() - 1800)
    story.goes(east="..xxxxx...", west="..........")
    return site


def test_what_happened_is_told_in_words(told: Site) -> None:
    said = told.ok("history")
    assert "east  degraded: Timeout (10s)" in said.replace("warning: ", "")
    assert "recovered" in said
    assert "west" in said
    assert "west" not in told.ok("history", "east").replace("with 2 nodes", "")


def test_what_was_broken_is_told_with_how_long_it_lasted(told: Site) -> None:
    said = told.ok("incidents")
    assert said.startswith("1 incident since ")
    assert "2 min 30 s  east  offline  Timeout (10s)" in said
    assert "came back without a repair" in said
    assert told.ok("incidents", "west").startswith("0 incidents since ")


def test_the_worst_node_of_a_month_comes_first_with_its_cause(told: Site) -> None:
    lines = told.ok("report").splitlines()
    east, west = (next(line for line in lines if line.startswith(name)) for name in ("east", "west"))
    assert lines.index(east) < lines.index(west)
    assert east.split()[1:6] == ["50.00%", "2", "min", "30", "s"]
    assert east.endswith("  Timeout")
    assert west.split()[1] == "100.00%"


def test_the_figures_of_a_time_of_ones_own(told: Site) -> None:
    said = told.ok("stats", "--since", "2h")
    assert said.startswith("The last 2 h: 75.00% available, 1 incident")
    figures = json.loads(told.ok("stats", "--since", "2h", "--json"))
    east, west = figures["nodes"]
    assert (east["node"], east["down"], east["incidents"]) == ("east", 150, 1)
    assert (west["availability"], west["p50_ms"]) == (100, pytest.approx(40, abs=16))


@pytest.mark.parametrize(
    ("words", "what", "number"),
    [(("history",), "events", None), (("incidents",), "incidents", 1), (("report",), "nodes", 2)],
)
def test_programs_and_spreadsheets_get_the_same(
    told: Site, words: tuple[str, ...], what: str, number: int | None
) -> None:
    made = json.loads(told.ok(*words, "--json"))
    rows = told.ok(*words, "--csv").splitlines()
    assert made["schema"] == 1
    assert number in (None, len(made[what]))
    whole_mesh = what == "nodes"
    assert len(rows) == 1 + len(made[what]) + whole_mesh


def test_the_highest_figures_of_each_card_are_told_and_those_of_each_hour_for_programs(site: Site) -> None:
    site.describe({"east": {"url": "http://127.0.0.1:1"}})
    site.state_dir.mkdir()
    story = Chronicle(site.state_dir, plain("east"), at=time.time() // 3600 * 3600 - 7000)
    for heat, age in ((60, 0.0), (83, 0.0), (71, 3600.0)):
        story.now += age
        card = Card(index=0, used=8 * 2**30, total=24 * 2**30, temperature=heat)
        story.change("east", gpu=NodeGpu(GpuFacts(at=story.now, cards=(card,))))
        story.goes(east=".")
    row = site.ok("history", "--gpus").splitlines()[-1]
    assert row.split("  ")[:2] == ["east", "8.0 of 24.0 GiB"]
    assert "83 °C" in row
    hours = json.loads(site.ok("history", "--gpus", "east", "--json"))["gpus"]
    assert [(hour["card"], hour["temperature"]) for hour in hours] == [("GPU 0", 83), ("GPU 0", 71)]
    assert len(site.ok("history", "--gpus", "--csv").splitlines()) == 3


def test_times_are_in_the_persons_zone_and_in_utc_for_programs(told: Site) -> None:
    tokyo = {**told.environment, "TZ": "Asia/Tokyo"}
    assert " JST" in told.ok("incidents", env=tokyo).splitlines()[0]
    assert " JST" in told.ok("history", env=tokyo).splitlines()[0]
    assert told.ok("history", "--csv").splitlines()[1].split(",")[0].endswith("+00:00")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("history", "nobody"), "there is no node 'nobody' in the inventory; there are: east, west"),
        (("history", "--since", "tuesday"), "--since: 'tuesday' is no duration; write it such as 90s"),
        (("incidents", "--since", "900000d"), "--since: "),
        (("report", "--month", "May"), "--month: 'May' is no month; write it such as "),
        (("report", "--month", "2999-01"), "--month: January 2999 has not begun"),
        (("stats", "--csv"), "--csv needs a time: gpu-mesh "),
    ],
)
def test_what_cannot_be_asked_for_is_said(told: Site, words: tuple[str, ...], said: str) -> None:
    done = told.run(*words)
    assert done.returncode == 2
    assert said in done.stderr


def test_a_month_without_checks_has_no_figures(told: Site) -> None:
    said = told.ok("report", "--month", "2020-02")
    assert said == "February 2020 (UTC): nothing was watched, as far as the history reaches\n"


def test_without_a_history_the_commands_say_why(site: Site) -> None:
    site.describe({"east": {"url": "http://127.0.0.1:1"}})
    assert "there is no history yet: it begins with the next check" in site.run("history").stderr
    site.describe({"east": {"url": "http://127.0.0.1:1"}}, history_max=0)
    assert "no history is kept: mesh_monitor_history_max is 0" in site.run("history").stderr


# What a check leaves there.


def test_a_check_writes_what_it_saw(site: Site) -> None:
    with Standin() as standin:
        site.describe({"east": {"url": standin.url}, "west": {"url": f"http://127.0.0.1:{free_port()}"}})
        site.check(2)
    figures = {
        each["node"]: each for each in json.loads(site.ok("stats", "--since", "1h", "--json"))["nodes"]
    }
    assert figures["east"]["availability"] == 100
    assert figures["west"]["availability"] == 0
    (incident,) = json.loads(site.ok("incidents", "--json"))["incidents"]
    assert (incident["node"], incident["cause"], incident["ended"]) == ("west", "refused", None)


def test_no_history_is_written_where_none_is_wanted(site: Site) -> None:
    site.describe({"west": {"url": f"http://127.0.0.1:{free_port()}"}}, history_max=0)
    site.check()
    assert not (site.state_dir / history.NAME).exists()


def watch(site: Site, *times: float) -> list[str]:
    """Check at these times; return the alerts about the monitor that there are then."""
    for at in times:
        check.check(site.paths, None, Log(site.paths.log_file), lambda at=at: at)  # type: ignore[misc]
    return [f"{alert.level}: {alert.text}" for alert in site.state().alerts if not alert.node]


def test_a_history_that_stays_locked_is_told_once_and_its_end_once(site: Site) -> None:
    site.describe({"west": {"url": f"http://127.0.0.1:{free_port()}"}})
    now = time.time() - 3600
    assert watch(site, now) == []
    holder = sqlite3.connect(site.state_dir / history.NAME, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    place = site.state_dir / history.NAME
    assert watch(site, now + 30, now + 60) == []  # a moment's trouble
    (told_once,) = watch(site, now + 400, now + 430, now + 460)
    assert told_once == (
        f"warning: The history is not written for 6 min 10 s: {place} is locked by another process"
    )
    assert len([line for line in site.log() if "event=history_not_written" in line]) == 1
    assert "The history is not written" in site.run("status").stdout
    holder.execute("ROLLBACK")
    assert watch(site, now + 490, now + 520)[1:] == ["info: The history is written again"]
    assert not site.paths.history_error.exists()


def test_a_damaged_history_is_set_aside_and_told_and_the_check_goes_on(site: Site) -> None:
    site.describe({"west": {"url": f"http://127.0.0.1:{free_port()}"}})
    now = time.time() - 3600
    watch(site, now)
    (site.state_dir / history.NAME).write_bytes(b"no database" * 999)
    told_of, over = watch(site, now + 30, now + 60, now + 90)
    assert over == "info: The history is written again"
    assert told_of.startswith("warning: The history was damaged (file is not a database); it is ")
    assert len(list(site.state_dir.glob("history.damaged-*.db"))) == 1
    assert json.loads(site.ok("stats", "--since", "2h", "--json"))["nodes"][0]["watched"] == 2 * EVERY


def test_whatever_breaks_in_the_history_fails_no_check(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.describe({"west": {"url": f"http://127.0.0.1:{free_port()}"}})

    def broken(*_: object) -> None:
        raise ZeroDivisionError("by nobody")

    monkeypatch.setattr("gpu_mesh.monitor.recording.record", broken)
    watch(site, time.time())
    assert site.state().nodes["west"].failures == 1
    (line,) = [line for line in site.log() if "event=history_not_written" in line]
    assert 'reason="ZeroDivisionError: by nobody"' in line


def test_a_folder_in_its_place_is_set_aside(site: Site, tmp_path: Path) -> None:
    site.describe({"west": {"url": f"http://127.0.0.1:{free_port()}"}})
    (site.state_dir / history.NAME).mkdir(parents=True)
    site.check()
    assert (site.state_dir / history.NAME).is_file()
