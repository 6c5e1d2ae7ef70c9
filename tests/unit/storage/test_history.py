"""history.db: what is counted is right at each edge, the file stays bounded, and what is wrong is named."""

import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chronicle import Chronicle
from factories import EVERY, NOW, plain
from gpu_mesh.domain.causes import Cause
from gpu_mesh.domain.gpu import Card, GpuFacts, NodeGpu
from gpu_mesh.domain.health import Status, Verdict
from gpu_mesh.domain.history import BOUNDS, Entry, EventKind, GpuSample, Incident, Known, PastEvent, Sample
from gpu_mesh.storage import history, past, retention
from gpu_mesh.storage.history import DamagedError, HistoryError
from gpu_mesh.storage.history_schema import DAY, HOUR
from gpu_mesh.storage.past import Past

MIDNIGHT = NOW // DAY * DAY
NODES = {"a": Status.HEALTHY, "b": Status.HEALTHY}


def add(folder: Path, at: float, *samples: Sample, most: int = 1000, **fields: object) -> None:
    """Write one entry; the nodes a and b are watched."""
    known = Known(at=at, nodes=NODES, lasting=fields.pop("lasting", ()))  # type: ignore[arg-type]
    entry = Entry(known, samples, **fields)  # type: ignore[arg-type]
    history.add(folder, most, lambda _: entry, at)


def sample(at: float, verdict: Verdict = Verdict.OK, ms: float | None = 10, node: str = "a") -> Sample:
    cause = None if verdict is Verdict.OK else Cause.TIMEOUT
    return Sample(node, at, EVERY, verdict, cause, None if verdict is Verdict.FAILED else ms)


def let_pass(folder: Path, at: float) -> None:
    """Write an entry at that time, as if checks had been made all the while."""
    with sqlite3.connect(folder / history.NAME) as database:
        database.execute("UPDATE progress SET value = ? WHERE name = 'passed'", (at - 60,))
    add(folder, at)


@contextmanager
def reading(folder: Path) -> Iterator[Past]:
    with past.opened(folder) as found:
        assert found is not None
        yield found


def rows(folder: Path, query: str) -> list[tuple[object, ...]]:
    """Return what a table has; no view shows single checks or cards yet."""
    with sqlite3.connect(folder / history.NAME) as database:
        return database.execute(query).fetchall()


def checks(folder: Path) -> int:
    return len(rows(folder, "SELECT * FROM sample JOIN node ON node.id = node WHERE key = 'a'"))


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    incident = Incident("a", NOW - 60, None, Cause.TIMEOUT, Status.OFFLINE, "Timeout (10s)", NOW - 30, 2, "")
    over = Incident("b", NOW - 90, NOW - 9, None, Status.DEGRADED, "", None, 0, "restarted")
    event = PastEvent(NOW, EventKind.ALERT, "a", "it hangs")
    about_all = PastEvent(NOW, EventKind.INVENTORY, "", "the history begins")
    card = GpuSample("a", "GPU 0", NOW, 8, 24, 60, 200.5, 90, throttled=True)
    add(
        tmp_path,
        NOW,
        sample(NOW, Verdict.IMPAIRED),
        lasting=(incident,),
        ended=(over,),
        events=(about_all, event),
        gpus=(card,),
    )
    with reading(tmp_path) as found:
        assert found.incidents(NOW - 3600, NOW) == (over, incident)
        assert found.incidents(NOW - 5, NOW) == (incident,)
        assert found.incidents(NOW - 3600, NOW, "b") == (over,)
        assert found.events(0, NOW + 1) == (about_all, event)
        assert found.events(0, NOW + 1, "a") == (event,)
        assert found.events(0, NOW + 1, most=1) == (event,)
        hour = msgspec.structs.replace(card, at=NOW // HOUR * HOUR)
        assert found.gpus(NOW, NOW + 1) == found.gpus(NOW, NOW + 1, "a") == (hour,)
        assert found.gpus(NOW, NOW + 1, "b") == found.gpus(NOW + HOUR, NOW + 2 * HOUR) == ()
    assert rows(tmp_path, "SELECT at, verdict, cause, ms FROM sample") == [(NOW, 1, "timeout", 10)]


def test_the_next_entry_is_told_what_is_known(tmp_path: Path) -> None:
    lasting = (Incident("a", NOW - 60, None, None, Status.DEGRADED, ""),)
    entry = Entry(Known(at=NOW, alert=7, silence=3, nodes=NODES, lasting=lasting))
    seen: list[Known] = []
    for _ in range(2):
        history.add(tmp_path, 1000, lambda known: (seen.append(known), entry)[1], NOW)
    assert seen == [Known(), entry.known]  # nothing has ended lately


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    checks=st.lists(
        st.tuples(st.integers(1, 3 * DAY), st.sampled_from(Verdict), st.integers(0, 9000)), max_size=12
    ),
    begin=st.integers(-2, 80),
    size=st.sampled_from([0, HOUR, DAY]),
)
def test_however_checks_were_folded_each_is_counted_once(
    tmp_path_factory: pytest.TempPathFactory, checks: list[tuple[int, Verdict, int]], begin: int, size: int
) -> None:
    folder, at, made = tmp_path_factory.mktemp("history"), MIDNIGHT, []
    for passed, verdict, ms in checks:
        at += passed
        made.append(sample(at, verdict, ms))
        add(folder, at, made[-1])
    add(folder, at)
    since = MIDNIGHT + begin * HOUR
    counted = [each for each in made if each.at >= since]
    with reading(folder) as found:
        periods = found.periods(since, at + 1, size)
    assert sum(each.watched for each in periods) == EVERY * len(counted)
    assert sum(each.down for each in periods) == EVERY * sum(x.verdict is Verdict.FAILED for x in counted)
    assert sum(each.impaired for each in periods) == EVERY * sum(
        x.verdict is Verdict.IMPAIRED for x in counted
    )
    answered = [each.ms for each in counted if each.ms is not None]
    assert sum(each.answers for each in periods) == len(answered)
    assert sum(each.ms_sum for each in periods) == sum(answered)
    assert max((each.ms_max for each in periods), default=0) == max(answered, default=0)
    classes = [sum(each.histogram[number] for each in periods) for number in range(len(BOUNDS) + 1)]
    assert sum(classes) == len(answered)
    slow = sum(ms >= BOUNDS[-1] for ms in answered)
    assert classes[-1] == slow


