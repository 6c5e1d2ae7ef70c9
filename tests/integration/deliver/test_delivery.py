"""Alerts on their way to real receivers: a mail server and web hooks on loopback."""

import json
import logging
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email import message_from_bytes, policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
from msgspec.structs import replace

from checkout import PROGRAMS
from factories import GPU1
from gpu_mesh.alerting import alerts
from gpu_mesh.cli.alerts import send_test, services
from gpu_mesh.delivery import apprise_config, sender
from gpu_mesh.delivery.render import Message
from gpu_mesh.delivery.sender import Sent
from gpu_mesh.delivery.worker import Result, deliver
from gpu_mesh.domain.alert import Alert, AlertKind, Level, Progress
from gpu_mesh.domain.health import Status
from gpu_mesh.domain.mesh import Settings
from gpu_mesh.domain.state import State, Tick
from gpu_mesh.reporting.alert_list import listed, reports, shown
from gpu_mesh.standin.server import free_port
from gpu_mesh.storage.state_file import StateFile
from gpu_mesh.system.log import Log
from gpu_mesh.system.paths import Paths
from receivers import Mailbox

SECRETS = ("hunter2pass", "pathtoken99", "headertoken77", "querytoken55", "brokentoken33")
PATIENCE = 20.0  # seconds until a condition that should come true counts as failed


def eventually(condition: Callable[[], object]) -> bool:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.01)
    return False


class Hook(ThreadingHTTPServer):
    """A web hook that can refuse, and hang until it is released."""

    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Post)
        self.answer = 200
        self.hang_from = 10_000  # the number of the first message that is not answered
        self.arrived: list[str] = []
        self.answered: list[str] = []
        self.kinds: list[str] = []
        self.release = threading.Event()
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"

    def stop(self) -> None:
        self.release.set()
        self.shutdown()
        self.server_close()


class _Post(BaseHTTPRequestHandler):
    server: Hook

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        said = json.loads(content) if content.startswith(b"{") else {"title": "", "type": ""}
        self.server.arrived.append(said["title"])
        self.server.kinds.append(said["type"])
        if len(self.server.arrived) >= self.server.hang_from:
            self.server.release.wait(60)
        if self.server.answer == 200:
            self.server.answered.append(said["title"])
        self.send_response(self.server.answer)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def hook() -> Iterator[Hook]:
    server = Hook()
    yield server
    server.stop()


@pytest.fixture
def other_hook() -> Iterator[Hook]:
    server = Hook()
    yield server
    server.stop()


@pytest.fixture
def root_log() -> Iterator[StringIO]:
    """Collect what any library says to the root logger (pytest's own capture reaches below it)."""
    text, root = StringIO(), logging.getLogger()
    handler, level = logging.StreamHandler(text), root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield text
    root.setLevel(level)
    root.removeHandler(handler)


@pytest.fixture
def mail() -> Iterator[tuple[Mailbox, int]]:
    box = Mailbox()

    def check(server: object, session: object, envelope: object, mechanism: str, data: object) -> AuthResult:
        return AuthResult(success=data.password == b"hunter2pass", handled=False)  # type: ignore[attr-defined]

    port = free_port()
    controller = Controller(
        box,
        hostname="127.0.0.1",
        port=port,
        authenticator=check,
        auth_required=True,
        auth_require_tls=False,
    )
    controller.start()
    yield box, port
    controller.stop()


