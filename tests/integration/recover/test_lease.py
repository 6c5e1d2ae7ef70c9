"""The lease of a node on the host that is acted on: by real shells, alone and in the recovery playbooks."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from factories import served_here
from gpu_mesh.domain.causes import Action
from gpu_mesh.domain.mesh import Mesh, Node, Settings, Tunnel
from gpu_mesh.domain.recovery import Finding
from gpu_mesh.hosts import playbook
from gpu_mesh.hosts.playbook_result import PlaybookResult
from gpu_mesh.planning.addresses import of_ollama
from gpu_mesh.standin.server import free_port
from gpu_mesh.system import host
from marks import soak

RESTART = playbook.find(Action.RESTART_OLLAMA)
REBUILD = playbook.find(Action.REBUILD_TUNNEL)
FILES = RESTART.parent / "files"
FUNCTIONS = "".join((FILES / name).read_text() for name in ("gpu_mesh.sh", "lease.sh"))
TAKEN = "gpu-mesh: lease taken"
FREE = "gpu-mesh: lease free"
CLOCK = r"\d\d:\d\d:\d\d UTC"
SHELLS = {"sh": ["/bin/sh"], "bash": ["bash", "--posix"], "busybox": ["busybox", "sh"]}
ME = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
BEFORE = ("no folder", "an expired lease", "a killed taker")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make another user's folder")


def sh(leases: Path, script: str, *, shell: str = "sh", user: int | None = None) -> str:
    """Run the lease's functions as a recovery does; return what they say."""
    done = subprocess.run(
        [*SHELLS[shell], "-c", f"{FUNCTIONS}\n{script}"],
        env={"PATH": os.environ["PATH"], "GPU_MESH_LEASE_DIR": str(leases)},
        capture_output=True,
        text=True,
        timeout=60,
        user=user,
    )
    assert done.stderr == ""
    return done.stdout.strip()


def put(leases: Path, number: int, content: str | None, name: str = "gpu1") -> Path:
    """Make a lease by hand."""
    leases.mkdir(exist_ok=True)
    leases.chmod(0o1777)
    folder = leases / f"{name}.{number}"
    folder.mkdir()
    if content is not None:
        (folder / "lease").write_text(content)
    return folder


def lease(since: float, ends: float, owner: str = "monitor-2 aaaa1111", phase: str = "acting") -> str:
    """Return a lease's words, its times relative to now."""
    now = int(time.time())
    return f"{now + int(since)} {now + int(ends)} restart {phase} {owner}\n"


def contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(params=["sh", soak("bash", name="bash"), soak("busybox", name="busybox")])
def shell(request: pytest.FixtureRequest) -> str:
    if shutil.which(SHELLS[request.param][0]) is None:
        pytest.skip(f"no {request.param} here")
    return str(request.param)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that any user may enter, for pytest's own ones are closed."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o1777)
        yield Path(name)


@pytest.mark.parametrize("shell", SHELLS, indirect=True)
def test_a_lease_keeps_others_out_while_its_owner_acts_and_cools_down(leases: Path, shell: str) -> None:
    one, two = "'monitor-1 aaaa1111'", "'monitor-2 bbbb2222'"
    assert sh(leases, f"take_lease gpu1 100 restart {one}", shell=shell) == TAKEN
    assert leases.stat().st_mode & 0o7777 == 0o1777
    held = sh(leases, f"take_lease gpu1 100 restart {two}", shell=shell)
    assert re.fullmatch(
        f"gpu-mesh: lease held monitor-1 restarts it since {CLOCK}, its lease ends {CLOCK}", held
    )
    assert sh(leases, f"see_lease gpu1 {two}", shell=shell) == held
    assert sh(leases, f"take_lease gpu2 100 restart {two}", shell=shell) == TAKEN, "another node is free"
    assert sh(leases, f"cool_lease gpu1 60 {two}", shell=shell) == ""
    assert sh(leases, f"see_lease gpu1 {two}", shell=shell) == held, "nobody else's can be ended"
    sh(leases, f"cool_lease gpu1 60 {one}", shell=shell)
    cooling = sh(leases, f"take_lease gpu1 100 restart {two}", shell=shell)
    assert re.fullmatch(
        f"gpu-mesh: lease held monitor-1 restarted it at {CLOCK}, its cool-down ends {CLOCK}", cooling
    )
    assert sh(leases, f"take_lease gpu1 100 restart {one}", shell=shell) == TAKEN, "its own it may take again"
    sh(leases, f"cool_lease gpu1 0 {one}", shell=shell)
    assert sh(leases, f"take_lease gpu1 100 restart {two}", shell=shell) == TAKEN
    assert [path.name for path in leases.glob("gpu1.*")] == ["gpu1.3"], "old ones are removed"


