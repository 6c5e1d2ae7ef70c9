"""What a person is told to do when the state cannot be saved: each kind of error has its own next step."""

import errno
import os
from pathlib import Path

import pytest

from gpu_mesh.storage import disk_errors


def step(number: int, path: Path) -> str:
    return disk_errors.next_step(OSError(number, os.strerror(number)), path / "state.json")


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (errno.ENOSPC, "df -h {folder} and df -i {folder}"),
        (errno.EDQUOT, "raise the quota of"),
        (errno.EROFS, "findmnt -T {folder}"),
        (errno.EFBIG, "ulimit -f"),
        (errno.EIO, "dmesg"),
        (errno.ESTALE, "mount it again"),
        (errno.ENOLCK, "put it on a local disk"),
        (errno.EMFILE, "LimitNOFILE="),
        (errno.ENFILE, "fs.file-max"),
        (errno.ENOMEM, "free -m"),
        (errno.EISDIR, "a folder is in the place of a file"),
        (errno.ELOOP, "a link is in the place of a file"),
        (errno.ENOTDIR, "a file is in the place of a folder"),
    ],
)
def test_each_kind_of_error_has_a_next_step_of_its_own(tmp_path: Path, number: int, says: str) -> None:
    assert says.format(folder=tmp_path) in step(number, tmp_path)


def test_where_the_folder_itself_is_missing_the_one_above_it_is_named(tmp_path: Path) -> None:
    assert f"df -h {tmp_path} " in step(errno.ENOSPC, tmp_path / "none" / "deeper")


def test_an_owner_who_may_not_is_not_told_to_become_the_owner(tmp_path: Path) -> None:
    assert disk_errors.as_owner(tmp_path).startswith(f"not even its owner may write there: ls -ld {tmp_path}")


def test_nobody_is_told_to_become_root_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert "of /: sudo gpu-mesh …" in disk_errors.as_owner(Path("/"))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a folder away")
def test_who_is_not_the_owner_is_told_the_owner(tmp_path: Path) -> None:
    os.chown(tmp_path, 12345, 12345)
    assert f"the owner of {tmp_path}: sudo -u '#12345' gpu-mesh …" in disk_errors.as_owner(tmp_path)
