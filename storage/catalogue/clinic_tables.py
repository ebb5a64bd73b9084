"""The catalogue's tables of what a clinic says of a case, who has opened it, and who has read a critical report."""

from __future__ import annotations

from sqlalchemy import JSON, Boolean, Column, ForeignKey, Index, Integer, String, Table

from teleread.storage.catalogue.columns import UtcDateTime, metadata

# What the clinic ticked about the patient. Saved whole each time; codes are those of reading/symptoms.py.
clinic_forms = Table(
    "clinic_forms",
    metadata,
    Column("arrival_id", ForeignKey("arrivals.id"), primary_key=True),
    Column("chest_pain", String(8)),
    Column("onset", String(8)),
    Column("pressure", String(8)),  # a range of the systolic pressure
    Column("systolic", Integer),  # mmHg, where it was typed
    Column("diastolic", Integer),
    Column("drugs", JSON, nullable=False),  # list of codes
    Column("consent", String(8)),
    Column("is_the_patient", Boolean),  # whether the name that was read back is the person's on the couch
    Column("saved_by", String(64), nullable=False),
    Column("saved_at", UtcDateTime, nullable=False),
)

# The first opening of a case by each reader: the clinic is told who has it before them.
case_openings = Table(
    "case_openings",
    metadata,
    Column("case_id", String(32), primary_key=True),
    Column("opened_by", String(64), primary_key=True),
    Column("opened_at", UtcDateTime, nullable=False),
)

# "I have read this": who at the clinic has read a critical report, and when. The first one of a site counts.
acknowledgements = Table(
    "acknowledgements",
    metadata,
    Column("report_id", ForeignKey("reports.id"), primary_key=True),
    Column("site_id", String(32), nullable=False),
    Column("read_by", String(64), nullable=False),
    Column("read_at", UtcDateTime, nullable=False),
)
Index("ix_acknowledgements_read_at", acknowledgements.c.read_at)
