"""The look at the GPUs of a host, in each shell that a host may have."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gpu_host import BOOT, FUNCTIONS, GpuHost, facts
from gpu_mesh.standin import nvidia_smi
from marks import soak
from sites import eventually

ALL = (
    "index,pci.bus_id,uuid,name,memory.used,memory.total,utilization.gpu,temperature.gpu,power.draw,"
    "clocks_throttle_reasons.active,ecc.errors.uncorrected.volatile.total,mig.mode.current,"
    "remapped_rows.pending,remapped_rows.failure,gpu_recovery_action"
)
SMALLEST = "index,pci.bus_id,uuid,name,memory.used,memory.total"
UUID = "GPU-00000000-0000-0000-0000-000000000000"
CARD = (
    f"0, 00000000:0C:00.0, {UUID}, NVIDIA GeForce RTX 2080 SUPER, 214, 8192, 0, 40, 39.32, "
    "0x0000000000000001, [N/A], [N/A], [N/A], [N/A], None"
)
SHELLS = {"sh": ["/bin/sh"], "bash": ["bash", "--posix"], "busybox": ["busybox", "sh"]}


@pytest.fixture
def host(tmp_path: Path) -> GpuHost:
    return GpuHost(tmp_path)


@pytest.fixture(params=["sh", soak("bash", name="bash"), soak("busybox", name="busybox")])
def shell(request: pytest.FixtureRequest) -> list[str]:
    found: list[str] = SHELLS[request.param]
    if shutil.which(found[0]) is None:
        pytest.skip(f"there is no {found[0]} here")
    return found


def of(lines: list[str], *names: str) -> list[str]:
    """The facts of these names."""
    return [line for line in lines if line.split()[0] in names]


def test_a_host_without_a_gpu_says_so_by_saying_nothing_more(host: GpuHost, shell: list[str]) -> None:
    host.device("0000:03:00.0", "aspeed")
    host.device("0000:00:02.0", "intel", drm__renderD128__dev="226:128")
    nvidia_smi.put(host.programs, "no_driver")
    assert host.look(*shell) == ["look 1", f"boot {BOOT} 5000", "place host", "end"]


def test_a_card_of_nvidia_is_told_with_all_its_facts(host: GpuHost, shell: list[str]) -> None:
    host.nvidia("one", "app=4242 5000", "app=99 370")
    host.write("proc/99/comm", "my prog/1")
    host.write("usr/lib64/libnvidia-ml.so.595.71.05", "")
    (host.root / "usr/lib64/libnvidia-ml.so.1").symlink_to("libnvidia-ml.so.595.71.05")
    assert host.look(*shell) == [
        "look 1",
        f"boot {BOOT} 5000",
        "place host",
        "bus nvidia 0000:01:00.0 ok 8 16",
        "driver 595.71.05",
        "library 595.71.05",
        "module nvidia",
        "module nvidia_uvm",
        "devices seen",
        "smi ok",
        f"fields {ALL}",
        f"card {CARD}",
        f"holds 4242 5000 {UUID} - yes",
        f"holds 99 370 {UUID} my_prog_1 no",
        "kernel_log hidden",
        "end",
    ]


def test_cards_of_amd_and_intel_are_told_from_the_kernels_files(host: GpuHost) -> None:
    host.device(
        "0000:0B:00.0",
        "amd",
        gpu_busy_percent="37",
        mem_info_vram_used="1073741824",
        mem_info_vram_total="17163091968",
        hwmon__hwmon3__temp1_input="56000",
        hwmon__hwmon3__power1_average="42000000",
    )
    host.device("0000:0c:00.0", "amd", device="0x515e")
    host.device("0000:0d:00.0", "intel", drm__renderD129__dev="226:129", current_link_width="Unknown")
    (host.root / "sys/module/amdgpu").mkdir(parents=True)
    assert host.look()[3:-1] == [
        "bus amd 0000:0b:00.0 ok 8 16",
        "bus other 0000:0d:00.0 ok Unknown 16",
        "module amdgpu",
        "amd 0000:0b:00.0 37 1073741824 17163091968 56000 42000000",
        "kernel_log hidden",
    ]


def test_a_lost_card_reads_as_ones_and_one_that_sleeps_is_not_read(host: GpuHost) -> None:
    host.nvidia("eight", cards=8)
    host.device("0000:03:00.0", "nvidia", config=b"\xff" * 64)
    host.device("0000:04:00.0", "nvidia", config=b"\xff" * 64, power__runtime_status="suspended")
    host.device("0000:05:00.4", "nvidia", physfn__class="0x030000")
    assert [line.split(maxsplit=2)[2] for line in of(host.look(), "bus")[1:5]] == [
        "0000:02:00.0 ok 8 16",
        "0000:03:00.0 lost - -",
        "0000:04:00.0 asleep - -",
        "0000:05:00.0 ok 8 16",
    ]


@pytest.mark.parametrize("case", ["lost", soak("lost_unknown")])
def test_when_a_lost_card_fails_the_question_for_all_each_other_card_is_asked(
    host: GpuHost, case: str
) -> None:
    host.nvidia(case, cards=8)
    lines = host.look()
    assert of(lines, "smi") == ["smi failed"]
    assert of(lines, "said") == [f"said {' '.join(nvidia_smi.CASES[case].says.split())}"]
    assert [line.split()[1] for line in of(lines, "card")] == ["0,", "1,", "3,", "4,", "5,", "6,", "7,"]


def test_the_cards_that_are_listed_beside_an_error_are_told_and_not_asked_again(host: GpuHost) -> None:
    host.nvidia("lost_goes_on", cards=8)
    lines = host.look()
    assert of(lines, "smi", "said") == [
        "smi failed",
        "said Unable to determine the device handle for GPU2: 0000:03:00.0: Unknown Error",
    ]
    assert len(of(lines, "card")) == 7


@pytest.mark.parametrize(
    ("case", "told"),
    [
        (
            "mismatch",
            [
                "smi failed",
                "library 580.178",
                "said Failed to initialize NVML: Driver/library version mismatch",
                "said NVML library version: 580.178",
            ],
        ),
        soak("no_devices", ["smi failed", "said No devices were found"]),
        soak("container_lost", ["smi failed", "said Failed to initialize NVML: Unknown Error"]),
        soak("no_driver", ["smi failed", f"said {nvidia_smi.NO_DRIVER.strip()}"]),
    ],
)
def test_what_nvidia_smi_says_instead_of_values_is_told(host: GpuHost, case: str, told: list[str]) -> None:
    host.nvidia(case)
    assert of(host.look(), "smi", "library", "said", "card") == told


@pytest.mark.parametrize(
    ("case", "version", "fields"),
    [
        soak("466", "466.63", ALL.partition(",remapped")[0]),
        soak("old", "418.226.00", ALL.partition(",mig")[0]),
        # One that knows less than its version promises: a field is left out, then all that can be spared.
        ("466", "440.33.01", ALL.partition(",mig")[0]),
        ("old", "470.1", ALL.partition(",mig")[0]),
        ("old", "595.71.05", SMALLEST),
    ],
)
def test_what_is_asked_for_follows_the_driver_and_what_nvidia_smi_knows(
    host: GpuHost, case: str, version: str, fields: str
) -> None:
    host.nvidia(case, version=version)
    lines = host.look()
    assert of(lines, "smi", "said", "fields") == ["smi ok", f"fields {fields}"]
    (card,) = of(lines, "card")
    assert card.count(",") == fields.count(",")


def test_a_card_that_needs_a_reset_is_told_whole_however_long_the_line(host: GpuHost) -> None:
    host.nvidia("reset", *(f"{field}=[GPU requires reset]" for field in ALL.split(",")[6:-1]))
    assert of(host.look(), "card")[0].endswith("[GPU requires reset], Reset")


def test_the_linux_below_windows_has_another_device_and_no_pci_bus(host: GpuHost) -> None:
    host.write("proc/version", "Linux version 5.15.167.4-microsoft-standard-WSL2")
    host.write("dev/dxg", "")
    nvidia_smi.put(host.root / "usr/lib/wsl/lib", "one")
    lines = host.look()
    assert of(lines, "place", "devices", "smi", "driver") == ["place wsl", "devices seen", "smi ok"]
    assert len(of(lines, "card")) == 1


def test_in_a_container_the_bus_is_seen_but_not_the_cards_that_were_not_passed_on(host: GpuHost) -> None:
    host.nvidia("no_devices")
    host.write(".dockerenv", "")
    shutil.rmtree(host.root / "dev")
    (host.programs / "nvidia-smi").unlink()
    host.program("nvidia-smi", "exit 127")
    assert of(host.look(), "place", "devices", "smi") == ["place container", "devices hidden", "smi failed"]


def test_the_kernels_log_tells_what_fails_and_the_last_resume(host: GpuHost) -> None:
    host.nvidia()
    xid = "NVRM: Xid (PCI:0000:9b:00): 79, pid=2024380, name=nvidia-smi, GPU has fallen off the bus."
    host.program(
        "journalctl",
        f"""case " $* " in *" -k "*) ;; *) exit ;; esac
        now=$(date +%s)
        echo "$((now - 4000)).100000 gpu1 kernel: NVRM: Xid (PCI:0000:9b:00): 31, an hour ago"
        echo "$((now - 3000)).100000 gpu1 kernel: PM: suspend exit"
        echo "$((now - 600)).100000 gpu1 kernel: PM: suspend exit"
        echo "$((now - 60)).100000 gpu1 kernel: {xid}"
        echo "$((now - 50)).100000 gpu1 kernel: usb 1-1: new device\"""",
    )
    (kernel, log, resumed) = of(host.look(), "kernel", "kernel_log", "resumed")
    assert (kernel.split(maxsplit=2)[2], log) == (xid, "kernel_log read")
    assert 60 <= int(kernel.split()[1]) <= 90
    assert 600 <= int(resumed.split()[1]) <= 630


