"""What each command does: reads the mesh and the state, calls the part that does the work, prints the result.

The imports inside the functions are the point of this module: each command pays only for its own.
"""

import argparse
import os
import re
import shlex
import signal
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from gpu_mesh.log import Event, Log, Severity, event
from gpu_mesh.paths import Paths

if TYPE_CHECKING:
    from gpu_mesh.mesh import Mesh
    from gpu_mesh.report import NodeReport, Report
    from gpu_mesh.state import State

LOG_TAIL = 8
ALERT_MINUTES = 5
STOPPED = 130
"""The exit status of a command that Ctrl-C ended, as a shell gives it."""


class UsageError(Exception):
    """The command cannot be carried out as given; the message says what to do next."""


def like(arguments: argparse.Namespace, command: str) -> str:
    """Return another command on the same mesh, ready to be typed."""
    options = [part for source in arguments.inventory or () for part in ("-i", source)]
    for name in ("monitor", "state_dir"):
        if value := getattr(arguments, name):
            options += [f"--{name.replace('_', '-')}", value]
    return f"gpu-mesh {shlex.join([*options, command])}"


def check(arguments: argparse.Namespace, paths: Paths, log: Log) -> int:
    """Check every node once; 0 when all were probed, whatever their health, 1 when the monitor could not."""
    from gpu_mesh import check as checking
    from gpu_mesh.mistakes import InventoryError

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
    from gpu_mesh.deliver import deliver as work

    return work(paths, _mesh(arguments, paths).settings, log, time.time).exit_code


def failed(arguments: argparse.Namespace, paths: Paths, log: Log) -> int:
    """Queue an alert that a unit failed."""
    from gpu_mesh import unitfailure

    unit = arguments.unit if "." in arguments.unit else f"{arguments.unit}.service"
    if not unitfailure.UNIT.fullmatch(unit):
        raise UsageError(f"{arguments.unit!r} cannot be a unit; name one such as gpu-mesh-check.service")
    if not unitfailure.tell(paths, unit, log, user=arguments.user) and sys.stdout.isatty():
        history = f"{like(arguments, 'alerts')} list"
        sys.stdout.write(f"{unit}: there was an alert within the hour; see: {history}\n")
    return 0


def recover(arguments: argparse.Namespace, paths: Paths, log: Log) -> int:
    """Repair what the plan says, or say what it would be."""
    from gpu_mesh import brake, plan
    from gpu_mesh.statefile import StateFile

    mesh, file = _mesh(arguments, paths), StateFile(paths.state, log)
    only = arguments.node or ""
    if only and mesh.node(only) is None:
        known = ", ".join(node.key for node in mesh.nodes)
        raise UsageError(f"there is no node {only!r} in the inventory; there are: {known}")
    if arguments.force and not only and not brake.holds(file.load()):
        raise UsageError(
            "nothing holds the repairs back; --force is for one node (gpu-mesh recover NODE --force), "
            "or for all when too many fail at once"
        )
    if arguments.dry_run:
        decisions = plan.plan(mesh, file.load(), time.time(), only, force=arguments.force)
        sys.stdout.write(plan.describe(decisions, mesh))
        return 0
    from gpu_mesh.recover import Site
    from gpu_mesh.recover import recover as work

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


def status(arguments: argparse.Namespace, paths: Paths, _log: Log) -> int:
    """Say what is going on; the exit status is that of a monitoring plugin."""
    from gpu_mesh import console
    from gpu_mesh.report import exit_status

    _, _, of = _report(arguments, paths)
    if arguments.json:
        _print_json(of)
    else:
        sys.stdout.write(console.status_text(of, _tail(paths.log_file), start_command(arguments)) + "\n")
    return exit_status(of)


