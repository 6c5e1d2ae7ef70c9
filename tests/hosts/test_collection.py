"""The collection on a machine, from where there is no checkout and no index: to a green status, and back."""

import os
import subprocess
from pathlib import Path

import machines
import provision

from checkout import ROOT

NAME = "aurora.gpu_mesh"


def installed(folder: Path) -> Path:
    """Build the collection, install it without a network, and return the folder of collections."""
    galaxy = [provision.BIN / "ansible-galaxy", "collection"]
    environment = {**os.environ, "HOME": str(folder)}
    subprocess.run([*galaxy, "build", "--output-path", folder, ROOT], check=True, env=environment)
    (archive,) = folder.glob("*.tar.gz")
    there = folder / "collections"
    subprocess.run([*galaxy, "install", "--offline", "-p", there, archive], check=True, env=environment)
    return there


def test_the_collection_alone_provisions_a_mesh_that_is_watched(
    site: machines.Site, measured: list[str]
) -> None:
    operator = provision.Operator(site, site.folder / "collection")
    elsewhere = operator.folder / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "ansible.cfg").write_text("[defaults]\nstdout_callback = default\n")
    operator.checkout = elsewhere
    operator.environ["ANSIBLE_COLLECTIONS_PATH"] = str(installed(operator.folder))
    monitor, node = site.boot("guard17", "node17")
    try:
        provision.install_ollama(node, "0.0.0.0")
        operator.inventory = {
            "all": {"vars": {"ansible_user": "admin"}},
            "mesh_monitors": {
                "hosts": {
                    "guard17": {
                        "ansible_host": monitor.address,
                        "mesh_monitor_wheels": str(provision.wheels(site, "311")),
                        "mesh_monitor_check_interval": 2,
                    }
                }
            },
            "mesh_nodes": {"hosts": {"node17": {"ansible_host": node.address}}},
        }
        play = operator.play(f"{NAME}.site")
        measured.append(f"site of the collection: {play.seconds:.0f} s")
        machines.await_that(
            lambda: provision.status(monitor).get("node17", {}).get("status") == "healthy",
            60,
            "it is healthy",
        )
        assert monitor.ssh("gpu-mesh status", user="root", check=False).returncode == 0
        again = operator.play(f"{NAME}.site")
        assert again.recap("changed") == dict.fromkeys(again.recap("changed"), 0)
        looked = operator.play(f"{NAME}.recovery.restart_ollama", "-l", "node17", "--check")
        assert "answers" in looked.printed
        operator.play(f"{NAME}.uninstall", "-e", "delete_state_and_log=yes")
        assert monitor.out("systemctl list-unit-files --no-legend 'gpu-mesh*' || true") == ""  # 1: none
    finally:
        monitor.halt()
        node.halt()
