"""The reference, rendered by the README's command: whole, without a warning, and without dead links."""

import importlib
import inspect
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

import pytest

from tests.support.examples import README

MODULES = ("shopsdk", "shopsdk.sandbox", "shopsdk.export", "shopsdk.arrow", "shopsdk.testing")
pytestmark = pytest.mark.slow

VOID = {"br", "col", "hr", "img", "input", "link", "meta"}


class PageReader(HTMLParser):
    """Reads a page: its anchors, its links, its members, and the docstring of each."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.members: dict[str, str] = {}
        self.prose = ""
        self.text = ""
        self._open: list[tuple[str, str | None, bool]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """Take its anchor and its link, and remember which member it belongs to."""
        found = dict(attributes)
        classes = (found.get("class") or "").split()
        name = found.get("id")
        self.anchors |= {name} if name else set()
        self.links += [link for key in ("href", "src") if (link := found.get(key))]
        is_member = bool(name) and (tag == "section" or "classattr" in classes)
        if is_member and name:
            self.members[name] = ""
        if tag not in VOID:
            self._open.append((tag, name if is_member else None, "docstring" in classes))

    def handle_endtag(self, tag: str) -> None:
        """Leave it, and whatever was left open within it."""
        while self._open and self._open.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        """Take the text, and that of docstrings by itself."""
        self.text += data
        if any(is_docstring for _, _, is_docstring in self._open):
            member = next((name for _, name, _ in reversed(self._open) if name), None)
            self.prose += data
            if member is not None:
                self.members[member] += data


Site = dict[Path, PageReader]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """What the README's command renders; a warning of it is an error."""
    found = re.search(r"`\.venv-dev/bin/pdoc ([^`]+)`", README.read_text(encoding="utf-8"))
    assert found is not None
    folder = tmp_path_factory.mktemp("reference")
    command = [sys.executable, "-W", "error", "-m", "pdoc", *shlex.split(found[1]), "-o", str(folder)]
    result = subprocess.run(command, cwd=README.parent, capture_output=True, text=True, check=False)
    assert (0, "") == (result.returncode, result.stderr)
    return {path: PageReader(path.read_text(encoding="utf-8")) for path in folder.rglob("*.html")}


def page_of(site: Site, module: str) -> PageReader:
    """The page of a module."""
    return next(page for path, page in site.items() if path.as_posix().endswith(module.replace(".", "/") + ".html"))


def targets(path: Path, page: PageReader) -> Iterator[tuple[str, Path, str]]:
    """The links of a page into the site, each with the file and the anchor it leads to."""
    for link in page.links:
        place, anchor = urldefrag(link)
        if not urlsplit(link).scheme:
            yield link, (path.parent / unquote(place)).resolve() if place else path, unquote(anchor)


def test_every_link_resolves(site: Site) -> None:
    """Each link leads to a page and an anchor that exist."""
    links = [(path.name, *target) for path, page in site.items() for target in targets(path, page)]
    assert len(links) > 100
    assert [] == [(name, link) for name, link, file, _ in links if not file.is_file()]
    assert [] == [(name, link) for name, link, file, to in links if to and to not in site[file].anchors]
    outside = {link for page in site.values() for link in page.links if urlsplit(link).scheme in {"http", "https"}}
    assert {"https://pdoc.dev"} == outside  # an address of an example is no link


def test_every_page_can_be_reached(site: Site) -> None:
    """Links lead from the front page to every other one."""
    front = next(path for path in site if path.name == "shopsdk.html")
    reached, ahead = {front}, [front]
    while ahead:
        path = ahead.pop()
        new = {file for _, file, _ in targets(path, site[path]) if file.suffix == ".html"} - reached
        reached |= new
        ahead += new
    assert {path.name for path in site} - {"index.html"} == {path.name for path in reached} - {"index.html"}


@pytest.mark.parametrize("name", MODULES)
def test_everything_public_is_there_and_nothing_else(name: str, site: Site) -> None:
    """The page of a module shows its public names, and no private one."""
    members = page_of(site, name).members
    assert set(importlib.import_module(name).__all__) == {member for member in members if "." not in member}
    assert [] == [member for member in members if re.search(r"\._(?!_init__)", member)]


@pytest.mark.parametrize("name", MODULES)
def test_docstrings_are_rendered(name: str, site: Site) -> None:
    """No markup of the source is left on a page, and no text that attrs made up."""
    page = page_of(site, name)
    assert [] == [
        member for member, text in page.members.items() if re.search(r"\*\*|``|generated by attrs|Args:|::$", text)
    ]
    assert not re.search(r"<class '|\(\*args, \*\*kwargs\)", page.text)


@pytest.mark.parametrize("name", MODULES)
def test_every_field_is_explained(name: str, site: Site) -> None:
    """Each field has a docstring under it; of all else ruff asks for one."""
    members = page_of(site, name).members
    assert [] == [member for member, text in members.items() if not text.strip() and not member.endswith(".__init__")]


def test_the_front_page_names_everything(site: Site) -> None:
    """The front page names every operation and class but the errors, which ShopError draws."""
    shown = inspect.getdoc(importlib.import_module("shopsdk")) or ""
    names = importlib.import_module("shopsdk").__all__
    left = [name for name in names if f"``{name}``" not in shown]
    assert [] == [name for name in left if not name.endswith("Error") and name != "__version__"]
