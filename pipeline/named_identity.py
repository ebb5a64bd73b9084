"""The patient whom a person names by hand, checked before the vault hears of it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

from teleread.errors import InputRejected
from teleread.storage.vault import Identity

_LONGEST_NAME = 128
_LONGEST_ID = 64


def identity_from(fields: Mapping[str, str], today: date, *, issuer: str = "") -> Identity:
    """The patient whom a form names: ``issuer``, ``patient_id``, ``name``, ``birth_date`` (ISO 8601) and ``sex``.

    Args:
        today: no birth date is later.
        issuer: who gave the number where the form does not say.

    Raises:
        InputRejected: ``patient_id_missing``, ``birth_date_invalid``, ``sex_invalid`` or ``identity_invalid``.
    """
    values = {name: fields.get(name, "").strip() for name in ("issuer", "patient_id", "name", "birth_date", "sex")}
    values["issuer"] = values["issuer"] or issuer
    if not values["patient_id"] or not values["issuer"]:
        raise InputRejected("patient_id_missing", "Name the patient's number and whose number it is.")
    fits = len(values["patient_id"]) <= _LONGEST_ID and len(values["issuer"]) <= _LONGEST_ID
    # "teleread" issues the numbers of those who have none; nobody may type one
    if not fits or len(values["name"]) > _LONGEST_NAME or values["issuer"] == "teleread":
        raise InputRejected("identity_invalid", "A name, number or issuer is too long or cannot be used.")
    if not all(text.isprintable() for text in values.values()):
        raise InputRejected("identity_invalid", "A name, number or issuer has characters that cannot be shown.")
    if values["sex"] not in {"", "M", "F", "O"}:
        raise InputRejected("sex_invalid", "The sex is M, F, O or unknown.")
    return Identity(
        issuer=values["issuer"],
        patient_id=values["patient_id"],
        name=values["name"] or None,
        birth_date=_day(values["birth_date"], today),
        sex=values["sex"] or None,
    )


def _day(text: str, today: date) -> date | None:
    if not text:
        return None
    try:
        day = date.fromisoformat(text)
    except ValueError:
        day = None
    if day is None or not date(1880, 1, 1) <= day <= today:
        raise InputRejected("birth_date_invalid", "The birth date is a day like 1962-03-04, and not in the future.")
    return day
