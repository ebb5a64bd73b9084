"""The act of signing as a page or a program asks for it: fields in, a signed version out, and on its way at once."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from starlette.requests import Request

from teleread.errors import AccessDenied, Conflict, InputRejected, TelereadError
from teleread.pipeline.give_back import give_back
from teleread.pipeline.route import placing
from teleread.reading import drafts, second, signing, worklist
from teleread.reading.documents import Kind, Measurement, fixed
from teleread.reading.reports import KINDS, Report, reports_of
from teleread.reading.signing import Act, Author, Room, Said
from teleread.storage import signing_keys
from teleread.storage.catalogue.lookups import derived_key
from teleread.storage.signing_keys import Pen
from teleread.web import case_report, next_case, queries
from teleread.web.case_tracing import FORMULAS
from teleread.web.errors import NotFound
from teleread.web.security import Seat, token_of
from teleread.web.viewing import check_access

log = logging.getLogger(__name__)

_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_UNITS = frozenset({"ms", "bpm", "deg"})
_LARGEST = 100_000.0
_LANGUAGES = ("zh", "en")


@dataclass(frozen=True, slots=True)
class Asked:
    """What the fields of a form or a program's body ask for."""

    said: Said
    kind: Kind
    claim: tuple[str, int] | None
    replaces: str | None
    reason: str
    pin: str
    measurements: tuple[Measurement, ...] | None  # None: the program's


def asked(fields: Mapping[str, str]) -> Asked:
    """Read the fields.

    Raises:
        InputRejected: ``request_invalid``.
    """
    kind = fields.get("kind") or "final"
    fence = fields.get("fence", "")
    if kind not in KINDS or (fence and not fence.isascii()) or (fence and not fence.isdigit()):
        raise InputRejected("request_invalid", "The form cannot be understood.")
    item_id = fields.get("item_id", "")
    return Asked(
        Said(
            statements=tuple(code for code in fields.get("statements", "").split(",") if code),
            text=_lines(fields.get("text", "")),
            comparison=_lines(fields.get("comparison", "")),
            technical=_lines(fields.get("technical", "")),
            critical=fields.get("critical") == "1",
            by_template=fields.get("template") == "1",
        ),
        kind,
        (item_id, int(fence[:9])) if item_id and fence else None,
        fields.get("replaces") or None,
        _lines(fields.get("reason", "")),
        fields.get("pin", ""),
        _measurements(fields["measurements"]) if fields.get("measurements") else None,
    )


def sign(request: Request, seat: Seat, case_id: str, wanted: Asked) -> Report:
    """Sign, and give the report back at once where the clinic reads it on its page.

    Raises:
        AccessDenied: ``case_not_licensed``, ``pin_needed``, ``pin_wrong``, ``pin_locked``, ``no_signing_key``,
            ``not_your_report``.
        InputRejected, Conflict: as :func:`teleread.reading.signing.sign_report`.
        NotFound: there is no such case, or it is an image, which cannot be signed from here.
    """
    services, now = seat.services, seat.services.clock()
    analysis = _analysis(seat, case_id)
    pen = _pen(request, seat, wanted.pin)
    rules = services.alliance.ecg_rules(now.date())
    program = case_report.measured(analysis, rules)
    said = _with_measurements(wanted, program, {*program, *case_report.qtc_by_formula(analysis, rules)})
    with services.catalogue.write() as conn:
        site_id = _site(conn, case_id)
        connection = services.alliance.connection(site_id, now.date())
        act = Act(
            wanted.kind,
            wanted.claim,
            wanted.replaces,
            wanted.reason,
            connection.report_back if connection else "web",
        )
        name = case_report.display_name(conn, seat.name)
        author = Author(seat.name, name, seat.role or "", seat.language if seat.language in _LANGUAGES else "zh")
        flags = case_report.raised(analysis, rules)
        room = Room(services.ladders, services.ring.derive("second readings"), placing(services.room, now))
        report = signing.sign_report(conn, case_id, said, act, author, pen, at=now, flags=flags, room=room)
    if act.channel == "web":
        _give_back(seat, report.id)
    return report


def then(request: Request, seat: Seat, case_id: str, kind: Kind) -> str:
    """Where the signer goes on: after a final report to the next case, after a second reading first to the comparison
    with the report that it was blind to; else back to this case.
    """
    if kind == "final" and (reading := _second_reading(seat, case_id)):
        return f"/second-readings/{reading}?told=signed_grade"
    return next_case.after_signing(request, seat, case_id) if kind == "final" else f"/cases/{case_id}"


def _second_reading(seat: Seat, case_id: str) -> str | None:
    """The work item of a second reading that the signer has just done and not graded."""
    with seat.services.catalogue.read() as conn:
        return next((one.id for one in second.ungraded(conn, seat.name) if one.case_id == case_id), None)


