"""Long stories with the real HAProxy: a stream of 20 s, and 10,000 requests over a failure and its repair."""

import http.client
import itertools
import json
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from balancer import Balancer, Process, pieces_of
from gpu_mesh.standin.server import Standin
from sites import Site, eventually

REQUESTS, AT_ONCE = 10_000, 16
PATIENCE = 3.0  # seconds after which who asks gives up
PLAIN = """\
defaults
  mode http
  timeout connect 5s
  timeout client 1h
  timeout server 1h
frontend gpu-mesh
  bind 127.0.0.1:{port}
  default_backend gpu-mesh:any
backend gpu-mesh:any
  balance roundrobin
{servers}
"""


@pytest.mark.soak
@pytest.mark.timeout(180)
def test_a_stream_of_20_seconds_outlives_a_drain_and_new_settings(
    balance: Callable[..., Balancer],
    standin: Callable[..., Standin],
    site: Site,
    record_property: Callable[[str, object], None],
) -> None:
    nodes = {"a": standin(), "b": standin()}
    balancer = balance(**nodes)
    begun = time.monotonic()
    with balancer.streaming(200) as answer:
        first = json.loads(answer.readline())["response"]
        works = next(key for key, node in nodes.items() if node.generated)
        site.ok("drain", works, "--for", "1h", "--reason", "a new card")
        site.ok("publish")
        balancer.await_state(works, "DRAIN")
        balancer.reload()
        assert first + pieces_of(answer) == "".join(f"{number} " for number in range(200))
    took = time.monotonic() - begun
    record_property(
        "shown", f"a stream of 200 pieces in {took:.1f} s over a drain and a reload: no byte lost"
    )


class Crowd:
    """AT_ONCE clients that send REQUESTS requests, and count what comes of them by phase."""

    def __init__(self, balancer: Balancer) -> None:
        self.balancer = balancer
        self.phase = "before"
        self.sent = itertools.count(1)
        self.done = 0
        self.failed: Counter[str] = Counter()
        self.at_work: dict[int, str] = {}  # the phase in which a request was sent, by its number

    def run(self) -> None:
        with ThreadPoolExecutor(AT_ONCE) as clients:
            list(clients.map(lambda _: self._ask(), range(REQUESTS)))

    def _ask(self) -> None:
        number = next(self.sent)
        self.at_work[number] = self.phase
        try:
            with closing(self.balancer.begin(timeout=PATIENCE)) as connection:
                fine = connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            fine = False
        phase = self.at_work.pop(number)
        self.done += 1
        if not fine:
            self.failed[phase] += 1


def story(
    crowd: Crowd, fail: Callable[[], None], noticed: Callable[[], bool], mend: Callable[[], None]
) -> int:
    """Let a node fail at a quarter of the requests, mend it at the half; return what was in flight then."""
    running = threading.Thread(target=crowd.run)
    running.start()
    assert eventually(lambda: crowd.done >= REQUESTS // 4)
    crowd.phase = "unnoticed"
    in_flight = len(crowd.at_work)
    fail()
    assert eventually(lambda: noticed() or not running.is_alive(), 60)
    crowd.phase = "noticed"
    assert eventually(lambda: crowd.done >= REQUESTS // 2 or not running.is_alive(), 300)
    mend()
    crowd.phase = "mended"
    running.join()
    return in_flight


FAILURES = {"hangs": (signal.SIGSTOP, signal.SIGCONT), "is killed": (signal.SIGKILL, None)}


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("what", FAILURES)
def test_of_10_000_requests_over_a_failure_only_those_fail_that_the_node_had_taken(
    what: str,
    site: Site,
    balance: Callable[..., Balancer],
    process: Callable[..., Process],
    record_property: Callable[[str, object], None],
) -> None:
    nodes = {name: process() for name in ("a", "b", "bad")}
    bad, (fails, mends) = nodes["bad"], FAILURES[what]

    def fail() -> None:
        bad.signal(fails)

    def mend() -> None:
        if mends:
            bad.signal(mends)
        else:
            bad.process.wait()
            bad.start()

    ours = balance(**nodes)
    ours.await_state("bad", "UP")
    crowd = Crowd(ours)
    in_flight = story(crowd, fail, lambda: ours.state("bad").state == "DOWN", mend)
    ours.await_state("bad", "UP")
    assert crowd.failed["before"] <= in_flight
    assert crowd.failed["noticed"] == crowd.failed["mended"] == 0, crowd.failed

    servers = "\n".join(f"  server {name} 127.0.0.1:{node.port}" for name, node in nodes.items())
    plain = Balancer(site, "")
    plain.settings = PLAIN.format(port=plain.port, servers=servers)
    plain.start()
    try:
        begun = time.monotonic()
        theirs = Crowd(plain)
        story(theirs, fail, lambda: time.monotonic() - begun > 10, mend)
    finally:
        plain.close()
    record_property(
        "shown",
        f"{REQUESTS} requests, {AT_ONCE} at once, to three nodes of which one {what} and is repaired: "
        f"{crowd.failed.total()} failed ({crowd.failed['before']} of {in_flight} in flight, "
        f"{crowd.failed['unnoticed']} sent before the second failed check, "
        f"{crowd.failed['noticed'] + crowd.failed['mended']} after it); "
        f"behind a plain round robin {theirs.failed.total()}",
    )
    assert crowd.failed.total() < theirs.failed.total() / 10
