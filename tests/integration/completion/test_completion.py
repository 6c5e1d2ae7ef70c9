"""Completions in real shells, and the man page in real readers of such pages."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gpu_mesh.cli import grammar
from gpu_mesh.cli.commands import COMMANDS
from gpu_mesh.cli.grammar import every
from marks import soak
from sites import eventually
from terminal import Terminal

NEEDED = {"bash": "bash", "zsh": "zsh", "fish": "fish"}
HOSTILE = "$(touch x)"

COMPLETED = [
    # line → what may stand at its end
    ("gpu-mesh stat", ["stats", "status"]),
    ("gpu-mesh sim", ["simulate"]),
    ("gpu-mesh -v --state-dir /tmp rec", ["recover"]),
    ("gpu-mesh fai", []),
    ("gpu-mesh silence ", ["add", "end", "list"]),
    ("gpu-mesh silence add --unt", ["--until-healthy"]),
    ("gpu-mesh recover --dry", ["--dry-run"]),
    ("gpu-mesh alerts te", ["test"]),
    ("gpu-mesh completion z", ["zsh"]),
    ("gpu-mesh ack gpu", ["gpu1", "gpu2"]),
    ("gpu-mesh silence add ice", ["iceland"]),
    ("gpu-mesh recover ice", ["iceland"]),
    ("gpu-mesh status ice", ["iceland"]),
    ("gpu-mesh stats ice", []),
    ("gpu-mesh simulate trace", ["trace.yml"]),
    ("gpu-mesh -i mesh", ["mesh.yml"]),
    ("gpu-mesh --state-dir sta", ["state/"]),
]


@pytest.fixture
def shell_site(site):
    """A site whose command and inventory are those that a shell finds; its folder is the working one."""
    site.describe({"gpu1": {}, "gpu2": {}, "iceland": {}})
    site.state_dir.mkdir()
    (site.folder / "trace.yml").touch()
    (site.folder / "bin").mkdir()
    program = site.folder / "bin/gpu-mesh"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m gpu_mesh "$@"\n')
    program.chmod(0o755)
    site.environment |= {
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "GPU_MESH_INVENTORY": str(site.inventory),
        "GPU_MESH_STATE_DIR": str(site.state_dir),
        "LC_ALL": "C.UTF-8",
        "XDG_DATA_HOME": str(site.folder / "share"),
    }
    return site


def made(site, shell):
    file = site.folder / f"completion.{shell}"
    file.write_text(site.ok("completion", shell))
    return file


def script(site, shell, text):
    done = subprocess.run(
        [shell, *(["--norc"] if shell == "bash" else []), "-c", text],
        env=site.environment,
        cwd=site.folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    return sorted(filter(None, done.stdout.splitlines()))


def needs(program):
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"there is no {program}")


@needs("bash")
@pytest.mark.parametrize(("line", "expected"), COMPLETED)
def test_bash_completes(shell_site, line, expected):
    words = line.split(" ")
    quoted = " ".join(f"'{word}'" for word in words)
    text = (
        f"source {made(shell_site, 'bash')}; COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}\n"
        '_gpu_mesh; for word in "${COMPREPLY[@]}"; do printf \'%s\\n\' "$word"; done'
    )
    folder = [word.rstrip("/") for word in expected]  # readline itself adds the slash
    assert script(shell_site, "bash", text) == folder


@needs("fish")
@pytest.mark.parametrize(("line", "expected"), COMPLETED)
def test_fish_completes(shell_site, line, expected):
    said = script(shell_site, "fish", f"source {made(shell_site, 'fish')}; complete -C '{line}'")
    assert [entry.partition("\t")[0] for entry in said] == expected


def at_a_prompt(site, shell, *words, **variables):
    return Terminal([shell, *words], {**site.environment, "PS1": "ready> "}, 100, 30, **variables)


@needs("zsh")
@pytest.mark.parametrize(
    ("line", "expected"),
    [case if number in (0, 5, 9) else soak(*case, name=case[0]) for number, case in enumerate(COMPLETED)],
)
def test_zsh_completes(shell_site, line, expected):
    folder = shell_site.folder / "functions"
    folder.mkdir()
    made(shell_site, "zsh").rename(folder / "_gpu-mesh")
    own = f"cd {shell_site.folder}; fpath=({folder} $fpath); autoload -U compinit; compinit -u -D"
    with at_a_prompt(shell_site, "zsh", "-f") as terminal:
        terminal.press(f"{own}; PS1='ready> '; clear\r")
        assert eventually(lambda: terminal.lines[0] == "ready>")
        terminal.press(f"{line}\t")
        if len(expected) == 1:
            whole = line.rpartition(" ")[0] + " " + expected[0]
            assert eventually(lambda: terminal.lines[0].rstrip() == f"ready> {whole}"), terminal.lines
        elif expected:
            assert eventually(lambda: set(expected) <= set(" ".join(terminal.lines[1:]).split())), (
                terminal.lines
            )
        else:
            terminal.press("#")
            assert eventually(lambda: terminal.lines[0] == f"ready> {line}#"), terminal.lines


@needs("bash")
@pytest.mark.skipif(
    not Path("/usr/share/bash-completion/bash_completion").exists(), reason="there is no bash-completion"
)
def test_bash_finds_it_where_the_role_puts_it(shell_site):
    folder = shell_site.folder / "share/bash-completion/completions"
    folder.mkdir(parents=True)
    made(shell_site, "bash").rename(folder / "gpu-mesh")
    with at_a_prompt(shell_site, "bash", "--norc") as terminal:
        terminal.press(". /usr/share/bash-completion/bash_completion; clear\r")
        assert eventually(lambda: terminal.lines[0] == "ready>")
        terminal.press("gpu-mesh recover --dry\t")
        assert eventually(lambda: terminal.lines[0] == "ready> gpu-mesh recover --dry-run")


@needs("fish")
def test_fish_finds_it_where_the_role_puts_it(shell_site):
    folder = shell_site.folder / "share/fish/vendor_completions.d"
    folder.mkdir(parents=True)
    made(shell_site, "fish").rename(folder / "gpu-mesh.fish")
    said = script(shell_site, "fish", "complete -C 'gpu-mesh recover --dry'")
    assert [entry.partition("\t")[0] for entry in said] == ["--dry-run"]


@pytest.mark.parametrize("shell", ["bash", "fish"])
def test_no_name_of_a_node_is_taken_for_code(shell_site, shell):
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell}")
    program = shell_site.folder / "bin/gpu-mesh"
    program.write_text(f"#!/bin/sh\nprintf '%s\\n' '{HOSTILE}' '`touch x`' 'gpu1;touch x'\n")
    completed = {
        "bash": "COMP_WORDS=(gpu-mesh ack ''); COMP_CWORD=2; _gpu_mesh; printf '%s\\n' \"${COMPREPLY[@]}\"",
        "fish": "complete -C 'gpu-mesh ack '",
    }
    file = shell_site.folder / "made"
    file.write_text(shell_site.ok("completion", shell))
    said = script(shell_site, shell, f"source {file}; {completed[shell]}")
    assert len(said) == 3
    assert not (shell_site.folder / "x").exists()


def test_the_nodes_that_are_completed_are_those_of_the_inventory(shell_site):
    assert shell_site.ok("completion", "nodes") == "gpu1\ngpu2\niceland\n"


# The man page.


@pytest.fixture
def page(site):
    file = site.folder / "gpu-mesh.1"
    file.write_text(site.ok("completion", "man"))
    return file


CHECKED_BY = {
    "mandoc": ["mandoc", "-T", "lint", "-W", "warning"],
    "groff": ["groff", "-man", "-ww", "-Tutf8", "-z"],
    "man": ["man", "--warnings", "-l"],
}


@pytest.mark.parametrize("reader", CHECKED_BY)
def test_readers_of_man_pages_have_nothing_to_say_against_it(page, reader):
    if shutil.which(reader) is None:
        pytest.skip(f"there is no {reader}")
    done = subprocess.run([*CHECKED_BY[reader], page], capture_output=True, text=True, check=False)
    told = [
        line for line in done.stdout.splitlines() if "missing date" not in line
    ]  # it is made anew each time
    assert done.stderr == ""
    assert reader == "man" or told == []


@needs("man")
def test_the_man_page_has_every_command_with_its_options_exit_statuses_and_examples(page):
    environment = {**os.environ, "MANWIDTH": "100", "MAN_KEEP_FORMATTING": "", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(["man", "-l", page], capture_output=True, text=True, check=True, env=environment)
    said, words = done.stdout, " ".join(done.stdout.split())
    assert "gpu-mesh - watches Ollama nodes, names what is wrong" in words
    for name, command in COMMANDS.items():
        assert (f"\nGPU-MESH {name.upper()}\n" in said) is (command.group is not None), name
    for each in every(grammar.read()):
        for option in each.options:
            assert all(name in said for name in option.names)
    assert "gpu-mesh silence add (NODE|GROUP ... | --all) --for TIME --reason REASON" in words
    assert "3 one is unknown, nobody watches" in words
    assert "gpu-mesh silence add iceland --for 2h --reason 'driver update' --no-recovery" in said
    assert "\\" not in said
