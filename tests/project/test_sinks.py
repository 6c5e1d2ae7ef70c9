"""How the role judges the files that say where alerts go: a play of those tasks alone."""

import sys
from pathlib import Path

import pytest

from plays import HERE, play

APPRISE = "urls:\n  - json://127.0.0.1:1/\n"
ALERTMANAGERS = "alertmanagers:\n  - url: http://127.0.0.1:1\n"


def judged(folder: Path, **content: str) -> Path:
    """Have the role judge these files, each given as its content; return the folder where they are staged."""
    config = folder / "config"
    config.mkdir()
    monitor = {**HERE, "mesh_monitor_scope": "user"}
    for name in ("apprise", "alertmanager"):
        source = folder / f"{name}.yml"
        source.write_text(content.get(name, ""))
        monitor[f"mesh_monitor_{name}_source"] = str(source) if name in content else ""
    play(
        folder,
        {"mesh_monitors": {"hosts": {"monitor": monitor}}},
        {
            "ansible.builtin.import_role": {"name": "mesh_monitor", "tasks_from": "judge_sinks.yml"},
            "vars": {
                "__mesh_monitor_config_dir": str(config),
                "__mesh_monitor_newest": str(Path(sys.executable).parent.parent),
            },
        },
    )
    return config / "alerts.new"


def test_right_files_are_staged_for_their_owner_alone(tmp_path: Path) -> None:
    staged = judged(tmp_path, apprise=APPRISE, alertmanager=ALERTMANAGERS)
    found = {file.name: (file.read_text(), file.stat().st_mode & 0o777) for file in staged.iterdir()}
    assert found == {"apprise.yml": (APPRISE, 0o600), "alertmanager.yml": (ALERTMANAGERS, 0o600)}


def test_only_what_is_given_is_judged(tmp_path: Path) -> None:
    assert [file.name for file in judged(tmp_path, alertmanager=ALERTMANAGERS).iterdir()] == [
        "alertmanager.yml"
    ]


def test_a_wrong_file_ends_the_play_with_all_its_mistakes(tmp_path: Path) -> None:
    with pytest.raises(AssertionError) as failed:
        judged(tmp_path, apprise=APPRISE, alertmanager=f"{ALERTMANAGERS}  - ulr: http://u:hunter2@b\n")
    said = str(failed.value)
    assert "alertmanager.yml has mistakes; alerts go where they went before." in said
    assert "line 3: unknown option ulr; did you mean url?" in said
    assert "hunter2" not in said
