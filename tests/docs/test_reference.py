"""The site, made by the README's command: whole, without a warning, and without dead links."""

import ast
import importlib
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag, urlsplit

import pytest
from typer.testing import CliRunner

from shopsdk.cli._app import app
from tests.support.examples import README
from tests.support.needs import need

ROOT = README.parent
PROGRAMS = sorted((ROOT / "tests" / "programs").glob("[!_]*.py"))
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


def build(folder: Path, **environment: str) -> None:
    """Run the README's command; a warning of it is an error."""
    need("pdoc")
    found = re.search(r"`\.venv-dev/bin/python (\.pdoc[^`]*)`", README.read_text(encoding="utf-8"))
    assert found is not None
    command = [sys.executable, "-W", "error", *shlex.split(found[1]), "-o", str(folder)]
    result = subprocess.run(
        command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, check=False
    )
    assert (0, f"{folder / 'index.html'}\n", "") == (result.returncode, result.stdout, result.stderr)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, made once."""
    made = tmp_path_factory.mktemp("site")
    build(made)
    return made


@pytest.fixture(scope="module")
def site(folder: Path) -> Site:
    """The pages of the site."""
    return {path: PageReader(path.read_text(encoding="utf-8")) for path in folder.rglob("*.html")}


@pytest.fixture(scope="module")
def index(folder: Path) -> list[dict[str, str]]:
    """Entries of the search."""
    found = re.search(r"const docs = (\[.*\]);", (folder / "search.js").read_text(encoding="utf-8"))
    assert found is not None
    entries: list[dict[str, str]] = json.loads(found[1])
    return entries


def page_of(site: Site, name: str) -> PageReader:
    """The page of a module, or of something else."""
    return next(page for path, page in site.items() if path.as_posix().endswith(f"/{name.replace('.', '/')}.html"))


def squeezed(text: str) -> str:
    """A text without its white space."""
    return "".join(text.split())


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
    outside = {link for page in site.values() for link in page.links if urlsplit(link).scheme not in {"", "data"}}
    assert {"https://pdoc.dev"} == outside  # an address of an example is no link


def test_nothing_is_loaded_from_outside(folder: Path, site: Site) -> None:
    """Pages load files of the site alone, each as any other, in the colours that the reader's system asks for."""
    for path in site:
        text = path.read_text(encoding="utf-8")
        style = "".join(re.findall(r"<style>(.*?)</style>", text, re.DOTALL))
        assert set(re.findall(r"url\(.?(\w*:?)|(@import)", style)) <= {("data:", "")}
        assert "@media(prefers-color-scheme:dark)" in squeezed(style)
        assert re.findall(r"<script[^>]*>", text) == ["<script>"]
        up = "../" * (len(path.relative_to(folder).parts) - 1)
        assert re.findall(r'script\.src = "([^"]*)"', text) == [f"{up}search.js"]


def test_every_page_can_be_reached(folder: Path, site: Site) -> None:
    """Links lead from the front page to every other one, and from each page back."""
    front = folder / "index.html"
    reached, ahead = {front}, [front]
    while ahead:
        path = ahead.pop()
        new = {file for _, file, _ in targets(path, site[path]) if file.suffix == ".html"} - reached
        reached |= new
        ahead += new
    assert set(site) == reached
    assert [] == [path for path, page in site.items() if front not in {file for _, file, _ in targets(path, page)}]


def test_a_second_run_makes_the_same(folder: Path, tmp_path: Path) -> None:
    """The same sources make the same site, byte for byte, which names no folder of the machine."""
    build(tmp_path, PYTHONHASHSEED="1", COLUMNS="40")
    files = sorted(path.relative_to(folder) for path in folder.rglob("*.*"))
    assert files == sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*.*"))
    assert [] == [path for path in files if (folder / path).read_bytes() != (tmp_path / path).read_bytes()]
    assert [] == [path for path in files if str(ROOT).encode() in (folder / path).read_bytes()]


