"""Bytes that coverage leads to: whatever a node answers and a state file holds, no promise is broken."""

import base64
import os
import random
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from checkout import PROGRAMS, ROOT
from fuzzed import TARGETS, mutated

CORPUS = ROOT / "tests/corpus"
SECONDS = int(os.environ.get("GPU_MESH_FUZZ_SECONDS", "40"))  # for each target
WITHOUT_ATHERIS = 20_000  # inputs
LIMITS = ("-timeout=30", "-rss_limit_mb=1024", "-max_len=20000")  # seconds and memory of one input; bytes


@pytest.mark.parametrize("target", TARGETS)
def test_what_was_found_to_matter_breaks_no_promise(target: str) -> None:
    files = sorted((CORPUS / target).iterdir())
    assert files
    for file in files:
        TARGETS[target](file.read_bytes())


@pytest.mark.soak
@pytest.mark.timeout(SECONDS + 300)
@pytest.mark.parametrize("target", TARGETS)
def test_nothing_that_coverage_leads_to_breaks_a_promise(
    target: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    seed = int(os.environ.get("GPU_MESH_FUZZ_SEED") or random.randrange(1, 10**9))
    inputs = _with_atheris(target, seed, tmp_path) if find_spec("atheris") else _at_random(target, seed)
    record_property(
        "shown", f"{inputs} inputs of the target {target}, GPU_MESH_FUZZ_SEED={seed}: all were borne"
    )


def _with_atheris(target: str, seed: int, folder: Path) -> int:
    new = folder / "new"
    new.mkdir()
    options = (*LIMITS, f"-seed={seed}", f"-max_total_time={SECONDS}", f"-artifact_prefix={folder}/")
    words = [target, *options, "-print_final_stats=1", str(new), str(CORPUS / target)]
    done = subprocess.run(
        [sys.executable, str(PROGRAMS / "fuzz.py"), *words],
        env={**os.environ, "PYTHONPATH": str(ROOT / "tests")},
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    found = [base64.b64encode(file.read_bytes()).decode() for file in folder.iterdir() if file.is_file()]
    assert (done.returncode, found) == (0, []), f"seed {seed}\n{done.stderr[-6000:]}"
    (line,) = [line for line in done.stderr.splitlines() if "number_of_executed_units" in line]
    return int(line.split()[-1])


def _at_random(target: str, seed: int) -> int:
    """Change the files of the corpus at random, where there is no wheel of atheris."""
    chance, files = random.Random(seed), sorted((CORPUS / target).iterdir())
    for _ in range(WITHOUT_ATHERIS):
        data = chance.choice(files).read_bytes()
        for _ in range(chance.randint(1, 4)):
            data = mutated(data, chance.getrandbits(32)) or data
        TARGETS[target](data)
    return WITHOUT_ATHERIS
