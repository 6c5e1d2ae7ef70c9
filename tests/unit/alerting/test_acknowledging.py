"""What an acknowledgement changes besides what is alerted (tests/unit/stories tell of that)."""

from factories import NOW, plain
from gpu_mesh.alerting import acknowledging
from gpu_mesh.diagnosis import gpu
from gpu_mesh.domain.causes import Cause, Diagnosis
from gpu_mesh.domain.gpu import Card, GpuFacts, NodeGpu
from gpu_mesh.domain.health import Status, Verdict
from gpu_mesh.domain.mesh import GpuExpectation
from gpu_mesh.domain.state import NodeState

ONE_OF_TWO = NodeGpu(GpuFacts(at=NOW, cards=(Card(bus="0000:0b:00.0"),)), most=2)
NODE = plain("gpu1", expects_gpu=GpuExpectation())


def cause_after(ack_of: Cause) -> Cause | None:
    """Return what is wrong after a person has acknowledged that cause, while one card of two is gone."""
    known = NodeState(
        status=Status.DEGRADED, verdict=Verdict.IMPAIRED, cause=ack_of, gpu=ONE_OF_TWO, vram={"m": 1.0}
    )
    known = acknowledging.acknowledged(known, "ann", "", NOW)
    return gpu.explain(NODE, known, Diagnosis(Verdict.OK), NOW).cause


def test_a_card_that_was_taken_out_on_purpose_is_forgotten_by_an_acknowledgement() -> None:
    assert cause_after(Cause.GPU_ABSENT) is None


def test_the_acknowledgement_of_something_else_forgets_no_card() -> None:
    assert cause_after(Cause.SLOW) is Cause.GPU_ABSENT
