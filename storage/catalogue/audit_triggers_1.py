"""What a database does for its audit by itself. Revisions use it, so it never changes: another version is another file.

Whatever code inserts an event, also that of an older version, leaves it noted as unsealed. Events and links can only
be added, and the end of the chain only goes forward. Who owns the database can take these triggers away; then the
chain shows what was done.

A revision that makes one of these tables anew (on SQLite that is what altering a column does) loses its triggers and
installs them again.
"""

from __future__ import annotations

from alembic import op

MARK = "append-only"  # what the error begins with
SQLSTATE = "TR001"


def install(events: str, prefix: str) -> None:
    """Make the triggers, and note what was recorded before as unsealed.

    Args:
        events: the events' table.
        prefix: of the tables ``<prefix>_unsealed``, ``<prefix>_chain`` and ``<prefix>_head``.
    """
    op.execute(f"INSERT INTO {prefix}_unsealed (event_id) SELECT id FROM {events}")
    statements = _sqlite(events, prefix) if op.get_bind().dialect.name == "sqlite" else _postgres(events, prefix)
    for statement in statements:
        op.execute(statement)


def _sqlite(events: str, prefix: str) -> list[str]:
    chain, head, unsealed = f"{prefix}_chain", f"{prefix}_head", f"{prefix}_unsealed"

    def refuse(name: str, when: str, condition: str = "") -> str:
        where = f" WHEN {condition}" if condition else ""
        return (
            f"CREATE TRIGGER {prefix}_{name} BEFORE {when} FOR EACH ROW{where} "
            f"BEGIN SELECT RAISE(ABORT, '{MARK}: {prefix}'); END"
        )

    return [
        f"CREATE TRIGGER {prefix}_recorded AFTER INSERT ON {events} FOR EACH ROW "
        f"BEGIN INSERT INTO {unsealed} (event_id) VALUES (NEW.id); END",
        refuse("event_kept", f"UPDATE ON {events}"),
        refuse("event_stays", f"DELETE ON {events}"),
        # INSERT OR REPLACE deletes without asking the triggers for deletion
        refuse("event_not_replaced", f"INSERT ON {events}", f"EXISTS (SELECT 1 FROM {events} WHERE id = NEW.id)"),
        refuse("link_kept", f"UPDATE ON {chain}"),
        refuse("link_stays", f"DELETE ON {chain}"),
        refuse(
            "link_not_replaced",
            f"INSERT ON {chain}",
            f"EXISTS (SELECT 1 FROM {chain} WHERE seq = NEW.seq OR event_id = NEW.event_id)",
        ),
        refuse("unsealed_kept", f"UPDATE ON {unsealed}"),
        refuse("head_stays", f"DELETE ON {head}"),
        refuse("head_forward", f"UPDATE ON {head}", "NEW.id <> OLD.id OR NEW.seq <= OLD.seq"),
        refuse("head_not_replaced", f"INSERT ON {head}", f"EXISTS (SELECT 1 FROM {head})"),
    ]


def _postgres(events: str, prefix: str) -> list[str]:
    chain, head, unsealed = f"{prefix}_chain", f"{prefix}_head", f"{prefix}_unsealed"

    def function(name: str, body: str) -> str:
        return f"CREATE FUNCTION {prefix}_{name}() RETURNS trigger LANGUAGE plpgsql AS $body$ BEGIN {body} END $body$"

    def trigger(name: str, when: str, runs: str, condition: str = "", level: str = "ROW") -> str:
        where = f" WHEN ({condition})" if condition else ""
        return f"CREATE TRIGGER {prefix}_{name} {when} FOR EACH {level}{where} EXECUTE FUNCTION {prefix}_{runs}()"

    refusal = f"RAISE EXCEPTION '{MARK}: {prefix}' USING ERRCODE = '{SQLSTATE}';"
    return [
        function("note", f"INSERT INTO {unsealed} (event_id) VALUES (NEW.id); RETURN NULL;"),
        function("refuse", refusal),
        trigger("recorded", f"AFTER INSERT ON {events}", "note"),
        trigger("event_kept", f"BEFORE UPDATE OR DELETE ON {events}", "refuse"),
        trigger("link_kept", f"BEFORE UPDATE OR DELETE ON {chain}", "refuse"),
        trigger("unsealed_kept", f"BEFORE UPDATE ON {unsealed}", "refuse"),
        trigger("head_stays", f"BEFORE DELETE ON {head}", "refuse"),
        trigger("head_forward", f"BEFORE UPDATE ON {head}", "refuse", "NEW.id <> OLD.id OR NEW.seq <= OLD.seq"),
        *(
            trigger(f"no_truncate_{number}", f"BEFORE TRUNCATE ON {table}", "refuse", level="STATEMENT")
            for number, table in enumerate((events, chain, head), 1)
        ),
    ]
