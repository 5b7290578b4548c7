"""The command ``export``, run in this process: its files, messages and exit codes."""

import csv
import io
import json
import os
import re
import shlex
import sys
from functools import partial
from typing import Any

import pytest

from shopsdk import AsyncSession
from shopsdk.cli._export import _seconds
from shopsdk.sandbox import Fault, Sandbox
from shopsdk.testing import InstantClock
from tests.support.cli import Shell
from tests.support.export import read_rows


@pytest.mark.parametrize("name", ["c.ndjson", "c.csv", "c.parquet", "c.csv.gz", "c.ndjson.zst"])
def test_it_exports_and_says_where(name: str, shell: Shell, shop: Sandbox) -> None:
    """An export writes the whole file and names it."""
    ended = shell.run("export", name)
    assert (ended.code, ended.out) == (0, "")
    assert re.search(r"250 customers in [\d.]+ s ", ended.err)
    assert str(shell.folder / name) in ended.err
    assert read_rows(shell.folder / name) == shop.customers()


def test_the_sandbox_export_works_twice(shell: Shell) -> None:
    """An export of the sandbox can be run again without ``--force``."""
    for _ in range(2):
        assert shell.run("export", "--sandbox", "customers.csv").code == 0
    assert len(read_rows(shell.folder / "customers.csv")) == 250
    assert os.listdir(shell.folder) == ["customers.csv"]


def test_a_sandbox_export_replaces_nothing_real(shell: Shell) -> None:
    """An export of the sandbox replaces no file with other contents."""
    shell.run("export", "customers.csv", "--id", "1001")
    before = (shell.folder / "customers.csv").read_bytes()
    ended = shell.run("export", "--sandbox", "customers.csv")
    assert (ended.code, "--force" in ended.err) == (1, True)
    assert (shell.folder / "customers.csv").read_bytes() == before
    assert shell.run("export", "--sandbox", "--sandbox-customers", "7", "customers.csv", "--force").code == 0
    assert len(read_rows(shell.folder / "customers.csv")) == 7


def test_what_is_there_is_replaced_by_force_alone(shell: Shell, shop: Sandbox) -> None:
    """Only ``--force`` replaces a file."""
    (shell.folder / "c.csv").write_text("precious")
    for words in ((), ("--resume",)):
        ended = shell.run("export", "c.csv", *words)
        assert (ended.code, "it exists" in ended.err, "Traceback" in ended.err) == (1, True, False)
    assert not shop.requests
    assert shell.run("export", "c.csv", "--force").code == 0
    assert read_rows(shell.folder / "c.csv") == shop.customers()


@pytest.mark.parametrize("form", ["ndjson", "csv"])
def test_stdout_gets_data_and_nothing_else(form: str, shell: Shell, shop: Sandbox) -> None:
    """Stdout gets the data alone."""
    ended = shell.run("export", "-", "--format", form, "--json-summary")
    assert ended.code == 0
    if form == "csv":
        ids = [int(row["id"]) for row in csv.DictReader(io.StringIO(ended.out, newline=""))]
    else:
        ids = [json.loads(line)["id"] for line in ended.out.splitlines()]
    assert ids == [c.id for c in shop.customers()]
    assert json.loads(ended.err.splitlines()[0])["rows"] == 250


def test_quiet_says_nothing_and_the_summary_is_for_machines(shell: Shell) -> None:
    """``--quiet`` prints nothing, and ``--json-summary`` prints one JSON object."""
    ended = shell.run("export", "c.csv", "--quiet", "--json-summary")
    assert ended.err == ""
    summary = json.loads(ended.out)
    assert summary["path"] == str(shell.folder / "c.csv")
    assert (summary["rows"], summary["pages"], summary["requests"], summary["retries"]) == (250, 3, 3, 0)
    assert {"waited", "repeats", "reread", "seconds", "bytes", "resumed", "shop_id", "format"} < summary.keys()


