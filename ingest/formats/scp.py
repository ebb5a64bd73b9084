"""SCP-ECG (EN 1064, ISO 11073-91064), versions 1 and 2 and what version 3 kept of them."""

from __future__ import annotations

from teleread.ingest.formats import scp_results as results
from teleread.ingest.formats.format import Format, Head, Source
from teleread.ingest.formats.persons import age_on
from teleread.ingest.formats.scp_layout import Layout, looks_like_scp, read_layout
from teleread.ingest.formats.scp_signals import Signals, read_signals
from teleread.ingest.formats.scp_tags import Header, read_header
from teleread.ingest.formats.wholeness import scp_is_whole
from teleread.signal.ecg.record import Annotation, EcgRecord, with_derived_leads


def _recognises(head: Head) -> bool:
    return looks_like_scp(head.data, head.size)


def read_scp(source: Source) -> EcgRecord:
    """The rhythm of a record; its reference beats only serve to decompress it.

    Raises:
        InputRejected: ``scp_truncated`` (it names bytes behind its end), ``scp_broken`` (it contradicts itself, a
            checksum of its patient or its signal does not fit, its Huffman codes are none), ``scp_no_ecg_lead``,
            ``scp_no_scale``, ``scp_no_rate``, ``scp_too_large``, ``scp_unsupported`` (long-term sections of version
            3, Huffman prefixes of more than 20 bits).
    """
    layout = read_layout(source.data)
    signals = read_signals(layout)
    header = read_header(layout.sections[1], source.zone) if 1 in layout.sections else Header()
    sections = layout.sections
    said = results.statements(sections.get(8, b""), header.language)
    record = EcgRecord(
        signals_mv=signals.rows_mv,
        leads=signals.names,
        fs_hz=signals.fs_hz,
        source_format="scp",
        annotations=_annotations(layout, signals),
        filters=header.filters,
        patient=header.patient,
        acquired_at=header.acquired_at,
        age_years=age_on(header.age_years, header.patient.birth_date, header.acquired_at),
        device=header.device,
        device_measurements=(
            *results.global_measurements(sections.get(7, b"")),
            *results.lead_measurements(sections.get(10, b"")),
        ),
        device_statements=said or results.coded_statements(sections.get(11, b""), header.language),
        extra={**layout.notes, **signals.notes},
    )
    return with_derived_leads(record)


def _annotations(layout: Layout, signals: Signals) -> tuple[Annotation, ...]:
    n = signals.rows_mv.shape[1]
    beats = [
        Annotation("device_beat", at, at + 1, text=f"type {beat.kind}")
        for beat in signals.beats
        if 0 <= (at := beat.fiducial - max(signals.first, 1)) < n
    ]
    spikes = [
        Annotation("pacing", at, at + 1)
        for ms in results.pacing_spikes_ms(layout.sections.get(7, b""))
        if (at := round(ms * signals.fs_hz / 1000)) < n
    ]
    return (*beats, *spikes)


FORMAT = Format(
    name="scp",
    title="SCP-ECG",
    recognises=_recognises,
    read=read_scp,
    seen_from_device=True,
    extensions=(".scp", ".ecg"),
    is_whole=scp_is_whole,
)
