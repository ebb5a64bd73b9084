"""The catalogue's tables of patients: who is who, what somebody must be told, how long records are kept."""

from __future__ import annotations

from sqlalchemy import JSON, Boolean, Column, ForeignKey, Index, String, Table, Text

from teleread.storage.catalogue.columns import UtcDateTime, metadata, partial_index, serial

# A patient is what one issuer calls so. Who it is stands in the vault under the same pseudonym.
patients = Table(
    "patients",
    metadata,
    Column("pseudonym", String(32), primary_key=True),
    Column("site_id", String(32), nullable=False),  # where the first study came from
    Column("first_seen_at", UtcDateTime, nullable=False),
    Column("identified", Boolean, nullable=False),  # false: the study stated no identifier
)

# Two patients that are one person: said by a named person, or by one valid national id in both.
patient_links = Table(
    "patient_links",
    metadata,
    serial(),
    Column("pseudonym", ForeignKey("patients.pseudonym"), nullable=False),  # the lesser of the two
    Column("other_pseudonym", ForeignKey("patients.pseudonym"), nullable=False),
    Column("ground", String(16), nullable=False),  # national_id | person
    Column("reason", Text, nullable=False),
    Column("linked_by", String(64), nullable=False),
    Column("linked_at", UtcDateTime, nullable=False),
    Column("unlinked_by", String(64)),
    Column("unlinked_at", UtcDateTime),
    Column("unlinked_reason", Text),
)
partial_index(
    "uq_patient_links_standing",
    patient_links.c.pseudonym,
    patient_links.c.other_pseudonym,
    unique=True,
    where=patient_links.c.unlinked_at.is_(None),
)
Index("ix_patient_links_other", patient_links.c.other_pseudonym)

# What only a person can decide about who somebody is.
identity_questions = Table(
    "identity_questions",
    metadata,
    Column("id", String(32), primary_key=True),  # hash of code, arrival and the other side: found twice, asked once
    Column("code", String(32), nullable=False),  # see reading/questions.py
    Column("site_id", String(32), nullable=False),
    Column("pseudonym", String(32), nullable=False),
    Column("other_pseudonym", String(32)),  # possible_prior: whose earlier studies may be this patient's
    Column("arrival_id", ForeignKey("arrivals.id")),
    Column("other_arrival_id", ForeignKey("arrivals.id")),
    Column("asked_at", UtcDateTime, nullable=False),
    Column("answered_at", UtcDateTime),
    Column("answered_by", String(64)),
    Column("answer", String(16)),  # same | different | noted
    Column("reason", Text),
)
partial_index(
    "ix_identity_questions_open", identity_questions.c.asked_at, where=identity_questions.c.answered_at.is_(None)
)
Index("ix_identity_questions_pseudonym", identity_questions.c.pseudonym)

# While one is open its case stays in its place and readable, marked, and nothing of it is given back.
identity_corrections = Table(
    "identity_corrections",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("case_id", String(32), nullable=False),
    Column("pseudonym", String(32), nullable=False),  # whose the case was said to be
    Column("new_pseudonym", String(32)),  # whose it is; absent while nobody has said
    Column("reason", Text, nullable=False),
    Column("opened_by", String(64), nullable=False),
    Column("opened_at", UtcDateTime, nullable=False),
    Column("closed_by", String(64)),
    Column("closed_at", UtcDateTime),
    Column("outcome", String(16)),  # corrected | confirmed
)
partial_index(
    "uq_identity_corrections_open",
    identity_corrections.c.case_id,
    unique=True,
    where=identity_corrections.c.closed_at.is_(None),
)

# Told to one account, or to every account of a site, until somebody there has seen it.
notices = Table(
    "notices",
    metadata,
    serial(),
    Column("account", String(64)),
    Column("site_id", String(32)),
    Column("case_id", String(32), nullable=False),
    Column("code", String(32), nullable=False),  # see web/texts.py, IDENTITY_NOTICES
    Column("created_at", UtcDateTime, nullable=False),
    Column("seen_at", UtcDateTime),
    Column("seen_by", String(64)),
)
partial_index("ix_notices_unseen", notices.c.account, notices.c.site_id, where=notices.c.seen_at.is_(None))

# What a retention rule needs to know of a stay or a visit, beyond the studies themselves.
encounters = Table(
    "encounters",
    metadata,
    serial(),
    Column("pseudonym", ForeignKey("patients.pseudonym"), nullable=False),
    Column("kind", String(12), nullable=False),  # outpatient | inpatient
    Column("ended_at", UtcDateTime),  # visit or discharge; absent while the stay lasts
    Column("recorded_by", String(64), nullable=False),
    Column("recorded_at", UtcDateTime, nullable=False),
)
Index("ix_encounters_pseudonym", encounters.c.pseudonym)

legal_holds = Table(
    "legal_holds",
    metadata,
    serial(),
    Column("pseudonym", String(32), nullable=False),
    Column("reason", Text, nullable=False),
    Column("placed_by", String(64), nullable=False),
    Column("placed_at", UtcDateTime, nullable=False),
    Column("lifted_by", String(64)),
    Column("lifted_at", UtcDateTime),
)
Index("ix_legal_holds_pseudonym", legal_holds.c.pseudonym)

# One row for each patient that was deleted; the certificate is an object of the store.
deletions = Table(
    "deletions",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("pseudonym", String(32), nullable=False, unique=True),
    Column("policy_id", String(64), nullable=False),
    Column("policy_version", String(32), nullable=False),
    Column("reason", Text, nullable=False),
    Column("decided_by", String(64), nullable=False),
    Column("decided_at", UtcDateTime, nullable=False),
    Column("state", String(12), nullable=False),  # begun | forgotten | final
    Column("facts", JSON, nullable=False),  # counts, object hashes, key ids; no identity
    Column("certificate_key", String(200)),
    Column("final_at", UtcDateTime),
)
