"""What the inventories of several monitors must say alike, and what may differ."""

import pytest
from msgspec.structs import replace

from factories import behind, plain
from gpu_mesh.cluster.fingerprint import of_mesh
from gpu_mesh.domain.mesh import Mesh, Scope, Settings

MESH = Mesh((plain("a"), behind("pod", 8080)), Settings())
A, POD = MESH.nodes


@pytest.mark.parametrize(
    "other",
    [
        replace(MESH, nodes=(replace(A, url="http://127.0.0.1:11434", on_monitor=True), POD)),
        replace(MESH, nodes=(A, replace(POD, tunnel=replace(POD.tunnel, identity_file="/root/key")))),
        replace(MESH, settings=Settings(scope=Scope.USER, python="/usr/bin/python3.12", haproxy=True)),
        replace(MESH, settings=Settings(heartbeat_url="https://hc.example.org/1")),
        replace(MESH, monitor="attic"),
    ],
)
def test_how_a_monitor_itself_is_set_up_may_differ(other: Mesh) -> None:
    assert of_mesh(other) == of_mesh(MESH)


@pytest.mark.parametrize(
    "other",
    [
        replace(MESH, nodes=(A,)),
        replace(MESH, nodes=(replace(A, enabled=False), POD)),
        replace(MESH, nodes=(replace(A, offline_threshold=9), POD)),
        replace(MESH, nodes=(A, replace(POD, tunnel=replace(POD.tunnel, local_port=8081)))),
        replace(MESH, settings=Settings(check_interval=60.0)),
        replace(MESH, settings=Settings(recovery_max_attempts=1)),
    ],
)
def test_what_follows_for_the_nodes_may_not(other: Mesh) -> None:
    assert of_mesh(other) != of_mesh(MESH)
