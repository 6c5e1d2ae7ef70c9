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
    levels = "critical to 2, error to 1, warning to 1, info to 0"
    assert done.stdout == f"{file}: 2 URLs, no mistakes: {levels}; try them: {site.typed} alerts test\n"


def test_an_url_that_only_some_nodes_alerts_go_to_counts_and_none_is_no_mistake(
    site: Site, file: Path
) -> None:
    site.describe({"iceland": {"url": "http://127.0.0.1:9", "alert_tags": ["night"]}})
    file.write_text("urls:\n  - json://127.0.0.1:1/:\n      tag: night, error\n")
    levels = "critical to 0, error to 1, warning to 0, info to 0"
    assert f": 1 URL, no mistakes: {levels}; " in site.ok("validate", "--apprise", str(file))
    file.write_text("urls: []\n")
    said = site.ok("validate", "--apprise", str(file))
    assert "nobody is told of anything" in said
    assert said.endswith(f"{file}: no URL, no mistakes\n")


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


def test_tags_that_no_alert_can_have_are_noted_with_the_nearest_right_one(site: Site, file: Path) -> None:
    site.describe({"iceland": {"url": "http://127.0.0.1:9", "alert_tags": ["night"]}})
    file.write_text(
        "urls:\n  - json://127.0.0.1:1/:\n      tag: critcal\n  - json://127.0.0.1:2/:\n      tag: nigth\n"
    )
    done = site.run("validate", "--apprise", str(file))
    assert done.returncode == 0
    nothing = "is neither a level nor a node's tag, group or key; did you mean"
    assert f"note: {file} line 2: its tag critcal {nothing} critical?\n" in done.stdout
    assert f"note: {file} line 4: its tag nigth {nothing} night?\n" in done.stdout
    site.environment["GPU_MESH_CONFIG_DIR"] = str(file.parent)
    tested = site.run("alerts", "test").stdout
    assert f"its tag critcal {nothing} critical?" in tested


def test_a_file_without_urls_says_that_nobody_is_told(site: Site, file: Path) -> None:
    file.write_text("urls: []\n")
    done = site.run("validate", "--apprise", str(file))
    assert done.returncode == 0
    assert "nobody is told of anything" in done.stdout


def test_what_apprise_knows_and_the_mesh_does_not_use_is_explained(site: Site, file: Path) -> None:
    file.write_text(
        "version: 1\nasset: {}\ntag: ops\ngroups: {}\ntemplate: {token: hunter2}\nurls: [json://127.0.0.1]\n"
    )
    done = site.run("validate", "--apprise", str(file))
    assert done.returncode == 2
    assert (
        done.stderr
        == f"{file} line 5: template is not supported: write the values into the URLs themselves\n"
    )