def test_where_the_journal_is_closed_dmesg_is_read_by_the_kernels_own_clock(host: GpuHost) -> None:
    host.nvidia()
    host.program(
        "dmesg", "echo '[ 4950.000001] NVRM: GPU 0000:01:00.0: RmInitAdapter failed! (0x22:0x56:742)'"
    )
    assert of(host.look(), "kernel", "kernel_log") == [
        "kernel 50 NVRM: GPU 0000:01:00.0: RmInitAdapter failed! (0x22:0x56:742)",
        "kernel_log read",
    ]


def test_ollamas_log_tells_what_it_has_found_and_no_users_name(host: GpuHost) -> None:
    host.nvidia()
    host.program(
        "systemctl", "echo Id=ollama.service; echo 'ExecMainStartTimestamp=Thu 2026-11-26 23:20:24 UTC'"
    )
    host.program(
        "journalctl",
        """case $* in *"--since Thu 2026-11-26 23:20:24 UTC _SYSTEMD_UNIT=ollama.service") ;; *) exit ;; esac
        echo 'level=INFO msg="no compatible GPUs were discovered" library_path=/home/anna/lib'
        echo 'level=INFO msg="Listening on [::]:11434"'""",
    )
    assert of(host.look(), "ollama_log") == [
        'ollama_log level=INFO msg="no compatible GPUs were discovered" library_path=/home/-/lib'
    ]


