"""What an inventory means, and what is wrong with one. A new mistake is a new file in inventories/wrong/."""

from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from checkout import ROOT
from gpu_mesh.domain.mesh import GpuExpectation, GpuRecovery, GpuRule, Login, Mesh, Node
from gpu_mesh.inventory import ansible_reader
from gpu_mesh.inventory.mistakes import Mistake, describe
from gpu_mesh.inventory.resolve import RawHost, RawVariable, resolve
from gpu_mesh.inventory.variables import ROLE_VARIABLES, VARIABLES

HERE = Path(__file__).parent / "inventories"
WRONG = sorted(file for file in (HERE / "wrong").iterdir() if file.suffix != ".txt")


def mesh_of(name: str, monitor: str = "") -> Mesh:
    reading = ansible_reader.read((str(HERE / "right" / name),), monitor)
    assert reading.mesh is not None, describe(reading.mistakes)
    return reading.mesh


def node_of(mesh: Mesh, key: str) -> Node:
    node = mesh.node(key)
    assert node is not None
    return node


@pytest.mark.parametrize("file", WRONG, ids=lambda file: file.stem)
def test_a_wrong_inventory_is_told_with_host_variable_and_place(file: Path) -> None:
    reading = ansible_reader.read((str(file),))
    assert reading.mesh is None
    told = describe(reading.mistakes).replace(f"{file.parent}/", "")
    assert told == file.with_suffix(".txt").read_text(encoding="utf-8").rstrip("\n")
    assert "hunter2" not in told


@pytest.mark.parametrize("name", ["strings_where_ini_has_no_types.ini", "typed_values.yml"])
def test_text_and_typed_values_mean_the_same(name: str) -> None:
    assert mesh_of(name).nodes == (
        Node(
            key="iceland",
            name="7",
            url="http://192.0.2.7:11434",
            timeout=5.0,
            enabled=False,
            expects_gpu=GpuExpectation(GpuRule.NONE),
            expected_models=("llama3:8b", "qwen3"),
            headers={"X-Site": "north"},
            groups=("mesh_nodes",),
            ssh_host="192.0.2.7",
            login=Login(),
        ),
    )


@pytest.mark.parametrize(
    ("value", "rule", "cards"),
    [
        ("auto", GpuRule.AUTO, 0),
        (None, GpuRule.AUTO, 0),
        ("Auto ", GpuRule.AUTO, 0),
        (True, GpuRule.EXPECTED, 1),
        ("yes", GpuRule.EXPECTED, 1),
        (1, GpuRule.EXPECTED, 1),
        ("8", GpuRule.EXPECTED, 8),
        (64, GpuRule.EXPECTED, 64),
        (False, GpuRule.NONE, 0),
    ],
)
def test_a_node_has_as_many_gpus_as_it_has_shown_or_as_the_inventory_says(
    value: object, rule: GpuRule, cards: int
) -> None:
    mesh = resolve([RawHost("a", ("mesh_nodes",), {"mesh_node_expects_gpu": RawVariable(value)})])
    assert isinstance(mesh, Mesh)
    assert mesh.nodes[0].expects_gpu == GpuExpectation(rule, cards)


def test_the_kernels_log_and_recoveries_of_gpus_must_be_allowed() -> None:
    given = {"mesh_node_gpu_log": "yes", "mesh_node_gpu_recovery": "reboot", "mesh_node_gpu_interval": "60"}
    variables = {name: RawVariable(value) for name, value in given.items()}
    mesh = resolve([RawHost("a", ("mesh_nodes",)), RawHost("b", ("mesh_nodes",), variables)])
    assert isinstance(mesh, Mesh)
    assert [(node.gpu_interval, node.gpu_log, node.gpu_recovery) for node in mesh.nodes] == [
        (600.0, False, GpuRecovery.NONE),
        (60.0, True, GpuRecovery.REBOOT),
    ]


