"""The words that playbooks and checker share, and what follows from each."""

import re

import pytest

from checkout import ROOT
from factories import POD
from gpu_mesh.domain.causes import Cause
from gpu_mesh.domain.recovery import Finding
from gpu_mesh.planning.advice import step_after
from gpu_mesh.planning.findings import REBUILD_HELPS, refine

PLAYBOOKS = ROOT / "playbooks/recovery"


def test_each_finding_is_a_word_of_a_playbook() -> None:
    words = " ".join(path.read_text() for path in PLAYBOOKS.rglob("*.yml"))
    told = {finding for finding in Finding if re.search(rf"\b{finding.value}\b", words)}
    by_ssh = {Finding.NONE, Finding.HOST_DOWN, Finding.NO_SSH, Finding.NO_ACCESS}
    assert told | by_ssh == set(Finding)


@pytest.mark.parametrize("cause", [*Cause, None])
def test_a_port_that_a_stranger_holds_is_the_cause_whatever_the_probe_saw(cause: Cause | None) -> None:
    assert refine(POD, cause, Finding.PORT_TAKEN) is Cause.TUNNEL_PORT_TAKEN


@pytest.mark.parametrize(
    "finding", [Finding.LEASED, Finding.CANNOT_LEASE, Finding.PORT_IS_OURS, Finding.NO_SSH]
)
def test_what_says_nothing_of_the_node_leaves_its_cause(finding: Finding) -> None:
    assert refine(POD, Cause.TUNNEL_STUCK, finding) is Cause.TUNNEL_STUCK


def test_configuration_is_no_reason_to_rebuild_a_tunnel() -> None:
    for cause in (Cause.NOT_OLLAMA, Cause.FORBIDDEN, Cause.TLS, Cause.HTTP_ERROR, Cause.DNS):
        assert cause not in REBUILD_HELPS


@pytest.mark.parametrize("finding", list(Finding))
def test_each_finding_has_a_step_without_gaps(finding: Finding) -> None:
    step = step_after(POD, finding, Cause.TUNNEL_STUCK)
    assert step
    assert "{" not in step


@pytest.mark.parametrize(
    ("finding", "cause"),
    [
        (Finding.SILENT, Cause.TIMEOUT),
        (Finding.UNIT_DISABLED, Cause.REMOTE_OLLAMA_DOWN),
        (Finding.UNIT_MISSING, Cause.REMOTE_OLLAMA_DOWN),
        (Finding.UNIT_GIVEN_UP, Cause.REMOTE_OLLAMA_DOWN),
        (Finding.ANSWERS, Cause.TUNNEL_STUCK),
    ],
)
def test_once_a_look_has_seen_that_ollama_does_not_answer_the_tunnel_is_no_longer_blamed(
    finding: Finding, cause: Cause
) -> None:
    assert refine(POD, Cause.TUNNEL_STUCK, finding) is cause