def test_what_a_host_prints_cannot_make_a_look_long_or_a_line_unprintable(host: GpuHost) -> None:
    host.nvidia("one", *(f"app={number} 1" for number in range(1000)), f"name={'x' * 5000}\x1b[31m")
    host.program(
        "journalctl", "yes \"$(date +%s).1 gpu1 kernel: NVRM: Xid é $(printf '\\033[31m')\" | head -n 6000"
    )
    with host.command(seconds=15) as process:
        output, _ = process.communicate(timeout=60)
    lines = facts(output)
    assert len(lines) <= 120
    assert lines[-1] == "end"
    assert all(line.isprintable() and line.isascii() and len(line) < 420 for line in output.splitlines())


@contextmanager
def never(folder: Path) -> Iterator[Path]:
    """A file that cannot be read to its end, until the context ends."""
    pipe = folder / "never"
    os.mkfifo(pipe)
    yield pipe
    os.close(os.open(pipe, os.O_RDWR | os.O_NONBLOCK))  # whoever waits for a writer meets its end


def ours(host: GpuHost) -> list[int]:
    """The numbers of the processes that run the host's nvidia-smi."""
    program = str(host.programs / "nvidia-smi")
    found = subprocess.run(["pgrep", "-f", f"^[^ ]*python[^ ]* {program}"], capture_output=True, text=True)
    return [int(number) for number in found.stdout.split()]