@pytest.mark.parametrize(
    ("key", "url", "on_monitor"),
    [
        ("by_name.example.net", "http://by_name.example.net:11434", False),
        ("by_address", "http://192.0.2.7:11434", False),
        ("by_ipv6", "http://[fd00::7]:11434", False),
        ("by_ipv6_in_brackets", "http://[fd00::8]:11434", False),
        ("by_mapped_ipv4", "http://[::ffff:10.0.0.5]:11434", False),
        ("local", "http://127.0.0.1:11434", True),
        ("same_host", "http://127.0.0.1:11434", True),
        ("monitor", "http://127.0.0.1:11434", True),
        ("machine_on_the_monitor", "http://192.0.2.1:11434", False),
        ("tunnelled", "http://127.0.0.1:8080", False),
        ("given", "https://ollama.example.net", False),
        ("below_a_path", "http://gateway.example.net/gpu%20one/ollama", False),
        ("tunnelled_below_a_path", "http://127.0.0.1:8081/ollama", False),
    ],
)
def test_a_node_is_reached_where_the_inventory_puts_it(key: str, url: str, on_monitor: bool) -> None:
    node = node_of(mesh_of("urls.yml"), key)
    assert (node.url, node.on_monitor) == (url, on_monitor)


def test_an_empty_value_means_the_default() -> None:
    mesh = mesh_of("empty_means_default.yml")
    gateway, iceland = node_of(mesh, "gateway"), node_of(mesh, "iceland")
    assert (gateway.parent, gateway.timeout) == ("", 10.0)
    assert (iceland.parent, iceland.timeout) == ("gateway", 4.0)


def test_the_named_monitors_settings_are_in_force() -> None:
    mesh = mesh_of("settings.yml", "second")
    assert mesh.monitor == "second"
    assert mesh.settings.check_interval == 20.0
    assert mesh.settings.canary == ("one.example.net:443", "[fd00::1]:53")


def test_among_several_monitors_this_machine_knows_its_own() -> None:
    hosts = [
        RawHost("a", ("mesh_monitors",)),
        RawHost("b", ("mesh_monitors",), {"ansible_host": RawVariable("b.example.net")}),
        RawHost("iceland", ("mesh_nodes",)),
    ]
    mesh = resolve(hosts, machine=frozenset({"b.example.net"}))
    assert isinstance(mesh, Mesh)
    assert mesh.monitor == "b"


def test_among_several_monitors_the_one_without_a_connection_is_this_machine_whatever_its_name() -> None:
    hosts = [
        RawHost("a", ("mesh_monitors",), {"ansible_host": RawVariable("10.0.0.1")}),
        RawHost("b", ("mesh_monitors",), {"ansible_connection": RawVariable("local")}),
        RawHost("iceland", ("mesh_nodes",)),
    ]
    mesh = resolve(hosts, machine=frozenset({"a"}))
    assert isinstance(mesh, Mesh)
    assert mesh.monitor == "b"


def test_a_monitor_that_is_not_there_is_a_mistake() -> None:
    hosts = [RawHost("a", ("mesh_monitors",)), RawHost("iceland", ("mesh_nodes",))]
    assert resolve(hosts, "c") == (Mistake("the monitor c is not in the group mesh_monitors, which has: a"),)


def test_a_secret_is_named_by_its_file_and_never_held() -> None:
    node = node_of(mesh_of("secrets_in_files.yml"), "iceland")
    assert node.headers == {"Authorization": "@/etc/gpu-mesh/token", "Host": "ollama.internal"}


def test_a_template_is_worked_out_for_each_host() -> None:
    assert node_of(mesh_of("template.yml"), "iceland").name == "ICELAND (north)"


def test_the_sample_inventory_describes_a_local_and_a_tunnelled_node() -> None:
    reading = ansible_reader.read((str(ROOT / "inventory"),))
    assert reading.mesh is not None, describe(reading.mistakes)
    assert [(node.key, node.url) for node in reading.mesh.nodes] == [
        ("local", "http://127.0.0.1:11434"),
        ("iceland", "http://127.0.0.1:8080"),
    ]


