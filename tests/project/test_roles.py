"""What holds of every role without running it: defaults, specifications and READMEs do not drift."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from checkout import ROOT
from gpu_mesh.inventory.variables import is_known

ROLES = sorted((ROOT / "roles").iterdir())


def _yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_defaults_and_argument_specs_hold_the_same_variables_with_the_same_values(role: Path) -> None:
    defaults = _yaml(role / "defaults/main.yml")
    options = _yaml(role / "meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    assert {name: option["default"] for name, option in options.items()} == defaults
    assert all(option["description"] for option in options.values())


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_an_inventory_may_hold_every_variable_of_a_role(role: Path) -> None:
    assert [name for name in _yaml(role / "defaults/main.yml") if not is_known(name)] == []


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_the_readme_names_every_variable_of_the_role(role: Path) -> None:
    readme = (role / "README.md").read_text(encoding="utf-8")
    assert [name for name in _yaml(role / "defaults/main.yml") if f"`{name}`" not in readme] == []


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_main_is_a_table_of_contents_that_leaves_nothing_out(role: Path) -> None:
    """Used alone, a role does all that it has tasks for, in this order, each part under its tag."""
    parts = ["preflight", "install", "configure", "run"]
    tasks = {task["name"].lower(): task for task in _yaml(role / "tasks/main.yml")}
    assert list(tasks) == [part for part in parts if (role / f"tasks/{part}.yml").is_file()]
    for part, task in tasks.items():
        included = task.get(
            "ansible.builtin.include_tasks", {"file": task.get("ansible.builtin.import_tasks")}
        )
        assert included["file"] == f"{part}.yml"
        # What is included dynamically runs under a tag only if its tasks have it, too.
        assert task["tags"] == included.get("apply", task)["tags"]
        assert part == "preflight" or part in task["tags"]


@pytest.mark.parametrize(
    "unit",
    sorted(ROOT.glob("roles/*/templates/units/*.service.j2")),
    ids=lambda p: p.name,
)
def test_every_oneshot_has_an_end_and_tells_when_it_fails(unit: Path) -> None:
    text = unit.read_text(encoding="utf-8")
    if "Type=oneshot" not in text:
        return
    assert "TimeoutStartSec=" in text
    assert "OnFailure=gpu-mesh-failure@" in text or unit.name.startswith("gpu-mesh-failure@")


def test_no_default_of_a_node_or_a_tunnel_stands_in_a_role_beside_the_checkers() -> None:
    """The checker has them; a role reads the resolved mesh."""
    names = {name for role in ROLES for name in _yaml(role / "defaults/main.yml")}
    own = {
        f"mesh_node_{name}" for name in ("recovery_user", "recovery_key", "key_from", "restart_after_crash")
    }
    assert {name for name in names if re.match("mesh_(node|tunnel)_", name)} == own


def test_every_unit_that_asks_whether_this_monitor_leads_knows_the_start_of_its_machine() -> None:
    """Most of /proc is hidden from them, and what was heard of etcd counts until the next start only."""
    hardening = (ROOT / "roles/mesh_monitor/templates/units/hardening.j2").read_text(encoding="utf-8")
    assert re.search(r"(?m)^Environment=GPU_MESH_BOOT=%b$", hardening.partition("{% if")[0])
    for name in ("check", "deliver", "recover", "look", "lead", "resign", "dashboard", "stats", "publish"):
        unit = (ROOT / f"roles/mesh_monitor/templates/units/gpu-mesh-{name}.service.j2").read_text(
            encoding="utf-8"
        )
        assert "hardening.j2" in unit, name
