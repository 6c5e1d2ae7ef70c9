"""What a probe says of every way in which a node can answer, or not answer."""

import json
import socket
import threading
import time
from contextlib import suppress

import pytest

from gpu_mesh.diagnosis.diagnose import diagnose
from gpu_mesh.domain.causes import Cause
from gpu_mesh.domain.mesh import Node
from gpu_mesh.domain.model_name import LONGEST
from gpu_mesh.domain.observation import Fault, LoadedModel
from gpu_mesh.domain.state import NodeState
from gpu_mesh.probe.ollama import MAX_MODELS, ask_none, observe

TIMEOUT = 1.2  # seconds


def probe(url, *, ask_version=False, trust_env=False, timeout=TIMEOUT, choose=ask_none, **settings):
    node = Node(key="alpha", name="Alpha", url=url, timeout=timeout, **settings)
    return observe(node, 1000.0, ask_version=ask_version, trust_env=trust_env, choose=choose)


def first(loaded: tuple[LoadedModel, ...]) -> LoadedModel:
    return loaded[0]


def test_a_healthy_node_shows_its_models_what_is_loaded_its_clock_and_its_version(standin):
    server = standin(models=("llama3.2:latest", "qwen3:8b"), loaded=("qwen3:8b",))
    seen = probe(server.url, ask_version=True)
    assert (seen.node, seen.at) == ("alpha", 1000.0)
    assert seen.tags.fault is None
    assert seen.tags.status == 200
    assert 0 < seen.tags.ms < 1000
    assert seen.models == ("llama3.2:latest", "qwen3:8b")
    assert seen.ps is not None
    assert seen.ps.fault is None
    (loaded,) = seen.loaded
    assert loaded.name == "qwen3:8b"
    assert loaded.size == loaded.size_vram > 10**9
    assert loaded.context_length == 4096
    assert loaded.expires_at > 9e9  # "for ever" is a time in the 24th century
    assert abs(seen.node_clock - time.time()) < 60
    assert seen.version == "0.12.6"


def test_the_version_is_not_asked_for_unless_it_is_wanted(standin):
    server = standin()
    assert probe(server.url).version is None
    assert list(server.paths) == ["/api/tags", "/api/ps"]


def test_below_a_path_prefix_every_request_of_a_probe_has_it(standin):
    server = standin(prefix="/team/ollama", loaded=("llama3.2:latest",))
    seen = probe(server.url, ask_version=True, choose=first)
    assert (seen.tags.fault, seen.models, seen.version) == (None, ("llama3.2:latest",), "0.12.6")
    assert seen.deep is not None
    assert seen.deep.fault is None
    asked = ["/api/tags", "/api/ps", "/api/version", "/api/generate"]
    assert list(server.paths) == [f"/team/ollama{path}" for path in asked]
    without = server.url.removesuffix("/team/ollama")
    assert probe(without).tags.detail == "HTTP 404 Not Found"


def test_all_gets_of_a_node_share_one_connection(standin):
    server = standin(loaded=("llama3.2:latest",))
    probe(server.url, ask_version=True)
    assert server.connections == 1
    assert list(server.paths) == ["/api/tags", "/api/ps", "/api/version"]


