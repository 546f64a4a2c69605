"""The docs say what the code does: options, errors, public names, links."""

import inspect
import re
import sys
from collections import Counter
from pathlib import Path

import pytest
import statekeep
from statekeep import errors

ROOT = Path(__file__).parents[1]
FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]

sys.path.insert(0, str(ROOT / "docs"))
import generate  # noqa: E402  # the docs' own script


def test_the_option_tables_are_those_of_the_config_classes() -> None:
    """`make docs` writes them; whoever changes an option runs it."""
    page = generate.PAGE.read_text()
    assert page == generate.generated(page), "run: make docs"


def test_every_installed_plugin_has_its_options_documented() -> None:
    """Each in the config reference."""
    page = generate.PAGE.read_text()
    missing = [name for name in generate.tables() if f"<!-- options: {name} -->" not in page]
    assert set(missing) <= {"cache"}


def test_every_option_has_a_help_text() -> None:
    """A row of the reference without a meaning helps nobody."""
    for name, table in generate.tables().items():
        assert "| . |" not in table, name


def test_every_error_is_explained_in_the_guide() -> None:
    """What it means, and what to do."""
    guide = (ROOT / "docs/guide.md").read_text()
    for name, error in vars(errors).items():
        if inspect.isclass(error) and issubclass(error, errors.StorageError):
            assert f"`{name}`" in guide or f"`statekeep.{name}`" in guide, name


def test_every_error_has_an_entry_in_the_troubleshooting() -> None:
    """What it means, an example of its message, and what to do."""
    entry = re.compile(r"^### `(\w+)`\n(.*?)(?=^##)", re.MULTILINE | re.DOTALL)
    entries = dict(entry.findall(generate.CHECKS_PAGE.read_text()))
    classes = {
        name
        for name, error in vars(errors).items()
        if inspect.isclass(error) and issubclass(error, errors.StorageError)
    }
    assert set(entries) == classes
    assert all("\n> `" in text and len(text) > 200 for text in entries.values())


def test_every_check_of_doctor_is_documented() -> None:
    """`make docs` writes the tables; that nothing else is found, the tests of each plugin hold."""
    page = generate.CHECKS_PAGE.read_text()
    assert page == generate.with_checks(page), "run: make docs"
    for name, table in generate.checks().items():
        assert f"<!-- checks: {name} -->" in page
        assert all(f"| `{check}` |" in page and text for check, text in table.items())


def test_every_backend_that_examines_itself_is_among_them() -> None:
    """One that gets a `doctor.py` gets a table."""
    with_one = {path.parts[-4] for path in ROOT.glob("plugins/*/src/*/doctor.py")}
    assert with_one == set(generate.EXAMINING)


def test_every_public_name_exists_and_is_documented() -> None:
    """`statekeep.__all__` holds nothing that is missing or without a docstring."""
    assert sorted(statekeep.__all__) == statekeep.__all__
    for name in statekeep.__all__:
        value = getattr(statekeep, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert value.__doc__, name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    """Relative links only; a page that moved is found here."""
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name}: {target}"


def anchors(page: Path) -> set[str]:
    """What a link to a heading of this page may end in, as GitHub makes it of the heading."""
    found: Counter[str] = Counter()
    names = set()
    for heading in re.findall(r"^#+ (.*)$", FENCED.sub("", page.read_text()), re.MULTILINE):
        name = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        names.add(f"{name}-{found[name]}" if found[name] else name)
        found[name] += 1
    return names


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_to_headings_lead_to_one(page: Path) -> None:
    """On this page or another; a heading that was renamed is found here."""
    for target, name in re.findall(r"\]\((?!https?:)([^)#]*)#([^)]+)\)", page.read_text()):
        there = page.parent / target if target else page
        assert name in anchors(there), f"{page.name}: {target}#{name}"
