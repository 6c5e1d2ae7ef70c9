"""Silences and maintenance windows with the real command, from adding one to what reports show."""

import subprocess
import sys
import time

import pytest

from checkout import PROGRAMS
from gpu_mesh.standin.server import free_port

REASON = ("--reason", "driver update")
EXAMPLE = "such as gpu-mesh silence add iceland --for 2h --reason 'driver update'"
ALWAYS = {"days": "daily", "from": "00:00", "to": "24:00"}


def described(site, standin, **variables):
    """Describe a healthy node, and one that refuses and can be recovered, in a group of its own."""
    site.environment["SUDO_USER"] = "anna"
    site.describe(
        {
            "desk": {"url": standin().url, "name": "Desk"},
            "iceland": {
                "url": f"http://127.0.0.1:{free_port()}",
                "name": "Iceland",
                "recovery": "command",
                "recovery_command": "touch /nowhere/touched",
                **variables,
            },
        }
    )


def test_a_silence_is_told_shown_everywhere_and_ended(site, standin):
    described(site, standin)
    site.check(3)
    said = site.ok("silence", "add", "iceland", "--for", "2d", *REASON, "--no-recovery").splitlines()
    assert said[0].startswith("Silence 1: iceland until ")
    assert said[0].endswith("UTC, by anna: driver update (no recovery)")
    on_the_same_mesh = f"-i {site.inventory} --state-dir {site.state_dir}"
    assert said[1] == f"Checks go on. To end it early: gpu-mesh {on_the_same_mesh} silence end 1"
    (silence,) = site.state().silences
    assert silence.until - silence.at == 2 * 86400
    assert abs(silence.at - time.time()) < 60

    site.check()
    shown = said[0].replace("Silence 1", "🔇 silence 1")
    status = site.run("status").stdout
    assert shown in status.splitlines()
    assert "no repair now: silenced by anna until " in status
    assert f"DASHBOARD {shown}" in site.ok("dashboard").splitlines()
    report = site.status()
    (told,) = report["mesh"]["silences"]
    assert told == {
        "id": 1,
        "at": silence.at,
        "until": silence.until,
        "reason": "driver update",
        "author": "anna",
        "nodes": ["iceland"],
        "groups": [],
        "levels": [],
        "no_recovery": True,
        "until_healthy": False,
    }
    assert [node["silenced_until"] for node in report["nodes"]] == [None, silence.until]
    assert report["nodes"][1]["consecutive_failures"] == 4
    dry = site.ok("recover", "--dry-run")
    assert "iceland  refused: nothing: silenced by anna until " in dry
    assert dry.rstrip().endswith(": driver update (no recovery)")
    assert "look, then restart of Ollama" in site.ok("recover", "iceland", "--dry-run", "--force")
    site.ok("recover")
    assert site.state().nodes["iceland"].recovery.attempts == ()

    listed = site.ok("silence", "list").splitlines()
    assert listed[0].split() == ["No", "What", "Until", "By", "Recovery", "Why"]
    assert listed[1].split()[:2] == ["1", "iceland"]
    assert site.ok("silence", "end", "1") == "Silence 1 has ended: it no longer mutes alerts of iceland\n"
    assert site.ok("silence", "end", "1").startswith("Silence 1 ended already, at ")
    assert "ended" in site.ok("silence", "list")
    assert shown not in site.run("status").stdout.splitlines()
    assert "look, then restart of Ollama" in site.ok("recover", "iceland", "--dry-run")
    log = "\n".join(site.log())
    assert "event=silence_added id=1 author=anna" in log
    assert "event=silence_ended id=1 author=anna" in log


def test_groups_levels_and_everything_can_be_silenced(site, standin):
    described(site, standin)
    nothing = f"Nothing is silenced. To silence a node: {site.typed} silence add "
    assert site.ok("silence", "list").startswith(nothing)
    group = site.ok(
        "silence", "add", "mesh_nodes", "--for", "1d", *REASON, "--level", "warning", "--level", "ERROR"
    )
    assert group.startswith("Silence 1: group mesh_nodes, warning and error only until ")
    assert site.ok("silence", "add", "--for", "30m", *REASON, "--all").startswith("Silence 2: everything ")
    assert site.ok("silence", "add", "--for", "30m", *REASON, "iceland", "desk").startswith(
        "Silence 3: desk, iceland until "
    )
    assert [silence.levels for silence in site.state().silences] == [("warning", "error"), (), ()]