class Site:
    """A monitor's folders, its clock, and what an operator does with it."""

    def __init__(self, folder: Path) -> None:
        self.paths = Paths((), folder / "etc", folder / "state", folder / "log")
        self.paths.config.mkdir()
        self.settings = Settings()
        self.log = Log(self.paths.log_file)
        self.now = 1_750_000_000.0
        self.file = StateFile(self.paths.state, self.log)

    def configure(self, text: str, name: str = "apprise.yml") -> Path:
        path = self.paths.config / name
        path.write_text(text)
        path.chmod(0o600)
        return path

    def queue(self, *levels: Level, tags: tuple[str, ...] = ()) -> None:
        with self.file.update(self.now) as state:
            for level in levels:
                number = state.next_alert
                item = Alert(
                    id=0,
                    at=self.now,
                    level=level,
                    kind=AlertKind.STATUS,
                    text=f"no {number}",
                    name="Vengeance",
                )
                alerts.queue(state, item if not tags else Alert(**{**_fields(item), "tags": tags}))
        self.paths.deliver_wanted.touch()

    def deliver(self, *, at_once: bool = False) -> Result:
        return deliver(self.paths, self.settings, self.log, lambda: self.now, at_once=at_once)

    @property
    def state(self) -> State:
        return self.file.load()

    @property
    def logged(self) -> str:
        return self.paths.log_file.read_text() if self.paths.log_file.exists() else ""

    def title(self, level: Level, number: int) -> str:
        return f"{level.icon} [{level.upper()}] Vengeance: no {number}"


def _fields(item: Alert) -> dict[str, object]:
    return {name: getattr(item, name) for name in item.__struct_fields__}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


DELIVER = (sys.executable, PROGRAMS / "deliver.py")
ALL = (Level.INFO, Level.WARNING, Level.ERROR, Level.CRITICAL)


def test_alerts_go_out_in_order_by_level_to_mail_and_chat(
    site: Site, hook: Hook, mail: tuple[Mailbox, int]
) -> None:
    box, port = mail
    site.configure(
        f"""
        urls:
          - json://{hook.address}/hook
          - mailto://ops:hunter2pass@127.0.0.1:{port}?from=mesh@example.com&to=ops@example.com:
              tag: critical
        """
    )
    site.queue(*ALL)
    assert site.deliver() == Result(delivered=4)
    assert hook.answered == [site.title(lv, number) for number, lv in enumerate(ALL, start=1)][1:]
    assert hook.kinds == ["warning", "failure", "failure"]
    [received] = [message_from_bytes(content, policy=policy.default) for content in box.mails]
    assert received["Subject"] == site.title(Level.CRITICAL, 4)
    body = received.get_body(preferencelist=("plain", "html")).get_content()
    assert "Vengeance" in body
    assert "no 4" in body
    assert all(alert.done for alert in site.state.alerts)
    assert not site.paths.deliver_wanted.exists()
    assert "event=alerts_sent_nowhere alerts=1" in site.logged
    assert site.deliver() == Result()
    assert len(hook.arrived) == 3


def test_a_text_configuration_routes_by_node_tags(site: Site, hook: Hook, other_hook: Hook) -> None:
    site.configure(
        f"gpu-team=json://{hook.address}\ninfo,gpu-team=json://{other_hook.address}\n", "apprise.conf"
    )
    site.queue(Level.ERROR, Level.INFO, tags=("gpu-team", "vengeance"))
    site.queue(Level.ERROR, tags=("web-team",))
    assert site.deliver() == Result(delivered=2)
    assert hook.answered == [site.title(Level.ERROR, 1)]
    assert other_hook.answered == [site.title(Level.INFO, 2)]
    assert site.state.alerts[2].deliveries == {}
    assert site.state.alerts[2].done


def test_a_dead_service_keeps_its_alerts_and_gets_them_once_it_is_back(site: Site, hook: Hook) -> None:
    port = free_port()
    site.configure(f"urls:\n  - json://{hook.address}\n  - json://127.0.0.1:{port}\n")
    site.queue(Level.ERROR, Level.CRITICAL)
    assert site.deliver() == Result(delivered=2, refused=1)
    [waiting] = [d for d in site.state.alerts[0].deliveries.values() if d.progress is Progress.PENDING]
    assert (waiting.attempts, waiting.next_at) == (1, site.now + 30)
    assert "connection refused" in waiting.error
    assert not site.state.alerts[0].done
    assert "not delivered yet, 1 attempt, next in 30 s" in listed(site.state, site.now, {})
    back = Hook(port)
    try:
        site.now += 31
        assert site.deliver() == Result(delivered=2)
        assert back.answered == [site.title(Level.ERROR, 1), site.title(Level.CRITICAL, 2)]
    finally:
        back.stop()
    assert len(hook.arrived) == 2
    assert all(alert.done for alert in site.state.alerts)


