"""The README is the product's face: every block of it is run here as it stands (the first two, by the gate of CI)."""

import asyncio
import gzip
import os
import re
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE
from pathlib import Path

import pytest
from aiohttp import ClientSession

from shopsdk import AsyncSession, get_customers
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
    assert 5 == len(capsys.readouterr().out.splitlines())


FOR_PYTEST = [n for n, block in enumerate(PYTHON) if "def test_" in block]
FRAGMENTS = [n for n, block in enumerate(PYTHON) if "asyncio.run(" not in block and n not in FOR_PYTEST]


@pytest.mark.parametrize("number", FRAGMENTS)
async def test_fragments_run(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each example of the README runs on the shop that the command serves, and does what the text beside it says."""
    for module in imports(PYTHON[number]):
        need(module)
    monkeypatch.chdir(tmp_path)
    certificate_file(tmp_path, "company-ca.pem")
    async with Sandbox(shop_id=[38, 39]) as shop, shop.session() as session:
        for name, value in (("API_KEY", shop.api_key), ("SHOP_ID", str(shop.shop_id)), ("BASE_URL", shop.base_url)):
            monkeypatch.setenv(f"SHOPSDK_{name}", value)
        for name in ("MAIN_SHOP_KEY", "OTHER_SHOP_KEY"):
            monkeypatch.setenv(name, shop.api_key)
        scope = {"session": session}
        await run_fragment(PYTHON[number], f"README block {number}", scope)
    assert {request.status for request in shop.requests} <= {200, None}  # None: a walk was left, nobody waits
    assert not getattr(scope.get("summary"), "failed", None)
    if re.search(r"await \w+\((session|connect)\b", PYTHON[number]) and "Sandbox(" not in PYTHON[number]:
        assert shop.requests


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


def environment(**variables: str) -> dict[str, str]:
    """Return an environment in which the installed command is found."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**os.environ, "PATH": path, **variables}


KEY_IN_A_SHELL, SERVED, COMMANDS, BOT_SHOP, BOT, EXPORTS, KEYS, SHOPS, NETWORK = SHELL[2:]


@pytest.mark.slow
async def test_the_key_is_quoted_where_it_is_set() -> None:
    """A reader who pastes the lines sends the whole key, not the digits before its pipe."""
    async with Sandbox(api_key="12345|the-rest-of-the-key") as shop:
        process = await asyncio.create_subprocess_exec(
            *("bash", "-euc", KEY_IN_A_SHELL), env=environment(SHOPSDK_BASE_URL=shop.base_url), stdout=PIPE, stderr=PIPE
        )
        out, err = await process.communicate()
    assert (0, "") == (process.returncode, err.decode() if process.returncode else "")
    assert b"page 1 of 50, 250 customers in all" in out + err


@pytest.mark.slow
async def test_the_served_shop_is_as_it_says(tmp_path: Path) -> None:
    """The lines that the embedded shop prints lead another shell to it, and it has both shops and the page."""
    server = await asyncio.create_subprocess_exec(
        *("bash", "-euc", f"exec {SERVED}"), env=environment(), cwd=tmp_path, stdout=PIPE, stderr=PIPE
    )
    try:
        assert server.stdout is not None
        assert server.stderr is not None
        lines = [(await server.stdout.readline()).decode() for _ in range(3)]
        assert all(line.startswith("export SHOPSDK_") for line in lines)
        while b"http://" not in (said := await server.stderr.readline()):
            assert said
        (address,) = re.findall(r"http://127\.0\.0\.1:\d+/", said.decode())
        assert f"{address}v1" in "".join(lines)
        async with ClientSession() as browser, browser.get(address) as answer:
            assert (200, "text/html") == (answer.status, answer.content_type)
        shops = SHOPS.splitlines()[1]
        assert "everybody.csv" in shops
        process = await asyncio.create_subprocess_exec(
            *("bash", "-euc", "".join(lines) + shops), env=environment(), cwd=tmp_path, stdout=PIPE, stderr=PIPE
        )
        _, err = await process.communicate()
        assert (0, "") == (process.returncode, err.decode() if process.returncode else "")
    finally:
        server.send_signal(signal.SIGINT)
        await server.communicate()
    exported = (tmp_path / "everybody.csv").read_text(encoding="utf-8").splitlines()
    assert ["38"] * 250 + ["39"] * 250 == [line.partition(",")[0] for line in exported[1:]]


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
async def test_commands_run() -> None:
    """Each command of the README succeeds on the served shop, and the ledger shows the edit."""
    async with Sandbox(shop_id=[38, 39]) as shop:
        there = environment(SHOPSDK_API_KEY=shop.api_key, SHOPSDK_SHOP_ID="38", SHOPSDK_BASE_URL=shop.base_url)
        process = await asyncio.create_subprocess_exec("bash", "-euc", COMMANDS, env=there, stdout=PIPE, stderr=PIPE)
        out, err = await process.communicate()
    assert (0, "") == (process.returncode, err.decode() if process.returncode else "")
    assert "tsantos1001@example.org" in out.decode()
    assert "a late parcel [ref:parcel-17]" in out.decode()
    assert "Usage: shopsdk balance" in out.decode()


@pytest.mark.slow
async def test_the_shop_for_the_bot_has_the_reader(tmp_path: Path) -> None:
    """The lines before the bot serve a shop that has the reader's Discord account (nothing is installed here)."""
    lines = "pip() { :; }\n" + BOT_SHOP.replace("shopsdk sandbox", "exec shopsdk sandbox")
    server = await asyncio.create_subprocess_exec(
        *("bash", "-euc", lines), env=environment(), cwd=tmp_path, stdout=PIPE, stderr=PIPE
    )
    assert server.stdout is not None
    variables = [(await server.stdout.readline()).decode() for _ in range(3)]
    key, shop_id, base_url = (line.strip().partition("=")[2].strip("'") for line in variables)
    async with AsyncSession(key, shop_id=int(shop_id), base_url=base_url) as session:
        page = await get_customers(session, discord_id="YOUR USER ID")
    assert 1 == page.total
    server.send_signal(signal.SIGINT)
    assert (b"", 0) == ((await server.communicate())[0], server.returncode)


@pytest.mark.slow
async def test_the_bot_says_what_it_needs() -> None:
    """Pasted as they stand, the lines of the bot say what to fill in."""
    need("discord")
    process = await asyncio.create_subprocess_exec(
        *("bash", "-euc", BOT), env=environment(), cwd=README.parent, stdout=PIPE, stderr=PIPE
    )
    _, err = await process.communicate()
    said = "set DISCORD_TOKEN to the bot's token, and DISCORD_GUILD to the id of your server, a number\n"
    assert (1, said) == (process.returncode, err.decode())


@pytest.mark.slow
async def test_exports_run(tmp_path: Path) -> None:
    """Each export of the README succeeds, one of them after an interruption, and leaves what the text says."""
    async with Sandbox(shop_id=[38, 39]) as shop:
        shop.fail_next("slow", seconds=0, times=2)
        shop.fail_next("rate_limit", retry_after=3600)  # the third page of the first export
        there = environment(SHOPSDK_API_KEY=shop.api_key, SHOPSDK_SHOP_ID="38", SHOPSDK_BASE_URL=shop.base_url)
        process = await asyncio.create_subprocess_exec(
            *("bash", "-uc", EXPORTS + KEYS + SHOPS), env=there, cwd=tmp_path, stdout=PIPE, stderr=PIPE, stdin=DEVNULL
        )
        out, err = await process.communicate()
    assert (0, "") == (process.returncode, err.decode() if process.returncode else "")
    assert "tsantos1001@example.org" in out.decode()
    assert "250 customers (" in err.decode()
    assert "of them by an earlier run)" in err.decode()
    assert 251 == len((tmp_path / "today.csv").read_text(encoding="utf-8").splitlines())
    for number in (38, 39):
        assert 250 == len(gzip.decompress((tmp_path / f"customers-{number}.ndjson.gz").read_bytes()).splitlines())
    assert (tmp_path / "customers.parquet").stat().st_size > 0
    assert (tmp_path / "customers-today.parquet").read_bytes() == (tmp_path / "customers.parquet").read_bytes()
    lines = (tmp_path / "everybody.csv").read_text(encoding="utf-8").splitlines()
    assert ["38"] * 250 + ["39"] * 250 == [line.partition(",")[0] for line in lines[1:]]
    assert lines == (tmp_path / "own.csv").read_text(encoding="utf-8").splitlines()
    assert 251 == len((tmp_path / "own-39.csv").read_text(encoding="utf-8").splitlines())


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


def test_the_contents_name_every_section() -> None:
    """The list of contents leads to every section, in order."""
    contents = TEXT.partition("**Contents**\n\n")[2].partition("\n\n")[0]
    titles = re.findall("^(##+) (.+)$", TEXT, re.MULTILINE)
    places = {title: re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for _, title in titles}
    sections = [(title, places[title]) for depth, title in titles if depth == "##"]
    assert sections == re.findall(r"^- \[([^]]+)\]\(#([\w-]+)\)", contents, re.MULTILINE)
    assert set(re.findall(r"\]\(#([\w-]+)\)", TEXT)) <= set(places.values())


def test_every_error_is_in_the_readme() -> None:
    """The README names every error."""
    import shopsdk

    names = [name for name in shopsdk.__all__ if name.endswith("Error")]
    assert [] == [name for name in names if f"`{name}`" not in TEXT]


def test_every_program_is_linked() -> None:
    """The README links every program to start from, in its list of questions."""
    folder = README.parent / "tests" / "programs"
    programs = {path.name for path in folder.iterdir() if path.suffix in {".py", ".ipynb"}} - {"__init__.py"}
    answers = TEXT.partition("\n## How do I ...")[2].partition("\n## ")[0]
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