@pytest.mark.parametrize(
    "key",
    [
        "a:b",
        "a,b",
        "a&b",
        "!a",
        "a*",
        "a?",
        "a[0]",
        "[a]",
        "~a",
        "@a",
        "a b",
        "a\n",
        "fd00::7",
        "-a",
        ".a",
        "a/b",
        "é",
    ],
)
def test_a_key_that_a_limit_would_not_take_for_that_host_alone_is_a_mistake(key: str) -> None:
    found = resolve([RawHost(key, ("mesh_nodes",), {"ansible_host": RawVariable("192.0.2.7")})])
    assert isinstance(found, tuple)
    assert [mistake.host for mistake in found] == [key]


@pytest.mark.parametrize("key", ["iceland", "gpu-2.example.net", "_7", "192.0.2.7"])
def test_a_plain_name_is_a_key(key: str) -> None:
    assert isinstance(resolve([RawHost(key, ("mesh_nodes",))]), Mesh)


@pytest.mark.parametrize("name", [*VARIABLES, "ansible_port"])
def test_a_number_with_more_digits_than_python_prints_is_an_ordinary_mistake(name: str) -> None:
    found = resolve([RawHost("iceland", ("mesh_nodes", "mesh_monitors"), {name: RawVariable(10**5000)})])
    assert isinstance(found, tuple)
    assert name in {mistake.variable for mistake in found}


hosts = st.from_regex(r"\A\[?[0-9a-f:.]{1,12}\]?(:[0-9]{1,6})?\Z") | st.sampled_from(
    ["10.0.0.9:11434", "[fd00::9]:22", "fd00::9", "::ffff:10.0.0.5", "[::1]", "::1]", "a:", ":1", "a:b"]
)


@given(
    st.sampled_from(["ansible_host", "mesh_tunnel_host", "mesh_node_url", "mesh_tunnel_remote_host"]), hosts
)
def test_where_an_accepted_node_is_can_always_be_read(name: str, host: str) -> None:
    values = {"mesh_tunnel_host": "gpu.example.net", "mesh_tunnel_local_port": 8080, name: host}
    if not name.startswith("mesh_tunnel_"):
        values = {name: f"http://{host}" if name == "mesh_node_url" else host}
    found = resolve([RawHost("iceland", ("mesh_nodes",), {k: RawVariable(v) for k, v in values.items()})])
    if isinstance(found, Mesh):
        (node,) = found.nodes
        assert node.machine
        assert urlsplit(node.url).hostname
        assert urlsplit(node.url).port != 0


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
names = st.sampled_from([*VARIABLES, *ROLE_VARIABLES, "ansible_host", "ansible_port", "ansible_connection"])


@given(
    st.dictionaries(st.text() | names, anything, max_size=8),
    st.lists(st.sampled_from(["mesh_nodes", "mesh_monitors"]), min_size=1),
)
def test_whatever_an_inventory_says_it_is_a_mesh_or_mistakes(
    values: dict[str, object], groups: list[str]
) -> None:
    variables = {name: RawVariable(value) for name, value in values.items()}
    found = resolve([RawHost("iceland", tuple(groups), variables)])
    assert isinstance(found, Mesh) or (found and all(mistake.message for mistake in found))


def test_names_that_are_almost_a_variable_are_noted_and_other_names_are_the_operators_own(
    tmp_path: Path,
) -> None:
    file = tmp_path / "mesh.yml"
    names = ["ansible_hots", "mesh-node-name", "node_name", "my_port", "ansible_ssh_host", "ansible_become"]
    lines = [f"      {name}: x\n" for name in names]
    file.write_text("mesh_nodes:\n  hosts:\n    iceland:\n" + "".join(lines))
    reading = ansible_reader.read((str(file),))
    assert reading.mesh is not None
    meant = {
        "ansible_hots": "ansible_host",
        "mesh-node-name": "mesh_node_name",
        "node_name": "mesh_node_name",
    }
    assert reading.notes == tuple(
        f"{file}:{number}: iceland: {name} has no effect on the mesh; did you mean {right}?"
        for number, (name, right) in enumerate(meant.items(), 4)
    )
