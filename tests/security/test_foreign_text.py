"""Text from a server: kept short, free of the key and of addresses, and read in time linear in its length."""

import html
import json
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shopsdk import (
    AsyncSession,
    InvalidRequestError,
    NotFoundError,
    ResponseError,
    RetryPolicy,
    edit_customer_affiliate_code,
    edit_customer_balance,
    get_customer,
)
from shopsdk._config import Secret
from shopsdk._http.request import make_request, redact_emails
from shopsdk._http.response import Response, response_error, sanitize
from shopsdk._http.retry import retry_after
from tests.support.servers import ReceivedRequest, Wire, answer, raw_server

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
SANCTUM = "12345|" + "".join(reversed(LETTERS))[:48]
UUID = "550e8400-e29b-41d4-a716-446655440000"
KEYS = [SANCTUM, UUID, "sk_live_51H8xJkLmNoPqRsTuVwXyZ", "dGhpcyBpcyBh/2tleQ+and==", "a\"b<c&d'/e\\f%g;0123456789"]


def of_url(text: str) -> str:
    return quote(text, safe="")


def of_html(text: str) -> str:
    return html.escape(text)


def by_number(text: str) -> str:
    return "".join(char if char.isalnum() else f"&#{ord(char)};" for char in text)


def by_hex(text: str) -> str:
    return "".join(char if char.isalnum() else f"&#x{ord(char):X};" for char in text)


def of_json(text: str) -> str:
    return "".join(char if char.isalnum() else f"\\u{ord(char):04x}" for char in text)


WRITERS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "upper": str.upper,
    "URL": of_url,
    "URL, small": lambda text: of_url(text).lower(),
    "URL twice": lambda text: of_url(of_url(text)),
    "URL three times": lambda text: of_url(of_url(of_url(text))),
    "HTML": of_html,
    "HTML twice": lambda text: of_html(of_html(text)),
    "HTML by number": by_number,
    "HTML by hex": by_hex,
    "HTML of HTML by number": lambda text: of_html(by_number(text)),
    "JSON": lambda text: json.dumps(text)[1:-1],
    "JSON of PHP": lambda text: json.dumps(text)[1:-1].replace("/", "\\/"),
    "JSON by number": of_json,
    "JSON twice": lambda text: json.dumps(of_json(text))[1:-1],
    "broken lines": lambda text: text.replace("|", "\r\n |").replace("-", "-\n"),
    "zero width": "\u200b".join,
}


def letters_of(text: str) -> str:
    return "".join(char for char in text.lower() if char.isascii() and char.isalnum())


def shown_of(key: str, text: str, size: int) -> list[str]:
    """Return every run of so many letters and digits of a key that stands in a text."""
    within, wanted = letters_of(text), letters_of(key)
    return [piece for at in range(len(wanted) - size + 1) if (piece := wanted[at : at + size]) in within]


@pytest.mark.parametrize("write", list(WRITERS))
@pytest.mark.parametrize("key", KEYS)
def test_a_key_is_redacted_however_it_is_quoted(key: str, write: str) -> None:
    """A whole key that a server echoes is shown as ``[secret]``, however it is quoted."""
    shown = Secret(key).redact(f"(not for '{WRITERS[write](key)}', sorry)")
    assert shown.startswith("(not for '")
    assert shown.endswith("', sorry)")
    assert "[secret]" in shown
    assert len(shown) < 60


@pytest.mark.parametrize("write", list(WRITERS))
@given(key=st.sampled_from(KEYS[:2]), start=st.integers(0, 60), before=st.text(max_size=30), after=st.text(max_size=30))
def test_sixteen_of_a_key_are_redacted_wherever_they_stand(
    key: str, start: int, before: str, after: str, write: str
) -> None:
    """No run of sixteen letters and digits of a key is shown, such as the half behind a ``|``."""
    piece = key[start:]
    assert shown_of(key, before + WRITERS[write](piece) + after, 16) or len(letters_of(piece)) < 16 or write != "plain"
    assert [] == shown_of(key, Secret(key).redact(f"{before} {WRITERS[write](piece)} {after}"), 16)


