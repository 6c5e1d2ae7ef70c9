"""Groups of Apprise's configuration that gather levels."""

import pytest

from gpu_mesh.delivery.apprise_entries import groups
from gpu_mesh.delivery.outbox import with_levels_of_groups

LEVELS = {"oncall": frozenset({"critical", "error"}), "team": frozenset({"iceland", "desk"})}


@pytest.mark.parametrize(
    ("tags", "routed"),
    [
        ({"critical", "oncall"}, {"critical"}),  # Apprise has added the group
        ({"oncall"}, {"critical", "error"}),
        ({"oncall", "iceland", "team"}, {"critical", "error", "iceland", "team"}),
        ({"iceland", "team"}, {"iceland", "team"}),
        (set(), set()),
    ],
)
def test_a_group_that_gathers_levels_stands_for_them_and_is_no_tag_of_a_node(
    tags: set[str], routed: set[str]
) -> None:
    assert with_levels_of_groups(frozenset(tags), LEVELS) == routed


@pytest.mark.parametrize(
    ("text", "is_yaml"),
    [
        ("groups:\n  oncall: critical, error\n", True),
        ("groups:\n  - oncall: [critical, Error]\n", True),
        ("groups:\n  - high: error\n  - oncall: critical, high\n", True),
        ("# oncall = nobody\noncall = critical, error\njson://example.com/?a=b\n", False),
    ],
)
def test_a_groups_members_are_read_in_each_way_that_apprise_takes_them(text: str, is_yaml: bool) -> None:
    assert groups(text, is_yaml=is_yaml)["oncall"] == {"critical", "error"}


@pytest.mark.parametrize("text", ["urls: []\n", "groups: 3\n", "groups:\n  a: a\n  b: c\n  c: b\n", "[]"])
def test_what_is_no_group_or_leads_in_a_circle_harms_nothing(text: str) -> None:
    assert all(isinstance(members, frozenset) for members in groups(text, is_yaml=True).values())
