"""Programs ask which node to use: the standard library is enough, and old news is no answer."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gpu_mesh.client import Best, NoNode, Stale, best
from gpu_mesh.publishing import routes
from gpu_mesh.standin.server import Standin, free_port
from sites import Site


@pytest.fixture
def published(site: Site, standin: Callable[..., Standin]) -> Path:
    """What is published of a node that serves two models, one of them loaded, and of one that is down."""
    desk = standin(models=("llama3.2:latest", "qwen3:8b"), loaded=("qwen3:8b",))
    site.describe({"desk": {"url": desk.url}, "down": {"url": f"http://127.0.0.1:{free_port()}"}})
    site.check()
    site.ok("publish")
    return site.state_dir / "www/best.json"


def test_the_node_for_a_model_is_named_with_what_is_loaded(published: Path) -> None:
    url = json.loads(published.read_text())["any"][0]["url"]
    assert best(file=str(published)) == Best("desk", url, None, None)
    assert best("Library/Qwen3:8B", file=str(published)) == Best("desk", url, 1.0, None)
    assert best("llama3.2", file=str(published)) == Best("desk", url, None, None)


def test_that_no_node_fits_is_said_with_the_reason(published: Path) -> None:
    with pytest.raises(NoNode, match="no node serves and has the model gpt-oss"):
        best("gpt-oss", file=str(published))


def test_what_is_out_of_date_is_no_answer(published: Path) -> None:
    after = json.loads(published.read_text())["stale_after"]
    assert best(file=str(published), now=after).node == "desk"
    with pytest.raises(Stale, match="1 s out of date"):
        best(file=str(published), now=after + 1)


def test_a_field_that_a_newer_version_adds_is_passed_over(published: Path) -> None:
    found = json.loads(published.read_text())
    for each in (found, found["any"][0]):
        each["new"] = 1
    published.write_text(json.dumps(found))
    assert best(file=str(published)).node == "desk"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"stale_after": 0, "any": [{}], "models": {}}', "\xff"])
def test_another_file_is_said_to_be_no_such_file(tmp_path: Path, text: str) -> None:
    other = tmp_path / "other.json"
    other.write_text(text, encoding="latin-1")
    with pytest.raises(ValueError, match=r"no best\.json|JSON|Expecting|utf-8"):
        best(file=str(other))


def test_where_all_are_down_no_node_is_named(site: Site) -> None:
    site.describe({"down": {"url": f"http://127.0.0.1:{free_port()}"}})
    site.check()
    site.ok("publish")
    with pytest.raises(NoNode, match="no node serves"):
        best(file=str(site.state_dir / "www/best.json"))


def test_it_is_the_same_node_as_the_command_names(site: Site, published: Path) -> None:
    for words, model in ((("best",), ""), (("best", "--model", "qwen3:8b"), "qwen3:8b")):
        assert site.ok(*words) == f"{best(model, file=str(published)).url}\n"


def test_it_imports_the_standard_library_alone() -> None:
    program = (
        "import sys; before = set(sys.modules); import gpu_mesh.client;"
        " print(*sorted({name.partition('.')[0] for name in set(sys.modules) - before}))"
    )
    loaded = subprocess.check_output([sys.executable, "-I", "-c", program], text=True).split()
    assert set(loaded) - set(sys.stdlib_module_names) == {"gpu_mesh"}


def test_strangers_are_not_told_which_node_to_use(site: Site, standin: Callable[..., Standin]) -> None:
    site.describe({"desk": {"url": standin().url}}, publish="public")
    site.check()
    site.ok("publish")
    assert (site.state_dir / "www/best.json").exists()
    assert not (site.state_dir / "public/best.json").exists()


def test_of_many_nodes_only_the_best_few_are_named(site: Site, standin: Callable[..., Standin]) -> None:
    url = standin().url
    site.describe({f"gpu{number}": {"url": url} for number in range(9)})
    site.check()
    site.ok("publish")
    found = json.loads((site.state_dir / "www/best.json").read_text())
    ranking = json.loads(site.ok("best", "--count", "9", "--json"))["nodes"]
    assert [each["node"] for each in found["any"]] == [each["node"] for each in ranking][: routes.MOST]
    assert found["at"] <= time.time() <= found["stale_after"]
