"""The configuration of load balancers: who gets requests, what is left out and why, what is secret."""

from typing import Any

import pytest
import yaml

from factories import behind, plain
from gpu_mesh.domain.mesh import Mesh, Node, Settings
from gpu_mesh.routing import haproxy, litellm, nginx

SECRET = "@/etc/gateway-token"
NODES = (
    plain("lan", url="http://10.0.0.2:11434"),
    plain("here", url="http://127.0.0.1:11434"),
    behind("pod", 8080),
    plain("six", url="http://[2001:db8::1]:11434"),
    plain(
        "proxy", url="https://gpu.example.net/ollama", ca_file="/etc/it's a ca.pem", headers={"X-A": "5% 'x'"}
    ),
    plain("gate", url="https://gate.example.net", headers={"Authorization": SECRET}),
    plain("off", enabled=False),
)
MESH = Mesh(NODES, Settings(haproxy=True, haproxy_models={"llama3.2:latest": 11501, "hf.co/x/y:q4": 0}))
MODELS = {node.key: ("llama3.2:latest",) for node in NODES}


def written(program: str, *, elsewhere: bool = False, mesh: Mesh = MESH) -> str:
    if program == "haproxy":
        return haproxy.config(mesh, {"lan": frozenset({"llama3.2:latest"})} if elsewhere else None)
    if program == "nginx":
        return nginx.config(mesh, elsewhere=elsewhere)
    return litellm.config(mesh, MODELS, elsewhere=elsewhere)


def lines(text: str, begin: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip().startswith(begin)]


@pytest.mark.parametrize("program", ["haproxy", "nginx", "litellm"])
def test_no_secret_is_printed_nor_where_it_is_and_what_is_left_out_says_why(program: str) -> None:
    text = written(program)
    assert SECRET.removeprefix("@") not in text
    assert "# Left out is gate: it wants the header Authorization, and a secret is not printed." in text
    assert "# Left out is off: it is disabled." in text
    assert "gate.example.net" not in text


@pytest.mark.parametrize("program", ["haproxy", "nginx", "litellm"])
def test_elsewhere_what_only_the_monitor_reaches_is_left_out(program: str) -> None:
    here, elsewhere = written(program), written(program, elsewhere=True)
    assert ":8080" in here
    assert ":8080" not in elsewhere
    assert "# Left out is pod: it is reached through a tunnel of the monitor." in elsewhere
    assert "# Left out is here: its URL is the monitor's loopback" in elsewhere
    assert "10.0.0.2:11434" in elsewhere


def test_elsewhere_haproxy_asks_no_agent_and_knows_models_from_the_last_check() -> None:
    text = written("haproxy", elsewhere=True)
    assert "agent" not in text
    models = text.partition("\nbackend gpu-mesh:model:llama3.2:latest")[2].partition("backend")[0]
    assert lines(models, "server") == ["server lan 10.0.0.2:11434 track gpu-mesh:any/lan"]


def test_haproxy_listens_on_loopback_unless_it_is_told_otherwise() -> None:
    assert lines(written("haproxy"), "bind") == [
        "bind 127.0.0.1:11435",
        "bind 127.0.0.1:11501",
        "bind abns@gpu-mesh/11435/proxy",
    ]
    wide = Mesh(NODES, Settings(haproxy_address="::", haproxy_port=80))
    assert lines(written("haproxy", mesh=wide), "bind")[0] == "bind [::]:80"


def test_haproxy_asks_the_agent_for_a_node_once_for_each_backend() -> None:
    assert lines(written("haproxy"), "server lan") == [
        r'server lan 10.0.0.2:11434 check agent-check agent-send "lan\n"',
        r'server lan 10.0.0.2:11434 track gpu-mesh:any/lan agent-check agent-send "lan@llama3.2:latest\n"',
        r'server lan 10.0.0.2:11434 track gpu-mesh:any/lan agent-check agent-send "lan@hf.co=x=y:q4\n"',
    ]


@pytest.mark.parametrize(("nodes", "models", "seconds"), [(3, 1, 2), (20, 0, 2), (20, 3, 8), (2000, 1, 60)])
def test_a_large_mesh_is_asked_about_ten_times_a_second_in_all_and_of_each_node_once_a_minute(
    nodes: int, models: int, seconds: int
) -> None:
    asked_for = {f"m{number}:latest": 0 for number in range(models)}
    many = Mesh(tuple(plain(f"n{number}") for number in range(nodes)), Settings(haproxy_models=asked_for))
    assert f"agent-inter {seconds}s" in written("haproxy", mesh=many)


def test_haproxy_never_cuts_off_what_a_node_works_on() -> None:
    text = written("haproxy")
    assert "shutdown-sessions" not in text
    assert "hard-stop-after" not in text
    assert "http-buffer-request" not in text.replace("no option http-buffer-request", "")


def test_a_certificate_is_checked_against_its_own_ca_and_name() -> None:
    (own,) = lines(written("haproxy"), "server proxy gpu.example.net")
    assert own.endswith(
        r"ssl verify required ca-file '/etc/it'\''s a ca.pem'"
        " sni str(gpu.example.net) verifyhost gpu.example.net"
    )
    of_system = plain("tls", url="https://10.0.0.5:8443")
    text = written("haproxy", mesh=Mesh((of_system,)))
    assert lines(text, "server tls 10") == ["server tls 10.0.0.5:8443 ssl verify required ca-file @system-ca"]


def test_nginx_leaves_out_what_wants_more_than_it_can_do() -> None:
    text = written("nginx")
    assert "# Left out is proxy: nginx sends all nodes the same path and headers, without TLS" in text
    assert [line.split()[1] for line in lines(text, "server ") if "{" not in line] == [
        "10.0.0.2:11434",
        "127.0.0.1:11434",
        "127.0.0.1:8080",
        "[2001:db8::1]:11434",
    ]


def entries(mesh: Mesh, models: dict[str, tuple[str, ...]]) -> list[dict[str, Any]]:
    found = yaml.safe_load(litellm.config(mesh, models, elsewhere=False))
    return found["model_list"]  # type: ignore[no-any-return]


def test_litellm_gets_every_model_of_every_node() -> None:
    nodes: tuple[Node, ...] = (NODES[0], NODES[4])
    found = entries(Mesh(nodes), {"lan": ("llama3.2:latest", "Qwen3:8b"), "proxy": ("yes",)})
    assert [(each["model_name"], each["litellm_params"]) for each in found] == [
        ("llama3.2:latest", {"model": "ollama_chat/llama3.2:latest", "api_base": "http://10.0.0.2:11434"}),
        ("Qwen3:8b", {"model": "ollama_chat/Qwen3:8b", "api_base": "http://10.0.0.2:11434"}),
        (
            "yes",
            {
                "model": "ollama_chat/yes",
                "api_base": "https://gpu.example.net/ollama",
                "extra_headers": {"X-A": "5% 'x'"},
            },
        ),
    ]
    assert len({each["model_info"]["id"] for each in found}) == 3


def test_litellm_says_of_which_node_no_model_is_known() -> None:
    text = litellm.config(Mesh(NODES[:1]), {}, elsewhere=False)
    assert "# Left out is lan: no model of it is known." in text
    assert yaml.safe_load(text)["model_list"] == []
