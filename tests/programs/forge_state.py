"""On a monitor of the host tests: says in the state that each node has long failed, for the cause CAUSE."""

import time
from pathlib import Path

from msgspec.structs import replace

from gpu_mesh.domain.causes import CAUSES, Cause
from gpu_mesh.domain.health import Status
from gpu_mesh.storage.state_file import StateFile
from gpu_mesh.system.log import Log

CAUSE = Cause("@CAUSE@")
STATE = Path("/var/lib/gpu-mesh")

now = time.time()
with StateFile(STATE, Log(Path("/dev/null"))).update(now) as state:
    for key, known in state.nodes.items():
        state.nodes[key] = replace(
            known,
            status=Status.OFFLINE,
            verdict=CAUSES[CAUSE].verdict,
            cause=CAUSE,
            refined_from=None,
            detail="so it says",
            failures=99,
            served=0,
            impaired=99,
            since=now - 7200,
            cause_since=now - 7200,
            failing_since=now - 7200,
            incident_since=now - 7200,
            deep_at=now,
            vram=dict.fromkeys((f"{model.name}:latest" for model in known.loaded), 1.0),
        )
