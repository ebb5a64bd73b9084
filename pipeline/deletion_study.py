"""One study of a patient who is deleted: which objects are its own, and its rows going."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone

from sqlalchemy import Connection, delete, select, update

from teleread.alliance import PRIORITIES
from teleread.errors import StorageError
from teleread.pipeline.deletion_rows import Study, delete_study
from teleread.pipeline.notes import note_key
from teleread.pipeline.services import Services
from teleread.reading import indicators
from teleread.storage.catalogue import sweeping
from teleread.storage.catalogue.schema import arrivals, deletions, derived, objects
from teleread.storage.objects.raw import raw_root


@dataclass(frozen=True, slots=True)
class Found:
    """What a look into the store and the catalogue found of a study, before its transaction."""

    keys: tuple[str, ...]  # to be removed unless somebody else's row names them
    sizes: Mapping[str, int]
    rotten: frozenset[str]  # their headers cannot be read
    intake_keys: frozenset[str]
    data_keys: frozenset[str]


def objects_of(services: Services, study: Study, known: Collection[str] | None) -> Found:
    """The study's objects. In a replay, bytes that came anew after the deletion have another data key and stay."""
    store = services.store
    with services.catalogue.read() as conn:
        named = select(derived.c.object_key, derived.c.code_version).where(derived.c.arrival_id.in_(study.arrivals))
        rows = conn.execute(named).all()
        raw = conn.scalars(select(arrivals.c.object_key).where(arrivals.c.id.in_(study.arrivals)))
        keys = {*raw, *(row.object_key for row in rows)}
    for arrival in study.arrivals:
        for version in {row.code_version for row in rows}:
            keys |= {info.key for info in store.blobs.list(f"derived/{version}/{arrival}/")}
    sizes: dict[str, int] = {}
    rotten: dict[str, int] = {}
    wrapped, data_keys, kept = set(), set(), set()
    notes = {note_key(arrival, priority) for arrival in study.arrivals for priority in PRIORITIES}
    for key in sorted(keys | notes):
        info = store.blobs.stat(key)
        if info is None:
            continue
        try:
            header = store.header(key)
        except StorageError as error:
            if error.code == "object_missing":
                continue
            if error.code != "object_corrupt":
                raise
            # nobody can read it, and what it was sealed with has to be supposed
            rotten[key] = info.size_bytes
            continue
        if known is not None and header.data_key_id.hex() not in known:
            kept.add(key)
            continue
        wrapped.add(header.intake_id.hex())
        data_keys.add(header.data_key_id.hex())
        sizes[key] = info.size_bytes
    if rotten:
        wrapped |= {key.id.hex() for key in services.ring.intakes() if key.retired_at is None}
    return Found(
        tuple(sorted((keys | notes) - kept)),
        sizes | rotten,
        frozenset(rotten),
        frozenset(wrapped),
        frozenset(data_keys),
    )


def remove_study(conn: Connection, deletion_id: str, study: Study, found: Found, zone: timezone, now: datetime) -> None:
    """Take the study's rows out, condemn its objects and add both to what the deletion says of itself."""
    sweeping.exclude_writers(conn)
    row = conn.execute(select(deletions).where(deletions.c.id == deletion_id).with_for_update()).one()
    facts = dict(row.facts)
    indicators.uncount(conn, study.cases, zone)
    counts = delete_study(conn, study)
    raw = {key for key in found.keys if key.startswith("raw/")}
    shared = set(conn.scalars(select(arrivals.c.object_key).where(arrivals.c.object_key.in_(raw)).distinct()))
    going = [key for key in found.keys if key not in shared]
    held = select(objects.c.key, objects.c.sha256).where(objects.c.key.in_(found.keys))
    hashes = {row.key: row.sha256 for row in conn.execute(held)}
    conn.execute(delete(objects).where(objects.c.key.in_(going)))
    condemned = sweeping.condemn(conn, going, now)
    facts["counts"] = {name: facts["counts"].get(name, 0) + count for name, count in counts.items()}
    facts["objects"] = [
        *facts["objects"],
        *(
            {"key": key, "sha256": hashes.get(key), "size_bytes": found.sizes[key]}
            for key in condemned
            if key in found.sizes
        ),
    ]
    facts["rotten"] = sorted({*facts["rotten"], *(key for key in condemned if key in found.rotten)})
    facts["shared"] = sorted({*facts["shared"], *(root for key in shared if (root := raw_root(key)))})
    facts["condemned"] = sorted({*facts["condemned"], *condemned})
    facts["intake_keys"] = sorted({*facts["intake_keys"], *found.intake_keys})
    facts["data_keys"] = sorted({*facts["data_keys"], *found.data_keys})
    conn.execute(update(deletions).where(deletions.c.id == deletion_id).values(facts=facts))
