"""What each command does: reads the mesh and the state, calls the part that does the work, prints the result.

The imports inside the functions are the point of this module: each command pays only for its own.
"""

import argparse
import os
import signal
import sys
import time
from functools import partial
from pathlib import Path

from gpu_mesh.cli.common import STOPPED, UsageError, any_mesh, like, mesh_of
from gpu_mesh.domain.event import Severity
from gpu_mesh.system.log import Log
from gpu_mesh.system.paths import Paths


def check(arguments: argparse.Namespace, paths: Paths, log: Log) -> int:
    """Check every node once; 0 when all were probed, whatever their health, 1 when the monitor could not."""
    from gpu_mesh.inventory.mistakes import InventoryError
    from gpu_mesh.monitor import check as checking

    try:
        done = checking.check(paths, arguments.monitor, log)
    except InventoryError as error:
        raise UsageError(f"the inventory cannot be used\n{error}") from error
    if sys.stdout.isatty():
        sys.stdout.write("".join(f"{checking.described(change)}\n" for change in done.changes))
    delivered = deliver(arguments, paths, log) if arguments.deliver else 0
    return delivered or int(bool(done.unprobed))


def deliver(arguments: argparse.Namespace, paths: Paths, log: Log) -> int:
    """Send what is due."""
    from gpu_mesh.delivery.worker import deliver as work

    return work(paths, mesh_of(arguments, paths).settings, log, time.time).exit_code


def failed(arguments: argparse.Namespace, paths: Paths, log: Log) -> int:
    """Queue an alert that a unit failed."""
    from gpu_mesh.monitor import unit_failures
    from gpu_mesh.system import systemd

    unit = arguments.unit if "." in arguments.unit else f"{arguments.unit}.service"
    if not systemd.UNIT.fullmatch(unit):
        raise UsageError(f"{arguments.unit!r} cannot be a unit; name one such as gpu-mesh-check.service")
    if not unit_failures.tell(paths, unit, log, user=arguments.user) and sys.stdout.isatty():
        history = f"{like(arguments, 'alerts')} list"
        sys.stdout.write(f"{unit}: there was an alert within the hour; see: {history}\n")
    return 0


def recover(arguments: argparse.Namespace, paths: Paths, log: Log) -> int:
    """Repair what the plan says, or say what it would be."""
    from gpu_mesh.planning import plan
    from gpu_mesh.storage.state_file import StateFile

    mesh, file = mesh_of(arguments, paths), StateFile(paths.state, log)
    only = arguments.node or ""
    if only and mesh.node(only) is None:
        known = ", ".join(node.key for node in mesh.nodes)
        raise UsageError(f"there is no node {only!r} in the inventory; there are: {known}")
    if arguments.force and not only and not file.load().recovery_held:
        raise UsageError(
            "nothing holds the repairs back; --force is for one node (gpu-mesh recover NODE --force), "
            "or for all when too many fail at once"
        )
    if arguments.dry_run:
        decisions = plan.plan(mesh, file.load(), time.time(), only, force=arguments.force)
        sys.stdout.write(plan.describe(decisions, mesh))
        return 0
    from gpu_mesh.recovery.worker import Site
    from gpu_mesh.recovery.worker import recover as work

    site, seen = Site(paths, mesh, file, log), file.load().nodes.get(only)
    # A playbook has processes of its own, and a claim: they must come to an end, too.
    told: list[int] = []

    def stop(number: int, _frame: object) -> None:
        told.append(number)
        site.stopping.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    code = work(site, only, force=arguments.force)
    # Of one node that was left alone, why has been said.
    left_alone = only and file.load().nodes.get(only) == seen
    if sys.stdout.isatty() and not told and not left_alone:
        for line in plan.describe(plan.plan(mesh, file.load(), time.time(), only), mesh).splitlines():
            sys.stdout.write(f"now {line}\n")
    if signal.SIGTERM in told:  # systemd takes only a death by that signal for a proper end
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)
    return STOPPED if told else code


