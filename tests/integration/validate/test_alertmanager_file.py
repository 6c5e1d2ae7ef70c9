"""``gpu-mesh validate --alertmanager``: a file of Alertmanagers before it is put in place."""

from pathlib import Path

import pytest

from sites import Site


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "alertmanager.yml"
    file.touch(mode=0o600)
    return file


def test_a_right_file_is_counted_and_nothing_is_asked_of_an_inventory(site: Site, file: Path) -> None:
    file.write_text("alertmanagers:\n  - url: http://127.0.0.1:1\n  - url: http://127.0.0.1:2\n")
    said = site.ok("validate", "--alertmanager", str(file))
    assert said == f"{file}: 2 Alertmanagers, no mistakes; try them: {site.typed} alerts test\n"
    file.write_text("alertmanagers: []\n")
    assert site.ok("validate", "--alertmanager", str(file)) == f"{file}: no Alertmanager, no mistakes\n"


def test_a_wrong_file_is_refused_with_all_its_mistakes_and_without_its_secrets(
    site: Site, file: Path
) -> None:
    file.write_text("alertmanagers:\n  - url: http://u:hunter2@a\n  - ulr: http://a\n")
    done = site.run("validate", "--alertmanager", str(file))
    assert (done.returncode, done.stdout) == (2, "")
    assert [line.split(": ")[0] for line in done.stderr.splitlines()] == [f"{file} line 2", f"{file} line 3"]
    assert "hunter2" not in done.stderr


def test_one_file_is_checked_at_a_time(site: Site, file: Path) -> None:
    both = site.run("validate", "--alertmanager", str(file), "--apprise", str(file))
    assert (both.returncode, both.stdout) == (2, "")
    assert "leave out --apprise or --alertmanager" in both.stderr
    assert (
        "leave out --alertmanager, or --json"
        in site.run("validate", "--alertmanager", str(file), "--json").stderr
    )
