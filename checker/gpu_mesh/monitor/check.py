"""Carries out one tick for ``gpu-mesh check``: probes every node, saves the new state, sets the triggers."""

import os
import time
from collections.abc import Callable, Mapping

from msgspec import Struct
from msgspec.structs import replace

from gpu_mesh.alerting import alerts, monitor_alerts
from gpu_mesh.alerting.monitor_alerts import note_inventory
from gpu_mesh.diagnosis import deep_check
from gpu_mesh.diagnosis.evaluate import Transition
from gpu_mesh.domain.alert import Alert
from gpu_mesh.domain.causes import Action
from gpu_mesh.domain.cluster import Role, Writer
from gpu_mesh.domain.emergency import Emergency
from gpu_mesh.domain.event import Event, Severity, event
from gpu_mesh.domain.health import Verdict
from gpu_mesh.domain.history import Unwritten
from gpu_mesh.domain.mesh import Mesh, Node
from gpu_mesh.domain.observation import Fault, Observation
from gpu_mesh.domain.state import State, Tick
from gpu_mesh.inventory import cache
from gpu_mesh.inventory.mistakes import InventoryError
from gpu_mesh.monitor import tick
from gpu_mesh.monitor.turns import Turns
from gpu_mesh.planning import advice, plan
from gpu_mesh.probe import pool
from gpu_mesh.recovery import lifecycle
from gpu_mesh.storage import emergency_file, mesh_file
from gpu_mesh.storage.place import state_of
from gpu_mesh.storage.state_file import NotLeaderError, StateError, StateFile
from gpu_mesh.system import host, triggers
from gpu_mesh.system.log import Log
from gpu_mesh.system.paths import RUN_PID, Paths
from gpu_mesh.text.humanize import plural

VERSION_EVERY = 3600.0
"""Seconds after which a node is asked for its version again."""


class CheckResult(Struct, frozen=True):
    """What a tick saw and changed."""

    mesh: Mesh
    changes: tuple[Transition, ...]
    unprobed: tuple[str, ...]  # keys of the nodes that the monitor itself could not probe
    alerts: tuple[Alert, ...]


def check(paths: Paths, monitor: str | None, log: Log, clock: Callable[[], float] = time.time) -> CheckResult:
    """Check the whole mesh once.

    1. Take the mesh from the cache, or from the inventory where that changed.
    2. Probe all enabled nodes at once. Nothing is locked meanwhile.
    3. An observation does not count where the monitor itself could not probe, nor for a remote node while the
       monitor's own network is down: then no remote node answers, and no canary, though one has since boot.
    4. Under the lock: reload the state, apply the observations, save state and alerts in one write.
    5. Set the triggers of recovery and delivery, and write the log. If the process is killed before that,
       their timers find the work.
    6. Send the heartbeat, if one is set up; for a failed tick too, once the mesh is known.

    Args:
        paths: the monitor's folders.
        monitor: the monitor whose settings apply, where the inventory has several.
        log: the central log.
        clock: returns Unix seconds.

    Raises:
        InventoryError: the inventory is broken, and no earlier one is cached.
        StateError: the state folder cannot be used.
    """
    began = clock()
    loaded = _load(paths, monitor, StateFile(paths.state, log), began)
    role = Role.LEADER
    if loaded.mesh.cluster.endpoints:
        from gpu_mesh.monitor import sharing  # most monitors are alone

        role = sharing.role_of(paths, loaded.mesh)
        if not role.watches:
            sharing.stand_by(paths, loaded.mesh, log, began)
            return CheckResult(loaded.mesh, (), (), ())
    file = state_of(paths, loaded.mesh, log, writer=Writer.WATCH)
    try:
        done = _check(paths, loaded, file, log, began, clock, role)
    except NotLeaderError as error:
        log.write([event("check_not_counted", Severity.WARNING, reason=error.reason)], clock())
        return CheckResult(loaded.mesh, (), (), ())
    except Exception:
        _send_heartbeat(loaded.mesh, log, clock(), good=False)
        raise
    _send_heartbeat(loaded.mesh, log, clock(), good=not done.unprobed)
    return done


def _load(paths: Paths, monitor: str | None, file: StateFile, began: float) -> cache.Loaded:
    """Return the mesh; make the state folder first, since the inventory's cache is in it.

    That the folder cannot be used is found again once the nodes are seen, and kept with that.
    """
    unusable: StateError | None = None
    try:
        file.make_folder()
    except StateError as error:
        unusable = error
    try:
        return cache.load(paths, monitor, began)
    except InventoryError:
        if unusable:
            raise unusable from None
        raise


