"""The real HAProxy, set up as the role does it, in front of nodes that drain, hang, fail and come back."""

import json
import signal
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme

from balancer import ANY, Balancer, Process, asked, pieces_of
from gpu_mesh.standin import server
from gpu_mesh.standin.server import Standin, free_port
from sites import Site, eventually

Balance = Callable[..., Balancer]
Standins = Callable[..., Standin]
OF_MODEL = "gpu-mesh:model:{}"


class Streams:
    """Lets streams stop after their first piece, until they are let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        monkeypatch.setattr(server, "PAUSE", 10_000.0)

    def go_on(self, *nodes: Standin) -> None:
        self._monkeypatch.setattr(server, "PAUSE", 0.0)
        for node in nodes:
            node.fault = "slow:0"  # a change of the fault ends every wait


@pytest.fixture
def streams(monkeypatch: pytest.MonkeyPatch) -> Streams:
    return Streams(monkeypatch)


def expected(pieces: int, begin: int = 0) -> str:
    return "".join(f"{number} " for number in range(begin, pieces))


def test_each_piece_of_an_answer_comes_at_once(balance: Balance, standin: Standins, streams: Streams) -> None:
    node = standin()
    with balance(a=node).streaming(50) as answer:
        first = json.loads(answer.readline())  # the others do not exist yet
        assert (first["response"], first["done"]) == ("0 ", False)
        streams.go_on(node)
        assert pieces_of(answer) == expected(50, begin=1)


def test_a_drained_node_loses_no_byte_of_what_it_works_on_and_gets_nothing_new(
    balance: Balance, standin: Standins, streams: Streams, site: Site
) -> None:
    nodes = {"a": standin(), "b": standin()}
    balancer = balance(**nodes)
    with balancer.streaming(500) as answer:
        answer.readline()
        works, other = sorted(nodes, key=lambda key: len(nodes[key].generated), reverse=True)
        site.ok("drain", works, "--for", "1h", "--reason", "a new card")
        site.ok("publish")
        balancer.await_state(works, "DRAIN")
        for _ in range(10):
            assert balancer.ask().status == 200
        assert asked(nodes[works], nodes[other]) == [1, 10]
        streams.go_on(nodes[works])
        assert pieces_of(answer) == expected(500, begin=1)
    site.ok("undrain", works)
    site.ok("publish")
    balancer.await_state(works, "UP")


def test_new_settings_cut_nothing_off(balance: Balance, standin: Standins, streams: Streams) -> None:
    node, other = standin(), standin()
    balancer = balance(a=node)
    with balancer.streaming(500) as answer:
        answer.readline()
        settings = balancer.folder / "haproxy.cfg"
        settings.write_text(settings.read_text().replace(str(node.port), str(other.port)))
        balancer.reload()
        assert eventually(lambda: balancer.ask().status == 200 and other.generated), balancer.log
        streams.go_on(node)
        assert pieces_of(answer) == expected(500, begin=1)


def test_when_nobody_watches_any_more_requests_go_on_to_every_node(
    balance: Balance, standin: Standins, site: Site
) -> None:
    nodes = standin(), standin()
    balancer = balance(a=nodes[0], b=nodes[1])
    site.ok("drain", "a", "--for", "1h", "--reason", "a new card")
    site.ok("publish")
    balancer.await_state("a", "DRAIN")
    balancer.nobody_watches()
    balancer.await_state("a", "UP")
    assert balancer.state("a").weight == 100
    for _ in range(10):
        assert balancer.ask().status == 200
    assert min(asked(*nodes)) > 0


def test_without_the_agent_requests_go_on_and_haproxy_s_own_check_decides(
    balance: Balance, standin: Standins, process: Callable[..., Process]
) -> None:
    node, other = standin(), process()
    balancer = balance(a=node, b=other)
    balancer.stop_agent()
    other.end()
    balancer.await_state("b", "DOWN")
    for _ in range(10):
        assert balancer.ask().status == 200
    other.start()
    balancer.await_state("b", "UP")


def test_a_node_that_hangs_is_out_with_the_second_failed_check_and_comes_back(
    balance: Balance, standin: Standins, process: Callable[..., Process]
) -> None:
    node, hung = standin(), process()
    balancer = balance(a=node, hung=hung)
    balancer.await_state("hung", "UP")
    hung.signal(signal.SIGSTOP)
    balancer.await_state("hung", "DOWN")
    assert balancer.state("hung").failed_checks == 2
    for _ in range(10):
        assert balancer.ask().status == 200
    assert len(node.generated) == 10
    hung.signal(signal.SIGCONT)
    balancer.await_state("hung", "UP")


def test_a_request_that_meets_a_refusing_node_is_tried_at_another_one(
    balance: Balance, standin: Standins, process: Callable[..., Process]
) -> None:
    refusing = process()
    balancer = balance(a=standin(), refusing=refusing)
    refusing.end()
    assert [balancer.ask().status for _ in range(20)] == [200] * 20


def test_a_node_s_score_is_its_weight(balance: Balance, standin: Standins, site: Site) -> None:
    node = standin()
    balancer = balance(a=node, b=standin())
    node.fault = "http_500"
    site.check()
    node.fault = "none"
    balancer.publish()
    shown = {each["node"]: round(each["score"]) for each in site.status()["nodes"]}
    assert 1 < shown["a"] < shown["b"] == 100
    assert eventually(lambda: balancer.state("a").weight == shown["a"])
    assert balancer.state("b").weight == 100


def test_a_model_is_chosen_by_header_or_port_and_goes_to_the_nodes_that_have_it(
    balance: Balance, standin: Standins
) -> None:
    port = free_port()
    small, large = standin(models=("small:latest",)), standin(models=("large:70b",))
    balancer = balance({"small": 0, "large:70b": port}, a=small, b=large)
    balancer.await_state("a", "DRAIN", backend=OF_MODEL.format("large:70b"))
    balancer.await_state("b", "DRAIN", backend=OF_MODEL.format("small:latest"))
    for _ in range(5):
        assert balancer.ask(model="small:latest", **{"X-Gpu-Mesh-Model": "Small"}).status == 200
        assert balancer.ask(model="large:70b", **{"X-Gpu-Mesh-Model": "large:70b"}).status == 200
        assert balancer.ask(model="large:70b", port=port).status == 200
    assert asked(small, large) == [5, 10]
    unknown = balancer.ask(**{"X-Gpu-Mesh-Model": "gpt-oss"})
    assert unknown.status == 404
    assert "mesh_monitor_haproxy_models" in json.loads(unknown.text)["error"]
    balancer.nobody_watches()  # a node that does not have the model cannot serve it, whoever watches
    balancer.await_state("b", "UP")
    assert balancer.state("b", OF_MODEL.format("small:latest")).state == "DRAIN"


def test_a_node_that_gets_a_model_gets_its_requests(balance: Balance, standin: Standins) -> None:
    node = standin(models=("small:latest",))
    balancer = balance({"new": 0}, a=node)
    balancer.await_state("a", "DRAIN", backend=OF_MODEL.format("new:latest"))
    none = balancer.ask(model="new:latest", **{"X-Gpu-Mesh-Model": "new"})
    assert none.status == 503
    assert "gpu-mesh status" in json.loads(none.text)["error"]
    node.models = ("small:latest", "new:latest")
    balancer.publish()
    balancer.await_state("a", "UP", backend=OF_MODEL.format("new:latest"))
    assert balancer.ask(model="new:latest", **{"X-Gpu-Mesh-Model": "new"}).status == 200


def test_a_node_behind_a_proxy_gets_the_name_the_path_and_the_headers_that_it_wants(
    balance: Balance, standin: Standins, tmp_path: Path
) -> None:
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "the ca.pem")
    node = standin(tls=context, prefix="/ollama")
    url = f"https://localhost:{node.port}/ollama"
    wanted = {"X-Team": '100% of "it\'s" #1 $HOME'}
    balancer = balance(a={"url": url, "ca_file": str(tmp_path / "the ca.pem"), "headers": wanted})
    assert balancer.ask().status == 200
    got = {name.lower(): value for name, value in node.headers.items()}
    assert (got["x-team"], got["host"]) == (wanted["X-Team"], f"localhost:{node.port}")
    balancer.await_state("a", "UP")


def test_a_certificate_of_another_ca_is_refused(balance: Balance, standin: Standins, tmp_path: Path) -> None:
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
    node = standin(tls=context)
    balancer = balance(a={"url": f"https://localhost:{node.port}", "ca_file": str(tmp_path / "other.pem")})
    balancer.await_state("a", "DOWN")
    assert balancer.ask().status == 503
    assert not node.generated


def test_who_asks_and_goes_away_keeps_no_node_busy(balance: Balance, standin: Standins) -> None:
    node = standin()
    balancer = balance(a=node)
    node.fault = "hung_runner"  # answers checks, but never a request for text
    connection = balancer.begin()
    assert eventually(lambda: balancer.state("a").at_work == 1)
    connection.close()
    assert eventually(lambda: balancer.state("a").at_work == 0)


def test_a_node_that_hangs_at_work_is_drained_by_what_the_monitor_knows(
    balance: Balance, standin: Standins, site: Site
) -> None:
    """HAProxy's own check is of the server; what serves nothing though it answers, the monitor knows."""
    node = standin()
    balancer = balance(a=node, b=standin())
    balancer.await_state("a", "UP")
    node.fault = "no_models"
    balancer.publish()
    balancer.await_state("a", "DRAIN")
    assert balancer.state("b", ANY).state == "UP"
