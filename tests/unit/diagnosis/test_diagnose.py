"""The diagnosis table, row by row: what a probe saw, and the cause that it is given."""

import pytest
from msgspec.structs import replace

from factories import NOW, OK, behind, plain
from gpu_mesh.diagnosis.diagnose import describe_cause, diagnose, next_step
from gpu_mesh.domain.causes import CAUSES, Cause
from gpu_mesh.domain.health import Verdict
from gpu_mesh.domain.mesh import GpuExpectation, GpuRule, Node, RecoveryKind
from gpu_mesh.domain.observation import Fault, LoadedModel, Observation, Reply
from gpu_mesh.domain.state import NodeState, NodeStatistics

PLAIN = plain("vengeance", name="Vengeance")
UNTOLD = replace(PLAIN, expects_gpu=GpuExpectation())  # whether it has a GPU
TUNNELLED = behind("iceland", 8080, "gpu.example.net", name="Iceland")

FRESH = NodeState()


def failing(fault: Fault, status: int = 0, detail: str = "") -> Observation:
    return Observation("n", NOW, Reply(fault, status, detail))


FAILED = [
    # node, fault, HTTP status, detail → cause, what a person reads
    (PLAIN, Fault.REFUSED, 0, "connection refused", Cause.REFUSED, "Connection refused"),
    (PLAIN, Fault.CONNECT_TIMEOUT, 0, "", Cause.TIMEOUT, "Timeout (10s)"),
    (PLAIN, Fault.READ_TIMEOUT, 0, "", Cause.TIMEOUT, "Timeout (10s)"),
    (PLAIN, Fault.NO_ROUTE, 0, "No route to host", Cause.HOST_DOWN,
     "The host cannot be reached (No route to host)"),
    (PLAIN, Fault.RESET, 0, "connection reset", Cause.HTTP_ERROR, "HTTP error (connection reset)"),
    (PLAIN, Fault.CLOSED, 0, "empty answer", Cause.HTTP_ERROR, "HTTP error (empty answer)"),
    (PLAIN, Fault.STATUS, 500, "HTTP 500", Cause.HTTP_ERROR, "HTTP error (HTTP 500)"),
    (PLAIN, Fault.STATUS, 503, "HTTP 503", Cause.HTTP_ERROR, "HTTP error (HTTP 503)"),
    (PLAIN, Fault.STATUS, 401, "HTTP 401", Cause.FORBIDDEN, "Access denied (HTTP 401)"),
    (PLAIN, Fault.STATUS, 403, "HTTP 403", Cause.FORBIDDEN, "Access denied (HTTP 403)"),
    (PLAIN, Fault.STATUS, 404, "HTTP 404", Cause.NOT_OLLAMA,
     "The answer is not Ollama's (HTTP 404)"),
    (PLAIN, Fault.REDIRECT, 302, "HTTP 302", Cause.NOT_OLLAMA,
     "The answer is not Ollama's (HTTP 302)"),
    (PLAIN, Fault.NOT_JSON, 200, "HTML", Cause.NOT_OLLAMA,
     "The answer is not Ollama's (HTML)"),
    (PLAIN, Fault.TOO_LARGE, 200, "over 4 MiB", Cause.NOT_OLLAMA,
     "The answer is not Ollama's (over 4 MiB)"),
    (PLAIN, Fault.DNS, 0, "", Cause.DNS, "The name does not resolve"),
    (PLAIN, Fault.TLS, 0, "certificate has expired", Cause.TLS, "TLS error (certificate has expired)"),
    (PLAIN, Fault.NO_TLS, 0, "", Cause.NO_TLS, "No TLS at port 11434"),
    (PLAIN, Fault.STATUS, 429, "HTTP 429 Too Many Requests", Cause.RATE_LIMITED,
     "Requests are limited (HTTP 429 Too Many Requests)"),
    (PLAIN, Fault.UNUSABLE, 0, "x.pem: No such file", Cause.MISCONFIGURED,
     "The probe cannot be sent (x.pem: No such file)"),
    (TUNNELLED, Fault.REFUSED, 0, "", Cause.TUNNEL_DOWN, "Tunnel down, port 8080 is closed"),
    (TUNNELLED, Fault.READ_TIMEOUT, 0, "", Cause.TUNNEL_STUCK,
     "Tunnel stuck, port 8080 does not answer (10s)"),
    (TUNNELLED, Fault.CLOSED, 0, "", Cause.REMOTE_OLLAMA_DOWN,
     "Ollama behind the tunnel is down"),
    (TUNNELLED, Fault.RESET, 0, "", Cause.REMOTE_OLLAMA_DOWN,
     "Ollama behind the tunnel is down"),
    (TUNNELLED, Fault.STATUS, 502, "HTTP 502", Cause.HTTP_ERROR, "HTTP error (HTTP 502)"),
    (TUNNELLED, Fault.STATUS, 403, "HTTP 403", Cause.FORBIDDEN, "Access denied (HTTP 403)"),
]  # fmt: skip


