"""What programs read of the mesh: Prometheus' text format, its names and units, and what is left out."""

import math
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

import pages
from factories import NOW
from gpu_mesh import __version__
from gpu_mesh.domain.causes import Cause
from gpu_mesh.domain.gpu import Card, GpuFacts, OnBus, Slowdown
from gpu_mesh.domain.health import Status
from gpu_mesh.domain.observation import LoadedModel
from gpu_mesh.domain.recovery import Brake, Outcome
from gpu_mesh.domain.state import NodeGpu, NodeRecovery, NodeState
from gpu_mesh.publishing import metrics
from gpu_mesh.reporting.gpus import CardReport, GpuReport
from gpu_mesh.reporting.node_report import ChecksReport, LoadedModelReport
from gpu_mesh.reporting.report import Report

LABEL = r'[a-z_]+="(?:[^"\\\n]|\\[\\"n])*"'
SAMPLE = re.compile(rf"([a-z_]+)(?:{{({LABEL}(?:,{LABEL})*)}})? (\S+)")
PAIR = re.compile(r'([a-z_]+)="((?:[^"\\]|\\.)*)"')

Labels = frozenset[tuple[str, str]]


def parsed(text: str) -> dict[str, dict[Labels, float]]:
    """Return the samples of a text, as a parser that forgives nothing reads it."""
    assert text.endswith("\n")
    families: dict[str, dict[Labels, float]] = {}
    lines = text.removesuffix("\n").split("\n")
    while lines:
        helped = re.fullmatch(r"# HELP (gpu_mesh_[a-z_]+) [^\\]+", lines.pop(0))
        assert helped
        name = helped[1]
        assert lines.pop(0) in (f"# TYPE {name} gauge", f"# TYPE {name} counter")
        assert name not in families, "a family is written once"
        found = families[name] = {}
        while lines and not lines[0].startswith("#"):
            sample = SAMPLE.fullmatch(lines.pop(0))
            assert sample
            assert sample[1] == name
            pairs = [(key, unescaped(value)) for key, value in PAIR.findall(sample[2] or "")]
            assert len(dict(pairs)) == len(pairs)
            assert frozenset(pairs) not in found, "a series is written once"
            found[frozenset(pairs)] = float(sample[3])
        assert found, "a family without samples is left out"
    return families


def unescaped(value: str) -> str:
    return re.sub(r"\\(.)", lambda found: {"n": "\n"}.get(found[1], found[1]), value)


def values(of: Report, name: str, *labels: str) -> dict[tuple[str, ...], float]:
    """Return the samples of a family, by the values of these labels."""
    found = parsed(metrics.text(of)).get(f"gpu_mesh_{name}", {})
    return {tuple(dict(each)[label] for label in labels): value for each, value in found.items()}


def one(known: NodeState, **fields: Any) -> Report:
    return pages.mesh(1, {0: known}, **fields)


def test_the_mesh_in_base_units_without_timestamps() -> None:
    of = pages.mesh(3, pages.IN_TROUBLE)
    assert values(of, "info", "version") == {(__version__,): 1}
    assert values(of, "last_check_timestamp_seconds") == {(): NOW - 12}
    assert values(of, "check_duration_seconds") == {(): 0.4}
    assert values(of, "health_ratio") == {(): 0.5}
    assert values(of, "alerts_waiting") == {(): 0}


def test_each_node_has_one_status_and_while_it_is_in_trouble_a_cause() -> None:
    of = pages.mesh(3, pages.IN_TROUBLE)
    shown = values(of, "node_status", "node", "status")
    assert len(shown) == 3 * len(Status)
    assert {key for key, value in shown.items() if value} == {
        ("gpu0", "healthy"),
        ("gpu1", "offline"),
        ("gpu2", "degraded"),
    }
    assert values(of, "node_cause", "node", "cause") == {
        ("gpu1", "gpu_lost"): 1,
        ("gpu2", "cpu_fallback"): 1,
    }
    assert values(of, "node_up", "node") == {("gpu0",): 1, ("gpu1",): 0, ("gpu2",): 1}


def test_the_key_alone_names_a_node_and_the_rest_is_told_once() -> None:
    of = pages.mesh(1)
    assert values(of, "node_info", "node", "name", "url", "version") == {
        ("gpu0", "Vengeance", "http://gpu0:11434", ""): 1
    }
    names = {name for each in parsed(metrics.text(of)).values() for labels in each for name, _ in labels}
    assert names == {"node", "status", "verdict", "model", "gpu", "name", "url", "version"}


