"""Where configuration, state and log are: who wins, for root and for everybody else."""

from pathlib import Path

import pytest

from gpu_mesh.system import paths
from gpu_mesh.system.paths import Paths, find

FILE = """\
# written by the role
; and so is this
GPU_MESH_INVENTORY=/file/inventory
GPU_MESH_STATE_DIR="/file/state"
GPU_MESH_LOG_DIR='/file/log'
not a setting
"""


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home without a monitor, on a machine without one."""
    monkeypatch.setattr(paths, "SYSTEM_CONFIG", tmp_path / "etc")
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def settled(home: Path, *options: str, state_dir: str = "", as_root: bool = False, **environ: str) -> Paths:
    return find({"HOME": str(home), **environ}, options, state_dir, as_root=as_root)


def configured(folder: Path, text: str = FILE) -> Path:
    folder.mkdir(parents=True)
    (folder / "environment").write_text(text)
    return folder


def test_without_anything_a_users_folders_are_below_the_home(home):
    found = settled(home)
    assert found.config == home / ".config/gpu-mesh"
    assert found.inventory == (f"{home}/.config/gpu-mesh/inventory",)
    assert found.state_file == home / ".local/state/gpu-mesh/state.json"
    assert found.log_file == home / ".local/state/gpu-mesh/log/gpu-mesh.log"
    assert found.recover_wanted == home / ".local/state/gpu-mesh/recover.wanted"
    assert found.deliver_wanted == home / ".local/state/gpu-mesh/deliver.wanted"


def test_a_user_who_moved_the_xdg_folders_is_followed(home):
    found = settled(home, XDG_CONFIG_HOME="/x/config", XDG_STATE_HOME="/x/state")
    assert (found.config, found.state) == (Path("/x/config/gpu-mesh"), Path("/x/state/gpu-mesh"))


def test_without_anything_roots_folders_are_the_systems(home):
    found = settled(home, as_root=True)
    assert found.config == paths.SYSTEM_CONFIG
    assert found.inventory == (f"{paths.SYSTEM_CONFIG}/inventory",)
    assert (found.state, found.log) == (Path("/var/lib/gpu-mesh"), Path("/var/log/gpu-mesh"))


def test_a_user_without_a_monitor_of_their_own_is_shown_the_systems(home):
    configured(paths.SYSTEM_CONFIG)
    assert settled(home).state == Path("/file/state")
    (home / ".config/gpu-mesh").mkdir(parents=True)
    assert settled(home).state == home / ".local/state/gpu-mesh"


def test_the_environment_file_wins_over_the_defaults(home):
    configured(home / ".config/gpu-mesh")
    found = settled(home)
    assert found.inventory == ("/file/inventory",)
    assert (found.state, found.log) == (Path("/file/state"), Path("/file/log"))


def test_the_environment_wins_over_its_file(home):
    configured(home / ".config/gpu-mesh")
    found = settled(
        home, GPU_MESH_STATE_DIR="/env/state", GPU_MESH_LOG_DIR="/env/log", GPU_MESH_INVENTORY="/env/a:/env/b"
    )
    assert found.inventory == ("/env/a", "/env/b")
    assert (found.state, found.log) == (Path("/env/state"), Path("/env/log"))


def test_an_option_wins_over_the_environment_and_takes_the_log_along(home):
    found = settled(
        home, "one", "two", state_dir="/here", GPU_MESH_STATE_DIR="/env", GPU_MESH_LOG_DIR="/env/log"
    )
    assert found.inventory == ("one", "two")
    assert (found.state, found.log) == (Path("/here"), Path("/here/log"))


def test_a_state_folder_given_as_an_option_is_meant_from_the_working_directory(home, monkeypatch):
    monkeypatch.chdir(home)
    assert settled(home, state_dir="state").state == home / "state"


@pytest.mark.parametrize("name", ["XDG_CONFIG_HOME", "XDG_STATE_HOME"])
def test_a_relative_folder_of_the_environment_is_ignored(home, name):
    assert settled(home, **{name: "relative"}) == settled(home)


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("value", ["", "relative", "."])
def test_without_a_usable_home_the_folders_are_below_the_root(value):
    found = find({"HOME": value}, as_root=False)
    assert found.state == Path("/.local/state/gpu-mesh")
    assert find({}, as_root=False) == found


def test_an_empty_variable_settles_nothing(home):
    found = settled(home, GPU_MESH_STATE_DIR="", GPU_MESH_LOG_DIR="", GPU_MESH_CONFIG_DIR="")
    assert found == settled(home)


def test_an_environment_file_that_may_not_be_read_counts_as_none(home):
    (home / ".config/gpu-mesh/environment").mkdir(parents=True)
    assert settled(home).state == home / ".local/state/gpu-mesh"


def test_an_environment_file_in_no_known_encoding_counts_as_none(home):
    configured(home / ".config/gpu-mesh")
    (home / ".config/gpu-mesh/environment").write_bytes(b"\xff\xfe=\x00")
    assert settled(home).state == home / ".local/state/gpu-mesh"


def test_a_configuration_folder_of_ones_own_brings_its_environment_file_along(home, tmp_path):
    folder = configured(tmp_path / "own")
    assert settled(home, GPU_MESH_CONFIG_DIR=str(folder)).state == Path("/file/state")


@pytest.mark.parametrize("as_root", [True, False])
def test_another_process_settles_the_same_folders_from_the_environment(home, as_root):
    first = settled(home, "inventory.yml", state_dir="/here", as_root=as_root)
    assert settled(home, "inventory.yml", as_root=as_root, **first.environment()) == first


def test_what_must_work_while_the_disk_is_full_is_in_the_runtime_folder_where_there_is_one(home):
    assert settled(home).runtime == settled(home).state
    found = settled(home, GPU_MESH_RUNTIME_DIR="/run/gpu-mesh")
    assert found.runtime == Path("/run/gpu-mesh")
    assert found.deliver_wanted == Path("/run/gpu-mesh/deliver.wanted")
    assert found.recover_wanted == Path("/run/gpu-mesh/recover.wanted")


def test_each_command_that_holds_a_secret_has_a_cache_of_its_own_where_a_folder_is_given(home):
    found = settled(home, GPU_MESH_DELIVER_DIR="/own/deliver", GPU_MESH_RECOVER_DIR="/own/recover")
    assert found.cache == found.state / "cache"
    assert found.of_delivery().cache == Path("/own/deliver/cache")
    assert found.of_recovery().cache == Path("/own/recover/cache")
    assert settled(home).of_recovery().cache == settled(home).state / "cache"


def test_the_page_for_strangers_is_where_a_web_server_can_go_where_such_a_folder_is_given(home):
    found = settled(home, GPU_MESH_PUBLIC_DIR="/srv/page")
    assert (found.www, found.public) == (found.state / "www", Path("/srv/page"))
    assert found.environment()["GPU_MESH_PUBLIC_DIR"] == "/srv/page"
    assert settled(home).public == settled(home).state / "public"


@pytest.mark.parametrize("other", [{"state_dir": "/here"}, {"GPU_MESH_STATE_DIR": "/here"}])
def test_with_another_state_folder_none_of_the_installed_monitors_is_used(home, other):
    text = f"{FILE}GPU_MESH_RUNTIME_DIR=/run/gpu-mesh\nGPU_MESH_DELIVER_DIR=/own/deliver\n"
    text += "GPU_MESH_PUBLIC_DIR=/srv/page\n"
    configured(home / ".config/gpu-mesh", text)
    assert settled(home).runtime == Path("/run/gpu-mesh")
    found = settled(home, **other)
    assert found.runtime == Path("/here")
    assert found.of_delivery().cache == Path("/here/cache")
    assert found.public == Path("/here/public")
