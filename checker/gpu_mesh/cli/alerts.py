"""``gpu-mesh alerts``: show the history of alerts, or test each URL with a message of each level."""

import argparse
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from msgspec import Struct

from gpu_mesh.alerting.alerts import tags_of
from gpu_mesh.cli.common import UsageError, add_json, any_mesh, at_home, like, mesh_of, say, shell, width
from gpu_mesh.cli.reports import print_json
from gpu_mesh.delivery import alertmanager_trial, outbox
from gpu_mesh.delivery.place import expected_place
from gpu_mesh.domain.alert import Alert, AlertKind, Level
from gpu_mesh.domain.event import Severity, event
from gpu_mesh.domain.mesh import Node, Settings
from gpu_mesh.reporting import alert_list
from gpu_mesh.storage.state_file import StateFile
from gpu_mesh.system.log import Log
from gpu_mesh.system.paths import Paths
from gpu_mesh.text.commands import typed
from gpu_mesh.text.suggest import did_you_mean

if TYPE_CHECKING:
    from gpu_mesh.delivery.apprise_config import Channel, Configuration
    from gpu_mesh.delivery.render import Templates

EXAMPLES = "gpu-mesh alerts list\n  gpu-mesh alerts show 12\n  gpu-mesh alerts test --tag night"


class AlertList(Struct, frozen=True):
    """What ``alerts list --json`` and ``alerts show NUMBER --json`` print."""

    schema: int
    alerts: tuple[alert_list.AlertReport, ...]


_EXAMPLE_OF_THE_FILE = """\
version: 1
urls:
  - mailto://USER:PASSWORD@example.com?to=ops@example.com:
      tag: critical
  - ntfy://ntfy.example.com/TOPIC:
      tag: warning, error, critical
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what only this command takes."""
    parser.add_argument(
        "what",
        choices=("list", "show", "test"),
        help="list the alerts, show one as a whole, or send one test message a level",
    )
    parser.add_argument("number", nargs="?", type=int, help="of the alert to show")
    parser.add_argument("--tag", default="", help="test where an alert with this tag would go")
    add_json(parser)


def run(arguments: argparse.Namespace, paths: Paths, log: Log) -> int:
    """Show the history of alerts or one of them, or send one test message a level."""
    if arguments.what != "test":
        return _show(arguments, paths, log)
    # The report says what failed, so the log need not write it to standard error as well.
    file = log if arguments.verbose else Log(paths.log_file, threshold=Severity.ERROR)
    paths = at_home(paths.of_delivery())
    mesh = mesh_of(arguments, paths)
    lines, good = alertmanager_trial.send(paths, mesh, file, time.time(), arguments.tag)
    text, code = send_test(
        paths, mesh.settings, file, time.time, arguments.tag, mesh.nodes, elsewhere=bool(lines)
    )
    sys.stdout.write("".join(f"{line}\n" for line in lines) + text)
    return max(code, int(not good))


def _show(arguments: argparse.Namespace, paths: Paths, log: Log) -> int:
    state, now = StateFile(paths.state, log).load(), time.time()
    if arguments.what == "show":
        found = [alert for alert in state.alerts if alert.id == arguments.number]
        if not found:
            list_them = like(arguments, "alerts list")
            missing = (
                "name an alert by its number"
                if arguments.number is None
                else f"there is no alert {arguments.number}"
            )
            raise UsageError(f"{missing}; see which there are: {list_them}")
        state.alerts = found
    named = any(alert.deliveries for alert in state.alerts) and not arguments.reader
    known = services(paths, any_mesh(arguments, paths).settings) if named else {}
    if arguments.json:
        print_json(AlertList(1, alert_list.reports(state, known)))
    elif arguments.what == "show":
        text = alert_list.shown(state.alerts[0], now, known, None)
        say(typed(text, shell(arguments, paths)), now)
    else:
        say(alert_list.listed(state, now, known, width(), None), now)
    return 0


def services(paths: Paths, settings: Settings) -> dict[str, str]:
    """Return service and host of each URL by its hash, without secrets; {} where the file cannot be read."""
    from gpu_mesh.delivery import apprise_config

    try:
        channels = apprise_config.load(paths, settings).channels
    except OSError:  # the folder cannot be read
        return {}
    return {channel.target.id: channel.label for channel in channels}