def test_a_service_that_refuses_gets_one_alert_a_run_with_growing_pauses_until_it_is_given_up(
    site: Site, hook: Hook, capfd: pytest.CaptureFixture[str]
) -> None:
    hook.answer = 500
    site.configure(f"urls:\n  - json://{hook.address}\n")
    site.queue(Level.ERROR)
    for attempts, wait in enumerate([30, 60, 120], start=1):
        assert site.deliver() == Result(refused=1)
        assert site.deliver() == Result()
        assert len(hook.arrived) == attempts
        site.now += wait
    site.now += 86400
    assert site.deliver() == Result(given_up=1)
    assert site.state.alerts[0].done
    assert "event=alert_given_up" in capfd.readouterr().err
    assert "level=error event=alert_given_up alert=1" in site.logged
    assert "500" in site.logged
    assert "given up after 4 attempts" in listed(site.state, site.now, {})


def test_on_request_what_waits_for_its_next_attempt_is_sent_at_once_and_once(site: Site, hook: Hook) -> None:
    hook.answer = 500
    site.configure(f"urls:\n  - json://{hook.address}\n")
    site.queue(Level.ERROR)
    assert site.deliver() == site.deliver(at_once=True) == Result(refused=1)
    hook.answer = 200
    assert site.deliver() == Result()
    assert site.deliver(at_once=True) == Result(delivered=1)
    assert site.deliver(at_once=True) == Result()
    assert hook.arrived == [site.title(Level.ERROR, 1)] * 3


def test_a_hung_service_delays_no_other(site: Site, hook: Hook, other_hook: Hook) -> None:
    hook.hang_from = 1
    site.configure(f"urls:\n  - json://{hook.address}?rto=60\n  - json://{other_hook.address}\n")
    site.queue(Level.WARNING, Level.ERROR, Level.CRITICAL)
    results: list[Result] = []
    running = threading.Thread(target=lambda: results.append(site.deliver()))
    running.start()
    assert eventually(lambda: len(other_hook.answered) == 3)
    assert eventually(lambda: hook.arrived)
    assert not hook.answered
    hook.release.set()
    running.join(PATIENCE)
    assert results == [Result(delivered=6)]


def test_a_run_whose_time_is_used_up_begins_no_attempt_and_hands_over_to_the_next(
    site: Site, hook: Hook, other_hook: Hook
) -> None:
    site.settings = Settings(alert_digest=False)
    site.configure(f"urls:\n  - json://{hook.address}\n  - json://{other_hook.address}\n")
    site.queue(*[Level.WARNING] * 60)

    def seconds() -> float:  # each message of the first service takes nearly its limit
        return 19.0 * len(hook.arrived)

    runs = 0
    while site.paths.deliver_wanted.exists():
        before, began = len(hook.arrived), seconds()
        came = deliver(site.paths, site.settings, site.log, lambda: site.now, elapsed=seconds, budget=240.0)
        runs += 1
        assert (came.exit_code, came.refused, came.given_up) == (0, 0, 0)
        assert came.handed_over == site.paths.deliver_wanted.exists()
        assert len(hook.arrived) > before
        assert seconds() - began <= 240 + sender.SEND_LIMIT
    assert runs == 5
    for each in (hook, other_hook):
        assert each.answered == [site.title(Level.WARNING, number) for number in range(1, 61)]
    assert all(alert.done for alert in site.state.alerts)


def test_what_is_due_while_one_service_hangs_goes_to_the_others_at_once(
    site: Site, hook: Hook, other_hook: Hook
) -> None:
    hook.hang_from, other_hook.answer = 1, 500
    site.configure(f"urls:\n  - json://{hook.address}?rto=60\n  - json://{other_hook.address}\n")
    site.queue(Level.WARNING)
    results: list[Result] = []
    running = threading.Thread(target=lambda: results.append(site.deliver()))
    running.start()
    assert eventually(lambda: hook.arrived)
    assert eventually(lambda: "event=alert_not_delivered" in site.logged)
    site.queue(Level.ERROR)
    other_hook.answer = 200
    site.now += 31
    assert eventually(lambda: len(other_hook.answered) == 2)
    site.queue(Level.CRITICAL)
    assert eventually(lambda: len(other_hook.answered) == 3)
    assert hook.answered == []
    hook.release.set()
    running.join(PATIENCE)
    assert results == [Result(delivered=6, refused=1)]
    assert len(other_hook.arrived) == 4


