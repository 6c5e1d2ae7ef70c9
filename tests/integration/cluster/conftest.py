"""What the tests of several monitors share."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gpu_mesh.standin.server import Standin
from monitors import LACKING, Monitors
from sites import Receiver


@pytest.fixture
def monitors(tmp_path: Path) -> Iterator[Monitors]:
    """Three monitors, none of which has done anything yet."""
    if LACKING:
        pytest.skip(LACKING)
    three = Monitors(tmp_path, ("desk", "attic", "porch"))
    yield three
    three.close()


@pytest.fixture
def node(standin: Callable[..., Standin]) -> Standin:
    return standin()


@pytest.fixture
def mesh(monitors: Monitors, node: Standin, receiver: Receiver) -> Monitors:
    """The monitors with one healthy node: desk leads, and the others stand by."""
    monitors.describe({"iceland": {"url": node.url, "recovery": "none"}})
    monitors.alerts_go_to(receiver.url)
    for monitor in monitors.all.values():
        monitor.leads()
        monitor.check()
    return monitors
