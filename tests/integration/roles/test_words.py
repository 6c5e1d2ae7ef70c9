"""The role's completions and man page, put in place and taken away by real Ansible, in their own home."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from checkout import ROOT

ROLE = ROOT / "roles/mesh_monitor"
FILES = (
    "bash-completion/completions/gpu-mesh",
    "zsh/site-functions/_gpu-mesh",
    "fish/vendor_completions.d/gpu-mesh.fish",
    "man/man1/gpu-mesh.1",
)
REMOVED = "Remove completions and man page"


@pytest.fixture
def play(tmp_path: Path):
    """Return a function that runs tasks of the role here; it returns how many changed something."""

    def run(tasks: list[dict], *options: str) -> int:
        playbook = tmp_path / "play.yml"
        own = {
            "ansible_python_interpreter": sys.executable,
            "mesh_monitor_scope": "user",
            "__mesh_monitor_home": str(tmp_path),
            "__mesh_monitor_command": str(Path(sys.executable).parent / "gpu-mesh"),
        }
        files = [str(ROLE / "vars/main.yml")]
        whole = {
            "hosts": "localhost",
            "gather_facts": False,
            "vars_files": files,
            "tasks": tasks,
        }
        playbook.write_text(yaml.safe_dump([whole]))
        program = Path(sys.executable).parent / "ansible-playbook"
        environment = {**os.environ, "ANSIBLE_NOCOLOR": "1", "HOME": str(tmp_path), "TERM": "dumb"}
        command = [program, "-i", "localhost,", "-c", "local", "-e", json.dumps(own), *options, playbook]
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, cwd=tmp_path
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return int(re.findall(r"changed=(\d+)", done.stdout)[-1])

    return run


@pytest.mark.soak
def test_completions_and_man_page_are_put_where_shells_look_and_taken_away(tmp_path: Path, play) -> None:
    put = [{"include_tasks": str(ROLE / "tasks/words.yml")}]
    share = tmp_path / ".local/share"
    (share / "man").mkdir(parents=True, mode=0o750)
    play(put, "--check")
    assert not any((share / name).exists() for name in FILES)
    umask = os.umask(0o077)
    try:
        assert play(put * 2) == 2, "the second time nothing changes"
    finally:
        os.umask(umask)
    for name in FILES:
        assert (share / name).stat().st_mode & 0o777 == 0o644
        assert "gpu-mesh" in (share / name).read_text()
    assert (share / "fish").stat().st_mode & 0o777 == 0o755
    assert (share / "man").stat().st_mode & 0o777 == 0o750, "what was there stays as it was"
    assert subprocess.run(["bash", "-n", share / FILES[0]], check=False).returncode == 0
    tasks = yaml.safe_load((ROLE / "tasks/uninstall.yml").read_text())
    (removal,) = [task for task in tasks if task["name"] == REMOVED]
    assert play([removal] * 2) == 1
    assert not any((share / name).exists() for name in FILES)


def test_a_command_that_writes_none_is_passed_over(tmp_path: Path, play) -> None:
    put = [{"include_tasks": str(ROLE / "tasks/words.yml")}]
    assert play(put, "-e", "__mesh_monitor_command=/no/such/program") == 0
    assert not (tmp_path / ".local/share/fish").exists()
