"""``gpu-mesh lead``: renew this monitor's lease, and lead the mesh if it is its turn."""

import argparse
import sys
import time

from gpu_mesh.cli.common import mesh_of
from gpu_mesh.monitor import lead
from gpu_mesh.storage.state_file import StateFile
from gpu_mesh.system.etcd import AwayError, EtcdError
from gpu_mesh.system.log import Log
from gpu_mesh.system.paths import Paths

EXAMPLES = "gpu-mesh lead"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what only this command takes."""
    parser.add_argument("--resign", action="store_true", help="give leading up: the monitor is to stop")


def run(arguments: argparse.Namespace, paths: Paths, log: Log) -> int:
    """Renew the lease; without a cluster there is nothing to do."""
    mesh = mesh_of(arguments, paths)
    if not mesh.cluster.endpoints:
        return 0
    now = time.time()
    try:
        lead.lead(
            paths,
            mesh,
            StateFile(paths.state, log).load(),
            log,
            now,
            resign=f"{mesh.monitor} is to stop" if arguments.resign else "",
        )
    except AwayError as error:  # checks alert it: this one alone fails for that every ten seconds
        sys.stderr.write(f"gpu-mesh: etcd is away: {error}\n")
        return 0
    except EtcdError as error:
        sys.stderr.write(f"gpu-mesh: etcd cannot be used: {error}\n")
        return 1
    return 0
