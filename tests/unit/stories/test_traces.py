"""The traces of tests/traces, each with the story that follows; and what is said of a trace that is wrong.

A story that has changed on purpose: `make stories` writes all of them anew; read the difference.
"""

import re
from pathlib import Path

import pytest
import yaml

from checkout import ROOT
from gpu_mesh.cli.simulate import Request, render
from gpu_mesh.domain.causes import Cause
from gpu_mesh.planning import findings
from gpu_mesh.simulation import fake_gpu, fake_probe, story, trace

TRACES = sorted((ROOT / "tests/traces").glob("*.yml"))
PAGE = (ROOT / "docs/simulate.md").read_text(encoding="utf-8")
HANGS = "nodes: {gpu1: {}}\nstory:\n  - {at: 1m, nodes: {gpu1: {shows: hang, restart: fails}}}\n"


def told(folder: Path, text: str, *given: str) -> tuple[str, tuple[str, ...]]:
    file = folder / "trace.yml"
    file.write_text(text, encoding="utf-8")
    return render(Request(file, given))


@pytest.mark.parametrize("file", TRACES, ids=lambda file: file.stem)
def test_a_trace_tells_the_story_that_stands_beside_it(file: Path) -> None:
    text, unmet = render(Request(file))
    assert unmet == ()
    assert text == file.with_suffix(".txt").read_text(encoding="utf-8"), "on purpose? then: make stories"


def test_no_story_is_left_without_its_trace() -> None:
    assert [file.stem for file in sorted((ROOT / "tests/traces").glob("*.txt"))] == [f.stem for f in TRACES]


def test_every_trace_says_what_it_is_about_and_what_it_must_come_to() -> None:
    for file in TRACES:
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
        assert document["about"].endswith("."), file
        assert document["expect"]["status"], file
        assert document["expect"]["repairs"], file


def test_every_cause_has_a_trace() -> None:
    found = set()
    for file in TRACES:
        expected = yaml.safe_load(file.read_text(encoding="utf-8"))["expect"]
        found |= {Cause(cause) for causes in expected.get("causes", {}).values() for cause in causes}
    # What is the monitor's own trouble is no node's: monitor_out_of_sockets.yml tells of it.
    # Of the causes of a GPU each has a situation in tests/unit/diagnosis/gpu, and only some have a trace.
    assert {cause for cause in found if not cause.is_of_gpu} == {
        cause for cause in Cause if cause is not Cause.MONITOR and not cause.is_of_gpu
    }


def test_the_restart_s_playbook_knows_the_same_causes_that_an_answering_ollama_has() -> None:
    (play,) = yaml.safe_load((ROOT / "playbooks/recovery/restart_ollama.yml").read_text(encoding="utf-8"))
    assert set(play["vars"]["gpu_mesh_causes_though_it_answers"]) == findings.RESTARTED_THOUGH_IT_ANSWERS


def test_a_setting_of_the_command_line_stands_above_the_trace_s(tmp_path: Path) -> None:
    text = f"settings: {{recovery_max_attempts: 3}}\n{HANGS}expect: {{calls: 1, repairs: {{gpu1: 1}}}}\n"
    assert told(tmp_path, text)[1] == ("the number of repairs of gpu1 should be 1, but is 3",)
    assert told(tmp_path, text, "recovery_max_attempts=1")[1] == ()


def test_what_was_expected_and_did_not_come_is_named(tmp_path: Path) -> None:
    expect = "{status: {gpu1: healthy}, causes: {gpu1: []}, repairs: {gpu1: 0}, calls: 0, deliveries: 7}"
    _, unmet = told(tmp_path, f"{HANGS}expect: {expect}\n")
    assert unmet == (
        "the status at the end of gpu1 should be healthy, but is offline",
        "the causes of gpu1 should be none, but is timeout",
        "the number of repairs of gpu1 should be 0, but is 3",
        "the number of calls for a person should be 0, but is 1",
        "the number of deliveries should be 7, but is 0",
    )


def test_a_story_ends_when_the_trace_says_so(tmp_path: Path) -> None:
    text, _ = told(tmp_path, f"{HANGS}until: 90s\n")
    assert re.findall(r"(?m)^\d:\d\d:\d\d", text)[-1] <= "0:01:30"


