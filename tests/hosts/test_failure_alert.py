"""A unit of the monitor that fails is told of by mail with its last words, and once more when it works."""

import machines
import provision
import pytest

SCOPES = {
    "system": ("root", "systemctl", "/run/systemd/system", "/var/log/gpu-mesh"),
    "user": (
        "somebody",
        "XDG_RUNTIME_DIR=/run/user/$(id -u) systemctl --user",
        "~/.config/systemd/user",
        "~/.local/state/gpu-mesh/log",
    ),
}
BROKEN = (
    '[Service]\nExecStart=\nExecStart=/bin/sh -c "echo the disk of https://ops:hunter2@x is gone; exit 3"\n'
)


@pytest.mark.parametrize(
    ("scope", "release", "python"),
    [("system", "bookworm", "311"), ("user", "bookworm", "311"), ("system", "trixie", "313")],
)
def test_a_unit_that_fails_is_mailed_with_its_last_lines_and_again_when_it_works(
    site: machines.Site, scope: str, release: str, python: str
) -> None:
    login = SCOPES[scope][0]
    name = f"watcher-{scope}-{release}"
    machine = site.machine(name, release)
    if scope == "user":
        machine.ssh(
            f"useradd -m -s /bin/bash {login} && cp -r /home/admin/.ssh /home/{login}/ &&"
            f" chown -R {login}: /home/{login}/.ssh && loginctl enable-linger {login}"
        )
    provision.install_ollama(machine, "127.0.0.1")
    operator = provision.Operator(site, site.folder / name)
    with provision.mailbox(site.address) as (mail, port):
        apprise = operator.folder / "apprise.yml"
        apprise.write_text(
            f"urls:\n  - mailto://{site.address}:{port}?from=mesh@example.net&to=ops@example.net:\n"
            "      tag: [info, warning, error, critical]\n"
        )
        operator.inventory = {
            "all": {"vars": {"ansible_user": login if scope == "user" else "admin"}},
            "mesh_monitors": {
                "hosts": {
                    name: {
                        "ansible_host": machine.address,
                        "mesh_monitor_scope": scope,
                        "mesh_monitor_wheels": str(provision.wheels(python)),
                        "mesh_monitor_apprise_source": str(apprise),
                        "mesh_monitor_check_interval": 2,
                        "mesh_monitor_stats_interval": 5,
                    }
                }
            },
            "mesh_nodes": {"hosts": {name: {"mesh_node_recovery": "none", "mesh_node_timeout": 2}}},
        }
        operator.play("site.yml")
        for unit in ("gpu-mesh-stats", "gpu-mesh-check"):
            _fail_and_mend(machine, mail, unit, scope)
    machine.halt()


def _fail_and_mend(machine: machines.Machine, mail: provision.Mailbox, unit: str, scope: str) -> None:
    """The check notices that another unit works again, and that it does so itself."""
    login, systemctl, units, log = SCOPES[scope]
    drop_in = f"{units}/{unit}.service.d"
    machine.ssh(
        f"mkdir -p {drop_in} && printf %s '{BROKEN}' >{drop_in}/broken.conf && {systemctl} daemon-reload",
        user=login,
    )

    def mailed(words: str) -> bool:
        return any(words in subject for subject in mail.subjects)

    failed = f"[ERROR] GPU mesh: {unit}.service failed: exit status 3"
    machines.await_that(lambda: mailed(failed), 40, "the failure is mailed")
    told = machine.out(f"grep event=alert {log}/gpu-mesh.log | grep '{unit}.service failed'", user=login)
    assert len(told.splitlines()) == 1
    assert "it said: the disk of https://… is gone" in told
    assert "hunter2" not in told
    machine.ssh(f"rm -r {drop_in}; {systemctl} daemon-reload", user=login)
    well = f"[INFO] GPU mesh: {unit}.service works again"
    machines.await_that(lambda: mailed(well), 40, "so is that it works")
    assert sum(f"{unit}.service" in subject for subject in mail.subjects) == 2
