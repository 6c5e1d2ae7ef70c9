"""Which of several monitors leads: a table of what each knows, and what it does then."""

import pytest
from msgspec.structs import replace

from gpu_mesh.cluster import leadership
from gpu_mesh.cluster.leadership import Choice, Facts, Step
from gpu_mesh.domain.cluster import Lead, Member, Role, Session, View
from gpu_mesh.domain.state import SCHEMA

NOW = 10_000.0
INTERVAL = 30.0
DESK = Member("desk", schema=SCHEMA, inventory="a", nodes=3)
ATTIC = Member("attic", schema=SCHEMA, inventory="a", nodes=3)
NEWER = replace(DESK, schema=SCHEMA + 1)
LEADING = Session(
    "desk", "boot", term=7, until=NOW + 25, led_since=NOW - 900, leader="desk", tried=NOW, answered=NOW
)
STANDING_BY = replace(LEADING, term=0, leader="attic", living=("attic", "desk"))
DESK_LEADS = View("desk", 7, (DESK, ATTIC), Lead("desk", "a"), has_state=True, schema=SCHEMA)
NOBODY_LEADS = View("", 0, (DESK, ATTIC), Lead("porch", "a"), has_state=True, schema=SCHEMA)


@pytest.mark.parametrize(
    ("session", "later", "role"),
    [
        (None, 0, Role.STANDBY),
        (LEADING, 0, Role.LEADER),
        (LEADING, 26, Role.STANDBY),  # its lease is over
        (
            replace(LEADING, tried=NOW + 44),
            44,
            Role.STANDBY,
        ),  # somebody else may lead soon
        (replace(LEADING, tried=NOW + 46), 46, Role.LEADER_ALONE),
        (replace(LEADING, term=0, tried=NOW + 46), 46, Role.LEADER_ALONE),
        (  # it led before it booted: another one may lead by now
            replace(LEADING, term=0, led_since=0.0, living=("attic", "desk"), tried=NOW + 106),
            106,
            Role.ALONE,
        ),
        (replace(LEADING, tried=NOW + 46), 92, Role.STANDBY),  # the lead timer itself does not run
        (STANDING_BY, 0, Role.STANDBY),
        (replace(STANDING_BY, tried=NOW + 104), 104, Role.STANDBY),  # attic would watch first
        (replace(STANDING_BY, tried=NOW + 106), 106, Role.ALONE),
        (
            replace(STANDING_BY, leader="", tried=NOW + 900),
            900,
            Role.ALONE,
        ),  # nobody has led yet
    ],
)
def test_what_a_monitor_does_follows_from_what_it_last_heard(
    session: Session | None, later: float, role: Role
) -> None:
    assert leadership.role(session, NOW + later, INTERVAL) is role


