"""While nothing can be saved, people are told all the same; once it can be, what differs."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from gpu_mesh.standin.server import Standin
from sites import Receiver, Site

CANNOT = "state.json cannot be written: File too large"


class Story:
    """A healthy node, whose monitor has a runtime folder of its own."""

    def __init__(self, site: Site, node: Standin, receiver: Receiver) -> None:
        self.site, self.node, self.receiver = site, node, receiver
        self.runtime = site.folder / "run"
        site.environment["GPU_MESH_RUNTIME_DIR"] = str(self.runtime)
        site.describe({"iceland": {"url": node.url, "recovery": "none"}})
        site.alerts_go_to(receiver.url)
        site.check()

    def fails_to_check(self) -> str:
        done = self.site.run("check")
        assert done.returncode == 2, done.stderr
        return done.stderr


@pytest.fixture
def story(site: Site, standin: Callable[..., Standin], receiver: Receiver) -> Story:
    return Story(site, standin(), receiver)


def test_that_nothing_can_be_saved_is_told_once_and_what_the_nodes_show_with_it(story: Story) -> None:
    story.site.nothing_can_be_saved()
    assert CANNOT in story.fails_to_check()
    story.site.run("deliver")
    assert story.receiver.titles == []  # a single check may have met a moment's trouble
    story.node.close()
    story.fails_to_check()
    assert (story.runtime / "deliver.wanted").exists()
    story.site.run("deliver")
    assert not (story.runtime / "deliver.wanted").exists()
    (body,) = story.receiver.bodies
    assert CANNOT in body
    assert "ulimit -f" in body
    assert "1 of 1 node fails: iceland (" in body
    story.fails_to_check()
    story.site.run("deliver")
    assert len(story.receiver.bodies) == 1


def test_status_says_at_once_that_nothing_can_be_saved_and_what_the_newest_check_saw(story: Story) -> None:
    story.site.nothing_can_be_saved()
    story.fails_to_check()
    shown = story.site.run("status")
    assert shown.returncode == 3
    assert "⚠️ Nothing can be saved" in shown.stdout
    assert "saw: no node that fails" in shown.stdout
    assert CANNOT in story.site.status()["mesh"]["emergency"]["reason"]


def test_once_it_can_be_saved_the_differences_are_told_and_nothing_is_left(story: Story) -> None:
    story.site.nothing_can_be_saved()
    story.fails_to_check()
    story.fails_to_check()
    story.site.run("deliver")
    story.node.close()
    story.site.all_can_be_saved_again()
    story.site.ok("check", "--deliver")
    ends = [body for body in story.receiver.bodies if "can be saved again" in body]
    assert len(ends) == 1
    assert "iceland fails (" in ends[0]
    assert not any("unwatched" in title for title in story.receiver.titles)
    assert sorted(path.suffix for path in story.runtime.glob("emergency*")) == [".lock"]
    assert "Nothing can be saved" not in story.site.run("status").stdout


def test_two_monitors_with_one_runtime_folder_know_nothing_of_each_others_trouble(
    story: Story, standin: Callable[..., Standin], receiver: Receiver, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    other = Site(tmp_path / "other")
    other.environment["GPU_MESH_RUNTIME_DIR"] = str(story.runtime)
    other.describe({"desk": {"url": standin().url, "recovery": "none"}})
    other.alerts_go_to(receiver.url)
    other.check()
    story.site.nothing_can_be_saved()
    for _ in range(2):
        story.fails_to_check()
        other.ok("check", "--deliver")
    assert receiver.bodies == [], "the one that can save has no trouble to tell of"
    assert "Nothing can be saved" not in other.run("status").stdout
    story.site.run("deliver")
    assert ["saw: no node that fails" in body for body in receiver.bodies] == [True]
    story.site.all_can_be_saved_again()
    story.site.ok("check", "--deliver")
    other.ok("check", "--deliver")
    assert len([body for body in receiver.bodies if "can be saved again" in body]) == 1


def test_a_check_by_cron_tells_it_in_the_same_run(story: Story) -> None:
    story.site.nothing_can_be_saved()
    for _ in range(2):
        assert story.site.run("check", "--deliver").returncode == 2
    assert len(story.receiver.bodies) == 1


def test_a_message_that_no_url_took_is_tried_again_at_the_next_delivery(story: Story) -> None:
    story.site.alerts_go_to("json://127.0.0.1:9/")
    story.site.nothing_can_be_saved()
    story.fails_to_check()
    story.fails_to_check()
    story.site.run("deliver")
    assert any("event=emergency_not_delivered" in line for line in story.site.log())
    story.site.alerts_go_to(story.receiver.url)
    story.site.run("deliver")
    assert len(story.receiver.bodies) == 1


def test_without_a_way_to_keep_even_that_the_check_says_why_it_failed(story: Story) -> None:
    story.site.nothing_can_be_saved()
    shutil.rmtree(story.runtime)
    story.runtime.write_text("a file where the runtime folder should be")
    assert CANNOT in story.fails_to_check()
    assert any("event=emergency_not_kept" in line for line in story.site.log())


def test_while_nothing_can_be_saved_no_model_is_asked_by_each_check_anew(
    site: Site, standin: Callable[..., Standin], receiver: Receiver
) -> None:
    """When it was asked last would be forgotten each time, and the model never unloaded."""
    node = standin(models=("a",), loaded=("a",))
    story = Story(site, node, receiver)  # its check has asked
    site.describe({"iceland": {"url": node.url, "recovery": "none"}}, deep_interval=0.001)
    site.check()
    assert len(node.generated) == 2
    site.nothing_can_be_saved()
    for _ in range(3):
        story.fails_to_check()
    assert len(node.generated) == 3  # the first did not know yet
    site.all_can_be_saved_again()
    site.check(2)
    assert len(node.generated) == 4
