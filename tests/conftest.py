"""Real servers on loopback for every test that wants one."""

import os
import signal
import socket
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import settings

from gpu_mesh.standin.server import Standin, free_port

# How long an example takes is the machine's affair: no test asserts a time.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


def pytest_configure() -> None:
    """Let the programs under test hear Ctrl-C, even where a shell has made the tests deaf to it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where everything is to be tested, a test that could not run is no success, but for a real Ollama."""
    report = yield
    everything = os.environ.get("CI") and os.geteuid() == 0
    if report.skipped and everything and not item.get_closest_marker("real_ollama"):
        report.outcome = "failed"
        report.longrepr = f"skipped where nothing may be skipped: {report.longreprtext}"
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show what tests have measured or counted (their property ``shown``)."""
    passed = terminalreporter.getreports("passed")
    texts = [str(text) for report in passed for name, text in report.user_properties if name == "shown"]
    if texts:
        terminalreporter.section("shown")
    for text in texts:
        terminalreporter.write_line(f"{text}\n")


@pytest.fixture(scope="session", autouse=True)
def temporary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where programs under test put temporary files: what a test kills cannot remove its own.

    The name is short, for ssh keeps a socket below it, and a socket's name has a hundred letters at most.
    """
    tmp_path_factory.getbasetemp()  # pytest's own stay where they are, to be looked at
    with tempfile.TemporaryDirectory(prefix="gmt-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o711)  # some tests are about other users
        os.environ["TMPDIR"] = folder
        tempfile.tempdir = None
        yield Path(folder)
        del os.environ["TMPDIR"]
        tempfile.tempdir = None


@pytest.fixture
def standin() -> Iterator[Callable[..., Standin]]:
    """A function that starts a stand-in Ollama; takes what Standin takes."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(Standin(**options))


@pytest.fixture
def closed_port() -> int:
    """A loopback port on which nobody listens."""
    return free_port()


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A loopback port that swallows packets: its backlog is full, and nobody accepts."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        while True:
            waiting = stack.enter_context(socket.socket())
            waiting.settimeout(0.2)
            try:
                waiting.connect(listener.getsockname())
            except TimeoutError:
                break
        yield listener.getsockname()[1]
