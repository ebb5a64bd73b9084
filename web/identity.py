"""Names for pages: joined in the vault, each join audited there; a page still opens when the vault does not answer."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date

from teleread.errors import Misconfigured, PeerError, StorageError
from teleread.storage.vault import Identity
from teleread.web.format import age_on
from teleread.web.security import Seat

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a page knows of a patient without the vault."""

    case_id: str
    pseudonym: str | None
    sex: str | None
    age_years: float | None


@dataclass(frozen=True, slots=True)
class Person:
    """What a page shows of a patient. ``name`` is None when the vault did not answer or has none."""

    name: str | None
    patient_id: str | None
    birth_date: date | None
    sex: str | None
    age_years: float | None
    issuer: str | None = None  # whose number ``patient_id`` is


@dataclass(frozen=True, slots=True)
class People:
    """The patients of a page by case, and whether the vault answered."""

    vault_answered: bool
    by_case: dict[str, Person] = field(default_factory=dict)


def join(seat: Seat, wanted: Iterable[Wanted], why: str) -> People:
    """Join the identities that a page shows, in one audited act."""
    patients = list(wanted)
    named = [one for one in patients if one.pseudonym is not None]
    identities, answered = look_up(seat, [str(one.pseudonym) for one in named], why, [one.case_id for one in named])
    today = seat.services.clock().date()
    people = {one.case_id: _person(one, identities.get(one.pseudonym or ""), today) for one in patients}
    return People(answered, people)


def look_up(seat: Seat, pseudonyms: list[str], why: str, case_ids: list[str]) -> tuple[dict[str, Identity], bool]:
    """The identities behind pseudonyms, joined in one audited act, and whether the vault answered."""
    if not pseudonyms:
        return {}, True
    try:
        return seat.services.vault.join(
            pseudonyms, who=seat.name, why=why, case_ids=case_ids, at=seat.services.clock(), for_page=True
        ), True
    except (StorageError, PeerError, Misconfigured) as error:
        log.error("names not joined: %s", error.code)
        return {}, False


def _person(wanted: Wanted, identity: Identity | None, today: date) -> Person:
    if identity is None:
        return Person(None, None, None, wanted.sex, wanted.age_years)
    unidentified = identity.issuer == "teleread"
    age = wanted.age_years if wanted.age_years is not None else age_on(identity.birth_date, today)
    return Person(
        name=identity.name,
        patient_id=None if unidentified else identity.patient_id,
        birth_date=identity.birth_date,
        sex=wanted.sex or identity.sex,
        age_years=age,
        issuer=None if unidentified else identity.issuer,
    )
