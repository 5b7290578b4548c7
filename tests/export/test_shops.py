"""Exports of many shops: a file for each shop, or one file for all."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path
from traceback import TracebackException
from typing import Any

import attrs
import pyarrow.parquet as pq
import pytest

from shopsdk import AsyncSession, AuthenticationError, NotFoundError, SessionStateError, get_customer
from shopsdk.export import CheckpointError, ExportProgress, export_customers, export_shops
from shopsdk.export._part import PartFile, checkpoint_path, open_part, part_path
from shopsdk.sandbox import Sandbox
from tests.support.export import StopHereError, read_rows
from tests.support.servers import RawServer, ReceivedRequest, Wire, answer, page_of, raw_server

SHOPS = (11, 22, 33)


@attrs.define
class Mall:
    """Several shops behind one address: shop n has 2n customers; one may be closed."""

    server: RawServer
    closed: set[int] = attrs.Factory(set)
    busy: int = 0
    """A shop that refuses its first request for the rate limit, once all shops have been asked."""
    held: list[tuple[ReceivedRequest, Wire]] = attrs.Factory(list)

    def answer(self, heard: ReceivedRequest, wire: Wire) -> None:
        shop, page = int(heard.target.split("/")[3]), heard.json["page"]
        per_page = heard.json["perPage"]
        if shop in self.closed:
            wire.send(answer({"message": f"No query results for model [Shop] {shop}"}, status=404))
            return
        if self.busy:
            self.held.append((heard, wire))
            if len(self.held) == len(SHOPS):
                self.let_go()
            return
        ids = range(1, 2 * shop + 1)
        rows = [{"id": i, "email": f"{shop}-{i}@example.com"} for i in ids[(page - 1) * per_page : page * per_page]]
        wire.send(answer(page_of(rows, page, last=-(-len(ids) // per_page), per_page=per_page, total=len(ids))))

    def let_go(self) -> None:
        busy, self.busy = self.busy, 0
        for heard, wire in sorted(self.held, key=lambda held: f"/{busy}/" not in held[0].target):
            if f"/{busy}/" in heard.target:
                wire.send(answer({"message": "Too Many Attempts."}, status=429, headers={"Retry-After": "0.05"}))
            else:
                self.answer(heard, wire)

    def session(self) -> AsyncSession:
        return self.server.session()


@asynccontextmanager
async def mall() -> AsyncIterator[Mall]:
    async with raw_server() as server:
        made = Mall(server)
        server.behaviours = [made.answer]
        yield made


def expected(shop: int) -> list[str]:
    return [f"{shop}-{i}@example.com" for i in range(1, 2 * shop + 1)]


async def test_a_file_each(tmp_path: Path) -> None:
    """With ``{shop_id}`` in the name, each shop has its own file, and no checkpoint is left."""
    async with mall() as shops, shops.session() as session:
        made = await export_shops(session, tmp_path / "c-{shop_id}.csv", SHOPS, per_page=10)
    assert sorted(os.listdir(tmp_path)) == ["c-11.csv", "c-22.csv", "c-33.csv"]
    assert {shop: [c.email for c in read_rows(tmp_path / f"c-{shop}.csv")] for shop in SHOPS} == {
        shop: expected(shop) for shop in SHOPS
    }
    assert (made.rows, made.failed, list(made.shops)) == (132, {}, [11, 22, 33])


@pytest.mark.parametrize("name", ["c.csv", "c.ndjson", "c.parquet", "c.csv.gz"])
async def test_one_file_in_the_order_given(name: str, tmp_path: Path) -> None:
    """One file holds the shops in the order given, with one header and the shop of each row."""
    async with mall() as shops, shops.session() as session:
        made = await export_shops(session, tmp_path / name, [33, 11, 22], per_page=10)
    assert os.listdir(tmp_path) == [name]
    assert (made.path, made.bytes) == (tmp_path / name, (tmp_path / name).stat().st_size)
    if name == "c.parquet":
        rows = [(row["shop_id"], row["email"]) for row in pq.read_table(tmp_path / name).to_pylist()]
    elif name == "c.ndjson":
        rows = [(row["shop_id"], row["email"]) for row in map(json.loads, (tmp_path / name).read_bytes().splitlines())]
    else:
        import csv
        import gzip

        data = (tmp_path / name).read_bytes()
        text = (gzip.decompress(data) if name.endswith("gz") else data).decode()
        rows = [(int(row["shop_id"]), row["email"]) for row in csv.DictReader(text.splitlines())]
    assert rows == [(shop, email) for shop in (33, 11, 22) for email in expected(shop)]


async def test_a_shop_that_fails_leaves_the_others_whole(tmp_path: Path) -> None:
    """A shop that fails leaves the others whole, and they are not asked for again."""
    async with mall() as shops, shops.session() as session:
        shops.closed.add(22)
        made = await export_shops(session, tmp_path / "c-{shop_id}.csv", SHOPS, per_page=10)
        assert (list(made.shops), list(made.failed)) == ([11, 33], [22])
        assert isinstance(made.failed[22], NotFoundError)
        assert [c.email for c in read_rows(tmp_path / "c-33.csv")] == expected(33)
        shops.closed.clear()
        shops.server.heard.clear()
        made = await export_shops(session, tmp_path / "c-{shop_id}.csv", SHOPS, per_page=10, resume=True)
        assert {heard.target.split("/")[3] for heard in shops.server.heard} == {"22"}
    assert (made.rows, made.failed) == (132, {})
    assert sorted(os.listdir(tmp_path)) == ["c-11.csv", "c-22.csv", "c-33.csv"]


@pytest.mark.parametrize("shop_ids", [(11, 22, 11), [22, 22]])
async def test_a_shop_that_is_named_twice_is_refused(shop_ids: Any, tmp_path: Path) -> None:
    """A shop among the shops twice is a ValueError before anything is sent."""
    async with mall() as shops, shops.session() as session:
        with pytest.raises(ValueError, match=r"^shop_ids must name no shop twice$"):
            await export_shops(session, tmp_path / "c.csv", shop_ids)
        assert not shops.server.heard


@pytest.mark.parametrize("name", ["c.csv", "c.parquet"])
async def test_one_file_waits_for_the_last_shop(name: str, tmp_path: Path) -> None:
    """The one file gets its name when every shop was read; no shop is read twice."""
    async with mall() as shops, shops.session() as session:
        await export_shops(session, tmp_path / f"unbroken-{name}", SHOPS, per_page=10)
        shops.closed.add(22)
        made = await export_shops(session, tmp_path / name, SHOPS, per_page=10)
        assert (made.path, list(made.failed)) == (None, [22])
        assert not (tmp_path / name).exists()
        with pytest.raises(FileExistsError, match="unfinished"):
            await export_shops(session, tmp_path / name, SHOPS, per_page=10)
        shops.closed.clear()
        shops.server.heard.clear()
        made = await export_shops(session, tmp_path / name, SHOPS, per_page=10, resume=True)
        assert {heard.target.split("/")[3] for heard in shops.server.heard} == {"22"}
    assert (tmp_path / name).read_bytes() == (tmp_path / f"unbroken-{name}").read_bytes()
    assert sorted(os.listdir(tmp_path)) == [name, f"unbroken-{name}"]


async def test_every_export_that_waits_for_the_rate_limit_reports_it(tmp_path: Path) -> None:
    """Every export that a rate limit holds up reports the wait, whichever met it."""
    reports: list[ExportProgress] = []
    async with mall() as shops, shops.session() as session:
        shops.busy = 22
        made = await export_shops(session, tmp_path / "c.csv", SHOPS, per_page=10, on_progress=reports.append)
    waited = [(p.shop_id, p.reason, p.status) for p in reports if p.stage == "waiting"]
    assert set(waited) == {(shop, "RateLimitedError", 429) for shop in SHOPS}
    assert {shop: summary.retries for shop, summary in made.shops.items()} == {11: 0, 22: 1, 33: 0}
    assert all(summary.waited > 0 for summary in made.shops.values())


async def test_what_a_callback_raises_comes_as_it_is(tmp_path: Path) -> None:
    """An exception from a callback is raised as it is, not in a group, and the pages are kept."""

    def stop(progress: ExportProgress) -> None:
        if progress.shop_id == 33 and progress.page == 2:
            raise StopHereError

    async with mall() as shops, shops.session() as session:
        with pytest.raises(StopHereError):
            await export_shops(session, tmp_path / "c.csv", SHOPS, per_page=10, concurrency=1, on_progress=stop)
        made = await export_shops(session, tmp_path / "c.csv", SHOPS, per_page=10, resume=True)
    assert (made.shops[33].resumed, made.rows) == (20, 132)


async def test_names_are_looked_at_before_anything_is_sent(tmp_path: Path) -> None:
    """All names are checked before anything is sent."""
    (tmp_path / "c-33.csv").write_text("precious")
    (tmp_path / "c.csv").write_text("precious")
    async with mall() as shops, shops.session() as session:
        for name in ("c-{shop_id}.csv", "c.csv"):
            with pytest.raises(FileExistsError):
                await export_shops(session, tmp_path / name, SHOPS)
        assert not shops.server.heard
    assert sorted(os.listdir(tmp_path)) == ["c-33.csv", "c.csv"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shop_ids": []}, "at least one shop"),
        ({"shop_ids": [0]}, "shop_id"),
        ({"shop_ids": [1], "shops_at_once": 0}, "shops_at_once"),
        ({"shop_ids": [1], "columns": ["x"]}, "not a column"),
    ],
)
async def test_wrong_arguments(arguments: dict[str, Any], message: str, tmp_path: Path) -> None:
    """Wrong arguments are refused before anything is sent."""
    async with mall() as shops, shops.session() as session:
        with pytest.raises(ValueError, match=message):
            await export_shops(session, tmp_path / "c.csv", **arguments)
        assert not shops.server.heard


def begin_another(target: Path, *, suspended: bool) -> PartFile:
    """Begin an export to a name as another process would, and leave it at work or suspended."""
    part = open_part(target, {}, b"another's", resume=False)
    if suspended:
        part.add(b" page", attrs.evolve(part.position, page=1, ids=[1], rows=1))
        part.suspend()
    return part


@pytest.mark.parametrize("suspended", [False, True])
async def test_clearing_up_leaves_what_another_export_has_begun_since(tmp_path: Path, suspended: bool) -> None:
    """Once a shop's file is whole, a new export to its name keeps its files when the first one clears up."""
    begun: list[PartFile] = []

    def show(progress: ExportProgress) -> None:
        if progress.stage == "reading" and progress.shop_id == 33 and not begun:
            begun.append(begin_another(tmp_path / "c-11.csv", suspended=suspended))

    async with mall() as shops, shops.session() as session:
        made = await export_shops(
            session, tmp_path / "c-{shop_id}.csv", SHOPS, shops_at_once=1, per_page=10, on_progress=show
        )
    assert (made.failed, len(begun)) == ({}, 1)
    assert sorted(os.listdir(tmp_path)) == [
        *(".c-11.csv.part", ".c-11.csv.part.checkpoint"),
        *("c-11.csv", "c-22.csv", "c-33.csv"),
    ]
    assert part_path(tmp_path / "c-11.csv").read_bytes().startswith(b"another's")
    begun[0].close()


