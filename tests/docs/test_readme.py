"""The README is the product's face: every block of it is run here as it stands (the first two, by the gate of CI)."""

import asyncio
import gzip
import json
import os
import re
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from shopsdk import Customer
from shopsdk.sandbox import Sandbox
from tests.support.examples import README, blocks, compiled, imports, run_as_test, run_fragment
from tests.support.needs import need
from tests.support.proxy import certificate_file, tls_server, tunnel
from tests.support.servers import CUSTOMER, answer, page_of

TEXT = README.read_text(encoding="utf-8")
PYTHON = blocks(TEXT, "python")
SHELL = blocks(TEXT, "sh")


@pytest.mark.parametrize("number", [n for n, block in enumerate(PYTHON) if "asyncio.run(" in block])
def test_programs_run(
    number: int, readers_shop: Sandbox, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first program of the README runs as it stands."""
    exec(compiled(PYTHON[number], f"README block {number}"), {"__name__": "__main__"})
    assert 250 == len(capsys.readouterr().out.splitlines())


FOR_PYTEST = [n for n, block in enumerate(PYTHON) if "def test_" in block]
FRAGMENTS = [n for n, block in enumerate(PYTHON) if "asyncio.run(" not in block and n not in FOR_PYTEST]


@pytest.mark.parametrize("number", FRAGMENTS)
async def test_fragments_run(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each example of the README runs on the shop that the command serves, and does what the text beside it says."""
    for module in imports(PYTHON[number]):
        need(module)
    monkeypatch.chdir(tmp_path)
    certificate_file(tmp_path, "company-ca.pem")
    async with Sandbox() as shop, shop.session() as session:
        for name, value in (("API_KEY", shop.api_key), ("SHOP_ID", str(shop.shop_id)), ("BASE_URL", shop.base_url)):
            monkeypatch.setenv(f"SHOPSDK_{name}", value)
        await run_fragment(PYTHON[number], f"README block {number}", {"session": session})
    assert all(request.status == 200 for request in shop.requests)


async def test_a_missing_key_leaves_the_other_shop_whole(
    shop: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the example with a key for each shop, a shop whose key is missing is named, and the other one is exported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MAIN_SHOP_KEY", shop.api_key)
    monkeypatch.setenv("SHOPSDK_BASE_URL", shop.base_url)
    (block,) = [block for block in PYTHON if "MAIN_SHOP_KEY" in block]
    await run_fragment(block, "README", {})
    assert "shop 39: KeyError('OTHER_SHOP_KEY')\n" == capsys.readouterr().out
    assert 251 == len((tmp_path / "customers-38.csv").read_text(encoding="utf-8").splitlines())


@pytest.mark.slow
@pytest.mark.parametrize("number", FOR_PYTEST)
def test_a_first_test_passes(number: int, tmp_path: Path) -> None:
    """The first test of the README passes as it stands."""
    assert run_as_test('pytest_plugins = ["shopsdk.testing"]', PYTHON[number], tmp_path) == "1 passed"


@pytest.fixture
async def two_shops(readers_shop: Sandbox, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """One address for two shops, as the vendor has it; in the midst of the first export it has had enough."""
    others = [Customer(id=number, email=f"other{number}@example.com") for number in range(1, 31)]
    async with Sandbox(others, shop_id=39) as other, ClientSession() as client:
        asked: list[int] = []

        async def forward(request: web.Request) -> web.Response:
            asked.append(json.loads(await request.read())["page"])
            if asked[-1] == 3 and asked.count(3) == 1:
                message = {"message": "Too Many Attempts."}
                return web.json_response(message, status=429, headers={"Retry-After": "3600"})
            base = other.base_url if "/shops/39/" in request.path else readers_shop.base_url
            url = base.removesuffix("/v1") + request.path_qs
            async with client.request(
                request.method, url, data=await request.read(), headers=request.headers
            ) as answer:
                return web.Response(status=answer.status, body=await answer.read(), content_type="application/json")

        app = web.Application()
        app.router.add_route("*", "/{path:.*}", forward)
        async with TestServer(app) as server:
            monkeypatch.setenv("SHOPSDK_BASE_URL", str(server.make_url("/v1")))
            yield


async def test_the_key_is_quoted_where_it_is_set() -> None:
    """A reader who pastes the line has a key with its pipe in it, not the digits before."""
    words = 'printf "%s %s" "$SHOPSDK_API_KEY" "$SHOPSDK_SHOP_ID"'
    process = await asyncio.create_subprocess_exec("bash", "-euc", SHELL[2] + words, stdout=PIPE, stderr=PIPE)
    assert (b"12345|the rest of the key 38", b"") == await process.communicate()


NETWORK, EXPORTS = SHELL[3:]


@pytest.mark.slow
async def test_the_way_through_a_proxy_is_as_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lines for a proxy and a company's authority lead through that proxy, by a certificate of that authority."""
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    certificate_file(tmp_path, "company-ca.pem")
    page = answer(page_of([CUSTOMER], per_page=20))
    async with tls_server(page) as server, tunnel() as proxy:
        for name, value in (
            ("API_KEY", "key"),
            ("SHOP_ID", "38"),
            ("BASE_URL", f"https://shop.example:{server.port}/v1"),
        ):
            monkeypatch.setenv(f"SHOPSDK_{name}", value)
        lines = NETWORK.replace("proxy.example:3128", proxy.url.removeprefix("http://"))
        process = await asyncio.create_subprocess_exec("bash", "-euc", lines, cwd=tmp_path, stdout=PIPE, stderr=PIPE)
        out, err = await process.communicate()
    assert process.returncode == 0
    assert b"seven@example.com" in out
    assert f"requests go through the proxy {proxy.url}\n" in err.decode()
    assert "proxy-authorization" in proxy.heard[0].headers


@pytest.mark.slow
async def test_shell_blocks_run(two_shops: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each command of the README succeeds, and leaves what the text beside it says."""
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    for shop in (38, 39):
        there = f"SHOPSDK_API_KEY='{os.environ['SHOPSDK_API_KEY']}'\nSHOPSDK_SHOP_ID={shop}\n"
        (tmp_path / f"shop-{shop}.env").write_text(there, encoding="utf-8")
    process = await asyncio.create_subprocess_exec(
        "bash", "-uc", EXPORTS, cwd=tmp_path, stdout=PIPE, stderr=PIPE, stdin=DEVNULL
    )
    out, err = await process.communicate()
    assert (0, "") == (process.returncode, err.decode() if process.returncode else "")
    assert "reader1@example.com" in out.decode()
    assert "250 customers (" in err.decode()
    assert "of them by an earlier run)" in err.decode()
    assert 251 == len((tmp_path / "customers.csv").read_text(encoding="utf-8").splitlines())
    for shop, size in ((38, 250), (39, 30)):
        assert size == len(gzip.decompress((tmp_path / f"customers-{shop}.ndjson.gz").read_bytes()).splitlines())
    assert (tmp_path / "customers.parquet").stat().st_size > 0
    assert (tmp_path / "customers-today.parquet").read_bytes() == (tmp_path / "customers.parquet").read_bytes()
    lines = (tmp_path / "everybody.csv").read_text(encoding="utf-8").splitlines()
    assert ["38"] * 250 + ["39"] * 30 == [line.partition(",")[0] for line in lines[1:]]
    assert lines == (tmp_path / "own.csv").read_text(encoding="utf-8").splitlines()
    assert 31 == len((tmp_path / "own-39.csv").read_text(encoding="utf-8").splitlines())


def test_links_lead_somewhere() -> None:
    """Each link to a file leads to one."""
    targets = re.findall(r"\]\((?!https?:)([^)#]+)\)", TEXT)
    assert targets
    assert [] == [target for target in targets if not (README.parent / target).is_file()]


def test_the_two_commands_come_first() -> None:
    """The two commands that CI runs as they stand come first."""
    assert "shopsdk export --sandbox customers.csv" in SHELL[0]
    assert "coverage run -m pytest" in SHELL[1]
    assert TEXT.index(SHELL[1]) < TEXT.index(PYTHON[0])


def test_every_error_is_in_the_readme() -> None:
    """The README names every error."""
    import shopsdk

    names = [name for name in shopsdk.__all__ if name.endswith("Error")]
    assert [] == [name for name in names if f"`{name}`" not in TEXT]


def test_the_page_is_in_its_order() -> None:
    """The sections stand in their order: what raises an error before what it means."""
    order = [
        "shop",
        "operation",
        "walk",
        "money",
        "rate limits",
        "errors",
        "export",
        "data",
        "testing",
        "working on it",
    ]
    titles = re.findall("^## (.+)$", TEXT.lower(), re.MULTILINE)
    found = [next((name for name in order if name in title), None) for title in titles]
    assert order == [name for name in found if name is not None]


def test_every_program_is_linked() -> None:
    """The README links every program to start from, in its list of questions."""
    folder = README.parent / "tests" / "programs"
    programs = {path.name for path in folder.iterdir() if path.suffix in {".py", ".ipynb"}} - {"__init__.py"}
    answers = TEXT.partition("### How do I ...")[2].partition("\n## ")[0]
    assert programs == set(re.findall(r"\]\(tests/programs/(\w+\.\w+)\)", answers))


def test_the_layout_names_every_module() -> None:
    """CONTRIBUTING.md says of every module and package what it is for."""
    layout = (README.parent / ".github" / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("## The layout")[2]
    package = README.parent / "shopsdk"
    folders = [package, *(each.parent for each in package.glob("*/__init__.py"))]
    modules = {
        path.stem
        for folder in folders
        for path in folder.iterdir()
        if path.suffix == ".py" or (path / "__init__.py").is_file()
    }
    assert [] == [name for name in sorted(modules - {"__init__", "__main__"}) if f"`{name}`" not in layout]
