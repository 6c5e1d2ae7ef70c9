"""Decides which monitor leads the mesh. Pure: from what etcd showed, this monitor's own facts, and clocks.

One leads, the others stand by. To lead is to check: who does not check the mesh any more gives it up, however
well it lives. Times are seconds since this machine's boot, which nobody sets.
"""

from enum import Enum, auto

from msgspec import Struct

from gpu_mesh.domain.cluster import LEASE, Member, Role, Session, View

AWAY = LEASE + 15.0
"""Seconds without an answer after which etcd counts as away: by then, who led may have lost its lease."""

STALE = AWAY
"""Seconds after which a session that nobody renews says nothing: the lead timer itself does not run."""

MOST_AHEAD = 10.0
"""Seconds that a leader's clock may be off."""

CANARY_WITHIN = 120.0
"""Seconds within which a leader must have heard a canary, where there is one."""

LATE = 2.5
"""Intervals between checks without a whole one, after which a monitor does not count as checking."""

YIELDS = 60.0
"""Seconds for which a monitor that gave leading up leaves it to others."""


def role(session: Session | None, now: float, interval: float) -> Role:
    """Return what this monitor does now.

    Args:
        session: what it last heard from etcd; None: nothing since boot.
        now: seconds since boot.
        interval: seconds between checks. Where etcd is away, each monitor that never led waits one more than
            the one before it, so that they do not all begin to watch in the same moment.
    """
    if session is None:
        return Role.STANDBY
    if session.term and now < session.until:
        return Role.LEADER
    silent = session.tried - session.answered
    if now - session.tried > STALE or silent <= AWAY:
        return Role.STANDBY
    if session.leader == session.monitor and session.led_since:
        return Role.LEADER_ALONE
    patience = AWAY + (session.rank + 1) * interval
    return Role.ALONE if silent > patience else Role.STANDBY


class Facts(Struct, frozen=True):
    """What a monitor knows of itself."""

    me: Member  # without ``unfit``
    seed: str = ""  # whose state is to be the first; "": that of whoever leads first
    ahead: tuple[float, ...] = ()  # seconds by which the clocks of the endpoints are ahead of its own
    canaries: bool = False  # whether it has any to ask
    checked: float = 0.0  # when it last finished a check of the whole mesh, seconds since boot


def clock_error(ahead: tuple[float, ...]) -> float:
    """Return by how many seconds this machine's clock is ahead of most others'; 0.0: not known.

    The endpoints are mostly the monitors themselves. So the middle one of what they say is right as long as
    most clocks are.
    """
    if len(ahead) < 2:
        return 0.0
    ordered = sorted(ahead)
    return -ordered[len(ordered) // 2] if len(ordered) % 2 else -min(ordered, key=abs)


def unfit(facts: Facts, session: Session, view: View, now: float) -> str:
    """Return why another monitor should rather lead; "": nothing speaks against this one."""
    error = clock_error(facts.ahead)
    if abs(error) > MOST_AHEAD:
        return f"its clock is {abs(error):.0f} s {'ahead' if error > 0 else 'behind'}"
    if facts.canaries and now - session.heard_canary > CANARY_WITHIN:
        return "it reaches no canary"
    if now < session.yields_until:
        return session.yields_for
    if view.schema > facts.me.schema:
        return "a newer version has written the state: bring this one up to date"
    if view.last and view.last.monitor != facts.me.name and view.last.inventory != facts.me.inventory:
        return f"its inventory says something else than that of {view.last.monitor}, which led last"
    if not view.has_state and not facts.me.nodes and any(each.nodes for each in view.members):
        return "it knows no state of the mesh, and another one does"
    return ""


class Step(Enum):
    """What a monitor does about leading."""

    KEEP = auto()
    TAKE = auto()
    STAND_BY = auto()
    GIVE_UP = auto()


class Choice(Struct, frozen=True):
    """A step, and why."""

    step: Step
    reason: str = ""


def choose(facts: Facts, session: Session, view: View, now: float, interval: float) -> Choice:
    """Return what this monitor does about leading.

    Args:
        facts: what it knows of itself; ``facts.me.unfit`` is filled in.
        session: its session, renewed.
        view: what etcd shows.
        now: seconds since boot.
        interval: seconds between checks.
    """
    me, others = facts.me, [each for each in view.members if each.name != facts.me.name]
    fit = [each.name for each in others if not each.unfit and each.schema >= me.schema]
    # What a newer version writes, an older one cannot read. So while the monitors are brought up to date one
    # after another, the older ones lead, and the newer ones leave it to them.
    older = [each.name for each in others if not each.unfit and each.schema < me.schema]
    seeds = facts.seed == me.name and not view.has_state  # nobody else may lead
    if view.leader and (view.leader != me.name or view.term != session.term):
        return Choice(Step.STAND_BY, f"{view.leader} leads")
    if view.leader:
        silent = now - max(facts.checked, session.led_since)
        if silent > LATE * interval:
            return Choice(Step.GIVE_UP, f"it has finished no check for {silent:.0f} s")
        if me.unfit and fit and not seeds:
            return Choice(Step.GIVE_UP, f"{me.unfit}; {fit[0]} can lead")
        if older and view.has_state and view.schema < me.schema:
            return Choice(Step.GIVE_UP, f"{older[0]} is still of an older version, and could not go on")
        return Choice(Step.KEEP)
    if facts.seed not in ("", me.name) and not view.has_state:
        return Choice(Step.STAND_BY, f"the state of {facts.seed} is to be the first (mesh_cluster_seed)")
    if view.schema > me.schema:
        return Choice(Step.STAND_BY, me.unfit)  # it could not read the state
    if seeds:
        return Choice(Step.TAKE)
    if me.unfit and fit:
        return Choice(Step.STAND_BY, me.unfit)
    if older:
        return Choice(Step.STAND_BY, f"{older[0]} is of an older version, and leads first")
    equal = [each.name for each in others if each.name in fit and each.schema == me.schema]
    if view.last and view.last.monitor in equal:  # its copy of the state is the newest
        return Choice(Step.STAND_BY, f"{view.last.monitor} led last, and lives")
    return Choice(Step.TAKE)