def test_the_readme_is_the_front_page(folder: Path, site: Site) -> None:
    """The front page holds the README's headings, code and pictures, and links of the site in place of files."""
    source = README.read_text(encoding="utf-8")
    code = re.findall(r"^```\w+\n(.*?)^```", source, re.MULTILINE | re.DOTALL)
    prose = re.sub(r"^```.*?^```", "", source, flags=re.MULTILINE | re.DOTALL)
    page = site[folder / "index.html"]
    assert [] == [block for block in code if squeezed(block) not in squeezed(page.text)]
    text = squeezed(page.text)
    headings = re.findall(r"^#+ (.*)", prose, re.MULTILINE)
    assert [] == [heading for heading in headings if squeezed(re.sub("[`*]", "", heading)) not in text]
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}  # a code host's
    assert anchors <= page.anchors
    pictures = re.findall(r"!\[[^]]*\]\(([^)]+)\)", prose)
    assert "benchmarks/chart.svg" in pictures
    for picture in pictures:
        assert picture in page.links
        assert (folder / picture).read_bytes() == (ROOT / picture).read_bytes()
    recipes = re.findall(r"\]\(tests/programs/(\w+)\.\w+\)", prose)
    assert recipes
    assert {f"recipes/{name}.html" for name in recipes} <= set(page.links)


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_each_program_is_a_recipe(path: Path, site: Site) -> None:
    """Each program of the tests has a page: its docstring, then its code, whose public names lead to the reference."""
    page = page_of(site, f"recipes/{path.stem}")
    source = path.read_text(encoding="utf-8")
    docstring = ast.get_docstring(ast.parse(source)) or ""
    code = source[source.index('"""', 3) + 3 :].strip()
    assert code in page.text
    assert squeezed(docstring.replace("::\n", ":\n").replace("``", "")) in squeezed(page.text)
    if "from shopsdk" in code:
        assert any(link.startswith("../shopsdk") and "#" in link for link in page.links)


def test_the_notebook_is_a_recipe(site: Site) -> None:
    """Each cell of the notebook is on its page."""
    cells = json.loads((ROOT / "tests" / "programs" / "notebook.ipynb").read_text(encoding="utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert [] == [cell for cell in code if cell not in page_of(site, "recipes/notebook").text]


def test_the_help_of_each_command_is_a_section(site: Site) -> None:
    """The page of the command says what ``--help`` says, word for word."""
    page = page_of(site, "command")
    names = [command.name or getattr(command.callback, "__name__", "") for command in app.registered_commands]
    assert {"shopsdk", "export", "balance"} <= {"shopsdk", *names} <= page.anchors
    text = squeezed(page.text)
    for name in names:
        result = CliRunner().invoke(app, [name, "--help"], prog_name="shopsdk")
        assert result.exit_code == 0
        assert squeezed(result.output) in text


def test_the_search_finds_public_names_alone(folder: Path, site: Site, index: list[dict[str, str]]) -> None:
    """The search finds every public name, the README, the recipes and the commands, each where it stands."""
    names = {entry["fullname"] for entry in index}
    assert len(names) == len(index)
    assert {f"{name}.{each}" for name in MODULES for each in importlib.import_module(name).__all__} <= names
    assert {"README: Errors", "The command: shopsdk export", *(path.name for path in PROGRAMS)} <= names
    shown = [re.sub("<[^>]+>", "", " ".join(entry.values())) for entry in index]
    assert [] == [text for text in shown if re.search(r"shopsdk(\.\w+)*\._[a-z]", text)]
    for entry in index:
        page = site[folder / f"{entry['modulename'].replace('.', '/')}.html"]
        assert entry.get("qualname", "") in {"", *page.anchors}
    assert [] == [path for path in site if '<input type="search"' not in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("name", MODULES)
def test_each_name_is_in_one_group(name: str, folder: Path, site: Site) -> None:
    """The groups beside a page hold each public name once, in the order of the page; errors in that of their tree."""
    path = next(path for path, page in site.items() if page is page_of(site, name))
    beside, _, content = path.read_text(encoding="utf-8").partition("<main")
    groups = re.findall(r'<h2>([^<]+)</h2>\s*<ul class="memberlist">(.*?)(?=<h2>|\Z)', beside, re.DOTALL)
    names = {title: re.findall(r'href="#(\w+)"', group) for title, group in groups}
    shown = [each for group in names.values() for each in group]
    assert sorted(importlib.import_module(name).__all__) == sorted(shown)
    assert shown == re.findall(r'<section id="([^".]+)"', content)
    assert len(groups) > 1
    errors: list[Any] = [getattr(importlib.import_module(name), each) for each in names.get("Errors", [])]
    assert all(later.__base__ in {errors[0], earlier, earlier.__base__} for earlier, later in pairwise(errors))


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
