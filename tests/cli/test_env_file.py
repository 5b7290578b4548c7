"""``--env-file``: one file for a command, and a key for each shop of an export."""

import json
import os
import re
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from traceback import TracebackException

import pytest

from shopsdk.cli import _env_file
from shopsdk.cli._env_file import read_env_files
from shopsdk.sandbox import Fault, Sandbox
from tests.support.cli import COMMAND, Ended, Shell, Terminal, environment
from tests.support.export import read_rows

CANARY = "10001|canary$HOME${PATH}#Canary0123456789"
PIECES = ("10001|", "canary", "Canary01")

COMMANDS = pytest.mark.parametrize(
    "words",
    [("export", "c.csv"), ("customers",), ("customer", "1001"), ("transactions", "1001"),
     ("balance", "1001", "-5", "--yes"), ("affiliate", "1001", "X")],
    ids=lambda words: words[0],
)  # fmt: skip


def shows_no_key(ended: Ended) -> bool:
    return not any(piece in text for piece in PIECES for text in (ended.out, ended.err))


def write(path: str, *lines: str, mode: int = 0o600) -> str:
    """Write a file with a key, for its owner alone."""
    Path(path).write_text("".join(f"{line}\n" for line in lines))
    Path(path).chmod(mode)
    return path


def lines_of(shop: Sandbox, *, key: str | None = None, shop_id: int | None = None) -> list[str]:
    return [
        f"SHOPSDK_API_KEY='{shop.api_key if key is None else key}'",
        f"SHOPSDK_SHOP_ID={shop_id or shop.shop_id}",
        f"SHOPSDK_BASE_URL={shop.base_url}",
    ]


@pytest.fixture
def mine(shell: Shell) -> Iterator[Sandbox]:
    """A shop whose key stands in the file ``mine.env``, while the environment leads to another shop."""
    with Sandbox(30, shop_id=71, api_key=CANARY) as shop:
        write("mine.env", *lines_of(shop))
        yield shop


@COMMANDS
def test_every_command_takes_a_file(words: tuple[str, ...], shell: Shell, mine: Sandbox, shop: Sandbox) -> None:
    """The file wins over the environment, which stays as it is, and is not needed."""
    before = dict(os.environ)
    for there in (True, False):
        for name in () if there else ("API_KEY", "SHOP_ID", "BASE_URL"):
            shell.patch.delenv(f"SHOPSDK_{name}")
        mine.requests.clear()
        ended = shell.run(*words, "--env-file", "mine.env", *(["--force"] if words[0] == "export" else []), "-v")
        assert (ended.code, shows_no_key(ended), "warning" in ended.err) == (0, True, False), ended.err
        assert {request.path.split("/")[3] for request in mine.requests} == {"71"}
        assert not there or dict(os.environ) == before
    assert not shop.requests


@COMMANDS
def test_a_sandbox_takes_no_file(words: tuple[str, ...], shell: Shell, mine: Sandbox) -> None:
    """``--env-file`` beside ``--sandbox`` is refused, and the file is not read."""
    ended = shell.run(*words, "--env-file", "no such file", "--sandbox")
    assert ended.code == 2
    assert "--env-file is for real shops: the sandbox has a key of its own" in ended.err


@pytest.mark.parametrize(
    "form",
    [
        "SHOPSDK_API_KEY='{}'",
        'SHOPSDK_API_KEY="{}"',
        "SHOPSDK_API_KEY={}",
        "SHOPSDK_API_KEY={} # of the shop",
        "  SHOPSDK_API_KEY = '{}' # of the shop",
        "export SHOPSDK_API_KEY='{}'",
        "\ufeffSHOPSDK_API_KEY={}",
        "# a comment\n\nOTHER='it''s no matter of ours'\n".replace("''", " ") + "SHOPSDK_API_KEY={}",
        "SHOPSDK_API_KEY={}\r\nSHOPSDK_BASE_URL=\r\nSHOPSDK_SHOP_ID",
        "SHOPSDK_API_KEY=\nSHOPSDK_API_KEY={}",
    ],
)
def test_what_a_dotenv_file_may_look_like(form: str, shell: Shell) -> None:
    """Quotes, comments, ``export``, a byte order mark and Windows's line ends are read; ``$`` stands for itself."""
    with Sandbox(3, api_key=CANARY) as shop:
        shell.enter(shop)
        shell.patch.setenv("SHOPSDK_API_KEY", "another")
        Path("shop.env").write_bytes(f"{form}\n".replace("{}", CANARY).encode())
        ended = shell.run("customers", "--env-file", "shop.env", "--json")
    assert (ended.code, json.loads(ended.out)["total"]) == (0, 3)


