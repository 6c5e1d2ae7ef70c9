"""Pack what a monitor installs into one archive that is the same, byte for byte, as long as its parts are.

Arguments: the checkout, a folder of wheels or "", a version or "". Prints the archive's path and the
checkout's version as JSON. With a version and without wheels only the constraints travel: the program then
comes from the index. Several may run at once, for Ansible packs for each monitor: an archive gets its name,
made of its content, when it is complete.
"""

import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
import time
import tomllib
from pathlib import Path

KEPT = 3600.0  # seconds for which another run may still be copying an archive

checkout, wheels, version = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
folder = Path(tempfile.gettempdir()) / f"gpu-mesh-package-{Path.home().name}"
folder.mkdir(mode=0o700, exist_ok=True)
if folder.is_symlink() or folder.stat().st_uid != Path("/proc/self").stat().st_uid:
    sys.exit(f"{folder} belongs to somebody else; remove it")

with tempfile.TemporaryDirectory(dir=folder) as made_here:
    made = Path(made_here)
    parts = [checkout / "constraints.txt"]
    if wheels:
        parts += sorted(Path(wheels).glob("*.whl"))
        if not any(part.name.startswith("gpu_mesh-") for part in parts):
            sys.exit(
                f"{wheels} holds no wheel of gpu-mesh; make one: pip wheel --no-deps -w {wheels} {checkout}"
            )
    elif not version:
        pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(made), str(checkout)]
        built = subprocess.run(pip, capture_output=True, text=True, check=False)
        if built.returncode:
            sys.exit(f"no wheel could be made from {checkout}: {built.stderr.strip()}")
        parts += sorted(made.glob("gpu_mesh-*.whl"))

    staged = made / "package.tar"
    with tarfile.open(staged, "w") as tar:
        for part in parts:
            entry = tar.gettarinfo(part, arcname=part.name)
            entry.mtime, entry.uid, entry.gid, entry.mode = 0, 0, 0, 0o644
            entry.uname = entry.gname = "root"
            with part.open("rb") as content:
                tar.addfile(entry, content)
    with staged.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    archive = folder / f"package-{digest[:16]}.tar"
    staged.replace(archive)

for old in folder.glob("package*.tar"):
    if old != archive and old.stat().st_mtime < time.time() - KEPT:
        old.unlink(missing_ok=True)
project = tomllib.loads((checkout / "pyproject.toml").read_text(encoding="utf-8"))["project"]
sys.stdout.write(json.dumps({"archive": str(archive), "version": project["version"]}))
