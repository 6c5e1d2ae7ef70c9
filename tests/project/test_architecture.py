"""What the map and the guide for contributors name exists: rooms, files, functions, contracts, targets."""

import re
import tomllib

import pytest

from checkout import ROOT

PACKAGE = ROOT / "checker/gpu_mesh"
PAGES = {
    name: (ROOT / name).read_text(encoding="utf-8") for name in ("docs/architecture.md", "CONTRIBUTING.md")
}
FILES = (*PACKAGE.rglob("*.py"), *(ROOT / "tests").glob("*.py"))
SOURCE = "\n".join(file.read_text(encoding="utf-8") for file in FILES)
CONTRACTS = {
    each["id"]: each
    for each in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
}
BASES = (ROOT, PACKAGE, *sorted((ROOT / "roles").iterdir()))  # where a path may start
WRITTEN_BY_TESTS = {"tests/hosts/report/fault_matrix.md"}
PLACEHOLDER = re.compile(r"\b(?:NAME|ROOM|MODULE)\b|(?<=test_)(?:NAME|MODULE)\b")


def in_backticks(page: str) -> list[str]:
    text = re.sub(r"(?s)```.*?```", "", PAGES[page])
    return [part for token in re.findall(r"`([^`]+)`", text) for part in token.split(": ")]


def paths(page: str) -> list[str]:
    named = re.compile(r"[\w.-]+(/[\w.@-]+)+|[\w.-]+\.(py|md|toml)")
    found = {each for each in in_backticks(page) if named.fullmatch(each) and not each.startswith(".venv")}
    return sorted(found - WRITTEN_BY_TESTS)


@pytest.mark.parametrize(("page", "path"), [(page, path) for page in PAGES for path in paths(page)])
def test_every_path_that_is_named_exists(page: str, path: str) -> None:
    wanted = PLACEHOLDER.sub("*", path)
    assert any(any(base.glob(wanted)) for base in BASES), f"{page} names {path}"


@pytest.mark.parametrize("page", PAGES)
def test_every_function_class_and_table_that_is_named_exists(page: str) -> None:
    for token in set(in_backticks(page)):
        if re.fullmatch(r"\w+\(\)", token):
            assert re.search(rf"(?m)^ *def {token[:-2]}\(", SOURCE), token
        elif re.fullmatch(r"[A-Z]+[a-z]\w*", token):
            assert re.search(rf"(?m)^class {token}\(", SOURCE), token
        elif re.fullmatch(r"(?!GPU_MESH_)[A-Z_]{4,}", token):
            assert re.search(rf"(?m)^{token}\b.* = ", SOURCE), token


@pytest.mark.parametrize("page", PAGES)
def test_every_function_is_in_the_file_that_is_named_with_it(page: str) -> None:
    for path, name in re.findall(r"`([\w/]+\.py): (\w+)\(\)`", PAGES[page]):
        (file,) = (base / path for base in BASES if (base / path).is_file())
        assert re.search(rf"(?m)^ *def {name}\(", file.read_text(encoding="utf-8")), f"{path}: {name}"


def test_the_rooms_are_named_in_the_order_of_the_contract_and_none_is_left_out() -> None:
    rows = re.findall(r"(?m)^\| (`.*?) \|", PAGES["docs/architecture.md"].partition("\n## One check")[0])
    named = [row.replace("`", "").split(", ") for row in rows]
    assert named == [layer.split(" | ") for layer in CONTRACTS["rooms"]["layers"]]
    folders = {file.parent.name for file in PACKAGE.glob("*/__init__.py")}
    assert {room for row in named for room in row} == folders


def test_every_contract_that_the_map_names_exists() -> None:
    named = re.findall(r"contract `(\w+)`", PAGES["docs/architecture.md"])
    assert {"rooms", "pure", "secrets"} == set(named) & CONTRACTS.keys() == set(named)


def test_every_target_of_make_is_explained_and_no_other() -> None:
    targets = re.findall(r"(?m)^([a-z-]+):.*##", (ROOT / "Makefile").read_text(encoding="utf-8"))
    assert sorted(re.findall(r"(?m)^\| `make ([a-z-]+)` \|", PAGES["CONTRIBUTING.md"])) == sorted(targets)


def test_every_contract_is_explained() -> None:
    explained = re.findall(
        r"(?m)^\| `(\w+)` \|", PAGES["CONTRIBUTING.md"].partition("## What the contracts forbid")[2]
    )
    assert explained == list(CONTRACTS)


def test_the_index_names_every_page_and_the_readme_is_short() -> None:
    index = (ROOT / "docs/README.md").read_text(encoding="utf-8")
    pages = {page.name for page in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert set(re.findall(r"\]\(([\w-]+\.md)\)", index)) == pages
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120


def test_every_link_between_the_pages_leads_somewhere() -> None:
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")):
        for link in re.findall(r"\]\(([^)#:]+)(?:#[\w-]+)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), f"{page.name}: {link}"
