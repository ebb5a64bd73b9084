"""Who is who: questions to people, cases under correction, links, and what somebody must be told."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Annotated, TypeVar

from fastapi import APIRouter, Depends, Query
from sqlalchemy import Connection, select
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from teleread.errors import InputRejected
from teleread.pipeline import identity_corrections, identity_questions
from teleread.pipeline.named_identity import identity_from
from teleread.pipeline.verdict import verdict
from teleread.reading import access, corrections, notices, persons, questions
from teleread.reading.access import NotLicensed
from teleread.reading.corrections import Correction
from teleread.reading.eligibility import READING_ROLES
from teleread.reading.notices import Notice
from teleread.reading.paging import Place
from teleread.reading.persons import Link
from teleread.reading.questions import Question
from teleread.storage.catalogue.schema import work_items
from teleread.storage.vault import Identity
from teleread.web.errors import NotFound
from teleread.web.format import EPOCH
from teleread.web.identity import look_up
from teleread.web.limits import small_form
from teleread.web.render import page
from teleread.web.security import Seat, allow
from teleread.web.viewing import check_access

router = APIRouter()

Fields = Annotated[dict[str, str], Depends(small_form)]
_LARGEST_NUMBER = 2**62
ROWS = 50
_LISTS = ("notices", "corrections", "questions", "links")
_MOST_DIGITS = 17
_Row = TypeVar("_Row")
_MOST_CASES = 50  # of two patients that are looked through for one that a reader may see


@dataclass(frozen=True, slots=True)
class Said:
    """A value that an arrival states, beside the one that was known."""

    known: str | None
    stated: str | None


@dataclass(frozen=True, slots=True)
class _Lists:
    """One page of each list; ``further`` names the lists that go on, with the last row's place for the address."""

    notices: list[Notice]
    corrections: list[Correction]
    questions: list[Question]
    links: list[Link]
    further: dict[str, str]


@dataclass(frozen=True, slots=True)
class After:
    """Behind which row of each list its page begins, as the address says it; empty: at the first."""

    notices: Annotated[str, Query(max_length=64)] = ""
    corrections: Annotated[str, Query(max_length=64)] = ""
    questions: Annotated[str, Query(max_length=64)] = ""
    links: Annotated[str, Query(max_length=64)] = ""


@router.get("/identity")
def show(
    request: Request,
    seat: Annotated[Seat, allow("reader", "uploader", audit="list")],
    after: Annotated[After, Depends()],
) -> Response:
    """A clinic sees its own site's; a reader those of the cases that she may see."""
    site_id = _own_site(seat)
    places = {name: _place(getattr(after, name), name) for name in _LISTS if getattr(after, name)}
    with seat.services.catalogue.write() as conn:
        lists = _read(conn, seat, site_id, places)
        seat.record(conn, "identity", "all", {"questions": len(lists.questions), "links": len(lists.links)})
    people, answered = look_up(seat, _pseudonyms(lists), "identity", _cases(lists))
    said = {one.id: _said(one, people) for one in lists.questions}
    return page(
        request,
        seat,
        "identity.html",
        notices=lists.notices,
        corrections=lists.corrections,
        questions=lists.questions,
        links=lists.links,
        further=lists.further,
        later=tuple(places),
        people=people,
        said=said,
        vault_answered=answered,
        case_address=_receipt_address if site_id else _case_address,
    )


@router.post("/identity/questions/{question_id}")
def answer(
    seat: Annotated[Seat, allow("reader", "uploader", audit="identity_answer")], question_id: str, fields: Fields
) -> Response:
    """Answer one question; its audit events are written with what follows from it."""
    with seat.services.catalogue.read() as conn:
        asked = questions.get_question(conn, question_id, site_id=_own_site(seat))
        if asked is not None and not _sees_one(conn, seat, asked.case_id, asked.other_case_id):
            raise NotLicensed
    identity_questions.answer(
        seat.services,
        question_id,
        answer=fields.get("answer", ""),
        reason=fields.get("reason", ""),
        who=seat.name,
        site_id=_own_site(seat),
    )
    return RedirectResponse("/identity#questions", 303)


@router.post("/identity/unlink")
def unlink(seat: Annotated[Seat, allow("reader", audit="unlink")], fields: Fields) -> Response:
    """Take a link between two patients back."""
    named = fields.get("one", ""), fields.get("other", "")
    with seat.services.catalogue.read() as conn:
        if not _sees_one(conn, seat, *_cases_of(conn, named)):
            raise NotLicensed
    identity_questions.unlink(
        seat.services,
        *named,
        reason=fields.get("reason", ""),
        who=seat.name,
    )
    return RedirectResponse("/identity#links", 303)


@router.post("/identity/notices/{n}/seen")
def seen(seat: Annotated[Seat, allow("reader", "uploader", audit="notice_seen")], n: int) -> Response:
    """Note that somebody has seen a notice; of a site's accounts the first one counts."""
    if not 0 <= n < _LARGEST_NUMBER:
        raise NotFound()
    with seat.services.catalogue.write() as conn:
        notices.mark_seen(conn, n, seat.name, seat.account.site_id if seat.account else None, seat.services.clock())
    return RedirectResponse("/identity#notices", 303)


@router.post("/cases/{case_id}/identity")
def correct_case(
    seat: Annotated[Seat, allow("reader", audit="correction_open")], case_id: str, fields: Fields
) -> Response:
    """Open or close a correction of a case's identity."""
    with seat.services.catalogue.read() as conn:
        check_access(conn, seat, "case", case_id)
    _act(seat, case_id, fields, site_id=None)
    return RedirectResponse(f"/cases/{case_id}", 303)


