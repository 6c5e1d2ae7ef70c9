"""Debian's Alertmanager, a cluster of two, and what it notifies of; and receivers that fail."""

import json
import re
import shutil
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from factories import NOW
from gpu_mesh.delivery import alertmanager, alertmanager_api, alertmanager_config
from gpu_mesh.delivery.alertmanager_config import Alertmanager
from gpu_mesh.domain.mesh import Mesh, Settings
from gpu_mesh.standin.server import Standin, free_port
from gpu_mesh.system.log import Log
from sites import Site, eventually

ALERTMANAGER = shutil.which("prometheus-alertmanager")
real = pytest.mark.skipif(ALERTMANAGER is None, reason="needs Debian's package prometheus-alertmanager")

TROUBLE = "GpuMeshNodeTrouble"
GROUPED = """
route:
  receiver: recorder
  group_by: [alertname, node]
  group_wait: 0s
  group_interval: 2s
  repeat_interval: 1h
receivers:
  - name: recorder
    webhook_configs:
      - url: http://127.0.0.1:{port}/
        send_resolved: true
"""


class Recorder(ThreadingHTTPServer):
    """A web hook: keeps each alert of each notification as (status, alertname, severity)."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Post)
        self.seen: list[tuple[str, str, str]] = []
        self.summaries: list[str] = []
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def of(self, status: str) -> list[tuple[str, str]]:
        return [(name, severity) for was, name, severity in self.seen if was == status]


class _Post(BaseHTTPRequestHandler):
    server: Recorder

    def do_POST(self) -> None:
        for alert in json.loads(self.rfile.read(int(self.headers["Content-Length"])))["alerts"]:
            labels = alert["labels"]
            self.server.seen.append((alert["status"], labels["alertname"], labels["severity"]))
            self.server.summaries.append(alert["annotations"]["summary"])
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


class Cluster:
    """Two Alertmanagers that know each other."""

    def __init__(self, folder: Path, recorder: Recorder) -> None:
        config = folder / "am.yml"
        config.write_text(GROUPED.format(port=recorder.server_address[1]))
        self.ports, gossip = (free_port(), free_port()), (free_port(), free_port())
        self._processes = [
            subprocess.Popen(
                [
                    str(ALERTMANAGER),
                    f"--config.file={config}",
                    f"--storage.path={folder / f'am{number}'}",
                    f"--web.listen-address=127.0.0.1:{self.ports[number]}",
                    f"--cluster.listen-address=127.0.0.1:{gossip[number]}",
                    f"--cluster.advertise-address=127.0.0.1:{gossip[number]}",
                    f"--cluster.peer=127.0.0.1:{gossip[1 - number]}",
                    "--cluster.reconnect-interval=100ms",
                    # Shorter than group_interval, as in practice: for so long the second one waits for what
                    # the first has done, and what it then notifies of must still be so.
                    "--cluster.peer-timeout=1500ms",
                    "--cluster.gossip-interval=20ms",
                ],
                stdout=subprocess.DEVNULL,
                stderr=(folder / f"am{number}.log").open("w"),
            )
            for number in (0, 1)
        ]
        assert eventually(lambda: all(self.peers(number) == 2 for number in (0, 1)))

    def peers(self, number: int) -> int:
        with suppress(OSError):
            cluster = self.get(number, "status")["cluster"]
            return len(cluster["peers"]) if cluster["status"] == "ready" else 0
        return 0

    def get(self, number: int, what: str) -> Any:
        url = f"http://127.0.0.1:{self.ports[number]}/api/v2/{what}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)

    def stop(self) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.wait(20)


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    server = Recorder()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def cluster(tmp_path: Path, recorder: Recorder) -> Iterator[Cluster]:
    both = Cluster(tmp_path, recorder)
    yield both
    both.stop()


def name(site: Site, *urls: str, **options: str) -> None:
    """Name the Alertmanagers, and no URL of Apprise."""
    site.paths.config.mkdir(exist_ok=True)
    for file, content in (
        ("alertmanager.yml", {"alertmanagers": [{"url": url, **options} for url in urls]}),
        ("apprise.yml", {"urls": []}),
    ):
        path = site.paths.config / file
        path.touch(mode=0o600)
        path.write_text(json.dumps(content))


@pytest.fixture
def port(site: Site) -> int:
    """Where the only node shall answer; nothing does yet. Its first failure makes it unhealthy."""
    port = free_port()
    node = {
        "url": f"http://127.0.0.1:{port}",
        "unhealthy_threshold": 1,
        "recovery": "none",
        "name": "Iceland",
    }
    site.describe({"iceland": node})
    return port


def heal(site: Site, port: int) -> None:
    with Standin(port=port):
        site.check()


@real
def test_a_cluster_notifies_once_that_a_node_fails_and_once_that_it_is_over(
    site: Site, port: int, cluster: Cluster, recorder: Recorder
) -> None:
    name(site, *(f"http://127.0.0.1:{each}" for each in cluster.ports))
    site.check()
    site.ok("deliver")
    assert eventually(lambda: recorder.seen)
    for number in (0, 1):
        (alert,) = cluster.get(number, "alerts")
        assert alert["labels"]["node"] == "iceland"
    for _ in range(5):  # together they take longer than the cluster waits between two notifications
        site.check()
        site.ok("deliver")
    assert recorder.seen == [("firing", TROUBLE, "critical")]
    assert recorder.summaries[0].startswith("Iceland is unhealthy: ")
    heal(site, port)
    site.ok("deliver")
    assert eventually(lambda: recorder.of("resolved"))
    eventually(lambda: len(recorder.seen) > 2, patience=6)  # what comes too often comes by then
    assert recorder.seen == [("firing", TROUBLE, "critical"), ("resolved", TROUBLE, "critical")]
    assert recorder.summaries[1] == "Iceland is healthy again"
    assert [each.told for each in site.state().alertmanagers.values()] == [(), ()]


@real
def test_a_test_alert_arrives_and_ends_by_itself(site: Site, port: int, cluster: Cluster) -> None:
    name(site, *(f"http://127.0.0.1:{each}" for each in cluster.ports))
    said = site.ok("alerts", "test")
    assert said.count("ok       Alertmanager http://127.0.0.1:") == 2
    (alert,) = cluster.get(1, "alerts")
    assert (alert["labels"]["alertname"], alert["status"]["state"]) == ("GpuMeshTest", "active")
    assert datetime.fromisoformat(alert["endsAt"]) - datetime.fromisoformat(alert["startsAt"]) == timedelta(
        seconds=120
    )
    assert not site.paths.state_file.exists()


Answer = bytes | Callable[[socket.socket], object]


def http(status: str, *headers: str, body: bytes = b"") -> bytes:
    lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}", "Connection: close", "", ""]
    return "\r\n".join(lines).encode() + body


def endless(begin: bytes, piece: bytes) -> Callable[[socket.socket], None]:
    def answer(client: socket.socket) -> None:
        client.sendall(begin)
        while True:
            client.sendall(piece)

    return answer


class Fake(ThreadingHTTPServer):
    """An Alertmanager of which only the answers matter: keeps what it was posted, and by whom."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Api)
        self.answer: Answer = http("200 OK")
        self.posts: list[list[dict[str, Any]]] = []
        self.logins: list[str] = []
        self.paths: list[str] = []
        self.release = threading.Event()
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def stop(self) -> None:
        self.release.set()
        self.shutdown()
        self.server_close()


