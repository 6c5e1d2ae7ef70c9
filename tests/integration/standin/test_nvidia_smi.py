"""The stand-in for nvidia-smi, by its own words and as a program."""

import subprocess
from pathlib import Path

import pytest

from gpu_mesh.standin.nvidia_smi import CASES, answers, main, put

ASK = ("--query-gpu=index,name", "--format=csv,noheader,nounits")
CARD = "0, NVIDIA GeForce RTX 2080 SUPER\n"


@pytest.fixture
def program(tmp_path: Path) -> Path:
    return put(tmp_path, "one")


def test_as_a_program_it_answers_what_was_chosen_last(program: Path) -> None:
    def asked() -> tuple[int, str]:
        done = subprocess.run([program, *ASK], capture_output=True, text=True, check=False)
        return done.returncode, done.stdout

    assert asked() == (0, CARD)
    answers(program, "no_devices")
    assert asked() == (6, "No devices were found\n")


def test_an_unknown_field_fails_the_whole_question_as_it_does_with_the_real_one(
    program: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(str(program), ["--query-gpu=index,cuda_version", "--format=csv"]) == 2
    assert capsys.readouterr().out == 'Field "cuda_version" is not a valid field to query.\n\n'


@pytest.mark.parametrize("card", ["3", "0000:04:00.0", "00000000:04:00.0"])
def test_one_card_is_asked_for_by_its_index_or_its_place(
    program: Path, capsys: pytest.CaptureFixture[str], card: str
) -> None:
    answers(program, "lost")
    assert main(str(program), ["-i", card, *ASK]) == 0
    assert capsys.readouterr().out == "3, NVIDIA H100 80GB HBM3\n"


def test_values_and_holders_of_memory_can_be_given(program: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answers(program, "one", "temperature.gpu=97", "app=4242 5000")
    main(str(program), ["--query-gpu=temperature.gpu,pci.bus_id", "--format=csv"])
    main(str(program), ["--query-compute-apps=pid,used_memory,gpu_uuid", "--format=csv"])
    assert capsys.readouterr().out.splitlines() == [
        "97, 00000000:0C:00.0",
        "4242, 5000, GPU-00000000-0000-0000-0000-000000000000",
    ]


def test_every_case_has_cards_or_says_what_is_wrong() -> None:
    assert all(case.cards or (case.says and case.status) for case in CASES.values())


def test_a_case_that_there_is_not_is_refused_with_those_that_there_are(program: Path) -> None:
    with pytest.raises(ValueError, match=r"no case hot; there are one, slow, stuck, eight"):
        answers(program, "hot")
