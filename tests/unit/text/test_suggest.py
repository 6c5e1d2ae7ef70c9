"""The nearest right word."""

import pytest

from gpu_mesh.text.suggest import did_you_mean, nearest


@pytest.mark.parametrize(
    ("word", "near"), [("icland", "iceland"), ("iceland", "iceland"), ("vengence", "vengeance"), ("xyz", "")]
)
def test_a_word_that_is_nearly_right_leads_to_the_right_one(word: str, near: str) -> None:
    assert nearest(word, ["iceland", "vengeance"]) == near


def test_of_two_near_words_the_one_with_swapped_letters_is_meant() -> None:
    assert nearest("stauts", ["stats", "status"]) == "status"


def test_where_no_word_is_near_something_else_is_said() -> None:
    assert did_you_mean("xyz", ["iceland"], "there are: iceland") == "there are: iceland"
    assert did_you_mean("icelnd", ["iceland"], "there are: iceland") == "did you mean iceland?"
    assert did_you_mean("xyz", []) == ""