@pytest.mark.parametrize("name", ["all.csv", "all.parquet"])
async def test_one_file_of_many_shops_leaves_another_export_to_its_name_alone(tmp_path: Path, name: str) -> None:
    """The one file is not made over an export to the same name that is under way; its pieces are kept."""
    target = tmp_path / name
    begun: list[PartFile] = []

    def show(progress: ExportProgress) -> None:
        if progress.stage == "done" and progress.shop_id == 33:
            begun.append(begin_another(target, suspended=False))

    async with mall() as shops, shops.session() as session:
        with pytest.raises(CheckpointError, match="another export is at work on"):
            await export_shops(session, target, SHOPS, shops_at_once=1, per_page=10, on_progress=show)
        assert part_path(target).read_bytes() == b"another's"
        begun[0].suspend()
        made = await export_shops(session, target, SHOPS, per_page=10, resume=True)
    assert (made.rows, os.listdir(tmp_path)) == (132, [name])


async def test_one_file_of_many_shops_does_not_undo_an_unfinished_export(tmp_path: Path) -> None:
    """An unfinished export of one shop to the same name is kept when the pieces of many shops are resumed."""
    target = tmp_path / "all.csv"

    def show(progress: ExportProgress) -> None:
        if progress.rows >= 20:
            raise StopHereError

    async with mall() as shops, shops.session() as session:
        with pytest.raises(StopHereError):
            await export_shops(session, target, SHOPS, shops_at_once=1, per_page=10, on_progress=show)
        with pytest.raises(StopHereError):
            await export_customers(session, target, shop_id=11, per_page=10, on_progress=show)
        kept = part_path(target).read_bytes()
        with pytest.raises(FileExistsError, match="an unfinished export of"):
            await export_shops(session, target, SHOPS, per_page=10, resume=True)
        assert part_path(target).read_bytes() == kept
        await export_shops(session, target, SHOPS, per_page=10, resume=True, if_exists="replace")
    assert os.listdir(tmp_path) == ["all.csv"]


