"""Names of models that Ollama takes for the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_mesh.domain.model_name import LONGEST, canonical


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("llama3.2", "llama3.2:latest", True),
        ("LLAMA3.2", "llama3.2:Latest", True),
        ("library/llama3.2", "llama3.2", True),
        ("registry.ollama.ai/library/llama3.2:latest", "llama3.2", True),
        ("team/llama3.2", "llama3.2", False),
        ("llama3.2:1b", "llama3.2", False),
        ("example.net:5000/team/a", "example.net:5000/team/a:latest", True),
        ("example.net:5000/team/a", "example.net/team/a", False),
    ],
)
def test_two_names_are_the_same_where_ollama_takes_them_so(one: str, other: str, same: bool) -> None:
    assert (canonical(one) == canonical(other)) is same


part = st.text("abcXYZ012._-", min_size=1, max_size=8)


@given(part, part)
def test_the_one_spelling_is_its_own(model: str, tag: str) -> None:
    name = canonical(f"{model}:{tag}")
    assert canonical(name) == name
    assert len(name) <= LONGEST
