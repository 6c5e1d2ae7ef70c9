"""The pure parts of a probe: times, text, JSON."""

import json

import pytest

from gpu_mesh.domain.model_name import LONGEST
from gpu_mesh.domain.observation import LoadedModel
from gpu_mesh.probe.ollama import (
    MAX_MODELS,
    _generating,
    _loaded,
    _names,
    _Ps,
    _Tags,
    decode,
    plain,
    unix_seconds,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2025-05-04T17:37:44Z", 1746380264.0),
        ("2025-05-04T17:37:44.706015396-07:00", 1746405464.706015),
        ("2025-05-04T17:37:44.1Z", 1746380264.1),
        ("2025-05-04T19:37:44.5+02:00", 1746380264.5),
        ("2318-09-21T23:17:13.123456789Z", 11004592633.123455),
        ("0001-01-01T00:00:00Z", 0.0),
        ("", 0.0),
        ("soon", 0.0),
        ("2025-05-04T17:37:44Z" * 1000, 0.0),
        ("9999-12-31T23:59:59-23:59", 253402387139.0),
    ],
)
def test_a_time_as_ollama_writes_it_becomes_unix_seconds_and_anything_else_none(text, seconds):
    assert unix_seconds(text) == pytest.approx(seconds, abs=1e-4)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("llama3.2:latest", "llama3.2:latest"),
        ("モデル:8b", "モデル:8b"),
        ("a\x1b[31mb\r\n", "a [31mb"),
        ("\u202eevil\u2066\u200f", "evil"),
        ("\ud800x", "x"),
        ("x" * 50, "x" * 19 + "…"),
    ],
)
def test_nothing_that_could_act_on_a_terminal_or_page_is_left_in_text(text, expected):
    assert plain(text, 20) == expected


@pytest.mark.parametrize("depth", [33, 1_000, 1_000_000])
def test_json_nested_deeper_than_ollamas_is_refused_before_it_is_parsed(depth):
    with pytest.raises(ValueError, match="nested deeper"):
        decode(b'{"models": [], "x": ' + b"[" * depth, _Tags)


def test_brackets_within_strings_are_no_nesting():
    assert decode(b'{"models": [{"name": "[[["}]}', _Tags).models[0].name == "[[["


def test_a_cloud_model_is_none_of_the_nodes_own():
    body = (
        b'{"models": [{"name": "a"}, {"name": "b:cloud", "remote_host": "https://ollama.com:443"},'
        b' {"name": "c", "remote_host": "", "remote_model": ""},'
        b' {"name": "d", "remote_model": "gpt-oss:120b"}]}'
    )
    tags = decode(body, _Tags)
    assert _names(tags, cloud=False) == ("a", "c")
    assert _names(tags, cloud=True) == ("b:cloud", "d")


@pytest.mark.parametrize("more", [{}, {"remote_host": "https://ollama.com"}], ids=["own", "cloud"])
def test_of_no_kind_of_models_more_or_longer_names_are_kept_than_ollama_can_have(more):
    listed = [{"name": "\u202e" + "x" * (LONGEST + 9), **more}] * (MAX_MODELS + 1)
    names = _names(decode(json.dumps({"models": listed}).encode(), _Tags), cloud=bool(more))
    assert len(names) == MAX_MODELS
    assert {len(name) for name in names} == {LONGEST}
    assert "\u202e" not in names[0]


def test_of_loaded_models_no_more_and_no_longer_names_are_kept_than_ollama_can_have():
    entry = {"name": "x" * (LONGEST + 9), "size": 1e300, "size_vram": -5, "context_length": 2**63}
    ps = decode(json.dumps({"models": [entry] * (MAX_MODELS + 1)}).encode(), _Ps)
    loaded = _loaded(ps)
    assert len(loaded) == MAX_MODELS
    assert {len(model.name) for model in loaded} == {LONGEST}
    assert (loaded[0].size, loaded[0].size_vram, loaded[0].context_length) == (2**62, 0, 2**62)


def test_a_deep_check_asks_neither_a_cloud_model_nor_one_that_only_makes_embeddings():
    tags = decode(
        b'{"models": [{"name": "cloud:latest", "remote_host": "https://ollama.com"},'
        b' {"name": "embeds:latest", "capabilities": ["embedding"]}, {"name": "old:latest"},'
        b' {"name": "odd:latest", "capabilities": 7},'
        b' {"name": "talks:latest", "capabilities": ["vision", "completion"]}]}',
        _Tags,
    )
    names = ("cloud", "embeds", "old", "odd", "talks", "unlisted")
    loaded = tuple(LoadedModel(f"{name}:latest") for name in names)
    asked = [model.name.partition(":")[0] for model in _generating(loaded, tags)]
    assert asked == ["old", "odd", "talks", "unlisted"]