def test_as_long_as_each_check_is_kept_a_time_begins_where_it_was_asked_for(tmp_path: Path) -> None:
    begin = NOW // HOUR * HOUR
    for minute in range(0, 90, 10):
        add(tmp_path, begin + 60 * minute, sample(begin + 60 * minute))
    with reading(tmp_path) as found:
        for since, checks in ((0, 9), (1, 8), (35 * 60, 5), (70 * 60 + 1, 1)):
            watched = [each.watched for each in found.periods(begin + since, begin + 2 * HOUR)]
            assert watched == [EVERY * checks], since


def test_a_course_has_one_check_for_many_with_the_mean_time_and_the_worst_verdict(tmp_path: Path) -> None:
    begin = NOW // 600 * 600
    for at, verdict, ms in ((0, Verdict.OK, 10), (30, Verdict.OK, 30), (600, Verdict.FAILED, None)):
        add(tmp_path, begin + at, sample(begin + at, verdict, ms))
    with reading(tmp_path) as found:
        assert found.course(begin, begin + 1000, 600) == {
            "a": (
                Sample("a", begin + 30, 2 * EVERY, Verdict.OK, None, 20),
                Sample("a", begin + 600, EVERY, Verdict.FAILED),
            )
        }


def test_days_are_told_apart_at_midnight_in_utc_and_those_without_checks_are_left_out(tmp_path: Path) -> None:
    add(tmp_path, MIDNIGHT - 30, sample(MIDNIGHT - 30))
    add(tmp_path, MIDNIGHT, sample(MIDNIGHT, Verdict.FAILED))
    add(tmp_path, MIDNIGHT + 3 * DAY, sample(MIDNIGHT + 3 * DAY))
    with reading(tmp_path) as found:
        days = found.periods(MIDNIGHT - 30 * DAY, MIDNIGHT + 4 * DAY, DAY)
    assert [(day.at, day.watched, day.down) for day in days] == [
        (MIDNIGHT - DAY, EVERY, 0),
        (MIDNIGHT, EVERY, EVERY),
        (MIDNIGHT + 3 * DAY, EVERY, 0),
    ]


def test_a_node_alone_is_counted_alone(tmp_path: Path) -> None:
    add(tmp_path, NOW, sample(NOW), sample(NOW, Verdict.FAILED, node="b"))
    with reading(tmp_path) as found:
        assert [each.node for each in found.periods(NOW - DAY, NOW + 1)] == ["a", "b"]
        assert [each.node for each in found.periods(NOW - DAY, NOW + 1, node="b")] == ["b"]
        assert found.periods(NOW - DAY, NOW + 1, node="nobody") == ()


