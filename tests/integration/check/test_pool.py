"""Many nodes at once: the slowest sets the time, and none disturbs another."""

import re
import resource
import threading
import time
from collections.abc import Sequence

import pytest

from gpu_mesh.domain.mesh import Node
from gpu_mesh.domain.observation import Fault, Observation, Reply
from gpu_mesh.probe.ollama import observe
from gpu_mesh.probe.pool import observe_all


def never(_: Node) -> bool:
    return False


def nodes_at(*urls: str, timeout: float = 1.5, prefix: str = "node") -> list[Node]:
    return [
        Node(key=f"{prefix}{number}", name=prefix, url=url, timeout=timeout)
        for number, url in enumerate(urls)
    ]


def all_of(nodes: Sequence[Node], **settings) -> dict[str, Observation]:
    return observe_all(nodes, 1000.0, **{"ask_version": never, "trust_env": False, **settings})


def test_no_nodes_give_no_observations():
    assert all_of([]) == {}


def test_observations_come_in_the_order_of_the_nodes(standin):
    nodes = nodes_at(*[standin(fault=f"slow:{seconds}").url for seconds in ("0.3", "0.1", "0")])
    found = all_of(nodes)
    assert list(found) == ["node0", "node1", "node2"]
    assert all(seen.tags.fault is None for seen in found.values())


def test_only_the_nodes_that_are_due_are_asked_for_their_version(standin):
    nodes = nodes_at(standin().url, standin().url)
    found = all_of(nodes, ask_version=lambda node: node.key == "node1")
    assert [seen.version for seen in found.values()] == [None, "0.12.6"]


def test_a_hundred_silent_nodes_and_three_healthy_ones_take_one_timeout(standin, silent_port):
    healthy = nodes_at(standin().url, standin().url, standin().url, timeout=2.0, prefix="healthy")
    silent = nodes_at(*[f"http://127.0.0.1:{silent_port}"] * 100, timeout=2.0, prefix="silent")
    began = time.monotonic()
    found = all_of([*silent, *healthy])
    assert time.monotonic() - began < 2.0 + 2.0
    assert [found[node.key].tags.fault for node in healthy] == [None] * 3
    assert {found[node.key].tags.fault for node in silent} == {Fault.CONNECT_TIMEOUT}


def test_many_hundred_silent_nodes_take_one_timeout_too():
    nodes = nodes_at(*["http://127.0.0.1"] * 700, timeout=60.0)
    all_at_once = threading.Barrier(700)

    def silent(node: Node) -> Observation:
        all_at_once.wait(60.0)  # nobody goes on before all of them wait
        return Observation(node.key, 0.0, Reply(Fault.READ_TIMEOUT))

    found = all_of(nodes, probe=silent)
    assert {seen.tags.fault for seen in found.values()} == {Fault.READ_TIMEOUT}
    assert not all_at_once.broken


def test_every_kind_of_bad_node_at_once_leaves_the_good_ones_alone(standin, closed_port, silent_port):
    good = nodes_at(*[standin().url for _ in range(3)], prefix="good")
    faults = ("hang", "drip", "huge", "endless_headers", "reset", "half_body", "gzip_bomb", "deep_json")
    bad = nodes_at(
        *[standin(fault=fault).url for fault in faults],
        f"http://127.0.0.1:{closed_port}",
        f"http://127.0.0.1:{silent_port}",
        "http://no-such-host.invalid",
        "nonsense",
        prefix="bad",
    )
    found = all_of([*bad, *good])
    assert all(found[node.key].tags.fault is None for node in good)
    assert all(found[node.key].tags.fault is not None for node in bad)


@pytest.mark.parametrize(
    ("error", "fault"),
    [(ZeroDivisionError, Fault.BROKEN), (MemoryError, Fault.MONITOR), (OSError, Fault.MONITOR)],
)
def test_a_probe_that_breaks_disturbs_nobody(standin, error, fault):
    nodes = nodes_at(*[standin().url] * 40)

    def breaking(node: Node) -> Observation:
        if node.key == "node7":
            raise error("with a secret in it")
        return observe(node, 1000.0, ask_version=False, trust_env=False)

    found = all_of(nodes, probe=breaking)
    reply = found.pop("node7").tags
    assert reply.fault is fault
    assert re.fullmatch(rf"the probe broke: {error.__name__} in test_pool.py:\d+", reply.detail)
    assert all(seen.tags.fault is None for seen in found.values())


@pytest.mark.parametrize("stuck", [1, 40])
def test_workers_that_never_come_back_are_left_behind(standin, stuck):
    nodes = nodes_at(*[standin().url] * 60, timeout=1.0)
    forever = threading.Event()

    def sticking(node: Node) -> Observation:
        if int(node.key.removeprefix("node")) < stuck:
            forever.wait()
        return observe(node, 1000.0, ask_version=False, trust_env=False)

    began = time.monotonic()
    found = all_of(nodes, probe=sticking)
    assert time.monotonic() - began < 1.0 + 0.5 + 1.5
    forever.set()
    faults = [seen.tags.fault for seen in found.values()]
    assert faults == [Fault.READ_TIMEOUT] * stuck + [None] * (60 - stuck)


def test_the_limit_on_open_files_is_raised_for_many_nodes_and_the_stack_size_put_back(standin):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        found = all_of(nodes_at(*[standin(fault="slow:0.3").url] * 200, timeout=10.0))
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == min(728, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert all(seen.tags.fault is None for seen in found.values())
    assert threading.stack_size() == 0
