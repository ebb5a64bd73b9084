"""A recording that came before, in another format perhaps: found by its samples, linked, and read once.

The time of recording must not contradict, and never suffices. Read once is what one site sent of one patient; where
site or patient differ both are read, the reader sees of each that there is the other, and whether two patients are
one is asked.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from sqlalchemy import ColumnElement, Connection, Row, and_, or_, select, true, update

from teleread.errors import StorageError
from teleread.pipeline.services import Services
from teleread.reading import questions
from teleread.signal.ecg.fingerprint import Fingerprint, Tracing, level_range, may_be_same, same_recording
from teleread.storage.catalogue.database import insert_missing
from teleread.storage.catalogue.lookups import derived_key
from teleread.storage.catalogue.schema import arrivals, fingerprints, patients, same_recordings, studies

CLOCKS_AGREE = timedelta(seconds=60)
"""How far apart two encodings may say that they were recorded: some formats have no seconds."""

MAX_WAVE_BYTES = 16 << 20
"""A longer recording is not compared: it is read by itself."""

_MOST_CANDIDATES = 200
_MOST_COMPARED = 8
_GONE = {"object_missing", "object_corrupt", "object_key_missing"}


@dataclass(frozen=True, slots=True)
class Same:
    """An earlier arrival of the same recording."""

    arrival_id: str
    site_id: str
    pseudonym: str


def find(
    services: Services, arrival: Row[Any], facts: Mapping[str, Any], blobs: Mapping[str, bytes]
) -> tuple[Same, ...]:
    """Earlier arrivals that hold the same recording as this one, which has just been derived; the oldest first.

    Raises:
        StorageError, PeerError: the store did not answer.
    """
    about = _fingerprint(facts.get("fingerprint"))
    if about is None or len(blobs["wave.i16"]) > MAX_WAVE_BYTES:
        return ()
    later = _tracing(about, json.loads(blobs["display.json"]), blobs["wave.i16"])
    stated = facts.get("acquired_at")
    with services.catalogue.read() as conn:
        rows = _candidates(conn, arrival, about, None if stated is None else datetime.fromisoformat(stated))
        keys = {row.arrival_id: [derived_key(conn, row.arrival_id, name) for name in _PARTS] for row in rows}
    found = []
    likely = [row for row in rows if may_be_same(_known(row), later.about) and all(keys[row.arrival_id])]
    for row in likely[:_MOST_COMPARED]:
        try:
            display, wave = (services.store.get(str(key)) for key in keys[row.arrival_id])
        except StorageError as error:
            if error.code not in _GONE:
                raise
            continue
        if len(wave) <= MAX_WAVE_BYTES and same_recording(_tracing(_known(row), json.loads(display), wave), later):
            found.append(Same(row.arrival_id, row.site_id, row.patient_pseudonym))
    return tuple(found)


def note(
    conn: Connection,
    arrival: Row[Any],
    facts: Mapping[str, Any],
    found: Sequence[Same],
    *,
    pseudonym: str,
    at: datetime,
) -> bool:
    """Write down by what this arrival is found and what it is the same as, in the transaction that prepares it.

    Returns:
        Whether it is read with an earlier one.
    """
    _keep(conn, arrival.id, facts)
    once = False
    for one in found:
        if _linked(conn, arrival.id, one.arrival_id):
            continue
        mine = not once and one.site_id == arrival.site_id and one.pseudonym == pseudonym
        once |= mine
        row = {"arrival_id": arrival.id, "other_arrival_id": one.arrival_id, "read_once": mine, "found_at": at}
        insert_missing(conn, same_recordings, [row], ["arrival_id", "other_arrival_id"])
    return read_with(conn, arrival.id) is not None


def ask_whose(conn: Connection, arrival: Row[Any], found: Sequence[Same], *, pseudonym: str, at: datetime) -> None:
    """Ask whether two patients are one where both have a number, after the patient is known."""
    for one in found:
        if one.pseudonym != pseudonym and _identified(conn, (one.pseudonym, pseudonym)):
            questions.ask(
                conn,
                "same_recording",
                [one.pseudonym, pseudonym],
                site_id=arrival.site_id,
                pseudonym=pseudonym,
                other_pseudonym=one.pseudonym,
                arrival_id=arrival.id,
                other_arrival_id=one.arrival_id,
                at=at,
            )


def read_with(conn: Connection, arrival_id: str) -> str | None:
    """The arrival that this one is read with; None when it is read by itself."""
    this = same_recordings.c.arrival_id == arrival_id
    return conn.scalar(
        select(same_recordings.c.other_arrival_id).where(this, same_recordings.c.read_once.is_(True)).limit(1)
    )


_PARTS = ("display.json", "wave.i16")


def _candidates(conn: Connection, arrival: Row[Any], about: Fingerprint, at: datetime | None) -> Sequence[Any]:
    when: ColumnElement[bool] = true()
    if at is not None:
        near = fingerprints.c.acquired_at.between(at - CLOCKS_AGREE, at + CLOCKS_AGREE)
        when = or_(fingerprints.c.acquired_at.is_(None), near)
    levels = [
        _near(fingerprints.c[f"level_{lead.lower()}_uv"], about.levels_uv[lead])
        for lead in ("II", "V2")
        if lead in about.levels_uv
    ]
    follows = select(same_recordings.c.arrival_id).where(same_recordings.c.read_once.is_(True))
    query = (
        select(
            fingerprints.c.arrival_id,
            fingerprints.c.facts,
            arrivals.c.site_id,
            studies.c.patient_pseudonym,
        )
        .join(arrivals, arrivals.c.id == fingerprints.c.arrival_id)
        .join(studies, studies.c.id == arrivals.c.study_id)
        # one that is read with another is found by that other
        .where(fingerprints.c.arrival_id != arrival.id, arrivals.c.id.not_in(follows), when, *levels)
        .order_by(arrivals.c.arrived_at, arrivals.c.id)
        .limit(_MOST_CANDIDATES)
    )
    return conn.execute(query).all()


def _near(column: Any, level_uv: float) -> ColumnElement[bool]:
    return or_(column.is_(None), column.between(*level_range(level_uv)))


def _keep(conn: Connection, arrival_id: str, facts: Mapping[str, Any]) -> None:
    about = _fingerprint(facts.get("fingerprint"))
    if about is None:
        return
    stated = facts.get("acquired_at")
    row = {
        "arrival_id": arrival_id,
        "acquired_at": None if stated is None else datetime.fromisoformat(stated),
        "level_ii_uv": about.levels_uv.get("II"),
        "level_v2_uv": about.levels_uv.get("V2"),
        "facts": facts["fingerprint"],
    }
    if not insert_missing(conn, fingerprints, [row], ["arrival_id"]):
        conn.execute(update(fingerprints).where(fingerprints.c.arrival_id == arrival_id).values(**row))


def _linked(conn: Connection, one: str, other: str) -> bool:
    there = same_recordings.c
    either = or_(
        and_(there.arrival_id == one, there.other_arrival_id == other),
        and_(there.arrival_id == other, there.other_arrival_id == one),
    )
    return conn.execute(select(there.arrival_id).where(either)).first() is not None


def _identified(conn: Connection, pseudonyms: Sequence[str]) -> bool:
    known = patients.c.pseudonym.in_(pseudonyms), patients.c.identified.is_(True)
    return len(conn.scalars(select(patients.c.pseudonym).where(*known)).all()) == len(set(pseudonyms))


def _known(row: Row[Any]) -> Fingerprint:
    found = _fingerprint(row.facts)
    assert found is not None
    return found


def _fingerprint(facts: Mapping[str, Any] | None) -> Fingerprint | None:
    if facts is None:
        return None
    pulses = tuple((int(start), int(end)) for start, end in facts["pulses"])
    return Fingerprint(facts["fs_hz"], facts["n_samples"], pulses, facts["levels_uv"], facts["steps_uv"])


def _tracing(about: Fingerprint, display: Mapping[str, Any], wave: bytes) -> Tracing:
    leads = tuple(display["leads"])
    steps = np.frombuffer(wave, "<i2").reshape(len(leads), -1)
    offsets = np.array(display.get("offset_uv", [0.0] * len(leads)))[:, np.newaxis]
    uv = steps * float(display["uv_per_step"]) + offsets
    return Tracing(about, leads, np.where(steps == display["missing"], np.nan, uv))
