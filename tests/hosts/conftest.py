"""The machines' network; on a failure their journals, at the end the measured seconds of each story."""

import os
from collections.abc import Iterator
from typing import Any

import machines
import pytest

_SITES: list[machines.Site] = []
_MEASURED: list[str] = []


LONGEST_FIRST = ("test_cluster", "test_guides", "test_takeover", "test_system_scope", "test_fault_matrix")
"""The modules that take longest: one that began last would let the other workers wait for it."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        item.add_marker("hosts")

    def place(item: pytest.Item) -> int:
        return LONGEST_FIRST.index(item.path.stem) if item.path.stem in LONGEST_FIRST else len(LONGEST_FIRST)

    items.sort(key=place)


@pytest.fixture(scope="session")
def site() -> Iterator[machines.Site]:
    """The machines' network; machines are booted by those who need them."""
    if problem := machines.lacking():
        # Where everything is to be tested, a test that could not run is no success.
        (pytest.fail if os.environ.get("CI") else pytest.skip)(problem)
    with machines.site() as opened:
        _SITES.append(opened)
        yield opened
        _SITES.clear()


@pytest.fixture(scope="session")
def measured() -> list[str]:
    """Lines for the report: a story with its seconds."""
    return _MEASURED


def pytest_sessionfinish(session: pytest.Session) -> None:
    """With pytest -n, a worker hands its lines to the process that reports."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["measured"] = _MEASURED


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    _MEASURED.extend(getattr(node, "workeroutput", {}).get("measured", ()))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: Any) -> Any:
    report = yield
    if report.failed:
        running = [machine for opened in _SITES for machine in opened.machines.values() if machine.running]
        for machine in running:
            report.sections.append((f"journal of {machine.name}", machine.journal()))
            log = machine.root / "var/log/gpu-mesh/gpu-mesh.log"
            if log.is_file() and not log.is_symlink():  # a thief's link would lead into this machine
                report.sections.append((f"{log.name} of {machine.name}", log.read_text()[-6000:]))
        # Who has only the end of a long output has the reason too.
        report.sections.append((f"why {item.name} failed", call.excinfo.exconly()[-2000:]))
    return report


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if _MEASURED:
        terminalreporter.section("stories, measured")
        for line in _MEASURED:
            terminalreporter.write_line(line)
