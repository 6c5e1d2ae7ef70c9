"""Every command in surroundings that cron or a rescue shell may give it: it works, or says one line."""

import os
import shlex
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from each_command import SERVES_FOR_EVER, STATUSES, WORDS
from gpu_mesh.cli.commands import COMMANDS
from gpu_mesh.standin.server import free_port
from marks import soak
from sites import eventually
from terminal import Terminal

SURROUNDINGS = {
    "as usual": "{}",
    "standard input closed": "{} <&-",
    "standard output closed": "{} >&-",
    "standard error closed": "{} 2>&-",
    "all streams closed": "{} <&- >&- 2>&-",
    "a full pipe for output": "{} >/dev/full",
    "a full pipe for errors": "{} 2>/dev/full",
    "a working folder that is gone": "mkdir gone && cd gone && rmdir ../gone && {}",
    "no HOME": "env -u HOME {}",
    "an empty HOME": "HOME= {}",
    "a relative HOME": "HOME=somewhere {}",
    "relative XDG folders": "XDG_STATE_HOME=here XDG_CONFIG_HOME=there XDG_RUNTIME_DIR=nowhere {}",
    "the locale C": "LC_ALL=C LANG=C {}",
    "no environment at all": "env -i {}",
    "a rescue shell": "mkdir gone && cd gone && rmdir ../gone && env -u HOME {} <&- >&-",
}

QUIET = {"check", "deliver", "best", "failed", "init", "wake", "cluster", "lead"}
"""These print nothing to standard output, as they are called here."""


ONE_IS_ENOUGH = {"unhealthy_threshold": 1}


@pytest.fixture
def mesh(site, tmp_path):
    """Return a site with a node that refuses, checked, and a trace."""
    site.describe({"box": {"url": f"http://127.0.0.1:{free_port()}", "recovery": "none", **ONE_IS_ENOUGH}})
    site.check()
    (tmp_path / "trace.yml").write_text("nodes: {gpu1: {}}\nstory: [{at: 1m, nodes: {gpu1: hang}}]\n")
    return site


def test_every_command_is_tried_here() -> None:
    assert set(COMMANDS) == set(WORDS) | SERVES_FOR_EVER


OFTEN = ("a full pipe for output", "a rescue shell")
"""These are tried in `make test`: each takes as long as thirteen commands, and the last is several at once.

The others are tried in `make soak`, which says which of them it was.
"""


@pytest.mark.parametrize(
    "surroundings", [name if name in OFTEN else soak(name, name=name) for name in SURROUNDINGS]
)
def test_every_command_works_in_such_surroundings(mesh, tmp_path: Path, surroundings: str) -> None:
    for command, words in WORDS.items():
        given = [str(tmp_path / "trace.yml") if word == "TRACE" else word for word in words]
        line = SURROUNDINGS[surroundings].format(shlex.join(mesh.command(*given)))
        done = subprocess.run(
            ["/bin/sh", "-c", line],
            env=mesh.environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        said = f"{command}: exit status {done.returncode}: {done.stderr}"
        assert "Traceback" not in done.stderr, said
        assert "Exception ignored" not in done.stderr, said
        usual = STATUSES.get(command, {0})
        if surroundings == "a full pipe for output" and command not in QUIET:
            assert done.returncode in {1, 3}, said
            assert done.stderr.count("\n") == 1, said
            assert "No space left on device" in done.stderr, said
        else:
            assert done.returncode in usual, said
    found = {path.name for path in tmp_path.iterdir()}
    assert not {"here", "there", "nowhere", "somewhere", ".config", ".local"} & found, (
        "nothing is written there"
    )


@pytest.mark.parametrize(
    "surroundings",
    [
        soak(name, name=name)
        for name in (
            "all streams closed",
            "a full pipe for errors",
            "a working folder that is gone",
            "relative XDG folders",
            "no environment at all",
            "a rescue shell",
        )
    ],
)
def test_gpu_mesh_run_watches_in_such_surroundings_until_it_is_told_to_end(
    mesh, tmp_path: Path, surroundings: str
) -> None:
    before = mesh.state().tick.at
    errors = tmp_path / "errors"
    with errors.open("w") as file:
        running = subprocess.Popen(
            ["/bin/sh", "-c", SURROUNDINGS[surroundings].format(shlex.join(mesh.command("run")))],
            env=mesh.environment,
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=file,
            start_new_session=True,
        )
    try:
        assert eventually(lambda: mesh.state().tick.at > before), errors.read_text()
        os.killpg(running.pid, signal.SIGTERM)
        assert eventually(lambda: any("event=monitor_stopped" in line for line in mesh.log()))
        assert "Traceback" not in errors.read_text()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)
        running.wait()


@pytest.mark.parametrize(
    "surroundings",
    [soak(name, name=name) for name in ("a working folder that is gone", "a relative HOME", "the locale C")],
)
def test_the_live_view_works_in_such_surroundings(mesh, tmp_path: Path, surroundings: str) -> None:
    line = SURROUNDINGS[surroundings].format(shlex.join(mesh.command("top")))
    with Terminal(["/bin/sh", "-c", f"cd {tmp_path} && {line}"], mesh.environment) as terminal:
        assert terminal.shows("q leave"), terminal.said
        terminal.press("q")
        assert terminal.ends() == 0, terminal.said


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_the_demo_works_in_a_rescue_shell(mesh, tmp_path: Path) -> None:
    line = SURROUNDINGS["a rescue shell"].format(shlex.join([*mesh.program, "demo"]))
    done = subprocess.run(
        ["/bin/sh", "-c", line], env=mesh.environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