def test_the_lines_of_a_sandbox_are_such_a_file(shell: Shell, shop: Sandbox) -> None:
    """The lines that ``shopsdk sandbox`` prints can be saved as a file."""
    write("shop.env", *(f"export {name}={value}" for name, value in environment(shop).items() if "SHOPSDK" in name))
    for name in ("API_KEY", "SHOP_ID", "BASE_URL"):
        shell.patch.delenv(f"SHOPSDK_{name}")
    assert shell.run("customers", "--env-file", "shop.env").code == 0


def test_the_option_wins_over_the_file_and_the_file_over_the_environment(shell: Shell, mine: Sandbox) -> None:
    """``--shop-id`` wins over the shop of the file; what the file does not name comes from the environment."""
    shell.run("customers", "--env-file", "mine.env", "--shop-id", "72")
    shell.patch.setenv("SHOPSDK_SHOP_ID", "73")
    shell.patch.setenv("SHOPSDK_BASE_URL", mine.base_url)
    write("key.env", f"SHOPSDK_API_KEY={CANARY}")
    shell.run("customers", "--env-file", "key.env")
    assert [request.path.split("/")[3] for request in mine.requests] == ["72", "73"]
    help_text = " ".join(shell.run("customers", "--help").out.split())
    assert "It wins over the environment, and --shop-id wins over it." in help_text
    shell.patch.delenv("SHOPSDK_SHOP_ID")
    ended = shell.run("customers", "--env-file", "key.env")
    assert (ended.code, ended.err) == (2, "shopsdk: the shop is missing: give --shop-id, or set SHOPSDK_SHOP_ID\n")


WRONG = {
    "missing": (None, "cannot be read: No such file or directory"),
    "empty": (b"", "names no SHOPSDK_API_KEY"),
    "other names": (b"SHOPSDK_KEY=10001|canary\n", "names no SHOPSDK_API_KEY"),
    "the key alone": (b"10001|canaryCanary01\n", "names no SHOPSDK_API_KEY"),
    "an empty key": (b"SHOPSDK_API_KEY=' '\n", "names no SHOPSDK_API_KEY"),
    "a name alone": (b"SHOPSDK_API_KEY\nX=canary\n", "names no SHOPSDK_API_KEY"),
    "twice": (b"SHOPSDK_API_KEY=10001|canary\nSHOPSDK_API_KEY=10002|canary\n", "names SHOPSDK_API_KEY twice"),
    "an open quote": (b"#\n\n\nSHOPSDK_API_KEY='10001|canary\nX=Canary01\n", ", line 4: it must be NAME=value"),
    "as YAML": (b"SHOPSDK_API_KEY: 10001|canary\n", ", line 1: it must be NAME=value"),
    "one quote": (b"X=1\nSHOPSDK_API_KEY=\"10001|canary'\n", ", line 2: it must be NAME=value"),
    "no shop": (b"SHOPSDK_API_KEY=k\nSHOPSDK_SHOP_ID=10001|canary\n", ": SHOPSDK_SHOP_ID must be a whole number"),
    "shop 0": (b"SHOPSDK_API_KEY=10001|canary\nSHOPSDK_SHOP_ID=0\n", ": SHOPSDK_SHOP_ID must be a whole number"),
    "shops": (b"SHOPSDK_API_KEY=10001|canary\nSHOPSDK_SHOP_ID=38,39\n", ": SHOPSDK_SHOP_ID must be a whole number"),
    "Latin-1": (b"SHOPSDK_API_KEY=10001|canary\xe9\n", "cannot be read: it is not UTF-8"),
    "UTF-16": ("\ufeffSHOPSDK_API_KEY=10001|canary\n".encode("utf-16-le"), "cannot be read: it is not UTF-8"),
}  # fmt: skip
WRONG_FILES = pytest.mark.parametrize(("content", "message"), WRONG.values(), ids=WRONG.keys())


@WRONG_FILES
def test_a_file_that_cannot_be_used_is_named(content: bytes | None, message: str, shell: Shell, shop: Sandbox) -> None:
    """A wrong file is a wrong command: one sentence names it and quotes nothing of it, and nothing is sent."""
    if content is not None:
        Path("shop.env").write_bytes(content)
    for words in (("balance", "1001", "5", "--yes"), ("export", "c.csv"), ("customers", "--debug")):
        ended = shell.run(*words, "--env-file", "shop.env")
        assert (ended.code, f"--env-file shop.env{' ' if message[0] not in ',:' else ''}{message}" in ended.err) == (
            2,
            True,
        ), ended.err
        assert (ended.out, shows_no_key(ended), ended.err.count("\n") == 1 or "--debug" in words) == ("", True, True)
    assert not shop.requests