def facts(me: Member = DESK, checked: float = NOW - 20, **further: object) -> Facts:
    return Facts(me, checked=checked, **further)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("of", "session", "view", "step", "reason"),
    [
        (facts(), LEADING, DESK_LEADS, Step.KEEP, ""),
        (facts(checked=NOW - 76), LEADING, DESK_LEADS, Step.GIVE_UP, "it has finished no check for 76 s"),
        (facts(checked=NOW - 76), replace(LEADING, led_since=NOW - 20), DESK_LEADS, Step.KEEP, ""),
        (facts(replace(DESK, unfit="x")), LEADING, DESK_LEADS, Step.GIVE_UP, "x; attic can lead"),
        (facts(replace(DESK, unfit="x")), LEADING, replace(DESK_LEADS, members=(DESK,)), Step.KEEP, ""),
        (
            facts(replace(DESK, unfit="x")),
            LEADING,
            replace(DESK_LEADS, members=(DESK, replace(ATTIC, unfit="y"))),
            Step.KEEP,
            "",
        ),
        (facts(), STANDING_BY, replace(DESK_LEADS, leader="attic", term=9), Step.STAND_BY, "attic leads"),
        (facts(), replace(LEADING, term=3), DESK_LEADS, Step.STAND_BY, "desk leads"),  # in its life before
        (facts(), STANDING_BY, NOBODY_LEADS, Step.TAKE, ""),
        (facts(replace(DESK, unfit="x")), STANDING_BY, NOBODY_LEADS, Step.STAND_BY, "x"),
        (
            facts(replace(DESK, unfit="x")),
            STANDING_BY,
            replace(NOBODY_LEADS, members=(DESK, replace(ATTIC, unfit="y"))),
            Step.TAKE,
            "",
        ),
        (
            facts(),
            STANDING_BY,
            replace(NOBODY_LEADS, last=Lead("attic", "a")),
            Step.STAND_BY,
            "attic led last, and lives",
        ),
        (
            facts(),
            STANDING_BY,
            replace(NOBODY_LEADS, last=Lead("attic", "a"), members=(DESK, replace(ATTIC, unfit="y"))),
            Step.TAKE,
            "",
        ),
        (
            facts(seed="attic"),
            STANDING_BY,
            View(members=(DESK, ATTIC)),
            Step.STAND_BY,
            "the state of attic is to be the first (mesh_cluster_seed)",
        ),
        (facts(seed="desk"), STANDING_BY, View(members=(DESK, ATTIC)), Step.TAKE, ""),
        (  # nobody else may, whatever speaks against it
            facts(replace(NEWER, unfit="x"), seed="desk"),
            STANDING_BY,
            View(members=(NEWER, ATTIC), last=Lead("attic", "a")),
            Step.TAKE,
            "",
        ),
        (facts(seed="attic"), STANDING_BY, NOBODY_LEADS, Step.TAKE, ""),
        (
            facts(NEWER),
            STANDING_BY,
            replace(NOBODY_LEADS, members=(NEWER, ATTIC)),
            Step.STAND_BY,
            "attic is of an older version, and leads first",
        ),
        (  # who leads with what the older ones read, and is of a newer version since
            facts(NEWER),
            LEADING,
            replace(DESK_LEADS, members=(NEWER, ATTIC), schema=SCHEMA),
            Step.GIVE_UP,
            "attic is still of an older version, and could not go on",
        ),
        (
            facts(NEWER),
            LEADING,
            replace(DESK_LEADS, members=(NEWER, ATTIC), schema=SCHEMA + 1),
            Step.KEEP,
            "",
        ),
        (  # the newer one that led last leaves it to this one
            facts(),
            STANDING_BY,
            replace(
                NOBODY_LEADS,
                members=(DESK, replace(ATTIC, schema=SCHEMA + 1)),
                last=Lead("attic", "a"),
            ),
            Step.TAKE,
            "",
        ),
        (  # not even if it is the only one: it could not read the state
            facts(replace(DESK, unfit="x")),
            STANDING_BY,
            replace(NOBODY_LEADS, members=(DESK,), schema=SCHEMA + 1),
            Step.STAND_BY,
            "x",
        ),
    ],
)
def test_a_monitor_takes_keeps_or_leaves_leading(
    of: Facts, session: Session, view: View, step: Step, reason: str
) -> None:
    assert leadership.choose(of, session, view, NOW, INTERVAL) == Choice(step, reason)


@pytest.mark.parametrize(
    ("of", "session", "view", "reason"),
    [
        (facts(), LEADING, DESK_LEADS, ""),
        (facts(ahead=(0.0, 300.0, 299.0)), LEADING, DESK_LEADS, "its clock is 299 s behind"),
        (facts(ahead=(0.0, -300.0, -299.0)), LEADING, DESK_LEADS, "its clock is 299 s ahead"),
        (facts(ahead=(0.0, 0.4, 299.0)), LEADING, DESK_LEADS, ""),
        (facts(canaries=True), replace(LEADING, heard_canary=NOW - 119), DESK_LEADS, ""),
        (facts(canaries=True), replace(LEADING, heard_canary=NOW - 121), DESK_LEADS, "it reaches no canary"),
        (
            facts(),
            replace(LEADING, yields_until=NOW + 1, yields_for="anna asked it to hand over"),
            DESK_LEADS,
            "anna asked it to hand over",
        ),
        (
            facts(replace(DESK, inventory="b")),
            STANDING_BY,
            NOBODY_LEADS,
            "its inventory says something else than that of porch, which led last",
        ),
        (
            facts(replace(DESK, inventory="b")),
            LEADING,
            DESK_LEADS,
            "",
        ),  # its edit reaches the others
        (
            facts(replace(DESK, nodes=0)),
            STANDING_BY,
            View(members=(DESK, ATTIC)),
            "it knows no state of the mesh, and another one does",
        ),
        (
            facts(),
            STANDING_BY,
            replace(NOBODY_LEADS, schema=SCHEMA + 1),
            "a newer version has written the state: bring this one up to date",
        ),
    ],
)
def test_what_speaks_against_a_monitor_is_named(of: Facts, session: Session, view: View, reason: str) -> None:
    assert leadership.unfit(of, session, view, NOW) == reason


@pytest.mark.parametrize(
    ("ahead", "error"),
    [((), 0.0), ((5.0,), 0.0), ((0.0, 5.0), 0.0), ((0.0, 5.0, 6.0), -5.0), ((-9.0, 0.0, 0.0), 0.0)],
)
def test_a_clock_is_wrong_where_most_others_say_so(ahead: tuple[float, ...], error: float) -> None:
    assert leadership.clock_error(ahead) == error
