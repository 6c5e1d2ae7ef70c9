"""Whatever versions, clocks and memories three monitors have: soon one leads that can read the state."""

import itertools
from typing import NamedTuple

import pytest
from msgspec.structs import replace

from gpu_mesh.cluster import leadership
from gpu_mesh.cluster.leadership import Facts, Step
from gpu_mesh.domain.cluster import Lead, Member, Session, View

NAMES = ("attic", "desk", "porch")
INTERVAL = 30.0
SOON = 300.0
"""Seconds within which one leads, and from which on it stays so."""


class World(NamedTuple):
    """How three monitors are when nobody leads."""

    schemas: tuple[int, ...]  # that each of them reads
    wrong_clocks: tuple[bool, ...]
    last: str  # who led last; "": nobody yet
    state: int  # the schema of the state; 0: there is none
    seed: str  # whose state is to be the first; "": anybody's

    @property
    def can_be_led(self) -> bool:
        """Whether one of them reads the state."""
        return max(self.schemas) >= self.state


WORLDS = [
    world
    for world in itertools.starmap(
        World,
        itertools.product(
            itertools.product((1, 2), repeat=3),
            itertools.product((False, True), repeat=3),
            ("", *NAMES, "cellar"),
            (0, 1, 2),
            ("", *NAMES),
        ),
    )
    if world.can_be_led and (world.last or not world.state)
]


def leaders(world: World) -> list[str]:
    """Let the three run their lead timers for twice the time; return who led after each round."""
    at, leader, last = 10_000.0, "", Lead(world.last, "a") if world.last else None
    schema, checked = world.state, 0.0
    sessions = {name: Session(name, "boot") for name in NAMES}
    members: dict[str, Member] = {}
    led = []
    for _ in range(int(2 * SOON / 10)):
        at += 10
        for name, reads, wrong in zip(NAMES, world.schemas, world.wrong_clocks, strict=True):
            session = replace(sessions[name], tried=at, answered=at, until=at + 30)
            me = Member(name, schema=reads, inventory="a", nodes=3)
            view = View(leader, int(bool(leader)), tuple(members.values()), last, bool(schema), schema)
            facts = Facts(me, world.seed, (0.0, 99.0, 99.0) if wrong else (), checked=checked)
            facts = replace(facts, me=replace(me, unfit=leadership.unfit(facts, session, view, at)))
            choice = leadership.choose(facts, session, view, at, INTERVAL)
            if choice.step is Step.TAKE:
                leader, last = name, Lead(name, "a")
                session = replace(session, term=1, led_since=at)
            elif choice.step is Step.GIVE_UP:
                leader = ""
                session = replace(session, term=0, yields_until=at + leadership.YIELDS, yields_for="x")
            elif choice.step is Step.STAND_BY:
                session = replace(session, term=0)
            members[name], sessions[name] = facts.me, session
        if leader and at % INTERVAL < 10 and world.schemas[NAMES.index(leader)] >= schema:
            schema, checked = world.schemas[NAMES.index(leader)], at
        led.append(leader)
    return led


@pytest.mark.parametrize("state", [0, 1, 2])
def test_soon_one_leads_that_can_read_the_state_and_goes_on_leading(state: int) -> None:
    for world in WORLDS:
        if world.state == state:
            after = leaders(world)[int(SOON / 10) :]
            assert len(set(after)) == 1, (world, after)
            assert world.schemas[NAMES.index(after[0])] >= state, (world, after)


def test_newer_versions_leave_the_lead_to_an_older_one_that_could_not_read_what_they_write() -> None:
    world = World((2, 1, 2), (False, False, False), "porch", 1, "")
    assert leaders(world)[-1] == "desk"
