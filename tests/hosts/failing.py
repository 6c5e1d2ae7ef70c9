"""Breaks a unit of the monitor and mends it, and waits for the alerts of both. For the host tests."""

import machines

BROKEN = (
    '[Service]\nExecStart=\nExecStart=/bin/sh -c "echo the disk of https://ops:hunter2@x is gone; exit 3"\n'
)


def fail_and_mend(
    machine: machines.Machine,
    unit: str,
    *,
    user: str = "root",
    systemctl: str = "systemctl",
    units: str = "/run/systemd/system",
    log: str = "/var/log/gpu-mesh",
) -> None:
    """Assert that a failing unit is told of once, with its last words and no secret, and once when it works.

    Args:
        machine: the monitor.
        unit: its name, without ``.service``.
        user: who runs the monitor's systemd.
        systemctl: how that one is asked.
        units: a folder of its units.
        log: the folder of the monitor's log.
    """
    drop_in, told = (
        f"{units}/{unit}.service.d",
        f"grep event=alert {log}/gpu-mesh.log | grep '{unit}.service ",
    )
    machine.ssh(
        f"mkdir -p {drop_in} && printf %s '{BROKEN}' >{drop_in}/broken.conf && {systemctl} daemon-reload",
        user=user,
    )
    machines.await_that(
        lambda: machine.out(f"{told}failed' || true", user=user), 40, f"an alert that {unit} failed"
    )
    machine.ssh(f"rm -r {drop_in}; {systemctl} daemon-reload", user=user)
    machines.await_that(
        lambda: machine.out(f"{told}works again' || true", user=user), 40, f"an alert that {unit} works again"
    )
    (line,) = machine.out(f"{told}failed'", user=user).splitlines()
    assert "failed: exit status 3; it said: the disk of https://… is gone" in line
    assert "hunter2" not in line
