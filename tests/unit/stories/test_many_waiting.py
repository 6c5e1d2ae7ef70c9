"""A service is down for long and more and more alerts wait: the state stays small, and nothing is lost."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from factories import Story, plain, raised, send
from gpu_mesh.alerting import alerts, merging
from gpu_mesh.delivery import outbox
from gpu_mesh.delivery.outbox import Target
from gpu_mesh.domain.alert import Level
from gpu_mesh.domain.state import State

TAGS = [*Level, "gpu", "web"]
targets = st.lists(st.frozensets(st.sampled_from(TAGS), max_size=4), min_size=1, max_size=3)
steps = st.lists(
    st.one_of(
        st.tuples(st.sampled_from("weciWEC"), st.sampled_from(["gpu", "web"])),  # a node's next alert
        st.tuples(st.just("-"), st.sampled_from(["works", "down"])),  # and a delivery
    ),
    min_size=1,
    max_size=25,
)


def queue(state: State, what: str, number: int, node: str) -> None:
    (alert,) = raised(what, node)
    alerts.queue(state, replace(alert, at=60.0 * number, tags=(node,)))


@given(targets, steps)
def test_each_url_is_sent_the_same_with_and_without_what_is_let_go(
    tags: list[frozenset[str]], steps: list[tuple[str, str]]
) -> None:
    urls = [Target(str(number), found) for number, found in enumerate(tags)]
    whole, lean = State(), State()
    for number, (what, of) in enumerate(steps):
        now = 60.0 * number
        if what == "-":
            assert send_all(whole, urls, of, now) == send_all(lean, urls, of, now)
        else:
            for state in (whole, lean):
                queue(state, what, number, of)
        merging.drop_superseded(lean, 0)
        waiting = [alert for alert in lean.alerts if not alert.done]
        assert len({(each.node, each.kind, each.level) for each in waiting}) == len(waiting)
    assert send_all(whole, urls, "works", 1e5) == send_all(lean, urls, "works", 1e5)


def send_all(state: State, urls: list[Target], of: str, now: float) -> list[tuple[str, int, str]]:
    """Let the first URL, or all that work, take what is due; return what was sent to each."""
    sent = []
    outbox.close(state, tuple(urls), now, whole=True)
    for url in urls:
        reason = "503" if of == "down" and url is not urls[0] else ""
        for letter in outbox.due(state.alerts, [url], now).get(url.id, ()):
            outbox.begin(state, letter, url, now)
            outbox.record_outcome(state, letter, url.id, reason, urls, now, whole=True)
            sent.append((url.id, letter.alert.id, letter.alert.text))
    return sent


def test_few_that_wait_are_left_alone_and_so_is_what_is_said_of_the_monitor() -> None:
    state = State()
    for number in range(5):
        queue(state, "w", number, "gpu")
        alerts.raise_monitor_alert(state, 60.0 * number, "something", "")
    assert merging.drop_superseded(state, 5) == 0
    assert merging.drop_superseded(state, 4) == 4
    assert [alert.node for alert in state.alerts] == [*[""] * 4, "gpu", ""]
    assert send(state, Target("chat"), "", 1000.0) == [2, 4, 6, 8, 9, 10]


def test_nodes_that_come_and_go_for_hours_while_nothing_can_be_sent_do_not_fill_the_state() -> None:
    nodes = [plain(f"n{number}") for number in range(150)]
    story, most = Story(*nodes), 0
    for check in range(240):
        story.goes(**{
            node.key: "x" if check and (check + 7 * number) % 14 < 6 else "."
            for number, node in enumerate(nodes)
        })  # fmt: skip
        most = max(most, len(story.state.alerts))
    assert story.state.next_alert > 5 * most, "else this shows nothing"
    assert most <= merging.MANY
