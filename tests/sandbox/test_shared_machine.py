"""The sandbox on a shared machine: the requests that it takes and records, and the users who can read its files."""

import asyncio
import gzip
import os
import sqlite3
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
from shopsdk.sandbox._message import TRIMMED, HTTPError, Request, parameters, read_json
from shopsdk.sandbox._validation import check_affiliate_code, check_edit, check_listing

ADA = Customer(id=7, email="ada@example.com")


async def ask(shop: Sandbox, head: str, body: bytes = b"", *, key: str | None = None) -> tuple[int, bytes]:
    """Send a request as it is written, but for ``{port}``; return the status and the whole answer."""
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


WRONG_HOSTS: list[tuple[str, ...]] = [
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
]


@pytest.mark.parametrize("lines", WRONG_HOSTS)
async def test_a_request_for_another_host_changes_nothing(lines: tuple[str, ...]) -> None:
    """A web page whose host name leads to this machine can neither read nor change anything, even with the key."""
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
    """A request for any name of this machine is taken, with any port, since a proxy or a tunnel on it has another."""
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


# --- recorded requests


async def test_bodies_without_a_key_are_not_kept() -> None:
    """A request without the key is recorded without its body."""
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
    """A request without the key, or for another host, is answered before its body, which takes no memory."""
    with Sandbox([ADA]) as shop:
        port = int(shop.base_url.split(":")[2].split("/")[0])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        head = edit(f"Host: {host}").replace("{port}", str(port))
        writer.write(f"{head}Accept: application/json\r\nContent-Length: 1000000\r\n\r\n".encode())
        assert status == int((await reader.readline()).split()[1])
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01 is TLS\r\n\r\n",
        b"GET /v1/shops HTTP/1.1\r\nAuthorization: Bearer hunter2\x00\r\n\r\n",
        b"GET /v1/shops HTTP/1.1\r\nAuthorization: Bearer hunter2" + b"2" * 2**14 + b"\r\n\r\n",
        b"GET /v1/shops HTTP/1.1\r\nX: hunter2\r\nContent-Length: hunter2\r\n\r\n",
        b"GET http://[hunter2/ HTTP/1.1\r\n\r\n",
    ],
)
async def test_what_is_no_http_is_logged_in_a_line(sent: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """Data that is no HTTP is logged in one line that quotes nothing of it."""
    with Sandbox([ADA]) as shop:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(shop.base_url.split(":")[2].split("/")[0]))
        writer.write(sent)
        assert (await reader.read()).startswith(b"HTTP/1.0 400 ")
        writer.close()
        await writer.wait_closed()
    assert len(caplog.records) <= 1
    assert "hunter2" not in caplog.text
    assert "Traceback" not in caplog.text


async def test_what_is_removed_from_the_list_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests that a test has removed from the list take no room from later ones."""
    monkeypatch.setattr("shopsdk.sandbox._requests._MAX_REQUEST_BYTES", 60_000)
    with Sandbox([ADA]) as shop:
        for _ in range(4):
            await ask(shop, edit("Host: localhost:{port}"), BODY.ljust(10_000))
        del shop.requests[:-1]
        for _ in range(3):
            await ask(shop, edit("Host: localhost:{port}"), BODY.ljust(10_000))
        assert 4 == len(shop.requests)


async def test_many_short_parameters_count_by_the_memory_they_take(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parameters count by the memory that they take, which is some hundred bytes for two letters."""
    monkeypatch.setattr("shopsdk.sandbox._requests._MAX_REQUEST_BYTES", 200_000)
    parameters = "&".join(f"{number:x}" for number in range(1_000))
    with Sandbox([ADA]) as shop:
        for _ in range(5):
            await ask(shop, edit("Host: localhost:{port}", target=f"/v1/x?{parameters}"), key="another")
        assert 1 <= len(shop.requests) <= 3


async def test_what_is_recorded_is_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest requests go when all of them hold too much, also after the list was cleared; the last one stays."""
    monkeypatch.setattr("shopsdk.sandbox._requests._MAX_REQUEST_BYTES", 50_000)
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


# --- the cost of long texts

MEGABYTE = 1_000_000
SHAPES = [" ", " x", "1", "1.", "0", "x", "%", "_", "%a", "\ufeff ", "-", "1e", "9" * 9 + "e", "[", "{", '"', "\\", "é"]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_megabyte_costs_no_more_than_its_length(shape: str) -> None:
    """Each rule reads a text once, whatever is repeated in it a million times."""
    text = (shape * MEGABYTE)[:MEGABYTE] + "x"
    read_json(text.encode())
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    for name in ("amount", "description", "affiliate_code", "page", "perPage", "email", "id", "subscribed"):
        call = Request("PUT", "/", "", {}, headers, {name: f"{text}"})
        for check in (check_edit, check_affiliate_code, check_listing):
            error_or_value(check, call)


def error_or_value(check: Callable[[Request, dict[str, object]], object], call: Request) -> None:
    with suppress(HTTPError):
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
    """A request whose Referer is no text, or no URL, is answered."""
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
    assert {chr(code) for code in range(0x110000) if chr(code).isspace()} | {"\ufeff"} == set(TRIMMED)


# --- files


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def modes_in(folder: Path) -> dict[str, int]:
    return {path.name: mode_of(path) for path in folder.iterdir()}


@pytest.mark.parametrize("umask", [0, 0o022, 0o777])
async def test_a_database_is_its_owners_alone(tmp_path: Path, umask: int) -> None:
    """Nobody but its owner can read a sandbox's database or the files beside it, whatever the umask."""
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
    "a pipe": os.mkfifo,
    "a log of changes": lambda path: path.with_name(f"{path.name}-wal").touch(0o666),
    "a link to a log of changes": lambda path: path.with_name(f"{path.name}-wal").symlink_to("/tmp/x"),
    "a journal": lambda path: path.with_name(f"{path.name}-journal").touch(0o666),
    "a pipe for a journal": lambda path: os.mkfifo(path.with_name(f"{path.name}-journal")),
}

