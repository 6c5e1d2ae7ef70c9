"""The files that are published: their names, their permissions, and whose are taken away."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpu_mesh.publishing import files
from gpu_mesh.publishing.badges import MARK
from gpu_mesh.publishing.files import EVERYBODY, OWN, Readers

BADGE = f"{MARK}\n<svg/>\n"
NAMES = [
    ("gpu1", "gpu1.svg"),
    ("gpu.example.net", "gpu.example.net.svg"),
    ("a_b-C9", "a_b-C9.svg"),
    ("gpu 1", "gpu=201.svg"),
    ("../../etc/passwd", "=2E./../etc/passwd.svg".replace("/", "=2F")),
    (".hidden", "=2Ehidden.svg"),
    ("a=b", "a=3Db.svg"),
    ("mesh", "=6Desh.svg"),
    ("Köln", "K=C3=B6ln.svg"),
    ("", ".svg"),
]


@pytest.mark.parametrize(("key", "name"), NAMES)
def test_a_badge_has_a_safe_name_that_follows_from_the_nodes(key: str, name: str) -> None:
    assert files.badge_name(key) == name


def test_long_names_are_cut_and_stay_different() -> None:
    one, other = files.badge_name("x" * 999 + "1"), files.badge_name("x" * 999 + "2")
    assert one != other
    assert len(one) <= 255


def modes(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): oct(stat.S_IMODE(path.stat().st_mode))
        for path in (folder, *folder.rglob("*"))
    }


@pytest.fixture(params=[0o022, 0o077, 0o000])
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


@pytest.mark.usefixtures("umask")
@pytest.mark.parametrize(("readers", "folder", "file"), [(OWN, 0o750, 0o640), (EVERYBODY, 0o755, 0o644)])
def test_who_may_read_does_not_depend_on_the_umask(
    tmp_path: Path, readers: Readers, folder: int, file: int
) -> None:
    files.write(tmp_path / "www", {"index.html": "a"}, {"gpu1.svg": BADGE}, readers)
    assert modes(tmp_path / "www") == {
        ".": oct(folder),
        "badge": oct(folder),
        "index.html": oct(file),
        "badge/gpu1.svg": oct(file),
    }


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_the_group_of_the_state_folder_is_handed_down(tmp_path: Path) -> None:
    os.chown(tmp_path, -1, 12345)
    tmp_path.chmod(0o2750)
    files.write(tmp_path / "www", {"index.html": "a"}, {"gpu1.svg": BADGE}, OWN)
    assert {path.stat().st_gid for path in (tmp_path / "www").rglob("*")} == {12345}
    assert oct(stat.S_IMODE((tmp_path / "www").stat().st_mode)) == "0o2750"


def test_a_reader_has_the_old_file_or_the_new_one_never_half_of_one(tmp_path: Path) -> None:
    files.write(tmp_path, {"index.html": "old"}, {}, OWN)
    with (tmp_path / "index.html").open() as before:
        files.write(tmp_path, {"index.html": "new"}, {}, OWN)
        assert before.read() == "old"
    assert (tmp_path / "index.html").read_text() == "new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["badge", "index.html"]


def test_an_unchanged_file_stays_as_it_is_unless_its_permissions_are_wrong(tmp_path: Path) -> None:
    file = tmp_path / "index.html"
    files.write(tmp_path, {"index.html": "same"}, {}, OWN)
    before = file.stat().st_ino
    files.write(tmp_path, {"index.html": "same"}, {}, OWN)
    assert file.stat().st_ino == before
    file.chmod(0o600)
    files.write(tmp_path, {"index.html": "same"}, {}, OWN)
    assert oct(stat.S_IMODE(file.stat().st_mode)) == "0o640"


def test_badges_of_nodes_that_are_gone_go_and_strangers_files_stay(tmp_path: Path) -> None:
    files.write(tmp_path, {"index.html": "a"}, {"gpu1.svg": BADGE, "gpu2.svg": BADGE}, OWN)
    strangers = {"logo.svg": "<svg/>", "robots.txt": "none", "gpu3.png": MARK}
    for name, text in strangers.items():
        (tmp_path / "badge" / name).write_text(text)
    (tmp_path / "CNAME").write_text("status.example.net")
    (tmp_path / "badge/link.svg").symlink_to(tmp_path / "badge/gpu1.svg")
    (tmp_path / "badge/folder.svg").mkdir()
    files.write(tmp_path, {"index.html": "a"}, {"gpu1.svg": BADGE}, OWN)
    found = {path.name for path in (tmp_path / "badge").iterdir()}
    assert found == {"gpu1.svg", "link.svg", "folder.svg", *strangers}
    assert (tmp_path / "CNAME").exists()


def test_what_is_withdrawn_leaves_only_what_is_not_ours(tmp_path: Path) -> None:
    texts = dict.fromkeys(("index.html", "status.json", "feed.xml"), "a")
    files.write(tmp_path / "www", texts, {"gpu1.svg": BADGE, "mesh.svg": BADGE}, OWN)
    (tmp_path / "www/CNAME").write_text("status.example.net")
    files.withdraw(tmp_path / "www")
    assert sorted(path.name for path in (tmp_path / "www").rglob("*")) == ["CNAME", "badge"]
    files.withdraw(tmp_path / "nowhere")


def test_whatever_lies_in_the_place_of_a_file_does_not_stop_it(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("mine")
    www = tmp_path / "www"
    www.mkdir()
    (www / "index.html").symlink_to(elsewhere)
    (www / "status.json").mkdir()
    os.mkfifo(www / "feed.xml")
    (www / ".gpu-mesh.new").symlink_to(elsewhere)
    files.write(www, dict.fromkeys(("index.html", "status.json", "feed.xml"), "ours"), {}, OWN)
    assert {(www / name).read_text() for name in ("index.html", "status.json", "feed.xml")} == {"ours"}
    assert elsewhere.read_text() == "mine"


def test_what_lies_in_the_place_of_the_folder_is_left_and_named(tmp_path: Path) -> None:
    www = tmp_path / "www"
    www.symlink_to(tmp_path / "a disk that is not there")
    with pytest.raises(NotADirectoryError, match="it is no folder: see what put it there") as raised:
        files.write(www, {"index.html": "ours"}, {}, OWN)
    assert raised.value.filename == str(www)
    assert www.is_symlink()


def test_nothing_is_withdrawn_from_a_folder_of_somebody_else(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("my own page")
    files.withdraw(tmp_path)
    assert (tmp_path / "index.html").read_text() == "my own page"


WORDS = "up ready 93%\nup ready 100%\n"


def test_what_haproxy_is_told_is_replaced_and_of_nodes_that_are_gone_taken_away(tmp_path: Path) -> None:
    files.write_agent(tmp_path / "www", {"gpu1": WORDS, "gpu2": WORDS, "gpu2@m:latest": WORDS}, 1000.4, OWN)
    strangers = {"README": "what lies here", "notes": "drain\n"}
    for name, text in strangers.items():
        (tmp_path / "www/agent" / name).write_text(text)
    files.write_agent(tmp_path / "www", {"gpu1": "drain\ndrain\n"}, 2000.0, OWN)
    found = {path.name: path.read_text() for path in (tmp_path / "www/agent").iterdir()}
    assert found == {"gpu1": "drain\ndrain\n", ".until": "2000\n", **strangers}
    assert modes(tmp_path / "www/agent")["gpu1"] == "0o640"
    files.withdraw_agent(tmp_path / "www")
    assert {path.name for path in (tmp_path / "www/agent").iterdir()} == {*strangers}


def test_where_haproxy_was_never_told_anything_there_is_nothing_to_take_away(tmp_path: Path) -> None:
    files.withdraw_agent(tmp_path)
    assert list(tmp_path.iterdir()) == []
