"""The catalogue's tables: what is held, what was derived from it, and who is to read it.

No identity stands here. A patient is a random reading pseudonym; name, identifier and birth date live in the
vault alone. Times are aware UTC datetimes. Identifiers are strings; those named ``*_id`` without another remark
are lower-case hexadecimal.
"""

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

from teleread.storage.catalogue.agent_tables import agents as agents
from teleread.storage.catalogue.agent_tables import invitations as invitations
from teleread.storage.catalogue.audit_tables import AuditTables as AuditTables
from teleread.storage.catalogue.audit_tables import audit_tables as audit_tables
from teleread.storage.catalogue.clinic_tables import acknowledgements as acknowledgements
from teleread.storage.catalogue.clinic_tables import case_openings as case_openings
from teleread.storage.catalogue.clinic_tables import clinic_forms as clinic_forms
from teleread.storage.catalogue.columns import UtcDateTime as UtcDateTime
from teleread.storage.catalogue.columns import metadata as metadata
from teleread.storage.catalogue.columns import serial
from teleread.storage.catalogue.patient_tables import deletions as deletions
from teleread.storage.catalogue.patient_tables import encounters as encounters
from teleread.storage.catalogue.patient_tables import identity_corrections as identity_corrections
from teleread.storage.catalogue.patient_tables import identity_questions as identity_questions
from teleread.storage.catalogue.patient_tables import legal_holds as legal_holds
from teleread.storage.catalogue.patient_tables import notices as notices
from teleread.storage.catalogue.patient_tables import patient_links as patient_links
from teleread.storage.catalogue.patient_tables import patients as patients
from teleread.storage.catalogue.reading_tables import alarms as alarms
from teleread.storage.catalogue.reading_tables import asked_readings as asked_readings
from teleread.storage.catalogue.reading_tables import break_glass as break_glass
from teleread.storage.catalogue.reading_tables import contact_tests as contact_tests
from teleread.storage.catalogue.reading_tables import critical_steps as critical_steps
from teleread.storage.catalogue.reading_tables import criticals as criticals
from teleread.storage.catalogue.reading_tables import discrepancies as discrepancies
from teleread.storage.catalogue.reading_tables import drafts as drafts
from teleread.storage.catalogue.reading_tables import flag_verdicts as flag_verdicts
from teleread.storage.catalogue.reading_tables import indicator_cells as indicator_cells
from teleread.storage.catalogue.reading_tables import indicator_events as indicator_events
from teleread.storage.catalogue.reading_tables import item_events as item_events
from teleread.storage.catalogue.reading_tables import signing_keys as signing_keys
from teleread.storage.catalogue.reading_tables import timers as timers

