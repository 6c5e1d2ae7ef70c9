"""Names, addresses, TLS, headers and proxies: the way to a node, and what a probe says when it is blocked."""

import datetime
import os
import socket
import ssl
import subprocess
import sys
import threading
import time

import pytest
import trustme

from checkout import PROGRAMS
from gpu_mesh.domain.mesh import Node
from gpu_mesh.domain.observation import Fault
from gpu_mesh.probe.ollama import observe
from gpu_mesh.probe.sockets import system_resolve

TIMEOUT = 1.2  # seconds


def probe(url, *, trust_env=False, timeout=TIMEOUT, resolve=system_resolve, **settings):
    node = Node(key="alpha", name="Alpha", url=url, timeout=timeout, **settings)
    return observe(node, 1000.0, ask_version=False, trust_env=trust_env, resolve=resolve)


def v4(port):
    return (socket.AF_INET, ("127.0.0.1", port))


def v6(port):
    return (socket.AF_INET6, ("::1", port, 0, 0))


def test_a_name_server_that_never_answers_holds_a_probe_no_longer_than_its_timeout():
    forever = threading.Event()
    began = time.monotonic()
    seen = probe("http://gpu.example:11434", resolve=lambda host, port: list(filter(None, [forever.wait()])))
    forever.set()
    assert time.monotonic() - began < TIMEOUT + 1
    assert (seen.tags.fault, seen.tags.detail) == (Fault.DNS, "the name server did not answer within 1.2 s")


def test_a_name_server_that_never_answers_does_not_keep_the_process_from_ending():
    program = PROGRAMS / "ask_a_silent_name_server.py"
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=15, check=True)
    assert done.stdout.strip() == "dns"


def test_a_name_that_does_not_exist_is_said_to_be_so():
    assert probe("http://no-such-host.invalid:11434", timeout=20.0).tags.fault is Fault.DNS


def test_a_name_that_cannot_be_one_is_said_to_be_so():
    assert probe(f"http://{'x' * 70}.example:11434").tags.fault in (Fault.DNS, Fault.UNUSABLE)


def test_a_host_that_swallows_packets_is_a_connect_timeout(silent_port):
    began = time.monotonic()
    seen = probe(f"http://127.0.0.1:{silent_port}")
    assert time.monotonic() - began < TIMEOUT + 1
    assert (seen.tags.fault, seen.tags.detail) == (Fault.CONNECT_TIMEOUT, "nobody accepted within 1.2 s")


def test_localhost_is_found_where_ollama_listens(standin):
    server = standin()
    assert probe(f"http://localhost:{server.port}").tags.fault is None


def test_a_node_on_ipv6_is_reached_by_its_literal(standin):
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    assert probe(standin(host="::1").url).tags.fault is None


def test_the_second_address_is_tried_when_the_first_refuses(standin, closed_port):
    server = standin()
    seen = probe("http://gpu.example", resolve=lambda *_: [v6(closed_port), v4(closed_port), v4(server.port)])
    assert seen.tags.fault is None


def test_the_second_address_is_tried_in_time_when_the_first_swallows_packets(standin, silent_port):
    server = standin()
    seen = probe("http://gpu.example", resolve=lambda *_: [v4(silent_port), v4(server.port)])
    assert seen.tags.fault is None
    assert seen.tags.ms >= TIMEOUT / 2 * 900


def test_of_several_addresses_the_one_that_came_farthest_gives_the_fault(silent_port, closed_port):
    blackhole, refusing = v4(silent_port), v4(closed_port)
    assert probe("http://a.example", resolve=lambda *_: [blackhole, refusing]).tags.fault is Fault.REFUSED
    assert probe("http://a.example", resolve=lambda *_: [refusing, blackhole]).tags.fault is Fault.REFUSED