def alerts(arguments: argparse.Namespace, paths: Paths, log: Log) -> int:
    """Show the history of alerts, or send one test message a level."""
    from gpu_mesh.cli import alerts as alerts_command
    from gpu_mesh.storage.state_file import StateFile

    if arguments.what == "list":
        state = StateFile(paths.state, log).load()
        sent = any(alert.deliveries for alert in state.alerts)
        known = alerts_command.services(paths, any_mesh(arguments, paths).settings) if sent else {}
        sys.stdout.write(alerts_command.list_alerts(state, time.time(), known))
        return 0
    # What fails stands in the report: it need not be on standard error, too.
    file = log if arguments.verbose else Log(paths.log_file, threshold=Severity.ERROR)
    settings = mesh_of(arguments, paths).settings
    text, code = alerts_command.send_test(paths, settings, file, time.time, arguments.tag)
    sys.stdout.write(text)
    return code


def silence(arguments: argparse.Namespace, paths: Paths, log: Log) -> int:
    """Mute alerts for a while, list what is muted, or end it."""
    from gpu_mesh.cli import silence as silence_command
    from gpu_mesh.storage.state_file import StateFile

    file, now, author = StateFile(paths.state, log), time.time(), silence_command.login(os.environ)
    try:
        if arguments.what == "end":
            mesh = partial(any_mesh, arguments, paths)
            said = silence_command.end(arguments.number, file, log, author, now, mesh)
        elif arguments.what == "list":
            said = silence_command.table(mesh_of(arguments, paths), file.load(), now)
        else:
            wish = silence_command.Wish(
                names=tuple(arguments.names),
                everything=arguments.all,
                length=arguments.length,
                reason=arguments.reason,
                levels=tuple(arguments.level),
                no_recovery=arguments.no_recovery,
            )
            wanted = silence_command.read(wish, mesh_of(arguments, paths), author, now)
            said = silence_command.add(wanted, file, log, now)
            said = said.replace("gpu-mesh silence", like(arguments, "silence"))
    except ValueError as error:
        raise UsageError(str(error)) from error
    sys.stdout.write(said)
    return 0


def validate(arguments: argparse.Namespace, paths: Paths, _log: Log) -> int:
    """Check the inventory; 2 when it has mistakes."""
    from gpu_mesh.cli import validate as validating

    return validating.run(paths, arguments.monitor, as_json=arguments.json)


def simulate(arguments: argparse.Namespace, paths: Paths, _log: Log) -> int:
    """Tell what would follow from a trace; 1 when that is not what the trace expects."""
    from gpu_mesh.cli import simulate as simulate_command

    sources = paths.inventory if arguments.inventory else ()
    try:
        wish = simulate_command.Wish(
            Path(arguments.trace), tuple(arguments.given), sources, paths.inventory, arguments.monitor
        )
        text, unmet = simulate_command.run(wish, as_json=arguments.json)
    except ValueError as error:
        raise UsageError(str(error)) from error
    sys.stdout.write(text)
    sys.stderr.write("".join(f"not as expected: {each}\n" for each in unmet))
    return int(bool(unmet))


def run(arguments: argparse.Namespace, paths: Paths, log: Log) -> int:
    """Watch in the foreground until Ctrl-C or SIGTERM."""
    from gpu_mesh.monitor import foreground

    mesh = mesh_of(arguments, paths)
    with foreground.alone(paths) as other:
        if other:
            raise UsageError(f"process {other} watches this mesh already; its state is in {paths.state}")
        keys = ", ".join(node.key for node in mesh.nodes if node.enabled)
        sys.stdout.write(f"Watching {keys} every {mesh.settings.check_interval:g} s; Ctrl-C ends it\n")
        sys.stdout.flush()
        return foreground.run(
            paths, arguments.monitor, mesh.settings, log, lambda command: like(arguments, command)
        )


def demo(_arguments: argparse.Namespace, _paths: Paths, _log: Log) -> int:
    """Tell the story of a mesh that fails and is repaired."""
    from gpu_mesh.demo import story

    return story.run()
