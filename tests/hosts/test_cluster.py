"""site.yml makes one etcd of three monitors, and looks after who is a member: one change at a time."""

import json
from collections.abc import Iterator
from typing import Any

import machines
import provision
import pytest

from checkout import PROGRAMS

CTL = ". /etc/gpu-mesh/etcd/etcdctl.sh; etcdctl --command-timeout=5s"
NAMES = ("mon1", "mon2", "mon3")
SECRET_FREE = ("publish", "dashboard", "stats", "look-here", "logrotate", "failure@x", "tunnel@x")
"""The services that have no business with etcd's key."""


class Cluster:
    """Three monitors."""

    def __init__(self, site: machines.Site, operator: provision.Operator) -> None:
        self.operator = operator
        made = site.boot(*NAMES, offered=("etcd-server", "etcd-client"))
        self.monitors = dict(zip(NAMES, made, strict=True))

    @property
    def settings(self) -> dict[str, Any]:
        """The variables of all monitors, to be changed in place."""
        return self.operator.inventory["mesh_monitors"]["vars"]  # type: ignore[no-any-return]

    @property
    def endpoints(self) -> list[str]:
        return [f"https://{machine.address}:2379" for machine in self.monitors.values()]

    def members(self, ask: str = "mon1") -> dict[str, str]:
        """Return the name of each member, and whether it is a full one that has been started."""
        listed = json.loads(self.monitors[ask].out(f"{CTL} member list -w json"))["members"]
        return {
            each.get("name", ""): "learner"
            if each.get("isLearner")
            else "started"
            if each.get("clientURLs")
            else "new"
            for each in listed
        }

    def ctl(self, command: str, ask: str = "mon1") -> str:
        return self.monitors[ask].out(f"{CTL} {command} 2>&1")

    def play(self, *arguments: str, check: bool = True) -> provision.Play:
        return self.operator.play("playbooks/monitor.yml", *arguments, check=check)

    def play_role(self, *arguments: str, check: bool = True) -> provision.Play:
        """Run the role alone, which takes a fraction of the time."""
        book = self.operator.folder / "cluster.yml"
        book.write_text("[{hosts: mesh_monitors, gather_facts: false, roles: [mesh_cluster]}]\n")
        return self.operator.play(str(book), *arguments, check=check)


def changes(play: provision.Play) -> list[str]:
    """Return what has changed, empty for nothing, with the tasks around it."""
    if set(play.recap("changed").values()) == {0}:
        return []
    return [line for line in play.printed.splitlines() if line.startswith(("TASK", "changed"))]


ALL = dict.fromkeys(NAMES, "started")


@pytest.fixture(scope="module")
def bare(site: machines.Site) -> Iterator[Cluster]:
    operator = provision.Operator(site, site.folder / "cluster")
    made = Cluster(site, operator)
    operator.inventory = {
        "all": {"vars": {"ansible_user": "admin"}},
        "mesh_monitors": {
            "hosts": {name: {"ansible_host": machine.address} for name, machine in made.monitors.items()},
            "vars": {
                "mesh_monitor_wheels": str(provision.wheels(site, "311")),
                "mesh_monitor_started": False,
                "mesh_cluster_endpoints": made.endpoints,
            },
        },
        "mesh_nodes": {"hosts": {"away": {"ansible_host": site.address, "mesh_node_recovery": "none"}}},
    }
    yield made
    for machine in made.monitors.values():
        machine.halt()


def test_two_members_and_an_address_that_is_no_monitors_are_refused_before_anything_is_done(
    bare: Cluster,
) -> None:
    bare.settings["mesh_cluster_endpoints"] = bare.endpoints[:2]
    play = bare.play(check=False)
    assert play.code != 0
    assert "mon1 and mon2 would be the only members of etcd, and two are worse than one" in play.said
    bare.settings["mesh_cluster_endpoints"] = [*bare.endpoints[:2], "https://10.1.2.3:2379"]
    play = bare.play(check=False)
    assert "10.1.2.3, of mesh_cluster_endpoints, is no monitor's address" in play.said
    bare.settings["mesh_cluster_endpoints"] = bare.endpoints
    play = bare.play("-l", "mon1", check=False)
    assert "it is no member of etcd yet, and with -l nobody becomes one" in play.said
    for machine in bare.monitors.values():
        assert machine.out("find / -xdev -name '*gpu-mesh*' -o -xdev -path /usr/bin/etcd") == ""


