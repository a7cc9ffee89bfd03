"""A browser shows the site of the documentation without loading anything from elsewhere."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
from playwright.sync_api import Browser, expect

from tests.support.site import build_site


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture(scope="module")
def site_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server of the site."""
    handler = functools.partial(_Quiet, directory=build_site(tmp_path_factory.mktemp("site")))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_page_with_a_diagram_loads_nothing_from_elsewhere(browser: Browser, site_url: str) -> None:
    page = browser.new_page()
    requested: list[str] = []
    page.on("request", lambda request: requested.append(request.url))
    page.goto(f"{site_url}/docs/architecture/")
    # The theme replaces the text of the diagram by the drawing.
    drawn = page.locator("div.mermaid")
    expect(drawn.first).to_be_visible()
    box = drawn.first.bounding_box()
    assert box is not None
    assert box["height"] > 100
    assert [url for url in requested if not url.startswith((site_url, "data:", "blob:"))] == []
    assert f"{site_url}/docs/assets/mermaid.tiny.js" in requested
    page.close()


def test_the_search_finds_a_setting(browser: Browser, site_url: str) -> None:
    page = browser.new_page()
    page.goto(f"{site_url}/docs/reference/")
    page.keyboard.press("/")
    page.keyboard.type("RECEIVER_WAITING_ROOM")
    expect(page.get_by_role("option").filter(has_text="Settings").first).to_be_visible()
    page.close()
