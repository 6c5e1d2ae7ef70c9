"""alertmanager.yml: what is read of it, and each mistake with its line and without a secret."""

from pathlib import Path

import pytest

from gpu_mesh.delivery import alertmanager_config
from gpu_mesh.delivery.alertmanager_config import Configuration

RIGHT = """\
alertmanagers:
  - url: http://127.0.0.1:9093/
  - url: https://am.example.com/prefix
    username: mesh
    password: 12345
    ca_file: /etc/ssl/ours.pem
  - {url: "http://[::1]:9093", bearer_token: hunter2}
"""


def load(folder: Path, text: str) -> Configuration:
    file = folder / "alertmanager.yml"
    file.touch(mode=0o600)
    file.write_text(text)
    return alertmanager_config.load(file)


def test_a_right_file_names_each_with_its_login(tmp_path: Path) -> None:
    found = load(tmp_path, RIGHT)
    assert found.problems == found.notes == ()
    first, second, third = found.alertmanagers
    assert (first.url, first.label, first.authorization) == (
        "http://127.0.0.1:9093",
        "http://127.0.0.1:9093",
        "",
    )
    assert (second.url, second.label) == ("https://am.example.com/prefix", "https://am.example.com")
    assert (second.authorization, second.ca_file) == ("Basic bWVzaDoxMjM0NQ==", "/etc/ssl/ours.pem")
    assert (third.label, third.authorization) == ("http://[::1]:9093", "Bearer hunter2")
    assert len({each.id for each in found.alertmanagers}) == 3
    assert third.place == f"{tmp_path}/alertmanager.yml line 7"


def test_another_password_leaves_the_hash_as_it_is(tmp_path: Path) -> None:
    before = load(tmp_path, RIGHT).alertmanagers[1].id
    assert load(tmp_path, RIGHT.replace("12345", "54321")).alertmanagers[1].id == before


def test_no_alertmanager_is_no_mistake(tmp_path: Path) -> None:
    assert load(tmp_path, "alertmanagers: []\n") == Configuration()


URL = "alertmanagers:\n  - url: http://am.example\n"

WRONG = {
    "": "line 1: expected a mapping with the key alertmanagers; for no Alertmanager",
    "- url: http://hunter2\n": "line 1: expected a mapping with the key alertmanagers",
    "{}\n": "line 1: it has no key alertmanagers",
    "urls: []\n": "line 1: unknown key urls; known: alertmanagers",
    "alertmanagers: hunter2\n": "line 1: alertmanagers is not a list",
    "alertmanagers: [hunter2\n": "line 2: not valid YAML",
    "alertmanagers:\n  - http://user:hunter2@am.example\n": "line 2: an Alertmanager is a mapping",
    "alertmanagers:\n  - username: a\n    password: hunter2\n": "line 2: it has no url",
    f"{URL}    pasword: hunter2\n": "line 3: unknown option pasword; did you mean password?",
    f"{URL}    {{a: hunter2}}: hunter2\n": "line 3: unknown option ***; known: url, ",
    f"{URL}    password: [hunter2]\n": "line 3: password must be one text",
    f"{URL}    ca_file:\n": "line 3: ca_file must be one text",
    f"{URL}    url: http://hunter2\n": "line 3: url twice",
    f"{URL}    password: hunter2\n": "line 2: username and password belong together",
    f"{URL}    username: a\n    password: hunter2\n    bearer_token: hunter2\n": "line 2: either username",
    f"{URL}    bearer_token: hunter2 b\n": "line 3: bearer_token has characters that a header cannot have",
    f"{URL}    ca_file: /etc/ca.pem\n": "line 3: ca_file has no meaning: the url does not begin with https",
    "alertmanagers:\n  - url: https://a\n    ca_file: ca.pem\n": "line 3: ca_file is not an absolute path",
    f"{URL}  - url: http://am.example/\n": "line 3: the same url twice",
    "alertmanagers:\n  - url: am.example:9093\n": "line 2: url must begin with http:// or https://",
    "alertmanagers:\n  - url: http://am.example:hunter2\n": "line 2: url cannot be read",
    "alertmanagers:\n  - url: http://u:hunter2@am.example\n": "line 2: url holds a login",
    "alertmanagers:\n  - url: http://am.example/?token=hunter2\n": "line 2: url may have a host, a port and",
    "alertmanagers:\n  - url: http://am.example/api/v2/alerts\n": "line 2: url must end before /api",
    "alertmanagers:\n" + "".join(f"  - url: http://a{n}\n" for n in range(17)): "line 18: more than 16",
}


@pytest.mark.parametrize("text", WRONG)
def test_each_mistake_is_named_with_its_line_and_no_secret(tmp_path: Path, text: str) -> None:
    (problem,) = load(tmp_path, text).problems
    assert problem.startswith(f"{tmp_path}/alertmanager.yml {WRONG[text]}")
    assert "hunter2" not in problem


def test_all_mistakes_are_named_at_once_and_what_is_right_is_used(tmp_path: Path) -> None:
    found = load(tmp_path, "more: 1\nalertmanagers:\n  - {}\n  - url: ftp://a\n  - url: http://b\n")
    assert [problem.split(" line ")[1][0] for problem in found.problems] == ["1", "3", "4"]
    assert [each.url for each in found.alertmanagers] == ["http://b"]


def test_a_file_that_cannot_be_read_or_that_others_may_read_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "none.yml"
    assert alertmanager_config.load(missing).problems == (f"{missing}: No such file or directory",)
    load(tmp_path, RIGHT)
    file = tmp_path / "alertmanager.yml"
    file.chmod(0o644)
    (note,) = alertmanager_config.load(file).notes
    assert note.endswith(f"run: chmod 600 {file}")
    assert len(alertmanager_config.load(file).alertmanagers) == 3
