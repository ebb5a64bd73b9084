"""The reading room: claims, routing, signed documents, critical values, people."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from alembic.operations import BatchOperations

from teleread.storage.catalogue import report_triggers_1
from teleread.storage.catalogue.migrate import let_older_run

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Bring the tables here."""
    let_older_run("catalogue_readers", "0001")
    _people()
    _queue()
    _documents()
    _critical_loop()
    # those that wait keep their order until they are routed, which gives them their time
    op.execute("UPDATE work_items SET band = CASE WHEN rank = 0 THEN 0 ELSE 1 END, order_at = arrived_at")


def _people() -> None:
    _break_glass()
    _signing_keys()
    _accounts()
    _sessions()


def _break_glass() -> None:
    op.create_table(
        "break_glass",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("account", sa.String(length=64), nullable=False),
        sa.Column("case_id", sa.String(length=32), nullable=False),
        sa.Column("reason", sa.String(length=32), nullable=False),
        sa.Column("begun_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ends_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("reviewed_by", sa.String(length=64), nullable=True),
        sa.Column("reviewed_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_break_glass")),
    )
    with op.batch_alter_table("break_glass", schema=None) as batch_op:
        batch_op.create_index("ix_break_glass_account", ["account", "case_id"], unique=False)


def _signing_keys() -> None:
    op.create_table(
        "signing_keys",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("account", sa.String(length=64), nullable=False),
        sa.Column("algorithm", sa.String(length=16), nullable=False),
        sa.Column("public_key", sa.Text(), nullable=False),
        sa.Column("sealed_private", sa.Text(), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("wrong_pins", sa.Integer(), server_default="0", nullable=False),
        sa.Column("locked_until", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["account"], ["accounts.name"], name=op.f("fk_signing_keys_account")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_signing_keys")),
    )
    with op.batch_alter_table("signing_keys", schema=None) as batch_op:
        batch_op.create_index("ix_signing_keys_account", ["account"], unique=False)


def _accounts() -> None:
    with op.batch_alter_table("accounts", schema=None) as batch_op:
        batch_op.add_column(sa.Column("display_name", sa.String(length=64), nullable=True))
        batch_op.add_column(sa.Column("disabled_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("failures", sa.Integer(), server_default="0", nullable=False))
        batch_op.add_column(sa.Column("locked_until", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("second_factor", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("second_factor_step", sa.Integer(), nullable=True))


def _sessions() -> None:
    with op.batch_alter_table("sessions", schema=None) as batch_op:
        batch_op.add_column(sa.Column("seen_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("second_factor_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("unlocked_until", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("unlocked_key", sa.Text(), nullable=True))


def _queue() -> None:
    _alarms()
    _item_events()
    _timers()
    _arrivals_index()
    _work_items()


def _alarms() -> None:
    op.create_table(
        "alarms",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("subject", sa.String(length=64), nullable=False),
        sa.Column("pool", sa.String(length=32), nullable=True),
        sa.Column("site_id", sa.String(length=32), nullable=True),
        sa.Column("raised_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("cleared_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("cleared_by", sa.String(length=64), nullable=True),
        sa.Column("owner", sa.String(length=64), nullable=True),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alarms")),
    )
    with op.batch_alter_table("alarms", schema=None) as batch_op:
        batch_op.create_index("ix_alarms_raised_at", ["raised_at"], unique=False)
        batch_op.create_index(
            "uq_alarms_open",
            ["kind", "subject"],
            unique=True,
            sqlite_where=sa.text("cleared_at IS NULL"),
            postgresql_where=sa.text("cleared_at IS NULL"),
        )


def _item_events() -> None:
    op.create_table(
        "item_events",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("case_id", sa.String(length=32), nullable=False),
        sa.Column("item_id", sa.String(length=32), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("event", sa.String(length=24), nullable=False),
        sa.Column("from_state", sa.String(length=16), nullable=True),
        sa.Column("to_state", sa.String(length=16), nullable=False),
        sa.Column("who", sa.String(length=64), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.Column("folded", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_item_events")),
    )
    with op.batch_alter_table("item_events", schema=None) as batch_op:
        batch_op.create_index("ix_item_events_at", ["at"], unique=False)
        batch_op.create_index("ix_item_events_case_id", ["case_id"], unique=False)
        batch_op.create_index(
            "ix_item_events_unfolded",
            ["id"],
            unique=False,
            sqlite_where=sa.text("folded = 0"),
            postgresql_where=sa.text("NOT folded"),
        )


def _timers() -> None:
    op.create_table(
        "timers",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("kind", sa.String(length=24), nullable=False),
        sa.Column("subject", sa.String(length=64), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("tries", sa.Integer(), server_default="0", nullable=False),
        sa.Column("done_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("outcome", sa.String(length=32), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_timers")),
        sa.UniqueConstraint("kind", "subject", name=op.f("uq_timers_kind_subject")),
    )
    with op.batch_alter_table("timers", schema=None) as batch_op:
        batch_op.create_index(
            "ix_timers_due",
            ["due_at"],
            unique=False,
            sqlite_where=sa.text("done_at IS NULL"),
            postgresql_where=sa.text("done_at IS NULL"),
        )


def _arrivals_index() -> None:
    with op.batch_alter_table("arrivals", schema=None) as batch_op:
        batch_op.create_index("ix_arrivals_sha256", ["sha256"], unique=False)


def _work_items() -> None:
    with op.batch_alter_table("work_items", schema=None) as batch_op:
        _add_work_item_columns(batch_op)
        _renew_work_item_indexes(batch_op)


def _add_work_item_columns(batch_op: BatchOperations) -> None:
    batch_op.add_column(sa.Column("kind", sa.String(length=16), server_default="reading", nullable=False))
    batch_op.add_column(sa.Column("parent_id", sa.String(length=32), nullable=True))
    batch_op.add_column(sa.Column("band", sa.Integer(), server_default="0", nullable=False))
    batch_op.add_column(
        sa.Column("order_at", sa.DateTime(timezone=True), server_default="1970-01-01 00:00:00", nullable=False)
    )
    batch_op.add_column(sa.Column("due_at", sa.DateTime(timezone=True), nullable=True))
    batch_op.add_column(sa.Column("pool", sa.String(length=32), nullable=True))
    batch_op.add_column(sa.Column("overflow_pool", sa.String(length=32), nullable=True))
    batch_op.add_column(sa.Column("body_part", sa.String(length=16), nullable=True))
    batch_op.add_column(sa.Column("question", sa.String(length=32), nullable=True))
    batch_op.add_column(sa.Column("not_for", sa.String(length=64), nullable=True))
    batch_op.add_column(sa.Column("fence", sa.Integer(), server_default="0", nullable=False))
    batch_op.add_column(sa.Column("claimed_by", sa.String(length=64), nullable=True))
    batch_op.add_column(sa.Column("claimed_at", sa.DateTime(timezone=True), nullable=True))
    batch_op.add_column(sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True))
    batch_op.add_column(sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True))
    batch_op.add_column(sa.Column("end_reason", sa.String(length=32), nullable=True))


def _renew_work_item_indexes(batch_op: BatchOperations) -> None:
    waiting = "state = 'SCHEDULED'"
    order = ["band", "order_at", "id"]
    batch_op.drop_index(batch_op.f("ix_work_items_list"), sqlite_where=sa.text(waiting))
    batch_op.create_index("ix_work_items_claimed_by", ["claimed_by", "state"], unique=False)
    for name, columns, where in (
        ("parent_id", ["parent_id"], "parent_id IS NOT NULL"),
        ("leases", ["lease_until"], "state = 'IN PROGRESS'"),
        ("pool", ["pool", *order], waiting),
        ("queue", order, waiting),
        ("pool_modality", ["pool", "modality", *order], waiting),
        ("pool_priority", ["pool", "priority", *order], waiting),
        ("modality", ["modality", *order], waiting),
        ("overflow", ["overflow_pool", *order], f"{waiting} AND overflow_pool IS NOT NULL"),
        ("site", ["site_id", *order], waiting),
        ("unrouted", order, f"{waiting} AND pool IS NULL"),
    ):
        batch_op.create_index(
            f"ix_work_items_{name}",
            columns,
            unique=False,
            sqlite_where=sa.text(where),
            postgresql_where=sa.text(where),
        )


def _documents() -> None:
    _arrivals_sender()
    _drafts()
    _flag_verdicts()
    _indicator_events()
    _indicator_cells()
    _discrepancies()
    _reports()
    report_triggers_1.install()


def _arrivals_sender() -> None:
    with op.batch_alter_table("arrivals", schema=None) as batch_op:
        batch_op.add_column(sa.Column("sent_by", sa.String(length=64), nullable=True))


def _drafts() -> None:
    op.create_table(
        "drafts",
        sa.Column("case_id", sa.String(length=32), nullable=False),
        sa.Column("item_id", sa.String(length=32), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("saved_by", sa.String(length=64), nullable=False),
        sa.Column("saved_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("case_id", name=op.f("pk_drafts")),
    )


def _flag_verdicts() -> None:
    op.create_table(
        "flag_verdicts",
        sa.Column("case_id", sa.String(length=32), nullable=False),
        sa.Column("flag", sa.String(length=96), nullable=False),
        sa.Column("rule_version", sa.String(length=32), nullable=False),
        sa.Column("verdict", sa.String(length=12), nullable=False),
        sa.Column("reason", sa.String(length=32), nullable=True),
        sa.Column("said_by", sa.String(length=64), nullable=False),
        sa.Column("said_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("case_id", "flag", name=op.f("pk_flag_verdicts")),
    )


def _indicator_events() -> None:
    op.create_table(
        "indicator_events",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("case_id", sa.String(length=32), nullable=True),
        sa.Column("site_id", sa.String(length=32), nullable=False),
        sa.Column("pool", sa.String(length=32), nullable=False),
        sa.Column("label", sa.String(length=64), nullable=False),
        sa.Column("value_ms", sa.BigInteger(), nullable=False),
        sa.Column("folded", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_indicator_events")),
    )
    with op.batch_alter_table("indicator_events", schema=None) as batch_op:
        batch_op.create_index("ix_indicator_events_case_id", ["case_id"], unique=False)
        batch_op.create_index(
            "ix_indicator_events_unfolded",
            ["id"],
            unique=False,
            sqlite_where=sa.text("folded = 0"),
            postgresql_where=sa.text("NOT folded"),
        )


def _indicator_cells() -> None:
    op.create_table(
        "indicator_cells",
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("day", sa.String(length=10), nullable=False),
        sa.Column("site_id", sa.String(length=32), nullable=False),
        sa.Column("pool", sa.String(length=32), nullable=False),
        sa.Column("shift", sa.String(length=32), nullable=False),
        sa.Column("label", sa.String(length=64), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("total_ms", sa.BigInteger(), nullable=False),
        sa.Column("buckets", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("name", "day", "site_id", "pool", "shift", "label", name=op.f("pk_indicator_cells")),
    )


def _discrepancies() -> None:
    op.create_table(
        "discrepancies",
        sa.Column("item_id", sa.String(length=32), nullable=False),
        sa.Column("case_id", sa.String(length=32), nullable=False),
        sa.Column("report_id", sa.String(length=32), nullable=False),
        sa.Column("grade", sa.Integer(), nullable=False),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("graded_by", sa.String(length=64), nullable=False),
        sa.Column("graded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["report_id"], ["reports.id"], name=op.f("fk_discrepancies_report_id")),
        sa.PrimaryKeyConstraint("item_id", name=op.f("pk_discrepancies")),
    )


def _reports() -> None:
    with op.batch_alter_table("reports", schema=None) as batch_op:
        batch_op.add_column(sa.Column("kind", sa.String(length=12), server_default="final", nullable=False))
        batch_op.add_column(sa.Column("item_id", sa.String(length=32), nullable=True))
        batch_op.add_column(sa.Column("replaces", sa.String(length=32), nullable=True))
        batch_op.add_column(sa.Column("document", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("sha256", sa.String(length=64), nullable=True))
        batch_op.add_column(sa.Column("signature", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("key_id", sa.String(length=32), nullable=True))


def _critical_loop() -> None:
    _contact_tests()
    _criticals()
    _critical_steps()


def _contact_tests() -> None:
    op.create_table(
        "contact_tests",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("contact", sa.String(length=64), nullable=False),
        sa.Column("site_id", sa.String(length=32), nullable=False),
        sa.Column("tested_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("outcome", sa.String(length=32), nullable=False),
        sa.Column("tested_by", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_contact_tests")),
    )
    with op.batch_alter_table("contact_tests", schema=None) as batch_op:
        batch_op.create_index("ix_contact_tests_contact", ["contact", "tested_at"], unique=False)


def _criticals() -> None:
    op.create_table(
        "criticals",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("case_id", sa.String(length=32), nullable=False),
        sa.Column("item_id", sa.String(length=32), nullable=True),
        sa.Column("report_id", sa.String(length=32), nullable=True),
        sa.Column("site_id", sa.String(length=32), nullable=False),
        sa.Column("receipt", sa.String(length=16), nullable=False),
        sa.Column("codes", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("found_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("found_by", sa.String(length=64), nullable=False),
        sa.Column("told_to", sa.String(length=64), nullable=True),
        sa.Column("told_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("told_how", sa.String(length=12), nullable=True),
        sa.Column("read_back", sa.Boolean(), nullable=True),
        sa.Column("recorded_by", sa.String(length=64), nullable=True),
        sa.Column("owner", sa.String(length=64), nullable=True),
        sa.Column("owned_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("supersedes", sa.String(length=32), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_criticals")),
    )
    with op.batch_alter_table("criticals", schema=None) as batch_op:
        batch_op.create_index("ix_criticals_case_id", ["case_id"], unique=False)
        batch_op.create_index("ix_criticals_found_at", ["found_at"], unique=False)
        batch_op.create_index(
            "ix_criticals_open",
            ["site_id"],
            unique=False,
            sqlite_where=sa.text("ended_at IS NULL"),
            postgresql_where=sa.text("ended_at IS NULL"),
        )


def _critical_steps() -> None:
    op.create_table(
        "critical_steps",
        sa.Column("critical_id", sa.String(length=32), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("channel", sa.String(length=12), nullable=False),
        sa.Column("contact", sa.String(length=64), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("tried_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("done_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("outcome", sa.String(length=32), nullable=True),
        sa.Column("tries", sa.Integer(), server_default="0", nullable=False),
        sa.ForeignKeyConstraint(["critical_id"], ["criticals.id"], name=op.f("fk_critical_steps_critical_id")),
        sa.PrimaryKeyConstraint("critical_id", "step", "channel", "contact", name=op.f("pk_critical_steps")),
    )
