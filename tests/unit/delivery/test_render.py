"""An alert in words, the operator's own templates, and what a hostile name can do to it: nothing."""

import re
from html import unescape
from pathlib import Path

import pytest
from msgspec.structs import replace

from factories import ALERT, NOON
from gpu_mesh.delivery import wording
from gpu_mesh.delivery.render import BODY_LIMIT, Templates
from gpu_mesh.delivery.wording import Format, OneAlert
from gpu_mesh.domain.alert import Alert, AlertKind, Level
from gpu_mesh.domain.causes import CAUSES, Cause
from gpu_mesh.domain.health import Status
from gpu_mesh.text.humanize import format_duration, moment
from gpu_mesh.text.sanitize import one_line


def test_an_alert_says_node_status_what_happened_since_when_and_the_next_step() -> None:
    rendered = Templates().render(OneAlert(ALERT))
    assert rendered.problems == ()
    assert rendered.message.title == "❌ [ERROR] Vengeance: 3 failures in a row: Timeout (10s)"
    assert rendered.message.body.splitlines() == [
        "3 failures in a row: Timeout (10s)",
        "",
        "Node:       Vengeance (vengeance)",
        "Status:     🔴 unhealthy, was degraded",
        "Cause:      Timeout (timeout)",
        "Since:      2025-06-17 11:58:30 UTC (for 1 min 30 s)",
        "Reported:   2025-06-17 12:00:00 UTC",
        "Tried:      restarted ollama.service twice: it hung again",
        "Next step:  see whether Ollama hangs: sudo journalctl -u ollama.service on vengeance",
    ]


def test_an_alert_about_the_monitor_itself_has_no_empty_lines_for_a_node() -> None:
    monitor = Alert(id=1, at=NOON, level=Level.WARNING, kind=AlertKind.MONITOR, text="The disk is full")
    assert Templates().render(OneAlert(monitor)).message.body.splitlines() == [
        "The disk is full",
        "",
        "About:      GPU mesh",
        "Reported:   2025-06-17 12:00:00 UTC",
    ]


HOSTILE = [
    "line\nSubject: forged\r\nBcc: all@example.com",
    "separators\u2028and\u2029and\x85and\x0b",
    "\x1b[31mred\x1b]0;title\x07",
    "{{ 7 * 7 }}{% for x in range(10**9) %}{% endfor %}{{ ''.__class__ }}",
    "\u202egnp.exe",
    "lone \ud800 surrogate",
    "<script>alert(1)</script>",
    "A" * 100_000,
    "\0",
]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("field", ["text", "name", "node", "tried", "next_step"])
def test_nothing_a_node_sends_breaks_out_of_its_line(field: str, text: str) -> None:
    message = Templates().render(OneAlert(replace(ALERT, **{field: text}))).message
    expected = Templates().render(OneAlert(replace(ALERT, **{field: "harmless"}))).message
    assert len(message.title) < 80
    assert len(message.title.splitlines()) == 1
    assert len(message.body.splitlines()) <= len(expected.body.splitlines())
    assert len(message.body) < 2500
    assert not any(char in message.body + message.title for char in "\x1b\x07\0\r\u202e\u2028\x85")
    assert "49" not in message.body
    (message.title + message.body).encode()


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("@channel wake up", "@\u200bchannel wake up"),
        ("<!channel> <@U123>", "<\u200b!channel> <\u200b@\u200bU123>"),
        ("[reset](http://evil.example)", "[reset]\u200b(http://evil.example)"),
        ("models [a, b] (2)", "models [a, b] (2)"),
    ],
)
def test_what_a_node_says_mentions_nobody_and_links_nowhere(said: str, shown: str) -> None:
    message = Templates().render(OneAlert(replace(ALERT, text=said))).message
    assert message.title == f"❌ [ERROR] Vengeance: {shown}"
    assert message.body.splitlines()[0] == shown


def test_what_the_operator_wrote_can_be_copied_and_may_mention_people(tmp_path: Path) -> None:
    (tmp_path / "alert_title.txt.j2").write_text("@here {{ name }}: {{ text }}")
    step = "journalctl -u gpu-mesh-tunnel@vengeance"
    message = Templates(str(tmp_path)).render(OneAlert(replace(ALERT, text="<@U1>", next_step=step))).message
    assert message.title == "@here Vengeance: <\u200b@\u200bU1>"
    assert message.body.endswith(f"Next step:  {step}")


def test_an_operators_template_overrides_one_file_and_leaves_the_other(tmp_path: Path) -> None:
    (tmp_path / "alert_title.txt.j2").write_text("{{ node }} is {{ status }}\n")
    rendered = Templates(str(tmp_path)).render(OneAlert(ALERT))
    assert rendered.message.title == "vengeance is unhealthy"
    assert rendered.message.body == Templates().render(OneAlert(ALERT)).message.body
    assert rendered.problems == ()