@pytest.mark.parametrize("if_exists", ["Refuse", "", None, 1])
@pytest.mark.parametrize("name", ["all.csv", "c-{shop_id}.csv"])
async def test_a_misspelt_if_exists_replaces_nothing(if_exists: Any, name: str, tmp_path: Path) -> None:
    """``if_exists`` is one of three words, and anything else is refused before anything is sent or written."""
    (tmp_path / name).write_text("precious")
    async with mall() as shops, shops.session() as session:
        with pytest.raises(ValueError, match="if_exists must be"):
            await export_shops(session, tmp_path / name, SHOPS, if_exists=if_exists)
        assert not shops.server.heard
    assert (tmp_path / name).read_text() == "precious"


async def test_an_empty_checkpoint_of_a_piece_replaces_nothing(tmp_path: Path) -> None:
    """A checkpoint that holds no work, as a kill may leave it, is nothing to go on with."""
    checkpoint_path(tmp_path / "all.csv.11").touch(mode=0o600)
    (tmp_path / "all.csv").write_text("precious")
    async with mall() as shops, shops.session() as session:
        with pytest.raises(FileExistsError):
            await export_shops(session, tmp_path / "all.csv", SHOPS, resume=True)
    assert (tmp_path / "all.csv").read_text() == "precious"


