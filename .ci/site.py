"""Build the documentation as a site in ``.local/site``, and check it; ``make site`` runs this.

The pages are copied to ``.local/pages`` first, in the layout of the repository, so that links between them stay as they
are. Two things change in the copies. A link to something that is not in the site, such as a folder of code, becomes its
text. And what belongs to an item of a list is indented by four columns, which Python-Markdown needs.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).parents[1]
CONFIGURATION = ROOT / "mkdocs.yml"

#: What becomes a page. Files that a page links to, such as pictures, are copied too.
PAGES = ("*.md", "docs/**/*.md", "deploy/*.md")

#: What the site needs and no page links to.
ASSETS = ("docs/assets/*",)

_FENCED = re.compile(r"(^ *```.*?^ *```$)", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(([^)\s]+)\)")
_ITEM = re.compile(r"(\d+\. |[-*] )")

#: Columns by which Python-Markdown wants the content of an item indented.
INDENT = 4


def copy_pages(target: Path) -> None:
    """Copy every page, and the files that pages link to, to an empty folder."""
    shutil.rmtree(target, ignore_errors=True)
    for pattern in PAGES:
        for page in sorted(ROOT.glob(pattern)):
            text = indented(_without_dead_links(page, target))
            copy = target / page.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(text, encoding="utf-8")
    for pattern in ASSETS:
        for asset in ROOT.glob(pattern):
            _copy(asset, target)


def _without_dead_links(page: Path, target: Path) -> str:
    """Return the text of a page, without links to what is not in the site; copy the files that it links to."""

    def replace(link: re.Match[str]) -> str:
        path = urlsplit(link[3]).path
        linked = (page.parent / path).resolve()
        if urlsplit(link[3]).scheme or not path or linked.suffix == ".md":
            return link[0]
        if not linked.is_file():
            return link[2]
        _copy(linked, target)
        return link[0]

    parts = _FENCED.split(page.read_text(encoding="utf-8"))
    return "".join(part if _FENCED.fullmatch(part) else _LINK.sub(replace, part) for part in parts)


def _copy(file: Path, target: Path) -> None:
    copy = target / file.relative_to(ROOT)
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, copy)


def indented(page: str) -> str:
    """Return the page with the content of each outermost item of a list indented by ``INDENT`` columns."""
    lines: list[str] = []
    width = 0  # the columns by which the content of the current item is indented; 0 outside of lists
    is_code = False  # in a block that belongs to no list
    for line in page.splitlines():
        if line.startswith("```"):
            is_code = not is_code
        item = None if is_code else _ITEM.match(line)
        if item:
            width = len(item[1])
        elif line and (is_code or not line.startswith(" " * max(width, 1))):
            width = 0
        shift = INDENT - width if width and not item and line else 0
        lines.append(" " * shift + line)
    return "\n".join(lines) + "\n"


class _Page(HTMLParser):
    """What a built page has: ids to link to, links, and what a browser loads with it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the attributes of an element."""
        given = {name: value or "" for name, value in attrs}
        self.ids |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        elif tag == "link" and given.get("rel") not in ("canonical", "next", "prev"):
            self.loaded.append(given.get("href", ""))
        if "src" in given:
            self.loaded.append(given["src"])


def problems(site: Path) -> list[str]:
    """Return a sentence for each link that leads nowhere, and for each thing that would be loaded from elsewhere."""
    pages = {path: _Page(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}
    found = []
    for path, page in pages.items():
        name = path.relative_to(site)
        for link in [*page.links, *page.loaded]:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                if link in page.loaded and parts.scheme != "data":
                    found.append(f"{name} loads {link} from elsewhere")
                continue
            if path.name == "404.html":  # its links begin at the root of the server
                continue
            linked = Path(os.path.normpath(path.parent / unquote(parts.path))) if parts.path else path
            if linked.is_dir():
                linked /= "index.html"
            if not linked.is_file():
                found.append(f"{name} links to {link}, which does not exist")
            elif parts.fragment and linked in pages and unquote(parts.fragment) not in pages[linked].ids:
                found.append(f"{name} links to {link}, and that page has no such heading")
    for style in sorted(site.rglob("*.css")):
        for source in re.findall(
            r"(?:url\(|@import )[\"']?((?:https?:)?//[^\"')]+)", style.read_text(encoding="utf-8")
        ):
            found.append(f"{style.relative_to(site)} loads {source} from elsewhere")
    return found


def build(folder: Path) -> Path:
    """Build the site below a folder, at the places that ``mkdocs.yml`` names; return where it is."""
    copy_pages(folder / ".local" / "pages")
    site = folder / ".local" / "site"
    shutil.rmtree(site, ignore_errors=True)
    configuration = folder / CONFIGURATION.name
    if configuration != CONFIGURATION:
        shutil.copyfile(CONFIGURATION, configuration)
    zensical = Path(sys.executable).parent / "zensical"
    subprocess.run([zensical, "build", "--strict", "--clean", "--config-file", configuration], check=True)
    return site


def main() -> int:
    """Build the site and print what is wrong with it; return the exit code."""
    site = build(ROOT)
    wrong = problems(site)
    for sentence in wrong:
        print(f"site: {sentence}.", file=sys.stderr)
    if not wrong:
        print(f"The site is in {site.relative_to(ROOT)}.")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
