"""Where many nodes are silent, no thread is lost to each of them, and the others are probed as ever."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from gpu_mesh.domain.mesh import Node
from gpu_mesh.domain.observation import Fault, Observation
from gpu_mesh.probe import pool
from gpu_mesh.probe.knocks import Knocks
from gpu_mesh.probe.ollama import observe
from gpu_mesh.standin.server import Standin


@contextmanager
def most_threads() -> Iterator[list[int]]:
    """Yield a list of how many probes there were at the same time, at most, once the block has ended."""
    ended, most, found = threading.Event(), 0, list[int]()

    def count() -> None:
        nonlocal most
        while not ended.wait(0.02):
            most = max(most, sum(each.name == "probe" for each in threading.enumerate()))

    watcher = threading.Thread(target=count)
    watcher.start()
    yield found
    ended.set()
    watcher.join()
    found.append(most)


def node(key: str, url: str, timeout: float = 4.0) -> Node:
    return Node(key, key, url, timeout=timeout)


def all_of(nodes: list[Node], probe: pool.Probe | None = None) -> dict[str, Observation]:
    return pool.observe_all(nodes, 1000.0, ask_version=lambda _: False, trust_env=False, probe=probe)


def knocks(most: int = 100, *, trust_env: bool = False) -> Knocks:
    return Knocks(1000.0, most, trust_env=trust_env)


def heard_all(at: Knocks) -> list[Node]:
    """Return who has reacted, once everybody has."""
    found, until = list[Node](), time.monotonic() + 10
    while at:
        assert time.monotonic() < until
        found += at.reactions()
    return found


def test_a_thousand_silent_nodes_take_one_timeout_and_a_fraction_of_the_threads(
    standin: Callable[..., Standin], silent_port: int, closed_port: int
) -> None:
    silent = [node(f"silent{at}", f"http://127.0.0.1:{silent_port}") for at in range(1000)]
    there = standin()
    good = [node(f"good{at}", there.url) for at in range(20)]
    refusing = [node(f"refusing{at}", f"http://127.0.0.1:{closed_port}") for at in range(20)]
    unknown = [node("unknown", "http://no-such-host.invalid")]
    with most_threads() as most:
        found = all_of([*silent, *good, *refusing, *unknown])
    assert {found[each.key].tags.fault for each in silent} == {Fault.CONNECT_TIMEOUT}
    assert {found[each.key].tags.detail for each in silent} == {"nobody accepted within 4 s"}
    assert {(found[each.key].tags.fault, found[each.key].ps.fault) for each in good} == {(None, None)}
    assert {found[each.key].tags.fault for each in refusing} == {Fault.REFUSED}
    assert found["unknown"].tags.fault is Fault.DNS
    assert most[0] < 500


@contextmanager
def waking(after: float) -> Iterator[str]:
    """Yield the URL of an address that swallows packets, and refuses them after so many seconds."""
    with socket.socket() as listener, socket.socket() as waiting:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting.connect(listener.getsockname())  # its queue is full
        timer = threading.Timer(after, listener.close)
        timer.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        timer.cancel()


def test_who_reacts_when_the_workers_have_ended_is_probed_all_the_same(
    monkeypatch: pytest.MonkeyPatch, silent_port: int, closed_port: int
) -> None:
    monkeypatch.setattr(pool, "ENOUGH", 16)
    monkeypatch.setattr(pool, "MOST", 32)
    order: list[str] = []

    def noted(asked: Node) -> Observation:
        seen = observe(asked, 1000.0, ask_version=False, trust_env=False)
        order.append(asked.key)
        return seen

    silent = [node(f"silent{at}", f"http://127.0.0.1:{silent_port}", 8.0) for at in range(40)]
    refusing = [node(f"refusing{at}", f"http://127.0.0.1:{closed_port}") for at in range(40)]
    with waking(0.5) as url, waking(2.0) as later:  # the kernel knocks again after 1 and 3 seconds
        woken = [node(f"woken{at}", each, 8.0) for at, each in enumerate([*[url] * 40, *[later] * 40])]
        found = all_of([*silent, *refusing, *woken], probe=noted)
    probed_last = [key.startswith("silent") for key in order]
    assert probed_last == sorted(probed_last), "no worker came back from a silent node before"
    assert {found[each.key].tags.fault for each in (*refusing, *woken)} == {Fault.REFUSED}
    assert {found[each.key].tags.fault for each in silent} == {Fault.CONNECT_TIMEOUT}


def test_whoever_accepts_or_refuses_has_reacted(standin: Callable[..., Standin], closed_port: int) -> None:
    nodes = [node("good", standin().url), node("refusing", f"http://127.0.0.1:{closed_port}")]
    at = knocks()
    assert at.begin(nodes) == []
    assert sorted(each.key for each in heard_all(at)) == ["good", "refusing"]
    assert list(at.silent()) == []


def test_who_reacts_late_has_only_the_rest_of_its_timeout_left() -> None:
    at = knocks()
    with waking(0.5) as url:  # the kernel knocks again after a second
        assert at.begin([node("late", url, 8.0)]) == []
        (late,) = heard_all(at)
    assert 1.0 <= late.timeout < 7.5


def test_a_silent_node_is_silent_only_once_its_timeout_is_over(silent_port: int) -> None:
    url = f"http://127.0.0.1:{silent_port}"
    at = knocks()
    assert at.begin([node("soon", url, 0.05), node("late", url, 3600.0)]) == []
    until = time.monotonic() + 10
    while not (found := list(at.silent())):
        assert time.monotonic() < until
    (seen,) = found
    assert (seen.node, seen.tags.fault, seen.tags.ms) == ("soon", Fault.CONNECT_TIMEOUT, 50.0)
    assert len(at) == 1


@pytest.mark.parametrize(
    "url",
    ["http://name.invalid", "http://localhost", "ftp://127.0.0.1", "http://127.0.0.1:99999", "nonsense"],
)
def test_only_an_address_is_knocked_at(url: str) -> None:
    asked = node("a", url)
    assert knocks().begin([asked]) == [asked]


def test_behind_a_proxy_the_node_itself_is_not_knocked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://192.0.2.1:3128")
    monkeypatch.setenv("no_proxy", "127.0.0.2")
    proxied, direct = node("a", "http://127.0.0.1:1"), node("b", "http://127.0.0.2:1")
    assert knocks(trust_env=True).begin([proxied, direct]) == [proxied]
    assert knocks().begin([proxied, direct]) == []


def test_no_node_is_knocked_at_twice_nor_more_than_there_may_be(closed_port: int) -> None:
    nodes = [node(f"n{at}", f"http://127.0.0.1:{closed_port}") for at in range(4)]
    at = knocks(3)
    assert at.begin(nodes) == nodes[3:]
    assert len(heard_all(at)) == 3
    assert at.begin(nodes) == nodes[:3]