def test_no_proxy_of_the_environment_is_used_unless_that_is_asked_for(standin, closed_port, monkeypatch):
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{closed_port}")
    monkeypatch.setenv("no_proxy", "")
    server = standin()
    assert probe(server.url).tags.fault is None
    seen = probe(server.url, trust_env=True)
    assert seen.tags.fault is Fault.PROXY  # neither the node nor the inventory is to blame
    assert seen.tags.detail == f"127.0.0.1:{closed_port}: connection refused"


@pytest.mark.parametrize(
    ("proxy", "detail"),
    [
        ("socks5://ops:hunter2@127.0.0.1:1080", "its kind is socks5; only http and https are used"),
        ("socks5h://127.0.0.1:1080", "its kind is socks5h; only http and https are used"),
        ("gopher://127.0.0.1:70", "its kind is gopher; only http and https are used"),
        ("http://", "its URL cannot be used"),
        ("http://ops:hunter2@127.0.0.1:port", "its URL cannot be used"),
        ("http://[::1", "its URL cannot be used"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_named_as_such(standin, monkeypatch, proxy, detail):
    monkeypatch.setenv("http_proxy", proxy)
    monkeypatch.setenv("no_proxy", "")
    tags = probe(standin().url, trust_env=True).tags
    assert (tags.fault, tags.detail) == (Fault.PROXY, detail)


def test_a_proxy_of_the_environment_carries_the_probe_when_that_is_asked_for(standin, monkeypatch):
    server = standin(fault="http_503")  # a proxy is asked for the whole URL, and this one denies it
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.setenv("no_proxy", "")
    assert probe("http://gpu.example:11434", trust_env=True).tags.status == 503
    assert list(server.paths) == ["http://gpu.example:11434/api/tags"]


def test_nothing_is_taken_from_netrc(standin, tmp_path, monkeypatch):
    netrc = tmp_path / ".netrc"
    netrc.write_text("default login me password hush\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(netrc))
    server = standin()
    probe(server.url)
    probe(server.url, trust_env=True)
    assert "Authorization" not in server.headers
    assert server.headers["Accept-Encoding"] == "identity"


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / "token"
    path.write_text("Bearer hush\n")
    path.chmod(0o600)
    return path


def test_headers_are_sent_and_those_in_a_private_file_are_read_at_use(standin, secret):
    server = standin()
    assert probe(server.url, headers={"X-Team": "ops", "Authorization": f"@{secret}"}).tags.fault is None
    assert (server.headers["X-Team"], server.headers["Authorization"]) == ("ops", "Bearer hush")
    secret.write_text("Bearer new\n")
    probe(server.url, headers={"Authorization": f"@{secret}"})
    assert server.headers["Authorization"] == "Bearer new"


def test_a_header_file_that_others_can_read_is_not_used(standin, secret):
    server = standin()
    secret.chmod(0o640)
    seen = probe(server.url, headers={"Authorization": f"@{secret}"})
    assert seen.tags.fault is Fault.UNUSABLE
    assert f"chmod 600 {secret}"[:60] in seen.tags.detail
    assert "hush" not in repr(seen)
    assert not server.paths


@pytest.mark.parametrize("kind", ["missing", "folder", "pipe", "empty", "long", "two lines"])
def test_a_header_file_that_cannot_be_used_is_named_without_its_content(standin, tmp_path, kind):
    path = tmp_path / "t"
    match kind:
        case "folder":
            path.mkdir(mode=0o700)
        case "pipe":
            os.mkfifo(path, 0o600)
        case "empty" | "long" | "two lines":
            path.write_text({"empty": "\n", "long": "hush" * 10_000, "two lines": "hush\nHost: hush"}[kind])
            path.chmod(0o600)
    seen = probe(standin().url, headers={"X-Token": f"@{path}"})
    assert seen.tags.fault is Fault.UNUSABLE
    assert str(path) in seen.tags.detail
    assert "X-Token" in seen.tags.detail
    assert "hush" not in repr(seen)


@pytest.mark.parametrize(
    "headers",
    [{"X-Token": "hush\r\nHost: elsewhere"}, {"X-Token": " hush"}, {"X Token": "hush"}, {"X": "hush€"}],
)
def test_a_header_that_would_break_the_request_is_refused_without_being_shown(standin, headers):
    seen = probe(standin().url, headers=headers)
    assert seen.tags.fault is Fault.UNUSABLE
    assert "header" in seen.tags.detail
    assert "hush" not in repr(seen)


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def ca_file(authority, tmp_path):
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return str(path)


def server_context(authority, *names, **settings):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names, **settings).configure_cert(context)
    return context


def test_a_node_behind_tls_is_healthy_when_its_ca_is_named(standin, authority, ca_file):
    server = standin(tls=server_context(authority, "127.0.0.1", "localhost"), loaded=("llama3.2:latest",))
    for url in (server.url, f"https://localhost:{server.port}"):
        seen = probe(url, ca_file=ca_file, timeout=5.0)
        assert (seen.tags.fault, seen.ps.fault) == (None, None), seen
    assert server.connections == 2  # one for each probe


def test_an_unknown_ca_is_named(standin, authority):
    seen = probe(standin(tls=server_context(authority, "127.0.0.1")).url)
    assert seen.tags.fault is Fault.TLS
    assert seen.tags.detail.startswith("unknown CA")


def test_a_certificate_for_another_name_is_named(standin, authority, ca_file):
    server = standin(tls=server_context(authority, "elsewhere.example", "127.0.0.9"))
    for url in (server.url, f"https://localhost:{server.port}"):
        seen = probe(url, ca_file=ca_file)
        assert seen.tags.fault is Fault.TLS
        assert seen.tags.detail.startswith("wrong name")


def test_an_expired_certificate_is_named(standin, authority, ca_file):
    past = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    context = server_context(
        authority, "127.0.0.1", not_before=past - datetime.timedelta(days=1), not_after=past
    )
    seen = probe(standin(tls=context).url, ca_file=ca_file)
    assert (seen.tags.fault, seen.tags.detail) == (Fault.TLS, "certificate has expired")


def test_a_port_without_tls_is_named(standin, ca_file):
    seen = probe(standin().url.replace("http:", "https:"), ca_file=ca_file)
    assert (seen.tags.fault, seen.tags.detail) == (Fault.NO_TLS, "")


@pytest.mark.parametrize(
    ("fault", "expected"),
    [("drip", Fault.READ_TIMEOUT), ("huge", Fault.TOO_LARGE), ("endless_headers", Fault.TOO_LARGE)],
)
def test_deadline_and_size_hold_over_tls_too(standin, authority, ca_file, fault, expected):
    server = standin(tls=server_context(authority, "127.0.0.1"), fault=fault)
    began = time.monotonic()
    assert probe(server.url, ca_file=ca_file).tags.fault is expected
    assert time.monotonic() - began < TIMEOUT + 1


def test_a_tls_handshake_that_never_ends_is_cut_off(ca_file):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        began = time.monotonic()
        seen = probe(f"https://127.0.0.1:{listener.getsockname()[1]}", ca_file=ca_file)
        assert time.monotonic() - began < TIMEOUT + 1
    assert seen.tags.fault is Fault.READ_TIMEOUT


def test_a_connection_closed_during_the_handshake_is_closed_not_tls(ca_file):
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def close_after_the_greeting():
            connection, _ = listener.accept()
            connection.recv(65536)
            connection.close()

        threading.Thread(target=close_after_the_greeting, daemon=True).start()
        seen = probe(f"https://127.0.0.1:{listener.getsockname()[1]}", ca_file=ca_file)
    assert seen.tags.fault in (Fault.CLOSED, Fault.RESET)  # as through a tunnel whose far end is down


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_ca_file_that_cannot_be_used_is_named(standin, authority, tmp_path, content):
    path = tmp_path / "ca.pem"
    if content:
        path.write_text(content)
    seen = probe(standin(tls=server_context(authority, "127.0.0.1")).url, ca_file=str(path))
    assert seen.tags.fault is Fault.UNUSABLE
    assert str(path) in seen.tags.detail