def test_options_reach_the_export(shell: Shell, shop: Sandbox) -> None:
    """Every option reaches the export."""
    words = ("--columns", "id, email", "--bom", "--per-page", "50", "--order-direction", "desc", "--subscribed")
    assert shell.run("export", "c.txt", "--format", "csv", "--rate-limit", "1000", *words).code == 0
    text = (shell.folder / "c.txt").read_bytes().decode("utf-8-sig")
    wanted = [c for c in shop.customers() if c.newsletter_at is not None][::-1]
    assert text.splitlines() == ["id,email", *(f"{c.id},{c.email}" for c in wanted)]
    assert shop.requests[0].json is not None
    assert shop.requests[0].json["perPage"] == 50


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("c.txt",), 2, "cannot tell the format"),
        (("c.csv", "--columns", "nope"), 2, "'nope' is not a column"),
        (("c.csv", "--rate-limit", "often"), 2, "requests per seconds"),
        (("-", "--resume"), 2, "need a file"),
        (("no/c.csv",), 1, "there is no such folder"),
        ((".", "--format", "csv"), 1, "it is a folder"),
        (("c.csv", "--shop-id", "39"), 3, "shopsdk: the account of this key has no shop 39 (404)\n"),
        (("c.csv", "--quiet", "--verbose"), 2, "Error: give either --quiet or --verbose, not both\n"),
        (("c.csv", "--shop-ids-file", "none.txt"), 2, "none.txt"),
        (("c.csv", "--shop-ids-file", "bad.txt"), 2, "bad.txt, line 2"),
        (("c.csv", "--shop-ids-file", "empty.txt"), 2, "names no shop"),
        (("c.csv", "--shop-ids-file", "latin.txt"), 2, "latin.txt cannot be read: it is not UTF-8"),
        (("c.csv", "--email", ""), 2, "email"),
    ],
)
def test_failures_are_a_sentence_and_a_code(words: tuple[str, ...], code: int, message: str, shell: Shell) -> None:
    """A failure is one sentence and an exit code, and leaves no file."""
    (shell.folder / "bad.txt").write_text("38\n12345|key\n")
    (shell.folder / "empty.txt").write_text("# none\n\n")
    (shell.folder / "latin.txt").write_bytes(b"38 # caf\xe9\n")
    before = sorted(os.listdir(shell.folder))
    ended = shell.run("export", *words)
    assert (ended.code, ended.out) == (code, "")
    assert message in ended.err
    assert "Traceback" not in ended.err
    assert "|key" not in ended.err
    assert sorted(os.listdir(shell.folder)) == before


class OutageAtThree(list[Any]):
    """A list of requests that closes the shop for good at the third."""

    shop: Sandbox

    def append(self, item: object) -> None:
        super().append(item)
        if len(self) == 3:
            self.shop.fail_next("rate_limit", retry_after=9999, times=100)


def test_an_outage_says_how_to_go_on(shell: Shell) -> None:
    """The message of an outage has the number of rows that are kept, and the command that goes on."""
    with Sandbox(250, faults=[Fault("rate_limit", retry_after=9999)]) as closed:
        shell.enter(closed)
        ended = shell.run("export", "c.csv")
        assert (ended.code, "--resume" in ended.err) == (1, False)  # there is nothing to go on with
        assert os.listdir(shell.folder) == []
    shop = Sandbox(250)
    shop.requests = OutageAtThree()
    shop.requests.shop = shop
    with shop:
        shell.enter(shop)
        ended = shell.run("export", "c.csv", "--per-page", "50", "--concurrency", "1")
    assert ended.code == 1
    assert "customers are kept. To go on from there:\n  shopsdk export c.csv --per-page 50" in ended.err
    assert "--concurrency 1 --resume" in ended.err
    assert sorted(os.listdir(shell.folder)) == [".c.csv.part", ".c.csv.part.checkpoint"]


def test_an_outage_in_a_sandbox_goes_on_in_a_sandbox(shell: Shell, shop: Sandbox) -> None:
    """With ``--sandbox``, the command that goes on has it too, and finishes the file."""
    whole = shell.run("export", "--sandbox", "whole.csv")
    fault = Fault("rate_limit", every=3, retry_after=9999)
    with shell.patch.context() as patch:
        patch.setattr("shopsdk.sandbox.Sandbox", partial(Sandbox, faults=[fault]))
        ended = shell.run("export", "--sandbox", "--", "c.csv")
    assert (whole.code, ended.code) == (0, 1)
    again = shlex.split(ended.err.splitlines()[-1])
    assert again == ["shopsdk", "export", "--sandbox", "--resume", "--", "c.csv"]
    assert shell.run(*again[1:]).code == 0
    assert (shell.folder / "c.csv").read_bytes() == (shell.folder / "whole.csv").read_bytes()
    assert not shop.requests


@pytest.mark.parametrize("files", [False, True])
def test_shops_that_nobody_serves_are_told_once(files: bool, shell: Shell) -> None:
    """If this machine refuses the connections of several shops, one note says that a sandbox may have ended."""
    with Sandbox(1) as shop:
        url = shop.base_url
    shell.patch.setattr("shopsdk.cli._runner.AsyncSession", partial(AsyncSession, clock=InstantClock()))
    shell.patch.setattr("shopsdk.cli._env_file.AsyncSession", partial(AsyncSession, clock=InstantClock()))
    shell.patch.setenv("SHOPSDK_BASE_URL", url)
    words = ["--shop-id", "38", "--shop-id", "39"]
    if files:
        words = []
        for shop_id in (38, 39):
            path = shell.folder / f"{shop_id}.env"
            path.write_text(f"SHOPSDK_API_KEY=k\nSHOPSDK_SHOP_ID={shop_id}\n")
            path.chmod(0o600)
            words += ["--env-file", str(path)]
    ended = shell.run("export", "{shop_id}.csv", *words)
    assert (ended.code, ended.err.count(f"Nothing listens at {url}, ")) == (1, 1)
    assert ended.err.count("Connection refused") == 2