def test_a_service_that_does_not_answer_in_time_counts_as_a_failure(site: Site, hook: Hook) -> None:
    hook.hang_from = 1
    site.configure(f"urls:\n  - json://{hook.address}?rto=60\n")
    [channel] = apprise_config.load(site.paths, site.settings).channels
    alert = Alert(id=1, at=site.now, level=Level.ERROR, kind=AlertKind.TEST, text="x")
    assert sender.send(channel, alert, Message("title", "body"), limit=0.5) == Sent("no answer within 0.5 s")


def test_what_a_node_wrote_arrives_as_it_is(site: Site, hook: Hook) -> None:
    site.configure(f"urls:\n  - json://{hook.address}?emojis=yes\n")
    [channel] = apprise_config.load(site.paths, site.settings).channels
    alert = Alert(id=1, at=site.now, level=Level.ERROR, kind=AlertKind.TEST, text="x")
    title = r"a\nb \x41 :fire: <b> &amp; {{ 7 * 7 }}"
    assert sender.send(channel, alert, Message(title, "body")) == Sent()
    assert hook.answered == [title]


def test_without_a_configuration_alerts_are_done_and_one_line_says_where_it_is_expected(site: Site) -> None:
    site.queue(Level.ERROR, Level.CRITICAL)
    assert site.deliver() == Result()
    assert all(alert.done for alert in site.state.alerts)
    assert site.logged.count("event=") == 1
    assert str(site.paths.config / "apprise.yml") in site.logged


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("urls:\n  - json://{hook}\n  - slack://brokentoken33\n", 3, "does not accept"),
        ("urls:\n  - json://{hook}\n  - nosuch://user:brokentoken33@host\n", 3, "does not accept"),
        ("urls:\n  - json://{hook}\ninclude: http://host/brokentoken33\n", 3, "include is not supported"),
        ("urls:\n  - json://{hook}\nurl:\n  - json://host/brokentoken33\n", 3, "unknown key url"),
    ],
)
def test_a_broken_entry_is_named_by_line_while_the_good_ones_deliver_and_the_alert_waits(
    site: Site, hook: Hook, capfd: pytest.CaptureFixture[str], text: str, line: int, says: str
) -> None:
    path = site.configure(text.format(hook=hook.address))
    site.queue(Level.ERROR)
    assert site.deliver() == Result(exit_code=1, delivered=1)
    assert f"{path} line {line}: " in site.logged
    assert says in site.logged
    assert not site.state.alerts[0].done
    assert site.deliver() == Result(exit_code=1)
    assert len(hook.arrived) == 1
    site.configure(f"urls:\n  - json://{hook.address}\n")
    assert site.deliver() == Result()
    assert site.state.alerts[0].done
    assert "brokentoken33" not in site.logged + "".join(capfd.readouterr())


