"""Decides what the first inventory of a mesh says, from what a person typed; for ``gpu-mesh init``. Pure."""

import ipaddress
import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import urlsplit

from gpu_mesh.domain.mesh import Login, Node, Tunnel
from gpu_mesh.inventory.host_names import authority, host_with_port, is_host, without_brackets
from gpu_mesh.inventory.resolve import KEY, MONITORS, NODES, OLLAMA_PORT, SSH_PORT
from gpu_mesh.inventory.value_types import MODEL, URL, USER, ShapeError, quoted

LOCAL = "local"
"""The key of the Ollama on this machine, where nobody gave it another one."""

MOST_MODELS = 20
"""A node with more models does not get them listed as expected: nobody wants all of so many."""

_EXAMPLE = "desk=192.168.1.20"
_PLAIN = re.compile(r"https?://[\w.:/\[\]-]+|[A-Za-z][\w.-]*|[0-9]+(?:\.[0-9]+){3}", re.ASCII)
_WORDS_OF_YAML = frozenset({"true", "false", "yes", "no", "on", "off", "null", "y", "n"})
_HERE = """\
      ansible_connection: local
      ansible_python_interpreter: "{{ ansible_playbook_python }}"
"""
_HEAD = f"""\
---
# The mesh: who watches, and what is watched. gpu-mesh init began this file; from here on it is yours.
# After an edit, gpu-mesh validate says whether it is right. Every variable: docs/variables.md.

{MONITORS}:
  hosts:
    # This machine checks the nodes.
    monitor:
{_HERE}\
      # Addresses outside your network: if none answers, the monitor is offline, and no node is blamed.
      # mesh_monitor_canary: [ADDRESS:53, ADDRESS:443]

{NODES}:
  hosts:
"""


def nodes(words: Sequence[str], ports: Iterator[int]) -> tuple[Node, ...]:
    """Return the nodes that these words describe.

    A word is ``NAME=HOST[:PORT]``, ``NAME=URL`` or ``NAME=USER@HOST[:PORT]``. The last one is reached
    through a tunnel, and its port is that of ssh.

    Args:
        words: as they were typed.
        ports: free ports on this machine, for the tunnels.

    Raises:
        ValueError: some words are wrong; the message has a line for each.
    """
    found: dict[str, Node] = {}
    wrong = []
    for word in words:
        key, separator, place = word.partition("=")
        try:
            if not separator or not place:
                raise ValueError(f"write NAME=HOST, such as {_EXAMPLE}")  # noqa: TRY301 - all are collected
            if not KEY.fullmatch(key):
                raise ValueError(  # noqa: TRY301
                    "the name must consist of letters, digits, . _ and -, and not begin with . or -"
                )
            if key in found:
                raise ValueError("the name is there twice")  # noqa: TRY301
            found[key] = _node(key, place, ports)
        except ValueError as error:
            wrong.append(f"{key if KEY.fullmatch(key) else quoted(word)}: {error}")
    if wrong:
        raise ValueError("\n".join(wrong))
    return tuple(found.values())


def local_node(ollama_host: str, given: Sequence[Node]) -> Node | None:
    """Return the Ollama of this machine as a node, to be looked for; None: one of the given nodes is it.

    Args:
        ollama_host: the environment variable OLLAMA_HOST, by which Ollama is told where to listen.
        given: the nodes that a person named.

    Raises:
        ValueError: one of them has its name, but is elsewhere.
    """
    node = _plain(LOCAL, "127.0.0.1", _own_port(ollama_host))
    if any(each.on_monitor and each.port == node.port for each in given):
        return None
    if any(each.key == node.key for each in given):
        raise ValueError(f"the Ollama on this machine is called {LOCAL}: give the other one another name")
    return node


def inventory(mesh: Sequence[Node], models: Mapping[str, Sequence[str]]) -> str:
    """Return the text of the inventory.

    Args:
        mesh: its nodes.
        models: what each node has now, by key. They come from the nodes: only plain names are written, since
            Ansible would fill in others as templates.
    """
    return _HEAD + "\n".join(_entry(node, models.get(node.key, ())) for node in mesh)