def stats(arguments: argparse.Namespace, paths: Paths, log: Log) -> int:
    """Print the statistics, and leave them in the log."""
    from gpu_mesh import console

    _, _, of = _report(arguments, paths)
    if arguments.json:
        _print_json(of)
        return 0
    sys.stdout.write(console.statistics(of) + "\n")
    _log_report(log, of, [_statistics_event(node) for node in of.nodes])
    return 0


def dashboard(arguments: argparse.Namespace, paths: Paths, log: Log) -> int:
    """Print the dashboard, each line findable by the word DASHBOARD; with --watch, draw it until Ctrl-C."""
    from gpu_mesh import console
    from gpu_mesh.report import recent_alerts

    while True:
        _, state, of = _report(arguments, paths)
        lines = console.dashboard(of, recent_alerts(state, of.at - 60 * ALERT_MINUTES), ALERT_MINUTES)
        if not arguments.watch:
            sys.stdout.write("".join(f"DASHBOARD {line}\n" for line in lines))
            _log_report(log, of, [event("dashboard", line=f"DASHBOARD {line}") for line in lines])
            return 0
        if sys.stdout.isatty():
            sys.stdout.write("\x1b[H\x1b[2J")
        sys.stdout.write("\n".join(lines) + "\n")
        sys.stdout.flush()
        time.sleep(min(5.0, of.mesh.interval))


def alerts(arguments: argparse.Namespace, paths: Paths, log: Log) -> int:
    """Show the history of alerts, or send one test message a level."""
    from gpu_mesh import alertscommand
    from gpu_mesh.statefile import StateFile

    if arguments.what == "list":
        state = StateFile(paths.state, log).load()
        sent = any(alert.deliveries for alert in state.alerts)
        known = alertscommand.services(paths, _any_mesh(arguments, paths).settings) if sent else {}
        sys.stdout.write(alertscommand.list_alerts(state, time.time(), known))
        return 0
    # What fails stands in the report: it need not be on standard error, too.
    file = log if arguments.verbose else Log(paths.log_file, threshold=Severity.ERROR)
    settings = _mesh(arguments, paths).settings
    text, code = alertscommand.send_test(paths, settings, file, time.time, arguments.tag)
    sys.stdout.write(text)
    return code


def silence(arguments: argparse.Namespace, paths: Paths, log: Log) -> int:
    """Mute alerts for a while, list what is muted, or end it."""
    from gpu_mesh import silencecommand
    from gpu_mesh.statefile import StateFile

    file, now, author = StateFile(paths.state, log), time.time(), silencecommand.login(os.environ)
    try:
        if arguments.what == "end":
            mesh = partial(_any_mesh, arguments, paths)
            said = silencecommand.end(arguments.number, file, log, author, now, mesh)
        elif arguments.what == "list":
            said = silencecommand.table(_mesh(arguments, paths), file.load(), now)
        else:
            wish = silencecommand.Wish(
                names=tuple(arguments.names),
                everything=arguments.all,
                length=arguments.length,
                reason=arguments.reason,
                levels=tuple(arguments.level),
                no_recovery=arguments.no_recovery,
            )
            wanted = silencecommand.read(wish, _mesh(arguments, paths), author, now)
            said = silencecommand.add(wanted, file, log, now)
            said = said.replace("gpu-mesh silence", like(arguments, "silence"))
    except ValueError as error:
        raise UsageError(str(error)) from error
    sys.stdout.write(said)
    return 0


def best(arguments: argparse.Namespace, paths: Paths, _log: Log) -> int:
    """Print the URL of the node to use; 1 when none is healthy."""
    from gpu_mesh import figures

    mesh, state, of = _report(arguments, paths)
    node = None if of.mesh.stale else figures.best(mesh, state, arguments.model)
    if node is None:
        wanted = f" and has the model {arguments.model}" if arguments.model else ""
        why = "nobody has checked the mesh lately" if of.mesh.stale else f"no node is healthy{wanted}"
        sys.stderr.write(f"gpu-mesh: {why}; see: {like(arguments, 'status')}\n")
        return 1
    if arguments.json:
        _print_json(next(item for item in of.nodes if item.node == node.key))
    else:
        sys.stdout.write(node.url + "\n")
    return 0


