"""The table of variables, the structs that they fill, and the documentation that lists them."""

from msgspec.structs import fields

from checkout import ROOT
from gpu_mesh.domain.mesh import Cluster, Node, Settings, Tunnel
from gpu_mesh.inventory.variables import VARIABLES, markdown

DERIVED = {
    "key",
    "login",
    "groups",
    "tunnel",
    "ssh_host",
    "ssh_port",
    "on_monitor",
}  # a node's, from elsewhere in the inventory


def test_every_field_of_the_mesh_has_its_variable() -> None:
    wanted = {f"mesh_node_{field.name}" for field in fields(Node) if field.name not in DERIVED}
    wanted |= {f"mesh_tunnel_{field.name}" for field in fields(Tunnel)}
    wanted |= {f"mesh_monitor_{field.name}" for field in fields(Settings)}
    wanted |= {f"mesh_cluster_{field.name}" for field in fields(Cluster) if field.name != "monitors"}
    assert set(VARIABLES) == wanted


def test_the_documentation_lists_the_table() -> None:
    document = ROOT / "docs/variables.md"
    assert document.read_text(encoding="utf-8").endswith(markdown()), (
        "docs/variables.md differs from what gpu_mesh.inventory.variables.markdown() writes: put that there"
    )
