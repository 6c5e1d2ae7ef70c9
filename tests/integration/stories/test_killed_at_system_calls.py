"""Commands killed right before a system call that leaves a mark: no alert is lost, no repair is repeated.

strace counts the calls that change a file of the monitor, or send something, and then kills the real command
at one of them. Which ones follows from a seed, which is printed. The same ones again:
GPU_MESH_CALLS_SEED=…. So many of each command: GPU_MESH_CALLS=….
"""

import os
import random
import re
import shutil
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import groupby
from typing import NamedTuple

import pytest
from msgspec.structs import replace

from gpu_mesh.domain.health import Status
from gpu_mesh.standin.server import Standin, free_port
from gpu_mesh.storage.state_file import encode
from receivers import Hook
from sites import Site, end_all_with, eventually, processes_with

MOST = int(os.environ.get("GPU_MESH_CALLS", "4"))

FILES = "openat,write,rename,renameat,renameat2,unlink,unlinkat,link,linkat,mkdir,mkdirat,fsync,fchmod,flock"
SENDS = "connect,sendto,sendmsg"
STARTS = "fork,vfork,clone,clone3"
WAITS = "wait4"  # for the playbook, all the while that it runs
CALL = re.compile(r"(?:(?P<thread>\d+) +)?(?P<name>\w+)\((?P<rest>.*)")


class Point(NamedTuple):
    """A system call, named as strace counts it."""

    call: str
    path: str  # the file that it is about; "": none, as of a connection
    number: int  # of this call with this file, in one thread, from 1

    def __str__(self) -> str:
        return f"{self.call} {self.number} {self.path}".strip()


def strace(*words: str) -> list[str]:
    return ["strace", "-qq", "-y", *words]


@pytest.fixture(scope="module", autouse=True)
def _permitted() -> None:
    if not shutil.which("strace"):
        pytest.skip("strace is missing")
    tried = subprocess.run(strace("-e", "trace=none", "true"), capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"strace may not trace here: {tried.stderr.strip()}")


class Desk:
    """A mesh of one node, which is down until its recovery command has run; and all that is to be counted."""

    def __init__(self, site: Site, hook: Hook) -> None:
        self.site, self.hook = site, hook
        self.prepared, self.file = site.folder / "prepared", site.folder / "repairs"
        self.mark = f"HOME={site.folder}"
        self._port, self._serving, self._lock = free_port(), None, threading.Lock()
        self._closing, self._held = threading.Event(), False
        node = {"name": "Desk", "url": f"http://127.0.0.1:{self._port}", "timeout": 2}
        node |= {"recovery": "command", "recovery_command": f"echo repaired >>{self.file}"}
        node |= {"unhealthy_threshold": 1, "offline_threshold": 1000}
        # Checks are days apart here, and a repair that was lost may be tried again at once.
        site.describe({"desk": node}, check_interval=86400, recovery_backoff=1, flapping=False)
        site.alerts_go_to(hook.url)
        self._watch = threading.Thread(target=self._come_up)
        self._watch.start()

    def _come_up(self) -> None:
        while not self._closing.wait(0.02):
            with self._lock:
                if self._serving is None and self.file.exists() and not self._held:
                    self._serving = Standin(port=self._port)
                    self._serving.__enter__()

    def hold_down(self) -> None:
        """Let the node not answer yet although its command has run, until a recovery has looked once more."""
        self._held = True
        self._stop()

    def _go_down(self) -> None:
        with self._lock:
            self.file.unlink(missing_ok=True)
            self._held = False
        self._stop()

    def _stop(self) -> None:
        with self._lock:
            if self._serving is not None:
                self._serving.__exit__(None, None, None)
                self._serving = None

    def close(self) -> None:
        self._closing.set()
        self._watch.join()
        self._go_down()
        end_all_with(self.mark)

    def prepare(self, *before: tuple[str, ...]) -> None:
        """Keep the state of a mesh whose node was seen healthy, then failed, and these commands were run."""
        self.file.touch()
        self._until_it_serves()
        self.site.ok("check")
        self._go_down()
        for words in before:
            self.site.ok(*words)
        shutil.copytree(self.site.state_dir, self.prepared)
        self.told_before = list(self.hook.titles)

    def _until_it_serves(self) -> None:
        assert eventually(lambda: self._serving is not None)

    def again(self) -> None:
        """Make everything as it was prepared."""
        self._go_down()
        shutil.rmtree(self.site.folder / "leases", ignore_errors=True)
        shutil.rmtree(self.site.state_dir)
        shutil.copytree(self.prepared, self.site.state_dir)
        self.hook.taken[:] = [(None, title) for title in self.told_before]

    @property
    def repairs(self) -> int:
        return len(self.file.read_text().splitlines()) if self.file.exists() else 0

    @property
    def told(self) -> Counter[str]:
        """How many messages of each level have arrived."""
        return Counter(title.partition("[")[2].partition("]")[0] for title in self.hook.titles)

    def finish(self) -> None:
        """Check, deliver and recover until nothing is due."""
        for _ in range(4):
            self.site.ok("check")
            self.site.ok("deliver", "--now")
            self._recover()
            state = self.site.state()
            known = state.nodes["desk"]
            waits = known.recovery.claim or not all(alert.done for alert in state.alerts)
            if known.status is Status.HEALTHY and not waits:
                return
        raise AssertionError(f"not healthy, or not told, after four rounds: {self.site.log()[-20:]}")

    def _recover(self) -> None:
        before, claimed = self.repairs, self.site.state().nodes["desk"].recovery.claim
        self.site.ok("recover")
        if self._held:
            assert self.repairs == before, "repaired once more"
            self._held = False
            self._until_it_serves()
        if claimed:
            assert self.repairs == before, "repaired although another one's claim had not expired"
            self._let_the_claim_expire()
            self.site.ok("recover")

    def _let_the_claim_expire(self) -> None:
        """Put the claim back in time by its length, as if that time had passed."""
        state = self.site.state()
        known = state.nodes["desk"]
        claim = known.recovery.claim
        assert claim
        length = claim.until - claim.at
        earlier = replace(claim, at=claim.at - length, until=claim.at)
        state.nodes["desk"] = replace(known, recovery=replace(known.recovery, claim=earlier))
        self.site.paths.state_file.write_bytes(encode(state))


