"""The catalogue's tables of the reading room: what happens to a case, what is said of it, who has been told.

The columns of ``work_items`` and ``reports`` themselves stand in ``work_tables.py``.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from teleread.storage.catalogue.columns import UtcDateTime, metadata, partial_index, serial

# Everything that happened to a work item, in the transaction in which it happened. Indicators are computed from these.
item_events = Table(
    "item_events",
    metadata,
    serial(),
    Column("case_id", String(32), nullable=False),
    Column("item_id", String(32), nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("event", String(24), nullable=False),  # a word of reading/ups.py
    Column("from_state", String(16)),  # absent at its creation
    Column("to_state", String(16), nullable=False),
    Column("who", String(64), nullable=False),
    Column("fence", Integer, nullable=False),
    Column("detail", JSON, nullable=False),  # identifiers, codes and counts; no identity
    Column("folded", Boolean, nullable=False, server_default=text("false")),  # counted in the indicators
)
Index("ix_item_events_case_id", item_events.c.case_id)
Index("ix_item_events_at", item_events.c.at)
Index(
    "ix_item_events_unfolded",
    item_events.c.id,
    sqlite_where=text("folded = 0"),
    postgresql_where=text("NOT folded"),
)

# What must happen at a time, unless something else has happened before. Taken by lease by whoever runs.
timers = Table(
    "timers",
    metadata,
    serial(),
    Column("kind", String(24), nullable=False),
    Column("subject", String(64), nullable=False),  # id of what it is about
    Column("due_at", UtcDateTime, nullable=False),
    Column("lease_until", UtcDateTime),
    Column("tries", Integer, nullable=False, server_default="0"),
    Column("done_at", UtcDateTime),
    Column("outcome", String(32)),
    UniqueConstraint("kind", "subject"),
)
partial_index("ix_timers_due", timers.c.due_at, where=timers.c.done_at.is_(None))

# What people on duty must notice: raised once, open until it is cleared.
alarms = Table(
    "alarms",
    metadata,
    serial(),
    Column("kind", String(32), nullable=False),
    Column("subject", String(64), nullable=False),
    Column("pool", String(32)),
    Column("site_id", String(32)),
    Column("raised_at", UtcDateTime, nullable=False),
    Column("cleared_at", UtcDateTime),
    Column("cleared_by", String(64)),
    Column("owner", String(64)),  # the person who has it, where the alarm names one
    Column("detail", JSON, nullable=False),
)
partial_index("uq_alarms_open", alarms.c.kind, alarms.c.subject, unique=True, where=alarms.c.cleared_at.is_(None))
Index("ix_alarms_raised_at", alarms.c.raised_at)

# What a reader has typed and not signed: one for each case, kept for whoever claims it next.
drafts = Table(
    "drafts",
    metadata,
    Column("case_id", String(32), primary_key=True),
    Column("item_id", String(32), nullable=False),
    Column("body", JSON, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("saved_by", String(64), nullable=False),
    Column("saved_at", UtcDateTime, nullable=False),
    Column("fence", Integer, nullable=False),
)

# What a reader says of a flag: the precision of each rule is counted from these.
flag_verdicts = Table(
    "flag_verdicts",
    metadata,
    Column("case_id", String(32), primary_key=True),
    Column("flag", String(96), primary_key=True),  # rule, lead
    Column("rule_version", String(32), nullable=False),
    Column("verdict", String(12), nullable=False),  # rejected | confirmed
    Column("reason", String(32)),
    Column("said_by", String(64), nullable=False),
    Column("said_at", UtcDateTime, nullable=False),
)

# How far a second reading differs from the first: RADPEER-like grades 0 (agrees) to 3 (would have changed treatment).
discrepancies = Table(
    "discrepancies",
    metadata,
    Column("item_id", String(32), primary_key=True),  # of the second reading
    Column("case_id", String(32), nullable=False),
    Column("report_id", ForeignKey("reports.id"), nullable=False),  # the one that was read again
    Column("grade", Integer, nullable=False),
    Column("note", Text),
    Column("graded_by", String(64), nullable=False),
    Column("graded_at", UtcDateTime, nullable=False),
    Column("seen_at", UtcDateTime),  # by the first reader
)
partial_index("ix_discrepancies_unseen", discrepancies.c.report_id, where=discrepancies.c.seen_at.is_(None))

# What a reader asks another one, in free words; the case is the opinion's or the consultation's own.
asked_readings = Table(
    "asked_readings",
    metadata,
    Column("case_id", String(32), primary_key=True),
    Column("question", Text, nullable=False),
    Column("asked_by", String(64), nullable=False),
    Column("asked_at", UtcDateTime, nullable=False),
)

# A critical value on its way to a named person at the clinic.
criticals = Table(
    "criticals",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("case_id", String(32), nullable=False),
    Column("item_id", String(32)),
    Column("report_id", String(32)),  # set once a report says it too
    Column("site_id", String(32), nullable=False),
    Column("receipt", String(16), nullable=False),
    Column("codes", JSON, nullable=False),  # what was found: codes of statements
    Column("state", String(12), nullable=False),  # open | acknowledged | owned | withdrawn
    Column("found_at", UtcDateTime, nullable=False),
    Column("found_by", String(64), nullable=False),
    Column("told_to", String(64)),  # account or contact
    Column("told_at", UtcDateTime),
    Column("told_how", String(12)),  # page | agent | telephone
    Column("read_back", Boolean),
    Column("recorded_by", String(64)),
    Column("owner", String(64)),  # whose it is where nobody has acknowledged it
    Column("owned_at", UtcDateTime),
    Column("supersedes", String(32)),  # the critical whose statement this one corrects
    Column("ended_at", UtcDateTime),
)
Index("ix_criticals_case_id", criticals.c.case_id)
Index("ix_criticals_found_at", criticals.c.found_at)
partial_index("ix_criticals_open", criticals.c.site_id, where=criticals.c.ended_at.is_(None))

# Each way in which somebody was told of a critical value, and what came of it.
critical_steps = Table(
    "critical_steps",
    metadata,
    Column("critical_id", ForeignKey("criticals.id"), primary_key=True),
    Column("step", Integer, primary_key=True),  # of the ladder
    Column("channel", String(12), primary_key=True),  # screen | webhook | email | telephone | owner
    Column("contact", String(64), primary_key=True),
    Column("due_at", UtcDateTime, nullable=False),
    Column("tried_at", UtcDateTime),  # the first time
    Column("done_at", UtcDateTime),
    Column("outcome", String(32)),  # delivered, or why not
    Column("tries", Integer, nullable=False, server_default="0"),
)

contact_tests = Table(
    "contact_tests",
    metadata,
    serial(),
    Column("contact", String(64), nullable=False),
    Column("site_id", String(32), nullable=False),
    Column("tested_at", UtcDateTime, nullable=False),
    Column("outcome", String(32), nullable=False),  # reached | delivered | failed
    Column("tested_by", String(64), nullable=False),
)
Index("ix_contact_tests_contact", contact_tests.c.contact, contact_tests.c.tested_at)

# Facts for the indicators that no work item's event holds, written with the act.
indicator_events = Table(
    "indicator_events",
    metadata,
    serial(),
    Column("at", UtcDateTime, nullable=False),
    Column("name", String(32), nullable=False),
    Column("case_id", String(32)),
    Column("site_id", String(32), nullable=False),
    Column("pool", String(32), nullable=False),
    Column("label", String(64), nullable=False),
    Column("value_ms", BigInteger, nullable=False),  # 0 where only the number counts
    Column("folded", Boolean, nullable=False, server_default=text("false")),
)
Index("ix_indicator_events_case_id", indicator_events.c.case_id)
Index(
    "ix_indicator_events_unfolded",
    indicator_events.c.id,
    sqlite_where=text("folded = 0"),
    postgresql_where=text("NOT folded"),
)

# Running values of the indicators; computed anew from the events they are the same.
indicator_cells = Table(
    "indicator_cells",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("day", String(10), primary_key=True),  # of the alliance's clock
    Column("site_id", String(32), primary_key=True),  # empty: of none
    Column("pool", String(32), primary_key=True),
    Column("shift", String(32), primary_key=True),
    Column("label", String(64), primary_key=True),  # device, operator, rule …
    Column("n", Integer, nullable=False),
    Column("total_ms", BigInteger, nullable=False),  # whole, so that no order of adding changes it
    Column("buckets", JSON, nullable=False),  # counts by upper limit
)