class _Api(BaseHTTPRequestHandler):
    server: Fake

    def do_POST(self) -> None:
        self.server.posts.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.server.logins.append(self.headers.get("Authorization", ""))
        self.server.paths.append(self.path)
        self.close_connection = True
        if callable(self.server.answer):
            with suppress(OSError):
                self.server.answer(self.connection)
        else:
            self.wfile.write(self.server.answer)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def fakes() -> Iterator[tuple[Fake, Fake]]:
    both = Fake(), Fake()
    yield both
    for each in both:
        each.stop()


def ends(fake: Fake) -> list[bool]:
    """Return of each alert that was posted, in order, whether it is over."""
    now = datetime.now(UTC)
    return [datetime.fromisoformat(alert["endsAt"]) <= now for post in fake.posts for alert in post]


def test_an_end_is_posted_until_each_has_accepted_it_and_nothing_of_apprise_is_loaded(
    site: Site, port: int, fakes: tuple[Fake, Fake]
) -> None:
    first, second = fakes
    name(site, first.url, f"{second.url}/am/")
    site.check()
    site.ok("deliver")
    assert (ends(first), ends(second)) == ([False], [False])
    assert second.paths == ["/am/api/v2/alerts"]
    heal(site, port)
    second.answer = http("503 Busy")
    site.ok("deliver")
    second.answer = http("200 OK")
    assert "apprise" not in loaded_by(site)  # the outbox is empty: no URL wants anything
    site.ok("deliver")
    assert ends(first) == [False, True]
    assert ends(second) == [False, True, True]
    assert first.posts[-1] == second.posts[-1] == []


