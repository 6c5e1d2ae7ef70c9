"""One run of site.yml makes a watched mesh of three machines; then everything fails that can."""

from collections.abc import Iterator

import machines
import provision
import pytest

SCHEDULES = {"check": 2, "recover": 5, "stats": 5, "dashboard": 5}


class Mesh:
    """A monitor, a plain node, a node reached through a tunnel; and who gets the mail."""

    def __init__(self, site: machines.Site, operator: provision.Operator, mail: provision.Mailbox) -> None:
        self.operator = operator
        self.mail = mail
        self.monitor, self.plain, self.rented = (
            site.machine(name) for name in ("monitor", "plain", "rented")
        )

    def status(self, node: str) -> str:
        return str(provision.status(self.monitor).get(node, {}).get("status"))

    def await_healthy(self, seconds: float = 60) -> None:
        for node in ("plain", "rented"):
            machines.await_that(
                lambda node=node: self.status(node) == "healthy", seconds, f"{node} is healthy"
            )


@pytest.fixture(scope="module")
def mesh(site: machines.Site) -> Iterator[Mesh]:
    operator = provision.Operator(site, site.folder / "system")
    with provision.mailbox(site.address) as (mail, port):
        made = Mesh(site, operator, mail)
        provision.install_ollama(made.plain, "0.0.0.0")
        provision.install_ollama(made.rented, "127.0.0.1")
        apprise = operator.folder / "apprise.yml"
        apprise.write_text(
            f"urls:\n  - mailto://{site.address}:{port}?from=mesh@example.net&to=ops@example.net:\n"
            "      tag: [info, warning, error, critical]\n"
        )
        settings = {f"mesh_monitor_{name}_interval": seconds for name, seconds in SCHEDULES.items()}
        operator.inventory = {
            "all": {"vars": {"ansible_user": "admin"}},
            "mesh_monitors": {
                "hosts": {
                    "monitor": {
                        "ansible_host": made.monitor.address,
                        "mesh_monitor_wheels": str(provision.wheels("311")),
                        "mesh_monitor_apprise_source": str(apprise),
                        "mesh_monitor_recovery_backoff": 5,
                        **settings,
                    }
                }
            },
            "mesh_nodes": {
                "hosts": {
                    "plain": {"ansible_host": made.plain.address},
                    "rented": {
                        "ansible_host": made.rented.address,
                        "mesh_tunnel_host": made.rented.address,
                        "mesh_tunnel_local_port": 8080,
                    },
                },
                "vars": {"mesh_node_timeout": 2},
            },
        }
        yield made


@pytest.fixture(scope="module")
def watched(mesh: Mesh, measured: list[str]) -> Mesh:
    """The mesh after the first site.yml."""
    play = mesh.operator.play("site.yml", "--diff")
    measured.append(f"site.yml from nothing: {play.seconds:.0f} s")
    assert "hunter2" not in play.printed
    mesh.await_healthy()
    return mesh


def test_one_run_of_the_playbook_makes_every_node_healthy(watched: Mesh) -> None:
    shown = watched.monitor.out("gpu-mesh status; true")
    assert "plain" in shown
    assert "rented" in shown


def test_a_second_run_changes_nothing(watched: Mesh, measured: list[str]) -> None:
    play = watched.operator.play("site.yml", "--diff")
    measured.append(f"site.yml again: {play.seconds:.0f} s")
    assert set(play.recap("changed").values()) == {0}, play.printed
