"""The same roles on the next Debian: newer systemd, polkit, Python and sshd."""

import time

import machines
import provision
from failing import fail_and_mend


def test_debian_13_is_provisioned_watched_and_repaired(site: machines.Site, measured: list[str]) -> None:
    monitor, node = site.boot("monitor13", "node13", release="trixie")
    provision.install_ollama(node, "127.0.0.1")
    operator = provision.Operator(site, site.folder / "trixie")
    operator.inventory = {
        "all": {"vars": {"ansible_user": "admin"}},
        "mesh_monitors": {
            "hosts": {
                "monitor13": {
                    "ansible_host": monitor.address,
                    "mesh_monitor_wheels": str(provision.wheels(site, "313")),
                    "mesh_monitor_check_interval": 2,
                    "mesh_monitor_recover_interval": 5,
                    "mesh_monitor_stats_interval": 5,
                }
            }
        },
        "mesh_nodes": {
            "hosts": {
                "node13": {
                    "ansible_host": node.address,
                    "mesh_node_timeout": 2,
                    "mesh_node_restart_after_crash": False,
                    "mesh_tunnel_host": node.address,
                    "mesh_tunnel_local_port": 8080,
                }
            }
        },
    }
    operator.play("site.yml")
    assert set(operator.play("site.yml").recap("changed").values()) == {0}

    def healthy() -> bool:
        return provision.status(monitor).get("node13", {}).get("status") == "healthy"

    machines.await_that(healthy, 60, "the node is healthy")
    for unit in ("gpu-mesh-check", "gpu-mesh-deliver", "gpu-mesh-recover", "gpu-mesh-tunnel@node13"):
        line = monitor.out(f"systemd-analyze security --no-pager {unit}.service | tail -n 1")
        assert float(line.split(":")[1].split()[0]) <= 2.0, line
    fail_and_mend(monitor, "gpu-mesh-stats")
    shown = "systemctl show ollama -p MainPID --value"
    before, begun = node.out(shown), time.monotonic()
    node.ssh(f"kill -KILL {before}")
    machines.await_that(lambda: node.out(shown) not in ("0", before), 60, "Ollama has another process")
    machines.await_that(healthy, 60, "the node is healthy again")
    measured.append(f"Debian 13, ollama killed: serving again {time.monotonic() - begun:.1f} s")
    monitor.reboot()
    machines.await_that(healthy, 60, "the node is healthy after a reboot of the monitor")
    monitor.halt()
    node.halt()
