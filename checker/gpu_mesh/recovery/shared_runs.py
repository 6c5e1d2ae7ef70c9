"""Keeps the runs of Ansible in which several nodes are repaired, and gives each claimed node its place.

For worker.py, whose only thread calls this; what is claimed is repaired in others.
"""

import threading
from collections.abc import Callable, Collection, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

from gpu_mesh.domain.causes import Action
from gpu_mesh.domain.mesh import Node
from gpu_mesh.hosts.playbook_result import PlaybookResult
from gpu_mesh.planning import plan
from gpu_mesh.recovery import sharing
from gpu_mesh.recovery.context import Context
from gpu_mesh.recovery.values import Job

if TYPE_CHECKING:
    from gpu_mesh.hosts.joint_run import JointRun


class _Run:
    """One run, which begins when the first of its nodes needs it."""

    def __init__(self, joint: "JointRun", action: Action, *, here: bool) -> None:
        self.joint, self.action, self.here = joint, action, here
        self.thread: threading.Thread | None = None

    def begin(self) -> None:
        if self.thread is None:
            self.thread = threading.Thread(target=self.joint.run)
            self.thread.start()

    @property
    def is_over(self) -> bool:
        return self.joint.is_closed if self.thread is None else not self.thread.is_alive()


class Place:
    """The place of one claimed node in a run: called once, it has the node repaired there."""

    def __init__(self, run: _Run, node: Node) -> None:
        self._run, self._node = run, node

    def __call__(self, values: Mapping[str, Any]) -> PlaybookResult | None:
        """Have it repaired, with these extra vars; return what came of it. None: see ``JointRun.offer``."""
        from gpu_mesh.hosts import playbook

        self._run.begin()
        return self._run.joint.offer(
            self._node.key, {**values, "gpu_mesh_node": playbook.told_of(self._node)}
        )

    def give_up(self) -> None:
        """Let the run go on without the node; one that has not begun will not."""
        if self._run.thread is None:
            self._run.joint.close()
        else:
            self._run.joint.refuse(self._node.key)


class SharedRuns:
    """The runs of this process. In the end those that still wait for nodes let none begin any more."""

    def __init__(self, context: Context, changed: Callable[[], None]) -> None:
        """Begin without any.

        Args:
            context: the mesh and its state.
            changed: called when a host asks whether to begin, and when a run ends.
        """
        self._context, self._changed = context, changed
        self._runs: list[_Run] = []

    def __enter__(self) -> "SharedRuns":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for run in self._runs:
            run.joint.close()
        for run in self._runs:
            if run.thread is not None:
                run.thread.join()

    def are_under_way(self) -> bool:
        """Return whether any is, and forget those that are over."""
        self._runs = [run for run in self._runs if not run.is_over]
        return bool(self._runs)

    def waiting(self) -> tuple[frozenset[str], frozenset[str]]:
        """Return the nodes whose hosts ask whether to begin, and those whose hosts have not asked yet."""
        waiting = [run.joint.waiting() for run in self._runs]
        return (
            frozenset[str]().union(*(asking for asking, _ in waiting)),
            frozenset[str]().union(*(expected for _, expected in waiting)),
        )

    def refuse(self, keys: Collection[str]) -> None:
        """Tell the hosts of these nodes, which ask, not to begin."""
        for run in self._runs:
            for key in run.joint.waiting()[0].intersection(keys):
                run.joint.refuse(key)

    def place_for(self, job: Job, mine: Collection[str]) -> Place | None:
        """Return the place of a claimed node: in the run that waits for it, else in a new one; None: in none.

        Args:
            job: the recovery.
            mine: the nodes that this process repairs.
        """
        key = job.node.key
        run = next((each for each in self._runs if key in each.joint.waiting()[0]), None)
        if run and sharing.fits(job, run.action, here=run.here):
            return Place(run, job.node)
        if run:
            run.joint.refuse(key)
        run = self._new_run(job, mine)
        if run is None:
            return None
        self._runs.append(run)
        return Place(run, job.node)

    def _new_run(self, job: Job, mine: Collection[str]) -> _Run | None:
        context, now = self._context, self._context.clock()
        mesh, action = context.mesh, job.claim.action
        if not sharing.may_share(job):
            return None
        decisions = plan.plan(mesh, context.statefile.load(now), now)
        taken = frozenset(mine).union(*self.waiting())
        others = sharing.others(mesh, decisions, job, taken)
        if not others:
            return None
        from gpu_mesh.hosts import playbook
        from gpu_mesh.hosts.joint_run import JointRun
        from gpu_mesh.system import host

        path = playbook.find(action)
        if path != playbook.find(action, mesh.settings.recovery_playbooks):
            return None  # the operator's own in its place: it may not know how to wait for its turn
        here = sharing.acts_here(job.node, action)
        joint = JointRun(
            path,
            (job.node.key, *others),
            mesh.settings,
            context.paths.inventory,
            on_monitor=here,
            extra={"gpu_mesh_owner": host.owner(context.paths.state)},
            changed=self._changed,
            stop=context.stopping.is_set,
        )
        return _Run(joint, action, here=here)
