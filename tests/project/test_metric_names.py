"""The rules and the dashboard of docs/examples, and the page about them, name only metrics that exist."""

import re
from typing import Any

import yaml
from msgspec.structs import replace

import pages
from checkout import ROOT
from dashboard import DASHBOARD, asked_by_dashboard
from factories import NOW
from gpu_mesh.domain.causes import Cause
from gpu_mesh.domain.gpu import THERMAL, Card, GpuFacts, NodeGpu, Slowdown
from gpu_mesh.domain.health import Status, Verdict
from gpu_mesh.domain.recovery import Outcome
from gpu_mesh.domain.state import NodeRecovery
from gpu_mesh.publishing.metrics import FAMILIES, text

RULES = yaml.safe_load((ROOT / "docs/examples/prometheus-rules.yml").read_text(encoding="utf-8"))
STORIES = yaml.safe_load(
    (ROOT / "tests/integration/publish/prometheus_stories.yml").read_text(encoding="utf-8")
)
PAGE = (ROOT / "docs/metrics.md").read_text(encoding="utf-8")

NAME = re.compile(r"\bgpu_mesh[_:][a-z0-9_:]+")
VALUES: dict[str, tuple[type, ...]] = {
    "status": (Status,),
    "cause": (Cause,),
    "verdict": (Verdict,),
    "reason": (Slowdown,),
}


def rules() -> list[dict[str, Any]]:
    return [rule for group in RULES["groups"] for rule in group["rules"]]


def recorded() -> set[str]:
    return {rule["record"] for rule in rules() if "record" in rule}


def asked_by_rules() -> list[str]:
    return [rule["expr"] for rule in rules()] + [
        text for rule in rules() for text in rule.get("annotations", {}).values()
    ]


def test_the_rules_ask_only_for_metrics_that_exist_or_are_recorded() -> None:
    named = {name for text in asked_by_rules() for name in NAME.findall(text)}
    assert named
    assert named - {*FAMILIES} - recorded() == set()


def test_the_dashboard_works_without_the_rules() -> None:
    named = {name for text in asked_by_dashboard() for name in NAME.findall(text)}
    assert named
    assert named - {*FAMILIES} == set()
    assert len(asked_by_dashboard()) > len(DASHBOARD["panels"])


def test_labels_are_compared_with_values_that_exist() -> None:
    asked = [*asked_by_rules(), *asked_by_dashboard()]
    pairs = [pair for text in asked for pair in re.findall(r'(\w+)=~?"([^"$]+)"', text)]
    assert {label for label, _ in pairs} == {*VALUES}
    for label, value in pairs:
        for each in value.split("|"):
            assert any(each in {*map(str, kind)} for kind in VALUES[label]), (label, each)  # type: ignore[call-overload]


def test_every_rule_has_a_story_in_which_it_fires() -> None:
    fired = {
        check["alertname"]
        for story in STORIES["tests"]
        for check in story.get("alert_rule_test", ())
        if check["exp_alerts"]
    }
    assert fired == {rule["alert"] for rule in rules() if "alert" in rule}


def test_every_series_of_a_story_exists() -> None:
    series = {NAME.findall(each["series"])[0] for story in STORIES["tests"] for each in story["input_series"]}
    assert series - {*FAMILIES} == set()


def test_every_metric_is_documented_with_its_labels_and_no_other() -> None:
    rows = re.findall(r"(?m)^\| `(gpu_mesh_[a-z_]+)` \| (.*) \| (.*) \|$", PAGE)
    assert [(name, meaning) for name, _, meaning in rows] == [
        (name, family.help) for name, family in FAMILIES.items()
    ]
    card = Card(index=0, used=1, total=2, busy=3, temperature=4, power=5, throttle=THERMAL)
    done = NodeRecovery(recoveries={"restart_ollama": {Outcome.FAILED: 1}})
    known = replace(pages.WELL, cause=Cause.SLOW, recovery=done, gpu=NodeGpu(GpuFacts(at=NOW, cards=(card,))))
    of = pages.mesh(1, {0: known})
    told = text(replace(of, nodes=(replace(of.nodes[0], success_rate_24h=100.0),)))
    labels = {name: re.findall(r'(\w+)="', pairs) for name, pairs in re.findall(r"(?m)^(\w+)(.*) \S+$", told)}
    assert {name: re.findall(r"`(\w+)`", named) for name, named, _ in rows} == labels


def test_each_panel_has_a_place_of_its_own() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24
        assert taken.isdisjoint(cells), panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
