"""The settings with which the role has nginx or Caddy give out the page, in the real programs."""

import http.client
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import jinja2
import pytest

import pages
from checkout import ROOT
from gpu_mesh.publishing import badges, feed, files, page, view
from gpu_mesh.publishing.files import EVERYBODY
from gpu_mesh.publishing.past import Past
from gpu_mesh.standin.server import free_port
from sites import eventually

NOBODY = 65534
COMMANDS = {
    "nginx": ("-e", "stderr", "-g", "daemon off;", "-c"),
    "caddy": ("run", "--adapter", "caddyfile", "--config"),
}


@pytest.fixture(params=COMMANDS)
def port(request: pytest.FixtureRequest) -> Iterator[int]:
    """The port at which a server gives out a page, as a user that owns nothing of it."""
    program = shutil.which(request.param, path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        pytest.skip(f"needs {request.param}")
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    run, conf, number = folder / "run", folder / "web.conf", free_port()
    run.mkdir()
    publish(folder / "public")
    templates = jinja2.Environment(undefined=jinja2.StrictUndefined)
    templates.filters["comment"] = lambda text: f"# {text}"
    template = ROOT / f"roles/mesh_monitor/templates/etc/gpu-mesh/web-{request.param}.conf.j2"
    known = {
        "ansible_managed": "Ansible managed",
        "mesh_monitor_web_address": "127.0.0.1",
        "mesh_monitor_web_port": number,
        "__mesh_monitor_public_dir": folder / "public",
        "__mesh_monitor_web_run": run,
    }
    conf.write_text(templates.from_string(template.read_text()).render(known))
    options: dict[str, Any] = {}
    if os.geteuid() == 0:
        os.chown(run, NOBODY, NOBODY)
        options = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
    server = subprocess.Popen(
        [program, *COMMANDS[request.param], str(conf)],
        cwd="/",
        env={"HOME": str(run), "PATH": os.environ["PATH"]},
        stderr=(folder / "stderr").open("w"),
        **options,
    )
    try:
        assert eventually(lambda: server.poll() is not None or answers(number))
        assert server.poll() is None, (folder / "stderr").read_text()
        yield number
    finally:
        server.terminate()
        server.wait()
        shutil.rmtree(folder)


def publish(folder: Path) -> None:
    shown, mesh = view.page(pages.mesh(2), Past()), pages.mesh(2)
    texts = {"index.html": page.html(shown), "feed.xml": feed.atom(shown, "m"), "status.json": "{}\n"}
    drawn = {"mesh.svg": badges.of_mesh(shown.headline), "gpu1.svg": badges.of_node(mesh.nodes[1], mesh.mesh)}
    files.write(folder, texts, drawn, EVERYBODY)
    (folder / ".gpu-mesh.new").write_text("half of a file")


def ask(port: int, path: str) -> tuple[int, dict[str, str], str]:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request("GET", path, headers={"Host": "status.example.net"})
        answer = connection.getresponse()
        headers = {name.lower(): value for name, value in answer.getheaders()}
        return answer.status, headers, answer.read().decode()


def answers(port: int) -> bool:
    try:
        return ask(port, "/")[0] == 200
    except OSError:
        return False


def test_every_file_is_given_out_as_what_it_is_and_none_other(port: int) -> None:
    for path, kind in (
        ("/", "text/html"),
        ("/index.html", "text/html"),
        ("/status.json", "application/json"),
        ("/feed.xml", "xml"),
        ("/badge/mesh.svg", "image/svg+xml"),
        ("/badge/gpu1.svg", "image/svg+xml"),
    ):
        status, headers, text = ask(port, path)
        assert (path, status) in {(path, 200), ("/index.html", 308)}, path
        if status == 200:
            assert kind in headers["content-type"], path
            assert text
        assert headers["cache-control"] == "no-cache"
        assert headers["x-content-type-options"] == "nosniff"
    for path in ("/.gpu-mesh.new", "/badge/", "/badge/../../web.conf", "/nothing"):
        assert ask(port, path)[0] in (400, 403, 404), path