@pytest.mark.parametrize("write", ["plain", "URL", "HTML", "JSON", "JSON by number", "HTML by number"])
@given(key=st.sampled_from(KEYS), end=st.integers(0, 400))
def test_a_key_is_redacted_where_a_text_was_cut_within_it(key: str, end: int, write: str) -> None:
    """At most seven letters and digits are shown of a key that is cut off at the end of a text."""
    shown = Secret(key).redact(f"not for {WRITERS[write](key)[:end]}")
    assert [] == [piece for piece in shown_of(key, shown, 8) if piece == letters_of(key)[:8]]


@given(st.text(max_size=200))
def test_other_texts_are_left_alone(text: str) -> None:
    """Texts that hold nothing of the key are shown unchanged."""
    assert text == Secret(SANCTUM).redact(text)


@pytest.mark.parametrize("key", ["k", "key", "---", "a|b|c"])
def test_a_short_key_is_redacted_as_a_whole(key: str) -> None:
    """A key too short to be told from other words is redacted where it stands unchanged."""
    assert "not for [secret]!" == Secret(key).redact(f"not for {key}!")


# --- texts of a server in errors


@pytest.mark.parametrize("write", ["plain", "URL", "HTML by number", "JSON twice", "zero width"])
@pytest.mark.parametrize("piece", [SANCTUM, SANCTUM.partition("|")[2], SANCTUM[:30]])
async def test_an_echoed_key_is_shown_nowhere(piece: str, write: str) -> None:
    """An error shows no key in its message, its fields, its request id or its body."""
    payload = WRITERS[write](piece)
    body = {"message": f"not for {payload}", "errors": {payload: [payload, [payload]]}, "x": payload}
    headers = {} if write == "zero width" else {"X-Request-Id": payload}
    async with (
        raw_server(answer(body, 422, headers=headers)) as server,
        AsyncSession(SANCTUM, shop_id=38, base_url=server.base_url) as session,
    ):
        with pytest.raises(InvalidRequestError) as caught:
            await get_customer(session, 7)
    assert [] == shown_of(SANCTUM, f"{caught.value} {vars(caught.value)}", 16)


@pytest.mark.parametrize("cut", range(1_900, 2_100, 7))
async def test_a_key_at_the_cut_of_a_body_is_not_shown(cut: int) -> None:
    """The part of an error's body that is kept may end within an echo of the key; it shows nothing of it."""
    body = f"{'x' * (cut - 1)} {SANCTUM}".encode()
    async with (
        raw_server(answer(raw=body, status=404)) as server,
        AsyncSession(SANCTUM, shop_id=38, base_url=server.base_url, max_response_bytes=1_990) as session,
    ):
        with pytest.raises(NotFoundError) as caught:
            await get_customer(session, 7)
    assert [] == shown_of(SANCTUM, caught.value.body, 8)


@pytest.mark.parametrize("of", ["balance", "code"])
async def test_the_message_of_a_success_is_cleaned_like_that_of_an_error(of: str) -> None:
    """The message of a success shows neither the key nor an address, nor does it control a terminal."""

    def behave(heard: ReceivedRequest, wire: Wire) -> None:
        wire.send(answer({"message": f"\x1b[2Jdone for {heard.headers['authorization']} of anna@example.com\u202e\n"}))

    async with raw_server(behave) as server, AsyncSession(SANCTUM, shop_id=38, base_url=server.base_url) as session:
        if of == "balance":
            edit = await edit_customer_balance(session, 7, 1)
            message = edit.message
        else:
            message = (await edit_customer_affiliate_code(session, 7, "A")).message
    assert "[2Jdone for Bearer [secret] of [e-mail]" == message


# --- the cost of long texts

MEGABYTE = 1_000_000
SHAPES = [
    *("a", " ", "@", "a@", "a.", "%", "%25", "%2", "&", "&amp;", "&#", "\\", "\\u", "\\u00", "0", "0.", "[", "-", "\n"),
    *("\t ", "é", "\u200b", '"', "1e", "a, ", "Mon, ", "(", "=?", "=?utf-8?q?", "\\ ", ";", ",", ":", "::", "/"),
]
TEXTS = [pytest.param((shape * MEGABYTE)[:MEGABYTE], id=repr(shape)) for shape in SHAPES]


