"""What etcd does, as the program asks it; the etcd of tests/simulated_cluster.py must do the same."""

import http.server
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gpu_mesh.system.etcd import (
    AwayError,
    Compare,
    Delete,
    Etcd,
    EtcdError,
    Get,
    KeyValue,
    Put,
    Tls,
)
from monitors import LACKING, EtcdServer
from simulated_cluster import Line, Store
from sites import eventually

Open = Callable[[], "Etcd | Line"]


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    if LACKING:
        pytest.skip(LACKING)
    server = EtcdServer(tmp_path_factory.mktemp("etcd"))
    yield server
    server.stop()


@pytest.fixture(params=["real", "simulated"])
def etcd(request: pytest.FixtureRequest) -> "Iterator[Etcd | Line]":
    if request.param == "simulated":
        yield Line(Store())
        return
    server = request.getfixturevalue("real")
    with Etcd([server.url], Tls(), 20) as client:
        yield client
        for (found,) in [client.transact([Get("/test/", prefix=True)]).found]:
            client.transact([Delete(each.key) for each in found])


def value(etcd: "Etcd | Line", key: str) -> bytes | None:
    found: tuple[KeyValue, ...] = etcd.transact([Get(key)]).found[0]
    return found[0].value if found else None


def test_what_is_put_is_read_whatever_bytes_it_has(etcd) -> None:
    every = bytes(range(256)) * 100
    etcd.transact([Put("/test/é", every)])
    assert value(etcd, "/test/é") == every
    assert value(etcd, "/test/other") is None


def test_all_keys_with_a_beginning_are_read_in_order(etcd) -> None:
    etcd.transact([Put(f"/test/{name}", name.encode()) for name in ("b/2", "b/1", "c", "a")])
    found = etcd.transact([Get("/test/b/", prefix=True), Get("/test/c")]).found
    assert [[each.value for each in keys] for keys in found] == [[b"b/1", b"b/2"], [b"c"]]


def test_a_transaction_does_all_or_the_other_side(etcd) -> None:
    taken = etcd.transact([Put("/test/lead", b"desk"), Get("/test/lead")], [Compare("/test/lead", created=0)])
    assert taken.succeeded
    term = taken.found[0][0].created
    refused = etcd.transact(
        [Put("/test/lead", b"attic"), Put("/test/more", b"x")],
        [Compare("/test/lead", created=0)],
        [Get("/test/lead")],
    )
    assert not refused.succeeded
    assert refused.found[0][0].value == b"desk"
    assert value(etcd, "/test/more") is None
    assert etcd.transact([Put("/test/lead", b"desk")], [Compare("/test/lead", created=term)]).succeeded
    assert not etcd.transact([], [Compare("/test/lead", value=b"attic")]).succeeded
    assert not etcd.transact(
        [], [Compare("/test/lead", created=term), Compare("/test/x", value=b"")]
    ).succeeded


def test_a_key_that_is_made_anew_has_another_revision(etcd) -> None:
    etcd.transact([Put("/test/a", b"1")])
    first = etcd.transact([Get("/test/a")]).found[0][0].created
    etcd.transact([Put("/test/a", b"2")])
    assert etcd.transact([Get("/test/a")]).found[0][0].created == first
    etcd.transact([Delete("/test/a")])
    etcd.transact([Put("/test/a", b"3")])
    assert etcd.transact([Get("/test/a")]).found[0][0].created > first


def test_what_is_under_a_lease_ends_with_it(etcd) -> None:
    lease = etcd.grant(30)
    etcd.transact([Put("/test/mine", b"x", lease), Put("/test/kept", b"y")])
    assert etcd.renew(lease)
    assert etcd.transact([Get("/test/mine")]).found[0][0].lease == lease
    (etcd._store if isinstance(etcd, Line) else etcd).revoke(lease)
    assert eventually(lambda: value(etcd, "/test/mine") is None)
    assert value(etcd, "/test/kept") == b"y"
    assert not etcd.renew(lease)
    with pytest.raises(EtcdError, match="lease not found"):
        etcd.transact([Put("/test/mine", b"x", lease)])


def test_an_endpoint_that_does_not_answer_is_passed_over(real: EtcdServer, closed_port: int) -> None:
    with Etcd([f"http://127.0.0.1:{closed_port}", real.url], Tls(), 5) as client:
        assert client.grant(5) > 0
        assert client.grant(5) > 0


def test_one_that_takes_the_connection_and_is_silent_is_passed_over(
    real: EtcdServer, silent_port: int
) -> None:
    with Etcd([f"http://127.0.0.1:{silent_port}", real.url], Tls(), 2) as client:
        assert client.grant(5) > 0


def test_without_any_endpoint_that_answers_etcd_is_away_and_the_reason_is_named(closed_port: int) -> None:
    client = Etcd([f"http://127.0.0.1:{closed_port}"], Tls(), 2)
    with client, pytest.raises(AwayError, match=f"{closed_port}: Connection refused"):
        client.grant(5)


def test_what_etcd_refuses_is_no_absence(real: EtcdServer) -> None:
    with Etcd([real.url], Tls(), 10) as client:
        with pytest.raises(EtcdError, match="larger than max") as caught:
            client.transact([Put("/test/large", bytes(4_000_000))])
        assert not isinstance(caught.value, AwayError)


def test_how_the_clocks_of_the_endpoints_stand_is_about_zero_here(real: EtcdServer, closed_port: int) -> None:
    with Etcd([real.url, f"http://127.0.0.1:{closed_port}"], Tls(), 5) as client:
        (ahead,) = client.clocks()
    assert -3 < ahead <= 1


class _Wrong(http.server.BaseHTTPRequestHandler):
    said = b""

    def do_POST(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.said)

    def log_message(self, *args: object) -> None:
        pass


@pytest.mark.parametrize("said", [b"", b"[]", b"{", b"\xff", b'{"a":' * 5000, b"<html>", b"{}", b'{"ID":[]}'])
def test_what_is_not_etcd_is_named(said: bytes) -> None:
    handler = type("Handler", (_Wrong,), {"said": said})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        client = Etcd([f"http://127.0.0.1:{server.server_address[1]}"], Tls(), 5)
        with client, pytest.raises(EtcdError, match="not etcd's"):
            client.grant(5)
        server.shutdown()


def test_a_file_of_tls_that_is_missing_is_named(tmp_path: Path, real: EtcdServer) -> None:
    missing = str(tmp_path / "ca.pem")
    client = Etcd([real.url.replace("http:", "https:")], Tls(ca=missing), 5)
    with client, pytest.raises(EtcdError, match="No such file"):
        client.grant(5)
