"""``gpu-mesh export``: print the configuration of a load balancer for the mesh."""

import argparse
import sys
import time
from enum import StrEnum

from gpu_mesh.cli.common import mesh_of
from gpu_mesh.domain.mesh import Mesh
from gpu_mesh.domain.model_name import canonical
from gpu_mesh.domain.state import State
from gpu_mesh.routing import haproxy, litellm, nginx
from gpu_mesh.storage.state_file import StateFile
from gpu_mesh.system.log import Log
from gpu_mesh.system.paths import Paths

EXAMPLES = "gpu-mesh export haproxy\n  gpu-mesh export litellm --elsewhere >litellm.yml"


class Program(StrEnum):
    """What sends the requests to the nodes."""

    HAPROXY = "haproxy"
    NGINX = "nginx"
    LITELLM = "litellm"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what only this command takes."""
    parser.add_argument("program", choices=[each.value for each in Program], help="whose configuration")
    parser.add_argument(
        "--elsewhere",
        action="store_true",
        help="for another host than the monitor: without what only the monitor reaches or knows",
    )


def run(arguments: argparse.Namespace, paths: Paths, log: Log) -> int:
    """Print the configuration; what is left out is said in it."""
    mesh, elsewhere = mesh_of(arguments, paths), arguments.elsewhere
    match Program(arguments.program):
        case Program.NGINX:
            text = nginx.config(mesh, elsewhere=elsewhere)
        case Program.HAPROXY if not elsewhere:
            text = haproxy.config(mesh)
        case Program.HAPROXY:
            models = _models(mesh, StateFile(paths.state, log).load(time.time()))
            text = haproxy.config(
                mesh, {key: frozenset(map(canonical, names)) for key, names in models.items()}
            )
        case Program.LITELLM:
            models = _models(mesh, StateFile(paths.state, log).load(time.time()))
            text = litellm.config(mesh, models, elsewhere=elsewhere)
    sys.stdout.write(text)
    return 0


def _models(mesh: Mesh, state: State) -> dict[str, tuple[str, ...]]:
    """Return the models of each node, as the last check saw them, else as the inventory expects them."""
    return {node.key: state.node(node.key).models or node.expected_models or () for node in mesh.nodes}
