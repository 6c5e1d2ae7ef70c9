"""Machines with a real systemd, sshd and polkit for the host tests, booted by systemd-nspawn as root.

A tree per Debian release is made once by mmdebstrap and kept in CACHE; a machine is a copy of it. The
machines of a test process hang on one bridge in a network namespace of their own, so that nothing of this
machine's network is touched but one link to that bridge. Everything ends with the test process, even when it
is killed. Test processes do not meet, be they of one run or of several: each holds a number by a lock that
ends with it, everything that it makes bears that number, and whoever takes the number clears what is left.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

from checkout import PROGRAMS

CACHE = Path(os.environ.get("GPU_MESH_TEST_CACHE", "/var/cache/gpu-mesh-tests"))
PACKAGES = (
    "ca-certificates,dbus,dbus-user-session,iproute2,libpam-systemd,logrotate,nftables,openssh-client,openssh-server,"
    "polkitd,procps,python3,python3-venv,sudo,systemd,systemd-sysv,udev"
)
NEEDED = {
    "mmdebstrap": "mmdebstrap",
    "systemd-nspawn": "systemd-container",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "ip": "iproute2",
    "setpriv": "util-linux",
    "nsenter": "util-linux",
}
BOOT = 60.0  # seconds until a machine must answer by ssh
_ENTER = 'while [ "$1" != -- ]; do echo $$ >"$1"; shift; done; shift; exec "$@"'
"""Enter the control groups whose files come first, then become the program after ``--``."""


def lacking() -> str:
    """Say why no machine can be booted here; "" when nothing is lacking. Installs missing packages."""
    if os.geteuid() != 0:
        return "the host tests need root: sudo make test-hosts"
    missing = sorted({package for program, package in NEEDED.items() if not shutil.which(program)})
    if missing and shutil.which("apt-get"):
        environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for command in (["apt-get", "update", "-qq"], ["apt-get", "install", "-y", "-qq", *missing]):
            subprocess.run(command, env=environ, stdout=subprocess.DEVNULL, check=False)
        missing = sorted({package for program, package in NEEDED.items() if not shutil.which(program)})
    if missing:
        return f"the host tests need the packages {', '.join(missing)}"
    probe = f"gmprobe{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True, check=False)
    subprocess.run(["ip", "netns", "del", probe], capture_output=True, check=False)
    return f"no network namespace can be made here: {made.stderr.strip()}" if made.returncode else ""


def tree(release: str, *more: str, offered: Sequence[str] = ()) -> Path:
    """Return a folder with a minimal Debian of that release, made at the first call and kept.

    Args:
        release: its name.
        more: packages that it has besides.
        offered: packages that it can install, with all that they need, though it reaches no archive.
    """
    packages = ",".join((PACKAGES, *more, *(["apt"] if offered else [])))
    made_from = hashlib.sha256(" ".join((release, packages, "1", *offered)).encode()).hexdigest()[:12]
    kept = CACHE / f"{release}-{made_from}"
    with making(kept) as staged:
        if staged:
            options = [
                "--quiet",
                "--mode=root",
                "--variant=essential",
                '--aptopt=Apt::Install-Recommends "false"',
            ]
            if offered:
                offer = PROGRAMS / "offer_packages.sh"
                options.append(f'--customize-hook=sh {offer} "$1" {" ".join(offered)}')
            subprocess.run(["mmdebstrap", *options, f"--include={packages}", release, staged], check=True)
            for name in (staged / "etc/ssh").glob("ssh_host_*"):
                name.unlink()
    return kept


@contextlib.contextmanager
def making(kept: Path) -> Iterator[Path | None]:
    """Yield where to make that folder of CACHE, or None when it is there; one process at a time makes it."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{kept.name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if kept.is_dir():
            yield None
            return
        staged = kept.with_name(f"{kept.name}.new")
        shutil.rmtree(staged, ignore_errors=True)
        yield staged
        staged.rename(kept)