FAULTS = [
    ("hang", Fault.READ_TIMEOUT, "no whole answer within 1.2 s"),
    ("drip", Fault.READ_TIMEOUT, "no whole answer within 1.2 s"),
    ("slow", Fault.READ_TIMEOUT, "no whole answer within 1.2 s"),
    ("endless_headers", Fault.TOO_LARGE, "headers without end"),
    ("huge", Fault.TOO_LARGE, "the answer is larger than 4 MiB"),
    ("http_500", Fault.STATUS, "HTTP 500 Internal Server Error"),
    ("http_503", Fault.STATUS, "HTTP 503 Service Unavailable"),
    ("forbidden", Fault.STATUS, "HTTP 403 Forbidden"),
    ("unauthorized", Fault.STATUS, "HTTP 401 Unauthorized"),
    ("html", Fault.NOT_JSON, "HTML instead of JSON"),
    ("broken_json", Fault.NOT_JSON, "broken JSON"),
    ("deep_json", Fault.NOT_JSON, "the JSON is nested deeper than any of Ollama's"),
    ("gzip_bomb", Fault.NOT_JSON, "the answer is compressed, though that was not asked for"),
    ("redirect", Fault.REDIRECT, "HTTP 302 Found"),
    ("reset", Fault.RESET, "connection reset"),
    ("close", Fault.CLOSED, "closed without an answer"),
    ("half_body", Fault.CLOSED, "closed in the middle of an answer"),
]


@pytest.mark.parametrize(("fault", "expected", "detail"), FAULTS, ids=[row[0] for row in FAULTS])
def test_every_way_to_fail_is_named_within_the_timeout(standin, fault, expected, detail):
    server = standin(fault=fault)
    began = time.monotonic()
    seen = probe(server.url)
    assert time.monotonic() - began < TIMEOUT + 1
    assert (seen.tags.fault, seen.tags.detail) == (expected, detail)
    assert seen.ps is None
    assert seen.models == ()


def test_a_refused_connection_is_named(closed_port):
    seen = probe(f"http://127.0.0.1:{closed_port}")
    assert (seen.tags.fault, seen.tags.detail) == (Fault.REFUSED, "connection refused")


def test_a_redirect_is_not_followed(standin):
    server = standin(fault="redirect")
    probe(server.url)
    assert list(server.paths) == ["/api/tags"]


def test_a_slow_list_of_loaded_models_spoils_neither_the_models_nor_the_version(standin):
    server = standin(models=("a", "b"), fault="slow_ps")
    began = time.monotonic()
    seen = probe(server.url)
    assert time.monotonic() - began < TIMEOUT + 1
    assert seen.tags.fault is None
    assert seen.models == ("a", "b")
    assert seen.ps.fault is Fault.READ_TIMEOUT
    assert seen.version == "0.12.6"  # the process lives: a model is loading


def test_an_answer_within_the_timeout_is_an_answer(standin):
    seen = probe(standin(fault="slow:0.3").url, timeout=5.0)
    assert seen.tags.fault is None
    assert seen.tags.ms >= 300


def test_a_node_without_models_is_no_fault(standin):
    seen = probe(standin(fault="no_models").url)
    assert (seen.tags.fault, seen.models) == (None, ())


@pytest.mark.parametrize(("fault", "part"), [("none", 1.0), ("cpu", 0.0), ("partly_cpu", 0.6)])
def test_the_part_of_a_model_on_the_gpu_is_seen(standin, fault, part):
    (loaded,) = probe(standin(loaded=("a",), models=("a",), fault=fault).url).loaded
    assert loaded.size_vram / loaded.size == pytest.approx(part, abs=0.001)


def test_a_model_that_should_long_be_gone_is_seen(standin):
    (loaded,) = probe(standin(loaded=("a",), models=("a",), fault="stuck_stopping").url).loaded
    assert 1700 < time.time() - loaded.expires_at < 1900


@pytest.fixture
def scripted():
    """A function that serves the given bytes, once for each connection, and returns the URL."""
    listeners = []

    def serve(answer: bytes):
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def run():
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection, suppress(OSError):  # the probe may hang up at any time
                    connection.recv(65536)
                    connection.sendall(answer)

        threading.Thread(target=run, daemon=True).start()
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    yield serve
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def with_head(body: bytes, head: bytes = b"") -> bytes:
    return b"HTTP/1.1 200 OK\r\nConnection: close\r\n" + head + b"\r\n" + body


def as_json(value: object) -> bytes:
    return with_head(json.dumps(value).encode())


