"""Tests stand where a stranger looks for them: by the name of the module, or of the command."""

from checkout import PROGRAMS, ROOT
from gpu_mesh.cli.commands import COMMANDS

UNIT, INTEGRATION = ROOT / "tests/unit", ROOT / "tests/integration"
NO_ROOM = {"stories": "what several rooms do together"}
NO_COMMAND = {
    "every_command": "what holds of all of them",
    "stories": "what several commands do together",
    "standin": "a program beside gpu-mesh",
    "playbooks": "what people run by ansible-playbook",
    "roles": "the programs that a role runs",
    "wheel": "what is installed",
    "image": "what runs in a container",
}


def test_a_unit_test_is_named_after_the_module_that_it_tests() -> None:
    tests = [path.relative_to(UNIT) for path in UNIT.rglob("test_*.py")]
    assert tests
    nameless = [
        str(path)
        for path in tests
        if path.parts[0] not in NO_ROOM
        and not (ROOT / "checker/gpu_mesh" / path.parent / path.name.removeprefix("test_")).exists()
    ]
    assert nameless == []


def test_a_folder_of_integration_tests_is_named_after_its_command() -> None:
    folders = {path.relative_to(INTEGRATION).parts[0] for path in INTEGRATION.rglob("test_*.py")}
    assert folders - {*COMMANDS} == {*NO_COMMAND}


def test_each_program_of_tests_is_run_by_one() -> None:
    texts = {path: path.read_text() for path in (ROOT / "tests").rglob("*") if path.suffix in (".py", ".sh")}
    programs = [path for path in texts if path.parent == PROGRAMS]
    assert programs
    idle = [
        program.name
        for program in programs
        if not any(
            f'"{program.name}"' in text or f"/{program.name}" in text
            for path, text in texts.items()
            if path != program
        )
    ]
    assert idle == []