def _check(
    paths: Paths,
    loaded: cache.Loaded,
    file: StateFile,
    log: Log,
    began: float,
    clock: Callable[[], float],
    role: Role,
) -> CheckResult:
    """Do points 2 to 5 of ``check``."""
    known, unsaved = _known(file, began), emergency_file.read(paths)
    shown = _observe(loaded.mesh, known, began, deep=unsaved is None)
    now = clock()
    working = _working_units(known, now, good=not tick.unprobed_of(shown))
    try:
        saved = _save(paths, loaded, file, shown, working, unsaved, began, now, role)
    except NotLeaderError:
        raise
    except StateError as error:
        from gpu_mesh.monitor import emergency

        emergency.note(paths, error, loaded.mesh, known, shown, began, now, log)
        raise
    lines, ticked, mesh = saved.lines, saved.ticked, loaded.mesh
    try:
        mesh_file.keep(paths.state, mesh)
    except OSError as error:  # readers see an older mesh: no reason to fail
        lines.append(event("mesh_not_kept", Severity.ERROR, reason=error.strerror))
    log.write([*lines, *map(alerts.as_event, saved.raised)], now)
    if mesh.settings.history_max:
        from gpu_mesh.monitor import history  # a mesh may keep none

        history.add(paths, mesh, saved.state, ticked, log, now)
    return CheckResult(mesh, ticked.changes, tuple(ticked.unprobed), saved.raised)


def _known(file: StateFile, began: float) -> State:
    """Return the state as it is before the probes; an empty one where it cannot be read."""
    try:
        return file.load(began, host.clocks(os.environ, began))
    except StateError:
        return State()


def _observe(mesh: Mesh, known: State, began: float, *, deep: bool) -> tick.MeshObservation:
    """Probe every node, and ask the canaries.

    Args:
        mesh: the nodes.
        known: what decides what each node is asked.
        began: Unix seconds.
        deep: whether models may be asked. While nothing can be saved they are not: each check would ask them
            again, and so keep them loaded.
    """
    interval = mesh.settings.deep_interval if deep else 0.0
    nodes = tuple(node for node in mesh.nodes if node.enabled)
    turns = Turns(len(nodes), began, mesh.settings.check_interval)
    seen = pool.observe_all(
        nodes,
        began,
        ask_version=lambda node: _version_is_old(known, node, began, turns),
        trust_env=mesh.settings.proxy_from_environment,
        choose=lambda node, loaded: (
            deep_check.choose(known.node(node.key), loaded, began, interval)
            if turns.has(node.key, began - known.node(node.key).deep_at, interval)
            else None
        ),
    )
    reachable, offline = _ask_canaries(mesh, nodes, known, seen)
    reads = _reads_good_answers() if any(it.tags.fault in tick.RAISED for it in seen.values()) else True
    return tick.MeshObservation(seen, reachable, offline=offline, reads=reads, scheduled=_is_scheduled())


class _Saved(Struct, frozen=True):
    """What a tick has saved, and what is left to write."""

    state: State
    ticked: tick.TickResult
    raised: tuple[Alert, ...]
    lines: list[Event]  # of the log


def _save(
    paths: Paths,
    loaded: cache.Loaded,
    file: StateFile,
    shown: tick.MeshObservation,
    working: frozenset[str],
    unsaved: Emergency | None,
    began: float,
    now: float,
    role: Role,
) -> _Saved:
    """Apply what was seen to the state, save it, and set the triggers."""
    mesh, clock = loaded.mesh, host.clocks(os.environ, now)
    if unsaved:
        from gpu_mesh.alerting import emergencies
    with file.update(now, began, clock) as state:
        first_new = state.next_alert
        note_inventory(state, loaded.error, paths.inventory, now)
        monitor_alerts.note_working(state, working, now)
        if mesh.settings.history_max:
            monitor_alerts.note_history(state, _unwritten(paths), now)
        else:
            state.history_error = ""
        before = dict(state.nodes)
        if mesh.cluster.endpoints:
            from gpu_mesh.monitor import sharing

            shown = sharing.begin(paths, state, mesh, role, shown, now)
        else:
            state.shared = None  # it may have had others once
        if unsaved:
            emergencies.note_unsaved(state, unsaved)
        ticked = tick.apply(state, mesh, shown, began, now)
        if unsaved:
            emergencies.note_end(state, unsaved, before, mesh, now)
        state.tick = replace(state.tick, clock=clock)
        if mesh.cluster.endpoints:
            sharing.end(state, mesh, role, first_new)
        raised = tuple(alert for alert in state.alerts if alert.id >= first_new)
        work = any(decision.action is not Action.NONE for decision in plan.plan(mesh, state, now))
        work = work or any(lifecycle.is_expired(node, now) for node in state.nodes.values())
        waiting = any(alerts.is_waiting(alert) for alert in state.alerts)
    if unsaved:
        emergency_file.end(paths)
    news = mesh.settings.publishes and (ticked.drains or any(map(_is_news, ticked.changes)))
    wanted = ((work, paths.recover_wanted), (waiting, paths.deliver_wanted), (news, paths.publish_wanted))
    lines = [*(line for change in ticked.changes for line in _events(change)), *ticked.drains]
    lines += [line for is_wanted, file in wanted if is_wanted for line in triggers.set_trigger(file)]
    unprobed = ticked.unprobed
    lines += [event("probe_error", Severity.ERROR, node=key, reason=why) for key, why in unprobed.items()]
    if state.tick.too_slow:
        lines.append(_overran(state.tick, shown))
    if ticked.dropped:
        lines.append(event("alerts_dropped", Severity.WARNING, number=ticked.dropped, reason=_MANY_WAIT))
    return _Saved(state, ticked, raised, lines)


