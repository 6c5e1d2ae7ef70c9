"""``gpu-mesh ack`` with the real command: what it says, what is shown then, what is refused."""

import re

from gpu_mesh.standin.server import free_port


def failing(site, standin):
    """Describe a healthy node and one that refuses, and is unhealthy at once."""
    site.environment["SUDO_USER"] = "anna"
    site.describe(
        {
            "desk": {"url": standin().url},
            "iceland": {
                "url": f"http://127.0.0.1:{free_port()}",
                "recovery": "none",
                "unhealthy_threshold": 1,
            },
        }
    )
    site.check()


def test_an_acknowledgement_is_told_shown_and_taken_back(site, standin):
    failing(site, standin)
    said = site.ok("ack", "iceland", "--reason", "the new card comes on Friday").splitlines()
    assert said[0] == "iceland is unhealthy: Connection refused"
    assert said[2].endswith(" ack iceland --end")
    words = r"acknowledged by anna \d+ s ago: the new card comes on Friday"
    assert re.search(words, site.run("status").stdout)
    assert re.search(f"👤 iceland: {words}", site.ok("dashboard"))
    (node,) = (node for node in site.status()["nodes"] if node["node"] == "iceland")
    given = node["acknowledged"]
    assert (given["author"], given["level"], given["reason"]) == (
        "anna",
        "error",
        "the new card comes on Friday",
    )
    assert "event=acknowledged " in site.paths.log_file.read_text(encoding="utf-8")
    assert site.ok("ack", "iceland", "--end") == (
        "Nobody acknowledges iceland any more: changes and reminders are alerted again\n"
    )
    assert "acknowledged by" not in site.run("status").stdout


def test_what_cannot_be_acknowledged_is_refused_with_the_reason(site, standin):
    failing(site, standin)
    for word, reason in {
        "desk": "gpu-mesh: desk: it is healthy: there is nothing to acknowledge\n",
        "icland": "gpu-mesh: there is no node 'icland'; did you mean iceland?\n",
    }.items():
        refused = site.run("ack", word)
        assert (refused.returncode, refused.stdout, refused.stderr) == (2, "", reason)
    assert site.run("ack").returncode == 2


def test_a_silence_until_healthy_says_so_everywhere(site, standin):
    failing(site, standin)
    said = site.ok("silence", "add", "iceland", "--for", "2d", "--reason", "new disk", "--until-healthy")
    assert said.startswith("Silence 1: iceland until healthy, at most until ")
    assert ", or healthy" in site.ok("silence", "list")
    assert "iceland until healthy, at most until " in site.run("status").stdout
