"""The documentation holds together: every relative link leads to a file, and to a heading where it names one."""

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def anchors(page: pathlib.Path) -> set[str]:
    """The anchors that headings of a page get."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links(page: pathlib.Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match("[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{link} leads nowhere"
        assert page.parent == ROOT or target.is_relative_to(ROOT / "docs"), f"{link} leads out of the documentation"
        if anchor:
            assert anchor in anchors(target), f"{link} names no heading"


def test_every_entry_of_the_log_is_listed_and_has_a_question_and_a_verdict() -> None:
    entries = sorted((ROOT / "docs" / "log").glob("[0-9]*.md"))
    index = (ROOT / "docs" / "log" / "index.md").read_text(encoding="utf-8")
    assert [path.name[:4] for path in entries] == [f"{number:04d}" for number in range(1, len(entries) + 1)]
    for path in entries:
        text = path.read_text(encoding="utf-8")
        assert f"]({path.name})" in index
        assert text.startswith(f"# {path.name[:4]} ")
        assert "\n**Question.** " in text
        assert "\n**Verdict.** " in text
