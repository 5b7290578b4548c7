"""The picture of a terminal that the README shows."""

import html
import re

import pytest

from benchmarks.terminal import COMMANDS, PICTURE, draw

pytestmark = pytest.mark.slow


def lines(picture: str) -> list[str]:
    """Read the lines of a picture; figures, and a bar's length with them, differ from run to run."""
    placed = re.findall(r'<text[^>]* y="([\d.]+)"[^>]*>([^<]*)</text>', picture)
    rows: dict[str, str] = {}
    for place, text in placed:
        rows[place] = rows.get(place, "") + html.unescape(text)
    return [re.sub(r"[\d,.]+|━+", "#", row).replace("\xa0", " ").rstrip() for row in rows.values()]


def test_the_picture_shows_what_the_commands_print() -> None:
    """The picture in the README is of a run of the commands as they are now, and loads nothing."""
    shown, drawn = PICTURE.read_text(encoding="utf-8"), draw()
    assert lines(drawn) == lines(shown)
    assert 10 < len(lines(shown))
    for command in COMMANDS:
        assert html.escape(command).replace(" ", "&#160;") in shown
    assert ["http://www.w3.org/2000/svg"] == re.findall(r"https?://[^\"' )]+", shown)
    assert "the-key" not in shown