@pytest.mark.parametrize("name", ["all.csv", "all.parquet"])
@pytest.mark.parametrize("edited", [False, True])
async def test_the_one_file_is_known_after_a_kill_behind_its_name(
    name: str, edited: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a kill between the final name and the end, the file is finished again, unless somebody has changed it."""
    target = tmp_path / name

    def killed(*_: object) -> None:
        raise StopHereError

    async with mall() as shops, shops.session() as session:
        with monkeypatch.context() as broken:
            broken.setattr("shopsdk.export._shops.remove_leftovers", killed)
            broken.setattr("shopsdk.export._shops.remove", lambda _: None)
            with pytest.raises(StopHereError):
                await export_shops(session, target, SHOPS, per_page=10)
        whole = target.read_bytes()
        if edited:
            target.write_bytes(whole + b"mine")
            with pytest.raises(FileExistsError, match="is not the file that an earlier run"):
                await export_shops(session, target, SHOPS, per_page=10, resume=True)
            assert target.read_bytes() == whole + b"mine"
        made = await export_shops(
            session, target, SHOPS, per_page=10, resume=True, if_exists="replace" if edited else "refuse"
        )
    assert (made.rows, target.read_bytes() == whole, os.listdir(tmp_path)) == (132, True, [name])


async def test_an_export_that_was_suspended_meanwhile_is_kept(tmp_path: Path) -> None:
    """An export to the one file's name that began meanwhile, and is unfinished, is not made over."""
    target = tmp_path / "all.csv"

    def show(progress: ExportProgress) -> None:
        if progress.stage == "done" and progress.shop_id == 33:
            begin_another(target, suspended=True)

    async with mall() as shops, shops.session() as session:
        with pytest.raises(CheckpointError, match="was begun meanwhile"):
            await export_shops(session, target, SHOPS, shops_at_once=1, per_page=10, on_progress=show)
        assert part_path(target).read_bytes() == b"another's page"
        assert not target.exists()
        made = await export_shops(session, target, SHOPS, per_page=10, resume=True, if_exists="replace")
    assert (made.rows, os.listdir(tmp_path)) == (132, ["all.csv"])


async def test_two_names_of_one_file_are_refused(tmp_path: Path) -> None:
    """Two shops whose names lead to one file are refused before anything is sent."""
    (tmp_path / "c-11.csv").write_text("old")
    (tmp_path / "c-22.csv").symlink_to("c-11.csv")
    async with mall() as shops, shops.session() as session:
        with pytest.raises(ValueError, match="a file for each shop"):
            await export_shops(session, tmp_path / "c-{shop_id}.csv", [11, 22], if_exists="replace")
        assert not shops.server.heard


async def test_leftovers_that_cannot_be_removed_are_no_failure(tmp_path: Path) -> None:
    """Exports that are whole are reported as whole, though something lies at the name of a working file."""

    def show(progress: ExportProgress) -> None:
        if progress.stage == "reading" and progress.shop_id == 33:
            part_path(tmp_path / "c-11.csv").mkdir(exist_ok=True)

    async with mall() as shops, shops.session() as session:
        made = await export_shops(
            session, tmp_path / "c-{shop_id}.csv", SHOPS, shops_at_once=1, per_page=10, on_progress=show
        )
    assert (made.rows, made.failed) == (132, {})


async def test_a_file_at_the_name_of_a_part_that_is_gone_is_left_alone(tmp_path: Path) -> None:
    """Once a shop's file has its name, a file that somebody puts at the name of its part is not removed."""

    def show(progress: ExportProgress) -> None:
        if progress.stage == "reading" and progress.shop_id == 33:
            part_path(tmp_path / "c-11.csv").write_text("somebody else's")

    async with mall() as shops, shops.session() as session:
        await export_shops(session, tmp_path / "c-{shop_id}.csv", SHOPS, shops_at_once=1, per_page=10, on_progress=show)
    assert part_path(tmp_path / "c-11.csv").read_text() == "somebody else's"
    assert not checkpoint_path(tmp_path / "c-11.csv").exists()


@attrs.define
class Keys:
    """A ``connect`` for shops with a server and a key each. It notes what it was asked for, and what it returned."""

    servers: Mapping[int, Sandbox]
    wrong: dict[int, Callable[[], Any]] = attrs.Factory(dict)
    """What some shops get in the place of a session."""
    asked: list[int] = attrs.Factory(list)
    made: list[AsyncSession] = attrs.Factory(list)

    def __call__(self, shop_id: int) -> AsyncSession:
        self.asked.append(shop_id)
        if shop_id in self.wrong:
            given: AsyncSession = self.wrong[shop_id]()
            return given
        self.made.append(self.session(shop_id))
        return self.made[-1]

    def session(self, shop_id: int, *, key: str | None = None) -> AsyncSession:
        """Make a session whose default shop is another one, which must not count."""
        server = self.servers[shop_id]
        return AsyncSession(server.api_key if key is None else key, shop_id=999, base_url=server.base_url)

    def states(self) -> set[str]:
        return {repr(session).rpartition(" ")[2].rstrip(">") for session in self.made}

    def forget(self) -> None:
        self.wrong.clear()
        for server in self.servers.values():
            server.requests.clear()

    def heard(self) -> list[int]:
        return [shop_id for shop_id, server in self.servers.items() if server.requests]


CANARY = "10001|canaryCanaryCanaryCanary0123456789"


@pytest.fixture
def keys() -> Iterator[Keys]:
    """The shops 11, 22 and 33, of 2n customers each, each with a server and a key of its own."""
    with ExitStack() as opened:
        yield Keys(
            {
                shop_id: opened.enter_context(Sandbox(2 * shop_id, shop_id=shop_id, api_key=f"{CANARY}{shop_id}"))
                for shop_id in SHOPS
            }
        )


def shown_of(error: BaseException) -> list[str]:
    """Return all that a traceback with locals shows of an error outside of these tests, which know the key."""
    trace = TracebackException.from_exception(error, capture_locals=True)
    frames = [frame for frame in trace.stack if frame.filename != __file__]
    return [str(error), *trace.format_exception_only(), *(str(frame.locals) for frame in frames)]


BOTH = pytest.mark.parametrize("name", ["all.csv", "c-{shop_id}.csv"])


def rows_of(folder: Path, name: str) -> list[tuple[int, int]]:
    """Read the shops and the ids of the rows that were exported, in order."""
    if "{shop_id}" in name:
        return [(shop, c.id) for shop in SHOPS for c in read_rows(folder / f"c-{shop}.csv")]
    lines = (folder / name).read_text().splitlines()[1:]
    return [(int(shop), int(customer)) for shop, customer, *_ in (line.split(",") for line in lines)]


def files_of(folder: Path, shop_id: int) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob(f"*{shop_id}*")}