def validate(arguments: argparse.Namespace, paths: Paths, _log: Log) -> int:
    """Check the inventory; 2 when it has mistakes."""
    from gpu_mesh import validate as validating

    return validating.run(paths, arguments.monitor, as_json=arguments.json)


def simulate(arguments: argparse.Namespace, paths: Paths, _log: Log) -> int:
    """Tell what would follow from a trace; 1 when that is not what the trace expects."""
    from gpu_mesh import simulatecommand

    sources = paths.inventory if arguments.inventory else ()
    try:
        wish = simulatecommand.Wish(
            Path(arguments.trace), tuple(arguments.given), sources, paths.inventory, arguments.monitor
        )
        text, unmet = simulatecommand.run(wish, as_json=arguments.json)
    except ValueError as error:
        raise UsageError(str(error)) from error
    sys.stdout.write(text)
    sys.stderr.write("".join(f"not as expected: {each}\n" for each in unmet))
    return int(bool(unmet))


def run(arguments: argparse.Namespace, paths: Paths, log: Log) -> int:
    """Watch in the foreground until Ctrl-C or SIGTERM."""
    from gpu_mesh import foreground

    mesh = _mesh(arguments, paths)
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
    from gpu_mesh import demo as story

    return story.run()


def start_command(arguments: argparse.Namespace) -> str:
    """Return the command that starts the monitor where it is installed, else the one that runs it by hand."""
    unit = "gpu-mesh.target"
    if Path("/etc/systemd/system", unit).exists():
        return f"systemctl start {unit}"
    if Path(os.environ.get("HOME", "/"), ".config/systemd/user", unit).exists():
        return f"systemctl --user start {unit}"
    return like(arguments, "run")


def _mesh(arguments: argparse.Namespace, paths: Paths) -> "Mesh":
    from gpu_mesh import meshcache
    from gpu_mesh.mistakes import InventoryError

    try:
        return meshcache.load(paths, arguments.monitor, time.time()).mesh
    except InventoryError as error:
        raise UsageError(f"the inventory cannot be used\n{error}") from error


def _any_mesh(arguments: argparse.Namespace, paths: Paths) -> "Mesh":
    """Return the mesh, for what is done without one, too: then it has no nodes and the default settings."""
    from gpu_mesh.mesh import Mesh

    try:
        return _mesh(arguments, paths)
    except UsageError:
        return Mesh(())


def _report(arguments: argparse.Namespace, paths: Paths) -> "tuple[Mesh, State, Report]":
    from gpu_mesh.report import report
    from gpu_mesh.statefile import StateFile

    mesh = _mesh(arguments, paths)
    state = StateFile(paths.state, Log(paths.log_file)).load()
    return mesh, state, report(mesh, state, time.time())


def _print_json(value: object) -> None:
    import msgspec

    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")


def _tail(path: Path) -> list[str]:
    """Return the newest lines of the log that tell of news; none where it cannot be read."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 100_000))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return []
    return [line for line in lines if not _ROUTINE.search(line)][-LOG_TAIL:]


_ROUTINE = re.compile(r" event=(check|dashboard|mesh|statistics) ")


def _log_report(log: Log, of: "Report", lines: list[Event]) -> None:
    mesh = event("mesh", health=of.mesh.health, nodes=len(of.nodes))
    log.write([mesh, *lines], of.at)


def _statistics_event(node: "NodeReport") -> Event:
    return event(
        "statistics",
        Severity.INFO,
        node=node.node,
        status=node.status,
        score=node.score,
        success_rate=node.success_rate,
        success_rate_24h=node.success_rate_24h,
        ms=node.response_ms if node.answers else None,
        usual_ms=node.usual_response_ms,
        models=len(node.models) if node.answers else None,
        failures=node.consecutive_failures,
    )
