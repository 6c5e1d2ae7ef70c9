"""The live view in a real terminal: sizes, keys, and that the terminal is left as it was."""

import fcntl
import os
import re
import signal
import subprocess
import sys
import termios
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from gpu_mesh.domain.observation import LoadedModel
from gpu_mesh.storage.state_file import encode
from gpu_mesh.text.table import cells
from live_mesh import healthy, mesh_of, put
from marks import soak
from sites import eventually
from terminal import ALTERNATE, BACK, Terminal

PROGRAMS = Path(__file__).parents[2] / "programs"
UP, DOWN, END = "\x1bOA", "\x1bOB", "\x1b[4~"
FOOTER = "q leave"
ENDINGS = {
    "q": (lambda terminal: terminal.press("q"), 0),
    "Ctrl-C": (lambda terminal: terminal.press("\x03"), 130),
    "SIGINT": (lambda terminal: terminal.process.send_signal(signal.SIGINT), 130),
    "SIGTERM": (lambda terminal: terminal.process.terminate(), -signal.SIGTERM),
    "SIGHUP": (lambda terminal: terminal.process.send_signal(signal.SIGHUP), 130),
}


@contextmanager
def top(site, *words, width=80, height=24, **variables):
    """Run the live view in a terminal, and wait until it is drawn."""
    command = site.command(*(words or ("top",)))
    with Terminal(command, site.environment, width, height, **variables) as terminal:
        assert terminal.shows(FOOTER), terminal.said
        yield terminal


def was_left_as_it_was(terminal) -> bool:
    assert eventually(lambda: BACK in terminal.said)
    last = terminal.said.rpartition(ALTERNATE)[2]
    return BACK in last and terminal.as_before and "\x1b[?25h" in last  # and the cursor is seen again


def fills(lines, height):
    whole = len(lines) == height and lines[-1].startswith(FOOTER)
    return whole and lines[0].startswith("2 of ") and lines[0].endswith(" UTC")


SIZES = [(80, 24), soak(60, 20), soak(120, 40), (200, 60)]


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_it_fills_a_terminal_of_any_size_with_trouble_first(site, width, height):
    put(site, 30)
    with top(site, width=width, height=height) as terminal:
        assert eventually(
            lambda: terminal.lines[0].startswith("2 of 29 nodes do not serve, 1 more is degraded")
        )
        assert eventually(lambda: terminal.lines[0].endswith(" UTC"))
        rows = [line.split()[:2] for line in terminal.lines[4:] if line[:1] in set("■✖▲●")]
        assert rows[:4] == [["■", "Iceland"], ["✖", "Lab"], ["▲", "Desk"], ["●", "Vengeance"]]
        assert terminal.lines[-1].startswith(FOOTER)
        assert all(cells(line) <= width for line in terminal.lines)
        assert ALTERNATE in terminal.said


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_terminal_is_left_as_it_was(site, ending):
    put(site, 4)
    end, code = ENDINGS[ending]
    with top(site) as terminal:
        assert not terminal.as_before
        end(terminal)
        assert terminal.ends() == code
        assert was_left_as_it_was(terminal)
        assert "Traceback" not in terminal.said