@pytest.mark.parametrize(
    ("shell", "before"),
    [
        ("sh", "an expired lease"),
        ("busybox", "no folder"),
        ("sh", "a killed taker"),
        *(soak("bash", before, name=f"bash-{before}") for before in BEFORE),
        *(soak("busybox", before, name=f"busybox-{before}") for before in BEFORE[1:]),
        soak("sh", "no folder", name="sh-no folder"),
    ],
    indirect=["shell"],
)
def test_of_many_that_want_a_lease_at_once_exactly_one_gets_it(
    leases: Path, tmp_path: Path, shell: str, before: str
) -> None:
    if before != "no folder":
        put(leases, 7, lease(-300, -200) if before == "an expired lease" else None)
    gate = tmp_path / "gate"
    script = f'{FUNCTIONS}\nuntil [ -e {gate} ]; do :; done\ntake_lease gpu1 100 restart "monitor-$1 x$1"'
    crowd = [
        subprocess.Popen(
            [*SHELLS[shell], "-c", script, "sh", str(number)],
            env={"PATH": os.environ["PATH"], "GPU_MESH_LEASE_DIR": str(leases)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(14)
    ]
    gate.touch()
    said = [process.communicate(timeout=60)[0].strip() for process in crowd]
    winners = [number for number, words in enumerate(said) if words == TAKEN]
    assert len(winners) == 1, said
    others = [words for words in said if words != TAKEN]
    # It may name one who had to give way in the end.
    assert all(re.match(r"gpu-mesh: lease held monitor-\d+ restarts it since", words) for words in others), (
        said
    )
    assert len(list(leases.glob("gpu1.*"))) == 1


@pytest.mark.parametrize(
    ("content", "free"),
    [
        ((-50, 50), False),
        ((-150, -1), True),
        ((30, 90), False),  # a clock that was put right by half a minute
        ((3600, 3700), True),  # one that was set back by an hour
        ((-50, 86400), True),  # further away than any lease
        ("", True),
        ("some words that are no lease\n", True),
        ("017 099999999999999999999 restart acting monitor-2\n", True),
        (f"{'9' * 11} {'9' * 11} restart acting monitor-2\n", True),
        ("x" * 100_000, True),
    ],
    ids=[
        "running",
        "over",
        "30 s ahead",
        "an hour ahead",
        "a day long",
        "empty",
        "words",
        "octal",
        "far",
        "big",
    ],
)
def test_only_a_lease_that_can_be_true_is_believed(
    leases: Path, shell: str, content: str | tuple[int, int], free: bool
) -> None:
    put(leases, 1, content if isinstance(content, str) else lease(*content))
    assert (sh(leases, "see_lease gpu1 me", shell=shell) == FREE) is free
    assert (sh(leases, "take_lease gpu1 100 restart me", shell=shell) == TAKEN) is free


def test_what_a_lease_says_is_plain_and_short(leases: Path, shell: str) -> None:
    put(leases, 1, lease(-5, 50, "evil\x1b[31m\x07" + "x" * 500))
    said = sh(leases, "see_lease gpu1 me", shell=shell)
    assert said.isascii()
    assert said.isprintable()
    assert len(said) < 400


@pytest.mark.parametrize("case", ["base is a link", "base is a file", "base is open"])
def test_a_folder_that_somebody_else_can_change_is_refused_and_left_as_it_is(
    leases: Path, tmp_path: Path, case: str
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    if case == "base is a link":
        leases.symlink_to(elsewhere)
    elif case == "base is a file":
        leases.touch()
    else:
        put(leases, 1, None).rmdir()
        leases.chmod(0o777)
    why = {
        "base is a link": f"is a symbolic link of {ME}",
        "base is open": f"of {ME} can be changed by others",
        "base is a file": f"is no folder, and this user cannot make it; it is a file of {ME}",
    }[case]
    before = contents(tmp_path)
    for words in ("see_lease gpu1 me", "take_lease gpu1 100 restart me"):
        assert sh(leases, words) == f"gpu-mesh: lease refused {leases} {why}"
    assert contents(tmp_path) == before
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize("case", ["a link", "open", "a file", "a link to nowhere"])
def test_what_lies_in_the_place_of_a_lease_and_is_none_is_passed_over_and_left_as_it_is(
    leases: Path, tmp_path: Path, shell: str, case: str
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "lease").write_text(lease(-5, 50))
    place = put(leases, 1, lease(-5, 50))
    if case == "open":
        place.chmod(0o757)
    else:
        shutil.rmtree(place)
        if case == "a file":
            place.touch()
        else:
            place.symlink_to(elsewhere if case == "a link" else "nowhere")
    before = contents(tmp_path)
    assert sh(leases, "see_lease gpu1 me", shell=shell) == FREE
    assert contents(tmp_path) == before
    assert sh(leases, "take_lease gpu1 100 restart me", shell=shell) == TAKEN
    assert "held monitor-2" not in sh(leases, "see_lease gpu1 other", shell=shell)
    assert {path.name for path in leases.iterdir()} == {"gpu1.1", "gpu1.2"}
    assert contents(elsewhere) == {"lease": before["elsewhere/lease"]}


def test_a_lease_file_that_is_a_link_is_not_followed(leases: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(lease(-5, 50, "a secret"))
    (put(leases, 1, None) / "lease").symlink_to(secret)
    assert sh(leases, "take_lease gpu1 100 restart me") == TAKEN
    assert "a secret" in secret.read_text()


@as_root
def test_users_without_rights_share_leases_and_cannot_take_each_others(open_folder: Path) -> None:
    leases, one, two = open_folder / "leases", 60001, 60002
    take = "take_lease gpu1 {} restart '{}'"
    assert sh(leases, take.format(100, "monitor-1 a"), user=one) == TAKEN
    assert "held monitor-1 restarts it" in sh(leases, take.format(100, "alice@laptop"), user=two)
    assert "held monitor-1 a restarts it" in sh(leases, take.format(100, "monitor-1 a"), user=two), (
        "a name alone is not enough"
    )
    sh(leases, "cool_lease gpu1 0 'monitor-1 a'", user=one)
    assert sh(leases, take.format(100, "alice@laptop"), user=two) == TAKEN, "an expired one is nobody's"
    assert {path.name for path in leases.iterdir()} == {"gpu1.1", "gpu1.2"}
    assert "held alice@laptop restarts it" in sh(leases, take.format(100, "monitor-1 a"), user=one)


@as_root
@pytest.mark.parametrize("mode", [0o755, 0o700])
def test_a_folder_of_all_leases_that_is_one_strangers_own_is_refused(open_folder: Path, mode: int) -> None:
    leases = open_folder / "leases"
    leases.mkdir()
    leases.chmod(mode)
    os.chown(leases, 60001, 60001)
    for user in (None, 60002):
        said = sh(leases, "take_lease gpu1 100 restart me", user=user)
        assert said == f"gpu-mesh: lease refused {leases} belongs to 60001 alone"


@as_root
def test_where_nothing_can_be_written_the_lease_is_refused_with_the_reason(open_folder: Path) -> None:
    leases = open_folder / "leases"
    leases.mkdir()
    leases.chmod(0o755)
    said = sh(leases, "take_lease gpu1 100 restart me", user=60002)
    assert said.startswith("gpu-mesh: lease refused ")
    assert "ermission denied" in said


MONITOR, TWIN, VANDAL = 60001, 60002, 60003
IN_THE_WAY = ("an empty folder", "the highest numbers", "the next numbers", "a file")


@pytest.fixture
def known(open_folder: Path) -> Path:
    """The folder of leases as a role makes it, and who may hold them: two monitors, each with a login."""
    leases = open_folder / "leases"
    leases.mkdir()
    leases.chmod(0o1777)
    (open_folder / "leases.holders").write_text(f"{MONITOR}\n{TWIN}\n")
    return leases


TAKE = "take_lease gpu1 {} restart '{}'"


@as_root
def test_where_it_is_known_who_repairs_two_monitors_keep_each_other_out_and_a_vandal_nobody(
    known: Path, shell: str
) -> None:
    assert sh(known, TAKE.format(7000, "monitor-9 v"), user=VANDAL) == TAKEN, "so he is told"
    assert sh(known, TAKE.format(100, "monitor-1 a"), user=MONITOR, shell=shell) == TAKEN
    held = sh(known, TAKE.format(100, "monitor-2 b"), user=TWIN, shell=shell)
    assert held.endswith(f" ({known}/gpu1.2 of {MONITOR})"), held
    assert "held monitor-1 restarts it" in held
    assert "held monitor-1" in sh(known, TAKE.format(7000, "monitor-9 v"), user=VANDAL)
    sh(known, "cool_lease gpu1 0 'monitor-1 a'", user=MONITOR)
    assert sh(known, TAKE.format(100, "monitor-2 b"), user=TWIN, shell=shell) == TAKEN


@as_root
@pytest.mark.parametrize(
    ("shell", "what"),
    [
        *(("sh", what) for what in IN_THE_WAY),
        ("busybox", "the highest numbers"),
        *(
            soak(shell, what, name=f"{shell}-{what}")
            for shell in ("bash", "busybox")
            for what in IN_THE_WAY
            if (shell, what) != ("busybox", "the highest numbers")
        ),
    ],
    indirect=["shell"],
)
def test_a_vandal_who_was_there_first_blocks_no_repair(known: Path, shell: str, what: str) -> None:
    numbers = {
        "an empty folder": [1],
        "the highest numbers": [999_999_999, 999_999_998, 900_000_000],
        "the next numbers": range(1, 2000),
        "a file": [1],
    }[what]
    for number in numbers:
        place = known / f"gpu1.{number}"
        place.touch() if what == "a file" else place.mkdir()
        os.chown(place, VANDAL, VANDAL)
    there = {path.name for path in known.iterdir()}
    assert sh(known, TAKE.format(100, "monitor-1 a"), user=MONITOR, shell=shell) == TAKEN
    assert "held monitor-1" in sh(known, TAKE.format(100, "monitor-2 b"), user=TWIN, shell=shell)
    assert there < {path.name for path in known.iterdir()}, "what is his stays, for a person to see"


@as_root
def test_a_folder_of_all_leases_that_a_vandal_made_is_refused_by_name_where_it_is_known_who_repairs(
    known: Path,
) -> None:
    os.chown(known, VANDAL, VANDAL)
    said = sh(known, TAKE.format(100, "monitor-1 a"), user=MONITOR)
    assert said == f"gpu-mesh: lease refused {known} belongs to {VANDAL}, who may not repair anything here"


@as_root
def test_where_nobody_knows_who_repairs_who_is_in_the_way_is_named(open_folder: Path, shell: str) -> None:
    leases = open_folder / "leases"
    assert sh(leases, TAKE.format(7000, "monitor-9 v"), user=VANDAL) == TAKEN
    held = sh(leases, TAKE.format(100, "monitor-1 a"), user=MONITOR, shell=shell)
    assert held.endswith(f" ({leases}/gpu1.1 of {VANDAL})")
    shutil.rmtree(leases / "gpu1.1")
    for number, said in (
        ([900_000_000], f"{leases}/gpu1.900000000 of {VANDAL} is in the way"),
        (range(1, 202), f"202 folders in {leases} begin with gpu1, one of them is of {VANDAL}"),
    ):
        for each in number:
            (leases / f"gpu1.{each}").mkdir()
            os.chown(leases / f"gpu1.{each}", VANDAL, VANDAL)
        refused = sh(leases, TAKE.format(100, "monitor-1 a"), user=MONITOR, shell=shell)
        assert refused == f"gpu-mesh: lease refused {said}"


@as_root
def test_on_a_full_disk_the_lease_is_refused_with_that_reason_and_nothing_is_left(tmp_path: Path) -> None:
    leases = tmp_path / "small/leases"
    leases.parent.mkdir()
    script = f"""mount -t tmpfs -o size=64k tmpfs {leases.parent} && mkdir -m 1777 {leases}
head -c 1000000 /dev/zero >{leases.parent}/big 2>/dev/null
{FUNCTIONS}
take_lease gpu1 100 restart me; ls {leases}"""
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script],
        env={"PATH": os.environ["PATH"], "GPU_MESH_LEASE_DIR": str(leases)},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    if "mount" in done.stderr or "unshare" in done.stderr:
        pytest.skip("no file system of its own can be made here")
    assert (
        done.stdout
        == f"gpu-mesh: lease refused {leases}/gpu1.1 cannot be written to: No space left on device\n"
    )


# In the playbooks

PLAYBOOKS = [pytest.param(RESTART, id="restart"), soak(REBUILD, name="rebuild")]


@pytest.fixture
def touched(tmp_path: Path) -> Path:
    return tmp_path / "touched"


def node(port: int, touched: Path, **fields: Any) -> Node:
    command = f"echo x >>{touched}; exit 3"
    tunnel = Tunnel("pod", port, recovery_command=command) if fields.pop("tunnelled", False) else None
    return served_here(port, recovery_command=command, tunnel=tunnel, **fields)


def run(path: Path, what: Node, here: tuple[str, ...], owner: str, **extra: Any) -> PlaybookResult:
    known = {"gpu_mesh_addresses": of_ollama(what, Mesh((what,))), "gpu_mesh_owner": owner, **extra}
    return playbook.run(path, what, Settings(), here, on_monitor=path == REBUILD, extra=known)


@pytest.mark.parametrize("path", PLAYBOOKS)
def test_a_second_monitor_is_told_who_has_just_repaired_the_node_and_touches_nothing(
    here: tuple[str, ...], closed_port: int, touched: Path, leases: Path, path: Path
) -> None:
    what = node(closed_port, touched, tunnelled=path == REBUILD)
    first = run(path, what, here, "monitor-1 aaaa1111", gpu_mesh_cooldown=30)
    assert (first.success, touched.read_text()) == (False, "x\n")
    second = run(path, what, here, "monitor-2 bbbb2222")
    assert (second.success, second.done, second.finding) == (True, False, Finding.LEASED)
    did = "restarted it" if path == RESTART else "rebuilt its tunnel"
    assert re.fullmatch(f"monitor-1 {did} at {CLOCK}, its cool-down ends {CLOCK}", second.said)
    assert touched.read_text() == "x\n"
    again = run(path, what, here, "monitor-1 aaaa1111")
    assert (again.finding, touched.read_text()) == (first.finding, "x\nx\n")


def test_restart_and_tunnel_have_leases_of_their_own(
    here: tuple[str, ...], closed_port: int, touched: Path, leases: Path
) -> None:
    put(leases, 1, lease(-5, 100, "monitor-1 a"))
    report = run(REBUILD, node(closed_port, touched, tunnelled=True), here, "monitor-2 b")
    assert (report.finding, touched.read_text()) == (Finding.PORT_WAS_SILENT, "x\n")
    assert {path.name for path in leases.iterdir()} == {"gpu1.1", "gpu1@tunnel.1"}


def test_while_one_acts_the_lease_lasts_longer_than_its_playbook_may(
    here: tuple[str, ...], closed_port: int, tmp_path: Path, leases: Path
) -> None:
    seen = tmp_path / "seen"
    what = msgspec.structs.replace(
        node(closed_port, seen), recovery_command=f"cat {leases}/gpu1.1/lease >{seen}; exit 1"
    )
    run(RESTART, what, here, "monitor-1 a")
    since, ends, doing, phase, *owner = seen.read_text().split()
    assert (doing, phase, owner) == ("restart", "acting", ["monitor-1", "a"])
    assert int(ends) - int(since) == Settings().recovery_timeout + playbook.HOLD_MARGIN


def test_a_lease_that_cannot_be_trusted_stops_the_recovery_with_the_reason(
    here: tuple[str, ...], closed_port: int, touched: Path, leases: Path, tmp_path: Path
) -> None:
    leases.symlink_to(tmp_path)
    report = run(RESTART, node(closed_port, touched), here, "monitor-1 a")
    assert (report.success, report.done, report.finding) == (True, False, Finding.CANNOT_LEASE)
    assert (
        report.said == f"its lease cannot be taken: {leases} is a symbolic link of {ME}; nothing was touched"
    )
    assert not touched.exists()


@pytest.mark.parametrize("path", PLAYBOOKS)
def test_by_hand_the_lease_is_the_persons_and_check_mode_writes_nothing(
    tmp_path: Path, closed_port: int, touched: Path, leases: Path, path: Path
) -> None:
    local = free_port()
    values = {
        "ansible_connection": "local",
        "mesh_node_recovery": "command",
        "mesh_node_recovery_command": f"echo x >>{touched}; exit 3",
        "mesh_tunnel_host": "127.0.0.1",
        "mesh_tunnel_local_port": local,
        "mesh_tunnel_remote_port": closed_port,
        "mesh_tunnel_recovery_command": f"echo x >>{touched}; exit 3",
    }
    source = tmp_path / "hosts.yml"
    source.write_text(yaml.safe_dump({"mesh_nodes": {"hosts": {"gpu1": values}}}))

    def by_hand(*more: str) -> str:
        program = Path(sys.executable).parent / "ansible-playbook"
        words = [program, "-i", source, path, "-l", "gpu1", *more]
        # Ansible folds a long text.
        return " ".join(subprocess.run(words, capture_output=True, text=True).stdout.split())

    would = "its Ollama would be restarted (command)" if path == RESTART else "the tunnel would be rebuilt"
    assert would in " ".join(by_hand("--check").split())
    assert not leases.exists()
    assert not touched.exists()
    by_hand()
    user = subprocess.run("echo $(id -un)@$(uname -n)", shell=True, capture_output=True, text=True).stdout
    (taken,) = contents(leases).values()
    assert taken.endswith(f" over {user}")
    refused = by_hand("-e", "gpu_mesh_owner=alice@laptop")
    assert "gpu1: nothing was touched: " + user.strip() in refused
    assert touched.read_text() == "x\n"


def test_an_owner_differs_between_monitors_of_one_machine_and_is_one_monitors_always(tmp_path: Path) -> None:
    one, two = host.owner(tmp_path / "one"), host.owner(tmp_path / "two")
    assert one == host.owner(tmp_path / "x" / ".." / "one")
    assert one != two
    assert re.fullmatch(re.escape(os.uname().nodename) + " [0-9a-f]{8}", one)
