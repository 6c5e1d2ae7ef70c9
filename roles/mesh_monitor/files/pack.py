"""Pack what a monitor installs into one archive that is the same, byte for byte, as long as its parts are.

Arguments: the checkout, a folder of wheels or "", a version or "". Prints the archive's path and the
checkout's version as JSON. The constraints always travel, and the wheels of the folder that are needed. The
program travels as the checkout's sources, from which the monitor builds it; a version that is named comes as
the folder's wheel of it, or from the index. The archive is named by its content, and in a folder of its own,
for Ansible packs for each monitor; who asked removes it.
"""

import hashlib
import json
import re
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Iterable
from pathlib import Path

SOURCES = ("checker", "playbooks/recovery", "pyproject.toml", "README.md", "LICENSE")

checkout, wheels, version = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
constraints = checkout / "constraints.txt"
module = (checkout / "checker/gpu_mesh/__init__.py").read_text(encoding="utf-8")
own = re.findall(r'^__version__ = "(.+)"$', module, re.MULTILINE)[0]


def pack(archive: Path, parts: Iterable[tuple[Path, str]]) -> Path:
    """Write these files under these names, without their times, owners and modes."""
    with tarfile.open(archive, "w") as tar:
        for part, name in parts:
            entry = tar.gettarinfo(part, arcname=name)
            entry.mtime, entry.uid, entry.gid, entry.mode = 0, 0, 0, 0o644
            entry.uname = entry.gname = "root"
            with part.open("rb") as content:
                tar.addfile(entry, content)
    return archive


def sources() -> Iterable[tuple[Path, str]]:
    """Return each file that the program is built from, and its name in the archive."""
    for source in SOURCES:
        for path in sorted((checkout / source).rglob("*")) or [checkout / source]:
            if path.is_file() and "__pycache__" not in path.parts:
                yield path, f"gpu_mesh-{own}/{path.relative_to(checkout)}"


def needed() -> list[Path]:
    """Return the folder's wheels of what is installed; each must be there."""
    wanted = re.findall(r"^([\w.-]+)==(\S+)", constraints.read_text(encoding="utf-8"), re.MULTILINE)
    wanted += [("gpu-mesh", version)] if version else []
    found = {name: [] for name in wanted}
    for wheel in sorted(Path(wheels).glob("*.whl")):
        name, release = wheel.name.split("-")[:2]
        found.get((re.sub(r"[_.]+", "-", name).lower(), release), []).append(wheel)
    missing = ", ".join(" ".join(name) for name, paths in found.items() if not paths)
    if missing:
        sys.exit(
            f"{wheels} holds no wheel of {missing}; docs/provisioning.md says how to fetch what is needed, "
            'under "Without a package index"'
        )
    return sorted(wheel for paths in found.values() for wheel in paths)


folder = Path(tempfile.mkdtemp(prefix="gpu-mesh-package-"))
try:
    parts = [constraints, *(needed() if wheels else [])]
    if not version:
        parts.append(pack(folder / f"gpu_mesh-{own}.tar", sources()))
    staged = pack(folder / "package.tar", ((part, part.name) for part in parts))
    with staged.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    archive = staged.rename(folder / f"package-{digest[:16]}.tar")
except BaseException:
    shutil.rmtree(folder)
    raise
sys.stdout.write(json.dumps({"archive": str(archive), "version": own}))
