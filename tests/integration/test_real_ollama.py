"""A real Ollama, observed."""

import os
import shutil
import subprocess
import time

import pytest

from gpu_mesh.mesh import Node
from gpu_mesh.observation import Fault
from gpu_mesh.probe import observe

pytestmark = [
    pytest.mark.real_ollama,
    pytest.mark.skipif(shutil.which("ollama") is None, reason="there is no `ollama` on PATH"),
]


@pytest.fixture
def ollama(tmp_path, closed_port):
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "OLLAMA_MODELS": str(tmp_path / "models"),
        "OLLAMA_HOST": f"127.0.0.1:{closed_port}",
    }
    with subprocess.Popen(
        ["ollama", "serve"], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as server:
        node = Node(key="alpha", name="Alpha", url=f"http://127.0.0.1:{closed_port}", timeout=5.0)
        try:
            until = time.monotonic() + 30
            while probe(node).tags.fault is Fault.REFUSED and time.monotonic() < until:
                time.sleep(0.05)
            yield node, server
        finally:
            server.terminate()


def probe(node):
    return observe(node, time.time(), ask_version=True, trust_env=False)


def test_a_real_ollama_is_healthy_and_tells_its_version_and_its_clock(ollama):
    seen = probe(ollama[0])
    assert (seen.tags.fault, seen.tags.status, seen.models) == (None, 200, ())
    assert (seen.ps.fault, seen.ps.status, seen.loaded) == (None, 200, ())
    said = subprocess.run(["ollama", "--version"], capture_output=True, text=True, timeout=30, check=False)
    assert seen.version
    assert seen.version in said.stdout + said.stderr
    assert abs(seen.node_clock - time.time()) < 5


def test_a_real_ollama_that_is_stopped_refuses(ollama):
    node, server = ollama
    server.terminate()
    server.wait(timeout=30)
    assert probe(node).tags.fault is Fault.REFUSED
