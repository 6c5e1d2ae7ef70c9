"""``gpu-mesh init``: from nothing to a mesh that is watched, with real servers and a real sshd."""

import getpass
import json
import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
import yaml

import private_sshd
from gpu_mesh.standin.server import free_port
from sites import Site, end_all_with


@pytest.fixture
def fresh(site: Site, closed_port: int) -> Site:
    """Return a site that has no inventory yet; on its machine no Ollama answers."""
    site.inventory = site.folder / "inventory"
    site.environment["OLLAMA_HOST"] = f"127.0.0.1:{closed_port}"
    return site


def refused(site: Site, *words: str) -> str:
    done = site.run("init", *words)
    assert (done.returncode, done.stdout) == (2, "")
    return done.stderr


def files_of(site: Site) -> set[str]:
    return {str(path.relative_to(site.folder)) for path in site.folder.rglob("*") if path.is_file()}


def test_the_ollama_of_this_machine_is_found_and_the_next_commands_work(fresh, standin):
    here = standin(models=("llama3.2:latest",))
    fresh.environment["OLLAMA_HOST"] = f"0.0.0.0:{here.port}"
    said = fresh.ok("init").splitlines()
    assert said[0].startswith(f"local  {here.url}  1 model in ")
    assert said[0].endswith(", Ollama 0.12.6")
    assert f"Wrote {fresh.inventory}/mesh.yml: 1 node, no mistakes." in said
    assert said[-1].startswith(f"Next: {fresh.typed} run ")
    fresh.ok("validate")
    fresh.check()
    assert [node["status"] for node in fresh.status()["nodes"]] == ["healthy"]


def test_further_nodes_are_asked_once_and_written_whether_they_answer_or_not(fresh, standin, closed_port):
    desk = standin(models=("qwen3:8b", "llama3.2:latest"))
    dead = free_port()
    said = fresh.ok("init", f"desk=127.0.0.1:{desk.port}", f"dead=http://127.0.0.2:{dead}")
    assert "desk  http://127.0.0.1:" in said
    assert "  2 models in " in said
    assert f"dead  http://127.0.0.2:{dead}  Connection refused\n  next: " in said
    assert "local" not in said, "nothing answers there"
    assert desk.paths.count("/api/tags") == 1
    hosts = yaml.safe_load((fresh.inventory / "mesh.yml").read_text())["mesh_nodes"]["hosts"]
    assert list(hosts) == ["desk", "dead"]


def test_a_node_that_is_far_and_refuses_is_told_what_ollama_needs_to_be_reached(fresh, closed_port, tmp_path):
    address = os.environ.get("GPU_MESH_TEST_ADDRESS") or own_address()
    said = fresh.ok("init", f"desk={address}:{closed_port}")
    assert f"next: set OLLAMA_HOST=0.0.0.0 for ollama.service on desk, or open port {closed_port}" in said


def own_address() -> str:
    """Return an address of this machine that is not loopback."""
    listed = subprocess.run(["ip", "-j", "-4", "addr"], capture_output=True, text=True, check=True).stdout
    found = [each["local"] for link in json.loads(listed) for each in link["addr_info"]]
    usable = [address for address in found if not address.startswith("127.")]
    if not usable:
        pytest.skip("this machine has no network but loopback")
    return usable[0]


def test_nothing_is_overwritten(fresh, standin):
    desk = f"desk=127.0.0.1:{standin().port}"
    fresh.paths.config.mkdir()
    alerts = fresh.paths.config / "apprise.yml"
    alerts.write_text("urls:\n  - json://127.0.0.1:9/mine\n")
    alerts.chmod(0o600)
    said = fresh.ok("init", desk)
    assert f"{alerts} is there already, and stays as it is." in said
    assert f"{alerts}: 1 URL, no mistakes" in said
    before = {path: path.read_bytes() for path in (alerts, fresh.inventory / "mesh.yml")}
    assert "init overwrites nothing" in refused(fresh, desk)
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize("there", ["a file", "a folder with a file", "a link that leads nowhere"])
def test_whatever_is_in_the_place_of_the_inventory_stays(fresh, standin, there):
    place = fresh.inventory
    if there == "a file":
        place.write_text("[mesh_nodes]\n")
    elif there == "a folder with a file":
        place.mkdir()
        (place / "hosts.ini").write_text("[mesh_nodes]\n")
    else:
        place.symlink_to(fresh.folder / "nowhere")
    before = files_of(fresh)
    assert f"there is an inventory already, {place}, and init overwrites nothing" in refused(
        fresh, f"desk=127.0.0.1:{standin().port}"
    )
    assert files_of(fresh) == before


def test_an_empty_folder_is_as_good_as_none_and_a_file_may_be_named(fresh, standin):
    desk = f"desk=127.0.0.1:{standin().port}"
    fresh.inventory.mkdir()
    fresh.ok("init", desk)
    fresh.inventory = fresh.folder / "other.yml"
    fresh.ok("init", desk)
    assert "desk" in fresh.inventory.read_text()


