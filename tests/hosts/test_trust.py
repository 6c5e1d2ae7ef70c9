"""A monitor whose check is taken over, whose disk is full or read-only, or whose path unit has failed."""

import shlex
from collections.abc import Iterator

import machines
import provision
import pytest

from gpu_mesh.domain.causes import Cause


class Kept:
    """A monitor with one node, and who gets the mail."""

    def __init__(self, site: machines.Site, operator: provision.Operator, mail: provision.Mailbox) -> None:
        self.operator, self.mail = operator, mail
        self.monitor, self.node = site.boot("keeper", "kept")

    def await_status(self, status: str) -> None:
        machines.await_that(
            lambda: provision.status(self.monitor).get("kept", {}).get("status") == status,
            60,
            f"the node is {status}",
        )

    def await_mail(self, word: str, since: int, seconds: float = 90) -> None:
        machines.await_that(
            lambda: any(word in subject for subject in self.mail.subjects[since:]),
            seconds,
            f"a mail with {word!r}; there were {self.mail.subjects[since:]}",
        )

    @property
    def repairs(self) -> int:
        """How many repairs that helped are in the log."""
        helped = "event=recovery_verified .*outcome=recovered"
        return int(self.monitor.out(f"grep -c '{helped}' /var/log/gpu-mesh/gpu-mesh.log || true"))

    @property
    def ollama(self) -> str:
        return self.node.out("systemctl show ollama -p MainPID --value")


@pytest.fixture(scope="module")
def kept(site: machines.Site) -> Iterator[Kept]:
    operator = provision.Operator(site, site.folder / "trust")
    with provision.mailbox(site.address) as (mail, port):
        made = Kept(site, operator, mail)
        provision.install_ollama(made.node, "0.0.0.0")
        apprise = operator.folder / "apprise.yml"
        apprise.write_text(
            f"urls:\n  - mailto://{site.address}:{port}?from=mesh@example.net&to=ops@example.net:\n"
            "      tag: [info, warning, error, critical]\n"
        )
        operator.inventory = {
            "all": {"vars": {"ansible_user": "admin"}},
            "mesh_monitors": {
                "hosts": {
                    "keeper": {
                        "ansible_host": made.monitor.address,
                        "mesh_monitor_wheels": str(provision.wheels(site, "311")),
                        "mesh_monitor_apprise_source": str(apprise),
                        "mesh_monitor_check_interval": 2,
                        "mesh_monitor_recover_interval": 5,
                        "mesh_monitor_flapping": False,
                    }
                }
            },
            "mesh_nodes": {
                "hosts": {"kept": {"ansible_host": made.node.address}},
                "vars": {"mesh_node_timeout": 2},
            },
        }
        operator.play("site.yml")
        made.await_status("healthy")
        yield made
        for machine in (made.monitor, made.node):
            machine.halt()


@pytest.fixture
def taken_over(kept: Kept) -> Iterator[str]:
    """Return what another program in the check's sandbox could do; the check does not run meanwhile."""
    drop_in = "/run/systemd/system/gpu-mesh-check.service.d"
    program = (provision.PROGRAMS / "taken_over_check.sh").read_text()
    (kept.monitor.root / "opt/taken-over").write_text(program)
    kept.monitor.ssh(
        "systemctl stop gpu-mesh-check.timer gpu-mesh-recover.timer gpu-mesh-recover.path;"
        f"mkdir -p {drop_in};"
        f"printf '[Service]\nExecStart=\nExecStart=/bin/sh /opt/taken-over\n' >{drop_in}/taken-over.conf;"
        "systemctl stop gpu-mesh-check; systemctl daemon-reload; systemctl start gpu-mesh-check; sleep 1"
    )
    yield kept.monitor.out("journalctl -b -u gpu-mesh-check -o cat -n 30")
    kept.monitor.ssh(
        f"rm -r {drop_in}; cd /var/lib/gpu-mesh && rm -rf .ansible .ansible.cfg .ssh .config .local cache;"
        "rm -f /var/log/gpu-mesh/gpu-mesh.log; systemctl daemon-reload; systemctl restart gpu-mesh.target"
    )
    kept.await_status("healthy")


def test_a_taken_over_check_reads_no_secret_runs_nothing_with_the_key_and_causes_no_restart(
    kept: Kept, taken_over: str
) -> None:
    lines = taken_over.splitlines()
    assert "tried" in lines
    assert [line for line in lines if line.startswith(("read ", "wrote "))] == []
    ollama = kept.ollama
    forge = (provision.PROGRAMS / "forge_state.py").read_text()
    for cause in (Cause.REFUSED, Cause.TIMEOUT, Cause.RUNNER_HUNG, Cause.STUCK_STOPPING, Cause.CPU_FALLBACK):
        said = shlex.quote(forge.replace("@CAUSE@", cause.value))
        kept.monitor.ssh(f"cd / && runuser -u gpu-mesh -- /opt/gpu-mesh/venv/bin/python -c {said}")
        planned = kept.monitor.out("gpu-mesh recover --dry-run")
        assert "then restart of ollama.service" in planned, planned  # or the test would prove nothing
        kept.monitor.ssh("systemctl start gpu-mesh-recover gpu-mesh-deliver")
        shown = kept.monitor.out("gpu-mesh alerts list | tail -n 3; gpu-mesh status || true")
        assert kept.ollama == ollama, f"{cause}: {shown}"
    found = "find /var/lib/gpu-mesh/ran /tmp/ran /var/lib/gpu-mesh-recover/planted 2>/dev/null; true"
    assert kept.monitor.out(found) == ""
    assert kept.node.out("find /tmp/ran 2>/dev/null; true") == ""
    journal = kept.monitor.out("journalctl -b -u gpu-mesh-recover -o cat -n 200")
    assert journal.count("it serves again by itself") >= 5, journal


