"""The stand-in as a program, and its answers where the probe does not look."""

import json
import signal
import subprocess
import sys
import time

import pytest
import requests

from gpu_mesh.standin.faults import FAULTS


def test_the_program_says_where_it_listens_and_ends_at_once_when_told_to():
    command = [
        sys.executable,
        "-m",
        "gpu_mesh.standin",
        "--port",
        "0",
        "--models",
        "a,b",
        "--loaded",
        "a",
        "--control",
    ]
    with subprocess.Popen([*command, "--fault", "hang"], stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout
        url = program.stdout.readline().split()[-1]
        with pytest.raises(requests.Timeout):
            requests.get(f"{url}/api/tags", timeout=0.3)
        assert requests.put(f"{url}/standin/fault", data="none", timeout=5).status_code == 200
        models = requests.get(f"{url}/api/tags", timeout=5).json()["models"]
        program.send_signal(signal.SIGTERM)
        began = time.monotonic()
        assert program.wait(timeout=10) == 0
        assert time.monotonic() - began < 3
    assert [model["name"] for model in models] == ["a", "b"]


def test_an_unknown_fault_is_refused_with_the_names_there_are(standin):
    server = standin(control=True)
    answer = requests.put(f"{server.url}/standin/fault", data="nonsense", timeout=5)
    assert answer.status_code == 400
    assert all(name in answer.text for name in FAULTS)
    assert server.fault == "none"


def test_the_fault_cannot_be_set_over_http_unless_that_was_allowed(standin):
    server = standin()
    assert requests.put(f"{server.url}/standin/fault", data="hang", timeout=5).status_code == 404
    assert server.fault == "none"


def generate(server, model="a", **more):
    return requests.post(f"{server.url}/api/generate", data=json.dumps({"model": model, **more}), timeout=2)


def test_a_text_comes_in_pieces_where_that_is_asked_for(standin):
    server = standin(models=("a",))
    answer = generate(server, prompt="hello", stream=True, options={"num_predict": 3})
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert [line["response"] for line in lines] == ["0 ", "1 ", "2 ", ""]
    assert [line["done"] for line in lines] == [False, False, False, True]


def test_a_request_for_text_loads_a_model_and_an_unknown_one_is_not_found(standin):
    server = standin(models=("a",))
    assert requests.get(f"{server.url}/", timeout=5).text == "Ollama is running"
    assert requests.get(f"{server.url}/api/ps", timeout=5).json() == {"models": []}
    assert generate(server).json()["done_reason"] == "load"
    assert [model["name"] for model in requests.get(f"{server.url}/api/ps", timeout=5).json()["models"]] == [
        "a"
    ]
    assert generate(server, "b").status_code == 404
    assert requests.get(f"{server.url}/nowhere", timeout=5).status_code == 404


def test_a_busy_or_hung_runner_shows_only_when_text_is_asked_for(standin):
    server = standin(models=("a",), loaded=("a",), fault="busy")
    assert generate(server).status_code == 503
    server.fault = "hung_runner"
    with pytest.raises(requests.Timeout):
        generate(server)
    assert requests.get(f"{server.url}/api/tags", timeout=5).status_code == 200