objects = Table(
    "objects",
    metadata,
    Column("key", String(200), primary_key=True),  # raw/sha256/ab/cd/<hash> or derived/<version>/<arrival>/<name>
    Column("sha256", String(64), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("root_sha256", String(64)),  # the raw object whose key seals this one
    Column("intake_key", String(16)),  # id of the key that wraps that key in the object's header
)
Index("ix_objects_root_sha256", objects.c.root_sha256)
Index("ix_objects_intake_key", objects.c.intake_key)

# Keys that the sweeper is removing or has removed. Who wrote an object under one of them meanwhile writes it again.
swept_objects = Table(
    "swept_objects",
    metadata,
    serial(),
    Column("key", String(200), nullable=False),
    Column("condemned_at", UtcDateTime, nullable=False),
    Column("gone", Boolean, nullable=False),  # false: it may still be there
)
Index("ix_swept_objects_key", swept_objects.c.key)

# How far the walk through the store has come that looks for what nothing names.
store_walks = Table(
    "store_walks",
    metadata,
    Column("name", String(16), primary_key=True),
    Column("begun_at", UtcDateTime, nullable=False),
    Column("position", String(200), nullable=False),  # the last key that was looked at
    Column("unclear", Integer, nullable=False),  # notes of this walk that could not be read and that no row answers
)

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
Index(
    "ix_arrivals_open",
    arrivals.c.arrived_at,
    sqlite_where=arrivals.c.case_id.is_(None),
    postgresql_where=arrivals.c.case_id.is_(None),
)
Index("ix_arrivals_case_id", arrivals.c.case_id)
Index("ix_arrivals_sha256", arrivals.c.sha256)  # the same bytes from another site
Index("ix_arrivals_study_id", arrivals.c.study_id)
Index(
    "ix_arrivals_landed",
    arrivals.c.arrived_at,
    sqlite_where=text("state = 'landed'"),
    postgresql_where=text("state = 'landed'"),
)

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

backups = Table(
    "backups",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("begun_at", UtcDateTime, nullable=False),
    Column("made_at", UtcDateTime),  # absent: it did not come to its end
    Column("manifest_sha256", String(64)),
    Column("facts", JSON, nullable=False),
)

scrubs = Table(
    "scrubs",
    metadata,
    serial(),
    Column("asked", Boolean, nullable=False),  # false: the slow one that never ends
    Column("begun_at", UtcDateTime, nullable=False),
    Column("ended_at", UtcDateTime),
    Column("position", String(200), nullable=False),  # the last key that was read; the next run goes on behind it
    Column("objects", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
)

scrub_findings = Table(
    "scrub_findings",
    metadata,
    Column("scrub_id", ForeignKey("scrubs.id"), primary_key=True),
    Column("key", String(200), primary_key=True),
    Column("code", String(64), nullable=False),  # object_corrupt | object_missing | key_missing
    Column("found_at", UtcDateTime, nullable=False),
)

work_items = Table(
    "work_items",
    metadata,
    Column("id", String(32), primary_key=True),  # hash of (case, seq)
    Column("case_id", String(32), nullable=False),  # arrival id for an ECG or an unreadable object, else study id
    Column("seq", Integer, nullable=False),  # a case owns successive work items
    Column("state", String(16), nullable=False),  # SCHEDULED | IN PROGRESS | COMPLETED | CANCELED (PS3.4 CC.1.1)
    Column("priority", String(8), nullable=False),
    Column("rank", Integer, nullable=False),  # 0 urgent, 1 high, 2 routine: the order of the list
    Column("reasons", JSON, nullable=False),  # list of stable codes: why this priority
    Column("site_id", String(32), nullable=False),
    Column("modality", String(16), nullable=False),
    Column("arrival_id", ForeignKey("arrivals.id"), nullable=False),
    Column("study_id", ForeignKey("studies.id")),
    Column("patient_pseudonym", String(32)),
    Column("patient_sex", String(1)),
    Column("patient_age_years", Float),
    Column("analysed", Boolean, nullable=False),
    Column("quality_acceptable", Boolean),  # absent when nothing was judged
    Column("heart_rate_bpm", Float),
    Column("arrived_at", UtcDateTime, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    # where it goes and when it is due; what another version of the code wrote stands on top until it is routed
    # reading | second_reading | second_opinion | consultation | review
    Column("kind", String(16), nullable=False, server_default="reading"),
    Column("parent_id", String(32)),  # the work item that asked for this one
    Column("band", Integer, nullable=False, server_default="0"),  # 0 urgent, 1 all else
    Column(
        "order_at", UtcDateTime, nullable=False, server_default="1970-01-01 00:00:00"
    ),  # ageing moves nothing: it is in here
    Column("due_at", UtcDateTime),
    Column("pool", String(32)),  # absent: not routed yet, and anybody's
    Column("overflow_pool", String(32)),  # opened as well
    Column("body_part", String(16)),
    Column("question", String(32)),
    Column("not_for", String(64)),  # who may not read it, because they read it before
    # the claim: a lease with a fencing token
    Column("fence", Integer, nullable=False, server_default="0"),  # grows with each claim of the case
    Column("claimed_by", String(64)),
    Column("claimed_at", UtcDateTime),
    Column("lease_until", UtcDateTime),
    Column("ended_at", UtcDateTime),
    Column("end_reason", String(32)),
    UniqueConstraint("case_id", "seq"),
)
Index(
    "ix_work_items_queue",
    work_items.c.band,
    work_items.c.order_at,
    work_items.c.id,
    sqlite_where=text("state = 'SCHEDULED'"),
    postgresql_where=text("state = 'SCHEDULED'"),
)
Index(
    "ix_work_items_pool",
    work_items.c.pool,
    work_items.c.band,
    work_items.c.order_at,
    work_items.c.id,
    sqlite_where=text("state = 'SCHEDULED'"),
    postgresql_where=text("state = 'SCHEDULED'"),
)
Index(
    "ix_work_items_leases",
    work_items.c.lease_until,
    sqlite_where=text("state = 'IN PROGRESS'"),
    postgresql_where=text("state = 'IN PROGRESS'"),
)
Index(
    "ix_work_items_overflow",
    work_items.c.overflow_pool,
    work_items.c.band,
    work_items.c.order_at,
    work_items.c.id,
    sqlite_where=text("state = 'SCHEDULED' AND overflow_pool IS NOT NULL"),
    postgresql_where=text("state = 'SCHEDULED' AND overflow_pool IS NOT NULL"),
)
Index(
    "ix_work_items_site",
    work_items.c.site_id,
    work_items.c.band,
    work_items.c.order_at,
    work_items.c.id,
    sqlite_where=text("state = 'SCHEDULED'"),
    postgresql_where=text("state = 'SCHEDULED'"),
)
Index(
    "ix_work_items_modality",
    work_items.c.modality,
    work_items.c.band,
    work_items.c.order_at,
    work_items.c.id,
    sqlite_where=text("state = 'SCHEDULED'"),
    postgresql_where=text("state = 'SCHEDULED'"),
)
Index(
    "ix_work_items_unrouted",
    work_items.c.band,
    work_items.c.order_at,
    work_items.c.id,
    sqlite_where=text("state = 'SCHEDULED' AND pool IS NULL"),
    postgresql_where=text("state = 'SCHEDULED' AND pool IS NULL"),
)
Index(
    "ix_work_items_parent_id",
    work_items.c.parent_id,
    sqlite_where=work_items.c.parent_id.is_not(None),
    postgresql_where=work_items.c.parent_id.is_not(None),
)
Index("ix_work_items_claimed_by", work_items.c.claimed_by, work_items.c.state)
# second readings and opinions are few among all that somebody has read
Index(
    "ix_work_items_beside",
    work_items.c.claimed_by,
    work_items.c.kind,
    work_items.c.state,
    sqlite_where=text("kind <> 'reading'"),
    postgresql_where=text("kind <> 'reading'"),
)
# what is rare in a pool is found without walking all that waits there
for _name in ("modality", "priority"):
    Index(
        f"ix_work_items_pool_{_name}",
        work_items.c.pool,
        work_items.c[_name],
        work_items.c.band,
        work_items.c.order_at,
        work_items.c.id,
        sqlite_where=text("state = 'SCHEDULED'"),
        postgresql_where=text("state = 'SCHEDULED'"),
    )

reports = Table(
    "reports",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("case_id", String(32), nullable=False),
    Column("version", Integer, nullable=False),
    Column("text", Text, nullable=False),
    Column("critical", Boolean, nullable=False),
    Column("signed_by", String(64), nullable=False),
    Column("signed_at", UtcDateTime, nullable=False),
    Column(
        "kind", String(12), nullable=False, server_default="final"
    ),  # preliminary | final | addendum | corrected | withdrawn
    Column("item_id", String(32)),  # the work item that it completed
    Column("replaces", String(32)),  # the report that it corrects or withdraws
    Column("document", Text),  # canonical JSON: what was signed, byte for byte
    Column("sha256", String(64)),  # of it
    Column("signature", Text),  # detached, base64
    Column("key_id", String(32)),
    UniqueConstraint("case_id", "version"),
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("report_id", ForeignKey("reports.id"), primary_key=True),
    Column("site_id", String(32), nullable=False),
    Column("channel", String(8), nullable=False),  # dicom | folder | web
    Column("delivered_at", UtcDateTime),
    Column("tried_at", UtcDateTime),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("error_code", String(64)),
)

site_status = Table(
    "site_status",
    metadata,
    Column("site_id", String(32), primary_key=True),
    Column("watermark", UtcDateTime),  # all that the site listed up to here has landed
    Column("last_started_at", UtcDateTime),
    Column("last_ok_at", UtcDateTime),
    Column("last_landed", Integer),
    Column("failing_since", UtcDateTime),
    Column("failure_code", String(64)),
    Column("failure_message", Text),
    Column("failures", Integer, nullable=False, server_default="0"),
    Column("next_try_at", UtcDateTime),
    Column("waiting", Integer),  # objects listed by the site and not landed, when known
    Column("unrecognised", Integer),  # files left where they are, because nothing says they are studies
)

site_messages = Table(
    "site_messages",
    metadata,
    serial(),
    Column("site_id", String(32), nullable=False),
    Column("code", String(64), nullable=False),
    Column("safe_message", Text, nullable=False),
    Column("opened_at", UtcDateTime, nullable=False),
    Column("closed_at", UtcDateTime),
    Column("waiting", Integer),
    Column("next_try_at", UtcDateTime),
)
Index(
    "uq_site_messages_open",
    site_messages.c.site_id,
    unique=True,
    sqlite_where=site_messages.c.closed_at.is_(None),
    postgresql_where=site_messages.c.closed_at.is_(None),
)

pull_ledger = Table(
    "pull_ledger",
    metadata,
    Column("site_id", String(32), primary_key=True),
    Column("item", String(64), primary_key=True),  # SOP instance UID, or a keyed hash of the file's name
    Column("fingerprint", String(160), nullable=False),  # how the source described it when last seen
    Column("first_seen_at", UtcDateTime, nullable=False),  # with this fingerprint
    Column("arrival_id", String(32)),  # absent until landed with this fingerprint
    Column("refused_code", String(64)),  # why the last try to take it failed
)

accounts = Table(
    "accounts",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("password_hash", String(200), nullable=False),
    Column("role", String(16), nullable=False),  # one of storage/accounts.ROLES
    Column("site_id", String(32)),  # uploaders belong to one site
    Column("created_at", UtcDateTime, nullable=False),
    Column("display_name", String(64)),  # as a clinic reads it
    Column("disabled_at", UtcDateTime),
    Column("failures", Integer, nullable=False, server_default="0"),  # wrong passwords, one after the other
    Column("locked_until", UtcDateTime),
    Column("second_factor", Text),  # sealed; absent: none
    Column("second_factor_step", Integer),  # the last one taken, which is good once
)

sessions = Table(
    "sessions",
    metadata,
    Column("token_sha256", String(64), primary_key=True),
    Column("account", ForeignKey("accounts.name"), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    Column("seen_at", UtcDateTime),  # ends when unused for too long
    Column("second_factor_at", UtcDateTime),
    Column("unlocked_until", UtcDateTime),  # the PIN was given: signing needs it no more until then
    Column("unlocked_key", Text),  # the signing key, which only the session's own token opens
)

sign_in_attempts = Table(
    "sign_in_attempts",
    metadata,
    Column("name_sha256", String(64), primary_key=True),  # what was typed may be anything, also a password
    Column("started_at", UtcDateTime, nullable=False),  # of the first attempt that still counts
    Column("attempts", Integer, nullable=False),
)


audit = audit_tables(metadata, "audit_events", "audit")
audit_events = audit.events

# One row: the oldest revision whose code may be started on this schema.
readers = Table("catalogue_readers", metadata, Column("oldest", String(32), primary_key=True))