def send_test(
    paths: Paths,
    settings: Settings,
    log: Log,
    clock: Callable[[], float],
    tag: str = "",
    nodes: tuple[Node, ...] = (),
    *,
    elsewhere: bool = False,
) -> tuple[str, int]:
    """Send a test message of each level straight to every URL that wants it, past the outbox.

    Which URL wants a message is decided as for real alerts: those about the monitor carry no tag, those about
    a node carry its tags.

    Args:
        paths: where the configuration is.
        settings: the monitor's.
        log: takes each outcome.
        clock: returns Unix seconds.
        tag: only URLs that an alert with this tag reaches; "": every URL, at its levels.
        nodes: of the mesh, whose tags the URLs may have.
        elsewhere: whether alerts go to an Alertmanager, too: then nobody needs a URL.

    Returns:
        A report for people, and the exit status: 1 when a URL failed, a part of the configuration cannot be
        used, or there was no URL to test.
    """
    from gpu_mesh.delivery import apprise_config  # here, because the list needs no Apprise
    from gpu_mesh.delivery.render import Templates
    from gpu_mesh.delivery.wording import Digest, Format, OneAlert

    configuration = apprise_config.load(paths, settings)
    place = expected_place(paths, settings)
    lines = [f"PROBLEM  {text}" for text in configuration.problems]
    lines += [f"note     {text}" for text in configuration.notes]
    if not configuration.channels and configuration.problems:
        return "\n".join(lines) + "\n", 1
    if not configuration.channels and elsewhere:
        return "".join(f"{line}\n" for line in lines), 0
    if not configuration.channels:
        lines += [
            f"There is no URL to send alerts to. Write {place} (chmod 600), for example:",
            "",
            _EXAMPLE_OF_THE_FILE,
        ]
        return "\n".join(lines), 1
    lines += [f"note     {text}" for text in tag_notes(configuration, nodes)]
    lines += _note_on_tag(tag, nodes)
    alerts = tuple(_test_alert(level, clock(), tag) for level in Level)
    templates = Templates(settings.alert_templates)
    subjects = (OneAlert(alerts[0]), Digest(alerts))
    broken = [text for form in Format for each in subjects for text in templates.render(each, form).problems]
    lines += [f"PROBLEM  {text}" for text in dict.fromkeys(broken)]
    failed = any(line.startswith("PROBLEM") for line in lines)
    tried = False
    with ThreadPoolExecutor(min(len(configuration.channels), 32)) as pool:
        reports = pool.map(lambda channel: _try(channel, alerts, templates), configuration.channels)
        for channel, (sent, reason) in zip(configuration.channels, reports, strict=True):
            failed = failed or bool(reason)
            tried = tried or bool(sent or reason)
            lines.append(_report(channel, sent, reason, nodes))
            severity = Severity.WARNING if reason else Severity.INFO
            fields = {"target": channel.target.id, "service": channel.label, "reason": reason}
            log.write([event("alert_test", severity, levels=",".join(sent), **fields)], clock())
    if not tried:
        known = {each for channel in configuration.channels for each in channel.target.tags}
        near = did_you_mean(tag.lower(), known)
        lines.append(f"No URL in {place} wants an alert with the tag {tag}{near and f'; {near}'}")
    return "\n".join(lines) + "\n", int(failed or not tried)


def _note_on_tag(tag: str, nodes: tuple[Node, ...]) -> list[str]:
    """Return what to say of a tag for which the person asks, but which no alert can have."""
    known = {each.lower() for node in nodes for each in tags_of(node)}
    if not tag or not nodes or tag.lower() in known:
        return []
    if tag.lower() in list(Level):
        return [f"note     {tag} is a level: a test has every level; --tag is for the tag of a node"]
    near = did_you_mean(tag.lower(), known, "see mesh_node_alert_tags")
    return [f"note     no node has the tag {tag}; {near}"]


def _test_alert(level: Level, now: float, tag: str) -> Alert:
    return Alert(
        id=0,
        at=now,
        level=level,
        kind=AlertKind.TEST,
        text=f"This is a test of alerts of the level {level.value}",
        next_step="none: nothing is wrong",
        tags=(tag,) if tag else (),
    )


def tag_notes(configuration: "Configuration", nodes: tuple[Node, ...]) -> list[str]:
    """Return what to say of tags that no alert can have, each with file and line."""
    from gpu_mesh.delivery import tags

    return [
        f"{channel.place}: {said}"
        for channel in configuration.channels
        for said in tags.unknown(channel.target, configuration.groups, nodes)
    ]


def _try(channel: "Channel", alerts: tuple[Alert, ...], templates: "Templates") -> tuple[list[Level], str]:
    """Return the levels that were delivered, and why the next one was not ("": all were)."""
    from gpu_mesh.delivery import sender

    sent: list[Level] = []
    wanted = (alert for alert in alerts if outbox.wants(channel.target.tags, alert.level, alert.tags))
    for alert in wanted:
        reason = sender.send_alone(channel, alert, templates)
        if reason:
            return sent, f"{alert.level.value}: {reason}"
        sent.append(alert.level)
    return sent, ""


def _report(channel: "Channel", sent: list[Level], reason: str, nodes: tuple[Node, ...]) -> str:
    what = f"{channel.label} ({channel.target.id}, {channel.place})"
    levels = ", ".join(level.value for level in sent)
    if reason:
        return f"FAILED   {what}: {reason}" + (f" (delivered: {levels})" if sent else "")
    if not sent:
        return f"not sent {what}: its tags are {', '.join(sorted(channel.target.tags))}"
    from gpu_mesh.delivery import tags

    alone = nodes and not any(tags.is_for_a_node(channel.target, level, nodes) for level in sent)
    return f"ok       {what}: {levels}" + (", of the monitor alone: no node has its tags" if alone else "")
