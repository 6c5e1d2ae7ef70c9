"""What a node says shows as it is in every format: it formats nothing, links nowhere, mentions nobody."""

import re
from html.parser import HTMLParser

import cmarkgfm
import pytest
from cmarkgfm.cmark import Options
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from markupsafe import escape
from msgspec.structs import replace

from factories import ALERT
from gpu_mesh.delivery import markup
from gpu_mesh.delivery.render import BODY_LIMIT, Templates
from gpu_mesh.delivery.wording import Format, OneAlert
from gpu_mesh.diagnosis.diagnose import next_step
from gpu_mesh.domain.causes import CAUSES, Cause
from gpu_mesh.domain.mesh import Node, Tunnel
from gpu_mesh.text.commands import with_commands
from gpu_mesh.text.sanitize import one_line

NASTY = [
    "<script>alert(1)</script><img src=x onerror=y>",
    "[x](http://evil.example) ![x](http://evil.example/a.png)",
    "[x][y] [y]: http://evil.example",
    "<http://evil.example> http://evil.example www.evil.example ftp://evil.example",
    "mail evil@example.com mailto:evil@example.com",
    "@channel @everyone <!channel> <@U123> <#C1> #ops ~ops",
    "```` ``` `` ` \\` `a` \\",
    "**a** *b* __c__ _d_ ~~e~~ ||f|| \\*g\\*",
    "&lt;b&gt; &#60; &copy; :fire: :100a:",
    "# h",
    "1. one",
    "12345) many",
    "- item",
    "+ item",
    "> quote",
    "---",
    "===",
    "| a | b |",
    "\u202egnp.exe \u2066 line\nbreak\r\n\u2028 new",
    '\'" onmouseover=x "',
    "]]> <!-- --> </div></b> <![CDATA[",
    "{{ 7 * 7 }} {% raw %}",
    "gpu_01 a_b_c _a_b_ é_é",
]

WORDS = st.one_of(
    st.text(max_size=80),
    st.text(alphabet="\\`*_~|<>[]()!#+-=&;:/@.1aw \n\u202e\u200d\"'{}%", max_size=80),
    st.lists(st.sampled_from(NASTY), min_size=1, max_size=3).map("".join),
)
TEMPLATES = Templates()
FIELDS = st.sampled_from(["text", "name", "node", "tried", "next_step"])


