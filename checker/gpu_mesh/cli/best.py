"""``gpu-mesh best``: print the URL of the node to use."""

import argparse
import sys

from gpu_mesh.cli.common import add_json, like
from gpu_mesh.cli.reports import print_json, read
from gpu_mesh.domain.health import Status
from gpu_mesh.routing.best import best
from gpu_mesh.system.log import Log
from gpu_mesh.system.paths import Paths

EXAMPLES = "gpu-mesh best --model llama3.2"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what only this command takes."""
    parser.add_argument("--model", default="", help="only nodes that have this model")
    parser.add_argument(
        "--healthy-only", action="store_true", help="no node that serves although something is wrong with it"
    )
    add_json(parser)


def run(arguments: argparse.Namespace, paths: Paths, _log: Log) -> int:
    """Print the URL of the node to use; 1 when there is none."""
    mesh, state, report = read(arguments, paths)
    stale = report.mesh.stale
    node = None if stale else best(mesh, state, arguments.model, healthy_only=arguments.healthy_only)
    if node is None:
        wanted = f" and has the model {arguments.model}" if arguments.model else ""
        fits = "is healthy" if arguments.healthy_only else "serves"
        why = "nobody has checked the mesh lately" if stale else f"no node {fits}{wanted}"
        sys.stderr.write(f"gpu-mesh: {why}; see: {like(arguments, 'status')}\n")
        return 1
    chosen = next(item for item in report.nodes if item.node == node.key)
    if arguments.json:
        print_json(chosen)
    else:
        if chosen.status is not Status.HEALTHY:  # beside the URL, which programs read
            is_now = f"{node.key} is {chosen.status}: {chosen.detail}"
            sys.stderr.write(f"gpu-mesh: no node that fits is healthy; {is_now}\n")
        sys.stdout.write(node.url + "\n")
    return 0
