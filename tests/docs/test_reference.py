"""The reference, rendered by the README's command: whole, quiet, without dead links, and a docstring for everything."""

import importlib
import inspect
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import is_typeddict
from urllib.parse import unquote, urldefrag, urlsplit

import attrs
import pytest

from tests.support.examples import README

MODULES = ("shopsdk", "shopsdk.sandbox", "shopsdk.export", "shopsdk.testing")
EXPLANATIONS = {
    "_errors": "as one tree",
    "_pagination.walk": "frontier",
    "_api.balance": "at most once",
    "_http.request": "A GET with a body",
}
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
    """A reader who follows a link would find nothing."""
    links = [(path.name, *target) for path, page in site.items() for target in targets(path, page)]
    assert len(links) > 100
    assert [] == [(name, link) for name, link, file, _ in links if not file.is_file()]
    assert [] == [(name, link) for name, link, file, to in links if to and to not in site[file].anchors]
    outside = {link for page in site.values() for link in page.links if urlsplit(link).scheme in {"http", "https"}}
    assert {"https://pdoc.dev"} == outside  # an address of an example is no link


def test_the_explanations_can_be_reached(site: Site) -> None:
    """Nobody who reads the reference would find the proofs, though they are in it."""
    front = next(path for path in site if path.name == "shopsdk.html")
    reached, ahead = {front}, [front]
    while ahead:
        path = ahead.pop()
        new = {file for _, file, _ in targets(path, site[path]) if file.suffix == ".html"} - reached
        reached |= new
        ahead += new
    assert {path.name for path in site} - {"index.html"} == {path.name for path in reached} - {"index.html"}
    for name, words in EXPLANATIONS.items():
        page = page_of(site, f"shopsdk.{name}")
        assert words in re.sub(r"\s+", " ", page.prose)
        assert {} == {member: text for member, text in page.members.items() if member}


@pytest.mark.parametrize("name", MODULES)
def test_everything_public_is_there_and_nothing_else(name: str, site: Site) -> None:
    """A public name would be missing, or a private one shown."""
    members = page_of(site, name).members
    assert set(importlib.import_module(name).__all__) == {member for member in members if "." not in member}
    assert [] == [member for member in members if re.search(r"\._(?!_init__)", member)]


@pytest.mark.parametrize("name", MODULES)
def test_everything_is_explained(name: str, site: Site) -> None:
    """Somebody would see a name, a field or a method, and not be told what it is."""
    members = page_of(site, name).members
    assert [] == [member for member, text in members.items() if not text.strip() and not member.endswith(".__init__")]
    assert [] == [
        member for member, text in members.items() if re.search(r"\*\*|``|generated by attrs|Args:|::$", text)
    ]
    assert not re.search(r"<class '|\(\*args, \*\*kwargs\)", page_of(site, name).text)


def test_the_front_page_names_everything(site: Site) -> None:
    """Who looks for an operation would have to guess its name."""
    shown = inspect.getdoc(importlib.import_module("shopsdk")) or ""
    names = importlib.import_module("shopsdk").__all__
    left = [name for name in names if f"``{name}``" not in shown]
    assert [] == [name for name in left if not name.endswith("Error") and name != "__version__"]


def callables() -> Iterator[tuple[str, list[str], str]]:
    """Every public function, method and constructor: its parameters, and the docstring that speaks for them."""
    for module in map(importlib.import_module, MODULES):
        for name in module.__all__:
            shown = getattr(module, name)
            if inspect.isfunction(shown):
                yield f"{module.__name__}.{name}", parameters(shown), inspect.getdoc(shown) or ""
            elif inspect.isclass(shown) and not issubclass(shown, Exception) and not is_typeddict(shown):
                yield from methods(f"{module.__name__}.{name}", shown)


def parameters(called: Callable[..., object]) -> list[str]:
    """What it takes."""
    return list(inspect.signature(called).parameters)


def methods(name: str, shown: type) -> Iterator[tuple[str, list[str], str]]:
    """Those of a class; what is a field of it as well is explained there."""
    public = {key: it for key, it in vars(shown).items() if inspect.isfunction(it) and not key.startswith("_")}
    for key, method in public.items():
        yield f"{name}.{key}", parameters(method)[1:], inspect.getdoc(method) or ""
    if not getattr(shown, "_is_protocol", False):
        fields = attrs.fields_dict(shown) if attrs.has(shown) else {}
        yield name, [key for key in parameters(shown) if key not in fields], inspect.getdoc(shown) or ""


@pytest.mark.parametrize(("taken", "shown"), [pytest.param(*rest, id=name) for name, *rest in callables()])
def test_every_parameter_is_explained(taken: list[str], shown: str) -> None:
    """Somebody would have to guess what an argument is, in which unit, and within which bounds."""
    arguments = shown.partition("Args:\n")[2].partition("\n\n")[0]
    assert taken == [name for name in re.findall(r"^    (\w+): ", arguments, re.MULTILINE) if name in taken]