def loaded_by(site: Site) -> str:
    """Deliver; return the names of the modules that were loaded for it."""
    site.program[1:1] = ["-X", "importtime"]
    done = site.run("deliver")
    del site.program[1:3]
    assert done.returncode == 0
    return " ".join(line.split("|")[-1].split(".")[0] for line in done.stderr.splitlines())


def test_a_mesh_without_alertmanagers_loads_and_saves_nothing_for_them(site: Site, port: int) -> None:
    name(site)
    (site.paths.config / "alertmanager.yml").unlink()
    site.check()
    site.ok("deliver")
    before = site.paths.state_file.read_bytes()
    loaded = loaded_by(site).split()
    assert not {"requests", "yaml", "apprise"} & set(loaded)
    assert site.paths.state_file.read_bytes() == before
    assert not (site.paths.state / "alertmanager.lock").exists()


def test_a_run_that_changes_nothing_writes_nothing(site: Site, port: int, fakes: tuple[Fake, Fake]) -> None:
    name(site, fakes[0].url)
    site.check()
    site.ok("deliver")
    before = site.paths.state_file.stat().st_mtime_ns
    site.ok("deliver")
    assert site.paths.state_file.stat().st_mtime_ns == before
    firsts, seconds = fakes[0].posts
    assert firsts[0]["labels"] == seconds[0]["labels"]
    assert firsts[0]["startsAt"] == seconds[0]["startsAt"]
    assert firsts[0]["endsAt"] < seconds[0]["endsAt"]


FAILS: dict[str, tuple[Answer, str]] = {
    "a redirect": (
        http("307 Elsewhere", "Location: http://user:hunter2@other.example:9093/api/v2/alerts"),
        "HTTP 307, a redirect to http://other.example:9093: none is followed",
    ),
    "a login that is wrong": (http("401 No", body=b"hunter2"), "HTTP 401: it wants a login, or another one"),
    "an error": (http("500 No", body=b"hunter2"), "HTTP 500"),
    "a huge body": (endless(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 65536), "too_large: "),
    "no HTTP": (b"SSH-2.0-OpenSSH_9.2\r\n", "not_json: the answer is not HTTP"),
    "nothing": (b"", "closed: "),
}


