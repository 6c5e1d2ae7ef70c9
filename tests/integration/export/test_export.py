"""``gpu-mesh export`` prints what HAProxy, nginx and LiteLLM understand."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from balancer import program
from gpu_mesh.standin.server import Standin, free_port
from sites import Site

NODES: dict[str, dict[str, Any]] = {
    "lan": {"url": "http://10.0.0.2:11434"},
    "pod": {"mesh_tunnel_host": "pod.example.net", "mesh_tunnel_local_port": 8080},
    "proxy": {"url": "https://gpu.invalid/ollama", "headers": {"X-Team": "a % \"b\" 'c' #d \\n $E"}},
    "gate": {"url": "https://gate.invalid", "headers": {"Authorization": "@/etc/gateway-token"}},
    "off": {"url": "http://10.0.0.9:11434", "enabled": False},
}


@pytest.fixture
def described(site: Site) -> Site:
    site.describe(NODES, haproxy=True, haproxy_models={"llama3.2": 11501, "hf.co/Team/x:Q4_K_M": 0})
    return site


@pytest.mark.parametrize("options", [(), ("--elsewhere",)])
def test_haproxy_understands_what_is_printed_for_it(
    described: Site, tmp_path: Path, options: tuple[str, ...]
) -> None:
    """A name that cannot be resolved now is no reason not to start."""
    file = tmp_path / "haproxy.cfg"
    file.write_text(described.ok("export", "haproxy", *options))
    done = subprocess.run([program("haproxy"), "-c", "-f", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    warnings = [line for line in done.stderr.splitlines() if "WARNING" in line or "ALERT" in line]
    assert [line for line in warnings if "could not resolve address 'gpu.invalid'" not in line] == []


@pytest.mark.parametrize("options", [(), ("--elsewhere",)])
def test_nginx_understands_what_is_printed_for_it(
    described: Site, tmp_path: Path, options: tuple[str, ...]
) -> None:
    own = tmp_path / "mesh.conf"
    own.write_text(described.ok("export", "nginx", *options))
    whole = tmp_path / "nginx.conf"
    whole.write_text(
        f"pid {tmp_path}/pid; error_log stderr; events {{}} http {{ access_log off; include {own}; }}"
    )
    words = [program("nginx"), "-t", "-e", "stderr", "-p", str(tmp_path), "-c", str(whole)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_nginx_understands_a_mesh_without_a_node_that_it_can_use(site: Site, tmp_path: Path) -> None:
    site.describe({"off": NODES["off"]})
    test_nginx_understands_what_is_printed_for_it(site, tmp_path, ())


def test_litellm_gets_the_models_that_the_last_check_saw_or_else_the_expected_ones(
    site: Site, standin: Callable[..., Standin]
) -> None:
    node, down = standin(models=("a:latest", "b:1b")), f"http://127.0.0.1:{free_port()}"
    site.describe({"up": {"url": node.url}, "down": {"url": down, "expected_models": ["c"]}})
    site.check()
    found = yaml.safe_load(site.ok("export", "litellm"))
    pairs = [(each["model_name"], each["litellm_params"]["api_base"]) for each in found["model_list"]]
    assert pairs == [("a:latest", node.url), ("b:1b", node.url), ("c", down)]


@pytest.mark.parametrize("program_name", ["haproxy", "nginx", "litellm"])
def test_it_needs_no_check_before_it(described: Site, program_name: str) -> None:
    assert "gate" in described.ok("export", program_name)
