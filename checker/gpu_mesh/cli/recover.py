"""``gpu-mesh recover``: repair what the plan says, or say what it would be."""

import argparse
import sys
import time

from gpu_mesh.cli import leading, stopping
from gpu_mesh.cli.common import UsageError, at_home, mesh_of, node_of, say, shell
from gpu_mesh.domain.cluster import Role, Writer
from gpu_mesh.domain.event import Severity, event
from gpu_mesh.domain.mesh import Mesh
from gpu_mesh.planning import gpu_allowed, plan
from gpu_mesh.storage.place import state_of
from gpu_mesh.storage.state_file import NotLeaderError, StateFile
from gpu_mesh.system.log import Log
from gpu_mesh.system.paths import Paths
from gpu_mesh.text.commands import Shell, typed

EXAMPLES = "gpu-mesh recover --dry-run\n  gpu-mesh recover iceland --force"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what only this command takes."""
    parser.add_argument("node", nargs="?", help="only this node")
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would be done and why; change nothing"
    )
    parser.add_argument("--force", action="store_true", help="now, whatever the thresholds and waits say")


def run(arguments: argparse.Namespace, paths: Paths, log: Log) -> int:
    """Repair what the plan says, or say what it would be."""
    paths = at_home(paths.of_recovery())
    mesh = mesh_of(arguments, paths)
    file = state_of(paths, mesh, log, writer=Writer.PERSON)
    only = arguments.node or ""
    role = leading.role_of(paths, mesh)
    if not role.repairs and not arguments.dry_run:
        if only or arguments.force:
            raise leading.refuse(paths, mesh)
        return 0
    if role is not Role.LEADER:  # etcd is away: another monitor could believe that it leads, too
        mesh = gpu_allowed.without_repairs(mesh)
    if only:
        only = node_of(mesh, only).key
    if arguments.force and not only and not file.load().recovery_held:
        raise UsageError(
            "nothing holds the repairs back; --force is for one node "
            f"({typed('gpu-mesh recover NODE --force', shell(arguments, paths))}), "
            "or for all when too many fail at once"
        )
    if arguments.dry_run:
        now = time.time()
        decisions = plan.plan(mesh, file.load(now), now, only, force=arguments.force)
        say(typed(plan.describe(decisions, mesh), shell(arguments, paths)), now)
        return 0
    try:
        return _recover(mesh, file, log, paths, only, shell(arguments, paths), force=arguments.force)
    except NotLeaderError as error:
        if only or arguments.force:
            raise
        log.write([event("recover_left", Severity.NOTICE, reason=error.reason)], time.time())
        return 0


def _recover(
    mesh: Mesh, file: StateFile, log: Log, paths: Paths, only: str, where: Shell, *, force: bool
) -> int:
    """Repair; a signal ends running playbooks with all their processes, and their results are recorded."""
    from gpu_mesh.recovery import worker  # not for a dry run, which probes nothing and needs no HTTP library
    from gpu_mesh.recovery.context import Context

    claims = state_of(paths, mesh, log, writer=Writer.REPAIR)
    context, before = Context(paths, mesh, file, log, claims), file.load().nodes.get(only)
    signals = stopping.on_signals(context.stopping)
    code = worker.recover(context, only, force=force)
    # For a single node that was left alone, the worker has printed why.
    left_alone = only and file.load().nodes.get(only) == before
    if sys.stdout.isatty() and not signals and not left_alone:
        now = time.time()
        decisions = plan.plan(mesh, file.load(now), now, only)
        for line in typed(plan.describe(decisions, mesh), where).splitlines():
            say(f"now {line}\n", now)
    return stopping.end(signals, code)