def await_that(condition: Callable[[], object], seconds: float, what: str) -> float:
    """Wait until the condition holds and return the seconds that it took.

    Raises:
        AssertionError: it does not hold within that time.
    """
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() - begun < seconds, f"not within {seconds:g} s: {what}"
        time.sleep(0.1)
    return time.monotonic() - begun


class Machine:
    """One booted machine; made by ``Site.machine``."""

    def __init__(
        self,
        site: "Site",
        name: str,
        address: str,
        root: Path,
        namespace: str,
        program: Sequence[str] = ("--boot",),
    ) -> None:
        self.site = site
        self.name = name
        self.address = address
        self.root = root
        self._namespace = namespace
        self._program = program
        self._nspawn: subprocess.Popen[bytes] | None = None

    def boot(self) -> None:
        """Start it and wait until it answers by ssh."""
        self.start()
        self.await_ssh()

    def start(self) -> None:
        """Start it."""
        console = (self.root.parent / f"{self.name}.console").open("ab")
        with console:
            # Dies with this process: nothing stays behind when the tests are killed.
            self._nspawn = subprocess.Popen(
                [
                    *("setpriv", "--pdeathsig", "KILL", "sh", "-c", _ENTER, "sh"),
                    *(str(group / "cgroup.procs") for group in self._cgroups()),
                    "--",
                    *("systemd-nspawn", "--quiet", "--register=no", "--keep-unit"),
                    "--capability=CAP_NET_ADMIN",  # for nft; its network is its own
                    *("--link-journal=no", "--resolv-conf=off", "--console=passive"),
                    f"--directory={self.root}",
                    f"--machine={self._namespace}",  # no other's, for nspawn has folders of that name
                    f"--hostname={self.name}",
                    f"--network-namespace-path=/run/netns/{self._namespace}",
                    *self._program,
                ],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                # Debian 13's systemd runs on the unified hierarchy alone.
                env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
            )

    @property
    def running(self) -> bool:
        """Whether it has been started and has not ended."""
        return self._nspawn is not None and self._nspawn.poll() is None

    @property
    def leader(self) -> int:
        """The number, outside, of its first process."""
        assert self._nspawn is not None
        return _children(self._nspawn.pid)[0]

    def await_ssh(self) -> None:
        """Wait until it answers by ssh."""
        await_that(self._answers, BOOT, f"{self.name} answers by ssh; it wrote: {self.console()}")

    def _cgroups(self) -> Sequence[Path]:
        """Make control groups of its own: machines that share one end each other's services."""
        groups = [folder / self._namespace for folder in _hierarchies()]
        for group in groups:
            group.mkdir(exist_ok=True)
        return groups

    def _answers(self) -> bool:
        assert self._nspawn is not None
        assert self._nspawn.poll() is None, f"{self.name} ended: {self.console()}"
        return self.ssh("true", check=False).returncode == 0

    def console(self) -> str:
        """Return the end of what it wrote while booting."""
        return (self.root.parent / f"{self.name}.console").read_text(errors="replace")[-2000:]

    def ssh(
        self, command: str, *, user: str = "root", check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a shell command there as that user."""
        done = subprocess.run(
            ["ssh", "-F", self.site.ssh_config, f"{user}@{self.name}", command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert not check or done.returncode == 0, f"{self.name}: {command}: {done.stdout}{done.stderr}"
        return done

    def out(self, command: str, *, user: str = "root") -> str:
        """Run a shell command there and return what it printed."""
        return self.ssh(command, user=user).stdout.strip()

    def reboot(self) -> None:
        """Shut it down in order and start it again."""
        assert self._nspawn is not None
        self.ssh("systemctl reboot", check=False)
        try:
            self._nspawn.wait(20)
        except subprocess.TimeoutExpired:
            # A new systemd in an old nspawn may wait for its user managers for ever: then it is a power cut.
            self.halt()
        self.boot()

    def halt(self) -> None:
        """End it at once, as a power cut does."""
        if self._nspawn is None or not self.running:
            return
        for leader in _children(self._nspawn.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(leader, signal.SIGKILL)
        try:
            self._nspawn.wait(10)
        except subprocess.TimeoutExpired:
            self._nspawn.kill()
            self._nspawn.wait()
        _remove_cgroups(self._namespace)

    def journal(self) -> str:
        """Return the end of its journal, read from outside, so that it need not run."""
        command = [
            "journalctl",
            "--directory",
            self.root / "var/log/journal",
            "--no-pager",
            "-o",
            "short-precise",
        ]
        return subprocess.run([*command, "-n", "150"], capture_output=True, text=True, check=False).stdout


class Site:
    """The machines of one test run, their network and the key that opens them."""

    def __init__(self) -> None:
        self.number, self._held = _take_number()
        self._tag = f"gm{self.number}-"
        self.folder = CACHE / f"site-{self.number}"
        self.key = self.folder / "operator"
        self.ssh_config = self.folder / "ssh_config"
        self.address = f"10.214.{self.number}.1"  # of this machine, as the others see it
        self.machines: dict[str, Machine] = {}

    def open(self) -> None:
        """Make the folder, the key and the bridge."""
        self.folder.mkdir(parents=True, mode=0o700)
        _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "operator", "-f", str(self.key))
        self._write_ssh_config()
        switch = self._namespace("switch")
        _run("ip", "-n", switch, "link", "add", "bridge", "type", "bridge")
        _run("ip", "-n", switch, "link", "set", "bridge", "up")
        _run("ip", "link", "add", f"{self._tag}h", "type", "veth", "peer", "name", "host", "netns", switch)
        _run("ip", "-n", switch, "link", "set", "host", "master", "bridge", "up")
        _run("ip", "address", "add", f"{self.address}/24", "dev", f"{self._tag}h")
        _run("ip", "link", "set", f"{self._tag}h", "up")

    def close(self) -> None:
        """End every machine and remove everything that open and machine made."""
        for machine in self.machines.values():
            with contextlib.suppress(Exception):
                subprocess.run(
                    ["ssh", "-F", self.ssh_config, "-O", "exit", machine.name],
                    capture_output=True,
                    check=False,
                )
            machine.halt()
        _clear(self.number)
        self._held.close()

    def machine(self, name: str, release: str = "bookworm") -> Machine:
        """Boot a new machine of that name."""
        return self.boot(name, release=release)[0]

    def boot(
        self,
        *names: str,
        release: str = "bookworm",
        program: Sequence[str] = ("--boot",),
        packages: Sequence[str] = (),
        offered: Sequence[str] = (),
    ) -> list[Machine]:
        """Boot new machines of those names, all at once; a given program they run instead of systemd.

        They have these packages besides the usual ones, and can install those that are offered.
        """
        made = [self._make(name, tree(release, *packages, offered=offered), program) for name in names]
        for machine in made:
            machine.start()
        for machine in made:
            machine.await_ssh()
        return made

    def _make(self, name: str, copied: Path, program: Sequence[str]) -> Machine:
        number = len(self.machines) + 2
        address = f"10.214.{self.number}.{number}"
        namespace = self._namespace(name)
        _run("ip", "-n", namespace, "link", "set", "lo", "up")
        switch, port = f"{self._tag}switch", f"port{number}"
        _run(
            "ip",
            "-n",
            namespace,
            "link",
            "add",
            "eth0",
            "type",
            "veth",
            "peer",
            "name",
            port,
            "netns",
            switch,
        )
        _run("ip", "-n", namespace, "address", "add", f"{address}/24", "dev", "eth0")
        _run("ip", "-n", namespace, "link", "set", "eth0", "up")
        _run("ip", "-n", switch, "link", "set", port, "master", "bridge", "up")
        root = self.folder / name
        _run("cp", "-a", "--reflink=auto", str(copied), str(root))
        self.machines[name] = machine = Machine(self, name, address, root, namespace, program)
        self._furnish(machine)
        self._write_ssh_config()
        return machine

    def _namespace(self, name: str) -> str:
        namespace = f"{self._tag}{name}"
        _run("ip", "netns", "add", namespace)
        return namespace

    def _furnish(self, machine: Machine) -> None:
        etc = machine.root / "etc"
        (etc / "machine-id").write_text("")
        (etc / "hostname").write_text(f"{machine.name}\n")
        (etc / "hosts").write_text(f"127.0.0.1 localhost\n::1 localhost\n127.0.1.1 {machine.name}\n")
        (etc / "resolv.conf").write_text("")
        (machine.root / "var/log/journal").mkdir(exist_ok=True)
        _run("ssh-keygen", "-q", "-A", "-f", str(machine.root))
        _run("chroot", str(machine.root), "useradd", "-m", "-s", "/bin/bash", "admin")
        (etc / "sudoers.d/admin").write_text("admin ALL=(ALL) NOPASSWD: ALL\n")
        for home in (machine.root / "root", machine.root / "home/admin"):
            (home / ".ssh").mkdir(mode=0o700, exist_ok=True)
            authorized = home / ".ssh/authorized_keys"
            authorized.write_text(self.key.with_suffix(".pub").read_text())
            owner = home.stat()
            for path in (home / ".ssh", authorized):
                os.chown(path, owner.st_uid, owner.st_gid)

    def _write_ssh_config(self) -> None:
        known = self.folder / "known_hosts"
        entries = [
            f"Host {name} {machine.address}\n  HostName {machine.address}\n  HostKeyAlias {machine.address}\n"
            for name, machine in self.machines.items()
        ]
        common = f"""Host *
  IdentityFile {self.key}
  IdentitiesOnly yes
  UserKnownHostsFile {known}
  GlobalKnownHostsFile /dev/null
  StrictHostKeyChecking yes
  BatchMode yes
  ConnectTimeout 5
  ControlMaster auto
  ControlPath {self.folder}/%C
  ControlPersist 60
  LogLevel ERROR
"""
        self.ssh_config.write_text("".join(entries) + common)
        known.write_text(
            "".join(
                f"{machine.address} {(machine.root / 'etc/ssh/ssh_host_ed25519_key.pub').read_text()}"
                for machine in self.machines.values()
            )
        )


@contextlib.contextmanager
def site() -> Iterator[Site]:
    """Yield a site without machines; everything is gone afterwards."""
    opened = Site()
    try:
        opened.open()
        yield opened
    finally:
        opened.close()


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout


def _children(pid: int) -> Sequence[int]:
    with contextlib.suppress(OSError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return ()


def _hierarchies() -> Sequence[Path]:
    """Return where the control groups that systemd uses are mounted: the unified ones, and its own of old."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    return [
        Path(folder)
        for _, folder, kind, options, *_ in mounts
        if kind == "cgroup2" or (kind == "cgroup" and "name=systemd" in options.split(","))
    ]


