"""Carries out ``gpu-mesh lead``: renews this monitor's lease, and does what cluster/leadership.py decides.

A timer starts it every ten seconds. It takes no lock, and of the state it needs the age of the last check:
whatever hangs on this monitor, its lease shows whether it lives, and its checks whether it leads.
"""

import os
from collections.abc import Sequence
from typing import TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from gpu_mesh import __version__
from gpu_mesh.cluster import fingerprint, leadership
from gpu_mesh.cluster.keys import Keys
from gpu_mesh.cluster.leadership import Choice, Facts, Step
from gpu_mesh.domain.cluster import LEASE, Lead, Member, Session, View
from gpu_mesh.domain.event import Event, Severity, event
from gpu_mesh.domain.mesh import Mesh
from gpu_mesh.domain.state import SCHEMA, State
from gpu_mesh.storage import session_file
from gpu_mesh.system import host
from gpu_mesh.system.etcd import (
    Compare,
    Delete,
    Etcd,
    EtcdError,
    Get,
    KeyValue,
    Operation,
    Put,
    Tls,
)
from gpu_mesh.system.log import Log
from gpu_mesh.system.paths import Paths
from gpu_mesh.text.sanitize import plain

EVERY = 10.0
"""Seconds between two runs."""

SECONDS = 4.0
"""Seconds that a run may ask etcd for."""

_CANARY_EVERY = _TUNNELS_EVERY = 50.0  # seconds

_Kind = TypeVar("_Kind", Lead, Member)


class Led(Struct, frozen=True):
    """What a run heard and did."""

    session: Session
    choice: Choice
    view: View


def lead(paths: Paths, mesh: Mesh, state: State, log: Log, now: float, *, resign: str = "") -> Led:
    """Renew the lease of this monitor, and take, keep or give up leading.

    Args:
        paths: the monitor's folders.
        mesh: names the monitor and etcd.
        state: this monitor's copy.
        log: the central log.
        now: Unix seconds.
        resign: why leading is to be left to another monitor for a while; "": it is not.

    Raises:
        AwayError: etcd does not answer. That it was asked is noted.
        EtcdError: etcd refuses, or says what it should not. So is this.
        OSError: what was heard cannot be kept.
    """
    at = session_file.since_boot()
    before = session_file.read(paths, mesh.monitor) or _first(mesh, state, at)
    session = replace(before, tried=at)
    if resign:
        session = replace(session, yields_until=at + leadership.YIELDS, yields_for=resign)
    session = _hear_canaries(mesh, session, at)  # a silent one takes seconds, which etcd is not to lack
    try:
        with open_etcd(mesh, session_file.endpoints(paths, mesh)) as etcd:
            done = _lead(etcd, mesh, state, session, at, now, resign=resign)
    except EtcdError:
        session_file.write(paths, session)
        raise
    session_file.write(paths, done.session)
    log.write(_events(before, done), now)
    return done


def _first(mesh: Mesh, state: State, at: float) -> Session:
    """Return the session of a machine that has just booted: who led is known from its copy of the state.

    So a monitor that is the only one to come back after a power cut watches alone after a while.
    """
    leader = state.shared.leader if state.shared else ""
    living = tuple(sorted(mesh.cluster.monitors))
    return Session(mesh.monitor, host.boot(os.environ), leader=leader, living=living, answered=at)


def look(mesh: Mesh) -> View:
    """Return what etcd shows of the monitors.

    Raises:
        EtcdError: it does not answer, or refuses.
    """
    with open_etcd(mesh, mesh.cluster.endpoints) as etcd:
        return _view(etcd, Keys(mesh.cluster.name))


def open_etcd(mesh: Mesh, endpoints: Sequence[str]) -> Etcd:
    """Return the etcd of a mesh, to be asked for a few seconds, at these endpoints in turn."""
    cluster = mesh.cluster
    return Etcd(endpoints, Tls(cluster.ca, cluster.cert, cluster.key), SECONDS)


def _lead(
    etcd: Etcd, mesh: Mesh, state: State, session: Session, at: float, now: float, *, resign: str
) -> Led:
    keys = Keys(mesh.cluster.name)
    if not session.lease or not etcd.renew(session.lease):
        session = replace(session, lease=etcd.grant(LEASE), term=0)
    session = replace(session, until=at + LEASE, answered=at, endpoint=etcd.endpoint)
    session = _try_tunnels(mesh, session, at)
    view, ahead = _view(etcd, keys), etcd.clocks()
    me = Member(
        mesh.monitor,
        __version__,
        SCHEMA,
        fingerprint.of_mesh(mesh),
        ahead=leadership.clock_error(ahead),
        nodes=len(state.nodes),
        not_ready=session.not_ready,
    )
    checked = at - (now - state.tick.at - state.tick.seconds) if state.tick.at else 0.0
    facts = Facts(me, mesh.cluster.seed, ahead, bool(mesh.settings.canary), checked)
    me = replace(me, unfit=leadership.unfit(facts, session, view, at))
    facts = replace(facts, me=me)
    choice = leadership.choose(facts, session, view, at, mesh.settings.check_interval)
    if resign and choice.step is Step.KEEP:
        choice = Choice(Step.GIVE_UP, resign)
    session = _act(etcd, keys, session, choice, me, at)
    others = {each.name for each in view.members if each.name != me.name}
    leader = me.name if session.term else ("" if choice.step is Step.GIVE_UP else view.leader)
    return Led(
        replace(
            session,
            leader=leader or session.leader,
            living=tuple(sorted({*others, me.name})),
        ),
        choice,
        view,
    )


