"""Whose fault an error is that nobody has foreseen: from the first byte of an answer on, the node's."""

import errno
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from gpu_mesh.domain.mesh import Node
from gpu_mesh.domain.observation import Fault
from gpu_mesh.probe import control, http_client, sockets
from gpu_mesh.probe.ollama import observe
from hostile_answers import CASES
from hostile_server import serving
from sites import Site

GOOD = b'HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 13\r\n\r\n{"models":[]}'

OURS = {
    "no memory": MemoryError(),
    "no thread": RuntimeError("can't start new thread"),
    "no files": OSError(errno.EMFILE, "Too many open files"),
    "no files on the machine": OSError(errno.ENFILE, "Too many open files in system"),
    "no memory in the kernel": OSError(errno.ENOBUFS, "No buffer space available"),
    "a part of the program is gone": ImportError("no such part", name="idna"),
}
UNFORESEEN = {
    "a value": ValueError("hunter2"),
    "a type": TypeError("hunter2"),
    "a loop": RecursionError("hunter2"),
    "a mistake of the library": AssertionError("hunter2"),
    "a number": OverflowError("hunter2"),
    "an error of the system that is not of the list": OSError(errno.EDOM, "hunter2"),
}


def probe(*answers: bytes) -> tuple[Fault | None, str]:
    node = Node("a", "A", "http://a.invalid:11434", timeout=5.0)
    with ExitStack() as stack:
        connect = control.answering(stack, *answers)
        seen = observe(node, 1000.0, ask_version=False, trust_env=False, connect=connect)
    return seen.tags.fault, seen.tags.detail


def raising(error: Exception) -> Callable[..., object]:
    def raise_it(*_: object, **__: object) -> object:
        raise error

    return raise_it


PLACES = {
    "in the head of an answer": (http_client._Adapter, "build_response"),
    "in the body of an answer": (http_client.Session, "_answer"),
}


@pytest.mark.parametrize(("home", "name"), PLACES.values(), ids=PLACES)
@pytest.mark.parametrize("error", UNFORESEEN.values(), ids=UNFORESEEN)
def test_an_unforeseen_error_is_the_node_s_once_a_byte_of_an_answer_has_come(
    monkeypatch: pytest.MonkeyPatch, home: object, name: str, error: Exception
) -> None:
    monkeypatch.setattr(home, name, raising(error))
    fault, detail = probe(GOOD)
    assert (fault, detail) == (Fault.UNREADABLE, f"it cannot be read: {type(error).__name__}")


@pytest.mark.parametrize(("home", "name"), PLACES.values(), ids=PLACES)
@pytest.mark.parametrize("error", OURS.values(), ids=OURS)
def test_what_this_machine_lacks_is_never_the_node_s_fault(
    monkeypatch: pytest.MonkeyPatch, home: object, name: str, error: Exception
) -> None:
    monkeypatch.setattr(home, name, raising(error))
    assert probe(GOOD)[0] is Fault.MONITOR


def test_a_thread_that_cannot_be_started_to_ask_for_an_address_is_the_monitor_s_trouble(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sockets.threading.Thread, "start", raising(RuntimeError("can't start new thread")))
    node = Node("a", "A", "http://a.invalid:11434", timeout=5.0)
    seen = observe(node, 1000.0, ask_version=False, trust_env=False)
    assert (seen.tags.fault, seen.tags.detail) == (Fault.MONITOR, "no threads left")


def test_an_unforeseen_error_before_any_answer_is_no_choice_of_the_node(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http_client.PreparedRequest, "prepare", raising(ZeroDivisionError()))
    assert probe(GOOD)[0] is Fault.BROKEN


def test_the_reader_is_tried_with_good_answers_of_both_framings(monkeypatch: pytest.MonkeyPatch) -> None:
    assert control.reads_good_answers()
    for home, name in PLACES.values():
        with monkeypatch.context() as broken:
            broken.setattr(home, name, raising(ValueError()))
            assert not control.reads_good_answers()
    with monkeypatch.context() as broken:
        broken.setattr(control.socket, "socketpair", raising(OSError(errno.EMFILE, "")))
        assert not control.reads_good_answers()


@pytest.mark.parametrize("broken", [False, True])
def test_a_lone_node_that_cannot_be_read_is_judged_by_whether_a_good_answer_can(
    site: Site, broken: bool
) -> None:
    (number,) = (n for n, case in enumerate(CASES) if case.name == "chunks: a chunk of a negative size")
    if broken:
        (site.folder / "sitecustomize.py").write_text(
            "from urllib3.response import HTTPResponse\nHTTPResponse.read = lambda *_, **__: [][0]\n"
        )
        site.environment["PYTHONPATH"] = str(site.folder)
    with serving() as url:
        site.describe({"gpu1": {"url": f"{url}/{number}"}})
        assert site.run("check").returncode == (1 if broken else 0)
    (node,) = site.status()["nodes"]
    assert (node["cause"], site.state().unprobed) == ((None, 1) if broken else ("not_ollama", 0))
