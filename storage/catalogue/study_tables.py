"""The catalogue's tables of what arrived and what was made of it."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from teleread.storage.catalogue.columns import UtcDateTime, metadata, partial_index

arrivals = Table(
    "arrivals",
    metadata,
    Column("id", String(32), primary_key=True),  # hash of (site, sha256): the same arrival always has the same id
    Column("receipt", String(16), nullable=False, unique=True),
    Column("site_id", String(32), nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("object_key", ForeignKey("objects.key"), nullable=False),
    Column("source", String(8), nullable=False),  # dicom | folder | web | cli
    Column("kind", String(8), nullable=False),  # ecg | image | unknown, sniffed from the first bytes
    Column("clinic_priority", String(8), nullable=False),  # urgent | high | routine
    Column("state", String(12), nullable=False),  # landed | prepared | quarantined
    Column("arrived_at", UtcDateTime, nullable=False),
    Column("prepared_at", UtcDateTime),
    Column("case_id", String(32)),  # set when enqueued
    Column("study_id", ForeignKey("studies.id")),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("sent_by", String(64)),  # the account, or the part of the program, that brought it
    UniqueConstraint("site_id", "sha256"),
)
partial_index("ix_arrivals_open", arrivals.c.arrived_at, where=arrivals.c.case_id.is_(None))
Index("ix_arrivals_case_id", arrivals.c.case_id)
Index("ix_arrivals_sha256", arrivals.c.sha256)  # the same bytes from another site
Index("ix_arrivals_study_id", arrivals.c.study_id)
partial_index("ix_arrivals_landed", arrivals.c.arrived_at, where=text("state = 'landed'"))

quarantine = Table(
    "quarantine",
    metadata,
    Column("arrival_id", ForeignKey("arrivals.id"), primary_key=True),
    Column("code", String(64), nullable=False),
    Column("safe_message", Text, nullable=False),
    Column("quarantined_at", UtcDateTime, nullable=False),
    Column("resolved_at", UtcDateTime),
)

studies = Table(
    "studies",
    metadata,
    Column("id", String(32), primary_key=True),  # hash of (site, study_uid)
    Column("site_id", String(32), nullable=False),
    Column("study_uid", String(64), nullable=False),
    Column("modality", String(16), nullable=False),
    Column("body_part", String(16)),
    Column("patient_pseudonym", String(32), nullable=False),
    Column("patient_sex", String(1)),  # M | F | O, absent when unknown
    Column("patient_age_years", Float),
    Column("acquired_at", UtcDateTime),
    Column("created_at", UtcDateTime, nullable=False),
    UniqueConstraint("site_id", "study_uid"),
)
Index("ix_studies_patient", studies.c.patient_pseudonym, studies.c.acquired_at)

series = Table(
    "series",
    metadata,
    Column("id", String(32), primary_key=True),  # hash of (study, series_uid)
    Column("study_id", ForeignKey("studies.id"), nullable=False),
    Column("series_uid", String(64), nullable=False),
    Column("modality", String(16), nullable=False),
    Column("number", Integer),
    UniqueConstraint("study_id", "series_uid"),
)

instances = Table(
    "instances",
    metadata,
    Column("arrival_id", ForeignKey("arrivals.id"), primary_key=True),
    Column("series_id", ForeignKey("series.id"), nullable=False),
    Column("sop_class_uid", String(64), nullable=False),
    Column("sop_uid", String(64), nullable=False),
    Column("number", Integer),
    Column("n_frames", Integer),  # absent when the instance holds no pixels
    Column("rows", Integer),
    Column("columns", Integer),
)
Index("ix_instances_series", instances.c.series_id)
Index("ix_instances_sop_uid", instances.c.sop_uid)

conflicts = Table(
    "conflicts",
    metadata,
    Column("arrival_id", ForeignKey("arrivals.id"), primary_key=True),  # the later one; both are kept
    Column("other_arrival_id", ForeignKey("arrivals.id"), nullable=False),
    Column("sop_uid", String(64), nullable=False),
    Column("found_at", UtcDateTime, nullable=False),
)

recordings = Table(
    "recordings",
    metadata,
    Column("arrival_id", ForeignKey("arrivals.id"), primary_key=True),
    Column("fs_hz", Float, nullable=False),
    Column("n_leads", Integer, nullable=False),
    Column("duration_s", Float, nullable=False),
    Column("heart_rate_bpm", Float),  # absent when it could not be measured
    Column("quality_acceptable", Boolean, nullable=False),
    Column("quality_score", Float, nullable=False),
    Column("quality_findings", Integer, nullable=False),  # how many, also on an acceptable recording
    Column("code_version", String(32)),  # of the derived analysis that these values were read from
    Column("flags", JSON),  # what the automatic reading flagged: [code, kind, severity] each; absent before version 3
)

# What recordings are found by when they come once more in another encoding (signal/ecg/fingerprint.py). Rows of this
# and the next table go with their arrival, because code of the version before deletes arrivals and knows neither.
fingerprints = Table(
    "fingerprints",
    metadata,
    Column("arrival_id", ForeignKey("arrivals.id", ondelete="CASCADE"), primary_key=True),
    Column("acquired_at", UtcDateTime),
    Column("level_ii_uv", Float),  # absent when the recording has not stored this lead
    Column("level_v2_uv", Float),
    Column("facts", JSON, nullable=False),  # a Fingerprint
)
Index("ix_fingerprints_acquired_at", fingerprints.c.acquired_at)
Index("ix_fingerprints_level_ii_uv", fingerprints.c.level_ii_uv)

# One recording that came more than once. Read once: the later arrival belongs to the earlier one's case.
same_recordings = Table(
    "same_recordings",
    metadata,
    Column("arrival_id", ForeignKey("arrivals.id", ondelete="CASCADE"), primary_key=True),  # the later one
    Column("other_arrival_id", ForeignKey("arrivals.id", ondelete="CASCADE"), primary_key=True),
    Column("read_once", Boolean, nullable=False),  # false: another site's or another patient's, so both are read
    Column("found_at", UtcDateTime, nullable=False),
)
Index("ix_same_recordings_other", same_recordings.c.other_arrival_id)

derived = Table(
    "derived",
    metadata,
    Column("arrival_id", ForeignKey("arrivals.id"), primary_key=True),
    Column("name", String(32), primary_key=True),  # analysis.json | wave.i16 | thumbnail.png | pseudonymised.*
    Column("code_version", String(32), primary_key=True),
    Column("object_key", ForeignKey("objects.key"), nullable=False),
    Column("input_sha256", String(64), nullable=False),
    Column("parameters", JSON, nullable=False),
    Column("made_with", JSON),  # versions of teleread, Python and the libraries that decide on the bytes
    Column("made_at", UtcDateTime),
)