_OPEN = """
import os, sys
from shopsdk import Customer
from shopsdk.sandbox import Sandbox
folder, name, user = sys.argv[1], sys.argv[2], int(sys.argv[3])
if os.geteuid() != 0:  # then nobody here can be another user: what lies there is shown as another's
    theirs, look = {os.path.join(folder, entry) for entry in os.listdir(folder)}, os.lstat
    def lstat(path, **options):
        found = list(look(path, **options))
        found[4] = 54321 if os.fspath(path) in theirs else found[4]
        return os.stat_result(found)
    os.lstat = lstat
elif user:
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)
try:
    with Sandbox([Customer(id=7, email="ada@example.com")], database=os.path.join(folder, name)) as shop:
        print("opened", [customer.id for customer in shop.customers()])
except ValueError as error:
    print("refused", error)
"""


def open_as(user: int, folder: Path, name: str = "shop.db") -> str:
    """Open a sandbox's database in a process of another user; return what that process prints."""
    command = [sys.executable, "-c", _OPEN, str(folder), name, str(user)]
    # Without coverage: another user cannot write what was measured.
    env = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    made = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert "" == made.stderr
    return made.stdout


def states(folder: Path) -> dict[str, tuple[int, int, int, int]]:
    found = {path.name: os.lstat(path) for path in folder.iterdir()}
    return {name: (state.st_mode, state.st_size, state.st_uid, state.st_mtime_ns) for name, state in found.items()}


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """A folder that every user may write to, as ``/tmp`` is."""
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o1777)
    for above in tmp_path, *tmp_path.parents:
        if above.stat().st_uid == os.geteuid() and above.is_relative_to(tmp_path.parents[2]):
            above.chmod(0o755)
    return folder


def give_away(folder: Path) -> None:
    """Give all files there to another user, if the tests run as root."""
    if os.geteuid() == 0:
        for path in folder.iterdir():
            os.chown(path, 54321, 54321, follow_symlinks=False)


@pytest.mark.slow
@pytest.mark.parametrize("user", [0, 12345])
@pytest.mark.parametrize("stranger", list(STRANGERS))
def test_a_database_is_not_opened_through_what_is_somebody_elses(shared: Path, stranger: str, user: int) -> None:
    """In a folder that all may write to, what another user has put at a name is refused, and nothing is changed there.

    That holds for root too.
    """
    STRANGERS[stranger](shared / "shop.db")
    give_away(shared)
    before = states(shared)
    answer = open_as(user, shared)
    assert answer.startswith("refused ")
    assert str(shared / "shop.db") in answer
    assert before == states(shared)


@pytest.mark.slow
@pytest.mark.parametrize("user", [0, 12345])
def test_a_folder_that_is_another_users_link_leads_to_no_database(shared: Path, tmp_path: Path, user: int) -> None:
    """Another user's link to a folder is not followed in a folder that all may write to; in one of their own, it is."""
    private = tmp_path / "private"
    private.mkdir()
    private.chmod(0o777)
    (shared / "link").symlink_to(private)
    give_away(shared)
    (tmp_path / "ours.db").symlink_to(shared / "link" / "shop.db")
    for name in ("link/shop.db", "../ours.db", "./link/../private/shop.db"):
        assert "another user's link" in open_as(user, shared, name)
    assert [] == list(private.iterdir())
    shared.chmod(0o755)
    assert "opened [7]\n" == open_as(user, shared, "link/shop.db")


async def test_a_database_may_lie_where_all_files_are_shown_as_one_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a file system that knows no owners (FAT, SMB), a database is made and opened again."""
    shown = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: shown)
    for _ in range(2):
        with Sandbox([ADA], database=tmp_path / "shop.db") as shop:
            assert [ADA.id] == [customer.id for customer in shop.customers()]


@pytest.mark.slow
def test_two_users_have_databases_of_their_own_in_one_folder(shared: Path) -> None:
    """In a folder that all may write to, each user's database opens for that user, and for no other."""
    assert "opened [7]\n" == open_as(12345, shared, "mine.db")
    assert "opened [7]\n" == open_as(54321, shared, "yours.db")
    assert {0o600} == {mode_of(shared / name) for name in ("mine.db", "yours.db")}
    assert open_as(12345, shared, "yours.db").startswith("refused ")
    if os.geteuid() == 0:
        assert "opened [7]\n" == open_as(12345, shared, "mine.db")
    assert {"mine.db", "yours.db"} == set(states(shared))


