"""Carries recoveries out for ``gpu-mesh recover``: claims the nodes that are due, and has each repaired.

The state is locked only to claim a node and to record the result. If the process is killed in between, its
claim remains until it expires, so that nothing is restarted twice. While the process lives, no other takes
its node over, even if the claim has expired because the clock was set forward.

Nodes that need the same share one run of Ansible (sharing.py). They are claimed one by one all the same, in
the order of the plan, and only when a repair may begin: if this process dies, the others are free.
"""

import os
import sys
import threading
from collections.abc import Collection
from concurrent.futures import Future, ThreadPoolExecutor

from gpu_mesh.domain.event import Severity
from gpu_mesh.domain.recovery import Decision
from gpu_mesh.planning import plan
from gpu_mesh.recovery import brake, lifecycle, node_locks
from gpu_mesh.recovery.context import Context
from gpu_mesh.recovery.repair import deliver, number, repair
from gpu_mesh.recovery.shared_runs import Place, SharedRuns
from gpu_mesh.recovery.values import Job
from gpu_mesh.system import triggers

BETWEEN_LOOKS = 1.0
"""Seconds between two looks for further nodes that are due while a recovery is under way."""


def recover(context: Context, only: str = "", *, force: bool = False) -> int:
    """Repair the nodes that are due, until none is.

    Args:
        context: the mesh, its state, and how a node is probed.
        only: the key of the one node to repair; "": all.
        force: see ``plan.plan``.

    Returns:
        For all nodes 0, whatever the outcome. For one node 0 when it serves afterwards, 1 when it does not, 2
        when there is no such node.

    Raises:
        StateError: the state folder cannot be used.
    """
    context.log.write(triggers.clear_trigger(context.paths.recover_wanted), context.clock())
    at_work = node_locks.AtWork(context.paths.state)
    if only:
        return _recover_one(context, at_work, only, force=force)
    if force:
        with context.statefile.update(context.clock()) as state:
            brake.release(state)
        context.note("brake_released", Severity.NOTICE)
    _recover_all(context, at_work)
    return 0


def _recover_all(context: Context, at_work: node_locks.AtWork) -> None:
    workers, changed = max(1, context.mesh.settings.recovery_concurrency), threading.Event()
    busy: set[Future[bool]] = set()
    with ThreadPoolExecutor(workers) as pool, SharedRuns(context, changed.set) as runs:
        while True:
            # In each round: while a slow repair keeps this process busy, systemd starts no second one.
            triggers.clear_trigger(context.paths.recover_wanted)
            while len(busy) < workers and not context.stopping.is_set():
                asking, expected = runs.waiting()
                job = _claim(context, at_work, expected=expected)
                if not isinstance(job, Job):
                    runs.refuse(asking - at_work.mine)  # they are not due any more
                    break
                future = pool.submit(_carry_out, context, at_work, job, runs.place_for(job, at_work.mine))
                future.add_done_callback(lambda _: changed.set())
                busy.add(future)
            if not busy and not runs.are_under_way():
                return
            changed.wait(BETWEEN_LOOKS)
            changed.clear()
            for done in [each for each in busy if each.done()]:
                busy.remove(done)
                done.result()


def _recover_one(context: Context, at_work: node_locks.AtWork, only: str, *, force: bool) -> int:
    if context.mesh.node(only) is None:
        known = ", ".join(node.key for node in context.mesh.nodes) or "none"
        sys.stderr.write(f"the inventory has no node {only}; its nodes: {known}\n")
        return 2
    job = _claim(context, at_work, only, force=force)
    if isinstance(job, Job):
        return 0 if _carry_out(context, at_work, job, asked_for=force) else 1
    sys.stdout.write(plan.describe(job, context.mesh))
    return 0 if all(decision.reason == plan.HEALTHY for decision in job) else 1


def _claim(
    context: Context,
    at_work: node_locks.AtWork,
    only: str = "",
    *,
    force: bool = False,
    expected: Collection[str] = (),
) -> Job | tuple[Decision, ...]:
    """Claim the first node that is due; without one, return the decisions that say why.

    A node that a living process repairs is left alone, even if the clock has jumped past its claim. So is one
    whose turn comes in a run of this process.
    """
    now, mine = context.clock(), at_work.mine
    passed_over = mine.union(expected)
    seen = context.statefile.load(now)
    decisions = plan.plan(context.mesh, seen, now, only, force=force)
    expired = any(lifecycle.is_expired(known, now) for key, known in seen.nodes.items() if key not in mine)
    due = any(lifecycle.is_due(each) and each.node not in passed_over for each in decisions)
    if not due and not expired:
        return decisions
    with context.claiming.update(now) as state:
        alerts_before = state.next_alert
        busy = at_work.nodes()
        events = lifecycle.expire_claims(state, context.mesh, now, busy)
        claimed = lifecycle.claim(
            state, context.mesh, now, os.getpid(), only, force=force, mine=busy, expected=expected
        )
        if isinstance(claimed, Job):
            at_work.begin(claimed.node.key)
    if state.next_alert != alerts_before:
        deliver(context)
    context.log.write(events, now)
    if isinstance(claimed, Job):
        context.note(
            "recovery_claimed",
            Severity.NOTICE,
            node=claimed.node.key,
            action=claimed.claim.action,
            playbook=claimed.claim.playbook,
            cause=claimed.cause,
            attempt=number(claimed),
        )
    return claimed


def _carry_out(
    context: Context,
    at_work: node_locks.AtWork,
    job: Job,
    place: Place | None = None,
    *,
    asked_for: bool = False,
) -> bool:
    """Do the job, then release the node's lock; return whether the node serves as it should."""
    try:
        return repair(context, job, place, asked_for=asked_for)
    finally:
        if place:
            place.give_up()
        at_work.end(job.node.key)
