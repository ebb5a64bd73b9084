"""Who a patient is, what was said of them, and which of it holds. Pure: no keys, no database."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime

from teleread.errors import Conflict
from teleread.storage.vault.matching import normalised_name

FIELDS = ("name", "birth_date", "sex", "national_id")
"""What may be stated of a patient, in the order in which it is reported."""
DISPUTABLE = ("birth_date", "sex", "national_id")
"""What is not replaced by another statement: a person decides."""

_LONGEST_TEXT = 1024
_LONGEST_SEX = 16
_LONGEST_NATIONAL_ID = 64
_MOST_STATEMENTS = 64
_MOST_ARRIVALS = 32
_EXPORT_SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class Statement:
    """A value that was stated and is not the one that holds.

    Args:
        field: one of :data:`FIELDS`.
        value: a birth date as ``YYYY-MM-DD``.
        at: when it was first stated.
        arrivals: which arrivals stated it, the first ones where they are many.
        settled: a person has seen it and decided.
    """

    field: str
    value: str
    at: datetime
    arrivals: tuple[str, ...] = ()
    settled: bool = False


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a patient is. Two are the same patient when issuer and patient id are equal, and only then.

    Args:
        issuer: who gave the id; never empty in practice, a site's own id where nothing else is known.
        patient_id: as the issuer wrote it; who has none is given a unique one by the caller.
        name, birth_date, sex: absent when unknown.
        national_id: a resident id number where it was stated beside the patient id.
        disputed: fields of :data:`DISPUTABLE` for which something else was stated that nobody has judged yet. Only
            ``Vault.join`` fills it and ``stated``.
        stated: what was stated and does not hold.
    """

    issuer: str
    patient_id: str
    name: str | None = None
    birth_date: date | None = None
    sex: str | None = None
    national_id: str | None = None
    disputed: tuple[str, ...] = ()
    stated: tuple[Statement, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class Enrolled:
    """What enrolling a patient came to.

    Args:
        pseudonym: ``P`` and 12 random base32 letters.
        new: this call made the entry.
        changed: fields in which the identity contradicts what was known; the same again when the same arrival is
            enrolled again. All stay as they were until ``Vault.accept``; another spelling of a name is no change.
        same_national_id: pseudonyms that other issuers' patients with this valid national id have.
        same_name_and_birth: pseudonyms of patients with this name and birth date, who may be somebody else.
        doubtful_national_id: as ``same_national_id``, but a birth date or sex contradicts the id on either side.
    """

    pseudonym: str
    new: bool
    changed: tuple[str, ...] = ()
    same_national_id: tuple[str, ...] = ()
    same_name_and_birth: tuple[str, ...] = ()
    doubtful_national_id: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Entry:
    """What stands sealed in the vault.

    Args:
        values: of :data:`FIELDS`, those that hold; absent when unknown.
        said: every distinct statement, also those that hold.
        export_secret: random; project pseudonyms and date shifts follow from it, and from nothing else.
    """

    issuer: str
    patient_id: str
    values: Mapping[str, str]
    said: tuple[Statement, ...]
    export_secret: bytes = field(repr=False)

    def identity(self) -> Identity:
        """As the vault's readers see it."""
        others = tuple(one for one in self.said if self.values.get(one.field) != one.value)
        open_fields = {one.field for one in others if not one.settled}
        born = self.values.get("birth_date")
        return Identity(
            self.issuer,
            self.patient_id,
            self.values.get("name"),
            None if born is None else date.fromisoformat(born),
            self.values.get("sex"),
            self.values.get("national_id"),
            tuple(name for name in DISPUTABLE if name in open_fields),
            others,
        )


@dataclass(frozen=True, slots=True)
class Merged:
    """An entry after a statement, and what that changed.

    Args:
        contradicts: fields stated otherwise than known before.
        changed: fields whose valid value is another one now, or is known now.
        newly_disputed: fields that a person has to decide because of this statement.
    """

    entry: Entry
    contradicts: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    newly_disputed: tuple[str, ...] = ()


def new_entry(
    identity: Identity,
    at: datetime,
    arrival_id: str | None,
    random_bytes: Callable[[int], bytes] = secrets.token_bytes,
) -> Entry:
    """The entry of a patient nobody knew."""
    empty = Entry(
        _storable(identity.issuer), _storable(identity.patient_id), {}, (), random_bytes(_EXPORT_SECRET_BYTES)
    )
    return merge(empty, identity, at, arrival_id).entry


def merge(entry: Entry, identity: Identity, at: datetime, arrival_id: str | None, *, typed: bool = False) -> Merged:
    """The entry after this has been stated. Equal to the one before where it says nothing new.

    Args:
        typed: by a person who named a patient: not even the known spelling of the name is replaced.
    """
    values, said = dict(entry.values), list(entry.said)
    contradicts, changed, newly_disputed = [], [], []
    for name, value in _stated(identity).items():
        known = values.get(name)
        place = next((i for i, one in enumerate(said) if (one.field, one.value) == (name, value)), None)
        if known == value:
            # the arrival that brought the new name says so again when it is prepared again
            if place is not None and not typed and arrival_id in said[place].arrivals and _is_later(said, place):
                contradicts.append(name)
            continue
        if place is not None:
            said[place] = _stated_again(said[place], arrival_id)
        elif len(said) < _MOST_STATEMENTS:
            said.append(Statement(name, value, at, () if arrival_id is None else (arrival_id,)))
        # another spelling of one name is no contradiction; another name under the same number may be another person
        respelled = name == "name" and known is not None and normalised_name(known) == normalised_name(value)
        if known is not None and not respelled:
            contradicts.append(name)
        if known is None or (respelled and not typed):
            values[name] = value
            changed.append(name)
        elif place is None:
            newly_disputed.append(name)
    after = replace(entry, values=values, said=tuple(said))
    return Merged(after, tuple(contradicts), tuple(changed), tuple(newly_disputed))


def accepted(entry: Entry, what: Statement | str | None) -> tuple[Entry, tuple[str, ...]]:
    """The entry after a person's decision, and the fields that were decided.

    Args:
        what: the statement that holds; an arrival, whose statements all hold; None: what is known holds.

    Raises:
        Conflict: ``no_such_statement``.
    """
    if what is None:
        decided = {name: entry.values[name] for name in entry.identity().disputed}
    elif isinstance(what, str):
        decided = {one.field: one.value for one in entry.said if what in one.arrivals}
    else:
        decided = {one.field: one.value for one in entry.said if (one.field, one.value) == (what.field, what.value)}
    if what is not None and not decided:
        raise Conflict("no_such_statement", "Nothing of the kind was stated of this patient.")
    said = tuple(replace(one, settled=True) if one.field in decided else one for one in entry.said)
    fields = tuple(name for name in FIELDS if name in decided)
    return replace(entry, values={**entry.values, **decided}, said=said), fields


def disowned(entry: Entry, arrivals: frozenset[str]) -> Entry:
    """The entry without what only these arrivals stated, because they are another patient's.

    A value that only they brought goes back to the one stated before it. The last value of a field stays: whoever
    picked the wrong patient from a list sent that patient's own data.
    """
    said = list(entry.said)
    values = dict(entry.values)
    for one in entry.said:
        if not one.arrivals or len(one.arrivals) >= _MOST_ARRIVALS or not arrivals.issuperset(one.arrivals):
            continue
        others = [other for other in said if other.field == one.field and other.value != one.value]
        if not others:
            continue
        said.remove(one)
        if values.get(one.field) == one.value:
            values[one.field] = others[-1].value
    return replace(entry, values=values, said=tuple(said))


def _is_later(said: list[Statement], place: int) -> bool:
    """Whether another value of the field was stated before."""
    return any(one.field == said[place].field for one in said[:place])


def _stated_again(one: Statement, arrival_id: str | None) -> Statement:
    if arrival_id is None or arrival_id in one.arrivals or len(one.arrivals) >= _MOST_ARRIVALS:
        return one
    return replace(one, arrivals=(*one.arrivals, arrival_id))


def _stated(identity: Identity) -> dict[str, str]:
    """What the identity states, fit to be kept; unknown fields are absent."""
    born = identity.birth_date
    values = {
        "name": None if identity.name is None else _storable(identity.name),
        "birth_date": None if born is None else born.isoformat(),
        "sex": None if identity.sex is None else _storable(identity.sex)[:_LONGEST_SEX],
        "national_id": None if identity.national_id is None else _storable(identity.national_id)[:_LONGEST_NATIONAL_ID],
    }
    return {name: value for name, value in values.items() if value is not None}


def _storable(text: str) -> str:
    """Without what no database, page or message can carry: NUL and half surrogate pairs."""
    clean = "".join("\ufffd" if sign == "\0" or "\ud800" <= sign <= "\udfff" else sign for sign in text)
    return clean[:_LONGEST_TEXT]
