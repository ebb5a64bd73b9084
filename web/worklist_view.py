"""What stands in the worklist's address, and what the page shows for it: filters, place, counts, rows with names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from urllib.parse import urlencode

from sqlalchemy import Connection

from teleread.errors import InputRejected
from teleread.reading import desk
from teleread.reading.desk import View
from teleread.reading.order import Cursor, Reach
from teleread.web.format import EPOCH

ROWS = 50
MODALITIES = ("ECG", "CT", "MR", "US", "DX", "SM", "CONSULT", "OT")
OVERLAP_EVENTS = 200
"""Numbers of events are given before their transactions end: so far back one may still have been on its way."""
SOON = 0.8
"""From this part of its limit on a case counts as nearly late; the pool's lead is told then too."""

_SEXES = {"m": "M", "f": "F", "男": "M", "女": "F"}
_RECEIPT = re.compile(r"[0-9A-Z]{2,4}(-[0-9A-Z]{0,4}){0,2}")


@dataclass(frozen=True, slots=True)
class Asked:
    """The address of a list."""

    show: desk.Show = "waiting"
    modality: str = ""
    site: str = ""
    pool: str = ""
    priority: str = ""
    find: str = ""

    @property
    def query(self) -> str:
        """What stands in the address, without a place; empty for the whole list."""
        return urlencode(self.filters())

    def filters(self) -> dict[str, str]:
        """The filters that are set."""
        named = {name: str(getattr(self, name)) for name in ("show", "modality", "site", "pool", "priority", "find")}
        return {name: value for name, value in named.items() if value and (name, value) != ("show", "waiting")}

    def but(self, **other: str) -> str:
        """The address with some filters set otherwise."""
        return replace(self, **other).query  # type: ignore[arg-type]

    def view(self, conn: Connection) -> View:
        """The question to the catalogue."""
        plain = View(self.show, self.modality or None, self.site or None, self.pool or None, self.priority or None)
        return _with_words(conn, plain, self.find.split())


def asked(params: Mapping[str, str]) -> Asked:
    """The filters of an address; what is no filter of ours is left out."""
    show = params.get("show", "")
    priority = params.get("priority", "")
    return Asked(
        show="mine" if show == "mine" else "all" if show == "all" else "waiting",
        modality=params.get("modality", "")[:16],
        site=params.get("site", "")[:32],
        pool=params.get("pool", "")[:32],
        priority=priority if priority in {"urgent", "high", "routine"} else "",
        find=params.get("find", "").strip()[:40],
    )


def _with_words(conn: Connection, view: View, words: list[str]) -> View:
    """What was typed to be found: a sex, an age, a modality, else the beginning of a receipt number."""
    for word in words:
        if word.lower() in _SEXES:
            view = replace(view, sex=_SEXES[word.lower()])
        elif word.isascii() and word.isdigit() and len(word) <= 3 and int(word) <= 130:
            view = replace(view, age=int(word))
        elif word.upper() in MODALITIES:
            view = replace(view, modality=word.upper())
        elif _RECEIPT.fullmatch(word.upper()):
            view = replace(view, cases=desk.by_receipt(conn, word.upper()))
        else:
            view = replace(view, cases=())
    return view


@dataclass(frozen=True, slots=True)
class Listed:
    """All that a page of the list reads from the catalogue."""

    page: desk.Page
    tally: desk.Tally
    n_mine: int
    n_read: int  # being read, by anybody
    event: int
    recent: tuple[str, ...]


def read(
    conn: Connection, wanted: Asked, reach: Reach, after: Cursor | None = None, before: Cursor | None = None
) -> Listed:
    """Read a page of the list."""
    event = desk.newest_event(conn)  # first: what comes while the rest is read is told as new
    view = wanted.view(conn)
    return Listed(
        page=desk.page(conn, view, reach, after=after, before=before, limit=ROWS),
        tally=desk.tally(conn, replace(view, priority=None), reach),
        n_mine=len(desk.page(conn, View(show="mine"), reach, limit=ROWS).rows),
        n_read=desk.being_read(conn, reach),
        event=event,
        recent=tuple(one for one, _ in desk.newcomers(conn, view, reach, event - OVERLAP_EVENTS)),
    )


def write_cursor(key: Cursor) -> str:
    """The key of a row for the address: band, microseconds since 1970, id."""
    band, order_at, item_id = key
    return f"{band}.{(order_at - EPOCH) // timedelta(microseconds=1)}.{item_id}"


def parse_cursor(text: str) -> Cursor:
    """The key out of the address.

    Raises:
        InputRejected: ``request_invalid``.
    """
    band, _, rest = text.partition(".")
    micros, _, item_id = rest.partition(".")
    if not (band in {"0", "1"} and micros.isascii() and micros.isdigit() and len(micros) <= 17 and item_id):
        raise InputRejected("request_invalid", "This page of the list does not exist.")
    return int(band), EPOCH + timedelta(microseconds=int(micros)), item_id[:32]


def lateness(arrived_at: datetime, due_at: datetime | None, now: datetime) -> str:
    """``late``, ``soon`` (nearly late), ``fine``, or nothing where nothing was promised."""
    if due_at is None:
        return ""
    if now >= due_at:
        return "late"
    return "soon" if now >= arrived_at + (due_at - arrived_at) * SOON else "fine"
