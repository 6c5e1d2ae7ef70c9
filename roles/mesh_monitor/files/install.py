"""Install the checker into an environment beside the one in use, and print where; swap.py puts it in place.

Arguments: the program's folder, the version, "wheels" (nothing but the packed ones) or "index", and a line
that says what is wanted. There are two places, venv.a and venv.b, for an environment's programs name their
Python by path; the link "venv" leads to the one in use. What runs there runs on to its end, whatever is done
here. An environment that is there already and whole is taken as it is: it waits there after a play that ended
before it was put in place, or is the version before, to which somebody goes back.
"""

import os
import shutil
import subprocess
import sys
import tarfile
import venv
from pathlib import Path

SAID = 12  # lines: of what a program says, the end is the reason

program, version, source, wanted = Path(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]
link = program / "venv"
in_use = link.readlink().name if link.is_symlink() else ""
here = program / ("venv.b" if in_use == "venv.a" else "venv.a")
installed = here / "installed"  # what it holds; written when it is whole


def run(*command: str | Path) -> None:
    """Run a program, which must succeed; what it says last tells why it did not.

    Of the hundred hashes that pip expected, one is enough.
    """
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        said = [line for line in done.stdout.strip().splitlines() if "Expected     or " not in line]
        raise ChildProcessError("\n".join(said[-SAID:]))


def build() -> None:
    """Make the environment, with what was packed."""
    packed = program / "packed"
    for left in (packed, here):
        if left.exists():
            shutil.rmtree(left)
    packed.mkdir()
    with tarfile.open(program / "package.tar") as tar:
        for entry in tar:
            if not entry.isfile() or "/" in entry.name:
                sys.exit(f"package.tar holds {entry.name}, which is no plain file")
            with tar.extractfile(entry) as content, (packed / entry.name).open("wb") as copy:
                shutil.copyfileobj(content, copy)
    venv.create(here, with_pip=True, symlinks=True)
    pip = [here / "bin/python", "-m", "pip", "--disable-pip-version-check", "--no-color"]
    install = [*pip, "install", "--find-links", packed, *(["--no-index"] if source == "wheels" else [])]
    run(*install, "--require-hashes", "--requirement", packed / "constraints.txt")
    # What was packed, not what an index may offer under the same name and version.
    own = next(packed.glob("gpu_mesh-*"), None)
    run(*install, "--no-deps", "--no-build-isolation", own or f"gpu-mesh=={version}")
    run(*pip, "check")  # another version may need more than this checkout's constraints


os.umask(0o022)  # the monitor's user runs what root installs
try:
    if not installed.is_file() or installed.read_text(encoding="utf-8") != wanted:
        build()
    run(here / "bin/gpu-mesh", "--help")
    installed.write_text(wanted, encoding="utf-8")
except (OSError, subprocess.CalledProcessError) as error:  # the latter by venv
    shutil.rmtree(here, ignore_errors=True)
    sys.exit(str(error))
sys.stdout.write(str(here))
