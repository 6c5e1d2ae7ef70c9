"""Pack what a monitor installs into one archive that is the same, byte for byte, as long as its parts are.

Arguments: the checkout, a folder of wheels or "", a version or "". Prints the archive's path and the
checkout's version as JSON. With a version and without wheels only the constraints travel: the program then
comes from the index. The archive is named by its content, and in a folder of its own, for Ansible packs for
each monitor; who asked removes it.
"""

import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from pathlib import Path

checkout, wheels, version = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
own = tomllib.loads((checkout / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
folder = Path(tempfile.mkdtemp(prefix="gpu-mesh-package-"))
try:
    parts = [checkout / "constraints.txt"]
    if wheels:
        parts += sorted(Path(wheels).glob("*.whl"))
        if not any(part.name.startswith(f"gpu_mesh-{version or own}-") for part in parts):
            sys.exit(
                f"{wheels} holds no wheel of gpu-mesh {version or own}; "
                + (
                    "add it, or leave mesh_monitor_version out"
                    if version
                    else f"make it: pip wheel --no-deps -w {wheels} {checkout}"
                )
            )
    elif not version:
        pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(folder), str(checkout)]
        built = subprocess.run(pip, capture_output=True, text=True, check=False)
        if built.returncode:
            sys.exit(f"no wheel could be made from {checkout}: {built.stderr.strip()}")
        parts += sorted(folder.glob("gpu_mesh-*.whl"))

    staged = folder / "package.tar"
    with tarfile.open(staged, "w") as tar:
        for part in parts:
            entry = tar.gettarinfo(part, arcname=part.name)
            entry.mtime, entry.uid, entry.gid, entry.mode = 0, 0, 0, 0o644
            entry.uname = entry.gname = "root"
            with part.open("rb") as content:
                tar.addfile(entry, content)
    with staged.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    archive = staged.rename(folder / f"package-{digest[:16]}.tar")
except BaseException:
    shutil.rmtree(folder)
    raise
sys.stdout.write(json.dumps({"archive": str(archive), "version": own}))