@pytest.mark.parametrize("case", FAILS)
def test_a_failure_is_logged_with_its_cause_and_no_secret_and_the_other_is_told(
    site: Site, port: int, fakes: tuple[Fake, Fake], case: str
) -> None:
    first, second = fakes
    first.answer, reason = FAILS[case]
    name(site, first.url, second.url, username="mesh", password="hunter2")
    site.check()
    site.ok("deliver")
    (line,) = [line for line in site.log() if "event=alertmanager_refused" in line]
    assert f'service="Alertmanager {first.url}"' in line
    assert reason in line
    assert "hunter2" not in "\n".join(site.log()) + site.paths.state_file.read_text()
    assert ends(second) == [False]
    assert second.logins == ["Basic bWVzaDpodW50ZXIy"]


def test_one_that_hangs_ends_with_its_time_and_delays_no_other(
    site: Site, port: int, fakes: tuple[Fake, Fake], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = fakes
    first.answer = lambda _client: first.release.wait(60) and None
    name(site, first.url, second.url)
    site.check()
    found = alertmanager_config.load(site.paths.config / "alertmanager.yml").alertmanagers
    outcome = alertmanager_api.post(found[0], (), (), NOW, NOW, trust_env=False, limit=0.3)
    assert outcome.reason.startswith("read_timeout: ")
    monkeypatch.setattr(alertmanager_api.post, "__kwdefaults__", {"limit": 0.3})
    log = Log(site.paths.log_file)
    with alertmanager.kept_informed(site.paths, Mesh((), Settings()), log, lambda: NOW):
        assert eventually(lambda: second.posts)
    assert "read_timeout" in "\n".join(site.log())


def test_what_stays_unaccepted_is_alerted_once_and_its_end_once(
    site: Site, port: int, fakes: tuple[Fake, Fake]
) -> None:
    first, second = fakes
    name(site, first.url, second.url)
    first.answer = http("500 No")
    site.check()
    log, mesh = Log(site.paths.log_file), Mesh(())

    def after(seconds: float) -> list[str]:
        with alertmanager.kept_informed(site.paths, mesh, log, lambda: time.time() + seconds):
            pass
        return [alert.text for alert in site.state().alerts if "Alertmanager" in alert.text]

    assert after(0) == after(200) == []
    (told,) = after(310)
    assert re.fullmatch(r"The Alertmanager \w{12} accepts no alerts, for 5 min 10 s: HTTP 500", told)
    assert after(400) == [told]
    assert second.posts[-1][0]["labels"]["alertname"] == "GpuMeshAlertmanagerFails"
    first.answer = http("200 OK")
    assert after(500)[1:] == [f"{told.partition(' accepts')[0]} accepts alerts again after 8 min 20 s"]
    assert first.url not in site.paths.state_file.read_text()


def test_an_alertmanager_that_left_the_file_is_forgotten(
    site: Site, port: int, fakes: tuple[Fake, Fake]
) -> None:
    name(site, fakes[0].url, fakes[1].url)
    site.check()
    site.ok("deliver")
    assert len(site.state().alertmanagers) == 2
    name(site, fakes[0].url)
    site.ok("deliver")
    assert len(site.state().alertmanagers) == 1
    (site.paths.config / "alertmanager.yml").unlink()
    site.ok("deliver")
    assert site.state().alertmanagers == {}


def test_a_broken_file_fails_and_what_is_right_in_it_is_served(
    site: Site, port: int, fakes: tuple[Fake, Fake]
) -> None:
    name(site, fakes[0].url, fakes[1].url)
    site.check()
    site.ok("deliver")
    file = site.paths.config / "alertmanager.yml"
    file.write_text(f"alertmanagers:\n- url: {fakes[0].url}\n- url: {fakes[1].url}\n  pasword: hunter2\n")
    done = site.run("deliver")
    assert done.returncode == 1
    (line,) = [line for line in site.log() if "event=alert_config_broken" in line]
    assert f"{file} line 4: unknown option pasword; did you mean password?" in line
    assert len(fakes[0].posts) == 2
    assert len(site.state().alertmanagers) == 2  # it may only be half written


def test_a_silenced_node_is_not_posted_and_one_that_was_is_said_to_be_silenced(
    site: Site, port: int, fakes: tuple[Fake, Fake]
) -> None:
    name(site, fakes[0].url)
    site.check()
    site.ok("deliver")
    site.ok("silence", "add", "iceland", "--for", "1h", "--reason", "driver update")
    site.ok("deliver")
    site.check()
    site.ok("deliver")
    assert ends(fakes[0]) == [False, True]
    assert "driver update" in fakes[0].posts[1][0]["annotations"]["summary"]
    assert fakes[0].posts[2] == []


def test_while_a_chat_service_hangs_what_is_open_is_posted_again(
    site: Site, port: int, fakes: tuple[Fake, Fake], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alertmanager, "AGAIN", 0.05)
    name(site, fakes[0].url)
    site.check()
    with alertmanager.kept_informed(site.paths, Mesh(()), Log(site.paths.log_file), time.time):
        assert eventually(lambda: len(fakes[0].posts) > 2)


def test_while_nothing_can_be_saved_that_is_posted_and_what_is_known_goes_on(
    site: Site, port: int, fakes: tuple[Fake, Fake]
) -> None:
    name(site, fakes[0].url)
    site.check()
    site.ok("deliver")
    site.nothing_can_be_saved()
    for _ in range(2):
        assert site.run("check").returncode == 2
    site.run("deliver")
    names = [alert["labels"]["alertname"] for alert in fakes[0].posts[-1]]
    assert names == ["GpuMeshCannotSave", TROUBLE]


def test_while_nothing_can_be_saved_nothing_else_begins_or_ends(
    site: Site, port: int, fakes: tuple[Fake, Fake]
) -> None:
    name(site, fakes[0].url)
    site.check()
    site.nothing_can_be_saved()
    for _ in range(2):
        assert site.run("check").returncode == 2
    site.run("deliver")
    names = [alert["labels"]["alertname"] for alert in fakes[0].posts[-1]]
    assert names == ["GpuMeshCannotSave"]


def test_many_alerts_go_in_several_posts_and_those_before_a_failure_count(fakes: tuple[Fake, Fake]) -> None:
    over = [alertmanager_api.Ended({"alertname": "A", "node": str(number)}, "over") for number in range(450)]
    answers = iter([http("200 OK"), http("200 OK"), http("500 No")])
    fakes[0].answer = lambda client: client.sendall(next(answers))
    to = Alertmanager("id", fakes[0].url, "label", "place")
    outcome = alertmanager_api.post(to, over, (), NOW, NOW, trust_env=False)
    assert [len(post) for post in fakes[0].posts] == [200, 200, 50]
    assert outcome.reason == "HTTP 500"
    assert outcome.resolved == tuple(each.labels for each in over[:400])


def test_a_run_that_is_killed_while_it_posts_loses_no_end(
    site: Site, port: int, fakes: tuple[Fake, Fake]
) -> None:
    fake = fakes[0]
    name(site, fake.url)

    def killed_while_posting() -> None:
        fake.answer = lambda _client: fake.release.wait(60)
        before = len(fake.posts)
        run = subprocess.Popen(site.command("deliver"), env=site.environment)
        assert eventually(lambda: len(fake.posts) > before)
        run.kill()
        run.wait()
        fake.answer = http("200 OK")

    site.check()
    killed_while_posting()
    heal(site, port)
    killed_while_posting()
    site.ok("deliver")
    site.ok("deliver")
    assert ends(fake) == [False, True, True]
    assert fake.posts[-1] == []


def test_one_run_posts_at_a_time(site: Site, port: int, fakes: tuple[Fake, Fake]) -> None:
    fake = fakes[0]
    name(site, fake.url)
    site.check()
    fake.answer = lambda _client: fake.release.wait(60)
    first = subprocess.Popen(site.command("deliver"), env=site.environment)
    assert eventually(lambda: fake.posts)
    site.ok("deliver")
    assert len(fake.posts) == 1
    fake.release.set()
    assert first.wait(60) == 0
