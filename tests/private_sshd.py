"""A private ssh server on loopback, for this user, with keys of its own."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sites import eventually

PROGRAM = Path("/usr/sbin/sshd")


@contextmanager
def serving(folder: Path, port: int, *settings: str) -> Iterator[None]:
    """Serve at that port until the block ends.

    The folder gets the keys ``user``, which is let in, and ``stranger``, which is not; ``known``, with
    the server's own key; and ``authorized``, which may be changed.
    """
    for name in ("host", "user", "stranger"):
        subprocess.run(["ssh-keygen", "-qt", "ed25519", "-N", "", "-f", folder / name], check=True)
    (folder / "authorized").write_bytes((folder / "user.pub").read_bytes())
    host_key = (folder / "host.pub").read_text().split()[:2]
    (folder / "known").write_text(f"[127.0.0.1]:{port} {' '.join(host_key)}\n")
    own = (
        f"ListenAddress 127.0.0.1:{port}",
        f"HostKey {folder}/host",
        "PidFile none",
        f"AuthorizedKeysFile {folder}/authorized",
        "StrictModes no",
        "UsePAM no",
        "PermitRootLogin yes",
        "PasswordAuthentication no",
        "KbdInteractiveAuthentication no",
    )
    (folder / "config").write_text("\n".join((*own, *settings)) + "\n")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    command = [PROGRAM, "-D", "-e", "-f", folder / "config"]
    said = folder / "said"
    with said.open("w+") as errors:
        process = subprocess.Popen(command, stderr=errors)
        try:
            assert eventually(lambda: "Server listening" in said.read_text()), said.read_text()
            yield
        finally:
            process.terminate()
            process.wait(10)
