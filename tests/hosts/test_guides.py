"""The guides, followed to the letter: each on machines of its own, as the login admin, who may use sudo.

One thing is not as a reader has it: pip gets its packages from an index on the machines' network.
"""

import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping

import machines
import provision
import pytest

import guides
from checkout import ROOT

LIMIT = 1500.0  # seconds for a page; checks come every 30 s, as a reader has them
BOXES = [f"box{number}" for number in range(1, 6)]

pytestmark = pytest.mark.timeout(LIMIT + 600)


@pytest.fixture(scope="module")
def index(site: machines.Site) -> Iterator[str]:
    """The address of an index of all that make setup and site.yml install."""
    with provision.web(site.address, provision.wheels(site, "311", "constraints-dev.txt")) as web:
        yield web.address


def give_checkout(machine: machines.Machine, index: str) -> None:
    """Give the login admin a clone of the repository, and the machine its index."""
    ignore = shutil.ignore_patterns(".*", "tests", "bench", "dist", "__pycache__")
    shutil.copytree(ROOT, machine.root / "home/admin/gpu-mesh", ignore=ignore)
    machine.ssh("chown -R admin: /home/admin/gpu-mesh")
    host = index.partition(":")[0]
    settings = f"[global]\nindex-url = http://{index}/simple\ntrusted-host = {host}\n"
    (machine.root / "etc/pip.conf").write_text(settings)


def give_key(machine: machines.Machine, others: Mapping[str, machines.Machine], port: int = 22) -> None:
    """Let the login admin log in to these others, by those names, as after a first login."""
    folder = machine.root / "home/admin/.ssh"
    shutil.copy(machine.site.key, folder / "id_ed25519")
    known, names = "", ""
    for name, other in others.items():
        key = (other.root / "etc/ssh/ssh_host_ed25519_key.pub").read_text()
        known += f"{name if port == 22 else f'[{name}]:{port}'} {key}"
        names += f"{other.address} {name}\n"
    (folder / "known_hosts").write_text(known)
    machine.ssh("chown -R admin: /home/admin/.ssh")
    with (machine.root / "etc/hosts").open("a") as hosts:
        hosts.write(names)


def follow(page: str, machine: machines.Machine, measured: list[str]) -> None:
    """Run the blocks of a page there, and compare what they print with what the page says."""
    found = guides.blocks((ROOT / "docs/guides" / page).read_text(encoding="utf-8"))
    run = [block for block in found if not block.not_run]
    (machine.root / "home/admin/guide.sh").write_text(guides.script(run), encoding="utf-8")
    command = "cd gpu-mesh && LC_ALL=C.UTF-8 bash ../guide.sh </dev/null 2>&1"
    begun = time.monotonic()
    done = subprocess.run(
        [
            "ssh",
            "-F",
            machine.site.ssh_config,
            f"admin@{machine.name}",
            f"timeout {LIMIT:g} sh -c '{command}'",
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    output = guides.printed(done.stdout)
    assert done.returncode == 0, (
        f"{page}, line {max(output)}: ended with {done.returncode}, and printed\n{output[max(output)]}"
    )
    for block in run:
        assert block.expected is None or guides.is_as_expected(block.expected, output[block.line]), (
            f"{page}, line {block.line}: printed\n{output[block.line]}\nand the page says\n{block.expected}"
        )
    measured.append(f"{page}: {time.monotonic() - begun:.0f} s")
    measured.extend(
        f"{page}, line {block.line}: not run, {block.not_run}" for block in found if block.not_run
    )


def test_one_machine_at_home(site: machines.Site, index: str, measured: list[str]) -> None:
    (home,) = site.boot("home", packages=("make",))
    try:
        give_checkout(home, index)
        provision.install_ollama(home, "127.0.0.1")
        follow("home.md", home, measured)
    finally:
        home.halt()


def test_a_rented_gpu_behind_a_tunnel(site: machines.Site, index: str, measured: list[str]) -> None:
    (cabin,) = site.boot("cabin", packages=("make",))
    (pod,) = site.boot("hired", program=provision.POD)
    try:
        give_checkout(cabin, index)
        give_key(cabin, {"gpu.example.net": pod}, 22022)
        provision.furnish_pod(pod)
        follow("rented.md", cabin, measured)
    finally:
        cabin.halt()
        pod.halt()


def test_twenty_nodes_with_prometheus(site: machines.Site, index: str, measured: list[str]) -> None:
    (watch,) = site.boot("watch", packages=("make", "prometheus", "prometheus-node-exporter"))
    boxes = site.boot(*BOXES)
    try:
        give_checkout(watch, index)
        give_key(watch, {box.name: box for box in boxes})
        for box in boxes:
            for card in range(4):
                provision.install_ollama(box, "0.0.0.0", unit=f"ollama@{card}", port=11434 + card)
        follow("fleet.md", watch, measured)
    finally:
        for machine in (watch, *boxes):
            machine.halt()
