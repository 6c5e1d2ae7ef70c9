"""Tags of URLs that no alert about a node can have."""

import pytest

from factories import plain
from gpu_mesh.delivery.outbox import Target
from gpu_mesh.delivery.tags import is_for_a_node, unknown
from gpu_mesh.domain.alert import Level

NODES = (plain("iceland", alert_tags=("Night",), groups=("mesh_nodes", "rented")), plain("desk"))


def said(*tags: str, nodes=NODES) -> tuple[str, ...]:
    return unknown(Target("id", frozenset(tags)), {"oncall"}, nodes)


@pytest.mark.parametrize("tag", ["critical", "night", "rented", "mesh_nodes", "iceland", "desk", "oncall"])
def test_a_level_and_what_a_node_or_apprise_has_is_known(tag: str) -> None:
    assert said(tag) == ()


@pytest.mark.parametrize(
    ("tag", "meant"),
    [("critcal", "critical"), ("warnign", "warning"), ("icland", "iceland"), ("nigth", "night"), ("xyz", "")],
)
def test_another_tag_is_told_with_the_nearest_right_one(tag: str, meant: str) -> None:
    question = f"; did you mean {meant}?" if meant else ""
    assert said("error", tag) == (
        f"its tag {tag} is neither a level nor a node's tag, group or key{question}",
    )


def test_without_a_mesh_only_a_level_that_is_misspelt_is_told() -> None:
    assert said("night", nodes=()) == ()
    assert len(said("critcal", nodes=())) == 1


def test_a_url_is_for_a_node_if_a_real_alert_of_that_level_goes_there() -> None:
    assert is_for_a_node(Target("id", frozenset({"critical", "night"})), Level.CRITICAL, NODES)
    assert not is_for_a_node(Target("id", frozenset({"critical", "night"})), Level.ERROR, NODES)
    assert not is_for_a_node(Target("id", frozenset({"critcal"})), Level.CRITICAL, NODES)
    assert is_for_a_node(Target("id", frozenset()), Level.WARNING, NODES)