@pytest.mark.parametrize(("table", "seconds"), [(table, kept) for (table, _), kept in retention.KEPT.items()])
def test_each_table_forgets_what_is_older_than_it_is_kept(tmp_path: Path, table: str, seconds: int) -> None:
    incident = Incident("a", NOW, NOW + 9, None, Status.DEGRADED, "")
    add(
        tmp_path,
        NOW,
        sample(NOW),
        ended=(incident,),
        events=(PastEvent(NOW, EventKind.STATUS, "a", "."),),
        gpus=(GpuSample("a", "GPU 0", NOW),),
    )
    add(tmp_path, NOW + DAY, sample(NOW + DAY))

    def rows() -> int:
        with sqlite3.connect(tmp_path / history.NAME) as database:
            column = "began" if table == "incident" else "at"
            count: int = database.execute(
                f"SELECT count(*) FROM {table} WHERE {column} < ?", (NOW + HOUR,)
            ).fetchone()[0]
        return count

    assert rows() == 1
    slack = DAY if table == "day" else HOUR
    let_pass(tmp_path, NOW + seconds - slack)
    kept = rows()
    let_pass(tmp_path, NOW + seconds + slack)
    assert (kept, rows()) == (1, 0)


def test_the_file_never_grows_beyond_its_size_and_keeps_the_newest(tmp_path: Path) -> None:
    for number in range(600):
        at = NOW + number * EVERY
        events = tuple(PastEvent(at, EventKind.STATUS, "a", f"{number} " + "x" * 4000) for _ in range(20))
        add(tmp_path, at, sample(at), events=events, most=10)
    assert (tmp_path / history.NAME).stat().st_size <= 10 * 2**20
    with reading(tmp_path) as found:
        assert found.events(0, 2 * NOW)[-1].words.startswith("599 ")
    assert checks(tmp_path) > 100


@pytest.mark.parametrize("wrong", [0.0, NOW + 12 * 365 * DAY], ids=["1970", "twelve years ahead"])
def test_a_clock_that_is_wrong_for_hours_deletes_nothing_and_counts_nothing(
    tmp_path: Path, wrong: float
) -> None:
    for hour in range(4):
        add(tmp_path, NOW + hour * HOUR, sample(NOW + hour * HOUR))
    for hour in range(4):
        add(tmp_path, wrong + hour * HOUR, sample(wrong + hour * HOUR))
    for hour in range(4, 8):
        add(tmp_path, NOW + hour * HOUR, sample(NOW + hour * HOUR))
    with reading(tmp_path) as found:
        assert [each.watched for each in found.periods(NOW - DAY, NOW + 9 * HOUR)] == [8 * EVERY]
        assert len(found.course(NOW, NOW + 9 * HOUR, HOUR)["a"]) == 8


def test_a_check_that_ends_in_the_next_hour_is_counted(tmp_path: Path) -> None:
    full = NOW // HOUR * HOUR
    for at in (-70, -40, -10, 20, 700, 4300):
        add(tmp_path, full + at + 15, sample(full + at))  # written 15 s after it began
    with reading(tmp_path) as found:
        hours = found.periods(full - HOUR, full + 2 * HOUR, HOUR)
        assert [each.watched for each in hours] == [3 * EVERY, 2 * EVERY, EVERY]
        assert [each.watched for each in found.periods(full - HOUR, full + 2 * HOUR)] == [6 * EVERY]


def test_two_checks_in_one_second_count_for_the_time_of_both(tmp_path: Path) -> None:
    add(tmp_path, NOW, sample(NOW, Verdict.FAILED))
    add(tmp_path, NOW + 0.4, sample(NOW + 0.4))
    with reading(tmp_path) as found:
        (period,) = found.periods(NOW - HOUR, NOW + 1)
        assert (period.watched, period.down) == (2 * EVERY, 2 * EVERY)


def test_a_size_that_is_lowered_is_kept_to_in_small_steps_and_loses_no_check(tmp_path: Path) -> None:
    at = NOW
    for _ in range(60):
        at += EVERY
        events = tuple(PastEvent(at, EventKind.STATUS, "a", "x" * 1000) for _ in range(500))
        add(tmp_path, at, sample(at), events=events, most=100)
    assert (tmp_path / history.NAME).stat().st_size > 20 * 2**20
    for _ in range(200):
        at += EVERY
        add(tmp_path, at, sample(at), most=10)
    assert (tmp_path / history.NAME).stat().st_size <= 10 * 2**20
    assert checks(tmp_path) == 260


@pytest.mark.parametrize("name", [history.NAME, f"{history.NAME}-journal"])
def test_a_pipe_in_its_place_holds_nobody_up(tmp_path: Path, name: str) -> None:
    add(tmp_path, NOW)
    (tmp_path / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / name)
    with pytest.raises(HistoryError, match="no file"), past.opened(tmp_path):
        pass
    add(tmp_path, NOW + 30, sample(NOW + 30))
    assert len(list(tmp_path.glob(f"{name}.aside-*"))) == 1


