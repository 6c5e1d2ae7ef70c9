"""The real command: what it prints and exits with, and whose nodes and settings it takes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from checkout import PROGRAMS, ROOT

TRACE = """\
nodes: {gpu1: {}}
story:
  - {at: 1m, nodes: {gpu1: hang}}
expect: {status: {gpu1: healthy}, repairs: {gpu1: %d}}
"""


def simulate(folder: Path, *words: str, inventory: str = "") -> subprocess.CompletedProcess[str]:
    places = {"GPU_MESH_STATE_DIR": str(folder / "state"), "GPU_MESH_LOG_DIR": str(folder / "log")}
    options = ["-i", inventory] if inventory else []
    command = [sys.executable, "-m", "gpu_mesh", *options, "simulate", *words]
    return subprocess.run(
        command, env={**os.environ, **places}, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    file = tmp_path / "trace.yml"
    file.write_text(TRACE % 1, encoding="utf-8")
    return file


def test_a_story_is_printed_and_nothing_is_left_behind(tmp_path: Path, trace: Path) -> None:
    ended = simulate(tmp_path, str(trace))
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "0:02:10  gpu1   🔴 unhealthy: Timeout (10s)\n" in ended.stdout
    assert list(tmp_path.iterdir()) == [trace]


def test_what_is_not_as_expected_is_said_and_exits_with_1(tmp_path: Path, trace: Path) -> None:
    trace.write_text(TRACE % 2, encoding="utf-8")
    ended = simulate(tmp_path, str(trace))
    assert ended.returncode == 1
    assert ended.stderr == "not as expected: the number of repairs of gpu1 should be 2, but is 1\n"


def test_a_story_as_json_tells_the_same(tmp_path: Path, trace: Path) -> None:
    told = json.loads(simulate(tmp_path, str(trace), "--json").stdout)
    (recovery,) = [each for each in told["events"] if each["kind"] == "recovery"]
    assert (recovery["node"], recovery["outcome"], recovery["finding"], recovery["seconds"]) == (
        "gpu1", "recovered", "silent_on_its_host", 8.0,
    )  # fmt: skip
    assert (told["schema"], told["counts"]["repairs"], told["unmet"]) == (2, {"gpu1": 1}, [])


def test_a_trace_without_nodes_takes_those_of_the_inventory(tmp_path: Path) -> None:
    file = tmp_path / "trace.yml"
    file.write_text("story: [{at: 1m, nodes: {iceland: refused}}]\n", encoding="utf-8")
    ended = simulate(tmp_path, str(file), inventory=str(ROOT / "inventory"))
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "❌ [ERROR] Iceland: unhealthy after 3 failures: Tunnel down, port 8080 is closed" in ended.stdout


def test_settings_come_from_the_inventory_the_trace_and_the_command_line_the_last_first(
    tmp_path: Path, trace: Path
) -> None:
    hosts = tmp_path / "mesh.ini"
    hosts.write_text(
        "[mesh_monitors]\nhere mesh_monitor_check_interval=10 mesh_monitor_recover_interval=10\n"
        "[mesh_nodes]\nother\n",
        encoding="utf-8",
    )
    assert simulate(tmp_path, str(trace)).stdout.count("0:02:10") > 0
    assert "0:01:30  gpu1   🔴" in simulate(tmp_path, str(trace), inventory=str(hosts)).stdout
    given = simulate(tmp_path, str(trace), "--set", "check_interval=60", inventory=str(hosts))
    assert "0:03:10  gpu1   🔴" in given.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("nowhere.yml",),
            "gpu-mesh: the trace nowhere.yml cannot be read: No such file or directory; name a YAML file\n",
        ),
        (("/",), "gpu-mesh: the trace / cannot be read: Is a directory; name a YAML file\n"),
        (("trace.yml", "--set", "check_interval"), "--set wants NAME=VALUE, such as --set check_interval=10"),
        (("trace.yml", "--set", "check_interval=soon"), "--set: check_interval must be a number of seconds"),
    ],
    ids=["no file", "a folder", "no value", "a wrong value"],
)
def test_what_cannot_be_used_is_said_with_the_next_step(
    tmp_path: Path, trace: Path, words: tuple[str, ...], said: str
) -> None:
    ended = simulate(tmp_path, *(str(trace) if word == "trace.yml" else word for word in words))
    assert ended.returncode == 2
    assert said in ended.stderr
    assert ended.stdout == ""


def test_what_decides_loads_neither_yaml_nor_requests() -> None:
    program = PROGRAMS / "load_simulator.py"
    ended = subprocess.run([sys.executable, program], capture_output=True, text=True, check=True)
    assert ended.stdout == "set()\n"