@pytest.fixture
def desk(site: Site) -> Iterator[Desk]:
    hook = Hook()
    desk = Desk(site, hook)
    yield desk
    desk.close()
    hook.stop()


def points(desk: Desk, words: tuple[str, ...], options: list[str]) -> list[Point]:
    """Run the command undisturbed, and return the calls at which it can be killed.

    strace counts in each thread on its own and kills at the first that gets to the number: what another
    thread reaches first cannot be met.
    """
    found = desk.site.folder / "trace"
    kinds = f"{FILES},{SENDS},{STARTS},{WAITS}"
    _traced(desk, words, [*options, "-o", str(found), "-e", f"trace={kinds}"])
    counted, met = Counter[tuple[str, str, str]](), dict[Point, None]()
    for line in found.read_text().splitlines():
        if not (parts := CALL.match(line)):
            continue
        call, rest, thread = parts["name"], parts["rest"], parts["thread"] or ""
        paths = dict.fromkeys(re.findall(rf'[<"]({desk.site.state_dir}[^>"]*)[>"]', rest)) or {"": None}
        for path in paths:
            counted[thread, call, path] += 1
        path = next(iter(paths))
        point = Point(call, path, counted[thread, call, path])
        if _matters(call, path, rest) and point not in met:
            met[point] = None
    return list(met)


def _matters(call: str, path: str, rest: str) -> bool:
    """Return whether the call changes something of the monitor's, or sends, or starts something."""
    if " = -1 " in rest and "EINPROGRESS" not in rest:
        return False
    if call in SENDS.split(","):
        return call != "connect" or "AF_INET" in rest
    if call in (*STARTS.split(","), WAITS):
        return True
    return bool(path) and (call != "openat" or "O_CREAT" in rest or "O_WRONLY" in rest)


def _traced(desk: Desk, words: tuple[str, ...], options: list[str]) -> int:
    done = subprocess.run(
        [*strace(*options), *desk.site.command(*words)],
        env=desk.site.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=60,
        check=False,
    )
    return done.returncode


def chosen(met: list[Point], chance: random.Random, most: int) -> list[Point]:
    """Return every so many-th of the points, from a random one on; of the many waits a few only."""
    kept: list[Point] = []
    for waits, group in groupby(sorted(met, key=lambda each: each.call == WAITS), lambda p: p.call == WAITS):
        some = list(group)
        if waits:  # of the first ones: how many there are depends on how long the playbook takes
            some = some[: max(1, len(some) // 4)]
        step = -(-len(some) // (max(1, most // 5) if waits else most))
        kept += some[chance.randrange(step) :: step]
    return kept


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("no_runners")
@pytest.mark.parametrize(
    ("words", "before", "options"),
    [
        pytest.param(("check",), [], [], id="check"),
        # A URL has a thread of its own.
        pytest.param(("deliver",), [("check",)], ["-f"], id="deliver"),
        # One node by name is repaired in the first thread; in its playbook's processes nothing is counted.
        pytest.param(("recover", "desk"), [("check",), ("deliver",)], [], id="recover"),
    ],
)
def test_a_command_killed_at_any_system_call_loses_no_alert_and_repeats_no_repair(
    desk: Desk,
    words: tuple[str, ...],
    before: list[tuple[str, ...]],
    options: list[str],
    record_property: Callable[[str, object], None],
) -> None:
    seed = int(os.environ.get("GPU_MESH_CALLS_SEED") or random.randrange(10**9))
    print(f"GPU_MESH_CALLS_SEED={seed}")
    desk.prepare(*before)
    met = points(desk, words, options)
    desk.finish()
    wanted = desk.told
    assert desk.repairs == 1
    assert wanted >= Counter(["ERROR", "INFO"])

    tried, killed, twice = chosen(met, random.Random(seed), MOST), 0, 0
    for point in tried:
        desk.again()
        inject = [
            "-e",
            f"trace={point.call}",
            "-e",
            f"inject={point.call}:signal=SIGKILL:when={point.number}",
        ]
        only = ["-P", point.path] if point.path else []
        killed += _traced(desk, words, [*options, "-o", "/dev/null", *only, *inject]) == -9
        assert eventually(lambda: not processes_with(desk.mark)), point
        assert eventually(lambda: desk.hook.open == 0), point
        known = desk.site.state().nodes["desk"]  # it can be read
        if desk.repairs and known.status is not Status.HEALTHY:
            desk.hold_down()
        desk.finish()
        assert desk.told >= wanted, (point, desk.hook.titles)
        assert desk.repairs == 1, (point, desk.site.log())
        again = (desk.told - wanted).total()
        assert again <= 1, (point, desk.hook.titles)
        twice += again
        assert not processes_with(desk.mark), point
    waits = sum(point.call == WAITS for point in tried)
    assert killed >= len(tried) - waits  # a playbook may end sooner than the time before
    matter = sum(point.call != WAITS for point in met)
    record_property(
        "shown",
        f"{words[0]} killed {killed} times: at {len(tried) - waits} of {matter} system calls that matter, "
        f"{killed - len(tried) + waits} times in a playbook; "
        f"alerts lost: 0, told once more: {twice}, repairs repeated: 0",
    )