@WRONG_FILES
def test_no_frame_holds_a_line_of_the_file(content: bytes | None, message: str, tmp_path: Path) -> None:
    """A traceback with locals of what reads a file shows no line of it."""
    path = tmp_path / "shop.env"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match="--env-file") as caught:
        read_env_files([str(path)], [])
    error: BaseException | None = caught.value
    while error is not None:
        trace = TracebackException.from_exception(error, capture_locals=True)
        texts = [str(frame.locals) for frame in trace.stack if frame.filename == _env_file.__file__] + [str(error)]
        assert [] == [text for text in texts if any(piece in text for piece in PIECES)]
        error = error.__context__
    assert caught.value.__context__ is None


def test_a_file_that_is_used_shows_nothing(shell: Shell, mine: Sandbox) -> None:
    """The repr of a file that was read shows no value."""
    (file,) = read_env_files(["mine.env"], []).values()
    assert (file.shop_id, [piece for piece in PIECES if piece in repr(file)]) == (71, [])


def test_a_folder_or_a_file_of_others_is_named(shell: Shell, shop: Sandbox) -> None:
    """A folder, or a file that may not be read, is named, and gives the exit code of a wrong command."""
    Path("folder").mkdir()
    ended = shell.run("customers", "--env-file", "folder")
    assert (ended.code, ended.err) == (2, "shopsdk: --env-file folder cannot be read: Is a directory\n")
    if os.geteuid():  # root may read all
        ended = shell.run("customers", "--env-file", write("shop.env", *lines_of(shop), mode=0))
        assert (ended.code, ended.err) == (2, "shopsdk: --env-file shop.env cannot be read: Permission denied\n")
    assert not shop.requests


@pytest.mark.parametrize(
    ("mode", "warned"), [(0o600, False), (0o400, False), (0o640, True), (0o604, True), (0o622, False)]
)
def test_a_key_that_others_can_read_is_warned_of(mode: int, warned: bool, shell: Shell, shop: Sandbox) -> None:
    """Of a file that others can read, stderr has a warning, except where nothing but errors is wanted."""
    write("shop.env", *lines_of(shop), mode=mode)
    ended = shell.run("customers", "--env-file", "shop.env")
    message = "shopsdk: warning: others on this machine can read the key in shop.env: chmod 600 prevents it\n"
    assert (ended.code, message in ended.err) == (0, warned)
    ended = shell.run("export", "c.csv", "--env-file", "shop.env", "--quiet")
    assert (ended.code, ended.err) == (0, "")


def piped(*lines: str) -> str:
    """Make a pipe with these lines in it, as a shell's ``<(...)`` does; they can be read once."""
    reader, writer = os.pipe()
    os.write(writer, "".join(f"{line}\n" for line in lines).encode())
    os.close(writer)
    return f"/dev/fd/{reader}"


def test_a_pipe_is_a_file(shell: Shell, mine: Sandbox) -> None:
    """The output of a program that keeps keys can stand for the file."""
    path = piped(*lines_of(mine))
    ended = shell.run("balance", "1001", "5", "--yes", "--env-file", path)
    os.close(int(path.rpartition("/")[2]))
    assert (ended.code, "warning" in ended.err) == (0, False)
    assert len(mine.transactions(1001)) > 0


@pytest.mark.slow
def test_a_command_that_asks_reads_its_file_once(tmp_path: Path, shop: Sandbox) -> None:
    """The answer to the question leads to the edit, though the file is a pipe that can be read once."""
    fifo = tmp_path / "pipe"
    os.mkfifo(fifo)
    before = {c.id: c.balance for c in shop.customers()}[1001]
    threading.Thread(target=lambda: fifo.write_text("\n".join(lines_of(shop))), daemon=True).start()
    with Terminal() as terminal:
        words = [*COMMAND, "balance", "1001", "5", "--env-file", str(fifo)]
        there = {name: value for name, value in environment(shop).items() if "SHOPSDK" not in name}
        process = terminal.start(words, cwd=tmp_path, env=there)
        terminal.wait_for(rb"\[y/N\]|shopsdk: |Error")
        terminal.press(b"y\n")
        try:
            assert process.wait(timeout=60) == 0
        finally:
            process.kill()
    assert b"warning" not in terminal.drawn  # whatever its mode, others cannot read it too
    after = {c.id: c.balance for c in shop.customers()}[1001]
    assert before is not None
    assert after == before + 5