def signed_already(seat: Seat, case_id: str, wanted: Asked) -> Report | None:
    """The version that this very form signed before: Sign was pressed twice."""
    with seat.services.catalogue.read() as conn:
        versions = reports_of(conn, case_id)
    for one in reversed(versions):
        content = one.content
        if content is None or one.signed_by != seat.name or one.kind != wanted.kind:
            continue
        was, now = content["content"], wanted.said
        same = (was["text"], tuple(one.statements)) == (now.text.strip(), tuple(dict.fromkeys(now.statements)))
        if same and (wanted.claim is None or one.item_id == wanted.claim[0]):
            return one
    return None


def keep_typed(seat: Seat, case_id: str, wanted: Asked) -> bool:
    """Keep as a draft what could not be signed because the claim has ended; whether it is kept."""
    if wanted.claim is None:
        return False
    body = {
        "statements": list(wanted.said.statements),
        "text": wanted.said.text,
        "comparison": wanted.said.comparison,
        "technical": wanted.said.technical,
        "critical": wanted.said.critical,
        "template": wanted.said.by_template,
    }
    item_id, fence = wanted.claim
    try:
        with seat.services.catalogue.write() as conn:
            return drafts.keep_typed(conn, case_id, item_id, fence, seat.name, body, seat.services.clock())
    except TelereadError as error:
        log.warning("draft of case %s not kept: %s", case_id, error.code)
        return False


def _pen(request: Request, seat: Seat, pin: str) -> Pen:
    """The signer's key: opened by the PIN, or still open in this session."""
    services, now = seat.services, seat.services.clock()
    token, _by_cookie = token_of(request)
    if pin:
        pen = signing_keys.open_pen(services.catalogue, services.ring, seat.name, pin, now)
        if token:
            with services.catalogue.write() as conn:
                signing_keys.keep_open(conn, services.ring, token, pen, now)
        return pen
    with services.catalogue.read() as conn:
        if token and (kept := signing_keys.kept_open(conn, services.ring, token, seat.name, now)):
            return kept
        if signing_keys.active(conn, seat.name) is None:
            raise AccessDenied("no_signing_key", "Set a PIN first.")
    raise AccessDenied("pin_needed", "Signing needs the PIN.")


def _analysis(seat: Seat, case_id: str) -> dict[str, Any] | None:
    """The case's analysis as stored; what cannot be signed from here does not exist."""
    with seat.services.catalogue.read() as conn:
        case = worklist.get_case(conn, case_id)
        if case is None:
            raise NotFound()
        check_access(conn, seat, "case", case_id)  # an addendum needs no claim
        item = case.item
        if item.modality != "ECG" and (case.instances or queries.kind_of(conn, item.arrival_id) == "image"):
            raise NotFound()
        key = derived_key(conn, item.arrival_id, "analysis.json")
    return None if key is None else cast(dict[str, Any], json.loads(seat.services.store.get(key)))


def _site(conn: Any, case_id: str) -> str:
    case = worklist.get_case(conn, case_id)
    if case is None:
        raise Conflict("case_not_open", "There is no such case.")
    return str(case.item.site_id)


def _give_back(seat: Seat, report_id: str) -> None:
    """At once, not at the next round; what hinders it now is tried again by the round."""
    try:
        give_back(seat.services, report_id)
    except TelereadError as error:
        if error.code != "no_such_report":  # a second reading stays among readers
            log.warning("report %s waits to be given back: %s", report_id, error.code)


def _with_measurements(wanted: Asked, program: tuple[Measurement, ...], known: set[Measurement]) -> Said:
    said = wanted.said
    if wanted.measurements is None:
        found = program
    else:
        shown = [one for one in wanted.measurements if one.name in case_report.MEASURED]
        # what the program did not measure so is the reader's, whatever a page says
        found = tuple(
            one if one in known else Measurement(one.name, one.value, one.unit, "reader", one.formula)
            for one in sorted(shown, key=lambda one: case_report.MEASURED.index(one.name))
        )
    return Said(said.statements, said.text, said.comparison, said.technical, said.critical, found, said.by_template)


def _measurements(text: str) -> tuple[Measurement, ...]:
    """What the page's ``#measurements`` holds: name → value, unit, by, method."""
    try:
        return tuple(_measurement(name, one) for name, one in json.loads(text).items())
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
        raise InputRejected("request_invalid", "The measurements cannot be understood.") from error


def _measurement(name: str, one: Mapping[str, Any]) -> Measurement:
    value, unit = float(one["value"]), one["unit"]
    if not (_NAME.fullmatch(name) and abs(value) < _LARGEST and unit in _UNITS):
        raise ValueError
    # of the ways in which a value may be got only that of QTc is told by name
    method = str(one.get("method", ""))
    formula = method.capitalize() if name.startswith("qtc") and method in FORMULAS else ""
    return Measurement(name, fixed(value, 0), unit, "program" if one.get("by") == "program" else "reader", formula)


def _lines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")
