"""`gpu-mesh publish`: which files it writes, for whom, and when."""

import json
import os
import stat
import subprocess
import time
from pathlib import Path
from xml.etree import ElementTree

import pytest

from gpu_mesh.standin.server import free_port
from sites import Site, eventually

SET = {"index.html", "status.json", "feed.xml", "badge/mesh.svg", "badge/gpu1.svg", "badge/=6Desh.svg"}
OWN = SET | {"best.json", "metrics", "gpu_mesh.prom"}  # not for strangers


def describe(site: Site, url: str, **settings: object) -> None:
    down = f"http://127.0.0.1:{free_port()}"
    site.describe(
        {
            "gpu1": {"url": url, "name": "Desk"},
            "mesh": {"url": down, "recovery": "none", "unhealthy_threshold": 1, "offline_threshold": 9},
        },
        **settings,
    )


@pytest.fixture
def watched(site, standin):
    """A site with a node that serves and one that does not, checked once."""
    describe(site, standin().url, publish="public")
    site.check()
    return site


def found(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): oct(stat.S_IMODE(path.stat().st_mode))
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_both_sets_are_written_with_their_permissions_whatever_the_umask(watched, umask):
    said = watched.ok("publish", umask=umask)
    www, public = watched.state_dir / "www", watched.state_dir / "public"
    assert said == f"{www}/index.html\n{public}/index.html\n"
    assert found(www) == dict.fromkeys(OWN, "0o640")
    assert found(public) == dict.fromkeys(SET, "0o644")
    for folder, mode in ((www, 0o750), (public, 0o755)):
        assert [stat.S_IMODE(each.stat().st_mode) for each in (folder, folder / "badge")] == [mode] * 2


def test_the_page_names_the_trouble_and_status_json_is_that_of_the_command(watched):
    watched.ok("publish")
    text = (watched.state_dir / "www/index.html").read_text()
    assert "<title>1 of 2 nodes does not serve · GPU mesh</title>" in text
    assert "Connection refused" in text
    mine = json.loads((watched.state_dir / "www/status.json").read_bytes())
    theirs = watched.status()
    assert mine.pop("stale_after") == pytest.approx(mine["mesh"]["last_check"] + 3 * 30 + 120)
    assert mine.pop("at") <= theirs.pop("at")
    for each in (mine, theirs):
        assert each["nodes"][0].pop("success_rate_24h") == 100
    assert mine == theirs
    assert ElementTree.parse(watched.state_dir / "www/feed.xml").getroot().tag.endswith("feed")


def test_the_metrics_are_those_of_the_last_check_and_the_same_in_both_files(watched):
    watched.ok("publish")
    text = (watched.state_dir / "www/metrics").read_text()
    assert text == (watched.state_dir / "www/gpu_mesh.prom").read_text()
    for line in (
        'gpu_mesh_node_status{node="gpu1",status="healthy"} 1',
        'gpu_mesh_node_checks_total{node="mesh",verdict="failed"} 1',
        'gpu_mesh_node_cause{node="mesh",cause="refused"} 1',
        "gpu_mesh_health_ratio 0.5",
    ):
        assert f"\n{line}\n" in text


def test_strangers_read_no_address(watched):
    watched.ok("publish")
    texts = [path.read_text() for path in (watched.state_dir / "public").rglob("*") if path.is_file()]
    assert len(texts) == len(SET)
    assert [text for text in texts if "127.0.0.1" in text or "journalctl" in text] == []
    assert "127.0.0.1" in (watched.state_dir / "www/status.json").read_text()


def test_what_is_published_no_longer_is_taken_away(watched, standin):
    watched.ok("publish")
    describe(watched, standin().url, publish="private")
    watched.ok("publish")
    assert set(found(watched.state_dir / "www")) == OWN
    assert found(watched.state_dir / "public") == {}
    describe(watched, standin().url, publish="none")
    assert watched.ok("publish") == "Nothing is published, since mesh_monitor_publish is none.\n"
    assert found(watched.state_dir / "www") == {}


def test_the_badge_of_a_node_that_has_left_goes(watched, standin):
    watched.ok("publish")
    watched.describe({"gpu1": {"url": standin().url}})
    watched.ok("publish")
    assert set(found(watched.state_dir / "www")) == OWN - {"badge/=6Desh.svg"}


def test_the_page_shows_the_history_and_goes_on_without_one_that_cannot_be_read(watched):
    watched.check()
    watched.ok("publish")
    page = watched.state_dir / "www/index.html"
    shown = page.read_text()
    assert 'aria-label="Served 100% of 90 days; ' in shown
    assert "Connection refused" in shown.partition('id="incidents"')[2]
    (watched.state_dir / "history.db").write_bytes(b"no database" * 1000)
    watched.ok("publish")
    assert "There is no history yet" in page.read_text()
    assert "event=history_not_read" in watched.log()[-1]


def test_before_the_first_check_the_page_says_so(site, standin):
    describe(site, standin().url)
    site.ok("publish")
    text = (site.state_dir / "www/index.html").read_text()
    assert "<title>The monitor has not checked anything yet · GPU mesh</title>" in text


def test_another_folder_for_strangers_is_named_by_the_environment(watched, tmp_path):
    watched.environment["GPU_MESH_PUBLIC_DIR"] = str(tmp_path / "srv")
    (tmp_path / "srv").mkdir()
    said = watched.ok("publish")
    assert said.splitlines()[1] == f"{tmp_path}/srv/index.html"
    assert not (watched.state_dir / "public").exists()


def test_a_check_asks_for_a_page_when_a_status_has_changed_and_only_then(site, standin):
    describe(site, standin().url)
    wanted = site.paths.publish_wanted
    site.check()
    assert wanted.exists()
    site.ok("publish")
    assert not wanted.exists()
    site.check()
    assert not wanted.exists()


def test_a_check_asks_for_no_page_where_none_is_wanted(site, standin):
    describe(site, standin().url, publish="none")
    site.check()
    assert not site.paths.publish_wanted.exists()


def test_timers_leave_ten_seconds_between_two_pages_and_a_person_need_not_wait(watched):
    watched.ok("publish")
    page = watched.state_dir / "www/index.html"
    first = page.stat().st_mtime
    assert watched.ok("publish", "--due") == ""
    assert page.stat().st_mtime - first >= 10
    second = page.stat().st_mtime
    watched.ok("publish")
    assert page.stat().st_mtime - second < 10
    os.utime(page, (time.time() + 3600,) * 2)  # the clock was set back since
    assert watched.ok("publish", "--due") == ""


def test_in_the_foreground_the_page_is_written_by_itself(site, standin):
    describe(site, standin().url, check_interval=1)
    running = subprocess.Popen(site.command("run"), env=site.environment, stderr=subprocess.DEVNULL)
    try:
        page = site.state_dir / "www/index.html"
        assert eventually(lambda: page.exists() and "does not serve" in page.read_text())
    finally:
        running.terminate()
        running.wait()