@pytest.mark.parametrize("form", Format)
@pytest.mark.parametrize(
    ("template", "line", "says"),
    [
        ("fine\n{% if %}\n", 2, "Expected an expression"),
        ("fine\n\n{{ nodename }}\n", 3, "'nodename' is undefined"),
        ("{{ ''.__class__.__mro__ }}", 1, "unsafe"),
        ("fine\n{{ 1 / 0 }}", 2, "division by zero"),
        ("one\n{% include 'nothing.txt' %}", 2, "nothing.txt"),
        ("  \n", None, "it renders nothing"),
    ],
)
def test_a_broken_template_is_named_with_its_line_and_replaced_by_the_built_in_one(
    tmp_path: Path, template: str, line: int | None, says: str, form: Format
) -> None:
    (tmp_path / f"alert_body.{form.value}.j2").write_text(template)
    rendered = Templates(str(tmp_path)).render(OneAlert(ALERT), form)
    assert rendered.message == Templates().render(OneAlert(ALERT), form).message
    [problem] = rendered.problems
    assert problem.startswith(f"{tmp_path}/alert_body.{form.value}.j2{f' line {line}' if line else ''}: ")
    assert says in problem


FACTS = [
    "3 failures in a row: Timeout (10s)",
    "Node: Vengeance (vengeance)",
    "Status: 🔴 unhealthy, was degraded",
    "Cause: Timeout (timeout)",
    "Since: 2025-06-17 11:58:30 UTC (for 1 min 30 s)",
    "Reported: 2025-06-17 12:00:00 UTC",
    "Tried: restarted ollama.service twice: it hung again",
    "Next step: see whether Ollama hangs: sudo journalctl -u ollama.service on vengeance",
]


def said(alert: Alert, form: Format) -> str:
    """Return the words of a body, without what formats them."""
    message = Templates().render(OneAlert(alert), form).message
    assert message.format is form
    bare = re.sub(r"<[^>]+>", "\n", message.body) if form is Format.HTML else message.body
    return " ".join(re.sub(r"[*`]|^- ", "", bare, flags=re.MULTILINE).split())


@pytest.mark.parametrize("form", Format)
def test_every_format_says_the_same_in_the_same_order(form: Format) -> None:
    assert said(ALERT, form) == " ".join(FACTS)


@pytest.mark.parametrize("form", Format)
def test_of_a_node_that_is_healthy_again_it_is_the_trouble_that_lasted(form: Format) -> None:
    healthy = {
        "status": Status.HEALTHY,
        "previous": Status.OFFLINE,
        "cause": None,
        "tried": "",
        "next_step": "",
    }
    assert said(replace(ALERT, text="recovered after 1 min 30 s", **healthy), form) == (
        "recovered after 1 min 30 s Node: Vengeance (vengeance) Status: 🟢 healthy, was offline "
        "Trouble: from 2025-06-17 11:58:30 UTC, for 1 min 30 s Reported: 2025-06-17 12:00:00 UTC"
    )


@pytest.mark.parametrize("form", Format)
def test_what_there_is_nothing_to_say_about_is_left_out(form: Format) -> None:
    monitor = Alert(id=1, at=NOON, level=Level.WARNING, kind=AlertKind.MONITOR, text="The disk is full")
    body = Templates().render(OneAlert(monitor), form).message.body
    for label in ("Node", "Status", "Cause", "Since", "Trouble", "Tried", "Next step"):
        assert label not in body
    assert "About:" in body


def test_commands_of_the_next_step_are_code_where_there_is_code() -> None:
    markdown, html = (
        Templates().render(OneAlert(ALERT), form).message.body for form in (Format.MARKDOWN, Format.HTML)
    )
    assert "`sudo journalctl -u ollama.service` on" in markdown
    assert ">sudo journalctl -u ollama.service</code> on" in html


@pytest.mark.parametrize("cause", CAUSES)
def test_the_words_of_every_cause_need_no_node(cause: Cause) -> None:
    assert not set("{}") & set(wording.values(replace(ALERT, cause=cause))["cause_words"])


@pytest.mark.parametrize("form", [Format.MARKDOWN, Format.HTML])
def test_a_title_says_the_same_in_a_body_as_on_its_own(form: Format) -> None:
    hostile = replace(ALERT, text="<b>*[a](b)" + "&" * 200)
    message = Templates().render(OneAlert(hostile), form).message
    assert len(message.title) < 80
    assert message.title.endswith("…")
    shown = unescape(message.heading) if form is Format.HTML else message.heading.replace("\\", "")
    assert shown == message.title


@pytest.mark.parametrize("form", Format)
@pytest.mark.parametrize("char", ["x", '"', "<", "*", "@", "&lt;"])
def test_a_long_alert_is_shortened_value_by_value_to_what_the_service_takes(form: Format, char: str) -> None:
    flood = char * 1000
    long = replace(ALERT, text=flood, name=flood, tried=flood, next_step=flood)
    ends = {Format.TEXT: "…", Format.MARKDOWN: "…", Format.HTML: "</div>"}
    for room in (BODY_LIMIT, 2000):
        body = Templates().render(OneAlert(long), form, room).message.body
        assert len(body) < room
        assert body.endswith(ends[form])
        assert "Next step:" in body