def test_without_any_node_nothing_is_written(fresh):
    said = refused(fresh)
    assert "no Ollama answers on this machine (http://127.0.0.1:" in said
    assert said.endswith(f"name one: {fresh.typed} init desk=192.168.1.20\n")
    assert files_of(fresh) == set()


def test_wrong_words_are_told_all_at_once_and_nothing_is_written(fresh):
    said = refused(fresh, "desk", "pod=root@", "gpu1=192.168.1.20")
    assert len(said.splitlines()) == 2
    assert "desk: write NAME=HOST" in said
    assert "pod: '' is no host's name or address" in said
    assert files_of(fresh) == set()


def test_the_file_for_alerts_is_for_this_user_alone_and_has_no_mistakes(fresh, standin):
    said = fresh.ok("init", f"desk=127.0.0.1:{standin().port}")
    alerts = fresh.paths.config / "apprise.yml"
    assert f"Wrote {alerts}: fill in who is told of trouble; until then nobody is." in said
    assert stat.S_IMODE(alerts.stat().st_mode) == 0o600
    assert fresh.ok("validate", "--apprise", str(alerts)).endswith(f"{alerts}: no URL, no mistakes\n")
    example = "".join(
        line.removeprefix("# ")
        for line in alerts.read_text().splitlines(keepends=True)
        if "  " in line or "# urls" in line
    )
    assert len(yaml.safe_load(example)["urls"]) == 2, "the examples are right once the signs are gone"


@pytest.fixture
def ssh(fresh: Site, tmp_path: Path):
    """Have the commands use ssh with a configuration of the test's own; return the port of an sshd."""
    if not private_sshd.PROGRAM.exists():
        pytest.skip("there is no sshd")
    folder, port = tmp_path / "sshd", free_port()
    folder.mkdir()
    programs = tmp_path / "programs"
    programs.mkdir()
    wrapper = programs / "ssh"
    real = shutil.which("ssh")
    options = f"-F none -o IdentitiesOnly=yes -i {folder}/user -o UserKnownHostsFile={folder}/known"
    wrapper.write_text(f'#!/bin/sh\nexec {real} {options} "$@"\n')
    wrapper.chmod(0o755)
    fresh.environment["PATH"] = f"{programs}:{fresh.environment['PATH']}"
    with private_sshd.serving(folder, port):
        yield folder, port


def pod(port: int) -> str:
    return f"pod={getpass.getuser()}@127.0.0.1:{port}"


@pytest.fixture
def far(standin):
    """Return a stand-in at the port at which Ollama is expected behind a tunnel, or skip."""
    try:
        return standin(port=11434, models=("qwen3:8b",))
    except OSError:
        pytest.skip("port 11434 is taken on this machine")


@pytest.mark.usefixtures("far")
def test_a_node_behind_a_tunnel_is_asked_through_it_and_the_tunnel_is_closed_again(fresh, ssh):
    _, port = ssh
    said = fresh.ok("init", pod(port))
    assert "pod  tunnel to 127.0.0.1  1 model in " in said
    (node,) = yaml.safe_load((fresh.inventory / "mesh.yml").read_text())["mesh_nodes"]["hosts"].values()
    local = node["mesh_tunnel_local_port"]
    fresh.check()
    assert [each["cause"] for each in fresh.status()["nodes"]] == ["tunnel_down"], (
        "init leaves nothing running"
    )
    try:
        fresh.ok("recover", "pod", "--force")
        fresh.check()
        assert [each["status"] for each in fresh.status()["nodes"]] == ["healthy"], fresh.log()
    finally:
        end_all_with(f"HOME={fresh.folder}")
    assert local >= 8080


TROUBLE = [
    # what is done to ssh → what is said
    pytest.param(
        lambda folder: (folder / "known").write_text(""), "ssh does not know 127.0.0.1 yet", id="key"
    ),
    pytest.param(
        lambda folder: (folder / "authorized").write_text(""),
        "ssh cannot log in without a password: ssh-copy-id -p ",
        id="login",
    ),
]


@pytest.mark.parametrize(("spoil", "expected"), TROUBLE)
def test_a_tunnel_that_cannot_be_opened_says_why_and_the_node_is_written(fresh, ssh, spoil, expected):
    folder, port = ssh
    spoil(folder)
    said = fresh.ok("init", pod(port))
    assert f"pod  tunnel to 127.0.0.1  no tunnel: {expected}" in said
    assert "mesh_tunnel_local_port" in (fresh.inventory / "mesh.yml").read_text()


def test_a_tunnel_to_where_no_sshd_is_says_so(fresh, ssh):
    said = fresh.ok("init", pod(free_port()))
    assert "no tunnel: nothing answers at the ssh port of 127.0.0.1" in said
