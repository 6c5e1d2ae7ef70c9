"""playbooks/models.yml, run by hand against a stand-in for Ollama that is its registry, too."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from checkout import ROOT
from sites import end_all_with, eventually

SMALL, LARGE = 5 * 2**20, 2**62


@pytest.fixture
def pull(site, standin, tmp_path: Path):
    """Return a stand-in with one of two expected models, and what runs the playbook on its node."""
    ollama = standin(models=("llama3.2:latest",))
    ollama.registry = {"llama3.2:latest": SMALL, "qwen3:8b": SMALL, "huge:latest": LARGE}
    ollama.pull_pause = 0.005
    store = tmp_path / "models"
    store.mkdir()

    def run(*more: str, expected=("llama3.2", "qwen3:8b"), folder=store, limit=("-l", "desk"), nodes=None):
        desk = {"url": ollama.url, "recovery": "none", "expected_models": list(expected)}
        site.describe(nodes or {"desk": {**desk, "ansible_python_interpreter": sys.executable}})
        given = {
            "gpu_mesh_registry": ollama.url,
            "gpu_mesh_models_folder": str(folder),
            "gpu_mesh_stands_still": 5,
        }
        program = Path(sys.executable).parent / "ansible-playbook"
        playbook = ROOT / "playbooks/models.yml"
        command = [program, "-i", site.inventory, playbook, *limit, "-e", json.dumps(given), *more]
        environment = {
            **site.environment,
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "TMPDIR": os.environ["TMPDIR"],
        }
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=100, check=False
        )
        return done.returncode, " ".join((done.stdout + done.stderr).split())

    yield ollama, run
    end_all_with(f"HOME={site.folder}")


def test_a_missing_model_is_told_pulled_and_proved_with_few_lines_of_progress(pull):
    ollama, run = pull
    code, said = run()
    assert code == 0, said
    assert "desk: 1 model missing; pulling qwen3:8b (0.0 GiB)" in said
    assert "desk: qwen3:8b is there" in said
    assert ollama.pulled == ["qwen3:8b"]
    told = re.findall(r"desk: qwen3:8b: (\d+ %|downloaded)", said)
    assert told[-1] == "downloaded"
    assert len(told) <= 12, told
    assert "qwen3:8b" in ollama.models
    code, said = run()
    assert code == 0
    assert "desk: all expected models are there" in said
    assert ollama.pulled == ["qwen3:8b"], "nothing more"


def test_a_store_that_is_empty_is_a_lost_mount_or_another_user_and_nothing_is_pulled(pull):
    ollama, run = pull
    ollama.models = ()
    code, said = run()
    assert code == 2
    assert (
        "Ollama has no model at all. A mount that is lost, or an Ollama that runs as another user, looks so"
        in said
    )
    assert ollama.pulled == []


def test_too_little_disk_is_refused_with_the_figure_and_what_fits_is_pulled(pull):
    ollama, run = pull
    code, said = run(expected=("llama3.2", "huge", "qwen3:8b"))
    assert code == 2, "a model is still missing"
    assert "not pulled: huge: it takes 4294967296.0 GiB, and 1.0 GiB must stay free, but " in said
    assert ollama.pulled == ["qwen3:8b"]


def test_a_size_that_the_registry_does_not_tell_is_refused(pull):
    ollama, run = pull
    del ollama.registry["qwen3:8b"]
    code, said = run()
    assert code == 2
    assert "not pulled: qwen3:8b: its size is not known, for its registry does not tell it" in said
    assert ollama.pulled == []


def test_a_disk_that_cannot_be_read_is_refused(pull, tmp_path):
    ollama, run = pull
    code, said = run(folder=tmp_path / "unmounted")
    assert code == 2
    assert f"how much of the disk is free at {tmp_path}/unmounted is not known" in said
    assert ollama.pulled == []


def test_nothing_is_pulled_without_a_limit_nor_in_check_mode(pull):
    ollama, run = pull
    code, said = run(limit=())
    assert (code, "name the nodes with -l NODE" in said) == (2, True)
    code, said = run("--check")
    assert code == 0, said
    assert "desk: 1 model missing; pulling qwen3:8b" in said
    assert ollama.pulled == []


def test_a_pull_outlives_the_play_and_is_followed_by_the_next_one(pull):
    ollama, run = pull
    ollama.pull_pause = 5.0
    code, said = run("-e", json.dumps({"gpu_mesh_stands_still": 1, "gpu_mesh_step": 100}))
    assert code == 2
    assert "qwen3:8b is not there: nothing has come for 1 s" in said
    ollama.pull_pause = 0.005
    assert eventually(lambda: "qwen3:8b" in ollama.models), "the pull goes on"
    assert ollama.pulled == ["qwen3:8b"]


def test_what_ollama_says_of_a_failed_pull_is_told(pull, standin):
    ollama, run = pull
    registry = standin()
    registry.registry = {"qwen3:8b": SMALL}
    del ollama.registry["qwen3:8b"]
    code, said = run("-e", json.dumps({"gpu_mesh_registry": registry.url}))
    assert code == 2
    assert "desk: qwen3:8b is not there: pull model manifest: file does not exist" in said


def test_a_pull_that_ended_is_not_taken_for_one_under_way_because_another_process_has_its_number(pull):
    ollama, run = pull
    left = Path(os.environ["TMPDIR"]) / f"gpu-mesh-pull.{os.getuid()}"
    left.mkdir(mode=0o700, exist_ok=True)
    (left / "qwen3_8b").write_text('{"error": "of the pull before"}\n')
    (left / "qwen3_8b.pid").write_text(f"{os.getpid()}\n")
    (left / "qwen3_8b.ended").touch()
    code, said = run()
    assert (code, ollama.pulled) == (0, ["qwen3:8b"]), said


def test_a_node_out_of_reach_is_named_and_does_not_keep_the_next_one_from_it(pull, closed_port):
    ollama, run = pull
    node = {
        "url": ollama.url,
        "recovery": "none",
        "expected_models": ["llama3.2", "qwen3:8b"],
        "ansible_python_interpreter": sys.executable,
    }
    away = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": closed_port}
    code, said = run(nodes={"away": {**node, **away}, "desk": node}, limit=("-l", "away,desk"))
    assert code != 0
    assert re.search(r"away: .*Connection refused", said)
    assert "desk: qwen3:8b is there" in said
    assert ollama.pulled == ["qwen3:8b"]


def test_a_node_on_which_nothing_can_be_pulled_does_not_keep_the_next_one_from_it(pull, standin, site):
    ollama, run = pull
    empty = standin(models=())
    node = {
        "recovery": "none",
        "expected_models": ["llama3.2", "qwen3:8b"],
        "ansible_python_interpreter": sys.executable,
    }
    code, said = run(
        nodes={"bare": {"url": empty.url, **node}, "desk": {"url": ollama.url, **node}},
        limit=("-l", "bare,desk"),
    )
    assert code == 2
    assert "bare: Ollama has no model at all." in said
    assert "desk: qwen3:8b is there" in said
    assert (empty.pulled, ollama.pulled) == ([], ["qwen3:8b"])