@pytest.mark.parametrize("words", [("balance", "1001", "5", "--yes"), ("affiliate", "1001", "X")])
def test_what_to_run_again_names_the_file(words: tuple[str, ...], shell: Shell) -> None:
    """The command that is proposed where an outcome is unknown leads to the same shop by the same key."""
    with Sandbox(
        3, api_key=CANARY, faults=[Fault("drop_after", method="POST"), Fault("drop_after", method="PUT")]
    ) as shop:
        write("my shop.env", *lines_of(shop))
        ended = shell.run(*words, "--shop-id", "38", "--env-file", "my shop.env")
    again = [line for line in ended.err.splitlines() if line.startswith("  shopsdk ")]
    assert (ended.code, shows_no_key(ended)) == (4, True)
    assert again
    assert all(" --shop-id 38 --env-file 'my shop.env'" in line for line in again)


SHOPS = (11, 22, 33)


@pytest.fixture
def shops(shell: Shell) -> Iterator[dict[int, Sandbox]]:
    """Three shops with a key each; ``shop-11.env`` and so on name key, shop and address. The environment is empty."""
    for name in ("API_KEY", "SHOP_ID", "BASE_URL"):
        shell.patch.delenv(f"SHOPSDK_{name}")
    with ExitStack() as opened:
        made = {n: opened.enter_context(Sandbox(n, shop_id=n, api_key=f"{CANARY}{n}")) for n in SHOPS}
        for number, shop in made.items():
            write(f"shop-{number}.env", *lines_of(shop))
        yield made


EACH = tuple(word for number in SHOPS for word in ("--env-file", f"shop-{number}.env"))
PATTERN = ("--env-file", "shop-{shop_id}.env", *(word for number in SHOPS for word in ("--shop-id", str(number))))
WAYS = pytest.mark.parametrize("files", [EACH, PATTERN], ids=["each", "pattern"])


@WAYS
@pytest.mark.parametrize("name", ["c-{shop_id}.csv", "all.csv"])
def test_an_export_takes_a_key_for_each_shop(
    files: tuple[str, ...], name: str, shell: Shell, shops: dict[int, Sandbox]
) -> None:
    """Each shop is asked with its own key, by one file for each, or by a pattern beside the shops."""
    before = dict(os.environ)
    ended = shell.run("export", name, *files, "--json-summary", "-v")
    assert (ended.code, shows_no_key(ended), dict(os.environ) == before) == (0, True, True), ended.err
    assert list(json.loads(ended.out)["shops"]) == ["11", "22", "33"]
    if name == "all.csv":
        rows = [line.partition(",")[0] for line in Path(name).read_text().splitlines()[1:]]
        assert rows == [str(number) for number in SHOPS for _ in range(number)]
    else:
        assert all(read_rows(Path(f"c-{n}.csv")) == shop.customers() for n, shop in shops.items())


@WAYS
@pytest.mark.parametrize(("key", "code", "message"), [
    ("wrong", 3, "shopsdk: shop 22: .*401.*; is SHOPSDK_API_KEY the key of your account[?]"),
    ("two words", 2, "shopsdk: shop 22: SHOPSDK_API_KEY must be printable ASCII without spaces or .+"),
])  # fmt: skip
def test_one_bad_key_leaves_the_other_shops_whole(
    files: tuple[str, ...], key: str, code: int, message: str, shell: Shell, shops: dict[int, Sandbox]
) -> None:
    """A shop whose key fails is named, and gives the exit code; with the right key ``--resume`` reads it alone."""
    write("shop-22.env", *lines_of(shops[22], key=key))
    ended = shell.run("export", "all.csv", *files)
    assert (ended.code, shows_no_key(ended), Path("all.csv").exists()) == (code, True, False)
    assert re.search(f"^{message}$", ended.err, re.MULTILINE)
    assert "1 of 3 shops failed. To go on from there:" in ended.err
    assert all(
        f"--env-file {files[1]}" in line or "'shop-{shop_id}.env'" in line for line in ended.err.splitlines()[-1:]
    )
    assert not any(piece.encode() in path.read_bytes() for path in Path().glob("all.csv*") for piece in PIECES)
    write("shop-22.env", *lines_of(shops[22]))
    for shop in shops.values():
        shop.requests.clear()
    ended = shell.run("export", "all.csv", *files, "--resume")
    assert (ended.code, [n for n, shop in shops.items() if shop.requests]) == (0, [22])
    assert len(Path("all.csv").read_text().splitlines()) == 1 + sum(SHOPS)


