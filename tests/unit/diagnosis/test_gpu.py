"""What the GPUs of a host show: each file in the folder gpu is one situation, rebuilt from reports.

``looks`` are what gpu.sh printed, and when; ``probe`` is the cause that a probe names. Expected are the cause
that people read, and what the restart playbook is told: go on (""), or leave it.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import yaml

from factories import NOW, plain
from gpu_mesh.diagnosis import gpu, gpu_history
from gpu_mesh.diagnosis.diagnose import describe_cause
from gpu_mesh.domain.causes import CAUSES, Cause, Diagnosis
from gpu_mesh.domain.health import Verdict
from gpu_mesh.domain.mesh import GpuExpectation, RecoveryKind
from gpu_mesh.domain.observation import LoadedModel
from gpu_mesh.domain.state import NodeState
from gpu_mesh.hosts import gpu_look
from gpu_mesh.planning import gpu_restart

if TYPE_CHECKING:
    from gpu_mesh.domain.gpu import NodeGpu

SITUATIONS = sorted(Path(__file__).parent.glob("gpu/*.yml"))


def read(path: Path) -> dict[str, Any]:
    return dict(yaml.safe_load(path.read_text()))


@pytest.mark.parametrize("path", SITUATIONS, ids=lambda path: path.stem)
def test_a_situation_has_its_cause_its_words_and_its_decision(path: Path) -> None:
    told = read(path)
    kinds: dict[str, type] = {
        "expects_gpu": GpuExpectation,
        "recovery": RecoveryKind,
        "gpu_interval": float,
    }
    given = {name: msgspec.convert(value, kinds[name]) for name, value in told.get("node", {}).items()}
    node = plain("gpu1", **{"expects_gpu": GpuExpectation(), **given})
    probed = Cause(told["probe"]) if "probe" in told else None
    known: NodeGpu | None = None
    before = known
    for look in told["looks"]:
        facts = gpu_look.read(look["printed"], NOW + look["at"])
        assert facts is not None
        sizes = look.get("loaded")
        loaded = sizes if sizes is None else [LoadedModel("m", size, size) for size in sizes]
        before, known = known, gpu_history.remember(known, facts, loaded)
    assert known is not None

    words = describe_cause(probed, node) if probed else ""
    judged = Diagnosis(CAUSES[probed].verdict if probed else Verdict.OK, probed, words)
    failing_since = told.get("failing_since", NOW if judged.verdict is Verdict.FAILED else 0.0)
    seen = NodeState(
        gpu=known, failing_since=failing_since, vram={"m": 1.0} if told.get("in_vram", True) else {}
    )
    at = known.facts.at + told.get("checked_after", 30)
    shown = gpu.explain(node, seen, judged, at)
    expect = told["expect"]
    assert shown.cause == (expect["cause"] or told.get("probe"))
    assert shown.detail == expect.get("detail", shown.detail)
    assert shown.explains is (probed if shown.cause is not probed else None)
    assert shown.verdict is (
        judged.verdict if probed else Verdict.IMPAIRED if expect["cause"] else Verdict.OK
    )

    restart = gpu_restart.judge(node, before, known.facts, probed)
    assert restart.finding == expect["restart"]
    assert bool(restart.words) is bool(expect["restart"])


def test_every_cause_of_a_gpu_has_a_situation() -> None:
    shown = {read(path)["expect"]["cause"] for path in SITUATIONS}
    assert {cause.value for cause in Cause if cause.is_of_gpu} <= shown


def test_a_rule_for_every_cause_of_a_gpu_and_each_but_once() -> None:
    assert sorted(rule.cause for rule in gpu.RULES) == sorted(cause for cause in Cause if cause.is_of_gpu)