@pytest.mark.parametrize(("node", "fault", "status", "detail", "cause", "words"), FAILED)
def test_a_fault_is_given_its_cause(
    node: Node, fault: Fault, status: int, detail: str, cause: Cause, words: str
) -> None:
    found = diagnose(node, failing(fault, status, detail), FRESH)
    assert (found.verdict, found.cause, found.detail) == (Verdict.FAILED, cause, words)


@pytest.mark.parametrize("node", [PLAIN, TUNNELLED])
@pytest.mark.parametrize("fault", [fault for fault in Fault if fault is not Fault.STATUS])
def test_every_fault_has_a_cause_that_counts_as_failed(node: Node, fault: Fault) -> None:
    assert diagnose(node, failing(fault), FRESH).verdict is Verdict.FAILED


def serving(
    *loaded: LoadedModel,
    models: tuple[str, ...] = ("a:1b", "b:latest"),
    ms: float = 40,
    ps: Reply = OK,
    clock: float = NOW,
) -> Observation:
    return Observation("n", NOW, Reply(status=200, ms=ms), models, ps, loaded, clock)


ON_GPU = LoadedModel("a:1b", size=100, size_vram=100, expires_at=NOW + 300)
USED_TO = NodeState(statistics=NodeStatistics(successes=20, usual_ms=50), had_models=2)
PS_HANGS = Reply(Fault.READ_TIMEOUT)


def expecting(*models: str) -> Node:
    return plain("v", expected_models=models)


SERVING = {
    "all is well": (PLAIN, serving(ON_GPU), USED_TO, None, ""),
    "a node without any model from the start is well": (PLAIN, serving(models=()), FRESH, None, ""),
    "all models gone": (
        PLAIN, serving(models=()), USED_TO, Cause.MODELS_MISSING, "Models are missing (0 left of 2)",
    ),
    "all models gone where none is expected": (expecting(), serving(models=()), USED_TO, None, ""),
    "expected models gone": (
        expecting("a:1b", "c", "d"), serving(), FRESH, Cause.MODELS_MISSING, "Models are missing (c, d)",
    ),
    "an expected model may leave out :latest": (expecting("b"), serving(), FRESH, None, ""),
    "an expected model may be spelt as Ollama accepts it": (
        expecting("B", "library/b", "registry.ollama.ai/library/b:latest"), serving(), FRESH, None, "",
    ),
    "an expected model is not missing where not all models were read": (
        expecting("z"), replace(serving(), models_cut=True), FRESH, None, "",
    ),
    "a model long past its end": (
        PLAIN, serving(LoadedModel("a", 1, 1, NOW - 600)), FRESH, Cause.STUCK_STOPPING,
        "A model does not unload (a, 10 min overdue)",
    ),
    "a model just past its end": (PLAIN, serving(LoadedModel("a", 1, 1, NOW - 60)), FRESH, None, ""),
    "a model past its end by a monitor's clock that is ahead of the node's": (
        PLAIN, serving(LoadedModel("a", 1, 1, NOW - 600), clock=NOW - 700), FRESH, None, "",
    ),
    "a model that just began to load": (PLAIN, serving(ps=PS_HANGS), FRESH, None, ""),
    "a model that has been loading for minutes": (
        PLAIN, serving(ps=PS_HANGS), NodeState(loading_since=NOW - 420), Cause.LOADING,
        "A model keeps loading (7 min)",
    ),
    "a model on the CPU of a node that should have a GPU": (
        PLAIN, serving(LoadedModel("a", 100, 0)), FRESH, Cause.CPU_FALLBACK,
        "A model runs on the CPU (a, 0% in VRAM)",
    ),
    "a model on the CPU of a node that may have no GPU": (
        UNTOLD, serving(LoadedModel("a", 100, 0)), FRESH, None, "",
    ),
    "a model on the CPU of a node that had another one in VRAM": (
        UNTOLD, serving(LoadedModel("a", 100, 0)), NodeState(vram={"b:latest": 0.4}), Cause.CPU_FALLBACK,
        "A model runs on the CPU (a, 0% in VRAM)",
    ),
    "a model that is too large for the VRAM of its node": (
        PLAIN, serving(LoadedModel("a", 100, 40)), NodeState(vram={"a:latest": 0.4}), None, "",
    ),
    "a model that is partly on the CPU, and was never seen otherwise": (
        PLAIN, serving(LoadedModel("a", 100, 40)), FRESH, None, "",
    ),
    "a model with much less than usual in VRAM": (
        PLAIN, serving(LoadedModel("a", 100, 40)), NodeState(vram={"a:latest": 0.9}), Cause.CPU_FALLBACK,
        "A model runs on the CPU (a, 40% in VRAM, usually 90%)",
    ),
    "a model with a little less than usual in VRAM": (
        PLAIN, serving(LoadedModel("a", 100, 50)), NodeState(vram={"a:latest": 1.0}), None, "",
    ),
    "a model on the CPU of a node without a GPU": (
        plain("v", expects_gpu=GpuExpectation(GpuRule.NONE)),
        serving(LoadedModel("a", 100, 0)), FRESH, None, "",
    ),
    "an answer far slower than usual": (
        PLAIN, serving(ms=2500), USED_TO, Cause.SLOW, "Far slower than usual (2500 ms, usually 50 ms)",
    ),
    "a slow answer from a node that nobody knows yet": (PLAIN, serving(ms=2500), FRESH, None, ""),
    "an answer slower than usual, but fast enough": (PLAIN, serving(ms=900), USED_TO, None, ""),
}  # fmt: skip


