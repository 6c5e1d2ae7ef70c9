"""The Containerfile, built and run where there is podman: the container watches, as nobody special."""

import subprocess
import uuid

import pytest

from checkout import ROOT
from sites import eventually


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_the_image_is_built_and_a_container_of_it_watches_a_mesh(standin, tmp_path) -> None:
    name = f"gpu-mesh-test-{uuid.uuid4().hex[:8]}"
    podman = ["podman"]
    built = subprocess.run([*podman, "build", "-t", name, ROOT], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    inventory = tmp_path / "inventory"
    inventory.mkdir()
    (inventory / "mesh.yml").write_text(
        "mesh_monitors: {hosts: {monitor: {ansible_connection: local}}}\n"
        f"mesh_nodes: {{hosts: {{desk: {{mesh_node_url: '{standin().url}', mesh_node_recovery: none}}}}}}\n"
    )
    tmp_path.chmod(0o755)
    run = ["run", "-d", "--rm", "--name", name, "--network", "host", "-v", f"{tmp_path}:/config:ro,Z", name]
    subprocess.run([*podman, *run], check=True, capture_output=True)
    try:
        status = [*podman, "exec", name, "gpu-mesh", "status"]
        asked = lambda: subprocess.run(status, capture_output=True, text=True, check=False)  # noqa: E731
        assert eventually(lambda: "1 of 1 nodes healthy" in asked().stdout, 90), (
            asked().stdout + asked().stderr
        )
        who = subprocess.run([*podman, "exec", name, "id", "-u"], capture_output=True, text=True, check=True)
        assert who.stdout == "10001\n"
    finally:
        subprocess.run([*podman, "rm", "-f", name], capture_output=True, check=False)
        subprocess.run([*podman, "rmi", name], capture_output=True, check=False)
