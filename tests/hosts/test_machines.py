"""The machines themselves: what the other host tests stand on."""

import machines


def test_a_machine_boots_answers_by_ssh_and_comes_back_after_a_reboot(site: machines.Site) -> None:
    machine = site.machine("first")
    assert machine.out("systemctl is-system-running --wait") == "running"
    boot = machine.out(
        "cat /proc/sys/kernel/random/boot_id; systemctl show -p UserspaceTimestampMonotonic --value"
    )
    machine.reboot()
    assert machine.out("systemctl show -p UserspaceTimestampMonotonic --value") not in boot
    assert "systemd-journald" in machine.journal()
    machine.halt()