class Page(HTMLParser):
    """The tags of a page in order, with their attributes, and the text that a reader sees."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[object] = []
        self.seen = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, attrs))

    def handle_endtag(self, tag: str) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.seen += data

    def handle_comment(self, data: str) -> None:
        self.tags.append(("comment", data))

    def handle_decl(self, decl: str) -> None:
        self.tags.append(("declaration", decl))

    def unknown_decl(self, data: str) -> None:
        self.tags.append(("declaration", data))

    def handle_pi(self, data: str) -> None:
        self.tags.append(("instruction", data))

    def without_code(self) -> list[object]:
        return [tag for tag in self.tags if tag != "code" and tag[0] != "code"]  # type: ignore[index]

    @property
    def text(self) -> str:
        return " ".join(self.seen.replace(markup.UNSEEN_SPACE, "").split())


def github(markdown: str) -> Page:
    return Page(
        cmarkgfm.markdown_to_html_with_extensions(
            markdown,
            options=Options.CMARK_OPT_UNSAFE | Options.CMARK_OPT_HARDBREAKS,
            extensions=["autolink", "strikethrough", "table"],
        )
    )


def page(form: Format, source: str) -> Page:
    return Page(source) if form is Format.HTML else github(source)


@pytest.mark.parametrize("form", [Format.MARKDOWN, Format.HTML])
@settings(max_examples=60)
@given(field=FIELDS, said=WORDS)
@example(field="text", said="# a")
@example(field="text", said="1. a")
@example(field="name", said="|-|")
@example(field="next_step", said="run: docker logs `x` on y\\")
def test_nothing_that_a_node_says_changes_the_structure_or_is_lost(
    form: Format, field: str, said: str
) -> None:
    shown = one_line(said, 500)
    assume(shown)
    message = TEMPLATES.render(OneAlert(replace(ALERT, **{field: said})), form).message
    expected = TEMPLATES.render(OneAlert(replace(ALERT, **{field: "harmless"})), form).message
    for found, harmless in [(message.body, expected.body), (message.heading, expected.heading)]:
        assert page(form, found).without_code() == page(form, harmless).without_code()
    if len(message.body) < BODY_LIMIT:
        assert shown.replace(markup.UNSEEN_SPACE, "") in page(form, message.body).text


@settings(max_examples=60)
@given(WORDS)
def test_nothing_that_a_node_says_looks_like_a_mention_or_a_link_to_a_chat_service(said: str) -> None:
    hostile = replace(ALERT, text=said, name=said, node=said, tried=said)
    markdown = TEMPLATES.render(OneAlert(hostile), Format.MARKDOWN).message
    html = TEMPLATES.render(OneAlert(hostile), Format.HTML).message
    for visible in (markdown.heading, markdown.body, Page(html.heading).seen, Page(html.body).seen):
        assert not re.search(r"@\w|<[@!#]|\]\(|&(lt|#60);[@!#]|://|(?i:www\.)", visible)
    assert not re.search(r"[#~]\w", f"{markdown.heading}\n{markdown.body}")
    assert not re.search(r":[a-z]+:", markup.markdown(one_line(said, 500)))
    plain = TEMPLATES.render(OneAlert(replace(ALERT, text=said, tried=said))).message
    for visible in (plain.title, plain.body):
        assert not re.search(r"@\w|<[@!#]|\]\(", visible)


@pytest.mark.parametrize("said", NASTY)
def test_a_line_is_shown_as_it_is(said: str) -> None:
    line = one_line(said, 500)
    [(start, _), end] = github(markup.markdown(line)).tags
    assert (start, end) == ("p", "p")
    assert github(markup.markdown(line)).text == line


@pytest.mark.parametrize(
    ("plain", "escaped"),
    [
        ("unhealthy after 3 failures: Timeout (10s)", "unhealthy after 3 failures: Timeout (10s)"),
        ("gpu_01 lost llama3.1:8b-q4_K_M at 12:00:05", "gpu_01 lost llama3.1:8b-q4_K_M at 12:00:05"),
        ("_a_ *b* `c`", r"\_a\_ \*b\* \`c\`"),
        ("@channel", "@\u200bchannel"),
        ("http://x.example", "http:\u200b//x.example"),
    ],
)
def test_markdown_escapes_what_formats_and_nothing_else(plain: str, escaped: str) -> None:
    assert markup.markdown(plain) == escaped


TUNNELLED = Node(
    key="iceland",
    name="Iceland",
    url="http://127.0.0.1:8080",
    tunnel=Tunnel(host="iceland.example", local_port=8080),
)
COMMANDS = {
    Cause.REFUSED: ["sudo journalctl -u ollama.service"],
    Cause.TUNNEL_PORT_TAKEN: ["ss -ltnp 'sport = :8080'"],
    Cause.NO_ACCESS: ["ansible -m raw -a id iceland", "ssh-keygen -R iceland"],
    Cause.CPU_FALLBACK: ["nvidia-smi"],
    Cause.GPU_DRIVER_ABSENT: ["sudo modprobe nvidia"],
    Cause.GPU_RESET_NEEDED: ["sudo nvidia-smi --gpu-reset -i NUMBER"],
    Cause.GPU_MEMORY_ERRORS: ["nvidia-smi -q -d ECC,ROW_REMAPPER"],
    Cause.GPU_SUSPENDED: ["sudo rmmod nvidia_uvm", "sudo modprobe nvidia_uvm"],
    Cause.GPU_ABSENT: ["lspci", "gpu-mesh ack iceland"],
    Cause.GPU_VRAM_TAKEN: ["nvidia-smi"],
    Cause.FORBIDDEN: [],
    Cause.HOST_DOWN: [],
}


@pytest.mark.parametrize("cause", COMMANDS)
def test_the_commands_of_a_next_step_are_found_in_its_sentence(cause: Cause) -> None:
    step = next_step(cause, TUNNELLED)
    parts = with_commands(step)
    assert [part for part, is_command in parts if is_command] == COMMANDS[cause]
    assert "".join(part for part, _ in parts) == step


@pytest.mark.parametrize("cause", CAUSES)
def test_what_is_done_as_root_never_stays_in_the_sentence(cause: Cause) -> None:
    parts = with_commands(next_step(cause, TUNNELLED))
    assert not any("sudo" in part for part, is_command in parts if not is_command)


@pytest.mark.parametrize("cause", CAUSES)
def test_no_next_step_says_anything_else_in_another_format(cause: Cause) -> None:
    step = next_step(cause, TUNNELLED)
    assert github(markup.step_in_markdown(step)).text == step
    assert Page(str(markup.step_in_html(step))).text == step


@pytest.mark.parametrize(
    ("step", "command"),
    [
        (
            "if it should run: systemctl enable --now ollama.service on the host of iceland; if not: x",
            "systemctl enable --now ollama.service",
        ),
        (
            "see on the monitor: journalctl -u gpu-mesh-tunnel@iceland",
            "journalctl -u gpu-mesh-tunnel@iceland",
        ),
        (
            "fix it and try: gpu-mesh -i /etc/a.yml -i /etc/b.yml validate",
            "gpu-mesh -i /etc/a.yml -i /etc/b.yml validate",
        ),
        (
            "nothing yet: the next attempt is due at 12:03; or see: docker logs ollama on x",
            "docker logs ollama",
        ),
        ("if not: sudo rm -r /var/tmp/x/y[.@]* there", "sudo rm -r /var/tmp/x/y[.@]*"),
        ("make room on the host of gpu1: df -h /var/tmp", "df -h /var/tmp"),
        ("anew: sudo rm -r /a && sudo mkdir -m 1777 /a", "sudo rm -r /a && sudo mkdir -m 1777 /a"),
        (
            "if not: journalctl -u gpu-mesh-check (in user scope with --user); x",
            "journalctl -u gpu-mesh-check",
        ),
        ("see: ssh -t gpu1 sudo journalctl -u x; y", "ssh -t gpu1 sudo journalctl -u x"),
    ],
)
def test_a_command_can_be_copied_as_it_is(step: str, command: str) -> None:
    assert f"`{command}`" in markup.step_in_markdown(step)
    assert f">{escape(command)}</code>" in markup.step_in_html(step)


def test_a_program_that_is_only_talked_of_is_no_command() -> None:
    step = "start the ssh server of gpu1, or correct its ansible_port"
    assert with_commands(step) == ((step, False),)