def _overran(last: Tick, shown: tick.MeshObservation) -> Event:
    silent = sum(it.tags.fault in _SILENT for it in shown.observations.values())
    return event(
        "check_overran",
        Severity.WARNING,
        seconds=round(last.seconds, 1),
        interval=last.interval,
        nodes=len(shown.observations),
        silent=silent,
        next=advice.FOR_SLOW_CHECKS,
    )


_SILENT = (Fault.CONNECT_TIMEOUT, Fault.READ_TIMEOUT)
"""The faults of a node that held the check up for as long as it may."""


def _unwritten(paths: Paths) -> Unwritten | None:
    if not paths.history_error.exists():
        return None
    from gpu_mesh.monitor import history  # only in trouble

    return history.unwritten(paths)


def _is_news(change: Transition) -> bool:
    return change.after.status is not change.before.status


def _is_scheduled() -> bool:
    """Return whether systemd or gpu-mesh run has started this very process, not a shell below it."""
    by_systemd = os.environ.get("SYSTEMD_EXEC_PID") == str(os.getpid())
    return by_systemd or os.environ.get(RUN_PID) == str(os.getppid())


_MANY_WAIT = "too many alerts wait; newer ones of the same node and level replace these"


def _working_units(known: State, now: float, *, good: bool) -> frozenset[str]:
    """Return the units that failed and work again; systemd is asked only while a unit is known to fail."""
    failing = monitor_alerts.failing(known)
    if not failing:
        return frozenset()
    from gpu_mesh.system import systemd

    return systemd.working(failing, now, good=good)


def _send_heartbeat(mesh: Mesh, log: Log, now: float, *, good: bool) -> None:
    """Send the heartbeat, last of all: if it fails, the tick is saved already."""
    if mesh.settings.heartbeat_url:
        from gpu_mesh.monitor import heartbeat  # most meshes have none

        url, trust_env = mesh.settings.heartbeat_url, mesh.settings.proxy_from_environment
        if reason := heartbeat.beat(url, good=good, trust_env=trust_env):
            log.write([event("heartbeat_lost", Severity.WARNING, reason=reason)], now)


def describe(change: Transition) -> str:
    """Return one line that says what a check of a node showed."""
    after = change.after
    said = after.detail or f"{after.response_ms or 0:.0f} ms, {plural(len(after.models), 'model')}"
    return f"{after.status.icon} {change.node.name}: {after.status}, {said}"


def _ask_canaries(
    mesh: Mesh, nodes: tuple[Node, ...], known: State, seen: Mapping[str, Observation]
) -> tuple[dict[str, str], bool]:
    """Ask the canaries as ``connectivity.ask_canaries`` describes, and return what it returns."""
    if not mesh.settings.canary:
        return {}, False
    from gpu_mesh.monitor import connectivity
    from gpu_mesh.probe import canary  # most meshes have none

    return connectivity.ask_canaries(
        mesh.settings.canary, known.canaries, nodes, seen, host.boot(os.environ), canary.reachable
    )


def _reads_good_answers() -> bool:
    from gpu_mesh.probe import control  # most checks need none

    return control.reads_good_answers()


def _version_is_old(state: State, node: Node, now: float, turns: Turns) -> bool:
    waited = now - state.node(node.key).version_at
    return waited > VERSION_EVERY and turns.has(node.key, waited, VERSION_EVERY)


def _events(change: Transition) -> list[Event]:
    node, before, after = change.node, change.before, change.after
    answered = after.verdict is not Verdict.FAILED
    lines = [
        event(
            "check",
            Severity.INFO,
            node=node.key,
            status=after.status,
            verdict=after.verdict,
            ms=round(after.response_ms or 0) if answered else None,
            models=len(after.models) if answered else None,
            failures=after.failures or None,
            cause=after.cause,
            detail=after.detail,
        )
    ]
    if _is_news(change):
        lines.append(
            event(
                "status",
                Severity.NOTICE if answered else Severity.WARNING,
                node=node.key,
                was=before.status,
                now=after.status,
                cause=after.cause,
                detail=after.detail,
            )
        )
    return lines