@pytest.mark.parametrize(
    "answer",
    [
        with_head(b""),
        as_json([]),
        as_json("models"),
        as_json({"models": {"a": 1}}),
        as_json({"models": [{"name": 7}]}),
        as_json({"error": "this is another service"}),
        with_head(b'{"models": [{"name": "\xff\xfe"}]}'),
        with_head(b'{"models": ' + b"9" * 10_000 + b"}"),
        b"SSH-2.0-OpenSSH_9.2p1\r\n",
        b"HTTP/1.1 banana\r\n\r\n",
        with_head(b"{}", b"Content-Encoding: br\r\n"),
    ],
)
def test_what_is_not_ollamas_is_said_to_be_so(scripted, answer):
    assert probe(scripted(answer)).tags.fault is Fault.NOT_JSON


@pytest.mark.parametrize(
    "models", [None, [], [{}], [{"name": None}], [{"name": ""}], [{"name": "\x00\u202e"}]]
)
def test_an_empty_list_in_any_spelling_is_no_fault(scripted, models):
    seen = probe(scripted(as_json({"models": models})))
    assert (seen.tags.fault, seen.models) == (None, ())


def test_names_are_cleaned_shortened_and_limited_in_number(scripted):
    hostile = "\x1b]0;owned\x07\u202egood\u200b\n" + "x" * 1000
    seen = probe(
        scripted(as_json({"models": [{"name": hostile}] + [{"model": f"m{n}"} for n in range(MAX_MODELS)]}))
    )
    assert seen.models[0] == ("]0;owned good " + "x" * 1000)[: LONGEST - 1] + "…"
    assert seen.models[1] == "m0"
    assert (len(seen.models), seen.models_cut) == (MAX_MODELS, True)


def test_a_header_from_the_node_is_cleaned_before_it_becomes_a_detail(scripted):
    location = b"http://evil.example/\x1b[2J\xe2\x80\xae" + b"x" * 2000
    seen = probe(
        scripted(b"HTTP/1.1 301 \x1b[31m\r\nLocation: " + location + b"\r\nContent-Length: 0\r\n\r\n")
    )
    assert seen.tags.fault is Fault.REDIRECT
    assert seen.tags.detail == "HTTP 301 Moved Permanently to http://evil.example"


@pytest.mark.parametrize(
    ("location", "shown"),
    [
        (b"https://login.example:8443/a?b#c", " to https://login.example:8443"),
        (b"http://proxy.example", " to http://proxy.example"),
        (b"@channel <!channel> [reset](http://evil.example)", ""),
        (b"http://ops:secret@proxy.example/", ""),
        (b"http://[reset](http://evil.example)", ""),
        (b"javascript:alert(1)", ""),
        (b"/elsewhere", ""),
    ],
)
def test_of_a_redirect_only_the_server_is_shown(scripted, location, shown):
    seen = probe(scripted(b"HTTP/1.1 302 x\r\nLocation: " + location + b"\r\nContent-Length: 0\r\n\r\n"))
    assert seen.tags.detail == "HTTP 302 Found" + shown


def test_a_body_that_says_beforehand_that_it_is_too_large_is_not_read(scripted):
    seen = probe(scripted(with_head(b"{", b"Content-Length: 2147483648\r\n")))
    assert seen.tags.fault is Fault.TOO_LARGE


@pytest.mark.parametrize("size", [b"-5", b"-0x5", b"-99999999999999999999"])
def test_a_chunk_of_a_negative_size_is_the_node_s_fault_and_not_the_inventory_s(scripted, size):
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    seen = probe(scripted(head + size + b"\r\nhello\r\n0\r\n\r\n"))
    assert seen.tags.fault in (Fault.UNREADABLE, Fault.CLOSED)
    judged = diagnose(Node("a", "A", "http://a:1"), seen, NodeState())
    assert judged.cause in (Cause.NOT_OLLAMA, Cause.HTTP_ERROR)


