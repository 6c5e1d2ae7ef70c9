"""What a person reads in a terminal: it fits, trouble is never cut, and times are in the person's zone."""

import re

import pytest

from gpu_mesh.text.table import cells
from live_mesh import put
from terminal import Terminal

ZONE = "Australia/Sydney"  # whose name is longer than UTC
COMMANDS = [
    ("status",),
    ("status", "n1"),
    ("dashboard",),
    ("stats",),
    ("recover", "--dry-run"),
    ("silence", "list"),
    ("alerts", "list"),
    ("best", "--explain"),
]


def told(site, *words, width=80):
    """Return the lines that a command prints in a terminal, before the terminal breaks them."""
    with Terminal(site.command(*words), site.environment, width, 200, TZ=ZONE) as terminal:
        terminal.ends()
        assert terminal.drained()
        return re.sub(r"\x1b\[[0-9;]*m", "", terminal.said).replace("\r", "").splitlines()


@pytest.fixture
def troubled(site):
    """A mesh with trouble, whose alerts and repairs are held back by somebody with much to say."""
    put(site, 4)
    reason = "we wait for the new card, which comes on Friday or, as likely, in the week after that"
    site.ok("silence", "add", "n1", "--for", "30h", "--reason", reason)
    return site


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_no_line_is_wider_than_the_terminal(troubled, words):
    lines = told(troubled, *words)
    assert lines
    # A command is never broken, so that it can be pasted.
    assert [line for line in lines if cells(line) > 80 and troubled.typed not in line] == []


def test_what_is_wrong_and_what_to_do_are_told_whole_however_narrow_the_terminal_is(troubled):
    whole = " ".join(" ".join(told(troubled, "status", width=60)).split())
    for said in (
        "Tunnel down: nothing listens on local port 8080 (3 failures in a row)",
        "Host down: no route to host (94 failures in a row)",
        "a smaller model or context may be needed, or mesh_node_expects_gpu: false",
    ):
        assert said in whole


@pytest.mark.parametrize("words", [("status",), ("dashboard",), ("silence", "list")], ids=" ".join)
def test_times_are_those_of_the_person_and_name_their_zone(troubled, words):
    said = "\n".join(told(troubled, *words))
    assert re.search(r"\d\d:\d\d(:\d\d)? AE[SD]T", said)
    assert "UTC" not in said


def test_the_dashboard_of_the_journal_is_in_utc_as_the_log_is(troubled):
    said = troubled.ok("dashboard", env={**troubled.environment, "TZ": ZONE})
    assert re.match(r"DASHBOARD \d\d:\d\d:\d\d UTC mesh health ", said)
    assert "AEST" not in said
    assert "AEDT" not in said
