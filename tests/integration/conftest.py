"""What the tests of the whole program share."""

import fcntl
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from sites import Receiver, Site

MACHINE = tempfile.gettempdir()  # before the tests have one of their own: the same for all that run here


@contextmanager
def _locked(how: int) -> Iterator[None]:
    machine = os.open(MACHINE, os.O_RDONLY)
    try:
        fcntl.flock(machine, how)
        yield
    finally:
        os.close(machine)


@pytest.fixture
def runners() -> Iterator[None]:
    """No other test starts a runner of Ollama meanwhile, or looks for one: a look sees the whole machine."""
    with _locked(fcntl.LOCK_EX):
        yield


@pytest.fixture
def no_runners() -> Iterator[None]:
    """No test starts a runner of Ollama meanwhile."""
    with _locked(fcntl.LOCK_SH):
        yield


@pytest.fixture(autouse=True)
def leases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this host's leases are during a test: nodes of one name must not meet in different tests."""
    monkeypatch.setenv("GPU_MESH_LEASE_DIR", str(tmp_path / "leases"))
    return tmp_path / "leases"


@pytest.fixture
def site(tmp_path) -> Site:
    return Site(tmp_path)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def here(tmp_path: Path) -> tuple[str, ...]:
    """The sources of an inventory whose only node, gpu1, is this machine."""
    path = tmp_path / "inventory.yml"
    path.write_text(yaml.safe_dump({"mesh_nodes": {"hosts": {"gpu1": {"ansible_connection": "local"}}}}))
    return (str(path),)
