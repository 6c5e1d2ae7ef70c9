"""The documentation says what the program does: its tables follow from the same values."""

import re

import pytest

from checkout import ROOT
from gpu_mesh.cli.commands import COMMANDS
from gpu_mesh.cli.simulate import Document
from gpu_mesh.domain import causes
from gpu_mesh.domain.history import Incident
from gpu_mesh.reporting import monitors, node_report, report
from gpu_mesh.reporting.alert_list import AlertReport
from gpu_mesh.reporting.availability import Figures
from gpu_mesh.routing.best import Choice
from gpu_mesh.simulation import story

DOCS = ROOT / "docs"
DONE = {
    causes.Action.RESTART_OLLAMA: "look, then restart Ollama",
    causes.Action.REBUILD_TUNNEL: "look, then rebuild the tunnel",
    causes.Action.NONE: "nothing: tell a person",
}


def cells(page: str) -> list[list[str]]:
    lines = (DOCS / page).read_text(encoding="utf-8").splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| `")]


def plain(words: str) -> str:
    return re.sub(r"\{(\w+)\}", lambda name: f"*{name[1]}*", words)


def test_every_cause_is_in_the_documentation_as_it_is_in_the_program() -> None:
    expected = [
        [f"`{cause}`", facts.verdict.value, plain(facts.words), DONE[facts.action], plain(facts.next_step)]
        for cause, facts in causes.CAUSES.items()
    ]
    assert cells("causes.md") == expected


@pytest.mark.parametrize(
    "shape",
    [
        report.Report,
        report.MeshReport,
        node_report.NodeReport,
        node_report.LoadedModelReport,
        Incident,
        Figures,
        AlertReport,
        Choice,
        monitors.MonitorsReport,
        monitors.MonitorReport,
    ],
)
def test_every_field_of_the_json_output_is_documented(shape: type) -> None:
    documented = [row[0].strip("`") for row in cells("json.md")]
    fields = list(shape.__struct_fields__)
    starts = [place for place, name in enumerate(documented) if name == fields[0]]
    assert fields in [documented[start : start + len(fields)] for start in starts]


def test_every_field_of_a_simulated_story_is_documented() -> None:
    whole, counts = (
        (DOCS / "json.md").read_text(encoding="utf-8").split("## `gpu-mesh simulate")[1].split("### ")
    )
    for part, shape in ((whole, Document), (counts, story.Counts)):
        assert re.findall(r"(?m)^\| `(\w+)` \|", part) == list(shape.__struct_fields__)


@pytest.mark.parametrize("page", ["security.md", "reliability.md"])
def test_every_test_that_a_promise_names_exists(page: str) -> None:
    rows = [line for line in (DOCS / page).read_text(encoding="utf-8").splitlines() if "`" in line]
    named = 0
    for row in rows:
        file = ""
        for path, name in re.findall(r"`((?:unit|integration|hosts|traces)/[\w/.*]+)`|`(test_\w+)…?`", row):
            named += 1
            file = path or file
            assert any((ROOT / "tests").glob(file)), f"{page} names {file}"
            if name:
                text = (ROOT / "tests" / file).read_text(encoding="utf-8")
                assert re.search(rf"def {name}", text), f"{page}: {name} is not in {file}"
    assert named > 30


def test_the_readme_or_the_page_of_every_day_names_every_command_that_people_type() -> None:
    pages = [ROOT / "README.md", DOCS / "usage.md", DOCS / "troubleshooting.md"]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    typed = {name for name, command in COMMANDS.items() if command.group}
    assert {name for name in typed if not re.search(rf"gpu-mesh (-i \S+ )?{name}\b", text)} == set()


def test_a_command_that_the_docs_show_does_not_end_the_shell_that_runs_it() -> None:
    pages = [path.read_text(encoding="utf-8") for path in DOCS.rglob("*.md")]
    commands = {each for page in pages for each in re.findall(r"mesh_node_recovery_command: (.+)", page)}
    patterns = {each for command in commands for each in re.findall(r"pkill -\w+ -f (\S+?);", command)}
    assert patterns
    for program in (ROOT / "playbooks/recovery/files").glob("*.sh"):
        text = program.read_text(encoding="utf-8")
        for pattern in (*patterns, "ollama serve", "ollama runner"):
            assert not re.search(pattern, text), f"{program.name}: {pattern}"


def test_sudo_over_ssh_has_a_terminal_to_ask_in() -> None:
    pages = [ROOT / "README.md", ROOT / "site.yml", *DOCS.rglob("*.md")]
    pages += [path for path in (ROOT / "roles").rglob("*") if path.suffix in (".md", ".yml", ".j2")]
    pages += (ROOT / "playbooks").rglob("*.yml")
    shown = [
        each
        for page in pages
        for each in re.findall(r"\bssh [^`\n]*?\bsudo\b(?! -n)", page.read_text(encoding="utf-8"))
    ]
    assert shown
    assert [each for each in shown if " -t " not in each] == []