STORY = "story: [{at: 1m, nodes: {gpu1: ok}}]"
NODES = "nodes: {gpu1: {}}"
WRONG = {
    "no mapping": ("- 5", "1: a trace is a mapping: about, nodes, story, until; see docs/simulate.md"),
    "no yaml": ("nodes: [", "1: not valid YAML: expected the node content, but found '<stream end>'"),
    "a key twice": (f"{NODES}\n{STORY}\nnodes: {{}}", "3: 'nodes' is given twice"),
    "no such part": (f"{NODES}\n{STORY}\nabuot: x", "3: there is no part 'abuot'; did you mean about?"),
    "no story": (NODES, "1: story is missing: a list of moments, such as - {at: 5m, nodes: {gpu1: hang}}"),
    "no nodes": (STORY, "1: nodes is missing: the nodes, such as {gpu1: {}}; or name an inventory"),
    "no such setting": (
        f"{NODES}\n{STORY}\nsettings:\n  check_intervall: 5",
        "4: check_intervall is no setting; did you mean check_interval?",
    ),
    "a setting of the wrong kind": (
        f"{NODES}\n{STORY}\nsettings: {{recovery_brake: 200}}",
        "3: recovery_brake must be a whole number from 0 to 100, not 200",
    ),
    "a node as in an inventory": (
        f"nodes:\n  gpu1: {{timeout: soon}}\n{STORY}",
        "2: gpu1: mesh_node_timeout must be a number of seconds above 0 and up to 300, not 'soon'",
    ),
    "a tunnel without a port": (
        f"nodes:\n  gpu1: {{tunnel: {{host: gw}}}}\n{STORY}",
        "2: gpu1: mesh_tunnel_local_port is missing: a tunnel needs a free port on the monitor, such as 8080",
    ),
    "no such word": (
        f"{NODES}\nstory:\n  - {{at: 1m, nodes: {{gpu1: hnag}}}}",
        "3: nodes there is no 'hnag'; did you mean hang?",
    ),
    "a word of another place": (
        f"{NODES}\nstory:\n  - {{at: 1m, nodes: {{gpu1: {{restart: reachable}}}}}}",
        "3: nodes.restart there is no 'reachable'; see docs/simulate.md",
    ),
    "no such field": (
        f"{NODES}\nstory:\n  - {{at: 1m, nodes: {{gpu1: {{show: hang}}}}}}",
        "3: nodes there is no field 'show'; did you mean shows?",
    ),
    "no unit": (
        f"{NODES}\nstory:\n  - {{at: 5}}",
        "3: at '5' has no unit; write 5s, 5m or 5h",
    ),
    "no time": (f"{NODES}\nstory:\n  - {{kill: recover}}", "3: object missing required field `at`"),
    "no such node": (
        f"{NODES}\nstory:\n  - {{at: 1m, nodes: {{gpu2: ok}}}}",
        "3: there is no node or group 'gpu2'; did you mean gpu1?",
    ),
    "no such url": (
        f"{NODES}\nurls: {{mail: []}}\nstory:\n  - {{at: 1m, urls: {{mial: down}}}}",
        "4: there is no url 'mial'; did you mean mail?",
    ),
    "an end before the end": (
        f"{NODES}\n{STORY}\nuntil: 30s", "3: until must not be before the last moment, at 1 min",
    ),
    "a story of a year": (f"{NODES}\n{STORY}\nuntil: 365d", "3: until must not be more than 30 d"),
    "an expectation of nobody": (
        f"{NODES}\n{STORY}\nexpect: {{calls: 0, repairs: {{gpu2: 0}}}}",
        "3: expect there is no node 'gpu2'; did you mean gpu1?",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_trace_is_refused_with_the_place_and_what_to_write(case: str, tmp_path: Path) -> None:
    text, message = WRONG[case]
    with pytest.raises(ValueError, match="the trace cannot be used") as refused:
        told(tmp_path, text)
    assert str(refused.value).splitlines()[1:] == [f"{tmp_path}/trace.yml:{message}"]


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    text = f"{NODES}\nurls: 5\nstory:\n  - {{at: soon}}\n  - {{at: 1m, force: gpu7}}\nuntil: never\n"
    with pytest.raises(ValueError, match="the trace cannot be used") as refused:
        told(tmp_path, text, "check_interval=0", "foo=1")
    assert len(str(refused.value).splitlines()) == 1 + 6


def test_each_mistake_within_a_part_is_told_and_names_are_looked_up_though_the_nodes_are_wrong(
    tmp_path: Path,
) -> None:
    text = (
        "nodes:\n  gpu1: {timeout: soon, groups: [rented]}\nstory:\n"
        "  - {at: 1m, nodes: {gpu1: {shows: hnag, restart: hleps, foo: 1}}, monitor: off}\n"
        "  - {at: 2m, nodes: {rented: hang, gpu7: hang}}\n"
        "  - {silence: {names: [gpu1], levels: [loud]}}\n"
        "expect: {calls: many, status: {gpu1: fine}}\n"
    )
    with pytest.raises(ValueError, match="the trace cannot be used") as refused:
        told(tmp_path, text)
    said = [line.removeprefix(f"{tmp_path}/trace.yml:") for line in str(refused.value).splitlines()[1:]]
    assert sorted(line.partition(";")[0] for line in said) == [
        "2: gpu1: mesh_node_timeout must be a number of seconds above 0 and up to 300, not 'soon'",
        "4: monitor expected `str | null`, got `bool`",
        "4: nodes there is no field 'foo'",
        "4: nodes.restart there is no 'hleps'",
        "4: nodes.shows there is no 'hnag'",
        "5: there is no node or group 'gpu7'",
        "6: object missing required field `at`",
        "6: silence.levels[0] there is no 'loud'",
        "7: expect.calls expected `int | null`, got `str`",
        "7: expect.status there is no 'fine'",
    ]


# The documentation.


def test_the_example_of_the_documentation_prints_what_stands_there(tmp_path: Path) -> None:
    written, printed = re.findall(r"(?s)```(?:yaml|text)\n(.*?)```", PAGE)[:2]
    text, unmet = told(tmp_path, written)
    assert (text, unmet) == (printed, ())


@pytest.mark.parametrize(
    ("heading", "words"),
    [
        ("## What a node shows", fake_probe.MEANING),
        ("## What comes of a repair", fake_probe.EFFECTS),
        ("## What a GPU shows", fake_gpu.GPUS),
    ],
    ids=["shows", "effects", "gpus"],
)
def test_every_word_is_documented_as_the_program_has_it(heading: str, words: dict[str, str]) -> None:
    part = PAGE.partition(heading)[2].partition("\n## ")[0]
    assert re.findall(r"(?m)^\| `(\w+)` \| (.*) \|$", part) == [(word, words[word]) for word in words]


@pytest.mark.parametrize("shape", [trace.Moment, trace.Facts, trace.SilenceSpec, trace.Expected, story.Event])
def test_every_field_is_documented(shape: type) -> None:
    documented = set(re.findall(r"(?m)^\| `(\w+)`", PAGE))
    assert set(shape.__struct_encode_fields__) <= documented  # type: ignore[attr-defined] # a Struct