def test_the_figures_of_a_node() -> None:
    known = replace(pages.WELL, recovery=NodeRecovery(called_at=NOW - 60))
    known = replace(known, statistics=replace(known.statistics, impaired_checks=6))
    of = one(known, silences=(replace(pages.SILENCE, nodes=("gpu0",)),))
    assert values(of, "node_response_seconds") == {(): 0.034}
    assert values(of, "node_score_ratio") == {(): 0.99}
    assert values(of, "node_models") == {(): 2}
    assert values(of, "node_silenced") == {(): 1}
    assert values(of, "node_needs_person") == {(): 1}
    assert values(of, "node_checks_total", "verdict") == {("ok",): 2870, ("impaired",): 6, ("failed",): 4}


def test_recoveries_by_playbook_and_outcome() -> None:
    counted = {"restart_ollama": {Outcome.RECOVERED: 3, Outcome.FAILED: 1}, 'a"b.yml': {Outcome.LOST: 1}}
    of = one(replace(pages.WELL, recovery=NodeRecovery(recoveries=counted)))
    assert values(of, "recoveries_total", "node", "playbook", "outcome") == {
        ("gpu0", "restart_ollama", "recovered"): 3,
        ("gpu0", "restart_ollama", "failed"): 1,
        ("gpu0", 'a"b.yml', "lost"): 1,
    }


def test_a_share_of_a_day_is_a_ratio() -> None:
    of = pages.mesh(1)
    node = replace(of.nodes[0], success_rate_24h=99.99)
    assert values(replace(of, nodes=(node,)), "node_success_ratio", "node") == {("gpu0",): 0.9999}


def test_loaded_models_with_their_memory() -> None:
    of = pages.mesh(1)
    name = ("gpu0", "qwen2.5-coder:32b")
    assert values(of, "model_loaded_info", "node", "model") == {name: 1}
    assert values(of, "model_memory_bytes", "node", "model") == {name: 22 * pages.GIB}
    assert values(of, "model_vram_bytes", "node", "model") == {name: 22 * pages.GIB}
    assert values(of, "model_expires_timestamp_seconds", "node", "model") == {name: NOW + 300}


CARD = Card(
    index=1, bus="0000:0b:00.0", used=pages.GIB, total=2 * pages.GIB, busy=50, temperature=91, power=300.5
)


def looked(*cards: Card, ago: float = 60) -> Report:
    return one(replace(pages.WELL, gpu=NodeGpu(GpuFacts(at=NOW - ago, cards=cards))))


def test_gpus_by_the_number_of_the_driver_or_their_place_on_the_bus() -> None:
    idle = 0x1  # a driver's reason that is no trouble
    of = looked(
        replace(CARD, throttle=idle), replace(CARD, index=None, throttle=0x20 | 0x80), Card(temperature=30)
    )
    first, second, third = ("gpu0", "1"), ("gpu0", "0000:0b:00.0"), ("gpu0", "card-2")
    for name, value in (
        ("gpu_memory_used_bytes", pages.GIB),
        ("gpu_memory_total_bytes", 2 * pages.GIB),
        ("gpu_utilization_ratio", 0.5),
        ("gpu_power_watts", 300.5),
    ):
        assert values(of, name, "node", "gpu") == dict.fromkeys((first, second), value)
    assert values(of, "gpu_temperature_celsius", "node", "gpu") == {first: 91, second: 91, third: 30}
    assert values(of, "gpu_slowdown", "gpu", "reason") == {
        (second[1], "heat"): 1,
        (second[1], "power"): 1,
    }


LOST = Card(index=1, bus=CARD.bus, on_bus=OnBus.LOST)


@pytest.mark.parametrize("of", [looked(CARD, ago=90_000), looked(LOST)], ids=["an old look", "a lost card"])
def test_nothing_is_told_of_a_gpu_that_nobody_sees_now(of: Report) -> None:
    assert "gpu_mesh_gpu_" not in metrics.text(of)


def test_what_a_node_said_before_it_was_silent_is_not_told_as_new() -> None:
    known = replace(pages.OFFLINE, models=("a",), loaded=pages.WELL.loaded, response_ms=30.0)
    told = parsed(metrics.text(one(known)))
    assert not [name for name in told if "model" in name or "response" in name]


def test_of_a_mesh_that_was_never_checked_only_that_is_told() -> None:
    of = pages.mesh(1, {0: NodeState()}, brake=Brake(0))
    told = parsed(metrics.text(replace(of, mesh=replace(of.mesh, last_check=None, health=None))))
    assert sorted(name.removeprefix("gpu_mesh_") for name in told) == [
        "alerts_waiting",
        "info",
        "node_asleep",
        "node_checks_total",
        "node_draining",
        "node_info",
        "node_needs_person",
        "node_silenced",
        "node_status",
    ]
    assert values(of, "node_status", "status")["unknown",] == 1


