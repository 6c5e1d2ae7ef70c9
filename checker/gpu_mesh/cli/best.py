"""``gpu-mesh best``: print the URL of the node to use."""

import argparse
import sys

from gpu_mesh.cli.common import add_json, like
from gpu_mesh.cli.reports import print_json, read
from gpu_mesh.routing.best import best
from gpu_mesh.system.log import Log
from gpu_mesh.system.paths import Paths

EXAMPLES = "gpu-mesh best --model llama3.2"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what only this command takes."""
    parser.add_argument("--model", default="", help="only nodes that have this model")
    add_json(parser)


def run(arguments: argparse.Namespace, paths: Paths, _log: Log) -> int:
    """Print the URL of the node to use; 1 when none is healthy."""
    mesh, state, report = read(arguments, paths)
    node = None if report.mesh.stale else best(mesh, state, arguments.model)
    if node is None:
        wanted = f" and has the model {arguments.model}" if arguments.model else ""
        why = "nobody has checked the mesh lately" if report.mesh.stale else f"no node is healthy{wanted}"
        sys.stderr.write(f"gpu-mesh: {why}; see: {like(arguments, 'status')}\n")
        return 1
    if arguments.json:
        print_json(next(item for item in report.nodes if item.node == node.key))
    else:
        sys.stdout.write(node.url + "\n")
    return 0
