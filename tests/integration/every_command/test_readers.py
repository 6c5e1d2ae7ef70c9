"""Who may look at an installed monitor, what they see, and what everybody else is told to type."""

import grp
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from checkout import PROGRAMS
from gpu_mesh.standin.server import Standin
from gpu_mesh.storage import mesh_file
from marks import soak

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

OWNER = 12345
NOBODY, NOGROUP = 65534, 65534
READERS = "users"
SECRETS = ("hunter2", "heartbeat99", "command99")


class Monitor:
    """The folders of an installed monitor, with the permissions that site.yml gives them."""

    def __init__(self, folder: Path, url: str) -> None:
        folder.chmod(0o755)
        self.config, self.state, self.log = folder / "etc", folder / "state", folder / "log"
        self.readers = grp.getgrnam(READERS).gr_gid
        for path, group, mode in (
            (self.config, OWNER, 0o755),
            (self.config / "inventory", OWNER, 0o750),
            (self.state, self.readers, 0o2750),
            (self.log, self.readers, 0o2750),
        ):
            path.mkdir()
            os.chown(path, 0, group)
            path.chmod(mode)
        (self.config / "environment").write_text(
            f"GPU_MESH_CONFIG_DIR={self.config}\nGPU_MESH_STATE_DIR={self.state}\nGPU_MESH_LOG_DIR={self.log}\n"
        )
        own = {"ansible_connection": "local", "mesh_monitor_heartbeat_url": "http://127.0.0.1:9/heartbeat99"}
        desk = {
            "ansible_connection": "local",
            "mesh_node_url": url,
            "mesh_node_recovery": "command",
            "mesh_node_recovery_command": "command99",
            "mesh_node_headers": {"X-Plan": "hunter2"},
        }
        inventory = self.config / "inventory/mesh.yml"
        inventory.write_text(
            json.dumps({"mesh_monitors": {"hosts": {"m": own}}, "mesh_nodes": {"hosts": {"desk": desk}}})
        )
        os.chown(inventory, 0, OWNER)
        inventory.chmod(0o640)
        # By root, because the monitor's user may be unable to start Ansible out of this checkout. Later the
        # inventory comes out of the cache.
        done = self.as_root("check", umask=0o077)
        assert done.returncode == 0, done.stderr
        for path in (self.state, *self.state.rglob("*"), self.log, *self.log.rglob("*")):
            mode = path.stat().st_mode
            os.chown(path, OWNER, -1)
            path.chmod(stat.S_IMODE(mode))  # which chown may have taken the bit of the group from

    def run(self, uid, groups, *command, umask=0o022):
        groups = ",".join(map(str, groups))
        return subprocess.run(
            [sys.executable, PROGRAMS / "run_as.py", str(uid), groups, self.config, *command],
            capture_output=True,
            text=True,
            umask=umask,
            cwd="/",
        )

    def as_root(self, *command, **options):
        return self.run(0, [0], *command, **options)

    def as_reader(self, *command):
        return self.run(NOBODY, [NOGROUP, self.readers], *command)

    def as_other(self, *command):
        return self.run(NOBODY, [NOGROUP], *command)


@pytest.fixture(scope="module")
def monitor():
    folder = Path(tempfile.mkdtemp())  # of pytest's own folder others see nothing
    with Standin() as desk:
        yield Monitor(folder, desk.url)
    shutil.rmtree(folder)


def test_what_readers_see_is_theirs_and_the_rest_is_not(monitor):
    found = {path.name: path.stat() for path in (*monitor.state.iterdir(), *monitor.log.iterdir())}
    modes = {name: (seen.st_gid, oct(stat.S_IMODE(seen.st_mode))) for name, seen in found.items()}
    theirs = (monitor.readers, "0o640")
    assert modes == {
        **dict.fromkeys(("state.json", "mesh.json", "history.db", "publish.wanted", "gpu-mesh.log"), theirs),
        "state.lock": (monitor.readers, "0o600"),
        "cache": (monitor.readers, "0o2700"),
    }
    theirs_too = (*monitor.state.glob("*.json"), monitor.state / "history.db", *monitor.log.iterdir())
    shown = b"".join(path.read_bytes() for path in theirs_too)
    assert [secret for secret in SECRETS if secret.encode() in shown] == []


@pytest.mark.parametrize(
    "command",
    [
        *("status", "status --json", "status desk", "dashboard", "alerts list", "history"),
        *(soak(words, name=words) for words in ("best", "stats", "stats --json", "silence list")),
        *(soak(words, name=words) for words in ("incidents", "report", "stats --since 7d")),
    ],
)
def test_a_reader_sees_what_root_sees_and_writes_nothing(monitor, command):
    root = monitor.as_root(*command.split())
    before = monitor.log.joinpath("gpu-mesh.log").read_bytes()
    reader = monitor.as_reader(*command.split())
    assert (reader.returncode, reader.stderr) == (0, "")
    assert monitor.log.joinpath("gpu-mesh.log").read_bytes() == before
    if command.endswith("--json"):
        mine, roots = json.loads(reader.stdout), json.loads(root.stdout)
        assert mine.pop("at") >= roots.pop("at")
        assert mine == roots
    else:
        mine, roots = (
            [re.sub(r"\d+ s\b", "…", line) for line in each.stdout.splitlines()] for each in (reader, root)
        )
        assert mine[1:] == roots[1:]
        assert reader.stdout


@pytest.mark.parametrize(
    "command",
    [
        "silence add desk --for 2h --reason 'driver update'",
        "silence end 1",
        "check --deliver",
        "deliver",
        "recover desk --force",
        "alerts test",
        "validate",
    ],
)
def test_a_reader_may_not_act_and_is_told_the_command(monitor, command):
    done = monitor.as_reader(*[part.strip("'") for part in command.replace("driver update", "x").split()])
    typed = command.replace("'driver update'", "x")
    assert done.returncode == 2
    assert done.stderr == f"gpu-mesh: only root and gpu-mesh may do this: sudo gpu-mesh {typed}\n"


@pytest.mark.parametrize(("command", "code"), [("status", 3), ("best --model a", 2), ("silence list", 2)])
def test_everybody_else_is_told_in_one_line_how_to_look(monitor, command, code):
    done = monitor.as_other(*command.split())
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr == (
        f"gpu-mesh: only root and the group {READERS} (sudo usermod -aG {READERS} nobody, then log in again) "
        f"may look at this monitor: sudo gpu-mesh {command}\n"
    )


def test_where_nobody_is_a_reader_only_the_command_is_told(monitor):
    monitor.state.chmod(0o700)
    done = monitor.as_other("status")
    monitor.state.chmod(0o2750)
    assert done.stderr == "gpu-mesh: only root and gpu-mesh may look at this monitor: sudo gpu-mesh status\n"


def test_whoever_names_folders_of_their_own_is_not_stopped(monitor, tmp_path):
    done = monitor.as_other("-i", "/nonexistent", "status")
    assert "the inventory cannot be used" in done.stderr


def test_before_the_first_check_of_this_version_a_reader_is_told_to_wait(monitor):
    mesh = monitor.state / "mesh.json"
    kept = mesh.read_bytes()
    mesh.unlink()
    done = monitor.as_reader("status")
    assert done.stderr == "gpu-mesh: this version has made no check yet: try again after the next one\n"
    assert monitor.as_root("check").returncode == 0
    assert mesh.read_bytes() == kept
    assert mesh_file.read(monitor.state) is not None