@pytest.mark.parametrize("head", [b"Content-Length: 2\r\nContent-Length: 3\r\n", b"Content-Length: 2, 3\r\n"])
def test_lengths_that_differ_are_a_fault_of_the_answer_not_of_the_inventory(scripted, head):
    seen = probe(scripted(with_head(b"{}", head)))
    assert seen.tags.fault is Fault.NOT_JSON
    assert seen.tags.detail == "several Content-Length headers that differ"


@pytest.mark.parametrize(
    "answer",
    [
        (b"HTTP/1.1 100 Continue\r\n" + (b"X: " + b"x" * 60_000 + b"\r\n") * 50 + b"\r\n") * 3,
        b"HTTP/1.1 200 " + b"x" * 100_000,
        with_head(b"1;" + b"x" * 6_000_000, b"Transfer-Encoding: chunked\r\n"),
    ],
    ids=["interim answers", "status line", "chunk extension"],
)
def test_no_part_of_an_answer_is_without_a_limit(scripted, answer):
    assert probe(scripted(answer)).tags.fault is Fault.TOO_LARGE


def test_a_long_but_honest_list_is_read(scripted):
    models = [{"name": f"model-{n}", "details": {"families": ["llama"]}} for n in range(5000)]
    seen = probe(scripted(as_json({"models": models})))
    assert (len(seen.models), seen.models_cut) == (5000, False)


def test_a_chunked_answer_is_read(scripted):
    body = b'{"models": [{"name": "a"}]}'
    chunks = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    assert probe(scripted(with_head(chunks, b"Transfer-Encoding: chunked\r\n"))).models == ("a",)


def test_a_chunk_that_never_comes_is_a_closed_connection(scripted):
    seen = probe(scripted(with_head(b"ff\r\n{", b"Transfer-Encoding: chunked\r\n")))
    assert seen.tags.fault is Fault.CLOSED


@pytest.mark.parametrize(
    "url",
    ["http://", "ftp://127.0.0.1", "127.0.0.1:11434", "http://[::1", "http://127.0.0.1:99999", "http://a b/"],
)
def test_a_url_that_cannot_be_used_is_an_observation_not_an_exception(url):
    assert probe(url).tags.fault in (Fault.UNUSABLE, Fault.DNS)


def test_a_deep_check_asks_a_loaded_model_as_it_is_loaded_and_leaves_how_long_it_stays_alone(standin):
    server = standin(loaded=("llama3.2:latest",))
    seen = probe(server.url, choose=first)
    assert seen.deep is not None
    assert (seen.deep.fault, seen.deep_model, seen.deep_excused) == (None, "llama3.2:latest", False)
    assert list(server.paths) == ["/api/tags", "/api/ps", "/api/generate"]
    (asked,) = server.generated
    assert asked == {"model": "llama3.2:latest", "stream": False, "options": {"num_ctx": 4096}}


def test_a_loaded_model_that_does_not_answer_is_told_from_one_that_is_at_work(standin):
    server = standin(loaded=("llama3.2:latest",), fault="hung_runner")
    seen = probe(server.url, choose=first)
    assert seen.deep is not None
    assert (seen.deep.fault, seen.deep_excused) == (Fault.READ_TIMEOUT, False)
    assert list(server.paths) == ["/api/tags", "/api/ps", "/api/generate", "/api/ps"]

    def meanwhile(loaded: tuple[LoadedModel, ...]) -> LoadedModel:
        server.expiry["llama3.2:latest"] += 300  # a request of somebody else's has finished
        return loaded[0]

    assert probe(server.url, choose=meanwhile).deep_excused


def test_a_full_queue_is_an_answer_of_its_own(standin):
    server = standin(loaded=("llama3.2:latest",), fault="busy")
    seen = probe(server.url, choose=first)
    assert seen.deep is not None
    assert (seen.deep.fault, seen.deep.status) == (Fault.STATUS, 503)