def test_check_mode_shows_what_would_be_done_on_new_machines_and_does_nothing(bare: Cluster) -> None:
    play = bare.play("--check", "--diff")
    assert "gpu-mesh-etcd.service" in play.printed
    assert bare.monitors["mon1"].out("find / -xdev -name '*gpu-mesh*' -o -xdev -path /usr/bin/etcd") == ""


@pytest.fixture(scope="module")
def cluster(bare: Cluster, measured: list[str]) -> Cluster:
    """The three monitors after the first site.yml."""
    play = bare.operator.play("site.yml", "--diff")
    measured.append(f"site.yml with an etcd of three: {play.seconds:.0f} s")
    # A file that is written may speak of faults.
    assert [line for line in play.faults if not line.startswith("+")] == []
    assert "PRIVATE KEY" not in play.printed
    bare.ctl("put /probe one")
    return bare


def test_three_members_are_there_and_each_answers_for_all(cluster: Cluster) -> None:
    assert cluster.members() == ALL
    for name in NAMES:
        assert cluster.ctl("get /probe --print-value-only", name) == "one"
    said = cluster.ctl("endpoint health")
    assert said.count("is healthy") == 3, said


def test_a_second_run_changes_nothing_and_a_limited_one_neither(
    cluster: Cluster, measured: list[str]
) -> None:
    play = cluster.operator.play("site.yml", "--diff")
    measured.append(f"the same again: {play.seconds:.0f} s")
    assert changes(play) == []
    assert play.faults == []
    assert changes(cluster.play("-l", "mon2")) == []


def test_nobody_gets_an_answer_without_a_certificate_and_none_as_a_member_with_that_of_a_client(
    cluster: Cluster,
) -> None:
    address = cluster.monitors["mon2"].address
    program = (PROGRAMS / "knock.py").read_text()
    folder = "/etc/gpu-mesh/etcd"

    def knock(url: str, *certificate: str) -> str:
        words = " ".join((url, f"{folder}/ca.pem", *certificate))
        return cluster.monitors["mon1"].out(f"python3 - {words} <<'E'\n{program}\nE\n")

    client, server = ((f"{folder}/{kind}.pem", f"{folder}/{kind}.key") for kind in ("client", "server"))
    for path in ("version", "health", "metrics", "v3/kv/range", "debug/pprof/"):
        assert knock(f"https://{address}:2379/{path}").startswith("no answer"), path
        assert knock(f"http://{address}:2379/{path}").startswith(("no answer", "400")), path
    assert knock(f"https://{address}:2379/version", *client).startswith("200")
    assert knock(f"https://{address}:2380/members").startswith("no answer")
    assert knock(f"https://{address}:2380/members", *client).startswith("no answer")
    assert knock(f"https://{address}:2380/members", *server).startswith("200")


def test_it_listens_at_its_address_and_on_loopback_alone_and_debians_own_instance_never_ran(
    cluster: Cluster,
) -> None:
    for machine in cluster.monitors.values():
        listening = machine.out("ss -Hltnp | grep etcd | awk '{ print $4 }'").split()
        wanted = {f"{machine.address}:2379", f"{machine.address}:2380", "127.0.0.1:2379"}
        assert set(listening) == wanted
        assert machine.out("systemctl is-enabled etcd.service; true") == "masked"
        assert machine.out("ls /var/lib/etcd; journalctl -q -u etcd.service -o cat") == ""


