"""What a person at a terminal reads of commands that otherwise run under systemd, and of those for people."""

import importlib
import os
import re
import subprocess

import pytest

from gpu_mesh.cli.commands import COMMANDS, Group
from gpu_mesh.standin.server import free_port
from marks import soak


def at_a_terminal(site, *words):
    """Run the command with a terminal for its output; return its exit status and what it printed there."""
    ours, theirs = os.openpty()
    with subprocess.Popen(
        site.command(*words), env=site.environment, stdout=theirs, stderr=subprocess.DEVNULL
    ) as running:
        os.close(theirs)
        said = b""
        while True:
            try:
                more = os.read(ours, 65536)
            except OSError:  # the last one who had it open for writing is gone
                break
            if not more:
                break
            said += more
    os.close(ours)
    return running.returncode, said.decode().replace("\r\n", "\n").splitlines()


def mesh(site, standin, failing=1, threshold=1, **settings):
    """Describe a healthy node, and unhealthy ones that refuse and have a command that does not help."""
    down = {
        f"gpu{number}": {
            "url": f"http://127.0.0.1:{free_port()}",
            "recovery": "command",
            "recovery_command": "echo no such model store; exit 7",
            "unhealthy_threshold": threshold,
        }
        for number in range(1, failing + 1)
    }
    site.describe({"desk": {"url": standin().url}, **down}, **settings)
    site.check(threshold)


# Recovery that is held back.


def silenced(site):
    site.ok("silence", "add", "gpu1", "--for", "1h", "--reason", "driver update", "--no-recovery")


def tried(site):
    site.ok("recover")


@pytest.mark.parametrize(
    ("failing", "settings", "first", "reason"),
    [
        pytest.param(1, {}, silenced, "silenced by ", id="a silence"),
        pytest.param(
            3, {"recovery_brake": 50}, lambda site: None, "too many nodes fail at once; ", id="the brake"
        ),
        pytest.param(1, {}, tried, "next attempt in ", id="a wait"),
        soak(
            1,
            {"recovery_max_attempts": 1},
            tried,
            "1 of 1 attempts made: needs a person, the next attempt is due at ",
            name="the end of the ladder",
        ),
    ],
)
def test_a_recovery_that_is_held_back_says_why_at_a_terminal_and_is_quiet_elsewhere(
    site, standin, failing, settings, first, reason
):
    mesh(site, standin, failing, **settings)
    first(site)
    code, said = at_a_terminal(site, "recover")
    assert code == 0
    assert said[0] == "now desk  -: nothing: healthy"
    assert said[1].startswith(f"now gpu1  refused: nothing: {reason}")
    assert len(said) == 1 + failing
    done = site.run("recover")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_of_one_node_it_is_said_once_why_it_is_left_alone(site, standin):
    mesh(site, standin)
    silenced(site)
    code, (said,) = at_a_terminal(site, "recover", "gpu1")
    assert code == 1
    assert said.startswith("gpu1  refused: nothing: silenced by ")


def test_a_check_at_a_terminal_says_a_line_a_node(site, standin):
    mesh(site, standin)
    code, (desk, gpu1) = at_a_terminal(site, "check")
    assert code == 0
    assert desk.startswith("🟢 desk: healthy, ")
    assert desk.endswith(" ms, 1 model")
    assert gpu1 == "🔴 gpu1: unhealthy, Connection refused"


# Alerts.


@pytest.fixture
def nobody_there(site, standin):
    """Make alerts go to a web hook that refuses them; return its host, which is no secret."""
    address = f"127.0.0.1:{free_port()}"
    site.alerts_go_to(f"json://anna:password99@{address}/pathtoken99")
    mesh(site, standin, threshold=3)  # a warning, and then an error
    return address


def test_a_failed_test_of_alerts_is_told_once(site, nobody_there):
    done = site.run("alerts", "test")
    assert done.returncode == 1
    (said,) = done.stdout.splitlines()
    assert said.startswith(f"FAILED   JSON json://{nobody_there} (")
    assert done.stderr == ""
    (logged,) = [line for line in site.log() if "event=alert_test" in line]
    assert "level=warning" in logged