def test_whatever_size_a_host_tells_is_kept(tmp_path: Path) -> None:
    told = Chronicle(tmp_path, plain("a"))
    told.goes(a=".")
    card = Card(index=0, used=10**21, total=10**21)
    told.change("a", gpu=NodeGpu(GpuFacts(at=told.now - 5, cards=(card,))))
    told.goes(a=".")
    assert rows(tmp_path, "SELECT used FROM gpu") == [(2**62,)]


def test_others_may_not_read_it(tmp_path: Path) -> None:
    add(tmp_path, NOW)
    assert stat.S_IMODE((tmp_path / history.NAME).stat().st_mode) == 0o640


def test_a_folder_without_history_has_no_past(tmp_path: Path) -> None:
    with past.opened(tmp_path) as found:
        assert found is None


# What may be wrong.


def read_all(found: Past | None) -> None:
    assert found is not None
    found.periods(0, NOW)


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[2000:-100] = b"\xff" * (len(data) - 2100)
    path.write_bytes(data)


@pytest.mark.parametrize("how", [damage, lambda path: path.write_bytes(b"no database, but long enough" * 99)])
def test_a_damaged_file_is_set_aside_and_the_next_entry_begins_a_new_one(tmp_path: Path, how: object) -> None:
    told = Chronicle(tmp_path, plain("a"))
    told.goes(a=".....")
    how(tmp_path / history.NAME)  # type: ignore[operator]
    with pytest.raises(HistoryError, match="the next check"), past.opened(tmp_path) as found:
        read_all(found)
    with pytest.raises(DamagedError, match=r"history\.damaged-"):
        told.goes(a=".")
    told.now += EVERY
    told.goes(a=".")
    assert len(list(tmp_path.glob("history.damaged-*.db"))) == 1
    assert checks(tmp_path) == 1


def test_a_file_of_a_newer_version_is_left_as_it_is(tmp_path: Path) -> None:
    add(tmp_path, NOW)
    path = tmp_path / history.NAME
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 99")
    before = path.read_bytes()
    with pytest.raises(HistoryError, match=r"newer gpu-mesh \(schema 99"):
        add(tmp_path, NOW + 30)
    with pytest.raises(HistoryError, match=r"newer gpu-mesh \(schema 99"), past.opened(tmp_path):
        pass
    assert path.read_bytes() == before


def test_a_file_that_another_process_keeps_locked_is_said_to_be(tmp_path: Path) -> None:
    add(tmp_path, NOW)
    holder = sqlite3.connect(tmp_path / history.NAME, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(HistoryError, match="is locked by another process; see which one"):
        add(tmp_path, NOW + 30)
    holder.execute("ROLLBACK")
    add(tmp_path, NOW + 60)


def test_an_empty_file_is_made_a_history(tmp_path: Path) -> None:
    (tmp_path / history.NAME).touch()
    add(tmp_path, NOW, sample(NOW))
    assert checks(tmp_path) == 1


def test_what_is_no_file_is_set_aside(tmp_path: Path) -> None:
    (tmp_path / history.NAME).mkdir()
    add(tmp_path, NOW, sample(NOW))
    assert len(list(tmp_path.glob("history.db.aside-*"))) == 1


def test_an_entry_that_cannot_be_made_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    add(tmp_path, NOW, sample(NOW))

    def broken(_known: Known) -> Entry:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        history.add(tmp_path, 1000, broken, NOW + 30)
    add(tmp_path, NOW + 60, sample(NOW + 60))
    assert checks(tmp_path) == 2


def test_what_only_a_newer_version_has_a_name_for_is_passed_over(tmp_path: Path) -> None:
    incident = Incident("a", NOW - 60, NOW, Cause.TIMEOUT, Status.OFFLINE, "Timeout (10s)")
    events = tuple(PastEvent(NOW, EventKind.REPAIR, "a", words) for words in ("restarted", "exorcised"))
    add(tmp_path, NOW, ended=(incident,), events=events)
    with sqlite3.connect(tmp_path / history.NAME) as database:
        database.execute("UPDATE incident SET cause = 'gremlins'")
        database.execute("UPDATE event SET kind = 'exorcism' WHERE words = 'exorcised'")
    with reading(tmp_path) as found:
        assert [each.cause for each in found.incidents(NOW - 90, NOW)] == [None]
        assert found.events(0, NOW + 1, most=1) == events[:1]
