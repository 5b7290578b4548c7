"""The sandbox on a machine that others share: who may ask it, what it keeps of them, and who may read its files."""

import asyncio
import gzip
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shopsdk import AsyncSession, Customer, edit_customer_balance, get_customer, get_customers
from shopsdk.sandbox import Sandbox
from shopsdk.sandbox._host import is_own_host
from shopsdk.sandbox._input import EDGES, parameters, read_json
from shopsdk.sandbox._message import Call, Refusal
from shopsdk.sandbox._validation import check_affiliate_code, check_edit, check_listing

ADA = Customer(id=7, email="ada@example.com")


async def ask(shop: Sandbox, head: str, body: bytes = b"", *, key: str | None = None) -> tuple[int, bytes]:
    """Send a request as it is written, but for ``{port}``; gives the status and all that was answered."""
    port = int(shop.base_url.split(":")[2].split("/")[0])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    key = shop.api_key if key is None else key
    more = f"Authorization: Bearer {key}\r\nAccept: application/json\r\nContent-Type: application/json\r\n"
    head = head.replace("{port}", str(port))
    writer.write(f"{head}{more}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return int(answer.split()[1]), answer


def edit(*lines: str, target: str = "/v1/shops/38/customers/7/balance") -> str:
    return "\r\n".join((f"POST {target} HTTP/1.1", *lines, ""))


BODY = b'{"amount": 5}'


@pytest.mark.parametrize(
    "lines",
    [
        ("Host: evil.example",),
        ("Host: evil.example:{port}",),
        ("Host: 127.0.0.1.evil.example:{port}",),
        ("Host: localhost.evil.example:{port}",),
        ("Host: localhost.:{port}",),
        ("Host: 192.168.0.7:{port}",),
        ("Host: 0.0.0.0:{port}",),
        ("Host: [::]:{port}",),
        ("Host: [::1]evil.example:{port}",),
        ("Host: evil.example@127.0.0.1:{port}",),
        ("Host: 127.0.0.1:{port}@evil.example",),
        ("Host: 127.0.0.1:{port}/evil.example",),
        ("Host: 127.0.0.1:{port}, evil.example",),
        ("Host: localhost:",),
        ("Host: localhost:99999",),
        ("Host: ",),
        ("Host: localhost:{port}", "Host: evil.example"),
        ("Host: evil.example", "Host: localhost:{port}"),
        ("Host: localhost:{port}", "Host: localhost:{port}"),
        (),
    ],
)
async def test_a_request_for_another_host_changes_nothing(lines: tuple[str, ...]) -> None:
    """A page whose name was made to lead to this machine can neither read nor change anything, even with the key."""
    with Sandbox([ADA]) as shop:
        status, answer = await ask(shop, edit(*lines), BODY)
        assert status in {400, 421}
        assert [] == shop.transactions(7)
        assert b"ada@example.com" not in answer
        assert not any(record.body or record.json for record in shop.requests)
        assert status in {400, *(record.status for record in shop.requests)}


async def test_the_host_of_a_whole_url_counts() -> None:
    """A request line that names another host is for another host, whatever the header says."""
    path = "/v1/shops/38/customers/7/balance"
    with Sandbox([ADA]) as shop:
        for authority in ("evil.example", "evil.example:{port}", "localhost:{port}@evil.example"):
            target = f"http://{authority}{path}"
            assert 421 == (await ask(shop, edit("Host: localhost:{port}", target=target), BODY))[0]
        assert [] == shop.transactions(7)
        target = f"http://localhost:{{port}}{path}"
        assert 421 == (await ask(shop, edit("Host: evil.example:{port}", target=target), BODY))[0]
        assert 200 == (await ask(shop, edit("Host: localhost:{port}", target=target), BODY))[0]


@pytest.mark.parametrize("host", ["localhost", "LocalHost", "127.0.0.1", "127.9.9.9", "[::1]"])
async def test_a_request_for_this_machine_is_carried_out(host: str) -> None:
    """The names of this machine are taken, with any port: a proxy or a tunnel on it has another."""
    with Sandbox([ADA]) as shop:
        for port in ("", ":{port}", ":8080"):
            assert 200 == (await ask(shop, edit(f"Host: {host}{port}"), BODY))[0]
        assert 3 == len(shop.transactions(7))


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
async def test_a_session_reaches_the_sandbox_by_any_of_its_names(name: str) -> None:
    """A base URL may say ``localhost`` for the address that the sandbox listens on."""
    with Sandbox([ADA]) as shop:
        base_url = shop.base_url.replace("127.0.0.1", name)
        async with AsyncSession(shop.api_key, shop_id=38, base_url=base_url) as session:
            assert "ada@example.com" == (await get_customer(session, 7)).email


@given(st.text(alphabet="localhost127.0.0.1[]:@/evil ex%#?\\", max_size=24))
def test_a_host_is_this_machine_or_it_is_not(text: str) -> None:
    """No text but a loopback address or ``localhost``, with a port or without, is this machine."""
    if is_own_host(text):
        name = text.partition("]")[0].lstrip("[") if text.startswith("[") else text.partition(":")[0]
        assert name == "localhost" or name.startswith("127.") or set(name) <= set(":0.127")


@pytest.mark.parametrize("method", ["OPTIONS", "GET", "POST"])
async def test_no_page_elsewhere_is_let_in_by_a_browser(method: str) -> None:
    """The sandbox gives no other origin leave to send it a key or to read its answers."""
    head = f"{method} /v1/shops/38/customers HTTP/1.1\r\nHost: localhost:{{port}}\r\nOrigin: https://evil.example\r\n"
    with Sandbox([ADA]) as shop:
        for key in (shop.api_key, "another"):
            _, answer = await ask(shop, f"{head}Access-Control-Request-Headers: authorization\r\n", key=key)
            assert b"access-control-allow" not in answer.lower()


# --- what is kept


async def test_bodies_without_a_key_are_not_kept() -> None:
    """What a stranger on this machine sends is recorded without its body."""
    with Sandbox([ADA]) as shop:
        assert 401 == (await ask(shop, edit("Host: localhost:{port}"), BODY, key="another"))[0]
        assert 200 == (await ask(shop, edit("Host: localhost:{port}"), BODY))[0]
        assert [(b"", None), (BODY, {"amount": 5})] == [(record.body, record.json) for record in shop.requests]


async def test_a_body_of_more_than_a_megabyte_is_refused() -> None:
    """A request cannot make the sandbox read without end."""
    with Sandbox([ADA]) as shop:
        assert 413 == (await ask(shop, edit("Host: localhost:{port}"), b" " * (2**20 + 1)))[0]
        bomb = gzip.compress(bytes(50 * 2**20))
        assert 413 == (await ask(shop, edit("Host: localhost:{port}", "Content-Encoding: gzip"), bomb))[0]
        assert [(413, b"")] * 2 == [(record.status, record.body) for record in shop.requests]
        assert 200 == (await ask(shop, edit("Host: localhost:{port}"), BODY.ljust(2**20)))[0]


@pytest.mark.parametrize(("host", "status"), [("localhost:{port}", 401), ("evil.example", 421)])
async def test_the_body_of_a_stranger_is_not_waited_for(host: str, status: int) -> None:
    """A request without the key, or for another host, is answered before its body: it holds no memory."""
    with Sandbox([ADA]) as shop:
        port = int(shop.base_url.split(":")[2].split("/")[0])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        head = edit(f"Host: {host}").replace("{port}", str(port))
        writer.write(f"{head}Accept: application/json\r\nContent-Length: 1000000\r\n\r\n".encode())
        assert status == int((await reader.readline()).split()[1])
        writer.close()
        await writer.wait_closed()


async def test_what_is_removed_from_the_list_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests that a test has removed from the list take no room from later ones."""
    monkeypatch.setattr("shopsdk.sandbox._record._KEPT_BYTES", 60_000)
    with Sandbox([ADA]) as shop:
        for _ in range(4):
            await ask(shop, edit("Host: localhost:{port}"), BODY.ljust(10_000))
        del shop.requests[:-1]
        for _ in range(3):
            await ask(shop, edit("Host: localhost:{port}"), BODY.ljust(10_000))
        assert 4 == len(shop.requests)


async def test_many_short_parameters_count_by_the_memory_they_take(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound is one of memory: a parameter of two letters takes some hundred bytes there."""
    monkeypatch.setattr("shopsdk.sandbox._record._KEPT_BYTES", 200_000)
    parameters = "&".join(f"{number:x}" for number in range(1_000))
    with Sandbox([ADA]) as shop:
        for _ in range(5):
            await ask(shop, edit("Host: localhost:{port}", target=f"/v1/x?{parameters}"), key="another")
        assert 1 <= len(shop.requests) <= 3


async def test_what_is_recorded_is_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest requests go when all of them hold too much, also once the list was cleared; the last one stays."""
    monkeypatch.setattr("shopsdk.sandbox._record._KEPT_BYTES", 50_000)
    with Sandbox([ADA]) as shop:
        for size in [10_000] * 6 + [60_000]:
            await ask(shop, edit("Host: localhost:{port}"), BODY.ljust(size))
            held = sum(len(record.body) for record in shop.requests)
            assert held <= 50_000 or 1 == len(shop.requests)
        assert [60_000] == [len(record.body) for record in shop.requests]
        shop.requests.clear()
        for _ in range(6):
            await ask(shop, edit("Host: localhost:{port}"), BODY.ljust(10_000))
        assert 4 == len(shop.requests)


# --- what text may cost

MEGABYTE = 1_000_000
SHAPES = [" ", " x", "1", "1.", "0", "x", "%", "_", "%a", "\ufeff ", "-", "1e", "9" * 9 + "e", "[", "{", '"', "\\", "é"]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_megabyte_costs_no_more_than_its_length(shape: str) -> None:
    """Whatever is repeated a million times, each rule reads it once; one that did not would take hours."""
    text = (shape * MEGABYTE)[:MEGABYTE] + "x"
    read_json(text.encode())
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    for name in ("amount", "description", "affiliate_code", "page", "perPage", "email", "id", "subscribed"):
        call = Call("PUT", "/", "", {}, headers, {name: f"{text}"})
        for check in (check_edit, check_affiliate_code, check_listing):
            refusal_or_value(check, call)


def refusal_or_value(check: Callable[[Call, dict[str, object]], object], call: Call) -> None:
    with suppress(Refusal):
        check(call, parameters(call))


@pytest.mark.parametrize("text", ["%" * 60_000, "%a" * 20_000, "_" * 100_000, "x" * 100_000, "%a%b%c%d%e%f" * 4_000])
async def test_a_filter_of_any_length_is_answered(text: str) -> None:
    """A filter that is longer than any column finds nobody or somebody; it is no server error."""
    with Sandbox(50) as shop:
        async with shop.session(list_params="body") as session:
            page = await get_customers(session, email=text)
    assert page.total in {0, 50}


@pytest.mark.parametrize("depth", [900, 980, 990, 995, 1_000, 50_000])
async def test_json_of_any_depth_is_answered(depth: int) -> None:
    """A body nested too deeply counts as none, as in PHP."""
    with Sandbox([ADA]) as shop:
        body = b'{"amount": 5, "x": ' + b"[" * depth + b"]" * depth + b"}"
        status, _ = await ask(shop, edit("Host: localhost:{port}"), body)
        assert status in {200, 422}


@pytest.mark.parametrize(
    "amount", ["1e999999999999", "-1e-9999999999999999999", "1e-999999999", "9" * 100_000, "1E+400"]
)
@pytest.mark.parametrize("name", ["amount", "description", "affiliate_code", "page", "perPage", "email", "id"])
async def test_a_number_of_any_size_is_answered(name: str, amount: str) -> None:
    """A number with an exponent or with digits without end is a value, valid or not; it is no server error."""
    with Sandbox([ADA]) as shop:
        for verb, path in (("POST", "/7/balance"), ("PUT", "/7/affiliate-code"), ("GET", "")):
            head = f"{verb} /v1/shops/38/customers{path} HTTP/1.1\r\nHost: localhost:{{port}}\r\n"
            body = f'{{"{name}": {amount}, "x": "{amount}"}}'.encode()
            assert (await ask(shop, head, body))[0] in {200, 422}


@pytest.mark.parametrize("referer", ["\udcff", "\udced\udca0\udc80", "é", "http://[", "a" * 8_000])
async def test_a_referer_of_any_text_is_answered(referer: str) -> None:
    """A header that is no text comes back in no answer as it came."""
    with Sandbox([ADA]) as shop:
        port = int(shop.base_url.split(":")[2].split("/")[0])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        head = edit(f"Host: localhost:{port}", f"Referer: {referer}", f"Authorization: Bearer {shop.api_key}", "", "")
        writer.write(head.encode(errors="surrogateescape"))
        assert 302 == int((await reader.readline()).split()[1])
        writer.close()
        await writer.wait_closed()


async def test_a_body_that_cannot_be_read_is_the_callers_fault() -> None:
    """A body that is not compressed as it says changes nothing, and is no server error."""
    with Sandbox([ADA]) as shop:
        assert 400 == (await ask(shop, edit("Host: localhost:{port}", "Content-Encoding: gzip"), BODY))[0]
        assert [400] == [record.status for record in shop.requests]
        assert [] == shop.transactions(7)


def test_strings_are_trimmed_of_white_space_and_byte_order_marks() -> None:
    """The characters that are trimmed are those that Unicode calls white space, and the byte order mark."""
    assert {chr(code) for code in range(0x110000) if chr(code).isspace()} | {"\ufeff"} == set(EDGES)


# --- files


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def modes_in(folder: Path) -> dict[str, int]:
    return {path.name: mode_of(path) for path in folder.iterdir()}


@pytest.mark.parametrize("umask", [0, 0o022, 0o777])
async def test_a_database_is_its_owners_alone(tmp_path: Path, umask: int) -> None:
    """Whatever the umask, nobody else reads a sandbox's database or the files beside it."""
    database = tmp_path / "shop.db"
    before = os.umask(umask)
    try:
        with Sandbox([ADA], database=database) as shop:
            async with shop.session() as session:
                await edit_customer_balance(session, 7, 1)
            modes = modes_in(tmp_path)
        with Sandbox(database=database) as shop:
            assert 1 == len(shop.transactions(7))
    finally:
        os.umask(before)
    assert {0o600} == set(modes.values())
    assert "shop.db" in modes


def test_a_link_of_our_own_is_followed(tmp_path: Path) -> None:
    """A database may lie behind a link that its owner has made."""
    (tmp_path / "link.db").symlink_to("between.db")
    (tmp_path / "between.db").symlink_to(tmp_path / "there.db")
    for _ in range(2):
        with Sandbox([ADA], database=tmp_path / "link.db") as shop:
            assert [ADA.id] == [customer.id for customer in shop.customers()]
    assert 0o600 == mode_of(tmp_path / "there.db")
    assert (tmp_path / "link.db").is_symlink()


STRANGERS: dict[str, Callable[[Path], Any]] = {
    "a link": lambda path: path.symlink_to("/etc/hostname"),
    "a dangling link": lambda path: path.symlink_to(path.with_name("nowhere")),
    "a file": lambda path: path.touch(0o666),
    "a log of changes": lambda path: path.with_name(f"{path.name}-wal").touch(),
    "a link to a log of changes": lambda path: path.with_name(f"{path.name}-wal").symlink_to("/tmp/x"),
    "a journal": lambda path: path.with_name(f"{path.name}-journal").touch(),
}

_OPEN = """
import os, sys
from shopsdk import Customer
from shopsdk.sandbox import Sandbox
os.setuid(12345) if os.geteuid() == 0 else setattr(os, "geteuid", lambda: 12345)
try:
    with Sandbox([Customer(id=7, email="ada@example.com")], database=sys.argv[1]):
        print("opened")
except ValueError as error:
    print("refused", error)
"""


@pytest.mark.slow
@pytest.mark.parametrize("stranger", list(STRANGERS))
def test_a_database_is_not_opened_through_what_is_somebody_elses(tmp_path: Path, stranger: str) -> None:
    """In a folder that others write to, what another user has laid at the name is refused, and left as it is."""
    shared = tmp_path / "shared"
    shared.mkdir()
    database = shared / "shop.db"
    STRANGERS[stranger](database)
    if os.geteuid() == 0:  # another user's, then; else the program takes itself for another user
        for path in shared.iterdir():
            os.chown(path, 54321, 54321, follow_symlinks=False)
        for folder in (shared, *tmp_path.parents):
            if folder.is_relative_to(tmp_path.parents[2]):
                folder.chmod(0o755)
        tmp_path.chmod(0o755)
        shared.chmod(0o1777)
    before = {path: (os.lstat(path).st_mode, os.lstat(path).st_size) for path in shared.iterdir()}
    made = subprocess.run([sys.executable, "-c", _OPEN, database], capture_output=True, text=True, check=False)
    assert made.stdout.startswith("refused "), made.stderr
    assert str(database) in made.stdout
    assert before == {path: (os.lstat(path).st_mode, os.lstat(path).st_size) for path in before}


@pytest.mark.parametrize("what", ["a folder", "a pipe", "two names", "a circle"])
def test_a_database_must_be_a_file_of_one_name(tmp_path: Path, what: str) -> None:
    """What is no file, or has a second name elsewhere, is refused before anything is written."""
    database = tmp_path / "shop.db"
    if what == "a folder":
        database.mkdir()
    elif what == "a pipe":
        os.mkfifo(database)
    elif what == "a circle":
        database.symlink_to(database)
    else:
        other = tmp_path / "other"
        other.touch()
        os.link(other, database)
    with pytest.raises(ValueError, match="cannot be used as the sandbox's database"), Sandbox([ADA], database=database):
        pass


@pytest.mark.parametrize("missing", [("O_NOFOLLOW",), ("geteuid",), ("fchmod",), ("O_NOFOLLOW", "geteuid", "fchmod")])
async def test_a_database_opens_where_a_platform_lacks_a_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: tuple[str, ...]
) -> None:
    """Where there are no users, modes or links of that kind, a database is made and opened all the same."""
    for name in missing:
        monkeypatch.delattr(os, name)
    for _ in range(2):
        with Sandbox([ADA], database=tmp_path / "shop.db") as shop:
            async with AsyncSession(shop.api_key, shop_id=38, base_url=shop.base_url) as session:
                assert "ada@example.com" == (await get_customer(session, 7)).email
