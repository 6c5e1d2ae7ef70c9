"""Which missing models are pulled onto a node, and why others are not."""

import json

import pytest

from gpu_mesh.planning import pulls
from gpu_mesh.planning.pulls import Question, Questions

GIB = 2**30
URL = "https://registry.ollama.ai/v2/library"


def tags(*names: str) -> str:
    return json.dumps({"models": [{"name": name} for name in names]})


def manifest(*sizes: int) -> str:
    config, *layers = sizes
    return json.dumps({"config": {"size": config}, "layers": [{"size": size} for size in layers]})


ASKED = [
    # expected, what Ollama lists → missing
    (["llama3.2", "qwen3:8b"], tags("llama3.2:latest"), ["qwen3:8b"]),
    (["llama3.2"], tags("Llama3.2:latest", "x"), []),
    (["qwen3:8b", "qwen3:8b"], tags("x"), ["qwen3:8b"]),
    (["a", "b"], tags("c"), ["a", "b"]),
]


@pytest.mark.parametrize(("expected", "listed", "missing"), ASKED)
def test_missing_is_what_is_expected_and_not_listed_however_it_is_spelt(
    expected: list[str], listed: str, missing: list[str]
) -> None:
    asked = pulls.questions(expected, listed)
    assert ([each.model for each in asked.missing], asked.refused) == (missing, "")


@pytest.mark.parametrize(
    ("expected", "listed", "why"),
    [
        (None, tags("a"), "names no model"),
        ([], tags("a"), "names no model"),
        (["a"], "", "does not list its models"),
        (["a"], "<html>", "does not list its models"),
        (["a", "b"], tags(), "no model at all. A mount that is lost, or an Ollama that runs as another user"),
        (["a"], '{"models": null}', "no model at all"),
    ],
)
def test_nothing_is_pulled_where_it_cannot_be_told_what_is_missing(
    expected: list[str] | None, listed: str, why: str
) -> None:
    asked = pulls.questions(expected, listed)
    assert why in asked.refused
    assert asked.missing == ()


NAMES = [
    ("llama3.2", f"{URL}/llama3.2/manifests/latest"),
    ("qwen3:8b", f"{URL}/qwen3/manifests/8b"),
    ("me/mine:v1", "https://registry.ollama.ai/v2/me/mine/manifests/v1"),
    ("hf.co/me/mine-GGUF:Q4_K_M", "https://hf.co/v2/me/mine-GGUF/manifests/Q4_K_M"),
    ("a b", ""),
    ("http://evil/x", ""),
    ("a/../b", ""),
    ("x;id", ""),
    ("", ""),
]


@pytest.mark.parametrize(("name", "url"), NAMES)
def test_the_manifest_of_a_model_is_where_ollama_itself_asks_for_it(name: str, url: str) -> None:
    assert pulls.manifest_url(name) == url


@pytest.mark.parametrize(
    ("text", "size"),
    [
        (manifest(486, 2 * GIB, 100), 2 * GIB + 586),
        (manifest(486), None),
        (manifest(486, -5), None),
        ('{"errors": [{"code": "MANIFEST_UNKNOWN"}]}', None),
        ('{"config": {"size": "1"}, "layers": [{"size": 1}]}', None),
        ("", None),
    ],
)
def test_the_size_is_the_sum_of_all_layers_and_never_a_guess(text: str, size: int | None) -> None:
    assert pulls.size_of(text) == size


def asked(*names: str) -> Questions:
    return Questions(tuple(Question(name, pulls.manifest_url(name)) for name in names))


SIZES = {name: manifest(1, size * GIB - 1) for name, size in {"a": 4, "b": 6, "c": 2}.items()}


def test_what_fits_is_pulled_each_with_the_room_that_those_before_leave() -> None:
    plan = pulls.plan(asked("a", "b", "c"), SIZES, 8 * GIB, "/models")
    assert [(each.model, each.size) for each in plan.pull] == [("a", 4 * GIB), ("c", 2 * GIB)]
    assert plan.refused == (
        "b: it takes 6.0 GiB, and 1.0 GiB must stay free, but 4.0 GiB would be free at /models",
    )


@pytest.mark.parametrize(("free", "pulled"), [(5 * GIB, ["a"]), (5 * GIB - 1, [])])
def test_one_gib_stays_free(free: int, pulled: list[str]) -> None:
    assert [each.model for each in pulls.plan(asked("a"), SIZES, free, "/m").pull] == pulled


def test_an_unknown_disk_refuses_all_and_an_unknown_size_that_model() -> None:
    unknown = pulls.plan(asked("a", "b"), SIZES, None, "")
    assert unknown.pull == ()
    assert unknown.refused[0].startswith("a, b: where Ollama keeps its models is not known")
    plan = pulls.plan(asked("a", "x"), SIZES, 100 * GIB, "/m")
    assert [each.model for each in plan.pull] == ["a"]
    assert "x: its size is not known" in plan.refused[0]
