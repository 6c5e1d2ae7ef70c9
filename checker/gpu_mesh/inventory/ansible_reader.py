"""Reads the inventory with Ansible itself. Only this module loads Ansible; inventory/reader.py runs it.

Sources may be INI, YAML, folders, plugin configurations and scripts; group_vars, host_vars and vault work as
in ``ansible-inventory``. But a source that cannot be parsed is a mistake, never an empty inventory.
"""

import ctypes
import functools
import os
import re
import shutil
import signal
import socket
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from ansible import constants
from ansible.cli import CLI
from ansible.errors import AnsibleError
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader
from ansible.template import Templar
from ansible.utils.display import Display
from ansible.vars.hostvars import HostVars
from ansible.vars.manager import VariableManager
from msgspec.structs import replace

from gpu_mesh.domain.mesh import Mesh
from gpu_mesh.inventory import yaml_shape
from gpu_mesh.inventory.mistakes import Mistake
from gpu_mesh.inventory.reader import Reading
from gpu_mesh.inventory.resolve import (
    LOGIN,
    MONITORS,
    MORE_THAN_LOGIN,
    NODES,
    RawHost,
    RawVariable,
    meant_by,
    near_names,
    resolve,
)

try:
    from ansible._internal._datatag._tags import Origin
except ImportError:  # before ansible-core 2.19 a value does not know its file and line
    Origin = None

_OF_CONNECTION = frozenset({"ansible_host", "ansible_connection", "ansible_port"}) | LOGIN | MORE_THAN_LOGIN
# Warnings that a part of the inventory is not used, or counts for another host.
_IGNORED = re.compile("skipping|duplicate|same name", re.IGNORECASE)
_PART = re.compile(r"'(?:mesh_nodes|mesh_monitors|hosts)'")  # what holds hosts in a YAML inventory
_PR_SET_PDEATHSIG = 1  # of linux/prctl.h
_SELF_DESCRIBING = (".yml", ".yaml", ".json")


class _Warnings:
    """Collects what Ansible only warns about while it reads the sources."""

    def __init__(self) -> None:
        self.failures: list[BaseException] = []  # one for each plugin that tried a source and failed
        self.ignored: list[Mistake] = []  # one for each part of the inventory that is not used

    def warning(self, msg: str, *_: object, obj: object = None, **__: object) -> None:
        if "same name" in msg:  # Ansible takes the name for that of the group, also in a playbook's limit
            msg = f"{msg}: rename one of them, or the host's variables go to the group"
        if "duplicate mapping key" in msg:
            msg = f"{msg.removesuffix('.')}: only the later value counts"
            if _PART.search(msg):
                msg += "; write its hosts below the first one, or into another file of an inventory folder"
        if "Skipping unexpected key" in msg:
            msg = f"{msg}: if it is a host, indent it below hosts"
        if _IGNORED.search(msg):
            # Ansible's YAML inventory passes only words. The key in its frame knows its file and line.
            named = sys._getframe(1).f_locals
            place = _place(obj) or _place(named.get("key")) or _place(named.get("group"))
            self.ignored.append(Mistake(" ".join(msg.split()), place=place))

    def error_as_warning(self, msg: object, exception: BaseException, **_: object) -> None:  # noqa: ARG002 - Ansible's
        self.failures.append(exception)


def read(sources: tuple[str, ...], monitor: str = "") -> Reading:
    """Read the sources and resolve them.

    Args:
        sources: inventory sources in Ansible's sense.
        monitor: the ``--monitor`` option; "": it was not given.
    """
    missing = [_missing(source) for source in sources]
    mistakes = [mistake for mistake in missing if mistake]
    if mistakes:
        return Reading(mistakes=tuple(mistakes))
    warnings = _Warnings()
    try:
        with _collecting(warnings):
            hosts = list(_hosts(sources))
    except AnsibleError as error:
        shaped = tuple(it for file in _yaml_files(sources) for it in yaml_shape.mistakes(file))
        return Reading(mistakes=shaped or (_mistake(error, warnings),), files=_other_files())
    ignored = tuple(warnings.ignored)
    resolved = resolve(hosts, monitor, _machine())
    if isinstance(resolved, Mesh) and not ignored:
        return Reading(resolved, files=_other_files(), notes=near_names(hosts))
    found = ignored if isinstance(resolved, Mesh) else ignored + resolved
    everywhere = ", ".join(sources)
    placed = (replace(it, place=it.place or everywhere) for it in found)
    return Reading(mistakes=tuple(placed), files=_other_files())


def _yaml_files(sources: tuple[str, ...]) -> Iterator[Path]:
    for source in map(Path, sources):
        files = sorted(source.iterdir()) if source.is_dir() else [source]
        yield from (file for file in files if file.suffix in (".yml", ".yaml") and file.is_file())


def _missing(source: str) -> Mistake | None:
    path = Path(source)
    if "," in source:  # a list of hosts
        return None
    if not path.exists():
        return Mistake(
            "there is no such inventory; begin one with gpu-mesh init, or name one with -i", place=source
        )
    if not os.access(path, os.R_OK | os.X_OK if path.is_dir() else os.R_OK):
        return Mistake("this user may not read it", place=source)
    return None


@contextmanager
def _collecting(warnings: _Warnings) -> Iterator[None]:
    """Collect the warnings that Ansible prints: it reports them in no other way."""
    display = Display()
    display.warning, display.error_as_warning = warnings.warning, warnings.error_as_warning
    try:
        yield
    finally:
        del display.warning, display.error_as_warning


