"""FHIR ``Observation`` with ``SampledData``, R4 and R5, JSON and XML, alone or in a Bundle with its patient and device.

Source: hl7.org/fhir, SampledData: ``value = data * factor + origin`` in the origin's unit; ``period`` is milliseconds
(R4), ``interval`` counts ``intervalUnit`` (R5); ``E``, ``U`` and ``L`` stand for a sample that could not be measured;
the samples of several dimensions stand side by side.
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from teleread.errors import InputRejected
from teleread.ingest.formats import xml_facts as facts
from teleread.ingest.formats.digits import Digits
from teleread.ingest.formats.fhir_context import device_of, measurements_of, moment_of, patient_of, value
from teleread.ingest.formats.fhir_tree import NAME, recognises, tree
from teleread.ingest.formats.format import Format, Source
from teleread.ingest.formats.markup import Element
from teleread.ingest.formats.names import unique_name
from teleread.ingest.formats.persons import age_on
from teleread.signal.ecg.record import STANDARD_LEADS, EcgRecord, OtherChannel, standard_lead_name, with_derived_leads

_VOID = frozenset(("entered-in-error", "cancelled"))
_PREFIXES = ("MDC_ECG_LEAD_", "MDC_ECG_ELEC_POTL_", "NOM_ECG_ELEC_POTL_")
_LEAD_WORDS = re.compile(r"(?:.*\blead[\s:-]+)?(III|II|I|aVR|aVL|aVF|V[1-6])(?:\s+lead)?", re.IGNORECASE)

_Channel = tuple[str, str, float, NDArray[np.float64]]


def read(source: Source) -> EcgRecord:
    """The leads of one observation, or of observations of one patient and moment.

    Raises:
        InputRejected: the codes of :func:`~teleread.ingest.formats.markup.parse`, and ``fhir_no_waveform``,
            ``fhir_no_rate``, ``fhir_no_scale``, ``fhir_no_ecg_lead``, ``fhir_unsupported`` (an observation that was
            withdrawn, samples at irregular times, coded samples), ``fhir_broken``, ``fhir_too_large``;
            ``several_recordings``.
    """
    root = tree(source.data)
    every = [root] if root.name == "observation" else root.all("entry/resource/observation")
    observations = [one for one in every if one.first("valuesampleddata") or one.first("component/valuesampleddata")]
    if not observations:
        raise InputRejected("fhir_no_waveform", "The file holds no sampled data.")
    main = observations[0]
    if any(value(one, "status") in _VOID for one in observations):
        raise InputRejected("fhir_unsupported", "The observation was withdrawn.")
    if len({(_when(one), value(one, "subject/reference")) for one in observations}) > 1:
        raise InputRejected("several_recordings", "More than one recording was given where one is expected.")
    channels = _channels(observations)
    volts = [(fs_hz, samples.size) for _, unit, fs_hz, samples in channels if unit == "mV"]
    if not volts:
        raise InputRejected("fhir_no_ecg_lead", "No component of the observation holds a voltage.")
    fs_hz, n = max(sorted(set(volts), reverse=True), key=volts.count)
    if any(name in STANDARD_LEADS and rate == fs_hz and row.size not in (0, n) for name, _, rate, row in channels):
        raise InputRejected("fhir_broken", "The leads of the observation differ in length.")
    rows = [c for c in channels if c[1] == "mV" and (c[2], c[3].size) == (fs_hz, n)]
    signals, leads = facts.stack({name: samples for name, _, _, samples in rows}, NAME)
    patient, acquired_at = patient_of(root, main), moment_of(main, source.zone)
    record = EcgRecord(
        signals_mv=signals,
        leads=leads,
        fs_hz=fs_hz,
        source_format=NAME,
        other_channels=tuple(OtherChannel(*c) for c in channels if not any(c is row for row in rows)),
        patient=patient,
        acquired_at=acquired_at,
        age_years=age_on(None, patient.birth_date, acquired_at),
        device=device_of(root, main),
        device_measurements=measurements_of(observations),
    )
    return with_derived_leads(record)


def _when(observation: Element) -> str:
    return value(observation, "effectivedatetime") or value(observation, "effectiveperiod/start")


def _channels(observations: list[Element]) -> list[_Channel]:
    digits, taken = Digits(NAME), set[str]()
    channels: list[_Channel] = []
    for observation in observations:
        for holder in [observation, *observation.all("component")]:
            for data in holder.all("valuesampleddata"):
                found = _sampled(data, digits)
                if len(channels) + len(found[2]) > facts.MAX_LEADS:
                    raise InputRejected("fhir_too_large", "The observation holds more leads than can be read.")
                for name, row in zip(_names(holder, len(found[2])), found[2], strict=True):
                    if len(observations) > 1 and name in taken:
                        raise InputRejected("several_recordings", "More than one recording was given.")
                    channels.append((unique_name(name, taken), found[1], found[0], row))
    return channels


def _sampled(data: Element, digits: Digits) -> tuple[float, str, list[NDArray[np.float64]]]:
    """(rate in Hz, ``"mV"`` or the unit that is no voltage, one row per dimension)."""
    if data.first("offsets") is not None or data.first("codemap") is not None:
        raise InputRejected("fhir_unsupported", "Samples at irregular times, or coded ones, are not supported.")
    fs_hz = _rate(data)
    unit = value(data, "origin/code") or value(data, "origin/unit")
    origin = facts.number(value(data, "origin/value"))
    factor = facts.number(value(data, "factor") or "1")
    if not unit or origin is None or abs(origin) > 1e9 or not facts.usable_scale(factor) or factor is None:
        raise InputRejected("fhir_no_scale", "Sampled data state no origin, or no unit.")
    dimensions = facts.number(value(data, "dimensions") or "1")
    if dimensions is None or dimensions not in range(1, facts.MAX_LEADS + 1):
        raise InputRejected("fhir_broken", "Sampled data state an impossible number of dimensions.")
    samples = digits.numbers(value(data, "data"), gaps="EUL") * factor + origin
    if samples.size % int(dimensions):
        raise InputRejected("fhir_truncated", "Sampled data end within one point in time.")
    per_mv = facts.millivolts_per(unit) or facts.millivolts_per(value(data, "origin/unit"))
    if per_mv is not None:
        samples *= per_mv
    return fs_hz, "mV" if per_mv else facts.words(unit, 16) or "", list(samples.reshape(-1, int(dimensions)).T)


def _rate(data: Element) -> float:
    every, unit = facts.number(value(data, "period")), "ms"
    if every is None:
        every, unit = facts.number(value(data, "interval")), value(data, "intervalunit")
    seconds = facts.seconds_per(unit)
    if every is None or every <= 0 or seconds is None:
        raise InputRejected("fhir_no_rate", "Sampled data state no time between samples.")
    return facts.usable_rate(float(f"{1.0 / (every * seconds):.12g}"), NAME)


def _names(holder: Element, count: int) -> list[str]:
    """One name for each dimension."""
    codings = holder.all("code/coding")
    text = value(holder, "code/text")
    if count == 1:
        return [_lead([*(value(one, key) for key in ("code", "display") for one in codings), text])]
    if len(codings) == count:
        return [_lead([value(one, "code"), value(one, "display")]) for one in codings]
    listed = [word for word in re.split(r"[\s,;|]+", text) if word][: count + 1]
    if len(listed) == count:
        return [_lead([word]) for word in listed]
    return [f"channel {k + 1}" for k in range(count)]


def _lead(texts: list[str]) -> str:
    for text in texts:
        plain = text.strip()
        if plain in facts.LEAD_CODES:
            return facts.LEAD_CODES[plain]
        for prefix in _PREFIXES:
            if plain.upper().startswith(prefix):
                return standard_lead_name(plain[len(prefix) :])[:64] or "channel"
        matched = _LEAD_WORDS.fullmatch(plain[:128])
        if matched:
            return standard_lead_name(matched[1])
    said = [facts.words(text) for text in reversed(texts)]
    return next((text for text in said if text), "channel")


FORMAT = Format(NAME, "FHIR SampledData", recognises, read, seen_from_device=False, extensions=(".json", ".xml"))