@pytest.mark.parametrize(
    ("entry", "option"),
    [
        ("json://{hook}: {{tga: ops}}", "tga"),
        ("json://{hook}: [{{Tag: ops}}]", "Tag"),
        ("{{'json://{hook}': null, tagz: ops}}", "tagz"),
        ("json://{hook}: {{tag: error, method: post}}", ""),
        ("ntfy://{hook}/topic: {{xtags: ops}}", ""),
    ],
)
def test_an_option_that_is_nearly_a_tag_is_told_while_the_url_serves(
    site: Site, hook: Hook, entry: str, option: str
) -> None:
    place = site.configure(f"urls:\n  - {entry}\n".format(hook=hook.address))
    report, _ = send_test(site.paths, site.settings, site.log, lambda: site.now)
    told = [line for line in report.splitlines() if line.startswith("note")]
    note = f"note     {place} line 2: the option {option} means nothing; if it shall be a tag, write tag:"
    assert told == ([note] if option else [])
    assert hook.arrived


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("urls:\n  - json://host\n bad: [\n", "line 3: not valid YAML"),
        ("urls: json://host\n", "line 1: urls is not a list"),
        ("- json://host\n", "line 1: not an Apprise configuration"),
        ("", "it names no URL"),
        ("version: 1\nurls:\n", "it names no URL"),
        (None, "No such file"),
    ],
)
def test_a_file_that_cannot_be_read_keeps_every_alert(site: Site, text: str | None, says: str) -> None:
    path = site.paths.config / "mine.yml"
    if text is not None:
        site.configure(text, path.name)
    site.settings = Settings(apprise_config=str(path))
    site.queue(Level.ERROR)
    assert site.deliver() == Result(exit_code=1)
    assert str(path) in site.logged
    assert says in site.logged
    assert not site.state.alerts[0].done


def test_a_file_that_says_on_purpose_that_there_is_no_url_fails_nothing(site: Site) -> None:
    site.configure("urls: []\n")
    site.queue(Level.ERROR)
    assert site.deliver() == Result()
    assert "there is no URL to send alerts to" in site.logged
    assert site.state.alerts[0].done


def test_an_alert_that_waits_for_a_url_outlives_a_moment_in_which_the_file_does_not_name_it(
    site: Site, hook: Hook, other_hook: Hook
) -> None:
    hook.answer = 500
    whole = f"urls:\n  - json://{hook.address}\n"
    site.configure(whole)
    site.queue(Level.ERROR)
    assert site.deliver() == Result(refused=1)
    site.now += 31
    for meanwhile in ("", f"urls:\n  - json://{other_hook.address}\n"):
        site.configure(meanwhile)
        site.deliver()
    assert other_hook.answered == [site.title(Level.ERROR, 1)]
    assert not site.state.alerts[0].done
    hook.answer = 200
    site.configure(whole)
    assert site.deliver() == Result(delivered=1)
    assert hook.answered == [site.title(Level.ERROR, 1)]
    assert not [d for d in site.state.alerts[0].deliveries.values() if d.progress is Progress.PENDING]
    assert site.state.alerts[0].done


def test_no_secret_reaches_state_log_or_output(
    site: Site,
    hook: Hook,
    other_hook: Hook,
    mail: tuple[Mailbox, int],
    capfd: pytest.CaptureFixture[str],
    root_log: StringIO,
) -> None:
    hook.answer, other_hook.answer = 403, 500
    dead, (box, port) = free_port(), mail
    path = site.configure(
        f"""
        asset:
          secure_logging: no
        urls:
          - json://me:hunter2pass@{hook.address}/pathtoken99?+X-Key=headertoken77&-q=querytoken55
          - xml://me:hunter2pass@{other_hook.address}/pathtoken99?+X-Key=headertoken77
          - json://me:hunter2pass@127.0.0.1:{dead}/pathtoken99?-q=querytoken55
          - jsons://me:hunter2pass@{hook.address}/pathtoken99?-q=querytoken55
          - mailto://ops:hunter2passX@127.0.0.1:{port}?from=mesh@example.com&to=ops@example.com
          - slack://brokentoken33
          - tgram://brokentoken33/pathtoken99
          - json://127.0.0.1:{dead}:
              pass: hunter2pass
              retry: brokentoken33
        """
    )
    path.chmod(0o644)
    site.queue(Level.ERROR)
    result = site.deliver()
    report, exit_code = send_test(site.paths, site.settings, site.log, lambda: site.now)
    out = capfd.readouterr()
    sys.stdout.write(listed(site.state, site.now, services(site.paths, site.settings)))
    assert (result.exit_code, result.delivered, exit_code, box.mails) == (1, 0, 1, [])
    assert result.refused == 6
    written = [
        file.read_text() for file in site.paths.state.parent.rglob("*") if file.is_file() and file != path
    ]
    assert len(written) >= 3
    everything = "\n".join([*written, report, root_log.getvalue(), out.out, out.err, capfd.readouterr().out])
    assert "alert_not_delivered" in everything
    assert f"chmod 600 {path}" in everything
    for secret in SECRETS:
        assert secret not in everything
    for delivered in site.state.alerts[0].deliveries.values():
        assert 0 < len(delivered.error) <= 200