def all_rows(keys: Keys) -> list[tuple[int, int]]:
    return [(shop_id, c.id) for shop_id, server in keys.servers.items() for c in server.customers()]


@BOTH
@pytest.mark.parametrize("at_once", [1, 4])
async def test_each_shop_has_a_session_of_its_own(name: str, at_once: int, keys: Keys, tmp_path: Path) -> None:
    """``connect`` is called once for each shop; its session asks for that shop alone, and is closed."""
    made = await export_shops(keys, tmp_path / name, list(SHOPS), per_page=10, shops_at_once=at_once)
    assert (made.failed, made.rows, keys.asked) == ({}, 132, list(SHOPS))
    assert rows_of(tmp_path, name) == all_rows(keys)
    assert (len(keys.made), keys.states()) == (3, {"closed"})
    assert sorted(os.listdir(tmp_path)) == sorted({name.format(shop_id=shop) for shop in SHOPS})


async def test_a_session_is_made_when_the_turn_of_its_shop_comes(keys: Keys, tmp_path: Path) -> None:
    """No more sessions are open than shops are under way."""
    states: list[tuple[int, set[str]]] = []

    def show(progress: ExportProgress) -> None:
        if progress.stage == "done":
            states.append((len(keys.made), {repr(session).rpartition(" ")[2] for session in keys.made[:-1]}))

    await export_shops(keys, tmp_path / "all.csv", SHOPS, shops_at_once=1, on_progress=show)
    assert states == [(1, set()), (2, {"closed>"}), (3, {"closed>"})]


