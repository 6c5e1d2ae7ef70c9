"""What is imported is declared."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from importlib.metadata import packages_distributions

from checkout import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
HELPERS = {path.stem for path in (ROOT / "tests").rglob("*.py")}  # tests import each other
FOR_TYPES_ALONE = {"_typeshed"}  # mypy brings it; nothing imports it when it runs


def _name(requirement: str) -> str:
    """Return the name of a distribution as every index spells it."""
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", requirement)[0]).lower()


AT_RUN_TIME = {_name(requirement) for requirement in PROJECT["project"]["dependencies"]}
TO_DEVELOP = {_name(requirement) for requirement in PROJECT["project"]["optional-dependencies"]["dev"]}


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
