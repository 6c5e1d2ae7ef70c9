"""The script that tells HAProxy how a node is: it reads no other file, and what is unreadable is no drain."""

import shutil
import subprocess
from pathlib import Path

import pytest

from balancer import AGENT

SHELLS = [("dash",), ("busybox", "ash"), ("bash", "--posix")]
LATER, EARLIER = "4000000000\n", "1000000000\n"
FULL = "up ready 100%\n"


@pytest.fixture(params=SHELLS, ids=lambda words: words[0])
def shell(request: pytest.FixtureRequest) -> tuple[str, ...]:
    if shutil.which(request.param[0]) is None:
        pytest.skip(f"needs {request.param[0]}")
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    agent = tmp_path / "agent"
    agent.mkdir()
    (agent / ".until").write_text(LATER)
    (agent / "gpu1").write_text("up ready 60%\nup ready 100%\n")
    (agent / "gpu1@llama3.2:latest").write_text("drain\ndrain\n")
    (agent / "gpu1@hf.co=x=y:q4").write_text("drain\nup ready 100%\n")
    (tmp_path / "secret").write_text("hunter2\nhunter2\n")
    return agent


def ask(shell: tuple[str, ...], folder: Path, said: bytes) -> str:
    done = subprocess.run([*shell, AGENT, folder], input=said, capture_output=True, timeout=20, check=True)
    assert done.stderr == b""
    return done.stdout.decode()


def test_a_node_s_word_is_the_first_line_of_its_file(shell: tuple[str, ...], folder: Path) -> None:
    assert ask(shell, folder, b"gpu1\n") == "up ready 60%\n"
    assert ask(shell, folder, b"gpu1@llama3.2:latest\n") == "drain\n"
    assert ask(shell, folder, b"gpu1@hf.co=x=y:q4\n") == "drain\n"


@pytest.mark.parametrize("until", [EARLIER, "", "soon\n", "-1\n", "99999999999999999999999999\n", None])
def test_out_of_date_it_is_the_second_line(shell: tuple[str, ...], folder: Path, until: str | None) -> None:
    (folder / ".until").unlink() if until is None else (folder / ".until").write_text(until)
    assert ask(shell, folder, b"gpu1\n") == FULL
    assert ask(shell, folder, b"gpu1@llama3.2:latest\n") == "drain\n"
    assert ask(shell, folder, b"gpu1@hf.co=x=y:q4\n") == FULL


@pytest.mark.parametrize("content", [b"", b"drain", b"drain\n", b"drain\ndrain", None])
def test_a_node_whose_file_is_missing_or_cut_takes_requests(
    shell: tuple[str, ...], folder: Path, content: bytes | None
) -> None:
    (folder / "gpu1").unlink() if content is None else (folder / "gpu1").write_bytes(content)
    assert ask(shell, folder, b"gpu1\n") == FULL


HOSTILE = [
    b"",
    b"\n",
    b"gpu1",  # without an end of the line
    b"../secret\n",
    b"/etc/passwd\n",
    b"gpu1/../../secret\n",
    b".\n",
    b"..\n",
    b".until\n",
    b"gpu1 \n",
    b" gpu1\n",
    b"gpu1\r\n",
    b"gpu1;id\n",
    b"$(id)\n",
    b"`id`\n",
    b"*\n",
    b"gpu?\n",
    b"[g]pu1\n",
    b"~root\n",
    b"gpu1\\\n",
    b"%s%n\n",
    "gpü1\n".encode(),
    b"\xff\xfe\n",
    b"a" * 251 + b"\n",
    b"a" * 100_000 + b"\n",
]


@pytest.mark.parametrize("name", HOSTILE, ids=lambda name: repr(name[:20]))
def test_a_name_that_no_file_has_gets_no_answer(shell: tuple[str, ...], folder: Path, name: bytes) -> None:
    assert ask(shell, folder, name) == ""


@pytest.mark.parametrize("name", [b"-e\n", b"--help\n", b"@\n", b"=\n", b"a" * 250 + b"\n"])
def test_a_name_of_no_node_takes_requests(shell: tuple[str, ...], folder: Path, name: bytes) -> None:
    assert ask(shell, folder, name) == FULL


def test_a_folder_in_place_of_a_file_takes_requests(shell: tuple[str, ...], folder: Path) -> None:
    (folder / "gpu2").mkdir()
    assert ask(shell, folder, b"gpu2\n") == FULL
