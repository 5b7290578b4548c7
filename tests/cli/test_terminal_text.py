"""Foreign text on a terminal: everything that the command writes there is printable."""

import csv
import io
import json
import os
import re
import subprocess
import sys
import threading
import tty
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TextIO

import attrs
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from rich.table import Table
from rich.text import Text

from shopsdk import Clock
from shopsdk.cli import main
from shopsdk.cli._console import SafeConsole
from shopsdk.cli._runner import shell_line
from shopsdk.cli._stdio import data_output, printable, printable_lines, put, say, standard_streams
from shopsdk.sandbox import Sandbox
from tests.support.cli import COMMAND, Terminal, environment, signals_restored

HOSTILE = (
    "\x1b]0;owned\x07",
    "\x1b[2J\x1b[8m",
    "\x9b31m",
    "\x90q\x9c",
    "\r",
    "\x08\x7f\x00\x0b\x0c",
    "\x85\u2028\u2029",
    "\u061c\u200e\u200f",
    "\u202a\u202b\u202c\u202d\u202e",
    "\u2066\u2067\u2068\u2069",
    "\u200b\u200c\u200d\u2060\ufeff",
    "\u00ad\ufff9\ufffb",
    "\ud800",
    "\udfff\udc9b",
    "\ue000\U000f0000\U0010ffff\u0378",
    "\ufe0f\U000e0100\u180b",
    "\U000e0001\U000e0041\U000e007f",
    "\u115f\u3164\u2800\u034f",
    "\nshopsdk: the balance was changed",
    '\\"\t,;',
)
foreign = st.lists(
    st.sampled_from(HOSTILE) | st.text(st.characters(), min_size=1, max_size=5), min_size=1, max_size=4
).map("".join)
"""Text that somebody else has written, lone surrogates included."""
sent = foreign.map(lambda text: re.sub("[\ud800-\udfff]", "\N{REPLACEMENT CHARACTER}", text))
"""The same as a server can send it: the library reads no lone surrogate."""

EVERYTHING = re.sub("[\ud800-\udfff]", "", "".join(HOSTILE))
ALLOWED = {"\n", "\t"}
UNSEEN = re.compile("[\u034f\u115f\u1160\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]")


def hidden(text: str) -> list[str]:
    """Return the unprintable characters in the bytes that a terminal was sent."""
    return [c for c in text if c not in ALLOWED and (not c.isprintable() or UNSEEN.match(c))]


@contextmanager
def terminal(encoding: str = "utf-8") -> Iterator[tuple[TextIO, Terminal]]:
    """A stream to a terminal that takes what is written as it is; all was drawn once the context has ended."""
    with Terminal() as screen:
        tty.setraw(screen.follower)  # or it would turn ends of lines into two characters
        with open(os.dup(screen.follower), "w", encoding=encoding, errors="surrogateescape") as stream:
            yield stream, screen


