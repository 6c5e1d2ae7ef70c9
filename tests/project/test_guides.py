"""The guides can be followed: tests/hosts/test_guides.py runs or compares each block, or it says why not."""

import subprocess

import pytest

import guides
from checkout import ROOT
from guides import Block

PAGES = sorted((ROOT / "docs/guides").glob("*.md"))

PAGE = """# A page

Say hello:

```sh
printf hello
```

It answers at once:

```
hel...
```

<!-- not run: needs a friend -->
```yaml
friend: you
```

```sh
cd /
```
"""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_block_of_a_guide_is_run_or_says_why_not(page) -> None:
    found = guides.blocks(page.read_text(encoding="utf-8"))
    run = [block for block in found if not block.not_run]
    assert len(run) > len(found) - len(run), "most of a guide is tried"
    assert any(block.expected for block in run)


def test_a_guide_is_short_and_the_index_names_it() -> None:
    index = (ROOT / "docs/README.md").read_text(encoding="utf-8")
    assert PAGES
    for page in PAGES:
        assert len(page.read_text(encoding="utf-8").splitlines()) <= 120, page.name
        assert f"(guides/{page.name})" in index


def test_a_page_is_read_into_blocks_with_what_they_print_and_why_they_are_not_run() -> None:
    assert guides.blocks(PAGE) == (
        Block(5, "printf hello\n", "hel...\n"),
        Block(16, "friend: you\n", not_run="needs a friend"),
        Block(20, "cd /\n"),
    )


@pytest.mark.parametrize(
    ("page", "line"),
    [
        ("```yaml\na: b\n```\n", 1),
        ("words\n\n```\nprinted by nothing\n```\n", 3),
        ("```sh\ntrue\n```\n```\n```\n```\nprinted twice\n```\n", 6),
        ("<!-- not run:  -->\n```python\n```\n", 2),
        ("<!-- not run: of another block -->\nwords\n```yaml\n```\n", 3),
        ("<!-- not run: no root -->\n```sh\ntrue\n```\n```\nof a block that is not run\n```\n", 5),
        ("```sh\ntrue\n", 1),
    ],
)
def test_a_block_that_nobody_would_try_is_refused_by_its_line(page: str, line: int) -> None:
    with pytest.raises(ValueError, match=f"^line {line}: "):
        guides.blocks(page)


def test_the_blocks_run_in_one_shell_and_what_each_prints_is_told_apart() -> None:
    shown = ["cd /tmp; told=once\n", 'printf "$told $PWD"\n', "echo first\necho last\n"]
    run = [Block(number, text) for number, text in enumerate(shown, 5)]
    done = subprocess.run(["bash", "-c", guides.script(run)], capture_output=True, text=True, check=True)
    assert guides.printed(done.stdout) == {5: "", 6: "once /tmp", 7: "first\nlast"}


def test_a_command_that_fails_ends_the_page_there() -> None:
    run = [Block(5, "false\necho went on\n"), Block(9, "echo went on\n")]
    done = subprocess.run(["bash", "-c", guides.script(run)], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert guides.printed(done.stdout) == {5: ""}


@pytest.mark.parametrize(
    ("expected", "output", "fits"),
    [
        ("a\nb\n", "a\nb\n", True),
        ("a\nb\n", "a\nb", True),
        ("a\n", "a\nb\n", False),
        ("b\n", "a\nb\n", False),
        ("a\n...\nc\n", "a\nb\nb\nc\n", True),
        ("a\n...\nc\n", "a\nc\n", True),
        ("a\n...\nc\n", "a\nb\n", False),
        ("...\nlast\n", "last\nmore\n", False),
        ("local  ... ms\n", "local 12   ms\n", True),
        ("local  ... ms\n", "local\n12 ms\n", False),
        ("after ... s: 2 models\n", "after 31 s: 3 models\n", False),
        ("1.5 (x)\n", "1x5 (x)\n", False),
        ("", "", True),
        ("", "a\n", False),
    ],
)
def test_three_dots_stand_for_any_lines_or_for_any_text_within_one(
    expected: str, output: str, fits: bool
) -> None:
    assert guides.is_as_expected(expected, output) is fits