def test_of_a_node_that_is_not_checked_only_its_name_is_told() -> None:
    of = pages.mesh(1)
    told = metrics.text(replace(of, nodes=(replace(of.nodes[0], enabled=False),)))
    assert re.findall(r"(?m)^(\w+)\{node=", told) == ["gpu_mesh_node_info"]


HOSTILE = [
    # what a node is called → what is read
    ('a"} 1\ngpu_mesh_health_ratio 1\n', 'a"} 1 gpu_mesh_health_ratio 1'),
    ("C:\\models\\", "C:\\models\\"),
    ("\\n", "\\n"),
    ("\x00\x1b[31m\r\u2028a\u202eb\ud800", "[31m ab"),
    ("x" * 300, "x" * 199 + "…"),
    ("Gerät 🟢", "Gerät 🟢"),
]


@pytest.mark.parametrize(("given_name", "read"), HOSTILE)
def test_a_name_from_outside_is_only_ever_the_value_of_a_label(given_name: str, read: str) -> None:
    of = pages.mesh(1)
    model = replace(of.nodes[0].loaded_models[0], name=given_name)
    node = replace(of.nodes[0], node=given_name, name=given_name, loaded_models=(model,))
    told = replace(of, nodes=(node,))
    assert values(told, "node_info", "node", "name") == {(read, read): 1}
    assert values(told, "model_loaded_info", "model") == {(read,): 1}
    assert values(told, "health_ratio") == {(): 1}
    metrics.text(told).encode()


def test_a_model_that_a_node_names_twice_is_one_series() -> None:
    twice = (LoadedModel("a", 10, 5, NOW), LoadedModel("a", 20, 6, NOW))
    assert values(one(replace(pages.WELL, loaded=twice)), "model_memory_bytes", "model") == {("a",): 10}


def test_a_node_that_lists_thousands_of_models_does_not_flood_prometheus() -> None:
    many = tuple(LoadedModel(f"m{number}", 10, 5, NOW) for number in range(1000))
    assert len(values(one(replace(pages.WELL, loaded=many)), "model_loaded_info", "model")) == 64


known_or_not = st.none() | st.floats() | st.integers(-(2**70), 2**70)
texts = st.text() | st.sampled_from([given_name for given_name, _ in HOSTILE])
models = st.builds(LoadedModelReport, texts, known_or_not, known_or_not, st.none(), known_or_not)
cards = st.builds(
    replace,
    st.just(CardReport(*("",) * 11, ())),
    index=st.none() | st.integers(0, 3),
    bus=texts,
    uuid=texts,
    **dict.fromkeys(("memory_used", "memory_total", "utilization", "temperature", "power"), known_or_not),
    slowed_by=st.lists(st.sampled_from(Slowdown)).map(tuple),
)
looks = st.builds(GpuReport, st.just(NOW), st.booleans(), st.just(""), st.lists(cards, max_size=3).map(tuple))
nodes = st.builds(
    replace,
    st.just(pages.mesh(1).nodes[0]),
    **dict.fromkeys(("node", "name", "url", "version"), texts),
    **dict.fromkeys(
        ("response_ms", "success_rate_24h", "score", "silenced_until", "person_called"), known_or_not
    ),
    **dict.fromkeys(("enabled", "answers"), st.booleans()),
    status=st.sampled_from(Status),
    cause=st.none() | st.sampled_from(Cause),
    checks=st.builds(ChecksReport, *(st.integers(0, 2**70),) * 3),
    loaded_models=st.lists(models, max_size=3).map(tuple),
    gpu=st.none() | looks,
)


@given(st.lists(nodes, max_size=3), known_or_not, known_or_not)
def test_any_report_is_read_by_a_strict_parser_and_holds_numbers_alone(
    of: list[Any], at: float | None, health: float | None
) -> None:
    told = replace(
        pages.mesh(0), nodes=tuple(of), mesh=replace(pages.mesh(0).mesh, last_check=at, health=health)
    )
    read = parsed(metrics.text(told))
    assert list(read) == [name for name in metrics.FAMILIES if name in read]
    assert all(math.isfinite(value) for samples in read.values() for value in samples.values())


def test_names_are_as_prometheus_asks_for() -> None:
    for name, family in metrics.FAMILIES.items():
        assert name.endswith("_total") == (family.kind is metrics.Kind.COUNTER), name
        assert "\\" not in family.help, name
        assert "\n" not in family.help, name