def test_the_time_of_a_short_export_is_no_zero() -> None:
    """Seconds are told with a tenth, and a shorter time with its first digit."""
    assert [_seconds(each) for each in (0.0213, 0.004, 0.123, 2.0, 61.26)] == [
        *("0.02 s", "0.004 s", "0.1 s", "2.0 s", "61.3 s")
    ]


def test_two_shops_of_which_one_is_unknown(shell: Shell, shop: Sandbox) -> None:
    """Of two shops, one that fails is named and gives the exit code, and the other's file is whole."""
    (shell.folder / "ids.txt").write_text("38\n# closed since May\n39 # no such shop\n")
    ended = shell.run("export", "c-{shop_id}.csv", "--shop-ids-file", "ids.txt", "--json-summary")
    assert ended.code == 3
    assert "shopsdk: shop 39: the account of this key has no shop 39 (404)\n" in ended.err
    assert "--resume" in ended.err
    summary = json.loads(ended.out)
    assert (list(summary["shops"]), list(summary["failed"])) == (["38"], ["39"])
    assert read_rows(shell.folder / "c-38.csv") == shop.customers()
    assert "Traceback" not in ended.err
    again = shell.run("export", "c-{shop_id}.csv", "--shop-ids-file", "ids.txt", "--resume", "--debug")
    assert (again.code, "Traceback" in again.err) == (3, True)
    assert shell.run("export", "-", "--shop-id", "38", "--shop-id", "39").code == 2
    assert shell.run("export", "c-{shop_id}.csv", "--shop-id", "38", "--shop-id", "39", "--sandbox").code == 2


def test_a_list_of_one_shop_is_a_list(shell: Shell) -> None:
    """A list of one shop gives the columns and the summary of a list."""
    (shell.folder / "ids.txt").write_bytes(b"\xef\xbb\xbf38\r\n")  # as Windows writes it
    ended = shell.run("export", "c.csv", "--columns", "shop_id,id", "--shop-ids-file", "ids.txt", "--json-summary")
    assert (ended.code, json.loads(ended.out)["shops"]["38"]["rows"]) == (0, 250)
    assert (shell.folder / "c.csv").read_text().startswith("shop_id,id\n38,")
    assert shell.run("export", "-", "--shop-ids-file", "ids.txt").out.count("\n") == 250


def test_the_summary_names_retries_and_waits(shell: Shell, shop: Sandbox) -> None:
    """The summary names retries, waits and pages that were read again."""
    shop.fail_next("rate_limit", retry_after="0.1")
    ended = shell.run("export", "c.csv")
    assert re.search(r"250 customers in \S+ s \(3 pages, 4 requests, 1 of them again, [\d.]+ s waited\): /", ended.err)


def test_one_shop_in_its_own_name(shell: Shell) -> None:
    """``{shop_id}`` in the name is replaced for one shop, too."""
    assert shell.run("export", "c-{shop_id}.csv").code == 0
    assert os.listdir(shell.folder) == ["c-38.csv"]


@pytest.mark.slow
def test_it_loads_pyarrow_and_the_sandbox_only_when_needed(shell: Shell) -> None:
    """The command imports pyarrow and the sandbox only when they are needed."""
    import subprocess

    program = (
        "import sys; sys.argv = ['shopsdk', 'export', 'c.csv']\n"
        "from shopsdk.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print([m for m in ('pyarrow', 'shopsdk.sandbox', 'aiohttp.web') if m in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_several_shops_of_one_sandbox(shell: Shell) -> None:
    """Shops that one sandbox serves are exported into a file each, or into one."""
    shops = ("--shop-id", "38", "--shop-id", "39")
    with Sandbox(30, shop_id=[38, 39]) as mall:
        shell.enter(mall)
        assert shell.run("export", *shops, "customers-{shop_id}.ndjson").code == 0
        for shop_id in (38, 39):
            assert read_rows(shell.folder / f"customers-{shop_id}.ndjson") == mall.customers(shop_id=shop_id)
        ended = shell.run("export", *shops, "everybody.csv", "--columns", "shop_id,id")
        rows = {f"{shop_id},{one.id}" for shop_id in (38, 39) for one in mall.customers(shop_id=shop_id)}
        assert (ended.code, {"shop_id,id", *rows}) == (0, set((shell.folder / "everybody.csv").read_text().split()))
        theirs = str(mall.customers(shop_id=39)[0].id)
        assert [shell.run("customer", theirs, *shop).code for shop in ((), shops[2:])] == [3, 0]
