"""Roles used alone, in a play of somebody else's: what they look for before they change anything.

Only in check mode, for this is no machine to install anything on; tests/hosts has such machines.
"""

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from checkout import ROOT


def play(
    folder: Path, role: str, *, path: str = "", tunnel: int = 0, **variables: Any
) -> "subprocess.CompletedProcess[str]":
    """Run the role alone on this machine, in check mode; with a node's tunnel at that local port."""
    (folder / "play.yml").write_text(
        yaml.safe_dump([{"name": "Use it alone", "hosts": "all", "gather_facts": False, "roles": [role]}])
    )
    here = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, **variables}
    nodes = {"gpu1": {"mesh_tunnel_local_port": tunnel}} if tunnel else {}
    groups = {"mesh_monitors": {"hosts": {"monitor": here}}, "mesh_nodes": {"hosts": nodes}}
    (folder / "mesh.yml").write_text(yaml.safe_dump(groups))
    return subprocess.run(
        [
            *(Path(sys.executable).parent / "ansible-playbook", "--check", "-l", "monitor"),
            *("-i", folder / "mesh.yml", folder / "play.yml"),
        ],
        env={
            **os.environ,
            "ANSIBLE_ROLES_PATH": str(ROOT / "roles"),
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_NOCOLOR": "1",
            "PATH": f"{path}{os.environ['PATH']}",
        },
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_monitors_role_alone_refuses_a_host_that_lacks_what_it_needs(tmp_path: Path) -> None:
    done = play(tmp_path, "mesh_monitor", mesh_monitor_python="/nowhere/python3")
    assert "monitor: there is no /nowhere/python3; on Debian and Ubuntu, apt install" in done.stdout
    assert done.returncode == 2
    assert "TASK [mesh_monitor : Make the user that the monitor runs as]" not in done.stdout


def test_the_tunnels_role_alone_refuses_a_local_port_that_something_else_holds(tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        line = f'LISTEN 0 5 127.0.0.1:{port} 0.0.0.0:* users:(("other",pid={os.getpid()},fd=3))'
        (programs / "ss").write_text(f"#!/bin/sh\necho '{line}'\n")
        (programs / "ss").chmod(0o755)
        done = play(tmp_path, "mesh_tunnel", path=f"{programs}:", tunnel=port, mesh_monitor_scope="user")
    assert f"monitor: port {port}, which the tunnel of gpu1 is to have, is held by" in done.stdout
    assert done.returncode == 2
    assert "TASK [mesh_tunnel : See which tunnels there were]" not in done.stdout