def test_keys_can_be_read_by_those_who_need_them_and_nobody_else(cluster: Cluster) -> None:
    for name, machine in cluster.monitors.items():
        shown = machine.out("cd /etc/gpu-mesh/etcd; stat -c '%n %a %U %G' *.key").splitlines()
        wanted = ["client.key 640 root gpu-mesh", "server.key 640 root gpu-mesh-etcd"]
        assert shown == (["ca.key 600 root root"] if name == "mon1" else []) + wanted
        machine.ssh(
            "useradd -G gpu-mesh-readers anna; ! runuser -u anna -- cat /etc/gpu-mesh/etcd/client.key"
        )
    monitor = cluster.monitors["mon1"]
    for service in SECRET_FREE:
        hidden = monitor.out(f"systemctl show -p InaccessiblePaths --value gpu-mesh-{service}")
        assert "/etc/gpu-mesh/etcd/client.key" in hidden or "-/etc/gpu-mesh " in f"{hidden} ", service
    for service in ("check", "recover", "deliver", "lead"):
        assert "etcd" not in monitor.out(f"systemctl show -p InaccessiblePaths --value gpu-mesh-{service}"), (
            service
        )


def test_the_units_are_sound_and_have_hardly_any_rights(cluster: Cluster, measured: list[str]) -> None:
    names = (
        "gpu-mesh-etcd.service",
        "gpu-mesh-lead.service",
        "gpu-mesh-lead.timer",
        "gpu-mesh-resign.service",
    )
    monitor = cluster.monitors["mon1"]
    assert monitor.out(f"cd /etc/systemd/system && systemd-analyze verify {' '.join(names)} 2>&1") == ""
    exposures = {}
    for name in (names[0], names[1], names[3]):
        line = monitor.out(f"systemd-analyze security --no-pager {name} | tail -n 1")
        exposures[name] = float(line.split(":")[1].split()[0])
    measured.append("systemd-analyze security: " + ", ".join(f"{name} {e}" for name, e in exposures.items()))
    assert max(exposures.values()) <= 1.5, exposures


def test_a_member_is_removed_only_without_a_limit_and_only_if_the_rest_goes_on(cluster: Cluster) -> None:
    remove = ("-e", "mesh_cluster_remove=mon3")
    play = cluster.play_role(*remove, "-l", "mon1,mon2", check=False)
    assert "with -l nobody leaves etcd; say mesh_cluster_remove without it" in play.said
    cluster.monitors["mon2"].ssh("systemctl stop gpu-mesh-etcd.service")
    play = cluster.play_role(*remove, check=False)
    assert "mon3 is not removed from etcd: of the rest, mon1, mon2, 2 must answer" in play.said, play.printed
    cluster.monitors["mon2"].ssh("systemctl start gpu-mesh-etcd.service")
    assert cluster.members() == ALL


def test_a_removed_member_is_set_aside_and_joins_anew_by_the_next_run(
    cluster: Cluster, measured: list[str]
) -> None:
    gone = cluster.monitors["mon3"]
    play = cluster.play_role("-e", "mesh_cluster_remove=mon3")
    assert "mon3 is no member of etcd any more" in play.said
    assert cluster.members() == {"mon1": "started", "mon2": "started"}
    assert gone.out(
        "ls /etc/systemd/system/gpu-mesh-etcd.service; ls /var/lib/gpu-mesh-etcd; true"
    ).startswith("removed-")
    play = cluster.play_role()
    measured.append(f"a member joins: {play.seconds:.0f} s")
    assert play.faults == []
    assert cluster.members() == ALL
    assert cluster.ctl("get /probe --consistency=s --print-value-only", "mon3") == "one"
    assert changes(cluster.play_role()) == []


def test_a_member_without_its_data_begins_no_cluster_of_its_own_and_is_named(cluster: Cluster) -> None:
    lost = cluster.monitors["mon2"]
    lost.ssh("systemctl stop gpu-mesh-etcd.service; rm -r /var/lib/gpu-mesh-etcd/data")
    lost.ssh("systemctl start gpu-mesh-etcd.service")
    restarts = "systemctl show gpu-mesh-etcd.service -p NRestarts --value"
    machines.await_that(lambda: int(lost.out(restarts)) > 1, 60, "it was tried twice")
    assert lost.ssh(f"{CTL} --endpoints=https://127.0.0.1:2379 get /probe", check=False).returncode != 0
    play = cluster.play_role(check=False)
    assert "mon2 was a member of etcd and has lost its data; remove it" in play.said, play.printed
    cluster.play_role("-e", "mesh_cluster_remove=mon2")
    cluster.play_role()
    assert cluster.members() == ALL
    assert cluster.ctl("get /probe --print-value-only", "mon2") == "one"


