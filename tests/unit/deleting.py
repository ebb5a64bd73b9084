"""Patients who are due, and what is left of them, for the tests of deletion."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import MetaData, select, update

from teleread.pipeline.deletion import begin, run
from teleread.pipeline.enqueue import enqueue
from teleread.pipeline.prepare import prepare
from teleread.pipeline.retention import law
from teleread.pipeline.services import Services
from teleread.storage.catalogue import schema
from tests.conftest import Clock
from tests.signing import sign_report
from tests.unit.test_pipeline_steps import arrive, sample

LAW = law()
YEARS_31 = 31 * 365.25 * 86400
WHO = "王医生"


def take_in(services: Services, name: str, site: str = "village") -> tuple[str, str]:
    """One study, read and given back; returns its arrival and its patient."""
    landed = arrive(services, {name: sample(name)}, site=site)
    assert prepare(services, landed.arrival_id) == "prepared"
    case = enqueue(services, landed.arrival_id)
    with services.catalogue.write() as conn:
        sign_report(conn, case, text="normal", critical=False, signed_by="reader", channel="web", at=services.clock())
        conn.execute(update(schema.deliveries).values(delivered_at=services.clock()))
        conn.execute(update(schema.identity_questions).values(answered_at=services.clock(), answer="noted"))
        row = conn.execute(
            select(schema.studies.c.patient_pseudonym)
            .join(schema.arrivals, schema.arrivals.c.study_id == schema.studies.c.id)
            .where(schema.arrivals.c.id == landed.arrival_id)
        ).one()
    return landed.arrival_id, str(row.patient_pseudonym)


@pytest.fixture
def due(services: Services, clock: Clock) -> dict[str, str]:
    """Patients by name; all are due. ``shared`` is another site's patient with the same bytes as ``one``."""
    found = {
        "one": take_in(services, "CT_small.dcm")[1],
        "ecg": take_in(services, "waveform_ecg.dcm")[1],
        "shared": take_in(services, "CT_small.dcm", "other")[1],
    }
    clock.advance(YEARS_31)
    return found


def mentions(services: Services, pseudonym: str) -> set[str]:
    """Tables with a row that names the patient."""
    with services.catalogue.read() as conn:
        found = MetaData()
        found.reflect(conn)
        return {
            name
            for name, table in found.tables.items()
            if any(pseudonym in str(row) for row in conn.execute(select(table)))
        }


def delete(services: Services, pseudonym: str, step: Callable[[str], None] = lambda _: None) -> str:
    (identifier,) = begin(services, pseudonym, LAW, who=WHO, reason="retention over")
    run(services, identifier, step=step)
    return identifier


def rows(services: Services) -> dict[str, list[dict[str, Any]]]:
    """The whole catalogue, by table."""
    with services.catalogue.read() as conn:
        tables = schema.metadata.sorted_tables
        return {table.name: [dict(row._mapping) for row in conn.execute(select(table))] for table in tables}


def identity(services: Services, pseudonym: str) -> object:
    found = services.vault.join([pseudonym], who="r", why="test", case_ids=["c"], at=services.clock())
    return found.get(pseudonym)
