"""What the pages on operating claim to be run is run, and the storage guide is covered."""

from __future__ import annotations

import re
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