@pytest.mark.parametrize("form", [Format.MARKDOWN, Format.HTML])
def test_a_template_of_markup_that_cannot_be_shortened_is_replaced_instead_of_cut(
    tmp_path: Path, form: Format
) -> None:
    (tmp_path / f"alert_body.{form.value}.j2").write_text("<b>" + "x" * BODY_LIMIT + "</b>")
    rendered = Templates(str(tmp_path)).render(OneAlert(ALERT), form)
    assert rendered.message == Templates().render(OneAlert(ALERT), form).message
    assert f"more than {BODY_LIMIT}" in rendered.problems[0]


def test_a_plain_template_that_is_too_long_is_cut(tmp_path: Path) -> None:
    (tmp_path / "alert_body.txt.j2").write_text("x" * 2 * BODY_LIMIT)
    rendered = Templates(str(tmp_path)).render(OneAlert(ALERT))
    assert rendered.message.body == "x" * BODY_LIMIT
    assert rendered.problems == ()


@pytest.mark.parametrize("form", Format)
def test_an_operator_who_wrote_only_a_plain_body_gets_it_everywhere(tmp_path: Path, form: Format) -> None:
    (tmp_path / "alert_body.txt.j2").write_text("{{ node }} is <{{ status }}>")
    message = Templates(str(tmp_path)).render(OneAlert(ALERT), form).message
    assert message.body == "vengeance is <unhealthy>"
    assert message.format is Format.TEXT
    assert message.heading == message.title


@pytest.mark.parametrize("form", Format)
def test_an_operators_body_in_one_format_leaves_the_other_formats_built_in(
    tmp_path: Path, form: Format
) -> None:
    (tmp_path / "alert_body.html.j2").write_text("<h1>{{ node }}</h1>")
    message = Templates(str(tmp_path)).render(OneAlert(ALERT), form).message
    built_in = Templates().render(OneAlert(ALERT), form).message
    assert message.format is form
    assert message.body == ("<h1>vengeance</h1>" if form is Format.HTML else built_in.body)


@pytest.mark.parametrize(
    ("form", "template", "shown"),
    [
        (Format.HTML, "<i>{{ text }}</i>", "<i>&lt;\u200bb&gt;*x*</i>"),
        (Format.MARKDOWN, "_{{ text }}_", "_\\<\u200bb\\>\\*x\\*_"),
        (Format.TEXT, "{{ text }}!", "<\u200bb>*x*!"),
    ],
)
def test_what_a_node_says_is_escaped_in_the_operators_templates_too(
    tmp_path: Path, form: Format, template: str, shown: str
) -> None:
    (tmp_path / f"alert_body.{form.value}.j2").write_text(template)
    subject = OneAlert(replace(ALERT, text="<b>*x*"))
    assert Templates(str(tmp_path)).render(subject, form).message.body == shown


@pytest.mark.parametrize("form", Format)
def test_the_operators_title_may_mention_people_in_a_body_too(tmp_path: Path, form: Format) -> None:
    (tmp_path / "alert_title.txt.j2").write_text("@here {{ text }}")
    message = Templates(str(tmp_path)).render(OneAlert(replace(ALERT, text="@all")), form).message
    assert message.heading == message.title == "@here @\u200ball"


def test_a_template_that_is_not_utf_8_is_replaced_too(tmp_path: Path) -> None:
    (tmp_path / "alert_body.txt.j2").write_bytes(b"\xff\xfe")
    rendered = Templates(str(tmp_path)).render(OneAlert(ALERT))
    assert rendered.message == Templates().render(OneAlert(ALERT)).message
    assert str(tmp_path / "alert_body.txt.j2") in rendered.problems[0]


def test_a_folder_of_templates_that_does_not_exist_is_told(tmp_path: Path) -> None:
    rendered = Templates(str(tmp_path / "gone")).render(OneAlert(ALERT))
    assert rendered.message == Templates().render(OneAlert(ALERT)).message
    assert "there is no such folder" in rendered.problems[0]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 s"),
        (-5, "0 s"),
        (59, "59 s"),
        (60, "1 min"),
        (90, "1 min 30 s"),
        (3600, "1 h"),
        (90061, "1 d 1 h"),
    ],
)
def test_a_duration_is_said_in_its_two_largest_units(seconds: float, said: str) -> None:
    assert format_duration(seconds) == said


def test_a_cut_line_shows_that_it_was_cut() -> None:
    assert one_line("a  b\tc", 10) == "a b c"
    assert one_line("x" * 11, 10) == "x" * 9 + "…"


@pytest.mark.parametrize("form", Format)
def test_what_began_only_now_or_by_another_clock_has_a_beginning_but_no_duration(form: Format) -> None:
    for since in (ALERT.at, ALERT.at + 86400):
        body = Templates().render(OneAlert(replace(ALERT, since=since)), form).message.body
        assert moment(since) in body
        assert f"{moment(since)} (" not in body
