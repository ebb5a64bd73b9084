"""Cases that came under the wrong patient, for the tests of corrections."""

from __future__ import annotations

from datetime import date
from typing import Any

from sqlalchemy import select

from teleread.pipeline.enqueue import enqueue
from teleread.pipeline.give_back import undelivered
from teleread.pipeline.land import Landed, land
from teleread.pipeline.prepare import prepare
from teleread.pipeline.services import Services
from teleread.reading.reports import Report
from teleread.reading.worklist import get_case
from teleread.storage import accounts
from teleread.storage.catalogue.schema import arrivals
from teleread.storage.vault import Identity
from tests.ecgs import ecg
from tests.signing import sign_report

WRONG, RIGHT = "1001", "2002"


NAMED = Identity(issuer="village", patient_id=RIGHT, name="Zhao Min", birth_date=date(1990, 5, 6), sex="F")


CHANNELS = ("web", "folder", "dicom")


def arrive(services: Services, *, site: str = "village", urgent: bool = False, **more: Any) -> Landed:
    landed = land(
        services,
        site_id=site,
        source="web",
        files={"a": ecg(**({"patient_id": WRONG} | more))},
        clinic_priority="urgent" if urgent else "routine",
        actor="nurse",
    )
    assert prepare(services, landed.arrival_id) == "prepared"
    assert enqueue(services, landed.arrival_id) == landed.arrival_id
    return landed


def people(services: Services, *names: str) -> None:
    roles = {"nurse": ("uploader", "village"), "stranger": ("uploader", "other")}
    with services.catalogue.write() as conn:
        for name in names:
            role, site = roles.get(name, ("reader", None))
            accounts.create_account(conn, name, "correct horse", role, site, services.clock())


def sign(services: Services, case_id: str, *, channel: str = "web", critical: bool = False) -> Report:
    with services.catalogue.write() as conn:
        return sign_report(
            conn,
            case_id,
            text="Sinus rhythm.",
            critical=critical,
            signed_by="reader",
            channel=channel,
            at=services.clock(),
        )


def due(services: Services) -> list[str]:
    with services.catalogue.read() as conn:
        return [report_id for report_id, _site in undelivered(conn, services.clock(), CHANNELS)]


def name_of(services: Services, case_id: str) -> str | None:
    with services.catalogue.read() as conn:
        case = get_case(conn, case_id)
    assert case is not None
    pseudonym = str(case.item.patient_pseudonym)
    return services.vault.join([pseudonym], who="t", why="t", case_ids=["c"], at=services.clock())[pseudonym].name


def receipt_of(services: Services, arrival_id: str) -> str:
    with services.catalogue.read() as conn:
        return str(conn.scalar(select(arrivals.c.receipt).where(arrivals.c.id == arrival_id)))


def pseudonym_of(services: Services, case_id: str) -> str:
    with services.catalogue.read() as conn:
        case = get_case(conn, case_id)
    assert case is not None
    return str(case.item.patient_pseudonym)


def sha256_of(services: Services, arrival_id: str) -> str:
    with services.catalogue.read() as conn:
        return str(conn.scalar(select(arrivals.c.sha256).where(arrivals.c.id == arrival_id)))
