"""The programs that the roles run: what is packed, how the new replaces the old, whose keys log in."""

import grp
import json
import os
import re
import stat
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from checkout import ROOT
from gpu_mesh import __version__

FILES = ROOT / "roles/mesh_monitor/files"


def run(program: str, *arguments: str | Path, home: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, FILES / program, *arguments],
        env={"HOME": str(home), "TMPDIR": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )


def swap(program: Path | str, inventory: Path | str, home: Path) -> None:
    done = run("swap.py", program, inventory, home=home)
    assert (done.returncode, done.stderr) == (0, "")


NEEDED = [
    (name.replace("-", "_"), version)
    for name, version in re.findall(
        r"^([\w.-]+)==(\S+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE
    )
]


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    """A folder with a file for each wheel that is needed, two of one, and one that is not."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    for name, version in [*NEEDED, ("left_pad", "1.3.0"), ("gpu_mesh", "7.0")]:
        (folder / f"{name}-{version}-py3-none-any.whl").touch()
    name, version = NEEDED[0]
    (folder / f"{name}-{version}-cp311-abi3-manylinux_2_28_aarch64.whl").touch()
    return folder


def pack(wheels: Path | str, version: str, home: Path) -> tarfile.TarFile:
    done = run("pack.py", ROOT, wheels, version, home=home)
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    assert told["version"] == __version__
    return tarfile.open(told["archive"])


def test_a_package_holds_the_constraints_the_wheels_that_are_needed_and_the_sources(
    wheels: Path, tmp_path: Path
) -> None:
    with pack(wheels, "", tmp_path) as package:
        packed = set(package.getnames())
        unneeded = {"left_pad-1.3.0-py3-none-any.whl", "gpu_mesh-7.0-py3-none-any.whl"}
        there = {wheel.name for wheel in wheels.iterdir()} - unneeded
        assert packed == {"constraints.txt", f"gpu_mesh-{__version__}.tar"} | there
        with tarfile.open(fileobj=package.extractfile(f"gpu_mesh-{__version__}.tar")) as sources:
            names = [name.removeprefix(f"gpu_mesh-{__version__}/") for name in sources.getnames()]
    ours = {path for folder in ("checker", "playbooks/recovery") for path in (ROOT / folder).rglob("*")}
    ours = {path.relative_to(ROOT) for path in ours if path.is_file() and path.parent.name != "__pycache__"}
    assert {*map(Path, names)} == ours | {Path("pyproject.toml"), Path("README.md"), Path("LICENSE")}


def test_of_a_version_that_is_named_the_folders_wheel_is_packed_and_the_checkout_is_not(
    wheels: Path, tmp_path: Path
) -> None:
    with pack(wheels, "7.0", tmp_path) as package:
        assert [name for name in package.getnames() if "gpu_mesh" in name] == [
            "gpu_mesh-7.0-py3-none-any.whl"
        ]


def test_without_a_folder_the_index_is_left_what_it_has(tmp_path: Path) -> None:
    with pack("", "", tmp_path) as package:
        assert package.getnames() == ["constraints.txt", f"gpu_mesh-{__version__}.tar"]
    with pack("", "7.0", tmp_path) as package:
        assert package.getnames() == ["constraints.txt"]


@pytest.mark.parametrize("version", ["", "8.1"])
def test_a_folder_that_lacks_a_wheel_is_refused(wheels: Path, tmp_path: Path, version: str) -> None:
    name, release = NEEDED[-1]
    (wheels / f"{name}-{release}-py3-none-any.whl").rename(wheels / f"{name}-0.0.1-py3-none-any.whl")
    done = run("pack.py", ROOT, wheels, version, home=tmp_path)
    assert done.returncode == 1
    missing = f"{name} {release}, gpu-mesh 8.1" if version else f"{name} {release}"
    assert f"{wheels} holds no wheel of {missing}; docs/provisioning.md says how" in done.stderr
    assert "Without a package index" in (ROOT / "docs/provisioning.md").read_text()
    assert list(tmp_path.iterdir()) == [wheels]


def test_a_package_has_a_folder_of_its_own_and_the_same_name_as_long_as_its_parts_are_the_same(
    wheels: Path, tmp_path: Path
) -> None:
    packages = []
    for content in ("one", "one", "two"):
        name, version = NEEDED[1]
        (wheels / f"{name}-{version}-py3-none-any.whl").write_text(content)
        with pack(wheels, "", tmp_path) as package:
            packages.append(Path(package.name))
    first, again, other = packages
    assert first.name == again.name != other.name
    assert first.read_bytes() == again.read_bytes() != other.read_bytes()
    assert {path.parent for path in packages} == {*tmp_path.iterdir()} - {wheels}
    assert len({path.parent for path in packages}) == 3


def test_only_a_state_that_the_program_cannot_read_is_set_aside(tmp_path: Path) -> None:
    state, previous = tmp_path / "state.json", tmp_path / "state.previous.json"
    for text in ('{"schema": 1}', "", "[]", '{"schema": "2"}', '{"other": 2}'):
        state.write_text(text)
        done = run("set_aside.py", tmp_path, "1", home=tmp_path)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    state.write_text('{"schema": 3, "nodes": {}}')
    previous.write_text('{"schema": 1}')
    aside = Path(run("set_aside.py", tmp_path, "2", home=tmp_path).stdout.strip())
    assert re.fullmatch(r"state\.schema-3-\d+\.json", aside.name)
    assert aside.read_text() == '{"schema": 3, "nodes": {}}'
    assert {*tmp_path.iterdir()} == {aside, previous}
    previous.write_text('{"schema": 3}')
    aside_too = Path(run("set_aside.py", tmp_path, "2", home=tmp_path).stdout.strip())
    assert re.fullmatch(r"state\.previous\.schema-3-\d+\.json", aside_too.name)
    assert {*tmp_path.iterdir()} == {aside, aside_too}


def _environment(folder: Path, name: str) -> Path:
    made = folder / name
    made.mkdir()
    (made / "whose").write_text(name)
    return made


def test_a_new_program_takes_the_place_of_the_old_one_which_stays(tmp_path: Path) -> None:
    for name in ("venv.a", "venv.b", "venv.a"):
        new = tmp_path / name
        swap(new if new.exists() else _environment(tmp_path, name), "", tmp_path)
        assert (tmp_path / "venv/whose").read_text() == name
    assert {path.name for path in tmp_path.iterdir()} == {"venv", "venv.a", "venv.b"}
    assert (tmp_path / "venv").readlink() == Path("venv.a")


def test_a_program_that_was_installed_as_a_folder_gives_way_to_a_link(tmp_path: Path) -> None:
    _environment(tmp_path, "venv")
    swap(_environment(tmp_path, "venv.a"), "", tmp_path)
    assert (tmp_path / "venv/whose").read_text() == "venv.a"
    assert {path.name for path in tmp_path.iterdir()} == {"venv", "venv.a"}


def test_a_new_inventory_takes_the_place_of_the_old_one_of_which_one_copy_stays(tmp_path: Path) -> None:
    inventory = tmp_path / "inventory"
    _environment(tmp_path, "inventory")
    for turn in ("first", "second"):
        (_environment(tmp_path, "inventory.new") / "whose").write_text(turn)
        before = (inventory / "whose").read_text()
        swap("", inventory, tmp_path)
        assert (inventory / "whose").read_text() == turn
        assert (tmp_path / "inventory.old/whose").read_text() == before
    assert {path.name for path in tmp_path.iterdir()} == {"inventory", "inventory.old"}


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_what_is_there_already_is_given_to_the_readers_and_nothing_that_is_not_theirs(tmp_path: Path) -> None:
    state, log, readers = tmp_path / "state", tmp_path / "log", grp.getgrnam("users").gr_gid
    foreign = tmp_path / "shadow.json"
    foreign.touch(mode=0o600)
    for folder in (state, log):
        folder.mkdir()
    for path, mode in (
        (state / "state.json", 0o600),
        (state / "state.lock", 0o644),
        (state / "mesh-0a1b2c3d.json", 0o640),
        (state / "logrotate.status", 0o600),
        (log / "gpu-mesh.log", 0o644),
        (log / "gpu-mesh.log-1.gz", 0o640),
    ):
        path.touch(mode=0o600)
        path.chmod(mode)
        os.chown(path, 12345, 12345)
    (state / "cache").mkdir(mode=0o755)
    for folder in (state / "cache", state, log):
        os.chown(folder, 12345, 12345)
    www = (state / "www", state / "www/badge")  # the role has made them for the readers
    for folder in www:
        folder.mkdir()
        os.chown(folder, 12345, readers)
        folder.chmod(0o2750)
    (www[0] / "status.json").touch(mode=0o600)
    os.chown(www[0] / "status.json", 12345, 12345)
    (state / "linked.json").symlink_to(foreign)
    (state / "planted.json").hardlink_to(foreign)

    def seen(path: Path) -> tuple[int, int]:
        return path.stat().st_gid, stat.S_IMODE(path.stat().st_mode)

    done = run("let_readers_look.py", "users", state, log, *www, home=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{state}/mesh-0a1b2c3d.json removed\n" in done.stdout
    assert {path.name: seen(path) for path in (*state.iterdir(), *log.iterdir()) if path.stat().st_uid} == {
        "state.json": (readers, 0o640),
        "state.lock": (12345, 0o600),
        "logrotate.status": (12345, 0o600),
        "cache": (12345, 0o700),
        "www": (readers, 0o2750),
        "gpu-mesh.log": (readers, 0o640),
        "gpu-mesh.log-1.gz": (readers, 0o640),
    }
    assert seen(www[1]) == (readers, 0o2750)
    assert seen(www[0] / "status.json") == (readers, 0o640)
    assert seen(foreign) == (0, 0o600)
    again = run("let_readers_look.py", "users", state, log, *www, home=tmp_path)
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")


KEYS = ROOT / "roles/mesh_node/files/authorized_keys.py"
OTHER = "ssh-ed25519 AAAA bob@laptop"
OURS = "restrict ssh-ed25519 BBBB gpu-mesh@monitor"


def let_in(home: Path, how: str, *lines: str, **user: int) -> tuple[int, str]:
    # As the role does: the program's text, since the user may not read the file, and the host's own Python.
    python = "/usr/bin/python3" if user else sys.executable
    command = [python, "-I", "-c", KEYS.read_text(), home, how, *lines]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20, cwd="/", **user)
    return done.returncode, done.stdout + done.stderr


def test_a_key_is_let_in_once_and_with_its_newest_options_beside_those_of_others(tmp_path: Path) -> None:
    file = tmp_path / ".ssh/authorized_keys"
    assert let_in(tmp_path, "look", OURS) == (0, f"{file} changes\n")
    assert not file.exists()
    assert let_in(tmp_path, "write", OURS) == (0, f"{file} changes\n")
    assert (file.read_text(), stat.S_IMODE(file.stat().st_mode)) == (f"{OURS}\n", 0o600)
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    file.write_text(f"{OURS}\n{OTHER}\n")
    assert let_in(tmp_path, "write", OURS) == (0, "")
    newer = f'from="192.0.2.7",{OURS}'
    assert let_in(tmp_path, "write", newer)[0] == 0
    assert file.read_text() == f"{OTHER}\n{newer}\n"
    assert let_in(tmp_path, "write", "-gpu-mesh@monitor", "-gpu-mesh@another")[0] == 0
    assert file.read_text() == f"{OTHER}\n"
    assert let_in(tmp_path, "write", "-gpu-mesh@monitor") == (0, "")


@pytest.fixture
def somebody() -> Iterator[tuple[Path, dict[str, int]]]:
    """The home of a user who is not root, and how to run a program as that user."""
    user = {"user": 65534, "group": 65534} if os.geteuid() == 0 else {}
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        home.chmod(0o755)  # pytest's own folders are for root alone
        (home / ".ssh").mkdir()
        if user:
            os.chown(home / ".ssh", 65534, 65534)
        yield home, user


def test_a_file_of_keys_that_its_user_may_not_read_holds_none_that_counts(
    somebody: tuple[Path, dict[str, int]],
) -> None:
    home, user = somebody
    target = home / "somebody else's"
    target.write_text(f"{OURS}\n")
    target.chmod(0o000)
    file = home / ".ssh/authorized_keys"
    file.symlink_to(target)
    assert let_in(home, "write", "-gpu-mesh@monitor", **user) == (0, "")
    assert let_in(home, "write", OURS, **user) == (1, f"{file}: Permission denied\n")


def test_a_key_that_counts_and_cannot_be_withdrawn_is_told_of(somebody: tuple[Path, dict[str, int]]) -> None:
    home, user = somebody
    file = home / ".ssh/authorized_keys"
    file.write_text(f"{OURS}\n")
    file.chmod(0o644)
    if user:
        os.chown(file.parent, 0, 0)
    file.parent.chmod(0o555)
    assert let_in(home, "write", "-gpu-mesh@monitor", **user) == (1, f"{file}: Permission denied\n")
    file.parent.chmod(0o755)


def test_a_file_of_keys_that_is_a_link_stays_one_and_a_pipe_holds_nothing_up(tmp_path: Path) -> None:
    file, dotfiles = tmp_path / ".ssh/authorized_keys", tmp_path / "dotfiles"
    file.parent.mkdir()
    dotfiles.write_text(f"{OTHER}\n")
    file.symlink_to(dotfiles)
    assert let_in(tmp_path, "write", OURS)[0] == 0
    assert file.is_symlink()
    assert dotfiles.read_text() == f"{OTHER}\n{OURS}\n"
    file.unlink()
    os.mkfifo(file)
    code, said = let_in(tmp_path, "write", OURS)
    assert (code, said) == (1, f"{file} is no file of keys: look at it, and remove it\n")


WITHIN = re.search(
    r"(?ms)^within\(\) \{$.*?^\}$", (ROOT / "roles/mesh_node/files/gpu-repair.sh").read_text(encoding="utf-8")
)


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_of_a_command_that_does_not_end_in_time_only_that_is_told_and_else_its_status(shell: str) -> None:
    assert WITHIN
    script = f"""{WITHIN[0]}
    within 30 true; echo $?
    within 30 sh -c 'exit 7'; echo $?
    within 1 sleep 100; echo $?
    """
    done = subprocess.run([shell, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["0", "7", "124"]