def _act(etcd: Etcd, keys: Keys, session: Session, choice: Choice, me: Member, at: float) -> Session:
    """Say in etcd that this monitor lives, and do what was chosen."""
    says = Put(keys.member(me.name), msgspec.json.encode(me), session.lease)
    led = msgspec.json.encode(Lead(me.name, me.inventory))
    if choice.step is Step.TAKE:
        puts: list[Operation] = [
            says,
            Put(keys.lead, led, session.lease),
            Put(keys.last, led),
            Get(keys.lead),
        ]
        answer = etcd.transact(puts, [Compare(keys.lead, created=0)], [says])
        return (
            replace(session, term=answer.found[0][0].created, led_since=at) if answer.succeeded else session
        )
    if choice.step is Step.KEEP:
        puts = [says, Put(keys.lead, led, session.lease), Put(keys.last, led)]
        kept = etcd.transact(puts, [Compare(keys.lead, created=session.term)], [says]).succeeded
        return session if kept else replace(session, term=0)
    if choice.step is Step.GIVE_UP:
        etcd.transact([says, Delete(keys.lead)], [Compare(keys.lead, created=session.term)], [says])
        until = max(session.yields_until, at + leadership.YIELDS)
        return replace(
            session, term=0, yields_until=until, yields_for=session.yields_for or me.unfit or choice.reason
        )
    etcd.transact([says])
    return replace(session, term=0)


def _hear_canaries(mesh: Mesh, session: Session, at: float) -> Session:
    if not mesh.settings.canary or at - session.heard_canary < _CANARY_EVERY:
        return session
    from gpu_mesh.probe import canary  # once a minute

    return replace(session, heard_canary=at) if canary.reachable(mesh.settings.canary) else session


def _try_tunnels(mesh: Mesh, session: Session, at: float) -> Session:
    """See once a minute which tunnels stand on this monitor: after a take-over it needs them."""
    behind = [(node.key, node.tunnel.local_port) for node in mesh.nodes if node.enabled and node.tunnel]
    if not behind or at - session.tunnels_at < _TUNNELS_EVERY:
        return session if behind else replace(session, not_ready=())
    missing = tuple(key for key, port in behind if not host.listens(port))
    return replace(session, not_ready=missing, tunnels_at=at)


def _view(etcd: Etcd, keys: Keys) -> View:
    """Ask what there is, in one transaction."""
    wanted = [
        Get(keys.lead),
        Get(keys.members, prefix=True),
        Get(keys.last),
        Get(keys.write),
        Get(keys.schema),
    ]
    leads, members, last, written, schema = etcd.transact(wanted).found
    return View(
        leader=plain(_decoded(leads[0], Lead).monitor) if leads else "",
        term=leads[0].created if leads else 0,
        members=tuple(filter(None, map(_member, members))),
        last=_last(last[0]) if last else None,
        has_state=bool(written),
        schema=int(schema[0].value) if schema and schema[0].value.isdigit() else 0,
    )


def _last(found: KeyValue) -> Lead:
    said = _decoded(found, Lead)
    return replace(said, monitor=plain(said.monitor))


def _member(found: KeyValue) -> Member | None:
    """Return what a monitor says of itself, in words that may be shown; None: it is none of ours."""
    try:
        said = _decoded(found, Member)
    except EtcdError:
        return None
    return replace(
        said,
        name=plain(said.name),
        version=plain(said.version),
        unfit=plain(said.unfit),
        not_ready=tuple(map(plain, said.not_ready)),
    )


def _decoded(found: KeyValue, kind: type[_Kind]) -> _Kind:
    try:
        return msgspec.json.decode(found.value, type=kind)
    except msgspec.MsgspecError as error:
        raise EtcdError(f"{found.key} is not what gpu-mesh writes there: {error}") from error


def _events(before: Session, done: Led) -> list[Event]:
    after = done.session
    if after.term and after.term != before.term:
        return [event("leads", Severity.NOTICE, monitor=after.monitor)]
    if before.term and not after.term:
        return [event("leads_no_more", Severity.WARNING, monitor=after.monitor, reason=done.choice.reason)]
    return []
