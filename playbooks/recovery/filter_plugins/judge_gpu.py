"""Filters for the playbooks: does what a look saw of the GPUs rule out a restart, or ask for a repair?

The decisions are the checker's own (gpu_mesh/planning/gpu_restart.py, gpu_repair.py), so that there is one.
Where a playbook is run by hand with an Ansible that does not know the checker, the GPUs are not judged, and
that is said.
"""

import json
import time


def gpu_verdict(printed, node, known="", cause=""):
    """Return the finding (gpu_at_fault, gpu_unclear or nothing), its words, and the lines of the look.

    Args:
        printed: what the look printed.
        node: the node's resolved values.
        known: what is remembered of its GPUs, as JSON; "": nothing.
        cause: what is wrong as the probe names it; "": not known.
    """
    return _judged("restart_ollama", printed, node, known, cause)


def repair_verdict(printed, action, node, known="", cause=""):
    """Return the finding (gpu_at_fault if the repair helps), the cause, its words, and the lines of the look.

    Where nothing can be judged, nothing is repaired. ``action`` is the playbook's name; the other arguments
    are as for ``gpu_verdict``.
    """
    judged = _judged(action, printed, node, known, cause)
    return judged if judged["finding"] else judged | {"finding": "gpu_well"}


def _judged(action, printed, node, known, cause):
    try:
        return _by_the_checker(action, printed, node, known, cause)
    except ImportError:
        reason = "gpu-mesh is not installed for this Ansible"
    except Exception as error:  # noqa: BLE001 - whatever goes wrong here must not keep a node down
        reason = f"{type(error).__name__}: {error}"
    return {"finding": "", "cause": "", "said": f"the GPUs were not judged: {reason}", "printed": ""}


def _by_the_checker(action, printed, node, known, cause):
    import msgspec

    from gpu_mesh.domain.causes import Action, Cause
    from gpu_mesh.domain.gpu import NodeGpu
    from gpu_mesh.domain.mesh import Node
    from gpu_mesh.hosts import gpu_look
    from gpu_mesh.planning import gpu_repair, gpu_restart

    # Ansible's strings are of types of their own, which msgspec does not take for strings.
    printed, known, cause = "".join(printed), "".join(known), "".join(cause)
    values = json.loads(json.dumps(node, default=str))
    described = msgspec.convert({k: values[k] for k in values if k in Node.__struct_fields__}, Node)
    before = msgspec.json.decode(known, type=NodeGpu) if known else None
    probed = Cause(cause) if cause in set(Cause) else None
    facts, action = gpu_look.read(printed, time.time()), Action("".join(action))
    if action.repairs_gpu:
        judged = gpu_repair.judge(action, described, before, facts, probed)
    else:
        judged = gpu_restart.judge(described, before, facts, probed)
    return {
        "finding": judged.finding.value,
        "cause": judged.cause.value if judged.cause else "",
        "said": judged.words,
        "printed": gpu_look.lines_of(printed),
    }


class FilterModule:
    """What Ansible asks for."""

    def filters(self):
        """Return the filters by name."""
        return {"gpu_mesh_verdict": gpu_verdict, "gpu_mesh_repair_verdict": repair_verdict}
