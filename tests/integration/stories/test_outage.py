"""The host of three tunnels dies while the mail server is down for an hour: who is told what, how often."""

import json
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import trustme

from gpu_mesh.delivery.worker import deliver
from gpu_mesh.domain.recovery import Finding
from gpu_mesh.hosts.playbook_result import PlaybookResult
from gpu_mesh.monitor.check import check
from gpu_mesh.recovery import lifecycle, verification
from gpu_mesh.recovery.values import Job, Verification
from gpu_mesh.standin.server import Standin, free_port
from gpu_mesh.storage.state_file import StateFile
from gpu_mesh.system.log import Log
from marks import soak
from receivers import Hook, Mail, Mood
from sites import Site

MINUTE = 60.0
START = 1_750_000_000.0
HOST = "pod.example.net"
BEHIND = ("iceland", "norway", "sweden")


class Story:
    """A monitor with real nodes and receivers, whose clock goes on by a minute a tick."""

    def __init__(self, site: Site, mail: Mail, chat: Hook, stack: ExitStack) -> None:
        self.site, self.mail, self.chat, self._stack = site, mail, chat, stack
        self.log = Log(site.paths.log_file)
        self.file = StateFile(site.paths.state, self.log)
        self.now = START
        self.ports = {key: free_port() for key in BEHIND}
        self.tunnels: list[Standin] = []
        self.declined = 0
        others = {f"desk{number}": {"url": self._serve(0).url} for number in range(4)}
        tunnelled = {
            key: {"mesh_tunnel_host": HOST, "mesh_tunnel_local_port": port, "name": key.title()}
            for key, port in self.ports.items()
        }
        site.describe({**others, **tunnelled}, check_interval=60)
        self.the_host_is_up()

    def _serve(self, port: int) -> Standin:
        return self._stack.enter_context(Standin(port=port))

    def the_host_is_up(self) -> None:
        self.tunnels = [self._serve(port) for port in self.ports.values()]

    def the_host_dies(self) -> None:
        """Nothing listens at the local ends: ssh cannot connect, and listens only once it has."""
        for tunnel in self.tunnels:
            tunnel.close()

    def goes(self, minutes: int) -> None:
        """Check, recover and deliver once a minute."""
        for _ in range(minutes):
            self.now += MINUTE
            self.mail.now = self.chat.now = (self.now - START) / MINUTE
            mesh = check(self.site.paths, None, self.log, lambda: self.now).mesh
            with self.file.update(self.now) as state:
                while isinstance(job := lifecycle.claim(state, mesh, self.now, pid=1), Job):
                    # What the playbooks report of a host to which ssh does not connect.
                    report = PlaybookResult(
                        success=False,
                        contacted=HOST,
                        unreachable=True,
                        finding=Finding.HOST_DOWN,
                        reason=f"ssh: connect to host {HOST} port 22: Connection timed out",
                    )
                    proof = Verification(detail="not probed")
                    ending = verification.result_of(job, job.claim.action, report, proof, self.now)
                    lifecycle.record_result(state, mesh, job, ending, proof, counts=True)
                    self.declined += 1
            assert deliver(self.site.paths, mesh.settings, self.log, lambda: self.now).exit_code == 0

    @property
    def naive(self) -> int:
        """How many messages one for each change of status and node would be."""
        changes = [line for line in self.site.log() if " event=status " in line]
        return sum(" was=unknown " not in line for line in changes)


@pytest.fixture
def story(site: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[Story]:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(site.folder / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(site.folder / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with ExitStack() as stack:
        mail, chat = Mail(context), Hook()
        stack.callback(mail.stop)
        stack.callback(chat.stop)
        site.paths.config.mkdir()
        file: Path = site.paths.config / "apprise.yml"
        file.touch(mode=0o600)
        every = {"tag": "info,warning,error,critical"}
        file.write_text(json.dumps({"urls": [{mail.url: every}, {chat.url: every}]}))
        yield Story(site, mail, chat, stack)


CASES = {
    "it is back after the mail server": (
        100,
        [
            (
                "[CRITICAL] Iceland: offline after 5 failures: The host cannot be reached",
                "norway, sweden",
            ),
            ("[INFO] Iceland: recovered after 1 h 40 min: ", "Status: 🟢 healthy, was offline"),
        ],
    ),
    "it is back before the mail server": (
        45,
        [("[INFO] Iceland: recovered after 45 min: ", "Status: 🟢 healthy, was offline")],
    ),
}


@pytest.mark.parametrize(
    "case", ["it is back after the mail server", soak("it is back before the mail server")]
)
def test_the_host_of_three_tunnels_dies_while_the_mail_server_is_down_for_an_hour(
    story: Story, case: str, record_property: Callable[[str, object], None]
) -> None:
    dead_for, expected = CASES[case]
    story.goes(2)
    story.the_host_dies()
    story.mail.set(Mood.REFUSES)
    for minute in range(1, 101):
        story.goes(1)
        if minute == dead_for:
            story.the_host_is_up()
        if minute == 60:
            assert story.mail.titles == []
            story.mail.set(Mood.TAKES)
    story.goes(40)
    assert len(story.mail.titles) == len(expected), story.mail.titles
    for title, body, (begins, says) in zip(story.mail.titles, story.mail.bodies, expected, strict=True):
        assert title.partition(" ")[2].startswith(begins)
        assert says in body
    assert all(alert.done for alert in story.file.load().alerts)
    # Where nothing was down, each change is told of as it happens, and the look on the host once.
    levels = [title.partition("[")[2].partition("]")[0] for title in story.chat.titles]
    assert levels == ["WARNING", "ERROR", "CRITICAL", "INFO"]
    assert story.naive == 4 * len(BEHIND)
    assert story.declined > len(BEHIND)
    lines = [
        f"The host of three tunnels is dead for {dead_for} min, the mail server for 60: {case}",
        f"{story.naive:4}  one message a change of status and node",
        f"{story.naive + story.declined:4}  and one a recovery that found the host down",
        f"{len(story.chat.titles):4}  sent to a chat service that was never down",
        f"{len(story.mail.titles):4}  sent by mail:",
        *(f"      minute {at:3.0f}  {title}" for at, title in story.mail.taken),
    ]
    record_property("shown", "\n".join(lines))
