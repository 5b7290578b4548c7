"""CSV to its users: the bytes of Python's ``csv`` module, and no formula for any spreadsheet."""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from datetime import UTC
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shopsdk import AffiliateReferrer, AsyncSession, Customer
from shopsdk.export import (
    COLUMNS,
    CheckpointError,
    escape_formula,
    export_customers,
    export_shops,
    to_plain,
    unescape_formula,
)
from shopsdk.export._rows import FIELDS, TEXT_COLUMNS
from shopsdk.export._text import compressor, csv_encoder, ndjson_encoder
from shopsdk.sandbox import Sandbox
from tests.support.cli import Shell
from tests.support.export import StopHereError, stop_at

FORMULA = {*"=+-@\t\r"}
HOSTILE = [
    "=1+1",
    "'=x",
    "''-",
    'a;"=1+1;b',
    "a\t=1",
    'a\n"=1+1;',
    "a\r\n@x",
    "a\r=1",
    "\0=1",
    'a;\0"=1',
    "x,=1",
    ';"',
    "\t",
    "\r",
    "\n=",
]

texts = st.text("=-@\t\r\n'\",;\0a", max_size=6) | st.text(st.characters(codec="utf-8"), max_size=12)


def customers(numbers: int = -(2**63)) -> st.SearchStrategy[Customer]:
    """Any customers, whose numbers are at least ``numbers``."""
    whole = st.integers(numbers, 2**63 - 1)
    money = st.decimals(allow_nan=False, allow_infinity=False, min_value=max(numbers, -(10**20)))
    times = st.datetimes(timezones=st.just(UTC))
    return st.builds(
        Customer,
        id=whole,
        email=texts,
        discord_id=st.none() | texts,
        discord_username=st.none() | texts,
        balance=st.none() | money,
        total_completed=st.none() | whole,
        total_spent_usd=st.none() | money,
        last_completed_at=st.none() | times,
        newsletter_at=st.none() | times,
        affiliate_code=st.none() | texts,
        affiliate_referrer_id=st.none() | whole,
        affiliate_referrer=st.none() | st.builds(AffiliateReferrer, id=whole, email=texts),
    )


def chosen(names: Sequence[str]) -> st.SearchStrategy[list[str]]:
    """Any columns of these, in any order."""
    return st.just(list(names)) | st.lists(st.sampled_from(names), min_size=1, unique=True)


def csv_bytes(made: Sequence[Customer], columns: Sequence[str], *, escape_formulas: bool = True) -> bytes:
    """Return what the export writes."""
    encoder = csv_encoder(columns, 38, compressor(None), bom=False, escape_formulas=escape_formulas)
    return encoder.prefix + encoder.encode(made)


def plain_rows(made: Sequence[Customer], columns: Sequence[str]) -> list[dict[str, Any]]:
    """Return the same rows as plain data, without the encoders."""
    every = []
    for customer in made:
        row = to_plain(customer) | {"shop_id": 38}
        row["affiliate_referrer_email"] = row["affiliate_referrer"] and row["affiliate_referrer"]["email"]
        every.append({name: row[name] for name in columns})
    return every


def by_the_csv_module(made: Sequence[Customer], columns: Sequence[str], *, escape_formulas: bool = True) -> bytes:
    """Return what Python's ``csv`` module writes of these rows."""
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, columns, lineterminator="\r\n")
    writer.writeheader()
    for row in plain_rows(made, columns):
        for name in TEXT_COLUMNS & {*columns}:
            row[name] = escape_formula(row[name]) if escape_formulas and row[name] else row[name]
        writer.writerow(row)
    return out.getvalue().encode()