def tunnel_command(node: Node, tunnel: Tunnel, *options: str) -> list[str]:
    """Return the ssh command that opens the node's tunnel.

    Args:
        node: the node.
        tunnel: its tunnel.
        options: further ones of ssh.
    """
    login = f"{node.login.user}@" if node.login and node.login.user else ""
    forward = f"127.0.0.1:{tunnel.local_port}:{authority(tunnel.remote_host, tunnel.remote_port)}"
    port = ["-p", str(node.ssh_port)] if node.ssh_port != SSH_PORT else []
    return [
        *("ssh", *options, "-N", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10"),
        *("-o", "ExitOnForwardFailure=yes", "-L", forward, *port, "--", f"{login}{tunnel.host}"),
    ]


def _node(key: str, place: str, ports: Iterator[int]) -> Node:
    if "://" in place:
        try:
            url = URL.read(place)
        except ShapeError as problem:
            raise ValueError(f"the URL {URL.wrong(place, problem)}") from None
        host = urlsplit(url).hostname or key
        return Node(key=key, name=key, url=url, ssh_host=host, on_monitor=_is_loopback(host))
    user, is_login, rest = place.rpartition("@")
    host, port = _place(rest)
    if not is_login:
        return _plain(key, host, port or OLLAMA_PORT)
    try:
        USER.read(user)
    except ShapeError:
        raise ValueError(f"{quoted(user)} is no user's name") from None
    tunnel = Tunnel(host, next(ports))
    return Node(
        key=key,
        name=key,
        url=f"http://127.0.0.1:{tunnel.local_port}",
        tunnel=tunnel,
        ssh_host=host,
        ssh_port=port or SSH_PORT,
        login=Login(user),
    )


def _plain(key: str, host: str, port: int) -> Node:
    url = f"http://{authority(host, port)}"
    return Node(key=key, name=key, url=url, ssh_host=host, on_monitor=_is_loopback(host))


def _place(text: str) -> tuple[str, int]:
    """Split HOST[:PORT]; a port that is not given is 0."""
    if parts := host_with_port(text):
        host, port = parts[0], int(parts[1])
        if not 0 < port < 65536:
            raise ValueError(f"{port} is no port: they go from 1 to 65535")
        return host, port
    host = without_brackets(text)
    if not is_host(host):
        raise ValueError(f"{quoted(text)} is no host's name or address")
    return host, 0


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _own_port(ollama_host: str) -> int:
    """Return the port of this machine's Ollama. OLLAMA_HOST may name another machine's, as clients use it."""
    try:
        host, port = _place(ollama_host.removeprefix("http://").rstrip("/"))
    except ValueError:
        return OLLAMA_PORT
    here = _is_loopback(host) or host in ("0.0.0.0", "::")  # noqa: S104 - where it listens
    return port if here and port else OLLAMA_PORT


def _entry(node: Node, models: Sequence[str]) -> str:
    """Return the lines of one node."""
    lines = [f"    {_scalar(node.key)}:"]
    if node.on_monitor:
        lines.insert(0, "    # Ollama on this machine.")
        lines.append(_HERE.rstrip())
    elif node.tunnel:
        lines.insert(0, "    # A machine behind an SSH tunnel.")
        lines += _of_tunnel(node, node.tunnel)
    elif node.ssh_host != node.key:
        lines.append(f"      ansible_host: {_scalar(node.ssh_host)}")
    if not node.tunnel and node.url != _default_url(node):
        lines.append(f"      mesh_node_url: {_scalar(node.url)}")
    names = [name for name in models if _is_plain_model(name)]
    if names and len(models) <= MOST_MODELS:
        listed = ", ".join(json.dumps(name) for name in names)
        lines.append(
            "      # These are there now. With the next line you are told when one of them is missing:"
        )
        lines.append(f"      # mesh_node_expected_models: [{listed}]")
    if not node.on_monitor:
        lines.append("      # Ollama is restarted over ssh, as the unit ollama.service. Other ways, or none:")
        lines.append("      # mesh_node_recovery: none")
    if len(lines) == 1:
        lines[0] = f"{lines[0]} {{}}"
    return "".join(f"{line}\n" for line in lines)


def _of_tunnel(node: Node, tunnel: Tunnel) -> list[str]:
    lines = [f"      ansible_host: {_scalar(tunnel.host)}"]
    if node.login:
        lines.append(f"      ansible_user: {_scalar(node.login.user)}")
    if node.ssh_port != SSH_PORT:
        lines.append(f"      ansible_port: {node.ssh_port}")
    return [
        *lines,
        f"      mesh_tunnel_host: {_scalar(tunnel.host)}",
        f"      mesh_tunnel_local_port: {tunnel.local_port}",
        "      # Opens the tunnel when it is down. site.yml installs a unit for that: take it out then.",
        f"      mesh_tunnel_recovery_command: {_scalar(shlex.join(tunnel_command(node, tunnel, '-f')))}",
    ]


def _default_url(node: Node) -> str:
    host = "127.0.0.1" if node.on_monitor else node.ssh_host
    return f"http://{authority(host, OLLAMA_PORT)}"


def _is_plain_model(name: str) -> bool:
    return MODEL.fullmatch(name) is not None


def _scalar(text: str) -> str:
    """Return the text as YAML reads it back: in quotes where it would be something else without."""
    plain = _PLAIN.fullmatch(text) and text.casefold() not in _WORDS_OF_YAML
    return text if plain else json.dumps(text)
