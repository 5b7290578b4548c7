"""Laravel's length-aware paginator, its window of links included."""

import json
from collections.abc import Iterator, Sequence

_ON_EACH_SIDE = 3


def envelope(rows: Sequence[str], *, page: int, per_page: int, total: int, path: str) -> bytes:
    """Write one page as the paginator does.

    Args:
        rows: The page's rows, each already JSON.
        page: The page asked for, past the last one too.
        per_page: Rows to a full page.
        total: Rows in the whole list.
        path: The URL asked, without its query.
    """
    last_page = find_last_page(total, per_page)
    before = {"current_page": page}
    after = {
        "first_page_url": _url(path, 1),
        "from": (page - 1) * per_page + 1 if rows else None,
        "last_page": last_page,
        "last_page_url": _url(path, last_page),
        "links": list(_links(page, last_page, path)),
        "next_page_url": _url(path, page + 1) if page < last_page else None,
        "path": path,
        "per_page": per_page,
        "prev_page_url": _url(path, page - 1) if page > 1 else None,
        "to": (page - 1) * per_page + len(rows) if rows else None,
        "total": total,
    }
    return f'{json.dumps(before)[:-1]}, "data": [{",".join(rows)}], {json.dumps(after)[1:]}'.encode()


def find_last_page(total: int, per_page: int) -> int:
    """Compute the number of the last page; an empty list has one page."""
    return max(-(-total // per_page), 1)


def _links(page: int, last_page: int, path: str) -> Iterator[dict[str, object]]:
    yield {"url": _url(path, page - 1) if page > 1 else None, "label": "&laquo; Previous", "active": False}
    for number, run in enumerate(_runs(page, last_page)):
        if number:
            yield {"url": None, "label": "...", "active": False}
        for linked in run:
            yield {"url": _url(path, linked), "label": str(linked), "active": linked == page}
    yield {"url": _url(path, page + 1) if page < last_page else None, "label": "Next &raquo;", "active": False}


def _runs(page: int, last_page: int) -> list[range]:
    """The pages linked, in unbroken runs."""
    start, finish = range(1, 3), range(last_page - 1, last_page + 1)
    window = _ON_EACH_SIDE + 4
    if last_page < _ON_EACH_SIDE * 2 + 8:
        return [range(1, last_page + 1)]
    if page <= window:
        return [range(1, window + _ON_EACH_SIDE + 1), finish]
    if page > last_page - window:
        return [start, range(last_page - (window + _ON_EACH_SIDE - 1), last_page + 1)]
    return [start, range(page - _ON_EACH_SIDE, page + _ON_EACH_SIDE + 1), finish]


def _url(path: str, page: int) -> str:
    return f"{path}?page={page}"