def test_the_names_beside_a_database_are_taken_before_it_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The names that SQLite opens beside a database are made first, so that nobody else can make them."""
    connect: Callable[..., sqlite3.Connection] = sqlite3.connect
    seen: list[dict[str, int]] = []

    def look(*args: Any, **options: Any) -> sqlite3.Connection:
        seen.append(modes_in(tmp_path))
        return connect(*args, **options)

    monkeypatch.setattr(sqlite3, "connect", look)
    for _ in range(2):
        with Sandbox([ADA], database=tmp_path / "shop.db"):
            assert {"shop.db", "shop.db-wal"} == set(modes_in(tmp_path))
    assert ["shop.db"] == list(modes_in(tmp_path))
    assert [dict.fromkeys(("shop.db", "shop.db-wal", "shop.db-journal"), 0o600)] * 2 == seen


@pytest.mark.parametrize("name", ["file:shop.db", "file:shop.db?mode=memory", "file:/nowhere/shop.db", "a?b#c%41.db"])
def test_a_database_is_a_name_and_no_uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A name that SQLite could take for a URI names a file all the same, so that what was checked is what is opened."""
    monkeypatch.chdir(tmp_path)
    folder = Path(name).parent
    folder.mkdir(parents=True, exist_ok=True)
    for _ in range(2):
        with Sandbox([ADA], database=name) as shop:
            assert [ADA.id] == [customer.id for customer in shop.customers()]
    assert {Path(name): 0o600} == {path: mode_of(path) for path in folder.iterdir() if path.is_file()}
    assert mode_of(Path(name)) == 0o600
    assert Path(name).stat().st_size > 0


_DIE = """
import os, sys
from shopsdk import Customer
from shopsdk.sandbox import Sandbox
shop = Sandbox([Customer(id=7, email="ada@example.com")], database=sys.argv[1])
shop.start()
shop.add_customer(Customer(id=8, email="bob@example.com"))
os._exit(0)
"""


@pytest.mark.slow
def test_a_database_outlives_a_killed_process(tmp_path: Path) -> None:
    """Customers that a killed process had entered are there when the database is opened again."""
    database = tmp_path / "shop.db"
    subprocess.run([sys.executable, "-c", _DIE, database], check=True)
    assert {"shop.db", "shop.db-wal"} == set(modes_in(tmp_path))
    with Sandbox(database=database) as shop:
        assert [7, 8] == [customer.id for customer in shop.customers()]
    assert ["shop.db"] == list(modes_in(tmp_path))


@pytest.mark.parametrize("what", ["a folder", "a pipe", "a pipe beside it", "two names", "a circle"])
def test_a_database_must_be_a_file_of_one_name(tmp_path: Path, what: str) -> None:
    """A path that is no file, or a file that has a second name, is refused before anything is written."""
    database = tmp_path / "shop.db"
    if what == "a folder":
        database.mkdir()
    elif what == "a pipe":
        os.mkfifo(database)
    elif what == "a pipe beside it":
        os.mkfifo(f"{database}-wal")
    elif what == "a circle":
        database.symlink_to(database)
    else:
        other = tmp_path / "other"
        other.touch()
        os.link(other, database)
    before = set(os.listdir(tmp_path))
    why = "symbolic links" if what == "a circle" else "not a file of this user's alone"
    with pytest.raises(ValueError, match=f"cannot be used as the sandbox's database: .*{why}"):
        Sandbox([ADA], database=database).start()
    assert before == set(os.listdir(tmp_path))


def test_a_database_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """A database in a folder that is not there is a ValueError that names it."""
    database = tmp_path / "nowhere" / "shop.db"
    with pytest.raises(ValueError, match="cannot be used") as caught, Sandbox([ADA], database=database):
        pass
    assert str(database) in str(caught.value)


def test_a_database_in_use_is_left_as_it_is(tmp_path: Path) -> None:
    """A second sandbox on a database in use is refused, and leaves no file beside it."""
    database = tmp_path / "shop.db"
    with Sandbox([ADA], database=database):
        with pytest.raises(ValueError, match="locked"), Sandbox(database=database):
            pass
        assert {"shop.db", "shop.db-wal"} == set(modes_in(tmp_path))


@pytest.mark.parametrize("missing", [("O_NOFOLLOW",), ("geteuid",), ("fchmod",), ("O_NOFOLLOW", "geteuid", "fchmod")])
async def test_a_database_opens_where_a_platform_lacks_a_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: tuple[str, ...]
) -> None:
    """A database is made and opened on a platform without users, modes or links of that kind."""
    for name in missing:
        monkeypatch.delattr(os, name)
    for _ in range(2):
        with Sandbox([ADA], database=tmp_path / "shop.db") as shop:
            async with AsyncSession(shop.api_key, shop_id=38, base_url=shop.base_url) as session:
                assert "ada@example.com" == (await get_customer(session, 7)).email
