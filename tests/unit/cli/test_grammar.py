"""The syntax of the command line, as completions and the man page are made from it."""

from gpu_mesh.cli.commands import COMMANDS
from gpu_mesh.cli.grammar import Kind, every, read

SYNTAX = read()
BY_PATH = {" ".join(each.path): each for each in every(SYNTAX)}


def test_it_has_every_command_but_those_of_units() -> None:
    assert {verb.name for verb in SYNTAX.verbs} == {name for name, each in COMMANDS.items() if each.group}
    assert {verb.name for verb in BY_PATH["silence"].verbs} == {"add", "list", "end"}


def test_an_option_takes_a_value_in_every_command_or_in_none() -> None:
    """The completion of bash relies on that: it passes over values without knowing the command."""
    with_value, without = (
        {
            name
            for each in every(SYNTAX)
            for option in each.options
            if bool(option.label) is takes_value
            for name in option.names
        }
        for takes_value in (True, False)
    )
    assert with_value & without == set()


def test_what_a_value_is_is_known_for_completing_it() -> None:
    shared = {option.names[-1]: option for option in SYNTAX.options}
    assert (shared["--inventory"].kind, shared["--inventory"].many) == (Kind.FILE, True)
    assert shared["--state-dir"].kind is Kind.FOLDER
    assert (shared["--verbose"].kind, shared["--verbose"].label) == (Kind.NOTHING, "")
    places = {path: each.places[0] for path, each in BY_PATH.items() if each.places}
    for path in ("ack", "recover", "look", "history", "incidents", "silence add"):
        assert places[path].kind is Kind.NODE, path
    assert (places["alerts"].kind, places["alerts"].words) == (Kind.WORD, ("list", "show", "test"))
    assert places["simulate"].kind is Kind.FILE


def test_each_has_words_of_its_own() -> None:
    for path, each in BY_PATH.items():
        assert each.about, path
        assert each.usage.startswith(f"gpu-mesh {path}".rstrip()), path
        assert all(argument.about for argument in (*each.options, *each.places)), path