def _remove_cgroups(pattern: str) -> None:
    for hierarchy in _hierarchies():
        for group in hierarchy.glob(pattern):
            for folder in [
                *sorted((path for path in group.rglob("*") if path.is_dir()), reverse=True),
                group,
            ]:
                with contextlib.suppress(OSError):
                    folder.rmdir()


def _take_number() -> tuple[int, IO[str]]:
    """Return the lowest number that no living process holds, and the file whose lock holds it."""
    CACHE.mkdir(parents=True, exist_ok=True)
    for number in range(1, 255):
        held = (CACHE / f"site-{number}.lock").open("a")
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            held.close()
            continue
        _clear(number)
        return number, held
    raise AssertionError("all 254 numbers of sites are held; see fuser " + str(CACHE / "site-*.lock"))


def _clear(number: int) -> None:
    """Remove what a site of that number made; only for who holds the number."""
    for hierarchy in _hierarchies():
        for processes in hierarchy.glob(f"gm{number}-*/**/cgroup.procs"):
            with contextlib.suppress(OSError):
                for pid in processes.read_text().split():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(int(pid), signal.SIGKILL)
    subprocess.run(["ip", "link", "del", f"gm{number}-h"], capture_output=True, check=False)
    for namespace in Path("/run/netns").glob(f"gm{number}-*"):
        subprocess.run(["ip", "netns", "del", namespace.name], capture_output=True, check=False)
    _remove_cgroups(f"gm{number}-*")
    shutil.rmtree(CACHE / f"site-{number}", ignore_errors=True)
