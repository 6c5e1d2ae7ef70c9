"""Decides what a look on the host means for recovery: the precise cause, and the action that follows. Pure.

A recovery begins with a look: its playbook checks on the host itself what is wrong. A probe sees the node
only from outside, so the look can refine the cause that the probe named.
"""

from gpu_mesh.domain.causes import Action, Cause
from gpu_mesh.domain.mesh import Node
from gpu_mesh.domain.recovery import REFUSED, Finding


def refine(node: Node, cause: Cause | None, finding: Finding, gpu: Cause | None = None) -> Cause | None:
    """Return the probe's cause, refined by what the look found; ``gpu`` is what it found wrong with a GPU.

    An HTTP status that came back through the tunnel proves that the tunnel works. No answer proves nothing.
    """
    if finding is Finding.HOST_DOWN:
        return Cause.HOST_DOWN
    if finding is Finding.NO_ACCESS:
        return Cause.NO_ACCESS
    if finding is Finding.GPU_AT_FAULT or finding.value in REFUSED:
        return gpu
    if finding is Finding.PORT_TAKEN:
        return Cause.TUNNEL_PORT_TAKEN
    if finding is Finding.SILENT and cause is Cause.TUNNEL_STUCK:
        return Cause.TIMEOUT  # it is Ollama that hangs, not the tunnel
    if finding in _NOT_RUNNING and cause is Cause.TUNNEL_STUCK:
        return Cause.REMOTE_OLLAMA_DOWN  # nothing answers there, and nothing will start it
    if finding is not Finding.ANSWERS:
        return cause
    if node.prefix and cause is Cause.REMOTE_OLLAMA_DOWN:
        return Cause.NOT_EXPOSED  # the tunnel's other end closes the connection: the proxy there, not Ollama
    if node.tunnel and cause in (Cause.TUNNEL_STUCK, Cause.REMOTE_OLLAMA_DOWN, Cause.TIMEOUT):
        return Cause.TUNNEL_STUCK
    if cause in (Cause.REFUSED, Cause.TIMEOUT, Cause.HTTP_ERROR):
        return Cause.NOT_EXPOSED
    return cause


_NOT_RUNNING = (Finding.UNIT_DISABLED, Finding.UNIT_MISSING, Finding.UNIT_GIVEN_UP)


def follow_up(node: Node, cause: Cause | None, finding: Finding) -> Action:
    """Return the action that follows a look without a restart; ``cause`` is the refined one."""
    stuck = node.tunnel is not None and cause is Cause.TUNNEL_STUCK and finding is Finding.ANSWERS
    return Action.REBUILD_TUNNEL if stuck else Action.NONE


REBUILD_HELPS = frozenset(
    {
        None,  # a person asked for a recovery, and no cause is known
        Cause.TUNNEL_DOWN,
        Cause.TUNNEL_STUCK,
        Cause.TUNNEL_PORT_TAKEN,
        Cause.REMOTE_OLLAMA_DOWN,
        Cause.TIMEOUT,
    }
)
"""The probed causes for which a tunnel is rebuilt. For others the look only finds out who holds the port."""

RESTARTED_THOUGH_IT_ANSWERS = frozenset(
    {
        Cause.RUNNER_HUNG,
        Cause.STUCK_STOPPING,
        Cause.CPU_FALLBACK,
        Cause.GPU_VRAM_HELD,
        Cause.GPU_UNUSED,
        Cause.GPU_CONTAINER_LOST,
    }
)
"""The probed causes for which Ollama is restarted even if it answers on its host; see restart_ollama.yml."""


def spares_work(action: Action, cause: Cause | None, lasted: float) -> bool:
    """Return whether a repair must wait while a model generates.

    One of the GPUs always must, but for a runner that has hung for long: it ends all that a card does.

    Args:
        action: the repair.
        cause: what is wrong, as the probe names it.
        lasted: seconds since it began.
    """
    if action.repairs_gpu and cause is not Cause.RUNNER_HUNG:
        return True
    served = cause in RESTARTED_THOUGH_IT_ANSWERS and cause is not Cause.RUNNER_HUNG
    return served or (cause is Cause.RUNNER_HUNG and lasted < HUNG_AT_WORK)


HUNG_AT_WORK = 900.0
"""Seconds for which a runner that uses the processor, but does not answer, may be busy with a long request.
Until that request ends, Ollama delays every request with other options than the model was loaded with."""