@router.post("/receipts/{receipt}/identity")
def correct_receipt(
    seat: Annotated[Seat, allow("uploader", audit="correction_open")], receipt: str, fields: Fields
) -> Response:
    """The same for a clinic's own arrival."""
    found = verdict(seat.services, receipt=receipt.upper(), site_id=seat.site_id)
    if found is None:
        raise NotFound()
    _act(seat, found.case_id or found.arrival_id, fields, site_id=seat.site_id)
    return RedirectResponse(f"/receipts/{found.receipt}", 303)


def _act(seat: Seat, case_id: str, fields: Mapping[str, str], site_id: str | None) -> None:
    services, who = seat.services, seat.name
    act = fields.get("act")
    if act == "open":
        reason = fields.get("reason", "")
        identity_corrections.open_correction(services, case_id, reason=reason, who=who, site_id=site_id)
    elif act == "confirm":
        identity_corrections.confirm(services, case_id, who=who, site_id=site_id)
    elif act == "correct":
        named = identity_from(fields, services.clock().date(), issuer=site_id or "")
        identity_corrections.correct(services, case_id, identity=named, who=who, site_id=site_id)
    else:
        raise InputRejected("request_invalid", "The form does not say what to do.")


def _read(conn: Connection, seat: Seat, site_id: str | None, places: Mapping[str, Place]) -> _Lists:
    """A clinic's lists are its own; of a reader's each row is about a case that she may see, or about none."""
    services, n, cut = seat.services, ROWS + 1, _Cut()
    seen = access.visible(services.room, seat.name, services.clock()) if seat.role in READING_ROLES else None
    told = notices.unseen(conn, seat.name, site_id, n, after=places.get("notices"))
    opened = corrections.open_corrections(conn, site_id=site_id, seen=seen, after=places.get("corrections"), limit=n)
    asked = questions.open_questions(conn, site_id=site_id, seen=seen, after=places.get("questions"), limit=n)
    linked = [] if site_id else persons.standing_links(conn, limit=n, seen=seen, after=places.get("links"))
    return _Lists(
        cut(told, "notices", lambda one: (one.created_at, one.id)),
        cut(opened, "corrections", lambda one: (one.opened_at, one.id)),
        cut(asked, "questions", lambda one: (one.asked_at, one.id)),
        cut(linked, "links", lambda one: (one.linked_at, one.id)),
        cut.further,
    )


class _Cut:
    """Cuts lists to a page, and knows where those go on that were longer."""

    def __init__(self) -> None:
        self.further: dict[str, str] = {}

    def __call__(self, rows: list[_Row], name: str, place_of: Callable[[_Row], Place]) -> list[_Row]:
        if len(rows) > ROWS:
            at, key = place_of(rows[ROWS - 1])
            self.further[name] = f"{(at - EPOCH) // timedelta(microseconds=1)}.{key}"
        return rows[:ROWS]


def _place(text: str, name: str) -> Place:
    """A row's place out of the address.

    Raises:
        InputRejected: ``request_invalid``.
    """
    micros, _, key = text.partition(".")
    numbered = name in {"notices", "links"}
    digits = [micros, *([key] if numbered else [])]
    if not (key and all(one.isascii() and one.isdigit() and len(one) <= _MOST_DIGITS for one in digits)):
        raise InputRejected("request_invalid", "This page of the list does not exist.")
    return EPOCH + timedelta(microseconds=int(micros)), int(key) if numbered else key


def _sees_one(conn: Connection, seat: Seat, *case_ids: str | None) -> bool:
    """Whether a reader may see one of the cases that something is about, or it is about none; a clinic's is its own."""
    if seat.role not in READING_ROLES:
        return True
    services = seat.services
    known = [one for one in case_ids if one is not None]
    return not known or any(
        access.may_see(conn, services.room, seat.name, seat.role, one, services.clock()) for one in known
    )


def _cases_of(conn: Connection, pseudonyms: Sequence[str]) -> list[str]:
    query = select(work_items.c.case_id).where(work_items.c.patient_pseudonym.in_(pseudonyms)).distinct()
    return list(conn.scalars(query.limit(_MOST_CASES)))


def _own_site(seat: Seat) -> str | None:
    """The site whose patients a clinic's account may see; None for a reader, who may see all."""
    return seat.site_id if seat.role == "uploader" else None


def _pseudonyms(lists: _Lists) -> list[str]:
    found = {name for one in lists.questions for name in (one.pseudonym, one.other_pseudonym) if name}
    found |= {name for one in lists.links for name in (one.pseudonym, one.other_pseudonym)}
    return sorted(found | {one.pseudonym for one in lists.corrections if one.pseudonym})


def _cases(lists: _Lists) -> list[str]:
    asked = {one.case_id for one in lists.questions if one.case_id}
    return sorted(asked | {one.case_id for one in lists.corrections})


def _said(question: Question, people: Mapping[str, Identity]) -> Said | None:
    """For a question about one field: what was known of it, and what the arrival states."""
    identity = people.get(question.pseudonym)
    if identity is None or question.code not in {"other_birth_date", "other_sex", "other_name"}:
        return None
    field = question.code.removeprefix("other_")
    stated = [one.value for one in identity.stated if one.field == field and question.arrival_id in one.arrivals]
    known = getattr(identity, field)
    return Said(known.isoformat() if isinstance(known, date) else known, stated[-1] if stated else None)


def _case_address(case_id: str | None, receipt: str | None) -> str | None:
    return f"/cases/{case_id}" if case_id else None


def _receipt_address(case_id: str | None, receipt: str | None) -> str | None:
    return f"/receipts/{receipt}" if receipt else None
