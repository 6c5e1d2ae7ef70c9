"""Every hostile answer is a fact about its node: named, in bounded time and memory, and shown escaped."""

import json
import subprocess
import sys
import unicodedata
from collections.abc import Callable, Iterator
from html.parser import HTMLParser

import pytest

from checkout import PROGRAMS
from factories import plain
from gpu_mesh.diagnosis.diagnose import diagnose
from gpu_mesh.domain.causes import Cause
from gpu_mesh.domain.model_name import LONGEST
from gpu_mesh.domain.observation import Fault, Reply
from gpu_mesh.domain.state import NodeState
from gpu_mesh.probe import pool
from hostile_answers import CASES
from hostile_server import serving
from marks import soak
from sites import Receiver, Site

GENEROUS, SHORT = 20.0, 1.0  # seconds: the time of a node; of one that never answers wholly
LIMITS = {"timeout": 30, "expects_gpu": True, "unhealthy_threshold": 1}
OUR_MARK = "\u200b"  # in an address, so that no chat service makes a link of it
FORMATS = ("text", "html", "markdown")
MEMORY = 100 * 2**10  # KiB that a check of all hostile nodes may take more than one of a good node


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving() as url:
        yield url


def is_plain(text: str) -> bool:
    """Return whether the text can be shown anywhere: it moves no cursor, hides and turns nothing."""
    return not any(unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp") for letter in text)


def bounded(reply: Reply | None) -> bool:
    return reply is None or (
        reply.fault not in (Fault.MONITOR, Fault.BROKEN, Fault.UNUSABLE)
        and len(reply.detail) <= 200
        and is_plain(reply.detail)
    )


@pytest.mark.parametrize("heavy", [False, soak(True)])
def test_every_hostile_answer_is_named_and_blamed_on_its_node(
    url: str, heavy: bool, record_property: Callable[[str, object], None]
) -> None:
    chosen = {str(number): case for number, case in enumerate(CASES) if case.heavy is heavy}
    nodes = {
        key: plain(key, url=f"{url}/{key}", timeout=SHORT if case.slow else GENEROUS)
        for key, case in chosen.items()
    }
    found = pool.observe_all(
        tuple(nodes.values()),
        1000.0,
        ask_version=lambda _: True,
        trust_env=False,
        choose=lambda _, loaded: loaded[0] if loaded else None,
    )
    wrong = []
    for key, case in chosen.items():
        seen = found[key]
        judged = diagnose(nodes[key], seen, NodeState())
        if judged.cause is not case.cause:
            wrong.append(f"{case.name}: {judged.cause} instead of {case.cause}, {seen.tags.detail}")
        assert all(map(bounded, (seen.tags, seen.ps, seen.deep))), (case.name, seen)
        # Far from for ever, and kept by a busy machine, too.
        assert seen.tags.ms < 1000 * nodes[key].timeout + 5000, case.name
        names = (*seen.models, *(model.name for model in seen.loaded), seen.version or "", judged.detail)
        assert all(len(name) <= LONGEST + 100 and is_plain(name) for name in names), (case.name, names)
    assert not wrong
    record_property("shown", f"{len(chosen)} hostile nodes, each named as it should be")


def test_the_hostile_answers_are_many_and_of_many_kinds() -> None:
    assert len(CASES) == len({case.name for case in CASES}) >= 250
    assert len({case.name.partition(":")[0] for case in CASES}) >= 15


class _Tags(HTMLParser):
    """The tags of a page, and the names of their attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.seen: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.update((tag, *(name for name, _ in attrs)))


def check(site: Site) -> int:
    """Check once, as a timer does; return the memory that it took at most, in KiB."""
    command = [sys.executable, str(PROGRAMS / "measure_memory.py"), *site.command("check")]
    done = subprocess.run(command, env=site.environment, capture_output=True, text=True, check=True)
    *said, memory = done.stdout.splitlines()
    assert all(map(is_plain, (*said, *done.stderr.splitlines()))), said
    return int(memory)


@pytest.mark.parametrize("step", [6, soak(1)])
def test_nothing_that_a_node_sends_is_shown_unescaped_and_memory_stays_bounded(
    url: str, site: Site, receiver: Receiver, step: int, record_property: Callable[[str, object], None]
) -> None:
    known = tuple((str(number), case) for number, case in enumerate(CASES) if not (case.heavy or case.slow))
    quick = dict(known[::step])
    site.describe({"good": {"url": f"{url}/{len(CASES)}", "timeout": 30}})
    site.check()  # the next ones find the inventory read, which takes most of the memory
    alone = check(site)
    site.describe({f"n{number}": {"url": f"{url}/{number}", **LIMITS} for number in quick}, recovery_brake=0)
    site.check()
    together = check(site)
    memory = f"{together / 1024:.0f} MiB, one of a good node {alone / 1024:.0f} MiB"
    record_property("shown", f"a check of {len(quick)} hostile nodes takes {memory}")
    assert together - alone < MEMORY
    causes = {node["node"]: node["cause"] for node in site.status()["nodes"]}
    late = (Cause.RUNNER_HUNG,)
    assert {
        f"n{n}": case.cause for n, case in quick.items() if case.cause not in late
    }.items() <= causes.items()
    for words in (["status"], ["dashboard"], ["status", "--json"], ["stats"], ["alerts", "list"]):
        shown = site.run(*words)
        assert not shown.stderr
        for line in shown.stdout.splitlines():
            assert is_plain(line), (words, line)
    for line in site.paths.log_file.read_text().split("\n"):
        assert is_plain(line), line
    every = {"tag": "info,warning,error,critical"}
    urls = [{f"{receiver.url}{kind}/?format={kind}": every} for kind in FORMATS]
    site.alerts_go_to("")
    (site.paths.config / "apprise.yml").write_text(json.dumps({"urls": urls}))
    site.ok("deliver")
    assert len(receiver.bodies) >= len(FORMATS)
    for text in receiver.titles + receiver.bodies:
        assert all(is_plain(line) for line in text.replace(OUR_MARK, "").split("\n")), text
    pages = [body for body in receiver.bodies if body.startswith("<div")]
    assert {tag for page in pages for tag in _Tags(page).seen} == {"div", "style", "p", "br", "b", "code"}
