"""Lock files: only their owner may open one, since whoever may read it could take the lock."""

import os
import stat
from pathlib import Path

from gpu_mesh.recovery import node_locks
from gpu_mesh.system import locks


def test_a_lock_is_its_owners_alone_whatever_the_umask(tmp_path: Path) -> None:
    path, before = tmp_path / "state.lock", os.umask(0)
    try:
        with locks.only_one(path) as taken:
            assert taken
        at_work = node_locks.AtWork(tmp_path)
        at_work.begin("desk")
        assert at_work.nodes() == {"desk"}
        at_work.end("desk")
        assert at_work.nodes() == set()
    finally:
        os.umask(before)
    folder = tmp_path / node_locks.FOLDER
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE((folder / "desk").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_two_do_not_hold_one_lock(tmp_path: Path) -> None:
    path = tmp_path / "deliver.lock"
    assert not locks.is_held(path)
    with locks.only_one(path) as first, locks.only_one(path) as second:
        assert (first, second) == (True, False)
        assert locks.is_held(path)
    assert not locks.is_held(path)