@given(st.lists(customers(), min_size=1, max_size=4), chosen([*COLUMNS, "shop_id"]), st.booleans())
@example([Customer(id=1, email=""), Customer(id=2, email="=")], ["affiliate_code"], True)
@example([Customer(id=1, email=text) for text in HOSTILE], ["email", "id"], True)
@example([Customer(id=1, email="a", balance=Decimal("1E+3"), total_spent_usd=Decimal("1E-9"))], [*COLUMNS], True)
def test_the_bytes_are_those_of_the_csv_module(made: list[Customer], columns: list[str], escape: bool) -> None:
    """CSV is byte for byte what Python's ``csv`` module writes, with any columns, escaped or not."""
    wanted = by_the_csv_module(made, columns, escape_formulas=escape)
    assert csv_bytes(made, columns, escape_formulas=escape) == wanted


@pytest.mark.parametrize(
    "text",
    ["=", "'@", "\0=", ";+", "a\t-", "\t", "\r", "\n", '"', ",", "a\r=", "\0", " ", "\v", "\u2028", "+", "-", "@"],
)
def test_one_text_among_plain_ones_is_written_as_it_must(text: str) -> None:
    """A text that needs an apostrophe or quotes gets them, though it is the only one of its column."""
    made = [Customer(id=n, email=each) for n, each in enumerate(("a@example.com", text, "", "b"), 1)]
    for columns in (["id", "email"], ["email"]):
        assert csv_bytes(made, columns) == by_the_csv_module(made, columns)


@given(st.lists(customers(), min_size=1, max_size=4), chosen([*FIELDS, "affiliate_referrer_email", "shop_id"]))
@example([Customer(id=1, email="a", balance=Decimal("1E+3"), total_spent_usd=Decimal("1E-9"))], [*FIELDS])
def test_lines_of_json_are_the_plain_rows(made: list[Customer], columns: list[str]) -> None:
    """NDJSON is byte for byte the plain rows, whole or with any columns."""
    encode = msgspec.json.Encoder().encode_lines
    assert ndjson_encoder(columns, 38, compressor(None)).encode(made) == encode(plain_rows(made, columns))
    assert ndjson_encoder(None, 38, compressor(None)).encode(made) == encode([to_plain(customer) for customer in made])


def cells(text: str, delimiters: str, *, quotes: bool) -> Iterator[str]:
    """Read all cells of a CSV file, as spreadsheets do: several delimiters at once, and quotes only round a cell."""
    if len(delimiters) == 1:
        how: Any = {} if quotes else {"quoting": csv.QUOTE_NONE}
        for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiters, **how):
            yield from row
        return
    at, end = 0, len(text)
    while at < end:
        cell = ""
        if text[at] == '"':
            at += 1
            while at < end and not (text[at] == '"' and text[at + 1 : at + 2] != '"'):
                cell += text[at]
                at += 2 if text[at] == '"' else 1
            at += 1
        while at < end and text[at] not in delimiters + "\r\n":
            cell += text[at]
            at += 1
        yield cell
        at += 1


@pytest.mark.parametrize(
    ("delimiters", "quotes"), [(",", True), (";", True), (";", False), ("\t", True), ("\t", False), (",;\t", True)]
)
@given(made=st.lists(customers(numbers=0), min_size=1, max_size=4), columns=chosen([*COLUMNS, "shop_id"]))
@example(made=[Customer(id=1, email=text, affiliate_code=text) for text in HOSTILE], columns=["id", "email", "shop_id"])
@example(made=[Customer(id=1, email=text, affiliate_code=text) for text in HOSTILE], columns=["affiliate_code"])
def test_no_cell_is_a_formula_under_any_delimiter(
    delimiters: str, quotes: bool, made: list[Customer], columns: list[str]
) -> None:
    """No text begins a formula in any cell, whether a spreadsheet splits by commas, ``;``, tabs or all of these."""
    written = csv_bytes(made, columns).decode()
    for text in (written, written.replace("\0", "")):  # LibreOffice drops NULs
        for cell in cells(text, delimiters, quotes=quotes):
            # A reader by another delimiter may take an end of line for quoted.
            assert re.sub(r"\A(\r\n)+", "", cell)[:1] not in FORMULA, cell


