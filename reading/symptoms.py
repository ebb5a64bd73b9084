"""What a clinic says of the patient, and how urgent that alone makes a case. Pure.

An answer only ever raises a case; no answer, and no answer of "no", lowers one or means well.

Rules, as of 2026-01. What they rest on was looked up; the thresholds of priority are the alliance's own choice.

- Chest pain now makes a case urgent. NICE guideline CG95 (Recent-onset chest pain of suspected cardiac origin, 2010,
  last updated November 2016), section 1.2, people presenting with acute chest pain: where an acute coronary syndrome is
  suspected, who has chest pain now is referred as an emergency. Nobody here can tell whether one is suspected, so pain
  alone suffices. International guidelines ask for the ECG within 10 minutes of the first contact (as
  doi:10.1177/1474515118821023 sums them up).
- Chest pain that has gone, begun within the last 12 hours or at an unknown time, makes a case high. CG95, the same
  section: an emergency as well where the pain was within the last 12 hours and the ECG is abnormal or not available,
  else to be assessed on the same day. Until the ECG has been read it is neither, so "high" is our own choice.
- A systolic pressure of 90 mmHg or less, or of 220 or more, makes a case urgent: each scores 3 by itself in the
  National Early Warning Score 2 (Royal College of Physicians, 2017, chart 1), and a single 3 is answered like a total
  of 5 or 6, with an urgent assessment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from teleread.alliance import Priority
from teleread.errors import InputRejected

CHEST_PAIN = ("now", "gone", "no")
ONSET = ("m30", "h1", "h3", "h12", "longer", "unknown")
"""How long ago it began: under 30 minutes, an hour, 3 hours, 12 hours; longer."""
PRESSURE = ("le90", "to139", "to179", "to219", "ge220", "none")
"""Ranges of the systolic pressure in mmHg; ``none``: not measured."""
DRUGS = ("aspirin", "nitrate", "anticoag", "beta", "digoxin", "rhythm", "none")
CONSENT = ("yes", "no", "later")
"""``later``: the patient cannot be asked now."""

_PRESSURE_LIMITS = (20, 350)
_TO_PRESSURE = ((90, "le90"), (139, "to139"), (179, "to179"), (219, "to219"))


@dataclass(frozen=True, slots=True)
class Form:
    """The clinic's five answers, and whether it has confirmed the name read back; None where nothing was said.

    Args:
        systolic: in mmHg, as ``diastolic``; only where it was typed.
    """

    chest_pain: str | None = None
    onset: str | None = None
    pressure: str | None = None
    systolic: int | None = None
    diastolic: int | None = None
    drugs: tuple[str, ...] = ()
    consent: str | None = None
    is_the_patient: bool | None = None


def raises_to(form: Form) -> Priority | None:
    """The least priority that the answers ask for; None where they ask for none."""
    if form.chest_pain == "now" or form.pressure in {"le90", "ge220"}:
        return "urgent"
    if form.chest_pain == "gone" and form.onset != "longer":
        return "high"
    return None


def parse(fields: Mapping[str, str]) -> Form:
    """A form as a page sends it: each answer by its name, drugs as ``drug_<code>``; a typed pressure gives its range.

    Raises:
        InputRejected: ``form_invalid``: an answer that does not exist, or a pressure that cannot be.
    """
    systolic, diastolic = (_pressure(fields.get(name, "")) for name in ("systolic", "diastolic"))
    if systolic is not None and diastolic is not None and diastolic > systolic:
        raise InputRejected("form_invalid", "The blood pressure cannot be right.")
    pressure = _one_of(fields, "pressure", PRESSURE)
    if systolic is not None:
        pressure = next((code for most, code in _TO_PRESSURE if systolic <= most), "ge220")
    return Form(
        chest_pain=_one_of(fields, "chest_pain", CHEST_PAIN),
        onset=_one_of(fields, "onset", ONSET),
        pressure=pressure,
        systolic=systolic,
        diastolic=diastolic,
        drugs=tuple(code for code in DRUGS if fields.get(f"drug_{code}") == "1"),
        consent=_one_of(fields, "consent", CONSENT),
    )


def fields(form: Form) -> dict[str, str]:
    """A form as a page sends it: what :func:`parse` gives it back from."""
    said = {
        name: getattr(form, name) for name in ("chest_pain", "onset", "pressure", "systolic", "diastolic", "consent")
    }
    if form.systolic is not None:
        del said["pressure"]  # follows from the number
    given = {name: str(value) for name, value in said.items() if value is not None}
    return given | {f"drug_{code}": "1" for code in form.drugs}


def _one_of(fields: Mapping[str, str], name: str, codes: tuple[str, ...]) -> str | None:
    value = fields.get(name, "")
    if value and value not in codes:
        raise InputRejected("form_invalid", "The form holds an answer that does not exist.")
    return value or None


def _pressure(text: str) -> int | None:
    text = text.strip()
    if not text:
        return None
    low, high = _PRESSURE_LIMITS
    if not (text.isascii() and text.isdigit() and len(text) <= 3 and low <= int(text) <= high):
        raise InputRejected("form_invalid", "The blood pressure cannot be right.")
    return int(text)
