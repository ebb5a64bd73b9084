"""The tracing of a case on paper: A4, in the view, the layout and the scale that its reader sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from teleread.reading.sheet_files import pdf_files
from teleread.reading.tracing import Window
from teleread.signal.ecg.record import STANDARD_LEADS, EcgRecord, Filters
from teleread.signal.ecg.sheet import Scale, draw_sheet
from teleread.signal.ecg.sheet_text import display_text, filter_text, sheet_content
from teleread.signal.ecg.views import st_may_be_read

PAGE_S = 10.0


@dataclass(frozen=True, slots=True)
class Setting:
    """How the tracing is drawn.

    Args:
        layout: ``3x4``, ``6x2`` or ``12x1``.
        order: ``standard`` or ``cabrera``.
        rhythm: lead of the rhythm strip below 3x4.
        speed: mm/s.
        gain: mm/mV.
    """

    layout: str = "3x4"
    order: str = "standard"
    rhythm: str = "II"
    speed: float = 25.0
    gain: float = 10.0


def tracing_pdf(
    window: Window,
    analysis: Mapping[str, Any],
    setting: Setting,
    *,
    person: Sequence[str],
    language: str,
) -> bytes:
    """One PDF with the ten seconds of a window.

    Args:
        analysis: as stored, without what readers are not to see.
        person: the lines that say whose it is.
    """
    head = window.head
    display = head.display
    record = EcgRecord(
        window.signals_mv,
        head.leads,
        head.fs_hz,
        derived_leads=tuple(display.get("derived_leads", ())),
        filters=Filters(**display.get("filters", {})),
    )
    device = filter_text(record.filters, language, analysis.get("not_judged", ()))
    shown = display_text(window.applied, language, st=st_may_be_read(window.applied))
    content = replace(
        sheet_content(record, analysis, language=language),
        person=tuple(person),
        filters=" · ".join(text for text in (shown, device) if text),
        begins_s=window.start / head.fs_hz,
        lasts_s=head.n / head.fs_hz,
    )
    twelve = all(lead in head.leads for lead in STANDARD_LEADS)
    layout = setting.layout if twelve else "strips"
    # one strip below 3x4 and none below 6x2, as on the screen
    rhythm = (setting.rhythm if setting.rhythm in head.leads else "II",) if layout == "3x4" else ()
    scale = Scale(setting.speed, setting.gain)
    pages = draw_sheet(content, layout, scale=scale, order=setting.order, rhythm=rhythm)
    return pdf_files(pages)[0]