def test_a_delivery_by_hand_says_what_is_left(site, nobody_there):
    said = site.ok("deliver", "--now")
    assert re.fullmatch(
        r"2 alerts are not delivered; `gpu-mesh -i \S+ --state-dir \S+ alerts list` says why.\n", said
    )
    assert site.ok("deliver") == ""
    site.paths.state.joinpath("state.json").unlink()
    site.paths.state.joinpath("state.previous.json").unlink()
    assert site.ok("deliver", "--now") == "Every alert is delivered.\n"


def test_the_history_names_service_and_host_where_the_configuration_can_be_read(site, nobody_there):
    site.ok("deliver")
    by_name = f"JSON json://{nobody_there} ("
    listed = site.ok("alerts", "list")
    assert by_name in listed
    assert "password99" not in listed
    assert "pathtoken99" not in listed
    site.inventory.unlink()
    assert by_name in site.ok("alerts", "list")
    (site.paths.config / "apprise.yml").unlink()
    unread = site.ok("alerts", "list")
    assert "json://" not in unread
    (key,) = {key for alert in site.state().alerts for key in alert.deliveries}
    assert f"  {key}: not delivered yet" in unread


# Silences.


def test_a_silence_that_is_ended_says_what_else_mutes_its_nodes(site, standin):
    mesh(site, standin, failing=2, recovery_brake=0)
    site.environment["SUDO_USER"] = "anna"
    for names in (["gpu1"], ["gpu2"], ["mesh_nodes", "--level", "warning"], ["--all"]):
        site.ok("silence", "add", *names, "--for", "3d", "--reason", "new switch")
    said = site.ok("silence", "end", "1").splitlines()
    assert said[0] == "Silence 1 has ended, but alerts of gpu1 stay muted by:"
    assert [line.partition(" until ")[0] for line in said[1:]] == [
        "  silence 3: group mesh_nodes, warning only",
        "  silence 4: everything",
    ]
    site.ok("silence", "end", "4")
    again = site.ok("silence", "end", "1").splitlines()
    assert again[0].startswith("Silence 1 ended already, at ")
    assert again[0].endswith(", but alerts of gpu1 stay muted by:")
    assert again[1:] == said[1:2]
    site.ok("silence", "end", "3")
    assert site.ok("silence", "end", "2") == "Silence 2 has ended: it no longer mutes alerts of gpu2\n"


def test_an_open_window_is_named_to_whoever_ends_a_silence(site, standin):
    always = {"days": "daily", "from": "00:00", "to": "24:00", "reason": "backup"}
    site.describe({"gpu1": {"url": standin().url, "maintenance": [always]}, "gpu2": {}})
    for name in ("gpu1", "gpu2"):
        site.ok("silence", "add", name, "--for", "1h", "--reason", "driver update")
    assert "  maintenance: gpu1 until " in site.ok("silence", "end", "1")
    assert ": it no longer mutes alerts of " in site.ok("silence", "end", "2")


# What the help says.


def words_of(site, *words):
    return subprocess.run(
        [*site.program, *words, "--help"], env=site.environment, capture_output=True, text=True, check=True
    ).stdout


def test_what_a_silence_needs_is_not_shown_as_optional(site):
    usage, _, rest = words_of(site, "silence", "add").partition("\n\n")
    first = usage.splitlines()[0]
    assert first == "usage: gpu-mesh silence add (NODE|GROUP ... | --all) --for TIME --reason REASON"
    options = re.findall(r"(?m)^  (?:-\w[ \w]*, )?(--[\w-]+)", rest)
    assert {"--for", "--level", "--state-dir"} <= set(options)
    short = {"--help": "-h", "--inventory": "-i", "--verbose": "-v"}
    assert [each for each in options if short.get(each, each) not in usage] == []


