"""What is held, in one canonical form, and everything that may never be seen in it.

The state leaves out what may differ between two runs that are equally good: times, attempts, numbers given by the
database, random pseudonyms (the identity behind them stands instead) and the keys that seal an object. What an object
is, is the hash of its plaintext as it is read back.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection, Table, select

from teleread.errors import StorageError, TelereadError
from teleread.pipeline.services import Services
from teleread.storage.catalogue import schema

_TABLES = (
    "objects",
    "arrivals",
    "quarantine",
    "studies",
    "series",
    "instances",
    "conflicts",
    "recordings",
    "derived",
    "patients",
    "patient_links",
    "identity_questions",
    "work_items",
)
_LEFT_OUT = frozenset({"attempts", "intake_key", "made_with"})
_PSEUDONYMS = frozenset({"pseudonym", "other_pseudonym", "patient_pseudonym"})
# a hash over pseudonyms
_HASHED_PSEUDONYMS = frozenset({("identity_questions", "id")})
_OF_PSEUDONYM = "-pseudonymised."
_OWN_BYTES = frozenset({"key", "object_key", "sha256", "size_bytes"})
_ACTIONS = ("land", "raise", "prepare", "quarantine", "enqueue")


@dataclass
class Found:
    """The state's hash, and each lie with what it is about."""

    hash: str = ""
    problems: list[tuple[str, str]] = field(default_factory=list)
    tables: dict[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return {"hash": self.hash, "problems": self.problems, "tables": self.tables}


def look(services: Services, acknowledged: Mapping[str, str]) -> Found:
    """Read everything through, as a later process sees it.

    Args:
        acknowledged: arrival by delivery, for which a receipt was printed.

    Returns:
        with ``problems`` of these kinds: ``lost``, ``doubled_arrival``, ``doubled_work_item``, ``doubled_event``,
        ``half_object``, ``missing_object``, ``wrong_object``.
    """
    with services.catalogue.read() as conn:
        rows = {name: _rows(conn, schema.metadata.tables[name]) for name in _TABLES}
        events = _rows(conn, schema.audit_events)
    found = Found()
    whole = _visible_objects(services, found)
    _check_named(rows, whole, found)
    _check_counts(rows, events, acknowledged, found)
    names = _who(services, rows)
    for name in _TABLES:
        text = json.dumps(sorted(_canonical(name, row, names) for row in rows[name]), ensure_ascii=False)
        found.tables[name] = hashlib.sha256(text.encode()).hexdigest()[:16]
    history = sorted(_event(row) for row in events if row["action"] in _ACTIONS)
    found.tables["events"] = hashlib.sha256(json.dumps(history).encode()).hexdigest()[:16]
    found.hash = hashlib.sha256(json.dumps(found.tables, sort_keys=True).encode()).hexdigest()
    return found


def _rows(conn: Connection, table: Table) -> list[dict[str, Any]]:
    return [dict(row._mapping) for row in conn.execute(select(table))]


def _visible_objects(services: Services, found: Found) -> dict[str, tuple[str, int]]:
    """Hash and size of everything that the store shows, whether or not a row names it."""
    seen: dict[str, tuple[str, int]] = {}
    for entry in services.store.list():
        key = getattr(entry, "key", entry)
        assert isinstance(key, str)
        try:
            data = services.store.get(key)
        except TelereadError as error:
            found.problems.append(("half_object", f"{key}: {error.code}"))
            continue
        digest = hashlib.sha256(data).hexdigest()
        last = key.rsplit("/", 1)[-1]
        if (key.startswith("raw/") and last != digest) or (key.startswith("derived/") and last[:16] != digest[:16]):
            found.problems.append(("half_object", key))
        seen[key] = digest, len(data)
    return seen


def _check_named(rows: Mapping[str, list[dict[str, Any]]], whole: Mapping[str, tuple[str, int]], found: Found) -> None:
    for row in rows["objects"]:
        held = whole.get(row["key"])
        if held is None:
            found.problems.append(("missing_object", row["key"]))
        elif held != (row["sha256"], row["size_bytes"]):
            found.problems.append(("wrong_object", row["key"]))
    named = {row["key"] for row in rows["objects"]}
    for row in (*rows["arrivals"], *rows["derived"]):
        if row["object_key"] not in named:
            found.problems.append(("missing_object", row["object_key"]))


def _check_counts(
    rows: Mapping[str, list[dict[str, Any]]],
    events: Sequence[dict[str, Any]],
    acknowledged: Mapping[str, str],
    found: Found,
) -> None:
    held = {row["id"] for row in rows["arrivals"]}
    for name, arrival_id in acknowledged.items():
        if arrival_id not in held:
            found.problems.append(("lost", name))
    arrivals = Counter((row["site_id"], row["sha256"]) for row in rows["arrivals"])
    waiting = Counter(row["case_id"] for row in rows["work_items"] if row["state"] != "CANCELED")
    once = Counter((row["action"], row["object_id"]) for row in events if row["action"] in ("land", "enqueue"))
    for kind, counted in (("arrival", arrivals), ("work_item", waiting), ("event", once)):
        found.problems += [(f"doubled_{kind}", str(key)) for key, number in counted.items() if number > 1]


def _who(services: Services, rows: Mapping[str, list[dict[str, Any]]]) -> dict[str, str]:
    """Who stands behind each pseudonym, as a name that no run chooses at random."""
    pseudonyms = {row[column] for name in _TABLES for row in rows[name] for column in _PSEUDONYMS & row.keys()}
    wanted = sorted(pseudonym for pseudonym in pseudonyms if pseudonym)
    try:
        known = services.vault.join(
            wanted, who="test", why="test", case_ids=[], at=datetime.fromisoformat("2026-11-02T00:00:00+00:00")
        )
    except StorageError as error:
        return dict.fromkeys(wanted, error.code)
    return {name: f"{known[name].issuer}|{known[name].patient_id}" if name in known else "?" for name in wanted}


def _canonical(table: str, row: Mapping[str, Any], names: Mapping[str, str]) -> str:
    kept: dict[str, Any] = {}
    for name, value in row.items():
        column = schema.metadata.tables[table].c[name]
        serial = column.primary_key and column.autoincrement is True
        if isinstance(value, (datetime, date)) or name in _LEFT_OUT or serial or (table, name) in _HASHED_PSEUDONYMS:
            continue
        if name in _PSEUDONYMS and value is not None:
            value = names[value]
        # made with a pseudonym that is random, so its bytes differ; that they are whole is checked as for all
        if _OF_PSEUDONYM in f"{row.get('key')} {row.get('object_key')}" and name in _OWN_BYTES:
            continue
        # the order in which reasons were found is no difference
        kept[name] = sorted(value) if name == "reasons" else value
    return json.dumps(kept, sort_keys=True, default=str, ensure_ascii=False)


def _event(row: Mapping[str, Any]) -> str:
    return json.dumps([row[name] for name in ("actor", "action", "object_type", "object_id", "detail")], sort_keys=True)
