"""The central log: one event is one line that a program can take apart again."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from checkout import PROGRAMS
from gpu_mesh.domain.event import Severity, event
from gpu_mesh.system.log import Log, logfmt

WRITER = (sys.executable, PROGRAMS / "write_log.py")
PAIR = re.compile(r'(\w+)=("(?:[^"\\]|\\.)*"|[^ "=\\]*)(?: |$)')
ESCAPE = re.compile(r"\\(x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8}|.)")
LETTERS = {"n": "\n", "r": "\r", "t": "\t"}
FORGED = 'fine\nts=2030-01-01T00:00:00.000Z level=error event=alert node="desk" \x1b[2J'


def parsed(line: str) -> dict[str, str]:
    """Take a line apart as any logfmt reader does; every character must belong to a pair."""
    pairs, end = {}, 0
    for match in PAIR.finditer(line):
        assert match.start() == end, line
        end, (key, value) = match.end(), match.groups()
        pairs[key] = ESCAPE.sub(unescaped, value[1:-1]) if value.startswith('"') else value
    assert end == len(line), line
    return pairs


def unescaped(match: re.Match[str]) -> str:
    code = match[1]
    return chr(int(code[1:], 16)) if len(code) > 1 else LETTERS.get(code, code)


def test_a_line_says_when_how_bad_what_and_then_the_fields_in_their_order():
    line = logfmt(event("check", Severity.WARNING, node="desk", ms=12, detail="Timeout (10s)"), 1.5)
    assert (
        line == 'ts=1970-01-01T00:00:01.500Z level=warning event=check node=desk ms=12 detail="Timeout (10s)"'
    )


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("plain", "plain"),
        ("two words", '"two words"'),
        ('say "hi"', '"say \\"hi\\""'),
        ("C:\\x", '"C:\\\\x"'),
        ("a=b", '"a=b"'),
        ("Grüße 🟢", '"Grüße 🟢"'),
        ("one\ntwo\r\x1b[31m\u2028\u202e", '"one\\ntwo\\r\\x1b[31m\\u2028\\u202e"'),
        ("\ud800", '"\\ud800"'),
        (0.0, "0"),
        (2.5, "2.5"),
        (99.99999, "100"),
        (float("nan"), "nan"),
    ],
)
def test_a_value_is_quoted_only_where_it_must_be(value, written):
    assert logfmt(event("x", a=value), 0.0).endswith(f" event=x a={written}")


@pytest.mark.parametrize("nothing", [None, ""])
def test_a_field_without_a_value_is_left_out(nothing):
    assert logfmt(event("x", a=nothing), 0.0).endswith("event=x")


@given(st.dictionaries(st.from_regex(r"[a-z_]{1,8}", fullmatch=True), st.text(st.characters(), min_size=1)))
def test_whatever_a_node_sends_an_event_is_exactly_one_line_that_parses_back(fields):
    fields = {f"f_{key}": value for key, value in fields.items()}
    line = logfmt(event("check", **fields), 0.0)
    assert line.isprintable()
    assert len(line.splitlines()) == 1
    pairs = parsed(line)
    assert {key: pairs[key] for key in fields} == fields
    assert set(pairs) == {"ts", "level", "event", *fields}


def test_a_node_cannot_forge_a_line(tmp_path):
    log = Log(tmp_path / "log/gpu-mesh.log")
    log.write([event("check", node="iceland", detail=FORGED)], 0.0)
    (line,) = (tmp_path / "log/gpu-mesh.log").read_text().splitlines()
    assert parsed(line)["detail"] == FORGED
    assert parsed(line)["event"] == "check"


def test_a_rotation_by_rename_takes_no_line_with_it(tmp_path):
    path, log = tmp_path / "gpu-mesh.log", Log(tmp_path / "gpu-mesh.log")
    for number in range(9):
        if number % 3 == 0 and number:
            path.rename(tmp_path / f"gpu-mesh.log.{number}")
        log.write([event("check", number=number)], 0.0)
    kept = sorted(tmp_path.iterdir())
    assert len(kept) == 3
    numbers = [int(parsed(line)["number"]) for file in kept for line in file.read_text().splitlines()]
    assert sorted(numbers) == list(range(9))


@pytest.mark.parametrize(
    ("threshold", "shown"),
    [
        (Severity.NOTICE, ["event=bad", "event=odd", "event=changed"]),
        (Severity.INFO, ["event=bad", "event=odd", "event=changed", "event=check"]),
    ],
)
def test_standard_error_shows_what_is_worth_it_and_the_file_everything(tmp_path, capsys, threshold, shown):
    severities = {"bad": Severity.ERROR, "odd": Severity.WARNING, "changed": Severity.NOTICE}
    events = [*(event(name, severity) for name, severity in severities.items()), event("check")]
    Log(tmp_path / "log", threshold=threshold).write(events, 0.0)
    assert capsys.readouterr().err.splitlines() == shown
    assert len((tmp_path / "log").read_text().splitlines()) == 4


def test_no_event_makes_no_file(tmp_path):
    Log(tmp_path / "log").write([], 0.0)
    assert list(tmp_path.iterdir()) == []


def test_a_log_that_cannot_be_written_is_said_once_and_stops_nothing(tmp_path, capsys):
    (tmp_path / "file").touch()
    log = Log(tmp_path / "file/gpu-mesh.log")
    log.write([event("check")], 0.0)
    log.write([event("check")], 0.0)
    (said,) = capsys.readouterr().err.splitlines()
    assert said == f"the log {tmp_path}/file/gpu-mesh.log cannot be written: File exists"


def write_elsewhere(path: Path, stderr: socket.socket, journal_stream: str) -> None:
    """Let a process with that standard error and $JOURNAL_STREAM write."""
    environment = {**os.environ, "JOURNAL_STREAM": journal_stream}
    subprocess.run([*WRITER, path], stderr=stderr, env=environment, check=True)
    stderr.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize(("path", "unwritable"), [("log", False), ("file/log", True)])
@pytest.mark.parametrize("is_journal", [True, False])
def test_lines_carry_their_priority_only_where_the_journal_reads_them(tmp_path, path, unwritable, is_journal):
    (tmp_path / "file").touch()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        stat = os.fstat(theirs.fileno())
        stream = f"{stat.st_dev}:{stat.st_ino + (not is_journal)}"
        write_elsewhere(tmp_path / path, theirs, stream)
        said = ours.makefile().read().splitlines()
    prefixed = ["<3>event=bad", "<5>event=changed"]
    if unwritable:
        prefixed.append(f"<3>the log {tmp_path / path} cannot be written: File exists")
    assert said == (prefixed if is_journal else [line[3:] for line in prefixed])


@pytest.mark.parametrize("redirection", ["2>/dev/full", "2>&-"])
def test_a_standard_error_that_cannot_be_written_stops_nothing_and_keeps_no_line_from_the_file(
    tmp_path, redirection
):
    words = f'exec "$0" "$@" {redirection}'
    ended = subprocess.run(["sh", "-c", words, *WRITER, tmp_path / "log"], check=False)
    assert ended.returncode == 0
    lines = (tmp_path / "log").read_text().splitlines()
    assert [parsed(line)["event"] for line in lines] == ["bad", "changed"]


def test_a_pipe_in_the_place_of_the_log_holds_nobody_up(tmp_path, capsys):
    os.mkfifo(tmp_path / "gpu-mesh.log")
    Log(tmp_path / "gpu-mesh.log").write([event("check", Severity.NOTICE)], 0.0)
    assert "gpu-mesh.log cannot be written: No such device or address" in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a link away")
@pytest.mark.parametrize(("owner", "followed"), [(12345, False), (0, True)])
def test_a_link_in_the_place_of_the_log_is_followed_only_if_it_is_roots(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], owner: int, followed: bool
) -> None:
    link = tmp_path / "gpu-mesh.log"
    link.symlink_to(tmp_path / "another")
    os.chown(link, owner, owner, follow_symlinks=False)
    Log(link).write([event("check")], 0.0)
    assert (tmp_path / "another").exists() is followed
    said = "gpu-mesh.log cannot be written: it is a link that is not root's, and is not followed"
    assert (said in capsys.readouterr().err) is not followed
