"""What the pages on operating claim to be run is run, and their links lead to what they name."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from tests.operations.pages import DOCS

HERE = Path(__file__)
TESTS = [
    path.read_text() for path in HERE.parents[1].rglob("*.py") if path.resolve() != HERE.resolve()
]
PAGES = sorted(path.stem for path in DOCS.glob("*.md") if "<!-- run:" in path.read_text())


@pytest.mark.parametrize("page", PAGES)
def test_every_block_that_says_so_is_run(page: str) -> None:
    """Some test asks for it by its name, and each name stands once."""
    names = re.findall(r"<!-- run: (\S+) -->\n```", (DOCS / f"{page}.md").read_text())
    assert len(names) == (DOCS / f"{page}.md").read_text().count("<!-- run:")
    assert sorted(names) == sorted(set(names))
    missing = [name for name in names if not any(f'"{name}"' in text for text in TESTS)]
    assert not missing


def anchors(page: Path) -> set[str]:
    """The names under which a page's headings can be linked, as GitHub and its likes make them."""
    seen: Counter[str] = Counter()
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", page.read_text(), re.M):
        name = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        found.add(f"{name}-{seen[name]}" if seen[name] else name)
        seen[name] += 1
    return found


@pytest.mark.parametrize("page", sorted(path.stem for path in DOCS.glob("*.md")))
def test_links_to_a_heading_lead_to_one(page: str) -> None:
    """Within the page and between pages."""
    text = (DOCS / f"{page}.md").read_text()
    for target, anchor in re.findall(r"\]\(([\w/.-]*\.md)?#([^)]+)\)", text):
        there = DOCS / target if target else DOCS / f"{page}.md"
        assert anchor in anchors(there), f"{page}.md: {target}#{anchor}"
