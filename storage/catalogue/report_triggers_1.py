"""What a database does for signed reports by itself. A revision uses it, so it never changes: another version is
another file.

A report can only be added. What was signed is never changed and never replaced, whatever code is at work; it goes only
while a deletion of a patient's data is under way, which has its own row, its reason and its audit events. Who owns the
database can take these triggers away; then the signature, and the hash in the audit's chain, show what was done.

A revision that makes the table anew (on SQLite that is what altering a column does) loses its triggers and installs
them again.
"""

from __future__ import annotations

from alembic import op

MARK = "append-only"
SQLSTATE = "TR001"
_UNDER_WAY = "EXISTS (SELECT 1 FROM deletions WHERE state = 'begun')"


def install() -> None:
    """Make the triggers of ``reports``."""
    for statement in _sqlite() if op.get_bind().dialect.name == "sqlite" else _postgres():
        op.execute(statement)


def _sqlite() -> list[str]:
    def refuse(name: str, when: str, condition: str = "") -> str:
        where = f" WHEN {condition}" if condition else ""
        return (
            f"CREATE TRIGGER reports_{name} BEFORE {when} ON reports FOR EACH ROW{where} "
            f"BEGIN SELECT RAISE(ABORT, '{MARK}: reports'); END"
        )

    there = "EXISTS (SELECT 1 FROM reports WHERE id = NEW.id OR (case_id = NEW.case_id AND version = NEW.version))"
    return [
        refuse("kept", "UPDATE"),
        refuse("stay", "DELETE", f"NOT {_UNDER_WAY}"),
        # INSERT OR REPLACE deletes without asking the triggers for deletion
        refuse("not_replaced", "INSERT", there),
    ]


def _postgres() -> list[str]:
    refusal = f"RAISE EXCEPTION '{MARK}: reports' USING ERRCODE = '{SQLSTATE}';"

    def function(name: str, body: str) -> str:
        return f"CREATE FUNCTION reports_{name}() RETURNS trigger LANGUAGE plpgsql AS $body$ BEGIN {body} END $body$"

    return [
        function("refuse", refusal),
        function("refuse_unless_deletion", f"IF {_UNDER_WAY} THEN RETURN OLD; END IF; {refusal}"),
        "CREATE TRIGGER reports_kept BEFORE UPDATE ON reports FOR EACH ROW EXECUTE FUNCTION reports_refuse()",
        "CREATE TRIGGER reports_stay BEFORE DELETE ON reports FOR EACH ROW "
        "EXECUTE FUNCTION reports_refuse_unless_deletion()",
        "CREATE TRIGGER reports_no_truncate BEFORE TRUNCATE ON reports FOR EACH STATEMENT "
        "EXECUTE FUNCTION reports_refuse()",
    ]