def _hosts(sources: tuple[str, ...]) -> Iterator[RawHost]:
    loader = DataLoader()
    loader.set_vault_secrets(_start())
    constants.INVENTORY_ANY_UNPARSED_IS_FAILED = True
    inventory = InventoryManager(loader=loader, sources=list(sources))
    manager = VariableManager(loader=loader, inventory=inventory)
    manager.safe_basedir = False  # a group_vars folder in the working directory is not part of the inventory
    # For templates that name other hosts:
    HostVars(inventory=inventory, variable_manager=manager, loader=loader)
    for host in inventory.get_hosts():
        groups = tuple(str(group.name) for group in host.get_groups())
        if not {MONITORS, NODES} & set(groups):
            yield RawHost(key=str(host.name), groups=groups)
        else:
            variables = manager.get_vars(host=host)
            templar = Templar(loader=loader, variables=variables)
            yield RawHost(
                key=str(host.name),
                groups=groups,
                variables={
                    str(name): _variable(templar, name, value)
                    for name, value in variables.items()
                    if name.startswith("mesh_") or name in _OF_CONNECTION or meant_by(name)
                },
            )


@functools.cache
def _start() -> Any:
    """Initialize Ansible, once in a process; return the vault secrets that its configuration names."""
    init_plugin_loader()  # finds the plugins of collections
    return CLI.setup_vault_secrets(
        DataLoader(), vault_ids=list(constants.DEFAULT_VAULT_IDENTITY_LIST), auto_prompt=False
    )


def _variable(templar: Any, name: str, value: object) -> RawVariable:
    place = _place(value) or _place(name)
    try:
        return RawVariable(_plain(templar.template(value)), place)
    except AnsibleError as error:
        return RawVariable(place=place, error=f"cannot be worked out: {_words(error)}")


def _plain(value: object) -> object:
    """Return a value without Ansible's tags."""
    if isinstance(value, dict):
        return {_plain(key): _plain(content) for key, content in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(item) for item in value]
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return value


def _origin(value: object) -> Any:
    return None if Origin is None else value if isinstance(value, Origin) else Origin.get_tag(value)


def _place(value: object) -> str:
    origin = _origin(value)
    if origin is None or not origin.path:
        return ""
    return f"{origin.path}:{origin.line_num}" if origin.line_num else str(origin.path)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _place_of(error: BaseException) -> str:
    """Return the most exact place (file:line, else file) that the error or one of its causes names."""
    places = [_place(getattr(link, "obj", None)) for link in _chain(error)]
    place = max(places, key=lambda place: (_has_line(place), bool(place)))
    line = 0 if _has_line(place) else max(map(_ini_line, _chain(error)))
    return f"{place}:{line}" if place and line else place


def _has_line(place: str) -> bool:
    return re.search(r":\d+$", place) is not None


def _ini_line(error: BaseException) -> int:
    """Return the line at which Ansible's INI parser failed, as its error does not say it; 0: not known."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        lines, text = frame.f_locals.get("lines"), frame.f_locals.get("line")
        if frame.f_code.co_name == "_parse" and isinstance(lines, list) and isinstance(text, str):
            return next((number for number, line in enumerate(lines, 1) if line.strip() == text), 0)
    return 0


def _words(error: BaseException) -> str:
    """Return the error's message in one line, without quotations from the file: they may hold a password."""
    quoting = re.sub(r"<class '[\w.]*?(?:Tagged)?(\w+)'>", lambda found: found[1].lower(), str(error))
    quoting = re.sub(r"(?s)((?:,| and) got: .*|(?<=Error parsing host definition) '.*':)", "", quoting)
    return " ".join(quoting.split()).removesuffix(".")


def _mistake(error: AnsibleError, warnings: _Warnings) -> Mistake:
    """Choose the most useful failure among those of all plugins that tried a source."""
    # "no root 'plugin' key" only means that a YAML inventory is not the configuration of a plugin.
    tried = [failure for failure in warnings.failures if "no root 'plugin' key" not in _words(failure)]
    if not tried:
        return Mistake(_words(error), place=_place_of(error))
    source = _words(error).rpartition(" ")[2]
    named = source.endswith(_SELF_DESCRIBING) or os.access(source, os.X_OK)
    chosen = tried[0 if named else -1]  # Ansible tries INI last
    return Mistake(_words(chosen), place=_place_of(chosen) or source)


def _machine() -> frozenset[str]:
    name = socket.gethostname()
    return frozenset({name, name.partition(".")[0], socket.getfqdn()})


def _other_files() -> tuple[str, ...]:
    named = [identity.rpartition("@")[2] for identity in constants.DEFAULT_VAULT_IDENTITY_LIST]
    files = [constants.CONFIG_FILE, constants.DEFAULT_VAULT_PASSWORD_FILE, *named]
    return tuple(str(Path(file).expanduser().absolute()) for file in files if file and Path(file).exists())


def _end_with(parent: int) -> None:
    """Make this process end when its parent ends, together with an inventory script that it waits for.

    A stop of the service kills the parent at once, but not this process, which has its own session. Ansible's
    temporary files are in a folder that was made for this process alone (inventory/reader.py).
    """

    def end(*_: object) -> None:
        shutil.rmtree(os.environ["ANSIBLE_LOCAL_TEMP"], ignore_errors=True)
        if os.getpgrp() == os.getpid():
            os.killpg(0, signal.SIGKILL)
        os._exit(1)

    signal.signal(signal.SIGTERM, end)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # the parent ended while Ansible was loaded
        end()


def main() -> None:
    """Read the sources and print the Reading as JSON. Arguments: the parent's pid, monitor, sources."""
    parent, monitor, *sources = sys.argv[1:]
    _end_with(int(parent))
    answer = os.dup(1)
    os.dup2(2, 1)  # what a plugin prints must not get into the JSON
    with os.fdopen(answer, "wb") as file:
        file.write(msgspec.json.encode(read(tuple(sources), monitor)))


if __name__ == "__main__":
    main()
