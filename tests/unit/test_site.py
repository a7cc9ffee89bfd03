"""The site of the documentation has every page, leads nowhere else, and loads nothing from elsewhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from tests.support.site import ROOT, build_site, load_builder


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """A loader that reads the names of Python objects as nothing."""


_Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda *_: None)
CONFIGURATION: dict[str, Any] = yaml.load((ROOT / "mkdocs.yml").read_text(), _Loader)


@pytest.fixture(scope="module")
def builder() -> ModuleType:
    return load_builder()


def named(entries: list[Any]) -> Iterator[str]:
    """The pages of a part of the navigation."""
    for entry in entries:
        for value in entry.values() if isinstance(entry, dict) else [entry]:
            yield from named(value) if isinstance(value, list) else [value]


def written(builder: ModuleType) -> list[Path]:
    """Every page of the repository that belongs to the site."""
    return [path for pattern in builder.PAGES for path in ROOT.glob(pattern)]


def test_every_page_is_in_the_navigation_once_and_every_entry_is_a_page(builder: ModuleType) -> None:
    pages = {str(path.relative_to(ROOT)) for path in written(builder)}
    entries = Counter(named(CONFIGURATION["nav"]))
    assert pages - entries.keys() == set(), "these pages are not under `nav` in mkdocs.yml"
    assert entries.keys() - pages == set(), "these entries of `nav` in mkdocs.yml are no pages"
    assert set(entries.values()) == {1}


def test_mkdocs_could_build_the_site_too() -> None:
    assert "plugins" not in CONFIGURATION
    assert CONFIGURATION["theme"]["name"] == "material"
    assert CONFIGURATION["theme"]["font"] is False


@pytest.mark.process
def test_the_site_is_built_strictly_and_nothing_is_wrong_with_it(
    builder: ModuleType, tmp_path_factory: pytest.TempPathFactory
) -> None:
    site = build_site(tmp_path_factory.mktemp("site"))
    assert len(list(site.rglob("*.html"))) == len(written(builder)) + 1  # and the page for what is not found
    assert builder.problems(site) == []


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ('<a href="other/#there">', None),
        ('<a href="other/">', None),
        ('<a href="other/#elsewhere">', "index.html links to other/#elsewhere, and that page has no such heading"),
        ('<a href="missing/">', "index.html links to missing/, which does not exist"),
        ('<img src="missing.png">', "index.html links to missing.png, which does not exist"),
        ('<a href="https://example.com/">', None),
        (
            '<script src="https://example.com/a.js"></script>',
            "index.html loads https://example.com/a.js from elsewhere",
        ),
        ('<link rel="preconnect" href="//example.com">', "index.html loads //example.com from elsewhere"),
        ('<img src="data:image/png;base64,">', None),
    ],
)
def test_a_link_that_leads_nowhere_and_a_foreign_source_are_found(
    builder: ModuleType, tmp_path: Path, content: str, problem: str | None
) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "index.html").write_text('<h2 id="there">There</h2>')
    (tmp_path / "index.html").write_text(content)
    assert builder.problems(tmp_path) == ([] if problem is None else [problem])


def test_a_foreign_font_is_found(builder: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "a.css").write_text(
        "@font-face { src: url(fonts/own.woff2) }\n@font-face { src: url('//example.com/f') }"
    )
    assert builder.problems(tmp_path) == ["a.css loads //example.com/f from elsewhere"]


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        (
            "1. One\n   more\n\n   ```sh\n   run\n   ```\n\n2. Two\n",
            "1. One\n    more\n\n    ```sh\n    run\n    ```\n\n2. Two\n",
        ),
        ("- One\n  - inner\n    more\n", "- One\n    - inner\n      more\n"),
        ("1. One\n\nText\n   indented\n", "1. One\n\nText\n   indented\n"),
        ("```text\n1. One\n   code\n```\n", "```text\n1. One\n   code\n```\n"),
        ("10. Ten\n    more\n", "10. Ten\n    more\n"),
    ],
)
def test_the_content_of_a_list_is_indented_as_python_markdown_needs(
    builder: ModuleType, page: str, expected: str
) -> None:
    assert builder.indented(page) == expected


def test_a_link_to_a_folder_becomes_its_text_and_a_file_is_copied(builder: ModuleType, tmp_path: Path) -> None:
    builder.copy_pages(tmp_path)
    readme = (tmp_path / "README.md").read_text()
    assert "| `receiver/` |" in readme
    assert "](docs/configuration.md)" in readme
    assert "](LICENSE)" in readme
    assert (tmp_path / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    assert (tmp_path / "docs" / "assets" / "mermaid.tiny.js").exists()
