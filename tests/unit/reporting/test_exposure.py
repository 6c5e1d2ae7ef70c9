"""What is said of exposed nodes and of versions: the node, the address, the next step."""

from gpu_mesh.diagnosis.exposure import Answers, Door, Exposure, Seen
from gpu_mesh.reporting.exposure import exposure_text

POD, DESK = Door("pod", "http://1.2.3.4:11434"), Door("desk", "https://ai.example.net")


def test_an_open_door_is_named_with_what_anybody_can_do_and_the_next_step() -> None:
    found = Exposure(
        (Seen(POD, Answers.ALL, models=3), Seen(DESK, Answers.SOME, detail="HTTP 401 Unauthorized")),
        {"0.12.6": ("desk", "pod")},
    )
    lines = exposure_text(found).splitlines()
    assert lines[0] == "pod   http://1.2.3.4:11434    ANSWERS WITHOUT A LOGIN, 3 models"
    assert lines[1] == "desk  https://ai.example.net  asks for a login (HTTP 401 Unauthorized)"
    assert lines[3].startswith(
        "EXPOSED: pod answers at http://1.2.3.4:11434, a public address, without a login"
    )
    assert lines[4].startswith("  next: have Ollama on pod listen on 127.0.0.1 alone")
    assert "try from elsewhere" in lines[6]
    assert lines[-1] == "Ollama 0.12.6 everywhere."


def test_versions_that_differ_name_the_nodes_that_are_behind() -> None:
    found = Exposure((), {"0.12.6": ("desk",), "0.12.0": ("pod", "attic")}, ("far",))
    assert exposure_text(found).splitlines() == [
        "No node has a public address.",
        "",
        "VERSIONS DIFFER: 0.12.6: desk; 0.12.0: pod, attic",
        "  next: update Ollama on pod, attic, or take the difference for what it is",
        "No version is known of far.",
    ]


def test_what_a_node_says_stays_on_its_line() -> None:
    found = Exposure((Seen(POD, Answers.OTHER, detail="a\nEXPOSED: \x1b[31mb" + "x" * 500),), {})
    lines = exposure_text(found).splitlines()
    assert len(lines) == 2
    assert "\x1b" not in lines[0]
    assert len(lines[0]) < 200
