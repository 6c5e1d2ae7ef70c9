"""Pack what a monitor installs into one archive that is the same, byte for byte, as long as its parts are.

Arguments: the checkout, a folder of wheels or "", a version or "". Prints the archive's path and the
checkout's version as JSON. With a version and without wheels only the constraints travel: the program then
comes from the index.
"""

import json
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from pathlib import Path

checkout, wheels, version = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
folder = Path(tempfile.gettempdir()) / f"gpu-mesh-package-{Path.home().name}"
folder.mkdir(mode=0o700, exist_ok=True)
if folder.is_symlink() or folder.stat().st_uid != Path("/proc/self").stat().st_uid:
    sys.exit(f"{folder} belongs to somebody else; remove it")

parts = [checkout / "constraints.txt"]
if wheels:
    parts += sorted(Path(wheels).glob("*.whl"))
    if not any(part.name.startswith("gpu_mesh-") for part in parts):
        sys.exit(f"{wheels} holds no wheel of gpu-mesh; make one: pip wheel --no-deps -w {wheels} {checkout}")
elif not version:
    for old in folder.glob("*.whl"):
        old.unlink()
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(folder), str(checkout)]
    made = subprocess.run(pip, capture_output=True, text=True, check=False)
    if made.returncode:
        sys.exit(f"no wheel could be made from {checkout}: {made.stderr.strip()}")
    parts += sorted(folder.glob("gpu_mesh-*.whl"))

archive = folder / "package.tar"
with tarfile.open(archive, "w") as tar:
    for part in parts:
        entry = tar.gettarinfo(part, arcname=part.name)
        entry.mtime, entry.uid, entry.gid, entry.uname, entry.gname, entry.mode = (
            0,
            0,
            0,
            "root",
            "root",
            0o644,
        )
        with part.open("rb") as content:
            tar.addfile(entry, content)
project = tomllib.loads((checkout / "pyproject.toml").read_text(encoding="utf-8"))["project"]
sys.stdout.write(json.dumps({"archive": str(archive), "version": project["version"]}))
