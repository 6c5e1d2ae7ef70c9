"""``gpu-mesh check``: check every node once."""

# First, for here the stack is shallow. While a pattern of its libraries is compiled deep in a chain of
# imports, Python can meet the end of a piece of its stack again and again, and each time fetches and returns
# one (3.11): that took a tenth of a check.
import gpu_mesh.probe.http_client  # noqa: F401

# isort: split
import argparse
import sys

from gpu_mesh.cli.common import unusable
from gpu_mesh.inventory.mistakes import InventoryError
from gpu_mesh.monitor import check
from gpu_mesh.storage.state_file import StateError
from gpu_mesh.system.log import Log
from gpu_mesh.system.paths import Paths

EXAMPLES = "gpu-mesh check\n  gpu-mesh check --deliver"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what only this command takes."""
    parser.add_argument(
        "--deliver", action="store_true", help="then deliver the alerts; for cron and by hand"
    )


def run(arguments: argparse.Namespace, paths: Paths, log: Log) -> int:
    """Check every node once; 0 when all were probed, whatever their health, 1 when the monitor could not."""
    try:
        done = check.check(paths, arguments.monitor, log)
    except InventoryError as error:
        raise unusable(error) from error
    except StateError:
        if arguments.deliver:
            _deliver(arguments, paths, log)
        raise
    if sys.stdout.isatty():
        sys.stdout.write("".join(f"{check.describe(change)}\n" for change in done.changes))
    delivered = _deliver(arguments, paths, log) if arguments.deliver else 0
    return delivered or int(bool(done.unprobed))


def _deliver(arguments: argparse.Namespace, paths: Paths, log: Log) -> int:
    from gpu_mesh.cli import deliver  # not imported in a check that a timer starts

    return deliver.run(arguments, paths, log)