async def test_a_session_that_is_passed_stays_open(keys: Keys, tmp_path: Path) -> None:
    """The session of the caller is the caller's to close."""
    async with keys.session(11) as session:
        await export_shops(session, tmp_path / "c.csv", [11])
        assert (await get_customer(session, 1001, shop_id=11)).id == 1001


class OddError(Exception):
    """What a user's own ``connect`` may raise."""


def raising(error: BaseException) -> Callable[[], AsyncSession]:
    def fail() -> AsyncSession:
        raise error

    return fail


@BOTH
@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (lambda keys: keys.session(22, key="wrong"), AuthenticationError, "401"),
        (lambda _: AsyncSession("two words"), ValueError, "^api_key must be printable ASCII"),
        (lambda _: AsyncSession(), ValueError, "^api_key is missing"),
        (lambda _: os.environ["NO_SUCH_KEY"], KeyError, "NO_SUCH_KEY"),
        (lambda _: raising(OddError("odd"))(), OddError, "^odd$"),
        (lambda _: None, TypeError, "^connect must return an AsyncSession, not NoneType$"),
        (lambda _: AsyncSession, TypeError, "^connect must return an AsyncSession, not type$"),
        (lambda _: CANARY, TypeError, "^connect must return an AsyncSession, not str$"),
        (lambda keys: keys.made[0], ValueError, "not that of shop 11 again: pass a session that several shops share"),
    ],
    ids=["401", "bad", "missing", "KeyError", "odd", "None", "class", "key", "same"],
)
async def test_a_shop_whose_key_fails_leaves_the_others_whole(
    name: str, wrong: Callable[[Keys], Any], error: type[Exception], message: str, keys: Keys, tmp_path: Path
) -> None:
    """What comes of one shop's ``connect`` is its error alone; with the right key, ``resume`` reads that shop alone."""
    keys.wrong[22] = lambda: wrong(keys)
    made = await export_shops(keys, tmp_path / name, SHOPS, per_page=10)
    assert (list(made.shops), list(made.failed)) == ([11, 33], [22])
    with pytest.raises(error, match=message):
        raise made.failed[22]
    assert (made.rows, keys.asked, keys.states()) == (88, list(SHOPS), {"closed"})
    keys.forget()
    made = await export_shops(keys, tmp_path / name, SHOPS, per_page=10, resume=True)
    assert (made.failed, made.rows, keys.heard()) == ({}, 132, [22])
    assert rows_of(tmp_path, name) == all_rows(keys)


