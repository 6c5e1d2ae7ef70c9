"""The wheel: what it installs works anywhere, with its own playbooks and templates."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
from pathlib import Path

import pytest

from checkout import ROOT
from gpu_mesh import __version__
from gpu_mesh.standin.server import free_port
from sites import end_all_with, eventually

SOURCES = ("checker", "playbooks", "pyproject.toml", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """Build the wheel, install it alone into an empty environment, and return the command.

    It is built of files without modes, as the role packs them.
    What it depends on comes from the environment of the tests, by a .pth file. That is left to its own .pth
    files there, so the checkout's package, which stands in one of them, is not found.
    """
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, copy_function=shutil.copyfile)
        else:
            shutil.copyfile(ROOT / name, source / name)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    offline = ["--no-deps", "--no-index"]
    subprocess.run([*pip, "wheel", *offline, "--no-build-isolation", "-w", folder, source], check=True)
    shutil.rmtree(source)
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "venv", symlinks=True)
    python = folder / "venv/bin/python"
    subprocess.run([*pip, "--python", python, "install", *offline, wheel], check=True)
    command = [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    packages = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    Path(packages, "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    (python.parent / "ansible-playbook").symlink_to(Path(sysconfig.get_path("scripts"), "ansible-playbook"))
    return folder / "venv/bin/gpu-mesh"


def test_uv_installs_it_as_a_tool_that_begins_a_mesh_and_has_its_playbooks(installed, standin, tmp_path):
    """What it depends on comes by a .pth file, as above: requirements are overridden by ones for nowhere."""
    (wheel,) = installed.parents[2].glob("*.whl")
    requirements = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    never = tmp_path / "never.txt"
    names = (re.match(r"[\w.-]+", each)[0] for each in requirements)
    never.write_text("".join(f"{name}; sys_platform == 'nowhere'\n" for name in names))
    tools = tmp_path / "bin"
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("UV_", "GPU_MESH_"))},
        "HOME": str(tmp_path),
        "UV_TOOL_DIR": str(tmp_path / "tools"),
        "UV_TOOL_BIN_DIR": str(tools),
        "UV_CACHE_DIR": str(tmp_path / "cache"),
    }
    here = {"check": True, "capture_output": True, "text": True, "env": environment, "cwd": tmp_path}
    uv = Path(sys.executable).with_name("uv")
    subprocess.run(
        [uv, "tool", "install", "--offline", "--python", sys.executable, "--overrides", never, wheel], **here
    )
    assert {path.name for path in tools.iterdir()} == {"gpu-mesh", "gpu-mesh-ssh"}
    (packages,) = (tmp_path / "tools").glob("gpu-mesh/lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    assert (packages / "gpu_mesh/playbooks/restart_ollama.yml").exists()
    options = [tools / "gpu-mesh", "-i", "mesh", "--state-dir", "state"]
    desk = f"desk=127.0.0.1:{standin().port}"
    environment["OLLAMA_HOST"] = f"127.0.0.1:{free_port()}"
    environment["GPU_MESH_CONFIG_DIR"] = str(tmp_path / "config")
    assert "1 node, no mistakes." in subprocess.run([*options, "init", desk], **here).stdout
    subprocess.run([*options, "check"], **here)
    assert "1 of 1 nodes healthy" in subprocess.run([*options, "status"], **here).stdout


def test_the_wheel_brings_its_playbooks_and_templates_and_not_the_tests(installed):
    (package,) = installed.parents[1].glob("lib/python*/site-packages/gpu_mesh")
    assert {path.name for path in (package / "delivery" / "templates").iterdir()} == {
        "alert_title.txt.j2",
        "alert_body.txt.j2",
        "alert_body.md.j2",
        "alert_body.html.j2",
        "digest_title.txt.j2",
        "digest_body.txt.j2",
        "digest_body.md.j2",
        "digest_body.html.j2",
    }
    ours = ROOT / "playbooks/recovery"
    assert {path.relative_to(package / "playbooks") for path in (package / "playbooks").rglob("*")} == {
        path.relative_to(ours) for path in ours.rglob("*")
    }
    assert not (package.parent / "tests").exists()


def test_the_wheel_brings_the_program_that_counts_what_ssh_prints_with_its_own_python(installed):
    program = installed.with_name("gpu-mesh-ssh")
    assert program.read_text().startswith(f"#!{program.parent}/python")
    elsewhere = {"PATH": "/usr/bin:/bin", "GPU_MESH_SSH": "/bin/echo"}
    said = subprocess.run([program, "-p", "22"], capture_output=True, text=True, check=True, env=elsewhere)
    assert said.stdout == "-p 22\n"


def test_the_installed_command_checks_alerts_and_recovers_from_any_working_directory(
    installed, site, receiver, tmp_path
):
    port = free_port()
    script = tmp_path / "ollama.sh"
    script.write_text(f"#!/bin/sh\nexec '{sys.executable}' -m gpu_mesh.standin --port {port}\n")
    script.chmod(0o700)
    node = {"name": "Desk", "url": f"http://127.0.0.1:{port}", "unhealthy_threshold": 1}
    site.describe({"desk": {**node, "recovery": "command", "recovery_command": str(script)}})
    site.alerts_go_to(receiver.url)
    site.program = [str(installed)]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    here = {"cwd": elsewhere}
    version = subprocess.run([installed, "--version"], capture_output=True, text=True, check=True, **here)
    assert version.stdout == f"gpu-mesh {__version__}\n"
    assert "1 node, watched by monitor, no mistakes" in site.ok("validate", **here)
    site.ok("check", "--deliver", **here)
    assert receiver.levels("Desk") == ["ERROR"]
    assert site.run("status", **here).returncode == 2
    try:
        assert site.run("recover", **here).returncode == 0, site.log()
        assert site.run("status", **here).returncode == 0, site.log()
        assert eventually(lambda: site.run("deliver", **here).returncode == 0)
        assert receiver.levels("Desk") == ["ERROR", "INFO"]
    finally:
        end_all_with(f"HOME={site.folder}")
    assert list(elsewhere.iterdir()) == []
