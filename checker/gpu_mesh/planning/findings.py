"""Decides what the look of a recovery means: the precise cause, and what follows. Pure."""

from gpu_mesh.domain.causes import Action, Cause
from gpu_mesh.domain.mesh import Node
from gpu_mesh.domain.recovery import Finding


def refine(node: Node, cause: Cause | None, finding: Finding) -> Cause | None:
    """Make the probe's cause precise by what the look on the hosts showed.

    What came back through the tunnel (an HTTP status) proves that the tunnel works; silence in it does not.
    """
    if finding is Finding.HOST_DOWN:
        return Cause.HOST_DOWN
    if finding is Finding.NO_ACCESS:
        return Cause.NO_ACCESS
    if finding is Finding.PORT_TAKEN:
        return Cause.TUNNEL_PORT_TAKEN
    if finding is Finding.SILENT and cause is Cause.TUNNEL_STUCK:
        return Cause.TIMEOUT  # it is Ollama that hangs, not the tunnel
    if finding is not Finding.ANSWERS:
        return cause
    if node.tunnel and cause in (Cause.TUNNEL_STUCK, Cause.REMOTE_OLLAMA_DOWN, Cause.TIMEOUT):
        return Cause.TUNNEL_STUCK
    if cause in (Cause.REFUSED, Cause.TIMEOUT, Cause.HTTP_ERROR):
        return Cause.NOT_EXPOSED
    return cause


def follow_up(node: Node, cause: Cause | None, finding: Finding) -> Action:
    """Return what is to be done after a look that ended without a restart; ``cause`` is the refined one."""
    stuck = node.tunnel is not None and cause is Cause.TUNNEL_STUCK and finding is Finding.ANSWERS
    return Action.REBUILD_TUNNEL if stuck else Action.NONE


REBUILD_HELPS = frozenset(
    {
        None,  # asked for, while nothing is known to be wrong
        Cause.TUNNEL_DOWN,
        Cause.TUNNEL_STUCK,
        Cause.TUNNEL_PORT_TAKEN,
        Cause.REMOTE_OLLAMA_DOWN,
        Cause.TIMEOUT,
    }
)
"""The probed causes for which a tunnel is rebuilt; for others the look only tells whose its local port is."""


RESTARTED_THOUGH_IT_ANSWERS = frozenset({Cause.RUNNER_HUNG, Cause.STUCK_STOPPING, Cause.CPU_FALLBACK})
"""The probed causes that an Ollama has which answers on its own host; restart_ollama.yml knows them, too."""


def spares_work(cause: Cause | None, lasted: float) -> bool:
    """Tell whether what a model generates is worth more than the restart.

    Args:
        cause: what is wrong.
        lasted: seconds for which it has been.
    """
    served = cause in (Cause.STUCK_STOPPING, Cause.CPU_FALLBACK)
    return served or (cause is Cause.RUNNER_HUNG and lasted < HUNG_AT_WORK)


HUNG_AT_WORK = 900.0
"""Seconds for which a runner that does not answer, but uses the processor, may be at a long request: till
its end, Ollama keeps back one that wants other options than the model was loaded with."""