@given(texts)
@example("a\t\0=")
@example('a;"=1')
@example(";'=1")
def test_escaped_text_is_no_formula_and_comes_back(text: str) -> None:
    """Escaped text is no formula to a spreadsheet in any part, and unescapes to the original."""
    cell = escape_formula(text)
    for parts in ([cell], *(cell.split(delimiter) for delimiter in ";\t\r\n")):
        assert all(part.lstrip('"\0')[:1] not in FORMULA for part in parts if part)
    assert unescape_formula(cell) == text
    assert cell == text or FORMULA & {*text}


@pytest.mark.parametrize(
    "text", ["a", "a-b", "a;b", "a\tb", "a,=b", "O'Neil", "'", '"', "a@b.c; d@e.f", "a'=b", "a =b", "a\nb"]
)
def test_text_that_begins_no_formula_stays(text: str) -> None:
    """Text that begins no formula is not changed."""
    assert escape_formula(text) == text


@given(st.lists(texts, min_size=1, max_size=8), st.booleans())
@example(HOSTILE, True)
@example(HOSTILE, False)
def test_csv_reads_back_cell_for_cell(read: list[str], escape: bool) -> None:
    """CSV reads back cell for cell, with quotes, line breaks and lone CRs; a negative balance stays a number."""
    made = [
        Customer(id=n, email=text, discord_username=text, affiliate_code=text or None, balance=Decimal("-5.00"))
        for n, text in enumerate(read, 1)
    ]
    rows = list(csv.DictReader(io.StringIO(csv_bytes(made, COLUMNS, escape_formulas=escape).decode(), newline="")))
    for name in ("email", "discord_username", "affiliate_code"):
        assert [unescape_formula(row[name]) if escape else row[name] for row in rows] == read
    assert {row["balance"] for row in rows} == {"-5.00"}


@pytest.mark.parametrize("name", ["c.csv", "{shop_id}.csv", "all.csv"])
async def test_text_is_left_alone_on_request(name: str, tmp_path: Path) -> None:
    """``escape_formulas=False`` leaves text alone, in one shop's file and in files of many."""
    written = {}
    with Sandbox([Customer(id=1, email="a@example.com", discord_username="@bob;=1+1", affiliate_code="x")]) as shop:
        async with shop.session() as session:
            for escape in (True, False):
                (folder := tmp_path / str(escape)).mkdir()
                options: Any = {"columns": ["discord_username"], "escape_formulas": escape}
                if name == "c.csv":
                    await export_customers(session, folder / name, **options)
                else:
                    assert not (await export_shops(session, folder / name, [38], **options)).failed
                (file,) = folder.iterdir()
                written[escape] = file.read_bytes()
    assert written == {True: b"discord_username\r\n'@bob;'=1+1\r\n", False: b"discord_username\r\n@bob;=1+1\r\n"}


def test_raw_is_the_commands_word_for_it(shell: Shell, shop: Sandbox) -> None:
    """``--raw`` leaves text alone."""
    shop.add_customer(email="z@example.com", discord_username="=1+1")
    for words, cell in (((), "'=1+1"), (("--raw",), "=1+1")):
        ended = shell.run("export", "-", "--format", "csv", "--columns", "discord_username", *words)
        assert ended.out.splitlines()[-1] == cell


async def test_an_export_is_not_resumed_with_the_other_way_to_write_text(session: AsyncSession, tmp_path: Path) -> None:
    """An export that was begun with escaped text does not go on with raw text, in a file of one shop or of many."""
    with pytest.raises(StopHereError):
        await export_customers(session, tmp_path / "c.csv", per_page=10, on_progress=stop_at(5))
    with pytest.raises(StopHereError):
        await export_shops(session, tmp_path / "all.csv", [38], per_page=10, on_progress=stop_at(5))
    options: Any = {"per_page": 10, "escape_formulas": False, "resume": True}
    with pytest.raises(CheckpointError, match=r"escape_formulas \(was True, now False\)"):
        await export_customers(session, tmp_path / "c.csv", **options)
    failed = (await export_shops(session, tmp_path / "all.csv", [38], **options)).failed
    assert isinstance(failed[38], CheckpointError)
    assert "escape_formulas (was True, now False)" in str(failed[38])