def test_several_people_who_silence_at_once_lose_nothing(site, standin):
    described(site, standin)
    site.check()
    words = ("silence", "add", "iceland", "--for", "1h", *REASON)
    adding = [
        subprocess.Popen(site.command(*words), env=site.environment, stdout=subprocess.DEVNULL)
        for _ in range(4)
    ]
    site.check()
    assert [each.wait(60) for each in adding] == [0] * 4
    assert sorted(silence.id for silence in site.state().silences) == [1, 2, 3, 4]


REFUSED = [
    (["add"], f"say what to silence: nodes, groups, or --all; {EXAMPLE}"),
    (["add", "iceland", *REASON], f"a silence needs an end: add --for with 30m, 2h or 1d; {EXAMPLE}"),
    (
        ["add", "iceland", "--for", "2h"],
        f"a silence needs a reason: add --reason with a few words; {EXAMPLE}",
    ),
    (
        ["add", "iceland", "--for", "2h", "--reason", "\n\x1b "],
        f"a silence needs a reason: add --reason with a few words; {EXAMPLE}",
    ),
    (
        ["add", "iceland", "--all", "--for", "2h", *REASON],
        "--all means every node: leave out iceland, or --all",
    ),
    (
        ["add", "icland", "--for", "2h", *REASON],
        "there is no node or group 'icland'; did you mean iceland?",
    ),
    (
        ["add", "all", "--for", "2h", *REASON],
        "there is no node or group 'all'; to silence everything: --all",
    ),
    (
        ["add", "xyz", "--for", "2h", *REASON],
        "there is no node or group 'xyz'; there are: desk, iceland, mesh_nodes",
    ),
    (
        ["add", "iceland", "--for", "2h", *REASON, "--level", "warn"],
        "there is no level 'warn'; did you mean warning?",
    ),
    (
        ["add", "iceland", "--for", "1y", *REASON],
        "'1y' is no duration; write it such as 90s, 5min, 1h30m or 1d",
    ),
    (["add", "iceland", "--for", "91d", *REASON], "'91d' is too long; the longest is 90 d"),
    (["end", "7"], "there is no silence 7; see which there are: gpu-mesh silence list"),
]


def test_what_cannot_be_silenced_is_told_with_what_to_write(site, standin):
    described(site, standin)
    site.check()  # which keeps the mesh: otherwise each of these commands would read the inventory anew
    for words, told in REFUSED:
        done = site.run("silence", *words)
        typed = told.replace("gpu-mesh silence", f"{site.typed} silence")
        assert (done.returncode, done.stdout, done.stderr) == (2, "", f"gpu-mesh: {typed}\n"), words
        assert site.state().silences == (), words


def test_what_people_write_is_one_harmless_line(site, standin):
    described(site, standin)
    site.environment["SUDO_USER"] = "anna\x1b[31m"
    site.ok("silence", "add", "iceland", "--for", "2h", "--reason", "a\nb\x1b[2J" + "c" * 300)
    (silence,) = site.state().silences
    assert silence.author == "anna [31m"
    assert silence.reason.startswith("a b [2Jccc")
    assert len(silence.reason) == 200


def test_an_open_window_is_shown_and_holds_recovery_back(site, standin):
    described(site, standin, maintenance=[{**ALWAYS, "reason": "backup", "recovery": False}])
    site.check(3)
    status = site.run("status").stdout
    assert "🔇 maintenance: iceland until " in status
    assert " 00:00 UTC: backup (no recovery)\n" in status
    assert "iceland  refused: nothing: in maintenance until " in site.ok("recover", "--dry-run")
    (window,) = site.status()["mesh"]["silences"]
    assert (window["id"], window["author"], window["nodes"]) == (None, "", ["iceland"])
    assert window["until"] == site.status()["nodes"][1]["silenced_until"]
    assert site.ok("silence", "list").splitlines()[1].split()[:2] == ["-", "iceland"]


@pytest.mark.parametrize(("zone", "loaded"), [("UTC", []), ("Europe/Berlin", ["zoneinfo"])])
def test_a_check_loads_time_zones_only_where_a_window_names_one(site, standin, zone, loaded):
    described(site, standin, maintenance=[{**ALWAYS, "zone": zone}])
    site.check()
    site.program = [sys.executable, str(PROGRAMS / "watched_command.py"), "zoneinfo,difflib"]
    assert site.ok("check").strip() == f"0 {loaded} 0"


def test_ending_a_silence_that_there_is_not_leaves_no_state_behind(site):
    done = site.run("silence", "end", "1")
    assert done.returncode == 2
    assert "there is no silence 1" in done.stderr
    assert not site.state_dir.exists()