@pytest.mark.parametrize("case", SERVING)
def test_a_node_that_serves(case: str) -> None:
    node, seen, before, cause, words = SERVING[case]
    found = diagnose(node, seen, before)
    assert (found.cause, found.detail) == (cause, words)
    assert found.verdict is (Verdict.OK if cause is None else Verdict.IMPAIRED)


@pytest.mark.parametrize("cause", Cause)
@pytest.mark.parametrize("node", [PLAIN, TUNNELLED])
def test_every_cause_has_words_and_a_next_step_without_gaps(cause: Cause, node: Node) -> None:
    for text in (describe_cause(cause, node), next_step(cause, node)):
        assert text
        assert "{" not in text


LOGS = [
    (RecoveryKind.SYSTEMD, "see why Ollama stopped: sudo journalctl -u ollama.service on v"),
    (RecoveryKind.SYSTEMD_USER, "see why Ollama stopped: journalctl --user -u ollama.service on v"),
    (RecoveryKind.DOCKER, "see why Ollama stopped: sudo docker logs ollama on v"),
    (RecoveryKind.COMMAND, "see why Ollama stopped: its log on v"),
]


@pytest.mark.parametrize(("kind", "step"), LOGS)
def test_the_next_step_names_the_log_of_what_runs_ollama_there(kind: RecoveryKind, step: str) -> None:
    assert next_step(Cause.REFUSED, plain("v", recovery=kind)) == step


@pytest.mark.parametrize(
    ("url", "step"),
    [
        (
            "http://v:11434",
            "set OLLAMA_HOST=0.0.0.0 for ollama.service on v, or open port 11434 in its firewall",
        ),
        ("http://v/ollama", "see why the proxy at http://v/ollama does not reach Ollama"),
        ("https://v", "see why the proxy at https://v does not reach Ollama"),
    ],
)
def test_where_a_proxy_is_in_front_of_ollama_it_is_the_proxy_that_is_to_be_looked_at(
    url: str, step: str
) -> None:
    assert next_step(Cause.NOT_EXPOSED, plain("v", url=url)) == step


@pytest.mark.parametrize(
    ("address", "port", "command"),
    [
        ("", 22, "ssh-keygen -R v"),
        ("192.0.2.7", 22, "ssh-keygen -R 192.0.2.7"),
        ("192.0.2.7", 2222, "ssh-keygen -R '[192.0.2.7]:2222'"),
        ("fd00::9", 22, "ssh-keygen -R fd00::9"),
    ],
)
def test_a_changed_host_key_is_removed_under_the_name_by_which_ssh_knows_the_host(
    address: str, port: int, command: str
) -> None:
    assert next_step(Cause.NO_ACCESS, plain("v", ssh_host=address, ssh_port=port)).endswith(f": {command}")


def test_only_failed_and_lasting_troubles_that_a_restart_helps_have_an_action() -> None:
    helped = {cause for cause, facts in CAUSES.items() if facts.action != "none"}
    assert helped == {
        Cause.REFUSED, Cause.TIMEOUT, Cause.HTTP_ERROR, Cause.RUNNER_HUNG, Cause.TUNNEL_DOWN,
        Cause.TUNNEL_STUCK,
        Cause.TUNNEL_PORT_TAKEN, Cause.REMOTE_OLLAMA_DOWN, Cause.STUCK_STOPPING, Cause.CPU_FALLBACK,
        Cause.GPU_CONTAINER_LOST, Cause.GPU_UNDISCOVERED, Cause.GPU_VRAM_HELD, Cause.GPU_UNUSED,
    }  # fmt: skip
