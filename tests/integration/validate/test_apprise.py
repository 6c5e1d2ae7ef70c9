"""``gpu-mesh validate --apprise``: a file of URLs before it is put in place."""

from pathlib import Path

import pytest

from sites import Site

RIGHT = "urls:\n  - json://127.0.0.1:1/:\n      tag: critical\n  - mailto://user:hunter2@example.com\n"
WRONG = "urls:\n  - json://127.0.0.1:1/\n  - nonsense://user:hunter2@example.com\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "apprise.yml"
    file.touch(mode=0o600)
    return file


def test_a_right_file_is_counted_and_nothing_is_asked_of_an_inventory(site: Site, file: Path) -> None:
    file.write_text(RIGHT)
    done = site.run("validate", "--apprise", str(file))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{file}: 2 URLs, no mistakes; try them: {site.typed} alerts test\n"


def test_a_wrong_file_is_refused_with_file_and_line_and_without_its_secrets(site: Site, file: Path) -> None:
    file.write_text(WRONG)
    done = site.run("validate", "--apprise", str(file))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"{file} ")
    assert "hunter2" not in done.stderr


def test_a_file_that_is_not_there_is_named(site: Site, file: Path) -> None:
    done = site.run("validate", "--apprise", f"{file}.other")
    assert (done.returncode, done.stderr) == (2, f"{file}.other: No such file or directory\n")


def test_a_file_that_others_may_read_is_noted(site: Site, file: Path) -> None:
    file.write_text(RIGHT)
    file.chmod(0o644)
    done = site.run("validate", "--apprise", str(file))
    assert done.returncode == 0
    assert f"run: chmod 600 {file}" in done.stdout