@pytest.mark.parametrize("at_once", [1, 4])
async def test_a_session_that_comes_twice_is_closed_once_its_shop_is_whole(
    at_once: int, keys: Keys, tmp_path: Path
) -> None:
    """A session that ``connect`` returns again serves its first shop to the end, whichever is under way."""
    keys.wrong[22] = keys.wrong[33] = lambda: keys.made[0]
    made = await export_shops(keys, tmp_path / "c-{shop_id}.csv", SHOPS, per_page=5, shops_at_once=at_once)
    assert (made.rows, {shop: type(error) for shop, error in made.failed.items()}) == (
        22,
        {22: ValueError, 33: ValueError},
    )
    assert keys.states() == {"closed"}


async def test_a_session_that_is_closed_already_is_an_error_of_its_shop(keys: Keys, tmp_path: Path) -> None:
    """A closed session fails for its shop alone."""
    closed = keys.session(22)
    await closed.close()
    keys.wrong[22] = lambda: closed
    made = await export_shops(keys, tmp_path / "c-{shop_id}.csv", SHOPS)
    assert (list(made.shops), type(made.failed[22])) == ([11, 33], SessionStateError)


class StopAllError(BaseException):
    """What no ``except Exception`` catches."""


@BOTH
@pytest.mark.parametrize("error", [StopAllError, asyncio.CancelledError])
async def test_what_is_no_exception_ends_the_export(
    name: str, error: type[BaseException], keys: Keys, tmp_path: Path
) -> None:
    """A ``BaseException`` of ``connect`` is raised as it is, and every session is closed."""
    keys.wrong[22] = raising(error())
    with pytest.raises(error):
        await export_shops(keys, tmp_path / name, SHOPS)
    assert (keys.states(), asyncio.all_tasks()) == ({"closed"}, {asyncio.current_task()})


@BOTH
@pytest.mark.parametrize("cancelled", [False, True])
async def test_an_interrupted_export_closes_its_sessions_and_goes_on(
    name: str, cancelled: bool, keys: Keys, tmp_path: Path
) -> None:
    """A cancelled export, or one that a callback ends, closes every session; resumed, it gives the same bytes."""
    whole = tmp_path / "whole"
    whole.mkdir()
    await export_shops(keys, whole / name, SHOPS, per_page=5)
    folder = tmp_path / "interrupted"
    folder.mkdir()
    keys.made.clear()

    def stop(progress: ExportProgress) -> None:
        if progress.shop_id == 33 and progress.page == 4:
            if not cancelled:
                raise StopHereError
            task.cancel()

    task = asyncio.create_task(export_shops(keys, folder / name, SHOPS, per_page=5, concurrency=1, on_progress=stop))
    with pytest.raises(asyncio.CancelledError if cancelled else StopHereError):
        await task
    assert keys.states() == {"closed"}
    assert asyncio.all_tasks() == {asyncio.current_task()}
    made = await export_shops(keys, folder / name, SHOPS, per_page=5, resume=True)
    assert (made.failed, made.rows, made.shops[33].resumed >= 15) == ({}, 132, True)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == {p.name: p.read_bytes() for p in whole.iterdir()}
    assert keys.states() == {"closed"}


