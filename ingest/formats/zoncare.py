"""Zoncare XML (``zqecg``): one base64 block of 16 bit little endian, thirteen channels interleaved, the last empty.

Written from public descriptions of the format; no file of a device was at hand. The file does not say what one step
is, and those who read it take a microvolt for want of anything better: the unit must be given by whoever sends it.
"""

from __future__ import annotations

import numpy as np

from teleread.errors import InputRejected
from teleread.ingest.formats import xml_facts as facts
from teleread.ingest.formats.digits import Digits
from teleread.ingest.formats.format import Format, Head, Source
from teleread.ingest.formats.markup import parse
from teleread.signal.ecg.record import STANDARD_LEADS, EcgRecord

NAME = "zoncare"

_CHANNELS = 13


def read(source: Source) -> EcgRecord:
    """The twelve leads in their conventional order.

    Raises:
        InputRejected: the codes of :func:`~teleread.ingest.formats.markup.parse`, and ``zoncare_no_waveform``,
            ``zoncare_no_rate``, ``zoncare_no_scale`` (no unit was given), ``zoncare_unsupported`` (not twelve leads, a
            thirteenth channel that is not empty), ``zoncare_truncated``, ``zoncare_broken``, ``zoncare_too_large``.
    """
    root = parse(source.data, NAME)
    data, lead, sample, second = (root.anywhere(name) for name in ("data", "lead", "sample", "second"))
    if data is None or not data.text.strip():
        raise InputRejected("zoncare_no_waveform", "The file holds no samples.")
    if lead is None or facts.number(lead.text) != len(STANDARD_LEADS):
        raise InputRejected("zoncare_unsupported", "Only twelve leads are supported.")
    fs_hz = facts.usable_rate(facts.number(sample.text) if sample else None, NAME)
    per_mv = source.given.per_mv
    if per_mv is None:
        raise InputRejected("zoncare_no_scale", "The file does not say what its numbers mean; give their unit.")
    raw = Digits(NAME).base64(data.text, 2)
    if len(raw) % (2 * _CHANNELS):
        raise InputRejected("zoncare_broken", "The samples end within one.")
    stored = np.frombuffer(raw, dtype="<i2").reshape(-1, _CHANNELS)
    if stored[:, len(STANDARD_LEADS) :].any():
        raise InputRejected("zoncare_unsupported", "The channel that should be empty is not.")
    seconds = facts.number(second.text) if second else None
    if seconds is not None and stored.shape[0] < round(seconds * fs_hz):
        raise InputRejected("zoncare_truncated", "The file holds fewer samples than it states.")
    if seconds is not None and stored.shape[0] >= (seconds + 1) * fs_hz:
        raise InputRejected("zoncare_broken", "The file holds more samples than it states.")
    rows = stored[:, : len(STANDARD_LEADS)].T.astype(np.float64) * per_mv
    signals, leads = facts.stack(dict(zip(STANDARD_LEADS, rows, strict=True)), NAME)
    return EcgRecord(signals, leads, fs_hz, source_format=NAME)


def _recognises(head: Head) -> bool:
    return head.is_xml and head.root == "zqecg"


FORMAT = Format(NAME, "Zoncare XML", _recognises, read, seen_from_device=False, extensions=(".xml",))
