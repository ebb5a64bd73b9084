"""The catalogue's tables of work: what is to be read, what was said of it, where that went."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
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

_WAITING = text("state = 'SCHEDULED'")

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
    # ageing moves nothing: it is in here
    Column("order_at", UtcDateTime, nullable=False, server_default="1970-01-01 00:00:00"),
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
# the order of the list: a page of it is a walk along one of these indexes
_ORDER = (work_items.c.band, work_items.c.order_at, work_items.c.id)
partial_index("ix_work_items_queue", *_ORDER, where=text("state = 'SCHEDULED' AND seq > 0"))
partial_index("ix_work_items_pool", work_items.c.pool, *_ORDER, where=_WAITING)
partial_index("ix_work_items_site", work_items.c.site_id, *_ORDER, where=_WAITING)
partial_index("ix_work_items_modality", work_items.c.modality, *_ORDER, where=_WAITING)
partial_index(
    "ix_work_items_overflow",
    work_items.c.overflow_pool,
    *_ORDER,
    where=text("state = 'SCHEDULED' AND overflow_pool IS NOT NULL"),
)
partial_index("ix_work_items_unrouted", *_ORDER, where=text("state = 'SCHEDULED' AND pool IS NULL"))
# what is rare in a pool is found without walking all that waits there
partial_index("ix_work_items_pool_modality", work_items.c.pool, work_items.c.modality, *_ORDER, where=_WAITING)
partial_index("ix_work_items_pool_priority", work_items.c.pool, work_items.c.priority, *_ORDER, where=_WAITING)
partial_index("ix_work_items_leases", work_items.c.lease_until, where=text("state = 'IN PROGRESS'"))
partial_index("ix_work_items_parent_id", work_items.c.parent_id, where=work_items.c.parent_id.is_not(None))
Index("ix_work_items_claimed_by", work_items.c.claimed_by, work_items.c.state)
# second readings and opinions are few among all that somebody has read
partial_index(
    "ix_work_items_beside",
    work_items.c.claimed_by,
    work_items.c.kind,
    work_items.c.state,
    where=text("kind <> 'reading'"),
)
Index("ix_work_items_patient", work_items.c.patient_pseudonym)
partial_index(
    "ix_work_items_completed", work_items.c.claimed_by, work_items.c.ended_at, where=text("state = 'COMPLETED'")
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
    # preliminary | final | addendum | corrected | withdrawn
    Column("kind", String(12), nullable=False, server_default="final"),
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
