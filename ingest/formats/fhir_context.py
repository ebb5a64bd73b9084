"""Who and what stands around a FHIR observation: its patient, device, moment and measured values."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, tzinfo

from teleread.ingest.formats import device_names as names
from teleread.ingest.formats import xml_facts as facts
from teleread.ingest.formats.markup import Element
from teleread.signal.ecg.record import Device, DeviceMeasurement, Patient

_LOINC = {
    "8867-4": names.HEART_RATE, "76282-3": names.HEART_RATE, "8625-6": names.PR_INTERVAL,
    "8633-0": names.QRS_DURATION, "8634-8": names.QT_INTERVAL, "8636-3": names.QTC_INTERVAL,
    "8637-1": names.RR_INTERVAL, "8626-4": names.P_AXIS, "8632-2": names.QRS_AXIS, "8638-9": names.T_AXIS,
}  # fmt: skip
_RATES = frozenset(("/min", "bpm", "1/min", "{beats}/min", "beats/minute", "beats/min"))
_SEXES = {"male": "M", "female": "F", "other": "O"}


def value(element: Element, path: str) -> str:
    """The primitive at the end of the path, empty when absent."""
    found = element.first(path)
    return found.get("value") if found is not None else ""


def moment_of(observation: Element, zone: tzinfo) -> datetime | None:
    """When it was recorded; a date alone is no moment."""
    for path in ("effectivedatetime", "effectiveinstant", "effectiveperiod/start"):
        at = facts.timestamp(value(observation, path), zone)
        if at is not None:
            return at
    return None


def patient_of(root: Element, observation: Element) -> Patient:
    """The patient resource that stands with the observation, else what the reference itself says."""
    found = _resource(root, "patient", value(observation, "subject/reference"))
    said_id = facts.identifier(value(observation, "subject/identifier/value"))
    said_name = facts.words(value(observation, "subject/display"))
    if found is None:
        return Patient(id=said_id, name=said_name)
    identifier = found.first("identifier")
    name = found.first("name")
    own = None
    if name is not None:
        given = " ".join(one.get("value") for one in name.all("given")[:4])
        own = facts.words(value(name, "text")) or facts.person(value(name, "family"), given)
    return Patient(
        id=(facts.identifier(value(identifier, "value")) if identifier else None) or said_id,
        issuer=facts.words(value(identifier, "assigner/display")) if identifier else None,
        name=own or said_name,
        birth_date=facts.day(value(found, "birthdate")),
        sex=_SEXES.get(value(found, "gender").lower()),
    )


def device_of(root: Element, observation: Element) -> Device:
    """The device resource that stands with the observation."""
    found = _resource(root, "device", value(observation, "device/reference"))
    if found is None:
        return Device(model=facts.words(value(observation, "device/display")))
    model = value(found, "modelnumber") or value(found, "devicename/name") or value(found, "name/value")
    return Device(
        manufacturer=facts.words(value(found, "manufacturer")),
        model=facts.words(model),
        serial=facts.words(value(found, "serialnumber")),
        software=facts.words(value(found, "version/value")),
    )


def measurements_of(observations: list[Element]) -> tuple[DeviceMeasurement, ...]:
    """Components that are a quantity with a LOINC code of an ECG interval, rate or axis."""
    return facts.several(
        _measurement(component) for observation in observations for component in observation.all("component")
    )


def _measurement(component: Element) -> DeviceMeasurement | None:
    quantity = component.first("valuequantity")
    if quantity is None:
        return None
    for coding in component.all("code/coding"):
        code = value(coding, "code")
        name = _LOINC.get(code)
        number = facts.number(value(quantity, "value"))
        if name is None or number is None:
            continue
        unit = value(quantity, "code") or value(quantity, "unit")
        wanted, seconds = names.UNITS[name], facts.seconds_per(unit)
        if wanted == "ms" and seconds is not None:
            return names.measured(name, number * (seconds * 1000.0), f"LOINC:{code}")
        if (wanted == "/min" and unit in _RATES) or (wanted == "deg" and unit in ("deg", "\u00b0")):
            return names.measured(name, number, f"LOINC:{code}")
    return None


def _resource(root: Element, kind: str, reference: str) -> Element | None:
    """The resource of that kind that the reference names; the only one there when it names none of them."""
    every = [found for found in _held(root) if found.name == kind]
    wanted = reference.rpartition("/")[2].lstrip("#").removeprefix("urn:uuid:")
    named = [one for one in every if wanted and value(one, "id") == wanted]
    return named[0] if named else every[0] if len(every) == 1 else None


def _held(root: Element) -> Iterator[Element]:
    for holder in root.iter():
        if holder.name in ("resource", "contained"):
            yield from holder.children