def test_without_a_command_it_prints_the_help(site):
    done = subprocess.run(site.program, env=site.environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == words_of(site)
    assert done.stdout.startswith("usage: gpu-mesh [OPTION ...] COMMAND ...\n")


def test_the_help_lists_the_commands_in_groups_and_not_those_of_units(site):
    said = words_of(site)
    headings = [line for line in said.splitlines() if line.endswith(":") and line[0] != " "]
    assert headings == [*(f"{group.value}:" for group in Group), "options:", "examples:"]
    for name, command in COMMANDS.items():
        assert bool(re.search(rf"(?m)^  {name}  +\S", said)) is (command.group is not None), name
    assert max(map(len, said.partition("options:")[0].splitlines())) <= 100


MISSPELT = [
    # what is typed → what it says
    ("stauts", "gpu-mesh: there is no command 'stauts'; did you mean status?"),
    ("recovr gpu1", "gpu-mesh: there is no command 'recovr'; did you mean recover?"),
    ("xyzzy", "gpu-mesh: there is no command 'xyzzy'; see: gpu-mesh --help"),
    ("faile", "gpu-mesh: there is no command 'faile'; see: gpu-mesh --help"),  # nobody types failed
    ("status --jsno", "gpu-mesh status has no option --jsno; did you mean --json?"),
    ("status --qqq", "gpu-mesh status has no option --qqq; see: gpu-mesh status --help"),
    ("recover -x", "gpu-mesh recover has no option -x; see: gpu-mesh recover --help"),
    ("--inventry x status", "gpu-mesh has no option --inventry; did you mean --inventory?"),
    ("-i x --state_dir=y status", "gpu-mesh has no option --state_dir; did you mean --state-dir?"),
    ("silence ad x", "gpu-mesh silence: there is no command 'ad'; did you mean add?"),
    ("silence add x --resaon y", "gpu-mesh silence add has no option --resaon; did you mean --reason?"),
    ("alerts lst", "gpu-mesh alerts: there is no 'lst'; did you mean list?"),
    ("completion bahs", "gpu-mesh completion: there is no 'bahs'; did you mean bash?"),
]


@pytest.mark.parametrize(("typed", "expected"), MISSPELT)
def test_a_misspelt_word_gets_the_nearest_right_one(site, typed, expected):
    command = [*site.program, *typed.split()]
    done = subprocess.run(command, env=site.environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"{expected}\n")


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("ack", "gpu-mesh ack: error: the following arguments are required: NODE"),
        ("dashboard gpu1 -5", "gpu-mesh dashboard: error: unrecognized arguments: gpu1 -5"),
        ("best --model", "gpu-mesh best: error: argument --model: expected one argument"),
        ("silence end x", "gpu-mesh silence end: error: argument ID: invalid int value: 'x'"),
    ],
)
def test_other_mistakes_are_told_with_the_usage(site, typed, expected):
    command = [*site.program, *typed.split()]
    done = subprocess.run(command, env=site.environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: gpu-mesh ")
    assert done.stderr.endswith(f"{expected}\n")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_says_what_it_exits_with(site, command):
    said = words_of(site, command)
    codes = re.findall(r"(?m)^  (\d)  \S", said.partition("exit status:\n")[2].partition("\n\n")[0])
    assert codes[0] == "0"
    assert ("2" in codes) is (command != "demo")


def test_each_command_has_a_module_of_its_own_with_all_that_the_command_line_asks_of_it():
    for name, command in COMMANDS.items():
        module = importlib.import_module(f"gpu_mesh.cli.{command.module}")
        assert module.EXAMPLES.startswith("gpu-mesh "), name
        assert callable(module.add_arguments), name
        assert callable(module.run), name


def test_an_alert_that_is_delivered_names_commands_as_they_are_typed_here(site, receiver):
    site.alerts_go_to(receiver.url)
    closed = f"http://127.0.0.1:{free_port()}"
    site.describe({f"gpu{number}": {"url": closed} for number in range(4)})
    site.check(3)
    site.ok("deliver")
    assert any(f"to repair them anyway: {site.typed} recover --force" in body for body in receiver.bodies)