def test_new_settings_restart_one_after_the_other_and_a_full_etcd_is_named_with_what_helps(
    cluster: Cluster,
) -> None:
    cluster.settings["mesh_cluster_quota"] = 8
    since = "systemctl show gpu-mesh-etcd.service -p ActiveEnterTimestampMonotonic --value"
    before = [machine.out(since) for machine in cluster.monitors.values()]
    cluster.play_role()
    after = [machine.out(since) for machine in cluster.monitors.values()]
    assert all(then != now for then, now in zip(before, after, strict=True))
    fill = f"{CTL} put /fill 2>&1 <<E\n$(head -c 700000 /dev/urandom | base64 -w 0)\nE\n"
    for _ in range(30):
        full = cluster.monitors["mon1"].ssh(fill, check=False).stdout
        if "exceeded" in full:
            break
    assert "exceeded" in full
    play = cluster.play_role()
    assert "etcd is full (NOSPACE) and takes nothing more" in play.said
    assert "etcdctl alarm disarm" in play.said
    cluster.ctl("del /fill; true")
    revision = json.loads(cluster.ctl("get x -w json"))["header"]["revision"]
    cluster.ctl(f"compact {revision} && {CTL} --command-timeout=60s defrag && {CTL} alarm disarm")
    assert cluster.ctl("put /probe one") == "OK"
    del cluster.settings["mesh_cluster_quota"]
    cluster.play_role()


def test_a_power_cut_of_all_loses_nothing_and_debians_instance_does_not_come_with_the_boot(
    cluster: Cluster,
) -> None:
    for machine in cluster.monitors.values():
        machine.halt()
    for machine in cluster.monitors.values():
        machine.start()
    for machine in cluster.monitors.values():
        machine.await_ssh()
    healthy = f"{CTL} endpoint health 2>&1 | grep -c 'is healthy'; true"
    machines.await_that(lambda: cluster.monitors["mon1"].out(healthy) == "3", 60, "all are healthy")
    assert cluster.ctl("get /probe --print-value-only") == "one"
    for machine in cluster.monitors.values():
        assert machine.out("pgrep -c -x etcd") == "1"


def test_without_endpoints_there_are_single_monitors_again_and_with_them_the_cluster_is_as_it_was(
    cluster: Cluster,
) -> None:
    there = "ls /etc/systemd/system | grep -E 'gpu-mesh-(lead|resign|etcd)'; pgrep -x etcd; true"
    del cluster.settings["mesh_cluster_endpoints"]
    assert cluster.play().faults == []
    for machine in cluster.monitors.values():
        assert machine.out(there) == ""
        assert "client.key" not in machine.out("cat /etc/systemd/system/gpu-mesh-*")
    assert changes(cluster.play()) == []
    cluster.settings["mesh_cluster_endpoints"] = cluster.endpoints
    assert cluster.play().faults == []
    assert cluster.members() == ALL
    assert cluster.ctl("get /probe --print-value-only") == "one"


def test_uninstalling_keeps_what_etcd_has_kept_until_that_is_wanted_too(cluster: Cluster) -> None:
    left = "find /etc /run /usr/local /opt /var/lib -name '*gpu-mesh*' | sort"
    play = cluster.operator.play("playbooks/uninstall.yml", "-e", "delete_state_and_log=no")
    assert "mon1: left are /var/lib/gpu-mesh-etcd and the user gpu-mesh-etcd, and the packages" in play.said
    assert play.faults == []
    assert cluster.monitors["mon1"].out(left).split() == ["/var/lib/gpu-mesh", "/var/lib/gpu-mesh-etcd"]
    cluster.operator.play("playbooks/uninstall.yml", "-e", "delete_state_and_log=yes")
    for machine in cluster.monitors.values():
        assert machine.out(f"{left}; getent passwd gpu-mesh-etcd gpu-mesh; true") == ""
        assert machine.out("pgrep -x etcd; systemctl is-enabled etcd.service; true") == "masked"
