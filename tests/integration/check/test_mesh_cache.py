"""The mesh between ticks: when the sources are read again, and what is in force after a broken edit."""

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from checkout import PROGRAMS
from gpu_mesh.inventory import cache
from gpu_mesh.inventory.mistakes import InventoryError
from gpu_mesh.system.paths import Paths
from marks import soak

NOW = 1_700_000_000.0
GOOD = "[mesh_nodes]\niceland\n"
SCRIPT = """#!/bin/sh
echo '{"mesh_nodes": {"hosts": ["iceland"]}, "_meta": {"hostvars": {}}}'
"""
LOOKUP = """
mesh_nodes:
  hosts:
    iceland:
      mesh_node_name: "{{ lookup('env', 'HOME') }}"
"""
BROKEN = "[mesh_nodes]\niceland mesh_node_timeout=soon\n"


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("ANSIBLE_CONFIG", raising=False)
    for folder in ("inventory", "state", "elsewhere"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    (tmp_path / "inventory/mesh.ini").write_text(GOOD, encoding="utf-8")
    return Paths((str(tmp_path / "inventory/mesh.ini"),), tmp_path, tmp_path / "state", tmp_path / "log")


def source_of(paths: Paths) -> Path:
    return Path(paths.inventory[0])


def cache_of(paths: Paths) -> Path:
    (file,) = (paths.cache).glob("mesh-*.json")
    return file


def test_the_sources_are_read_once_while_nothing_changes(paths: Paths) -> None:
    first = cache.load(paths, None, NOW)
    assert first.fresh
    later = cache.load(paths, None, NOW + 86400)
    assert not later.fresh
    assert later.mesh == first.mesh


def write(name: str, text: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")

    return change


def replaced_with_old_times(folder: Path) -> None:
    """As a backup that is put back: another file, of the same size and the same time."""
    old = (folder / "mesh.ini").stat()
    new = folder.parent / "new"
    new.write_text(GOOD.replace("iceland", "greenla"), encoding="utf-8")
    os.utime(new, ns=(old.st_atime_ns, old.st_mtime_ns))
    new.replace(folder / "mesh.ini")


# In this order each one counts: of two files of settings, the nearer one makes the other meaningless.
CHANGES = {
    "replaced": replaced_with_old_times,
    "edit": write("mesh.ini", GOOD + "norway\n"),
    "group_vars": write("group_vars/all.yml", "mesh_node_timeout: 4\n"),
    "host_vars": write("host_vars/iceland.yml", "mesh_node_timeout: 4\n"),
    "own ansible.cfg": write("../.ansible.cfg", "[defaults]\n"),
    "nearer ansible.cfg": write("../elsewhere/ansible.cfg", "[defaults]\n"),
}


@pytest.mark.parametrize("as_folder", [pytest.param(False, id="file"), soak(True, name="folder")])
def test_each_change_that_could_matter_is_read(as_folder: bool, paths: Paths) -> None:
    folder = paths.config / "inventory"
    if as_folder:
        paths = Paths((str(folder),), paths.config, paths.state, paths.log)
    cache.load(paths, None, NOW)
    for name, change in CHANGES.items():
        change(folder)
        assert cache.load(paths, None, NOW + 30).fresh, name
        assert not cache.load(paths, None, NOW + 60).fresh, name


@pytest.mark.parametrize(
    "name",
    ["other.ini", soak("group_vars/all.yml"), soak("group_vars/mesh_nodes/more.yml")],
)
def test_files_that_come_change_and_go_in_a_folder_are_noticed(name: str, paths: Paths) -> None:
    folder = source_of(paths).parent
    paths = Paths((str(folder),), paths.config, paths.state, paths.log)
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    cache.load(paths, None, NOW)
    text = "[mesh_nodes]\nnorway\n" if name.endswith("ini") else "mesh_node_timeout: 4\n"
    for content in (text, text + "# more\n", None):
        if content is None:
            (folder / name).unlink()
        else:
            (folder / name).write_text(content, encoding="utf-8")
        assert cache.load(paths, None, NOW).fresh
        assert not cache.load(paths, None, NOW).fresh


def test_a_new_vault_password_is_noticed(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    password = paths.config / "password"
    password.write_text("correct horse\n", encoding="utf-8")
    monkeypatch.setenv("ANSIBLE_VAULT_PASSWORD_FILE", str(password))
    cache.load(paths, None, NOW)
    password.write_text("battery staple\n", encoding="utf-8")
    assert cache.load(paths, None, NOW).fresh
    assert b"battery" not in cache_of(paths).read_bytes()


def test_an_ansible_cfg_that_ansible_refuses_is_told_and_its_mending_noticed(paths: Paths) -> None:
    good = cache.load(paths, None, NOW).mesh
    write("../elsewhere/ansible.cfg", "no section\n")(source_of(paths).parent)
    broken = cache.load(paths, None, NOW)
    assert broken.mesh == good
    assert f"Error reading config file ({Path.cwd() / 'ansible.cfg'})" in broken.error
    assert "no section\n" not in broken.error
    write("../elsewhere/ansible.cfg", "[defaults]\n")(source_of(paths).parent)
    assert cache.load(paths, None, NOW).error == ""


def test_another_monitor_or_source_is_another_question(paths: Paths) -> None:
    source_of(paths).write_text(GOOD + "[mesh_monitors]\na\nb\n", encoding="utf-8")
    assert cache.load(paths, "a", NOW).mesh.monitor == "a"
    assert cache.load(paths, "b", NOW).mesh.monitor == "b"


def test_a_broken_edit_keeps_the_last_good_mesh_until_it_is_mended(paths: Paths) -> None:
    good = cache.load(paths, None, NOW).mesh
    source_of(paths).write_text(BROKEN, encoding="utf-8")
    told = f"{source_of(paths)}:2: iceland: "
    told += "mesh_node_timeout must be a number of seconds above 0 and up to 300, not 'soon'"
    broken = cache.load(paths, None, NOW + 30)
    assert broken == cache.Loaded(good, told, fresh=True)
    assert cache.load(paths, None, NOW + 60) == cache.Loaded(good, told, fresh=False)
    source_of(paths).write_text(GOOD + "norway\n", encoding="utf-8")
    mended = cache.load(paths, None, NOW + 90)
    assert (mended.error, len(mended.mesh.nodes)) == ("", 2)


def test_an_inventory_that_vanishes_leaves_the_last_good_mesh(paths: Paths) -> None:
    good = cache.load(paths, None, NOW).mesh
    source_of(paths).unlink()
    gone = cache.load(paths, None, NOW + 30)
    assert gone.mesh == good
    assert "there is no such inventory" in gone.error


def test_without_any_good_mesh_all_mistakes_are_raised_and_read_once(paths: Paths) -> None:
    source_of(paths).write_text(BROKEN, encoding="utf-8")
    with pytest.raises(InventoryError, match="mesh_node_timeout"):
        cache.load(paths, None, NOW)
    written = cache_of(paths).stat().st_mtime_ns
    with pytest.raises(InventoryError, match="mesh_node_timeout"):
        cache.load(paths, None, NOW + 30)
    assert cache_of(paths).stat().st_mtime_ns == written


def test_another_inventorys_last_good_mesh_is_not_used(paths: Paths) -> None:
    cache.load(paths, None, NOW)
    other = paths.config / "other.ini"
    other.write_text(BROKEN, encoding="utf-8")
    with pytest.raises(InventoryError):
        cache.load(Paths((str(other),), paths.config, paths.state, paths.log), None, NOW)


def asked_with(paths: Paths, *sources: str) -> Paths:
    return Paths(sources, paths.config, paths.state, paths.log)


def test_a_command_on_another_inventory_leaves_the_last_good_mesh_alone(paths: Paths) -> None:
    good = cache.load(paths, None, NOW).mesh
    source_of(paths).write_text(BROKEN, encoding="utf-8")
    for other in (
        asked_with(paths, str(paths.config / "no")),
        asked_with(paths, *paths.inventory, "norway,"),
    ):
        with pytest.raises(InventoryError):
            cache.load(other, None, NOW)
    with pytest.raises(InventoryError):
        cache.load(paths, "nobody", NOW)
    assert cache.load(paths, None, NOW).mesh == good


def test_another_spelling_of_the_same_path_is_the_same_question(paths: Paths) -> None:
    good = cache.load(paths, None, NOW).mesh
    source_of(paths).write_text(BROKEN, encoding="utf-8")
    for spelling in ("{}/inventory/./mesh.ini", "../inventory//mesh.ini", "{}/state/../inventory/mesh.ini"):
        spelt = asked_with(paths, spelling.format(paths.config))
        assert cache.load(spelt, None, NOW).mesh == good, spelling
        assert len(list((paths.cache).iterdir())) == 1, spelling


def test_a_link_that_a_deployment_swaps_stays_the_same_question(paths: Paths) -> None:
    (paths.config / "broken.ini").write_text(BROKEN, encoding="utf-8")
    link = paths.config / "current.ini"
    link.symlink_to(source_of(paths))
    linked = asked_with(paths, str(link))
    good = cache.load(linked, None, NOW).mesh
    link.unlink()
    link.symlink_to(paths.config / "broken.ini")
    assert cache.load(linked, None, NOW).mesh == good


def test_caches_that_nobody_asked_for_in_a_week_are_removed(paths: Paths) -> None:
    folder = paths.cache
    folder.mkdir()
    service, by_hand = folder / "mesh-aaaaaaaa.json", folder / "mesh-bbbbbbbb.json"
    kept = folder / "state.json"
    for file, days in ((service, 6), (by_hand, 8), (kept, 400)):
        file.write_bytes(b"{}")
        os.utime(file, (NOW - days * 86400, NOW - days * 86400))
    cache.load(paths, None, NOW)
    assert service.exists()
    assert kept.exists()
    assert not by_hand.exists()


def test_a_cache_in_use_grows_no_older_than_a_day(paths: Paths) -> None:
    cache.load(paths, None, NOW)
    file = cache_of(paths)
    os.utime(file, (NOW, NOW))
    for seconds, since in ((3600, 0), (90_000, 90_000)):
        assert not cache.load(paths, None, NOW + seconds).fresh
        assert file.stat().st_mtime == NOW + since


@pytest.mark.parametrize(
    ("name", "text", "mode"),
    [
        pytest.param("mesh.sh", SCRIPT, 0o755, id="script"),
        pytest.param("mesh.yml", LOOKUP, 0o644, id="lookup"),
        soak("mesh.yml", LOOKUP.replace("lookup(", "lookup ("), 0o644, name="lookup with a space"),
    ],
)
def test_what_changes_unseen_is_read_again_after_a_time(
    name: str, text: str, mode: int, paths: Paths
) -> None:
    source = paths.config / name
    source.write_text(text, encoding="utf-8")
    source.chmod(mode)
    paths = Paths((str(source),), paths.config, paths.state, paths.log)
    cache.load(paths, None, NOW)
    assert not cache.load(paths, None, NOW + 299).fresh
    assert cache.load(paths, None, NOW + 300).fresh
    assert cache.load(paths, None, NOW).fresh, "a clock that was set back must not hold it for ever"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a file away")
def test_a_cache_that_somebody_else_put_there_is_not_trusted(paths: Paths) -> None:
    mesh = cache.load(paths, None, NOW).mesh
    planted = cache_of(paths).read_bytes().replace(b"iceland", b"somehow")
    cache_of(paths).write_bytes(planted)
    assert cache.load(paths, None, NOW).mesh != mesh, "the test's own way of planting works"
    os.chown(cache_of(paths), 12345, 12345)
    loaded = cache.load(paths, None, NOW)
    assert (loaded.fresh, loaded.mesh) == (True, mesh)
    assert not cache.load(paths, None, NOW).fresh, "and it is replaced by one of our own"


def test_a_spoilt_cache_is_read_over(paths: Paths) -> None:
    cache.load(paths, None, NOW)
    for content in (b"", b"{", b'{"mesh": 1}'):
        cache_of(paths).write_bytes(content)
        assert cache.load(paths, None, NOW).fresh, content
        assert not cache.load(paths, None, NOW).fresh, content


def test_a_pipe_in_the_place_of_the_cache_is_read_over(paths: Paths) -> None:
    cache.load(paths, None, NOW)
    place = cache_of(paths)
    place.unlink()
    os.mkfifo(place)
    assert cache.load(paths, None, NOW).fresh
    assert not cache.load(paths, None, NOW).fresh


def test_a_cache_with_more_bytes_than_any_of_ours_is_not_read(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.load(paths, None, NOW)
    assert not cache.load(paths, None, NOW).fresh
    monkeypatch.setattr(cache, "LARGEST", cache_of(paths).stat().st_size - 1)
    assert cache.load(paths, None, NOW).fresh


def test_the_cache_is_for_its_owner_alone(paths: Paths) -> None:
    cache.load(paths, None, NOW)
    assert stat.S_IMODE(cache_of(paths).stat().st_mode) == 0o600
    assert stat.S_IMODE(cache_of(paths).parent.stat().st_mode) == 0o700
    assert list(cache_of(paths).parent.iterdir()) == [cache_of(paths)]


def test_where_the_cache_cannot_be_written_the_mesh_is_read_all_the_same(paths: Paths) -> None:
    nowhere = Paths(paths.inventory, paths.config, source_of(paths), paths.log)  # a file is no folder
    assert cache.load(nowhere, None, NOW).fresh
    assert cache.load(nowhere, None, NOW).fresh


def test_a_tick_whose_inventory_is_unchanged_loads_neither_ansible_nor_yaml(paths: Paths) -> None:
    cache.load(paths, None, NOW)
    words = [PROGRAMS / "load_cached_mesh.py", paths.inventory[0], paths.config, str(NOW)]
    done = subprocess.run([sys.executable, *words], check=True, capture_output=True, text=True)
    assert done.stdout.split() == []