class _Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # headers and body are two writes, and the second would wait 40 ms

    def do_GET(self) -> None:
        server: Any = self.server
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = json.dumps(server.body).encode()
        self.send_response(server.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_PUT = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


@attrs.frozen
class HostileShop:
    """A server that gives every request the answer that a test has set."""

    server: ThreadingHTTPServer

    def answer(self, body: object, status: int = 200) -> None:
        self.server.body, self.server.status = body, status  # type: ignore[attr-defined]


async def at_once(_seconds: float) -> None:
    """Wait for nothing."""


@pytest.fixture(scope="module")
def hostile() -> Iterator[HostileShop]:
    """A shop whose answers a test sets."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Answers) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TERM", "dumb")  # no control sequence is ours then
            patch.setattr("shopsdk._http.session.Clock", lambda: Clock(sleep=at_once))
            yield HostileShop(server)
        server.shutdown()
        thread.join()


def on_terminals(server: HostileShop, *words: str) -> tuple[int, str, str]:
    """Run the command in this process, with each output on a terminal; returns its code and what was drawn."""
    with pytest.MonkeyPatch.context() as patch, terminal() as (out, screen), terminal() as (err, messages):
        there = {
            "SHOPSDK_API_KEY": "key",
            "SHOPSDK_SHOP_ID": "38",
            "SHOPSDK_BASE_URL": f"http://127.0.0.1:{server.server.server_port}/v1",
        }
        for name, value in there.items():
            patch.setenv(name, value)
        patch.setattr(sys, "argv", ["shopsdk", *words])
        patch.setattr(sys, "stdin", io.StringIO())
        patch.setattr(sys, "stdout", out)
        patch.setattr(sys, "stderr", err)
        code: Any = None
        try:
            with signals_restored():
                main()
        except SystemExit as end:
            code = end.code
    return code or 0, screen.drawn.decode(), messages.drawn.decode()


def customer_of(text: str) -> dict[str, object]:
    return {
        "id": 7,
        "email": text,
        "discord_id": text,
        "discord_username": text,
        "balance": "1.00",
        "affiliate_code": text,
        "affiliate_referrer": {"id": 8, "email": text},
    }


def page_of(rows: Sequence[object]) -> dict[str, object]:
    return {"current_page": 1, "data": rows, "last_page": 1, "per_page": 20, "total": len(rows)}


fast = settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@given(text=foreign)
@settings(max_examples=300)
def test_what_is_printable_is_kept_and_the_rest_is_escaped_as_json_does(text: str) -> None:
    """Text on a terminal is printable, and in JSON it is still the same text."""
    for shown in (printable(text), printable_lines(text)):
        assert not hidden(shown)
        assert printable_lines(shown) == shown
    assert "\n" not in printable(text)
    assert json.loads(printable_lines(json.dumps(text, ensure_ascii=False))) == json.loads(json.dumps(text))
    plain = "Ärger 漢字 🙂 שלום e\u0301"
    assert printable(plain) == plain


@fast
@given(text=sent)
@example(text=EVERYTHING)
@pytest.mark.parametrize("command", ["customers", "customer", "transactions"])
def test_json_on_a_terminal_is_printable_and_the_same_document(command: str, text: str, hostile: HostileShop) -> None:
    """JSON on a terminal holds no control character, and parses to the same document."""
    line = {"id": 1, "amount": "5.00", "description": text, "created_at": "2025-07-27 18:04:28"}
    hostile.answer(
        {"customers": page_of([customer_of(text)]), "customer": customer_of(text), "transactions": [line]}[command]
    )
    code, out, err = on_terminals(hostile, command, *(() if command == "customers" else ("7",)), "--json")
    assert (0, []) == (code, hidden(out + err)), err
    shown = json.loads(out)
    found = {"customers": lambda: shown["data"][0]["email"], "customer": lambda: shown["affiliate_code"],
             "transactions": lambda: shown[0]["description"]}[command]()  # fmt: skip
    assert found == json.loads(json.dumps(text))


@fast
@given(text=sent)
@example(text=EVERYTHING)
@pytest.mark.parametrize("command", ["customers", "customer", "transactions"])
def test_a_table_on_a_terminal_is_printable(command: str, text: str, hostile: HostileShop) -> None:
    """A table holds no control character, and a row of it forges no other."""
    line = {"id": 1, "amount": "5.00", "description": text, "created_at": "2025-07-27 18:04:28"}
    hostile.answer(
        {"customers": page_of([customer_of(text)]), "customer": customer_of(text), "transactions": [line]}[command]
    )
    code, out, err = on_terminals(hostile, command, *(() if command == "customers" else ("7",)))
    assert (0, []) == (code, hidden(out + err)), err
    assert not re.search("^shopsdk: ", out, re.MULTILINE)


@fast
@given(text=sent)
@example(text=EVERYTHING)
@pytest.mark.parametrize("form", ["ndjson", "csv"])
def test_an_export_to_a_terminal_is_printable(form: str, text: str, hostile: HostileShop) -> None:
    """Rows on a terminal hold no control character, and lines of JSON parse to what the shop sent."""
    hostile.answer(page_of([customer_of(text)]) | {"per_page": 100})
    code, out, err = on_terminals(hostile, "export", "-", "--format", form)
    assert (0, []) == (code, hidden(out + err)), err
    if form == "ndjson":
        assert json.loads(out)["email"] == json.loads(json.dumps(text))
    else:
        assert len(list(csv.reader(io.StringIO(out)))) == 2


@pytest.mark.slow
@fast
@given(text=sent)
@example(text=EVERYTHING)
@pytest.mark.parametrize("status", [200, 422, 500])
@pytest.mark.parametrize("words", [("balance", "7", "5", "--yes"), ("affiliate", "7", "X"), ("customer", "7")])
def test_what_the_server_says_controls_no_terminal(
    words: tuple[str, ...], status: int, text: str, hostile: HostileShop
) -> None:
    """A server's message and field errors hold no control character on a terminal, and forge no line."""
    hostile.answer({"message": text, "errors": {text: [text]}, "id": 7, "email": text, "balance": text}, status)
    for more in ((), ("--debug",)):
        _, out, err = on_terminals(hostile, *words, *more)
        assert not hidden(out + err), err
        assert more or not re.search(r"^shopsdk: the balance was changed$", err, re.MULTILINE)


def test_a_file_s_name_forges_no_line(hostile: HostileShop) -> None:
    """A line end in a file's name begins no second message."""
    _, _, err = on_terminals(hostile, "export", "no\nshopsdk: the balance was changed/a.csv")
    assert "there is no such folder" in err
    assert not re.search("^shopsdk: the balance", err, re.MULTILINE)


argument = foreign.map(lambda text: text.replace("\0", "").encode("utf-8", "ignore").decode() or "x")


@pytest.mark.slow
@fast
@given(text=argument)
@example(text=EVERYTHING.replace("\0", ""))
@pytest.mark.parametrize(
    "words",
    [
        ("{}",),
        ("customers", "--{}"),
        ("customers", "--order-column", "{}"),
        ("customers", "--email", "{}"),
        ("customer", "{}"),
        ("customer", "{}@example.com"),
        ("balance", "7", "{}", "--yes"),
        ("balance", "7", "5", "--yes", "--reference", "{}"),
        ("balance", "7", "5", "--yes", "--description", "{}"),
        ("affiliate", "7", "{}"),
        ("export", "no/{}.csv"),
        ("export", "there/{}"),
        ("export", "c.csv", "--columns", "{}"),
        ("export", "c.csv", "--shop-ids-file", "{}"),
        ("export", "c.csv", "--rate-limit", "{}"),
        ("sandbox", "--database", "no/{}", "--port", "1"),
    ],
)
def test_an_argument_controls_no_terminal(words: tuple[str, ...], text: str, hostile: HostileShop) -> None:
    """Arguments are printed as printable text, by the command and by its parser."""
    hostile.answer({"message": "Server Error"}, 500 if words[0] in {"balance", "affiliate"} else 404)
    _, out, err = on_terminals(hostile, *(word.replace("{}", text) for word in words))
    assert not hidden(out + err), err


@pytest.mark.parametrize("hidden_in", ["name", "line"])
def test_a_file_of_shops_controls_no_terminal(hidden_in: str, hostile: HostileShop, tmp_path: Path) -> None:
    """The name and the contents of a file of shop ids are printed as printable text."""
    text = "\nshopsdk: the balance was changed" + EVERYTHING.replace("\0", "").replace("/", "")
    file = tmp_path / (text[:60] if hidden_in == "name" else "ids.txt")
    file.write_text("38\n39 # closed\n" + text, encoding="utf-8")
    code, out, err = on_terminals(hostile, "export", "c.csv", "--shop-ids-file", str(file))
    assert (2, []) == (code, hidden(out + err))
    assert "a whole number from 1" in err
    assert not re.search("^shopsdk: ", err, re.MULTILINE)


@given(text=argument)
@example(text=EVERYTHING.replace("\0", ""))
@example(text="\udcff\n'")
@settings(max_examples=10)
def test_a_command_to_go_on_with_is_printable_and_names_the_same_file(text: str) -> None:
    """The command to go on with is printable, and a shell reads the same words from it."""
    line = shell_line("printf", "%s", text)
    assert (printable(line), "\n" in line) == (line, False)
    read = subprocess.run(["bash", "-c", line], capture_output=True, check=True).stdout
    assert read == os.fsencode(text)


def test_characters_that_are_cut_between_writes_come_out_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal shows the same text wherever the bytes of an export are cut."""
    row = 'é€🙂\u202e\x9b,"a\r\nb"\r\n'.encode()
    for size in range(1, len(row) + 1):
        with terminal() as (stream, screen):
            monkeypatch.setattr(sys, "stdout", stream)
            with standard_streams(), data_output() as output:
                for start in range(0, len(row), size):
                    assert output.write(memoryview(row)[start : start + size]) == len(row[start : start + size])
        assert screen.drawn.decode() == 'é€🙂\\u202e\\u009b,"a\nb"\n'


@pytest.mark.parametrize(
    ("encoding", "shown"), [("latin-1", b"\xdb\\u20ac\\u009b"), ("ascii", b"\\u00db\\u20ac\\u009b")]
)
def test_rows_are_written_in_the_code_page_of_the_terminal(
    encoding: str, shown: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows are written in the terminal's encoding, in which UTF-8 could control it."""
    with terminal(encoding) as (stream, screen):
        monkeypatch.setattr(sys, "stdout", stream)
        with standard_streams(), data_output() as output:
            output.write("\u00db\u20ac\u009b".encode())
    assert screen.drawn == shown


def test_each_stream_is_judged_by_itself(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A stream that is no terminal gets every byte unchanged, whatever the other stream is."""
    text = "".join(HOSTILE[:3]) + "\u202e"
    with terminal() as (stream, screen), open(tmp_path / "file", "w", encoding="utf-8") as file:
        for out, err in ((stream, file), (file, stream)):
            monkeypatch.setattr(sys, "stdout", out)
            monkeypatch.setattr(sys, "stderr", err)
            with pytest.raises(SystemExit), standard_streams():
                put(f"{text}\n")
                say(text)
                sys.exit()
            assert (sys.stdout, sys.stderr) == (out, err)
    assert (tmp_path / "file").read_text() == f"{text}\n{text}\n"
    assert screen.drawn.decode() == f"{printable(text)}\n{printable(text)}\n"


def test_whatever_else_writes_to_a_terminal_is_covered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Warnings, tracebacks and lists of lines are escaped on a terminal, too."""
    text = "".join(HOSTILE[:3])
    with terminal() as (stream, screen):
        monkeypatch.setattr(sys, "stdout", stream)
        monkeypatch.setattr(sys, "stderr", stream)
        with pytest.raises(RuntimeError) as caught, standard_streams():
            print(text)  # noqa: T201
            print(text, file=sys.stderr)  # noqa: T201
            sys.stdout.writelines([text, "\n"])
            assert not hasattr(sys.stdout, "buffer")
            assert not hasattr(sys.stderr, "buffer")
            raise RuntimeError(text)
        sys.excepthook(RuntimeError, caught.value, None)  # as Python does at its end
    assert not hidden(screen.drawn.decode())
    assert 4 == screen.drawn.decode().count(printable(text))


def own_sequences_removed(drawn: bytes) -> str:
    """Return the text of a screen without rich's styles and movements of the cursor."""
    return re.sub(rb"\x1b\[[0-9;]*[mAK]|\x1b\[\?25[lh]", b"", drawn.replace(b"\r", b"")).decode()


def on_own_terminal(shop: Sandbox, *words: str, cwd: Path) -> tuple[int, bytes]:
    """Run the command as a process on a terminal that knows colours."""
    with terminal() as (stream, screen):
        process = subprocess.run(
            [*COMMAND, *words],
            env=environment(shop, TERM="xterm-256color", COLUMNS="200"),
            cwd=cwd,
            stdin=stream,
            stdout=stream,
            stderr=stream,
            check=False,
        )
    return process.returncode, screen.drawn


@pytest.mark.slow
def test_colours_and_bars_are_the_command_s_own(tmp_path: Path) -> None:
    """Rich's own sequences reach a terminal, and no other unprintable text does."""
    text = "".join(HOSTILE[:12])
    with Sandbox(30) as shop:
        shop.add_customer(id=5000, email=f"{text}\x1b[1mx@example.com")
        code, drawn = on_own_terminal(shop, "customers", "--order-direction", "desc", cwd=tmp_path)
        assert (code, b"\x1b[1m" in drawn) == (0, True)  # a heading is bold
        assert not hidden(own_sequences_removed(drawn))
        assert "\N{REPLACEMENT CHARACTER}[1mx@example.com" in own_sequences_removed(drawn)
        code, drawn = on_own_terminal(shop, "export", "c.csv", cwd=tmp_path)
        assert (code, b"\x1b[2K" in drawn) == (0, True)  # a bar is drawn anew
        assert not hidden(own_sequences_removed(drawn))
        code, drawn = on_own_terminal(shop, "export", f"no\x1b[2K\u202e/{text[:8]}.csv", cwd=tmp_path)
        assert (1, []) == (code, hidden(own_sequences_removed(drawn)))
        assert b"no\\u001b[2K\\u202e" in drawn
        code, drawn = on_own_terminal(shop, "export", "-", "--format", "ndjson", cwd=tmp_path)
        assert (0, []) == (code, hidden(drawn.decode()))
        assert 31 == sum(line.startswith('{"id":') for line in drawn.decode().splitlines())
        code, drawn = on_own_terminal(shop, "export", "-", "--format", "parquet", cwd=tmp_path)
        assert (2, []) == (code, hidden(drawn.decode()))


def test_messages_above_a_bar_are_printable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages above a bar are printable, and keep no colours of their own."""
    from shopsdk.cli._progress import Bars

    monkeypatch.setenv("TERM", "xterm-256color")
    with terminal() as (stream, screen):
        monkeypatch.setattr(sys, "stderr", stream)
        with standard_streams(), Bars():
            say("first\x1b[8mhidden\x1b[0m\u202e")
            sys.stderr.write("second\x1b[31mred\n")
    assert b"\x1b[8m" not in screen.drawn
    assert b"\x1b[31m" not in screen.drawn
    left = own_sequences_removed(screen.drawn)
    assert not hidden(left)
    assert "first\\u001b[8mhidden" in left
    assert "second\\u001b[31mred" in left


def test_a_text_that_nobody_cleaned_controls_no_terminal_through_rich() -> None:
    """A table keeps the command's styles, and escapes text that was put in unchanged."""
    text = "".join(HOSTILE[:12]) + "\N{ESCAPE}[8m"
    with terminal() as (stream, screen):
        table = Table(text)
        table.add_row(Text(text, style="bold"))
        SafeConsole(stream, force_terminal=True, color_system="standard").print(table)
    assert b"\x1b[1m" in screen.drawn
    assert b"\x1b[8m" not in screen.drawn
    assert not hidden(own_sequences_removed(screen.drawn))


@pytest.mark.slow
def test_files_and_pipes_get_the_bytes_as_they_are(tmp_path: Path) -> None:
    """Files and pipes get the text unchanged."""
    text = "a\u202e\x9b\x7f\u200d🙂\ufe0f@example.com"
    with Sandbox([]) as shop:
        shop.add_customer(id=7, email=text)
        for words in (("customer", "7", "--json"), ("customers", "--json"), ("export", "-", "--format", "ndjson"),
                      ("export", "-", "--format", "csv")):  # fmt: skip
            done = subprocess.run(
                [*COMMAND, *words], env=environment(shop), cwd=tmp_path, capture_output=True, check=True
            )
            assert text in done.stdout.decode()
