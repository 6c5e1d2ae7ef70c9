"""Three monitors with an etcd of their own: what is lost, what is doubled, and how long a take-over takes."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager

import machines
import provision
import pytest

NAMES = ("alder", "birch", "cedar")
FIRST_ALERT = 120.0
"""Seconds from the death of the leader within which a node that fails right after it is alerted."""


class Three:
    """Three monitors, two nodes on one host, and who gets the mail."""

    def __init__(self, site: machines.Site, operator: provision.Operator, mail: provision.Mailbox) -> None:
        self.operator, self.mail = operator, mail
        made = site.boot(*NAMES, offered=("etcd-server", "etcd-client", "faketime"))
        self.monitors = dict(zip(NAMES, made, strict=True))
        (self.node,) = site.boot("bench")

    def roles(self) -> dict[str, str]:
        """Return what each monitor that runs says that it does."""
        found = {}
        for name, machine in self.monitors.items():
            if machine.running:
                said = machine.ssh("gpu-mesh cluster --json", check=False).stdout
                found[name] = json.loads(said)["role"] if said.startswith("{") else "?"
        return found

    def leader(self) -> str:
        """Return who leads, alone or not."""
        return next((name for name, role in self.roles().items() if role.startswith("leader")), "")

    def await_leader(self, *, but: str = "", seconds: float = 90) -> tuple[str, float]:
        """Wait until one leads, another one than ``but``; return its name and the seconds."""
        took = machines.await_that(lambda: self.leader() not in ("", but), seconds, "a monitor leads")
        return self.leader(), took

    def await_mail(self, word: str, since: int, seconds: float = 90) -> float:
        return machines.await_that(
            lambda: any(word in subject for subject in self.mail.subjects[since:]),
            seconds,
            f"a mail with {word!r}; there were {self.mail.subjects[since:]}",
        )

    def mails(self, word: str, since: int) -> int:
        return sum(word in subject for subject in self.mail.subjects[since:])

    def others(self) -> list[str]:
        leader = self.leader()
        return [name for name in NAMES if name != leader]

    @contextmanager
    def cut_off(self, name: str, *away: machines.Machine) -> Iterator[None]:
        """Within, one monitor reaches those machines no more, nor they it."""
        routes = [f"prohibit {machine.address}" for machine in away]
        for route in routes:
            self.monitors[name].ssh(f"ip route add {route}")
        try:
            yield
        finally:
            for route in routes:
                self.monitors[name].ssh(f"ip route del {route}")

    def told(self, what: str, since: int) -> int:
        """Return how many mails said so: at most two, of monitors that could not know of each other."""
        count = self.mails(what, since)
        assert 1 <= count <= 2, self.mail.subjects[since:]
        return count

    def all_is_well(self) -> None:
        """Wait until every monitor runs and is ready, and the nodes are healthy."""
        for machine in self.monitors.values():
            if not machine.running:
                machine.boot()
        self.node.ssh("systemctl start ollama spare")
        wanted = ["leader", "standby", "standby"]
        machines.await_that(lambda: sorted(self.roles().values()) == wanted, 120, "one leads, two stand by")
        leader = self.monitors[self.leader()]
        machines.await_that(
            lambda: all(self.statuses(each) == {"healthy"} for each in self.monitors.values()),
            120,
            "all nodes are healthy, as each monitor has it",
        )
        machines.await_that(
            lambda: "not delivered" not in leader.out("gpu-mesh status; true"), 150, "all is told"
        )

    @staticmethod
    def statuses(machine: machines.Machine) -> set[str]:
        return {each["status"] for each in provision.status(machine).values()}


@pytest.fixture(scope="module")
def three(site: machines.Site, measured: list[str]) -> Iterator[Three]:
    operator = provision.Operator(site, site.folder / "takeover")
    with provision.mailbox(site.address) as (mail, port):
        made = Three(site, operator, mail)
        provision.install_ollama(made.node, "0.0.0.0")
        provision.install_ollama(made.node, "0.0.0.0", unit="spare", port=11435)
        apprise = operator.folder / "apprise.yml"
        apprise.write_text(
            f"urls:\n  - mailto://{site.address}:{port}?from=mesh@example.net&to=ops@example.net:\n"
            "      tag: [info, warning, error, critical]\n"
        )
        node = {"ansible_host": made.node.address}
        operator.inventory = {
            "all": {"vars": {"ansible_user": "admin"}},
            "mesh_monitors": {
                "hosts": {name: {"ansible_host": each.address} for name, each in made.monitors.items()},
                "vars": {
                    "mesh_monitor_wheels": str(provision.wheels(site, "311")),
                    "mesh_monitor_apprise_source": str(apprise),
                    "mesh_monitor_check_interval": 10,
                    "mesh_monitor_recover_interval": 10,
                    "mesh_monitor_flapping": False,
                    "mesh_monitor_canary": [f"{made.node.address}:22"],
                    "mesh_cluster_endpoints": [f"https://{m.address}:2379" for m in made.monitors.values()],
                },
            },
            "mesh_nodes": {
                "hosts": {
                    "bench": node,
                    "spare": {**node, "mesh_node_url": f"http://{made.node.address}:11435"},
                },
                "vars": {"mesh_node_timeout": 2, "mesh_node_recovery": "none"},
            },
        }
        play = operator.play("site.yml")
        measured.append(f"site.yml for three monitors that share a mesh: {play.seconds:.0f} s")
        made.all_is_well()
        yield made
        for machine in (*made.monitors.values(), made.node):
            machine.halt()


def test_one_leads_and_all_show_the_same(three: Three) -> None:
    leader = three.leader()
    for machine in three.monitors.values():
        machines.await_that(
            lambda m=machine: f"{leader} leads the mesh" in m.out("gpu-mesh status; true"), 30, "it says who"
        )
        machines.await_that(lambda m=machine: three.statuses(m) == {"healthy"}, 30, "it shows what was seen")


def test_the_leaders_machine_dies_in_an_incident_and_another_one_goes_on(
    three: Three, measured: list[str]
) -> None:
    three.all_is_well()
    leader, mails = three.leader(), len(three.mail.subjects)
    three.node.ssh("systemctl stop ollama")
    three.await_mail("[WARNING] bench", mails)
    three.monitors[leader].halt()
    three.node.ssh("systemctl stop spare")
    began = time.monotonic()
    three.await_mail(f"The monitor {leader} is gone", mails, FIRST_ALERT)
    taken = time.monotonic() - began
    three.await_mail("[WARNING] spare", mails, FIRST_ALERT)
    first = time.monotonic() - began
    three.await_mail("[CRITICAL] bench", mails)
    levels = [three.mails(f"[{level}] bench", mails) for level in ("WARNING", "ERROR", "CRITICAL")]
    assert levels == [1, 1, 1]
    measured.append(
        f"power of the leader's machine cut in an incident: told after {taken:.0f} s, a node that "
        f"failed right after it alerted after {first:.0f} s; of the incident nothing lost, nothing doubled"
    )
    assert first < FIRST_ALERT
    assert three.roles().keys() == three.monitors.keys() - {leader}
    three.monitors[leader].boot()
    three.await_mail(f"The monitor {leader} lives again", mails, 120)
    assert three.leader() != leader, "who leads goes on"


def test_a_person_has_another_monitor_lead(three: Three, measured: list[str]) -> None:
    three.all_is_well()
    leader, mails = three.leader(), len(three.mail.subjects)
    three.monitors[leader].out("gpu-mesh cluster hand-over")
    _, took = three.await_leader(but=leader)
    measured.append(f"hand-over: another monitor leads after {took:.0f} s")
    three.await_mail(f"leads the mesh now, in place of {leader}, which lives", mails)


def test_while_most_of_etcd_is_stopped_the_leader_goes_on_and_nothing_is_lost(
    three: Three, measured: list[str]
) -> None:
    three.all_is_well()
    leader, mails = three.leader(), len(three.mail.subjects)
    for machine in three.monitors.values():
        machine.ssh("systemctl stop gpu-mesh-etcd")
    three.await_mail("etcd is away", mails, 180)
    three.node.ssh("systemctl stop spare")
    three.await_mail("[WARNING] spare", mails, 90)
    assert three.roles()[leader] == "leader_alone"
    for machine in three.monitors.values():
        machine.ssh("systemctl start --no-block gpu-mesh-etcd")
    three.await_mail("etcd is back", mails, 180)
    machines.await_that(
        lambda: sorted(three.roles().values()) == ["leader", "standby", "standby"], 120, "one leads again"
    )
    assert three.leader() == leader, "it led last"
    three.node.ssh("systemctl start spare")
    three.await_mail("[INFO] spare", mails, 90)
    told = three.mails("[WARNING] spare", mails)
    measured.append(f"etcd stopped on all three: a failure meanwhile told {told} times")
    assert 1 <= told <= 3


def test_who_stops_the_leaders_units_has_another_one_lead_at_once(three: Three, measured: list[str]) -> None:
    three.all_is_well()
    leader = three.leader()
    three.monitors[leader].ssh("systemctl stop gpu-mesh.target")
    _, took = three.await_leader(but=leader, seconds=40)
    measured.append(f"units of the leader stopped: another monitor leads after {took:.0f} s")
    three.monitors[leader].ssh("systemctl start gpu-mesh.target")


def test_a_leader_that_the_others_do_not_reach_goes_on_beside_the_new_one_and_is_united_with_it(
    three: Three, measured: list[str]
) -> None:
    three.all_is_well()
    leader, mails = three.leader(), len(three.mail.subjects)
    others = [three.monitors[name] for name in three.others()]
    with three.cut_off(leader, *others):
        began = time.monotonic()
        three.await_mail(f"The monitor {leader} is gone", mails, FIRST_ALERT)
        taken = time.monotonic() - began
        three.await_mail("etcd is away", mails, FIRST_ALERT)
        three.node.ssh("systemctl stop spare")
        three.await_mail("[WARNING] spare", mails)
        roles = three.roles()
        assert roles.pop(leader) == "leader_alone"
        assert sorted(roles.values()) == ["leader", "standby"]
    three.await_mail("had watched alone", mails)
    machines.await_that(
        lambda: sorted(three.roles().values()) == ["leader", "standby", "standby"], 60, "one leads again"
    )
    assert three.leader() != leader, "who has the lease keeps it"
    three.node.ssh("systemctl start spare")
    three.await_mail("[INFO] spare", mails)
    measured.append(
        f"leader cut off from the other monitors, not from the nodes: another one led after {taken:.0f} s; "
        f"a failure meanwhile told {three.told('[WARNING] spare', mails)} times"
    )


def test_a_leader_that_reaches_no_node_leaves_them_to_another_one_and_blames_none(
    three: Three, measured: list[str]
) -> None:
    three.all_is_well()
    leader, mails = three.leader(), len(three.mail.subjects)
    with three.cut_off(leader, three.node):
        _, took = three.await_leader(but=leader, seconds=200)
        assert "it reaches no canary" in three.monitors[three.leader()].out("gpu-mesh cluster; true")
        three.await_mail(f"leads the mesh now, in place of {leader}, which lives", mails)
    for node in ("bench", "spare"):
        assert not any(f"] {node}" in subject for subject in three.mail.subjects[mails:])
    measured.append(f"leader cut off from the nodes and its canary: another one led after {took:.0f} s")


def test_two_of_three_die_and_the_last_one_watches_alone(three: Three, measured: list[str]) -> None:
    three.all_is_well()
    mails, last = len(three.mail.subjects), three.others()[0]
    for name in NAMES:
        if name != last:
            three.monitors[name].halt()
    began = time.monotonic()
    three.node.ssh("systemctl stop spare")
    three.await_mail("[WARNING] spare", mails, 180)
    alone = time.monotonic() - began
    three.await_mail(f"{last} watches alone", mails)
    assert three.roles() == {last: "alone"}
    three.all_is_well()
    three.await_mail("[INFO] spare", mails)
    measured.append(
        f"two of three dead, the leader among them: a node that failed then was alerted after {alone:.0f} s, "
        f"{three.told('[WARNING] spare', mails)} times"
    )


def test_a_member_of_etcd_that_stands_still_holds_nobody_up(three: Three, measured: list[str]) -> None:
    three.all_is_well()
    leader, mails = three.leader(), len(three.mail.subjects)
    machine = three.monitors[leader]
    machine.ssh("systemctl kill -s SIGSTOP gpu-mesh-etcd")
    try:
        three.node.ssh("systemctl stop spare")
        took = three.await_mail("[WARNING] spare", mails)
        three.await_mail("[CRITICAL] spare", mails)
        assert three.leader() == leader
    finally:
        machine.ssh("systemctl kill -s SIGCONT gpu-mesh-etcd")
    assert three.mails("[WARNING] spare", mails) == 1
    assert not any("etcd" in subject for subject in three.mail.subjects[mails:])
    measured.append(
        f"the leader's own member of etcd stands still: a failure alerted after {took:.0f} s, once"
    )


def test_a_monitor_whose_clock_is_five_minutes_off_never_leads_while_another_one_can(three: Three) -> None:
    three.all_is_well()
    wrong, right = three.others()
    machine = three.monitors[wrong]
    machine.ssh("apt-get install -qq faketime")
    wraps = "LD_PRELOAD={} FAKETIME=-300s FAKETIME_DONT_FAKE_MONOTONIC=1 FAKETIME_DISABLE_SHM=1"
    library = machine.out("ls /usr/lib/*/faketime/libfaketime.so.1").strip()
    settings = wraps.format(library)
    units = ("lead", "check", "deliver", "recover")
    for unit in units:
        folder = f"/run/systemd/system/gpu-mesh-{unit}.service.d"
        machine.ssh(
            f"mkdir -p {folder} && printf '[Service]\\nEnvironment={settings}\\n' >{folder}/clock.conf"
        )
    machine.ssh("systemctl daemon-reload")
    try:
        machines.await_that(
            lambda: "its clock is 300 s behind" in machine.out("gpu-mesh cluster; true"), 60, "it knows"
        )
        three.monitors[three.leader()].out("gpu-mesh cluster hand-over")
        machines.await_that(lambda: three.roles()[right] == "leader", 60, f"{right} leads")
        assert {each["status"] for each in provision.status(three.monitors[right]).values()} == {"healthy"}
    finally:
        machine.ssh("rm -r /run/systemd/system/gpu-mesh-*.service.d/clock.conf; systemctl daemon-reload")
