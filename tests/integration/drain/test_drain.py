"""``gpu-mesh drain`` and ``undrain``: what they say, what is shown, what is refused."""

import json
import re

import pytest


@pytest.fixture
def two(site, standin):
    """Describe two healthy nodes; which of them is the best, their latencies of the last check decide."""
    site.environment["SUDO_USER"] = "anna"
    site.describe({"desk": {"url": standin().url}, "iceland": {"url": standin().url}})
    site.check()
    return site


def offered(site):
    """Return the nodes that ``best`` would name for a request."""
    ranking = json.loads(site.ok("best", "--count", "2", "--json"))["nodes"]
    return {each["node"] for each in ranking if not each["why_not"]}


def node(site, key):
    return next(each for each in site.status()["nodes"] if each["node"] == key)


def test_a_drained_node_is_left_out_until_it_is_undrained_and_every_view_says_so(two):
    first = json.loads(two.ok("best", "--json"))["node"]
    others = {"desk", "iceland"} - {first}
    said = two.ok("drain", first, "--for", "30m", "--reason", "a new card").splitlines()
    assert re.fullmatch(f"Until .*, {first} takes no new requests:", said[0])
    assert said[-1].endswith(f" undrain {first}")
    assert offered(two) == others
    shown = node(two, first)
    assert shown["status"] == "healthy"
    assert re.fullmatch("anna said so until .*: a new card", shown["draining"])
    words = r"takes no new requests: anna said so until .*: a new card"
    assert re.search(words, two.ok("status"))
    assert re.search(words, two.ok("status", first))
    assert re.search(f"🚧 {first} {words}", two.ok("dashboard"))
    two.ok("publish")
    named = json.loads((two.paths.www / "best.json").read_text(encoding="utf-8"))["any"]
    assert {each["node"] for each in named} == others
    assert f'gpu_mesh_node_draining{{node="{first}"}} 1' in (two.paths.www / "metrics").read_text()

    two.check()
    assert re.search(
        "🚧 .*takes no new requests until .*, as anna said: a new card", two.ok("history", first)
    )
    assert two.ok("undrain", first) == f"{first} takes requests again\n"
    assert offered(two) == {"desk", "iceland"}
    assert node(two, first)["draining_until"] is None
    log = two.paths.log_file.read_text(encoding="utf-8")
    for word in ("begun", "ended"):
        assert f"event=drain_{word} node={first} " in log


def test_who_drains_the_last_node_that_serves_is_told(two):
    assert "No other node serves now" not in two.ok("drain", "desk")
    assert "No other node serves now" in two.ok("drain", "iceland")
    refused = two.run("best")
    assert (refused.returncode, refused.stdout) == (1, "")


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("drain", "dsek"), "there is no node 'dsek' in the inventory; did you mean desk?\n"),
        (("drain", "desk", "--for", "2"), "--for: '2' has no unit; write 2m or 2h\n"),
        (("drain", "desk", "--for", "10s"), "--for: "),
        (("undrain", "desk"), "desk does not drain; see: gpu-mesh"),
        (("undrain", "iceland", "desk"), "iceland does not drain; see: gpu-mesh"),
    ],
)
def test_what_cannot_be_done_is_refused_with_the_reason_and_changes_nothing(two, words, reason):
    refused = two.run(*words)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith(f"gpu-mesh: {reason}")
    assert [each["draining"] for each in two.status()["nodes"]] == ["", ""]
