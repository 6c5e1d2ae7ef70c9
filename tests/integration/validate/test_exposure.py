"""``gpu-mesh validate --exposure``: who else could reach the nodes, asked with real connections."""

import os
import subprocess
import sys

import pytest

from checkout import PROGRAMS
from gpu_mesh.standin.server import free_port

UNSHARE = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--net"]


@pytest.fixture
def in_public(site):
    """Return a function that runs the command where 1.2.3.4 and 1.2.3.5 are this machine's (in_public.sh)."""
    if subprocess.run([*UNSHARE, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this user may make no network of its own")

    def run(*words):
        wrapped = [*UNSHARE, PROGRAMS / "in_public.sh", sys.executable, *site.command(*words)]
        return subprocess.run(
            wrapped, env=site.environment, capture_output=True, text=True, timeout=60, check=False
        )

    return run


def test_a_node_behind_a_tunnel_that_anybody_can_use_is_named(site, in_public):
    tunnel = {"mesh_tunnel_host": "1.2.3.4", "mesh_tunnel_local_port": free_port()}
    far = {"ansible_connection": "ssh"}
    site.describe(
        {
            "pod": {"ansible_host": "1.2.3.4", **tunnel, **far},
            "ai": {"ansible_host": "1.2.3.5", **far},
            "lan": {"ansible_host": "192.168.1.20", "timeout": 1, **far},
        }
    )
    done = in_public("validate", "--exposure")
    assert done.returncode == 1, done.stderr
    lines = done.stdout.splitlines()
    assert lines[:2] == [
        "pod  http://1.2.3.4:11434  ANSWERS WITHOUT A LOGIN, 2 models",
        "ai   http://1.2.3.5:11434  asks for a login (HTTP 401 Unauthorized)",
    ]
    assert "EXPOSED: pod answers at http://1.2.3.4:11434" in done.stdout
    assert "EXPOSED: ai" not in done.stdout
    assert "192.168.1.20" not in done.stdout


def test_the_monitors_own_ollama_is_asked_for_at_its_public_address(site, in_public):
    site.describe({"local": {"url": "http://127.0.0.1:11434", "timeout": 2}})
    routed = ["sh", "-c", 'ip route add default dev lo src 1.2.3.4 && exec "$@"', "sh"]
    wrapped = [*UNSHARE, PROGRAMS / "in_public.sh", sys.executable, *routed]
    done = subprocess.run(
        [*wrapped, *site.command("validate", "--exposure")],
        env=site.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "local  http://1.2.3.4:11434  ANSWERS WITHOUT A LOGIN" in done.stdout, done.stderr
    assert done.returncode == 1


def test_versions_that_differ_are_named_and_one_version_is_fine(site, standin):
    new, old = standin(), standin()
    old.version = "0.11.10"
    dead = {"url": f"http://127.0.0.1:{free_port()}"}
    site.describe({"new": {"url": new.url}, "old": {"url": old.url}, "dead": dead})
    done = site.run("validate", "--exposure")
    assert done.returncode == 1
    assert "VERSIONS DIFFER: 0.12.6: new; 0.11.10: old\n  next: update Ollama on old" in done.stdout
    assert "No version is known of dead." in done.stdout
    old.version = new.version
    done = site.run("validate", "--exposure")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Ollama 0.12.6 everywhere." in done.stdout


def test_an_inventory_with_mistakes_asks_nobody(site, standin):
    server = standin()
    site.describe({"desk": {"url": server.url, "timeout": "soon"}})
    done = site.run("validate", "--exposure")
    assert (done.returncode, done.stdout) == (2, "")
    assert "desk" in done.stderr
    assert server.connections == 0


@pytest.mark.parametrize("other", [["--json"], ["--apprise", "x.yml"], ["--alertmanager", "x.yml"]])
def test_it_goes_with_no_other_question(site, standin, other):
    site.describe({"desk": {"url": standin().url}})
    done = site.run("validate", "--exposure", *other)
    assert (done.returncode, done.stdout) == (2, "")
    assert "leave out" in done.stderr
