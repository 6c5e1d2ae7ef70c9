"""Install the checker into a fresh virtual environment and put it in place of the old one.

Arguments: the program's folder, the version, "wheels" (nothing but the packed ones) or "index", and what to
write down when it is done. A running check has its modules loaded; one that starts in between fails, and the
next one does not.
"""

import shutil
import subprocess
import sys
import tarfile
import venv
from pathlib import Path

program, version, source, wanted = Path(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]
packed, here = program / "packed", program / "venv"
shutil.rmtree(packed, ignore_errors=True)
with tarfile.open(program / "package.tar") as tar:
    for entry in tar:
        if not entry.isfile() or "/" in entry.name:
            sys.exit(f"package.tar holds {entry.name}, which is no plain file")
        packed.mkdir(exist_ok=True)
        with tar.extractfile(entry) as content, (packed / entry.name).open("wb") as copy:
            shutil.copyfileobj(content, copy)

(program / "installed").unlink(missing_ok=True)
# In its final place, for its programs name their Python by path; the old one stays until this one works.
old = program / "venv.old"
shutil.rmtree(old, ignore_errors=True)
if here.exists():
    here.rename(old)
try:
    venv.create(here, with_pip=True, symlinks=True)
    pip = [here / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    pip += ["--constraint", packed / "constraints.txt", "--find-links", packed]
    pip += ["--no-index"] if source == "wheels" else []
    # What was packed, not what an index may offer under the same name and version.
    own = next(packed.glob(f"gpu_mesh-{version}-*.whl"), None)
    subprocess.run([*pip, own or f"gpu-mesh=={version}"], check=True)
    subprocess.run([here / "bin/gpu-mesh", "--help"], check=True, stdout=subprocess.DEVNULL)
except BaseException:
    shutil.rmtree(here, ignore_errors=True)
    if old.exists():
        old.rename(here)
    raise
shutil.rmtree(old, ignore_errors=True)
(program / "installed").write_text(wanted, encoding="utf-8")