@BOTH
@pytest.mark.parametrize("how", [{"resume": True}, {"if_exists": "same"}])
async def test_another_address_is_an_error_of_its_shop(name: str, how: dict[str, Any], tmp_path: Path) -> None:
    """What was read at one address is not gone on with, nor begun anew, at another that ``connect`` leads to."""

    def stop(progress: ExportProgress) -> None:
        if progress.shop_id == 33 and progress.page == 2:
            raise StopHereError

    async with mall() as shops:
        path = {22: "/v1", 33: "/v1"}

        def connect(shop_id: int) -> AsyncSession:
            return AsyncSession("key", base_url=shops.server.base_url.replace("/v1", path[shop_id]))

        with pytest.raises(StopHereError):
            await export_shops(
                connect, tmp_path / name, [22, 33], per_page=5, concurrency=1, shops_at_once=1, on_progress=stop
            )
        before = files_of(tmp_path, 33)
        path[33] = "/v2"
        made = await export_shops(connect, tmp_path / name, [22, 33], per_page=5, **how)
        assert (list(made.shops), list(made.failed)) == ([22], [33])
        assert isinstance(made.failed[33], CheckpointError if "resume" in how else FileExistsError)
        assert files_of(tmp_path, 33) == before
        path[33] = "/v1"
        made = await export_shops(connect, tmp_path / name, [22, 33], per_page=5, resume=True)
    assert (made.rows, made.failed) == (110, {})


@pytest.mark.parametrize(
    ("given", "shop_ids", "error", "message"),
    [
        (None, [11], TypeError, "session_or_connect must be an AsyncSession, or a function that makes one, not None"),
        (CANARY, [11], TypeError, "not str$"),
        ("connect", [], ValueError, "at least one shop"),
        ("connect", [11, 0], ValueError, "shop_id must be at least 1"),
        ("connect", [11, None], TypeError, "shop_ids must be whole numbers"),
        ("connect", ["11"], TypeError, "shop_id must be an int"),
    ],
)
async def test_wrong_arguments_make_no_session(
    given: Any, shop_ids: list[Any], error: type[Exception], message: str, keys: Keys, tmp_path: Path
) -> None:
    """Wrong arguments, and names that are taken, are refused before ``connect`` is called for any shop."""
    with pytest.raises(error, match=message) as caught:
        await export_shops(keys if given == "connect" else given, tmp_path / "c.csv", shop_ids)
    shown = shown_of(caught.value)
    (tmp_path / "c.csv").write_text("precious")
    with pytest.raises(FileExistsError):
        await export_shops(keys, tmp_path / "c.csv", SHOPS)
    assert (keys.asked, [text for text in shown if CANARY in text]) == ([], [])


async def test_a_broken_environment_is_no_matter_of_connect(
    keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With ``connect``, the environment counts for nothing that ``connect`` does not ask it for."""
    for name, value in (("SHOP_ID", "x"), ("BASE_URL", "ftp://x"), ("API_KEY", "")):
        monkeypatch.setenv(f"SHOPSDK_{name}", value)
    monkeypatch.setenv("SSL_CERT_FILE", "/no/such/file")
    made = await export_shops(keys, tmp_path / "c.csv", SHOPS)
    assert (made.rows, made.failed) == (132, {})


@BOTH
async def test_no_key_is_left_anywhere(name: str, keys: Keys, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """No key stands in a file, checkpoints included, in the log, the summary, an error, or a frame of ours."""
    caplog.set_level("DEBUG")
    files: list[bytes] = []

    def look(progress: ExportProgress) -> None:
        for path in tmp_path.iterdir():
            with suppress(FileNotFoundError):  # it got its final name just now
                files.append(path.read_bytes())

    keys.wrong[22] = lambda: keys.session(22, key=f"{CANARY}wrong")
    keys.wrong[33] = lambda: CANARY
    made = await export_shops(keys, tmp_path / name, SHOPS, per_page=5, on_progress=look)
    assert list(made.failed) == [22, 33]
    words = [repr(made), caplog.text, *(content.decode() for content in files)]
    for error in made.failed.values():
        words += shown_of(error)
    assert files
    assert [] == [text for text in words if CANARY[:16] in text or CANARY[6:] in text]