def test_it_ends_when_its_terminal_is_closed(site):
    put(site, 4)
    ours, theirs = os.openpty()
    with subprocess.Popen(
        site.command("top"),
        env={**site.environment, "TERM": "screen-256color", "LC_ALL": "C.UTF-8"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    ) as running:
        os.close(theirs)
        said = b""
        while b"Iceland" not in said:
            said += os.read(ours, 65536)
        os.close(ours)
        assert running.wait(timeout=20) == 130


def test_a_crash_prints_its_error_on_the_terminal_as_it_was(site):
    put(site, 4)
    site.program = [sys.executable, str(PROGRAMS / "crashing_top.py")]
    with top(site) as terminal:
        terminal.press("s")
        assert terminal.ends() == 1
        assert was_left_as_it_was(terminal)
        assert eventually(lambda: "RuntimeError: the live view crashed" in terminal.said)
        assert terminal.said.rindex(BACK) < terminal.said.rindex("Traceback")


def test_keys_select_a_node_and_show_everything_of_it(site):
    put(site, 30)
    with top(site) as terminal:
        terminal.press(DOWN + DOWN + "\r")
        assert terminal.shows("✖ Lab A  unhealthy for 1 min")
        assert terminal.shows("a recovery is under way")
        terminal.press("\x1b")
        assert terminal.shows("■ Iceland  ")
        assert eventually(lambda: terminal.screen.buffer[7][0].reverse), "it is still selected"
        terminal.press(UP + "\r")
        assert terminal.shows("Iceland  offline for 47 min")
        terminal.press("\r" + END)
        assert terminal.shows("– gpu-019       disabled")
        assert terminal.shows("… above: 1 offline, 1 unhealthy, 1 degraded, ")


def test_keys_filter_sort_leave_out_and_help(site):
    put(site, 30)
    with top(site) as terminal:
        terminal.press("/qwen-q")  # q is a letter here
        assert terminal.shows("No node is as chosen; Esc shows all")
        terminal.press("\x7f" * 6 + "ice\r")
        assert terminal.shows("1 of 30 nodes · with “ice”")
        assert terminal.hides("Vengeance")
        terminal.press("\x1b")
        assert terminal.shows("Vengeance")
        terminal.press("ss")
        assert terminal.shows("30 of 30 nodes · by response")
        assert eventually(lambda: terminal.lines[5].startswith("● gpu-029"))
        terminal.press("p")
        assert terminal.shows("3 of 30 nodes · problems only · by response")
        terminal.press("?")
        assert terminal.shows("show only nodes with a text in name, status, cause or models")
        terminal.press("q")
        assert terminal.ends() == 0


def test_it_follows_the_size_of_the_terminal(site):
    put(site, 30)
    with top(site) as terminal:
        for width, height in ((120, 40), (60, 20), (200, 60), (20, 3), (80, 24)):
            terminal.resize(width, height)
            if height > 10:
                assert eventually(lambda: fills(terminal.lines, height))  # noqa: B023 - used up at once
        assert eventually(lambda: terminal.lines[4].startswith("■ Iceland"))
        assert terminal.process.poll() is None


def test_it_shows_what_has_changed_without_a_key(site):
    put(site, 4)
    with top(site) as terminal:
        assert terminal.shows("2 of 4 nodes do not serve")
        _, state = mesh_of(4, time.time())
        state.nodes = {key: healthy(1, time.time()) for key in state.nodes}
        fresh = site.paths.state_file.with_suffix(".test")
        fresh.write_bytes(encode(state))
        fresh.replace(site.paths.state_file)
        assert terminal.shows("All 4 nodes are healthy")


def test_the_last_hour_comes_from_the_history(site, standin):
    site.describe({"gpu1": {"url": standin().url}})
    site.alerts_go_to("json://127.0.0.1:1")
    site.check(2)
    with top(site) as terminal:
        assert eventually(lambda: terminal.lines[3].endswith("24 h  hour"))
        assert eventually(lambda: re.search(r"100%  ·{7}[▁▂▃▄▅▆▇█]$", terminal.lines[4]))
    (site.state_dir / "history.db").write_bytes(b"SQLite format 3\0 damaged")
    with top(site) as terminal:
        assert eventually(lambda: terminal.lines[3].endswith("24 h")), "what cannot be read is left out"


def test_what_cannot_be_read_is_said_and_it_goes_on(site):
    put(site, 4)
    with top(site, width=200) as terminal:
        whole = site.paths.state_file.read_bytes()
        site.paths.state_file.write_bytes(whole.replace(b'"schema":1', b'"schema":999', 1))
        assert terminal.shows("! what follows is older: ")
        assert terminal.shows("written by a newer gpu-mesh")
        assert terminal.shows("Iceland")
        site.paths.state_file.write_bytes(whole)
        assert terminal.hides("! what follows is older: ")


def test_a_hostile_name_is_shown_and_obeyed_by_nobody(site):
    put(site, 4)
    _, state = mesh_of(4, time.time())
    hostile = LoadedModel("\x1b[2J\x1b]0;owned\x07\u202ex\x9b31m", 2**30, 2**30)
    state.nodes["n0"] = healthy(0, time.time(), loaded=(hostile,))
    site.paths.state_file.write_bytes(encode(state))
    with top(site, width=120) as terminal:
        assert terminal.shows("[2J ]0;owned x 31m")
        assert terminal.shows("2 of 4 nodes do not serve")
        for hostile in ("\x1b]0;", "\x07", "\x9b", "\u202e"):
            assert hostile not in terminal.said


def test_without_unicode_it_has_signs_of_ascii(site):
    put(site, 4)
    with top(site, LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0") as terminal:
        assert terminal.shows("# Iceland       offline    Host down: no route to host")
        assert terminal.shows("o Vengeance     healthy")
        assert terminal.said.isascii()


def test_a_locale_that_this_host_does_not_have_is_no_obstacle(site):
    put(site, 4)
    with top(site, LC_ALL="xx_YY.UTF-8") as terminal:
        assert terminal.shows("■ Iceland       offline    Host down: no route to host")


@pytest.mark.parametrize("no_colour", [True, False])
def test_colours_are_left_out_where_nobody_wants_them(site, no_colour):
    put(site, 4)
    with top(site, **({"NO_COLOR": "1"} if no_colour else {})) as terminal:
        offline = terminal.screen.buffer[4][0]
        assert (offline.data, offline.fg) == ("■", "default" if no_colour else "red")


def test_the_dashboard_that_is_watched_is_the_same_view(site):
    put(site, 4)
    with top(site, "dashboard", "--watch") as terminal:
        assert eventually(lambda: terminal.lines[4].startswith("■ Iceland"))


def test_a_terminal_that_this_host_does_not_know_is_named_with_what_to_do(site):
    put(site, 4)
    with Terminal(site.command("top"), site.environment, TERM="no-such-terminal") as terminal:
        assert terminal.ends() == 2
        assert terminal.shows("gpu-mesh: this host does not know the terminal 'no-such-terminal'; try:")


def test_a_terminal_that_cannot_be_drawn_on_gets_plain_reports(site):
    put(site, 4)
    with Terminal(site.command("top"), site.environment, TERM="dumb") as terminal:
        assert terminal.shows("mesh health 37.5%, 1 of 4 nodes healthy")
        assert "\x1b" not in terminal.said
        terminal.press("\x03")
        assert terminal.ends() == 130


def test_into_a_pipe_it_prints_plain_reports(site):
    put(site, 4)
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(site.command("top"), env=site.environment, **options) as running:
        assert "mesh health 37.5%, 1 of 4 nodes healthy" in running.stdout.readline()
        running.send_signal(signal.SIGINT)
        said = running.communicate(timeout=20)[1]
    assert (running.returncode, said) == (130, "")
    assert "\x1b" not in said


def test_an_inventory_with_mistakes_is_told_before_the_terminal_is_touched(site):
    site.inventory.write_text("mesh_nodes: [")
    with Terminal(site.command("top"), site.environment) as terminal:
        assert terminal.ends() == 2
        assert terminal.shows("gpu-mesh: the inventory cannot be used")
        assert ALTERNATE not in terminal.said