def test_a_look_ends_and_lets_go_of_the_connection_while_its_nvidia_smi_still_runs(
    host: GpuHost, tmp_path: Path, shell: list[str]
) -> None:
    with never(tmp_path) as pipe:
        host.nvidia(f"stuck:{pipe}")
        process = host.command(*shell, seconds=1)
        output, _ = process.communicate(timeout=60)  # until nobody has the pipe any more
        (number,) = ours(host)
        try:
            assert of(facts(output), "smi", "waits", "end") == ["smi slow", "end"]
            assert os.getpgid(number) != os.getpgid(0)
        finally:
            os.kill(number, signal.SIGKILL)


def test_an_nvidia_smi_that_waits_in_the_kernel_is_stuck_and_named(host: GpuHost, tmp_path: Path) -> None:
    with never(tmp_path) as pipe:
        host.nvidia(f"stuck:{pipe}")
        process = host.command(seconds=6)
        assert eventually(lambda: ours(host))
        (number,) = ours(host)
        host.process(number, "nvidia-smi", "D", start=4711)
        host.process(55, "ollama", "D", start=12)
        output, _ = process.communicate(timeout=60)
        os.kill(number, signal.SIGKILL)
        lines = facts(output)
    assert sorted(of(lines, "smi", "waits", "ollama_waits")) == [
        "ollama_waits 55 12",
        "smi stuck",
        f"waits {number} 4711 nvidia-smi",
    ]


@pytest.mark.parametrize("part", ["hardware", soak("runners"), soak("amd"), "kernel", soak("ollama_log")])
def test_a_look_ends_although_a_part_of_it_hangs(host: GpuHost, tmp_path: Path, part: str) -> None:
    host.nvidia()
    with never(tmp_path) as pipe:
        lines = host.look(seconds=2, instead=f"gpu_{part}() {{ cat {pipe}; }}")
    # Without the hardware the look is not whole, and that can be seen.
    assert (lines[-1] == "end") == (part != "hardware")


def test_an_nvidia_smi_that_hangs_outside_the_kernel_is_ended_later(
    host: GpuHost, tmp_path: Path, shell: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpu_host.FUNCTIONS", FUNCTIONS.replace("sleep 60", "sleep 1"))
    with never(tmp_path) as pipe:
        host.nvidia(f"stuck:{pipe}")
        assert of(host.look(*shell, seconds=1), "smi") == ["smi slow"]
        assert eventually(lambda: not ours(host))


def test_while_one_is_stuck_no_other_one_is_started(host: GpuHost, shell: list[str]) -> None:
    host.nvidia()
    host.program("nvidia-smi", f"echo asked >>{host.root}/asked")
    host.process(33, "nvidia-smi", "D")
    host.process(34, "nvidia-smi", "S")
    lines = host.look(*shell, seconds=2)
    assert of(lines, "smi", "waits") == ["waits 33 77 nvidia-smi", "smi skipped"]
    assert not (host.root / "asked").exists()


def test_a_runner_one_of_whose_threads_waits_is_told(host: GpuHost) -> None:
    host.nvidia()
    host.process(4242, "inference", "S", start=5)
    (host.root / "proc/4242/task").mkdir()
    for thread, state in (("4242", "S"), ("4250", "D")):
        shutil.copytree(host.root / "proc/4242", host.root / "thread", ignore=lambda *_: ["task"])
        stat = (host.root / "thread/stat").read_text().replace(") S ", f") {state} ")
        (host.root / "thread/stat").write_text(stat)
        (host.root / "thread").rename(host.root / "proc/4242/task" / thread)
    assert of(host.look(), "smi", "ollama_waits") == ["ollama_waits 4242 5", "smi ok"]


def test_an_nvidia_smi_that_only_waits_for_a_moment_does_not_hinder_the_question(host: GpuHost) -> None:
    host.nvidia("one")
    host.process(33, "nvidia-smi", "D")
    seen = f"[ \"$gpu_waiting\" = ' ' ] || rm -rf {host.root}/proc/33"
    lines = host.look(instead=f'sleep() {{ {seen}; command sleep "$1"; }}')
    assert of(lines, "smi", "waits") == ["smi ok"]
    assert not (host.root / "proc/33").exists()


def test_a_look_leaves_no_file_behind(host: GpuHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    host.nvidia()
    host.look()
    assert list((tmp_path / "tmp").iterdir()) == []