@pytest.mark.parametrize("text", TEXTS)
def test_a_megabyte_costs_no_more_than_its_length(text: str) -> None:
    """Each pattern reads a text once, whatever a server repeats in it a million times."""
    secret = Secret(SANCTUM)
    assert text == secret.redact(text)
    redact_emails(text)
    assert len(sanitize(text, secret.redact)) <= 500
    for headers in ({"Retry-After": text}, {"X-RateLimit-Reset": text}, {"Date": text, "Retry-After": text}):
        retry_after(headers)


@pytest.mark.parametrize("text", TEXTS)
def test_an_error_of_megabytes_costs_no_more_than_what_is_shown(text: str) -> None:
    """An error reads a part of fixed size of a server's text, however long that is."""
    read: list[int] = []

    def redact(words: str) -> str:
        read.append(len(words))
        return Secret(SANCTUM).redact(words)

    payload = {"message": text, "errors": {f"{text}{field}": [text] * 60 for field in range(60)}}
    headers = {"x-request-id": text, "x-ratelimit-limit": text, "x-ratelimit-remaining": text}
    response = Response(status=422, headers=headers, body=json.dumps(text).encode())
    request = make_request("GET", ["shops", 38])
    error = response_error(request, response, payload=payload, attempts=1, redact=redact, hints={})
    assert sum(read) < 100_000
    assert len(repr(vars(error))) < 200_000


def test_fifty_lines_of_fifty_fields_are_read() -> None:
    """An error has up to fifty fields, and up to fifty messages of each."""
    payload = {"errors": {f"field{number}": ["wrong"] * 60 for number in range(60)}}
    request, response = make_request("GET", ["shops"]), Response(status=422, headers={}, body=b"")
    error = response_error(request, response, payload=payload, attempts=1, redact=str, hints={})
    assert {f"field{number}": ["wrong"] * 50 for number in range(50)} == error.errors


@pytest.mark.parametrize("depth", [980, 995, 1_010, 3_000, 100_000])
@pytest.mark.parametrize("shape", ['{"errors": {"x": %s}}', '{"message": %s}', "%s"])
async def test_an_error_that_is_nested_deeply_is_the_error_it_is(shape: str, depth: int) -> None:
    """The status decides the class of an error, however deep its body is nested."""
    raw = (shape % (f"{'[' * depth}{json.dumps(SANCTUM)}{']' * depth}")).encode()
    async with (
        raw_server(answer(raw=raw, status=422)) as server,
        AsyncSession(SANCTUM, shop_id=38, base_url=server.base_url, retry=RetryPolicy(attempts=1)) as session,
    ):
        with pytest.raises(ResponseError) as caught:
            await get_customer(session, 7)
    assert 422 == caught.value.status
    assert [] == shown_of(SANCTUM, f"{caught.value} {vars(caught.value)}", 16)


@given(
    before=st.text(max_size=20),
    local=st.from_regex(r"\A[A-Za-z0-9._+-]{1,64}\Z"),
    at=st.sampled_from(["@", "%40", "%2540", "&#64;", "&#x40;", "&amp;#64;"]),
    host=st.from_regex(r"\A[a-z0-9-]{1,20}\.example\Z"),
    after=st.text(max_size=20),
)
def test_an_address_is_redacted_however_its_at_is_written(
    before: str, local: str, at: str, host: str, after: str
) -> None:
    """An e-mail address in a server's text is shown as ``[e-mail]``, and so is text that runs into it."""
    shown = redact_emails(f"{before} {local}{at}{host} {after}")
    assert f"{local}{at}{host}" not in shown
    assert "[e-mail]" in shown


@given(padding=st.integers(3_300, 4_100), address=st.from_regex(r"\A[a-z]{20,60}@[a-z]{5,30}\.example\Z"))
def test_an_address_at_the_cut_is_not_shown(padding: int, address: str) -> None:
    """A text that is cut within an address shows nothing of it, though white space before it shrinks."""
    assert address.partition("@")[0][:20] not in sanitize(f"{' ' * padding}{address} {'x' * 2_000}", str)
