"""What is imported is declared, and what is declared is listed with hashes."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from importlib.metadata import packages_distributions

import pytest

from checkout import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
HELPERS = {path.stem for folder in ("tests", "bench") for path in (ROOT / folder).rglob("*.py")}
"""Tests import each other, and so do benchmarks."""
FOR_TYPES_ALONE = {"_typeshed"}  # mypy brings it; nothing imports it when it runs


def _name(requirement: str) -> str:
    """Return the name of a distribution as every index spells it."""
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", requirement)[0]).lower()


AT_RUN_TIME = {_name(requirement) for requirement in PROJECT["project"]["dependencies"]}
TO_DEVELOP = {_name(requirement) for requirement in PROJECT["project"]["optional-dependencies"]["dev"]}
TO_INSTALL = {_name(requirement) for requirement in PROJECT["dependency-groups"]["install"]}


def _modules(source: str) -> Iterator[str]:
    """Yield the top-level name of each absolute import, wherever it stands."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module.partition(".")[0]


def _undeclared(folders: Iterable[str], declared: set[str]) -> set[str]:
    """Return what is imported there and is neither Python's, nor ours, nor of a declared distribution."""
    files = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    ours = {"gpu_mesh", *FOR_TYPES_ALONE, *sys.stdlib_module_names, *HELPERS}
    imported = {name for path in files for name in _modules(path.read_text(encoding="utf-8"))} - ours
    distributions = packages_distributions()
    return {
        name for name in imported if declared.isdisjoint(_name(it) for it in distributions.get(name, [name]))
    }


def test_every_package_that_the_program_and_its_roles_import_is_declared() -> None:
    assert _undeclared(["checker", "roles"], AT_RUN_TIME) == set()


def test_every_package_that_tests_and_benchmarks_import_is_declared() -> None:
    assert _undeclared(["tests", "bench"], AT_RUN_TIME | TO_DEVELOP) == set()


def _listed(name: str) -> dict[str, tuple[str, int]]:
    """Return each distribution's version and the number of its hashes."""
    text = (ROOT / name).read_text(encoding="utf-8")
    pins = re.findall(
        r"^([\w.-]+)==([\w.]+)(?: ; [^\\\n]+?)?((?: \\\n +--hash=sha256:[0-9a-f]{64})*)$", text, re.MULTILINE
    )
    assert len(re.findall("^[a-z]", text, re.MULTILINE)) == len(pins)
    return {_name(pin): (version, hashes.count("--hash")) for pin, version, hashes in pins}


@pytest.mark.parametrize(
    ("name", "declared"),
    [
        ("constraints.txt", AT_RUN_TIME | TO_INSTALL),
        ("constraints-dev.txt", AT_RUN_TIME | TO_INSTALL | TO_DEVELOP),
    ],
)
def test_a_list_of_constraints_has_a_version_and_hashes_of_all_that_is_declared(
    name: str, declared: set[str]
) -> None:
    listed = _listed(name)
    assert declared - listed.keys() == set(), "`make constraints` lists it"
    assert [pin for pin, (_, hashes) in listed.items() if not hashes] == []


def test_developers_have_the_versions_that_monitors_get() -> None:
    ours, theirs = _listed("constraints-dev.txt"), _listed("constraints.txt")
    assert {name: ours.get(name) for name in theirs} == theirs


@pytest.mark.parametrize("name", ["constraints.txt", "constraints-dev.txt"])
def test_constraints_take_wheels_alone_from_whatever_index_pip_is_given(name: str) -> None:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    assert "--only-binary :all:" in lines
    assert [line for line in lines if "://" in line or "index" in line] == []


def test_a_monitor_of_any_python_and_machine_gets_all_that_is_listed() -> None:
    """`pip download` judges a marker by the machine that it runs on, not by the one that it fetches for."""
    assert ";" not in (ROOT / "constraints.txt").read_text(encoding="utf-8")


def test_the_build_backend_is_the_one_that_is_listed() -> None:
    assert {_name(requirement) for requirement in PROJECT["build-system"]["requires"]} <= TO_INSTALL