def test_a_vandal_on_the_nodes_host_blocks_no_repair_and_takes_no_lease_away(kept: Kept) -> None:
    kept.await_status("healthy")
    vandal = "cd / && runuser -u vandal -- sh /opt/vandal.sh"
    (kept.node.root / "opt/vandal.sh").write_text((provision.PROGRAMS / "vandal.sh").read_text())
    kept.node.ssh(f"useradd -m vandal && {vandal} first")
    before, repairs = kept.ollama, kept.repairs
    kept.node.ssh(f"kill -KILL {before}")
    machines.await_that(lambda: kept.ollama not in ("0", before), 90, "Ollama has another process")
    kept.await_status("healthy")
    assert set(kept.node.out(f"{vandal} then").splitlines()) == {"met a lease"}
    # A check may have seen it healthy before the repair is noted.
    machines.await_that(lambda: kept.repairs == repairs + 1, 60, "one repair is noted")
    kept.node.ssh("pkill -KILL -u vandal; sleep 0.2; userdel -r vandal; rm -rf /var/tmp/gpu-mesh-lease.d/*")


SMALL = "/var/lib/gpu-mesh"
RUNNING = "systemctl list-units --plain --no-legend --state=activating 'gpu-mesh-*.service'"
NOTHING_RUNS = f'while [ -n "$({RUNNING})" ]; do sleep 0.1; done'


@pytest.fixture
def small_disk(kept: Kept) -> Iterator[Kept]:
    """The state lies on a small disk of its own."""
    kept.monitor.ssh(
        f"systemctl stop gpu-mesh.target; {NOTHING_RUNS}; cp -a {SMALL} /root/kept && "
        f"mount -t tmpfs -o size=2M,nr_inodes=200,mode=2750 small {SMALL} && "
        f"chown --reference=/root/kept {SMALL} && cp -a /root/kept/. {SMALL}/ &&"
        "systemctl start gpu-mesh.target"
    )
    kept.await_status("healthy")
    yield kept
    kept.monitor.ssh(
        f"systemctl stop gpu-mesh.target; umount -l {SMALL}; rm -r /root/kept;systemctl start gpu-mesh.target"
    )
    kept.await_status("healthy")


@pytest.mark.parametrize(
    ("breaks", "mends", "says"),
    [
        ("dd if=/dev/zero of={0}/fill bs=4k 2>/dev/null; true", "rm {0}/fill", "No space left on device"),
        ("for n in $(seq 300); do touch {0}/f$n || break; done 2>/dev/null", "rm {0}/f*", "No space left"),
        ("mount -o remount,ro {0}", "mount -o remount,rw {0}", "Read-only file system"),
    ],
    ids=["full", "no inodes", "read-only"],
)
def test_on_a_disk_that_takes_nothing_people_are_told_and_told_again_once_it_does(
    small_disk: Kept, breaks: str, mends: str, says: str
) -> None:
    mails = len(small_disk.mail.subjects)
    small_disk.monitor.ssh(breaks.format(SMALL))
    small_disk.await_mail("Nothing can be saved", mails)
    shown = small_disk.monitor.ssh("gpu-mesh status", check=False)
    assert shown.returncode == 3
    assert "⚠️ Nothing can be saved, for " in shown.stdout
    assert says in shown.stdout
    assert len([each for each in small_disk.mail.subjects[mails:] if "Nothing can" in each]) == 1
    small_disk.monitor.ssh(mends.format(SMALL))
    small_disk.await_mail("can be saved again", mails)
    small_disk.await_status("healthy")


def test_a_path_unit_that_has_failed_is_told_of_and_comes_back_by_itself(kept: Kept) -> None:
    mails = len(kept.mail.subjects)
    trigger, drop_in = "/run/gpu-mesh/deliver.wanted", "/run/systemd/system/gpu-mesh-deliver.service.d"
    state = "systemctl is-active gpu-mesh-deliver.path || true"
    # Nobody can remove a mount, and a program that ends at once lets systemd start it again at once.
    kept.monitor.ssh(
        f"mkdir -p {drop_in}; printf '[Service]\nExecStart=\nExecStart=/bin/true\n' >{drop_in}/broken.conf;"
        f"systemctl daemon-reload; runuser -u gpu-mesh -- touch {trigger}; mount --bind {trigger} {trigger}"
    )
    machines.await_that(lambda: kept.monitor.out(state) == "failed", 60, "the path unit has failed")
    kept.monitor.ssh(f"umount {trigger}; rm -f {trigger} {drop_in}/broken.conf; systemctl daemon-reload")
    kept.await_mail("gpu-mesh-deliver.path failed", mails, 150)
    kept.await_mail("gpu-mesh-deliver.path works again", mails)
    assert kept.monitor.out(state) == "active"


def test_a_folder_in_the_place_of_a_trigger_is_taken_away(kept: Kept) -> None:
    kept.monitor.ssh("runuser -u gpu-mesh -- mkdir -p /run/gpu-mesh/recover.wanted/deeper")
    machines.await_that(
        lambda: kept.monitor.ssh("test -e /run/gpu-mesh/recover.wanted", check=False).returncode == 1,
        30,
        "the folder is gone",
    )


def test_each_unit_has_bounds_of_memory_tasks_and_files(kept: Kept) -> None:
    for unit in provision.SERVICES:
        shown = kept.monitor.out(f"systemctl show gpu-mesh-{unit}.service -p MemoryMax,TasksMax,LimitNOFILE")
        bounds = dict(line.split("=") for line in shown.splitlines())
        assert "infinity" not in bounds.values(), (unit, bounds)
        assert int(bounds["MemoryMax"]) < 2**31
