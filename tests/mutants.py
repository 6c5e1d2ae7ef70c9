"""Changes what decides about statuses and repairs in one place at a time, to see whether a test notices.

`make mutants` runs it with mutmut. It prints how many mutants the tests of these modules killed, and fails if
that is less than LEAST, or if one survives that tests/mutants.txt does not explain. A line of that list:
the module and the function, the line that was changed, what it became, and why no test can or need notice.
"""

import os
import re
import shutil
import subprocess
import sys

from checkout import ROOT

MODULES = (
    "diagnosis/status.py",
    "recovery/brake.py",
    "alerting/inhibition.py",
    "planning/claims.py",
    "planning/drains.py",
)
TESTS = ("diagnosis/test_status.py", "recovery", "alerting", "planning", "stories")
LEAST = 90.0  # per cent of all mutants
LIST = ROOT / "tests/mutants.txt"
WORK = ROOT / "dist/mutants"
SETTINGS = """\
[mutmut]
source_paths = src
only_mutate =
{modules}
also_copy =
  docs
  playbooks
pytest_add_cli_args = -pno:cacheprovider
pytest_add_cli_args_test_selection =
{tests}
"""

Mutant = tuple[str, str, str]
"""The module and the function, the line as it was, and what it became; without indentation."""


def read_list(text: str) -> dict[Mutant, str]:
    """Return the mutants of the list, each with the reason why it may survive.

    An entry is four lines: where, "- " and the line as it was, "+ " and what it became, "= " and the reason.
    """
    found = {}
    for entry in re.split(r"\n\s*\n", re.sub(r"(?m)^#.*\n", "", text).strip()):
        where, was, became, why = (line.strip() for line in entry.splitlines())
        found[where, was.removeprefix("- "), became.removeprefix("+ ")] = why.removeprefix("= ")
    return found


def main() -> int:
    """Run all mutants; return the exit status."""
    _prepare()
    count = str(len(os.sched_getaffinity(0)))
    done = subprocess.run(
        ["mutmut", "run", "--max-children", count], cwd=WORK, capture_output=True, text=True
    )
    if done.returncode:
        print(done.stdout[-3000:], done.stderr[-3000:], sep="\n")
        return 1
    said = _mutmut("results", "--all", "true")
    results = dict(re.findall(r"(?m)^\s*(\S+__mutmut_\d+): (.+)$", said))
    alive = {_mutant(name): name for name, result in results.items() if result not in ("killed", "timeout")}
    known = read_list(LIST.read_text(encoding="utf-8"))
    killed = len(results) - sum(result not in ("killed", "timeout") for result in results.values())
    per_cent = 100 * killed / len(results)
    print(f"{len(results)} mutants: {killed} killed, {per_cent:.1f} %; {len(results) - killed} survive")
    for where, was, became in alive.keys() - known.keys():
        print(f"\nnot in {LIST.name}, {alive[where, was, became]}:\n{where}\n- {was}\n+ {became}")
    for where, was, became in known.keys() - alive.keys():
        print(f"\nno longer survives, take it from {LIST.name}:\n{where}\n- {was}\n+ {became}")
    return 1 if per_cent < LEAST or alive.keys() != known.keys() else 0


def _prepare() -> None:
    """Copy what is needed to a folder that has the layout that mutmut wants; the checkout stays as it is."""
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    for source, target in (
        ("checker", "src"),
        ("tests", "tests"),
        ("docs", "docs"),
        ("playbooks", "playbooks"),
    ):
        shutil.copytree(ROOT / source, WORK / target, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", WORK)
    modules = "\n".join(f"  src/gpu_mesh/{module}" for module in MODULES)
    tests = "\n".join(f"  tests/unit/{test}" for test in TESTS)
    (WORK / "setup.cfg").write_text(SETTINGS.format(modules=modules, tests=tests), encoding="utf-8")


def _mutmut(*words: str) -> str:
    return subprocess.run(["mutmut", *words], cwd=WORK, capture_output=True, text=True, check=True).stdout


def _mutant(name: str) -> Mutant:
    """Return a mutant as the list has it."""
    lines = _mutmut("show", name).splitlines()
    was = " ".join(line[1:].strip() for line in lines if re.match(r"-(?!--)", line))
    became = " ".join(line[1:].strip() for line in lines if re.match(r"\+(?!\+\+)", line))
    module, function = name.rpartition("__mutmut_")[0].rsplit(".x_", 1)
    return f"{module.removeprefix('gpu_mesh.').replace('.', '/')}.py: {function}()", was, became


if __name__ == "__main__":
    sys.exit(main())