def test_one_file_serves_several_shops(shell: Shell, shop: Sandbox) -> None:
    """One file beside several shops is the key of all; each ``--shop-id`` counts, not the file's shop."""
    write("one.env", *lines_of(shop, shop_id=40))
    ended = shell.run("export", "c-{shop_id}.csv", "--env-file", "one.env", "--shop-id", "38", "--shop-id", "39")
    assert (ended.code, sorted(os.listdir())) == (3, [".c-38.csv.part.checkpoint", "c-38.csv", "one.env"])
    assert {request.path.split("/")[3] for request in shop.requests} == {"38", "39"}


def test_a_pattern_stands_for_one_shop_too(shell: Shell, shops: dict[int, Sandbox]) -> None:
    """A pattern finds the file of one shop, in every command, on stdout, and from a list of shops."""
    one = ("--env-file", "shop-{shop_id}.env", "--shop-id", "22")
    assert json.loads(shell.run("customers", *one, "--json").out)["total"] == 22
    assert shell.run("export", "-", *one).out.count("\n") == 22
    Path("ids.txt").write_text("33\n")
    ended = shell.run("export", "c.csv", *one[:2], "--shop-ids-file", "ids.txt", "--json-summary")
    assert list(json.loads(ended.out)["shops"]) == ["33"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("shop-11.env", "shop-22.env", "--shop-id", "11"), "of several --env-file, each names its own shop"),
        (("shop-11.env", "shop-22.env", "--shop-ids-file", "ids.txt"), "each names its own shop: leave out --shop-id"),
        (("shop-11.env", "shop-11.env"), "--env-file shop-11.env and shop-11.env name the same shop, 11"),
        (("shop-11.env", "copy.env"), "--env-file shop-11.env and copy.env name the same shop, 11"),
        (("shop-11.env", "key.env"), "--env-file key.env names no SHOPSDK_SHOP_ID: of several files, each must"),
        (("shop-11.env", "empty.env"), "--env-file empty.env names no SHOPSDK_API_KEY"),
        (("shop-11.env", "gone.env"), "--env-file gone.env cannot be read: No such file or directory"),
        (("shop-{shop_id}.env",), "--env-file with {shop_id} needs to know the shop: give --shop-id"),
        (("shop-{shop_id}.env", "key.env", "--shop-id", "11"), "give no other beside it"),
        (("shop-{shop_id}.env", "--shop-id", "11", "--shop-id", "44"), "--env-file shop-44.env cannot be read: No"),
        (("shop-{shop_id}.env", "--shop-id", "55"), "--env-file shop-55.env names shop 11, and not shop 55"),
    ],
)  # fmt: skip
def test_files_that_leave_a_doubt_are_refused(
    words: tuple[str, ...], message: str, shell: Shell, shops: dict[int, Sandbox]
) -> None:
    """If it is not clear which key is whose, one sentence says so, and nothing is sent."""
    write("copy.env", *lines_of(shops[11]))
    write("shop-55.env", *lines_of(shops[11]))
    write("key.env", lines_of(shops[11])[0])
    write("empty.env")
    Path("ids.txt").write_text("11\n")
    files = [option for word in words if word.endswith(".env") for option in ("--env-file", word)]
    rest = [word for word in words if not word.endswith(".env")]
    before = sorted(os.listdir())
    ended = shell.run("export", "c-{shop_id}.csv", *files, *rest)
    assert (ended.code, message in ended.err, ended.err.count("\n"), shows_no_key(ended)) == (2, True, 1, True)
    assert (sorted(os.listdir()), [n for n, shop in shops.items() if shop.requests]) == (before, [])


def test_many_files_that_others_can_read_are_one_warning(shell: Shell, shops: dict[int, Sandbox]) -> None:
    """The warning of several files is one line."""
    for number in SHOPS:
        Path(f"shop-{number}.env").chmod(0o644)
    ended = shell.run("export", "c-{shop_id}.csv", *EACH)
    assert ended.err.count("warning") == 1
    assert "can read the key in shop-11.env and 2 more: chmod 600 prevents it\n" in ended.err


def test_several_shops_need_a_file_whatever_names_them(shell: Shell, shops: dict[int, Sandbox]) -> None:
    """Files that name several shops do not go to stdout."""
    ended = shell.run("export", "-", *EACH)
    assert (ended.code, "stdout takes one shop" in ended.err) == (2, True)
    assert not any(shop.requests for shop in shops.values())
