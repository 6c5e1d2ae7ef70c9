"""mesh.json: what readers know of the mesh is enough for every report, and holds nothing secret."""

from pathlib import Path

import msgspec
from msgspec.structs import replace

from factories import fails
from gpu_mesh.diagnosis import evaluate
from gpu_mesh.domain.mesh import Day, Mesh, Node, RecoveryKind, Settings, Tunnel, Window
from gpu_mesh.domain.observation import Fault
from gpu_mesh.domain.state import State
from gpu_mesh.inventory import value_types, variables
from gpu_mesh.reporting.report import report
from gpu_mesh.storage import mesh_file

NOW = 1_700_000_000.0
SECRET = "hunter2"

DESK = Node(
    "desk",
    "Desk",
    "http://desk:11434",
    headers={"X-Plan": SECRET},
    ca_file=f"/etc/{SECRET}",
    recovery=RecoveryKind.COMMAND,
    recovery_command=SECRET,
    recovery_playbooks={"refused": "/srv/own.yml", "last": "/srv/reboot.yml"},
    maintenance=(Window((Day.MON,), 0, 60),),
    groups=("rack",),
    parent="iceland",
)
ICELAND = Node(
    "iceland",
    "Iceland",
    "http://127.0.0.1:8080",
    tunnel=Tunnel("gpu.example.net", 8080, identity_file=f"/etc/{SECRET}", recovery_command=SECRET),
    unhealthy_threshold=2,
)
MESH = Mesh(
    (DESK, ICELAND),
    Settings(heartbeat_url=f"http://127.0.0.1/{SECRET}", apprise_config=f"/etc/{SECRET}", check_interval=7.0),
    monitor="monitor",
)


def failing() -> State:
    state = State()
    for at in range(4):
        for node in MESH.nodes:
            evaluate.apply_observation(state, node, fails(node.key, NOW + at, Fault.REFUSED))
    return state


def test_it_holds_no_secret(tmp_path: Path) -> None:
    mesh_file.keep(tmp_path, MESH)
    assert SECRET not in (tmp_path / "mesh.json").read_text()


def test_every_variable_that_may_hold_a_secret_is_left_out() -> None:
    """Whether one may, its shape says: a message then never repeats its value."""
    left_out = {
        f"mesh_{kind}_{name}"
        for kind, full, shown in (
            ("node", DESK, mesh_file.without_secrets(MESH).nodes[0]),
            ("tunnel", ICELAND.tunnel, mesh_file.without_secrets(MESH).nodes[1].tunnel),
            ("monitor", MESH.settings, mesh_file.without_secrets(MESH).settings),
        )
        for name in full.__struct_fields__
        if getattr(full, name) != getattr(shown, name)
    }
    secret = {each.name for each in variables.VARIABLES.values() if not each.shape.shown}
    assert secret - left_out == {"mesh_node_url"}, "which may hold no password and is what people need"
    assert value_types.URL.shown is False


def test_a_report_is_the_same_with_it() -> None:
    state, shown = failing(), mesh_file.without_secrets(MESH)
    assert report(shown, state, NOW + 5) == report(MESH, state, NOW + 5)


def test_it_is_written_when_it_says_something_new_only(tmp_path: Path) -> None:
    mesh_file.keep(tmp_path, MESH)
    first = (tmp_path / "mesh.json").stat().st_ino
    mesh_file.keep(tmp_path, replace(MESH, settings=replace(MESH.settings, heartbeat_url="http://other/")))
    assert (tmp_path / "mesh.json").stat().st_ino == first
    mesh_file.keep(tmp_path, replace(MESH, nodes=(DESK,)))
    read = mesh_file.read(tmp_path)
    assert read is not None
    assert [node.key for node in read.nodes] == ["desk"]
    assert [path.name for path in tmp_path.iterdir()] == ["mesh.json"]


def test_one_of_another_version_counts_as_none(tmp_path: Path) -> None:
    assert mesh_file.read(tmp_path) is None
    (tmp_path / "mesh.json").write_bytes(msgspec.json.encode({"nodes": [], "later": 1}))
    assert mesh_file.read(tmp_path) is None
