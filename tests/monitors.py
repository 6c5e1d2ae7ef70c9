"""Several monitors of one mesh in folders of their own, and a real etcd on loopback that they share."""

import shutil
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from gpu_mesh.cluster.keys import Keys
from gpu_mesh.domain.cluster import Session
from gpu_mesh.standin.server import free_port
from gpu_mesh.system.etcd import Etcd, Get, Operation, Tls
from sites import Site, eventually

LACKING = "" if shutil.which("etcd") else "there is no `etcd` on PATH (Debian: etcd-server)"


class EtcdServer:
    """One member of Debian's etcd, without TLS, on loopback."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder, self.port, self._peers = folder, free_port(), free_port()
        self._options = options
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        peers = f"http://127.0.0.1:{self._peers}"
        client = ("--listen-client-urls", self.url, "--advertise-client-urls", self.url)
        peer = ("--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers)
        with (self.folder / "etcd.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    "etcd",
                    "--data-dir",
                    self.folder / "etcd",
                    *client,
                    *peer,
                    "--initial-cluster",
                    f"default={peers}",
                    *self._options,
                ],
                stdout=log,
                stderr=log,
            )
        assert eventually(self._is_healthy), (self.folder / "etcd.log").read_text()[-2000:]

    def stop(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    def begins_anew(self) -> None:
        """Lose all data."""
        self.stop()
        shutil.rmtree(self.folder / "etcd")
        self.start()

    def is_full(self, *, full: bool) -> None:
        """Raise the alarm that it raises itself above its quota, or end it, as a person does."""
        said = {
            "action": "ACTIVATE" if full else "DEACTIVATE",
            "memberID": self._member(),
            "alarm": "NOSPACE",
        }
        body = msgspec.json.encode(said)
        urllib.request.urlopen(f"{self.url}/v3/maintenance/alarm", body, timeout=5).close()

    def _member(self) -> str:
        with urllib.request.urlopen(f"{self.url}/v3/maintenance/status", b"{}", timeout=5) as answer:
            return msgspec.json.decode(answer.read())["header"]["member_id"]  # type: ignore[no-any-return]

    def _is_healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=1) as answer:
                return b'"true"' in answer.read()
        except OSError:
            return False


class Monitor(Site):
    """One of several monitors."""

    def __init__(self, folder: Path, name: str, etcd: EtcdServer) -> None:
        folder.mkdir()
        super().__init__(folder)
        self.name, self.etcd = name, etcd

    def command(self, *words: str) -> list[str]:
        return super().command("--monitor", self.name, *words)

    def leads(self) -> bool:
        """Renew its lease; return whether it leads now."""
        self.ok("lead")
        return self.session().term > 0

    def tick(self) -> None:
        """Do what its timers do once."""
        self.run("lead")
        self.check()
        self.ok("recover")
        self.ok("deliver")

    def session(self) -> Session:
        return msgspec.json.decode(self._session_file().read_bytes(), type=Session)

    def _session_file(self) -> Path:
        (file,) = self.state_dir.glob("session-*.json")
        return file

    def hears_nothing_for(self, seconds: float) -> None:
        """Let so much time pass without an answer of etcd's, though it was asked just now."""
        known = self.session()
        passed = replace(known, answered=known.answered - seconds, until=known.until - seconds)
        self._session_file().write_bytes(msgspec.json.encode(passed))

    def noted_apart_for(self, seconds: float) -> None:
        """Let so much time pass since it last had its state taken by etcd."""
        file = self.state_dir / "state.json"
        text = file.read_text()
        since = self.state().shared.apart_since  # type: ignore[union-attr]
        file.write_text(text.replace(f'"apart_since":{since}', f'"apart_since":{since - seconds}'))

    def boots(self) -> None:
        """Forget what a boot ends."""
        self._session_file().unlink()

    def loses_its_lease(self) -> None:
        """Let etcd end its lease, as it does half a minute after the monitor has died."""
        with Etcd([self.etcd.url], Tls(), 5) as client:
            client.revoke(self.session().lease)


class Monitors:
    """The monitors, the nodes that they share, and their etcd."""

    def __init__(self, folder: Path, names: tuple[str, ...], *options: str) -> None:
        self.etcd = EtcdServer(folder, *options)
        self.all = {name: Monitor(folder / name, name, self.etcd) for name in names}

    def __getitem__(self, name: str) -> Monitor:
        return self.all[name]

    def describe(self, nodes: dict[str, dict[str, Any]], **settings: object) -> None:
        """Write each monitor's inventory, all of them alike."""
        own = {"ansible_host": "", "mesh_cluster_endpoints": [self.etcd.url]}
        monitors = {
            name: {**own, "ansible_host": f"192.0.2.{number}"} for number, name in enumerate(self.all, 1)
        }
        common = {f"mesh_monitor_{name}": value for name, value in {"grace": 0, **settings}.items()}
        hosts = {
            key: {
                name if name.startswith(("ansible_", "mesh_")) else f"mesh_node_{name}": value
                for name, value in given.items()
            }
            for key, given in nodes.items()
        }
        text = msgspec.json.encode(
            {"mesh_monitors": {"hosts": monitors, "vars": common}, "mesh_nodes": {"hosts": hosts}}
        )
        for monitor in self.all.values():
            monitor.inventory.write_bytes(text)

    def alerts_go_to(self, url: str) -> None:
        for monitor in self.all.values():
            monitor.alerts_go_to(url)

    def asked(self, *operations: Operation) -> Any:
        """Do something in etcd itself."""
        with Etcd([self.etcd.url], Tls(), 5) as client:
            return client.transact(operations)

    def written(self) -> str:
        """Return which write the shared state is of."""
        return self.asked(Get(Keys("mesh").write)).found[0][0].value.decode()

    def close(self) -> None:
        self.etcd.stop()
