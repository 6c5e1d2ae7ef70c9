"""A digest in words: what is counted, who is named, and that it fits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from factories import ALERT
from gpu_mesh.delivery.render import Templates
from gpu_mesh.delivery.wording import NAMED, TITLE_LIMIT, Digest, Format, headline
from gpu_mesh.domain.alert import Alert, AlertKind, Level
from gpu_mesh.domain.causes import Cause
from gpu_mesh.domain.health import Status

OFFLINE = replace(
    ALERT, level=Level.CRITICAL, status=Status.OFFLINE, tried="", text="offline after 5 failures"
)
CALL = replace(OFFLINE, kind=AlertKind.RECOVERY, text="needs you: three restarts did not help")
DEGRADED = replace(OFFLINE, level=Level.WARNING, status=Status.DEGRADED, cause=Cause.CPU_FALLBACK)
NOT_REPAIRED = replace(OFFLINE, kind=AlertKind.RECOVERY, level=Level.ERROR, status=Status.UNHEALTHY)
BACK = replace(OFFLINE, level=Level.INFO, status=Status.HEALTHY, cause=None, next_step="", text="recovered")
GONE = replace(BACK, status=None, text="no longer watched")


def of(*alerts: Alert) -> list[Alert]:
    """Return the alerts, each of a node of its own: a, b, c."""
    keys = "abcdefgh"
    return [replace(each, id=n, node=keys[n], name=keys[n]) for n, each in enumerate(alerts)]


HEADLINES = {
    "all the same": ((OFFLINE,) * 3, "3 nodes offline: a, b, c"),
    "different things, the worst first": (
        (CALL, OFFLINE, OFFLINE, NOT_REPAIRED, DEGRADED),
        "5 nodes: 1 in need of you, 2 offline, 1 not repaired, 1 degraded – a, b, c, d, e",
    ),
    "what is over": ((BACK,) * 4, "4 nodes recovered: a, b, c, d"),
    "some left the inventory": ((BACK, GONE, GONE), "3 nodes: 1 recovered, 2 no longer watched – a, b, c"),
}


@pytest.mark.parametrize("case", HEADLINES)
def test_a_headline_counts_and_names(case: str) -> None:
    alerts, words = HEADLINES[case]
    assert headline(of(*alerts), NAMED) == words


def test_a_headline_counts_those_that_it_does_not_name() -> None:
    assert headline(of(*(OFFLINE,) * 5), 2) == "5 nodes offline: a, b and 3 more"
    assert headline(of(*(OFFLINE,) * 5), 0) == "5 nodes offline"


def test_a_digest_lists_each_node_with_what_happened_and_its_next_step() -> None:
    members = of(replace(OFFLINE, tried="restarted twice"), OFFLINE, BACK)
    message = Templates().render(Digest(members)).message
    assert message.title == "🚨 [CRITICAL] 3 nodes: 2 offline, 1 recovered – a, b, c"
    assert message.body.splitlines() == [
        "3 nodes: 2 offline, 1 recovered – a, b, c",
        "",
        "⚫ a: offline after 5 failures",
        "   Tried:      restarted twice",
        "   Next step:  see whether Ollama hangs: sudo journalctl -u ollama.service on vengeance",
        "⚫ b: offline after 5 failures",
        "   Next step:  see whether Ollama hangs: sudo journalctl -u ollama.service on vengeance",
        "🟢 c: recovered",
        "",
        "See all:    gpu-mesh status",
        "Reported:   2025-06-17 12:00:00 UTC",
    ]


@pytest.mark.parametrize("form", Format)
def test_of_very_many_nodes_some_are_named_and_the_others_counted_by_cause(form: Format) -> None:
    members = [replace(OFFLINE, id=n, node=f"n{n}", name=f"n{n}") for n in range(20)]
    members += [replace(DEGRADED, id=n, node=f"n{n}", name=f"n{n}") for n in range(20, 22)]
    body = Templates().render(Digest(members), form).message.body
    assert "22 nodes: 20 offline, 2 degraded" in body
    named = body.count("after 5 failures")
    assert named == NAMED if form is Format.TEXT else 6 <= named <= NAMED
    assert f"and {22 - named} more: {20 - named} timeout, 2 cpu_fallback" in body


@given(
    st.lists(
        st.builds(
            lambda name, text, step: replace(OFFLINE, node=name, name=name, text=text, next_step=step),
            st.text(max_size=300),
            st.text(max_size=3000),
            st.text(max_size=600),
        ),
        min_size=3,
        max_size=40,
    ),
    st.sampled_from(Format),
)
def test_whatever_nodes_are_called_and_say_a_digest_fits(members: list[Alert], form: Format) -> None:
    rendered = Templates().render(Digest(members), form)
    assert rendered.problems == ()
    assert len(rendered.message.title) <= TITLE_LIMIT
    assert len(rendered.message.title.splitlines()) == 1
    assert len(rendered.message.body) + len(rendered.message.heading) <= 4000


@pytest.mark.parametrize("form", Format)
def test_a_digest_becomes_as_short_as_the_service_needs(form: Format) -> None:
    members = [replace(OFFLINE, id=n, node=f"n{n}", name=f"n{n}") for n in range(30)]
    message = Templates().render(Digest(members), form, 1000).message
    assert len(message.heading) + len(message.body) <= 1000
    assert "30 nodes offline" in message.body
    assert "gpu-mesh status" in message.body


@pytest.mark.parametrize("form", Format)
def test_nothing_a_node_says_is_a_format_or_a_mention_in_a_digest(form: Format) -> None:
    hostile = replace(OFFLINE, text="<b>@all</b> [x](http://evil.example) *now* @channel")
    body = Templates().render(Digest([hostile, *of(OFFLINE, OFFLINE)]), form).message.body
    assert "@all" not in body
    assert "@channel" not in body
    assert "](http" not in body
