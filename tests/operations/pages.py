"""The code blocks of docs pages, so that servers and storages in tests run what readers copy.

A block is found by the comment in the line before it, `<!-- run: redis-primary -->`. What a test
puts in place of a reader's own names (hosts, ports, paths, passwords) must be in the block.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = r"<!-- run: {name} -->\n```[a-z]*\n(.*?)```"


def block(page: str, name: str, replaced: Mapping[str, object] | None = None) -> str:
    """The text of a code block.

    Args:
        page: the page's file name in docs, without its ending.
        name: what the comment before the block calls it.
        replaced: what stands there, and what this test has for it.
    """
    found = re.findall(BLOCK.format(name=re.escape(name)), (DOCS / f"{page}.md").read_text(), re.S)
    assert len(found) == 1, f"docs/{page}.md has {len(found)} blocks named {name}"
    text: str = found[0]
    for old, new in (replaced or {}).items():
        assert old in text, f"docs/{page}.md: {old!r} is not in the block {name}"
        text = text.replace(old, str(new))
    return text


def toml(page: str, name: str, replaced: Mapping[str, object] | None = None) -> dict[str, Any]:
    """A config of statekeep; the test adds no option to it."""
    return tomllib.loads(block(page, name, replaced))


def statements(page: str, name: str, replaced: Mapping[str, object] | None = None) -> list[str]:
    """The statements of a block of SQL, without comments."""
    text = re.sub(r"^--.*\n|\s+--.*$", "", block(page, name, replaced), flags=re.M)
    return [each.strip() for each in text.split(";\n") if each.strip()]


def commands(page: str, name: str, replaced: Mapping[str, object] | None = None) -> list[str]:
    """The lines of a console block, those that go on behind a backslash as one."""
    text = block(page, name, replaced).replace("\\\n", " ")
    lines = (re.sub(r"\s+#.*$", "", line).strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def settings(page: str, name: str, replaced: Mapping[str, object] | None = None) -> dict[str, Any]:
    """A server's config file as names and values; a name that stands there again has a list."""
    found: dict[str, Any] = {}
    for line in commands(page, name, replaced):
        if line.startswith("["):
            continue
        key, value = re.split(r"\s*=\s*|\s+", line, maxsplit=1)
        if key in found:
            before = found[key]
            found[key] = [*(before if isinstance(before, list) else [before]), value]
        else:
            found[key] = value
    return found