def test_a_delivery_that_is_killed_repeats_only_what_was_on_its_way(site: Site, hook: Hook) -> None:
    hook.hang_from = 3
    site.configure(f"urls:\n  - json://{hook.address}?rto=60\n")
    site.queue(*[Level.ERROR] * 4)
    process = subprocess.Popen([*DELIVER, site.paths.state.parent])
    try:
        assert eventually(lambda: len(hook.arrived) == 3)
        assert site.deliver() == Result(busy=True)
        os.kill(process.pid, signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    assert [alert.done for alert in site.state.alerts] == [True, True, False, False]
    hook.hang_from = 10_000
    [underway] = site.state.alerts[2].deliveries.values()
    assert "1 attempt" in listed(site.state, site.now, {})
    site.now = underway.next_at
    assert site.deliver() == Result(delivered=2)
    assert hook.arrived == [site.title(Level.ERROR, number) for number in (1, 2, 3, 3, 4)]


def test_the_outcome_of_an_alert_and_the_attempt_at_the_next_are_saved_in_one_write(
    site: Site, hook: Hook
) -> None:
    site.configure(f"urls:\n  - json://{hook.address}\n")
    site.queue(*[Level.ERROR] * 4)
    done = subprocess.run(
        [*DELIVER, site.paths.state.parent],
        timeout=PATIENCE,
        capture_output=True,
        text=True,
    )
    assert (done.stdout, done.stderr) == ("5\n", "")
    assert hook.arrived == [site.title(Level.ERROR, number) for number in (1, 2, 3, 4)]


def test_a_hung_service_does_not_keep_the_process_from_ending(site: Site, hook: Hook) -> None:
    hook.hang_from = 1
    site.configure(f"urls:\n  - json://{hook.address}?rto=600\n")
    site.queue(Level.ERROR)
    process = subprocess.run([*DELIVER, site.paths.state.parent, "0.3"], timeout=PATIENCE)
    assert process.returncode == 0
    assert "no answer within 0.3 s" in site.logged


@contextmanager
def full_disk() -> Iterator[None]:
    """The kernel lets this process write no file that is as large as a state; not even root's may."""
    before, sys.dont_write_bytecode = resource.getrlimit(resource.RLIMIT_FSIZE), True
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        sys.dont_write_bytecode = False


def test_a_state_that_cannot_be_written_fails_the_command(site: Site, hook: Hook) -> None:
    site.configure(f"urls:\n  - json://{hook.address}\n")
    site.queue(Level.ERROR)
    with full_disk():
        assert site.deliver().exit_code == 1
    assert "event=deliver_failed" in site.logged
    assert hook.arrived == []


def test_a_disk_that_is_full_once_the_alert_is_sent_repeats_it_only_after_the_usual_wait(
    site: Site, hook: Hook
) -> None:
    hook.hang_from = 1
    site.configure(f"urls:\n  - json://{hook.address}?rto=60\n")
    site.queue(Level.ERROR)
    results: list[Result] = []
    running = threading.Thread(target=lambda: results.append(site.deliver()))
    running.start()
    assert eventually(lambda: hook.arrived)
    with full_disk():
        hook.release.set()
        running.join(PATIENCE)
    assert [result.exit_code for result in results] == [1]
    assert site.deliver() == Result()
    assert hook.arrived == [site.title(Level.ERROR, 1)]
    site.now += 31
    assert site.deliver() == Result(delivered=1)
    assert [way.attempts for way in site.state.alerts[0].deliveries.values()] == [2]


def test_a_broken_template_of_the_operator_is_told_once_and_the_alert_goes_out(
    site: Site, hook: Hook, tmp_path: Path
) -> None:
    (tmp_path / "alert_title.txt.j2").write_text("ok\n{{ nosuch }}\n")
    site.settings = Settings(alert_templates=str(tmp_path))
    site.configure(f"urls:\n  - json://{hook.address}\n")
    site.queue(Level.ERROR, Level.ERROR)
    assert site.deliver() == Result(delivered=2)
    assert hook.answered[0] == site.title(Level.ERROR, 1)
    assert site.logged.count("event=alert_template_broken") == 1
    assert f"{tmp_path}/alert_title.txt.j2 line 2: " in site.logged


def test_the_id_of_a_url_survives_another_run_and_a_change_of_its_tags(site: Site) -> None:
    seen = set()
    for number, tag in enumerate(["critical", "error", "critical, gpu"]):
        site.configure(
            "urls:\n  - mailto://u:p@example.com?cc=a@b.de,c@d.de,e@f.de:\n"
            f"      tag: {tag}\n      to: x@y.de\n"
        )
        environment = {**os.environ, "PYTHONHASHSEED": str(number + 1)}
        ran = subprocess.run(
            [sys.executable, PROGRAMS / "print_target_id.py", site.paths.config],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        seen.add(ran.stdout)
    assert len(seen) == 1


def test_the_test_command_tries_every_url_at_its_levels_and_fails_when_one_fails(
    site: Site, hook: Hook, other_hook: Hook
) -> None:
    site.configure(
        f"urls:\n  - json://{hook.address}/pathtoken99:\n      tag: critical, gpu-team\n  - json://{other_hook.address}\n"
    )
    report, exit_code = send_test(site.paths, site.settings, site.log, lambda: site.now)
    assert exit_code == 0
    assert f"ok       JSON json://{hook.address}" in report
    assert len(hook.answered) == 1
    assert len(other_hook.answered) == 3
    other_hook.answer = 500
    report, exit_code = send_test(site.paths, site.settings, site.log, lambda: site.now, "web-team")
    assert exit_code == 1
    assert "not sent JSON" in report
    assert f"FAILED   JSON json://{other_hook.address}" in report
    assert "warning: HTTP 500 Internal Server Error" in report
    assert "pathtoken99" not in report
    assert site.state.alerts == []


def test_the_test_command_judges_as_for_a_real_alert(site: Site, hook: Hook, other_hook: Hook) -> None:
    site.configure(
        f"urls:\n  - json://{hook.address}:\n      tag: gpu1\n"
        f"  - json://{other_hook.address}:\n      tag: error, critcal\n"
    )
    report, exit_code = send_test(site.paths, site.settings, site.log, lambda: site.now, nodes=(GPU1,))
    assert exit_code == 0
    assert report.count(", of the monitor alone: no node has its tags") == 1
    assert len(hook.answered) == 3
    assert len(other_hook.answered) == 1
    report, exit_code = send_test(site.paths, site.settings, site.log, lambda: site.now, "gpu2", (GPU1,))
    assert exit_code == 1
    assert report.endswith("wants an alert with the tag gpu2; did you mean gpu1?\n")


def test_the_test_command_without_a_configuration_shows_how_to_write_one(site: Site) -> None:
    report, exit_code = send_test(site.paths, site.settings, site.log, lambda: site.now)
    assert exit_code == 1
    assert str(site.paths.config / "apprise.yml") in report
    example = report[report.index("version: 1") :]
    site.configure(example)
    loaded = apprise_config.load(site.paths, site.settings)
    assert loaded.problems == ()
    assert [sorted(channel.target.tags) for channel in loaded.channels] == [
        ["critical"],
        ["critical", "error", "warning"],
    ]


def test_the_history_shows_each_alert_and_where_it_went(site: Site, hook: Hook) -> None:
    site.configure(f"urls:\n  - json://{hook.address}\n")
    site.queue(Level.ERROR, Level.INFO)
    assert "waiting to be sent" in listed(site.state, site.now, {})
    site.deliver()
    known = services(site.paths, site.settings)
    head, first, second = listed(site.state, site.now, known).splitlines()
    assert head.split() == ["No", "Time", "Level", "Node", "Delivery", "What", "happened"]
    assert first.startswith("1   2025-06-15 15:06:40 UTC  ERROR")
    ((key, _),) = site.state.alerts[0].deliveries.items()
    assert f"  JSON json://{hook.address} ({key}): delivered  " in first
    assert f"  {key}: delivered  " in listed(site.state, site.now, {}).splitlines()[1]
    assert "  no URL wanted it  " in second
    whole = shown(site.state.alerts[0], site.now, known).splitlines()
    assert whole[0] == "❌ [ERROR] alert 1"
    assert whole[-1].split(maxsplit=1) == ["delivery", f"JSON json://{hook.address} ({key}): delivered"]
    (report, other) = reports(site.state, known)
    assert [each.progress for each in report.deliveries] == [Progress.DELIVERED]
    assert report.deliveries[0].service == f"JSON json://{hook.address}"
    assert other.deliveries == ()


def test_status_knows_how_many_urls_there_are_before_there_is_an_alert(site: Site) -> None:
    with StateFile(site.paths.state, site.log).update(site.now) as state:
        state.tick = Tick(site.now)
    for text, urls in (("urls: []\n", 0), ("urls:\n  - json://127.0.0.1\n", 1), ("urls: [x]\n", None)):
        site.configure(text)
        assert site.deliver() == Result()
        assert site.state.urls == urls


# Digests.


def failing_nodes(site: Site, count: int) -> None:
    """Queue that so many nodes are offline, as one check would."""
    with site.file.update(site.now) as state:
        for number in range(1, count + 1):
            text, step = "offline after 5 failures", "gpu-mesh status"
            alert = Alert(
                0, site.now, Level.CRITICAL, AlertKind.STATUS, text, f"gpu{number}", f"gpu{number}", step
            )
            alerts.queue(state, replace(alert, status=Status.OFFLINE))
    site.paths.deliver_wanted.touch()


def test_what_is_due_at_once_about_three_nodes_is_one_message(site: Site, hook: Hook) -> None:
    site.configure(f"urls:\n  - json://{hook.address}\n")
    failing_nodes(site, 3)
    assert site.deliver() == Result(delivered=1)
    assert hook.arrived == ["🚨 [CRITICAL] 3 nodes offline: gpu1, gpu2, gpu3"]
    assert all(alert.done for alert in site.state.alerts)
    assert "together_with=2,3" in site.logged


def test_a_digest_that_is_refused_is_one_attempt_of_each_and_comes_again_as_one(
    site: Site, hook: Hook
) -> None:
    site.configure(f"urls:\n  - json://{hook.address}\n")
    failing_nodes(site, 3)
    hook.answer = 503
    assert site.deliver() == Result(refused=1)
    assert [way.attempts for alert in site.state.alerts for way in alert.deliveries.values()] == [1, 1, 1]
    hook.answer = 200
    assert site.deliver() == Result()
    site.now += 31
    assert site.deliver() == Result(delivered=1)
    assert len(hook.answered) == 1


def test_without_digests_each_node_is_a_message(site: Site, hook: Hook) -> None:
    site.settings = Settings(alert_digest=False)
    site.configure(f"urls:\n  - json://{hook.address}\n")
    failing_nodes(site, 3)
    assert site.deliver() == Result(delivered=3)
    assert len(hook.arrived) == 3


def test_an_operators_digest_templates_are_used_and_tried_by_the_test(site: Site, hook: Hook) -> None:
    own = site.paths.config / "templates"
    own.mkdir()
    (own / "digest_title.txt.j2").write_text("{{ nodes | length }} of mine, {{ text }}")
    site.settings = Settings(alert_templates=str(own))
    site.configure(f"urls:\n  - json://{hook.address}\n")
    failing_nodes(site, 3)
    site.deliver()
    (title,) = hook.arrived
    assert title.endswith(" of mine, 3 nodes offline: gpu1, gpu2, gpu3")
    (own / "digest_body.txt.j2").write_text("{{ nonsense }}")
    said, code = send_test(site.paths, site.settings, site.log, lambda: site.now)
    assert code == 1
    assert f"PROBLEM  {own}/digest_body.txt.j2 line 1: 'nonsense' is undefined" in said
