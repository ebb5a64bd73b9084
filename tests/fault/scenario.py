"""What is sent in every fault test: a small day of deliveries, through land, prepare and enqueue.

A second run is what follows a crash in life: whoever got no receipt sends again, and whatever has landed is prepared
and queued by the next process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from typing import Any, Literal

import pydicom
from pydicom.data import get_testdata_file

from teleread.alliance import Priority
from teleread.ingest.formats import write_wfdb
from teleread.pipeline.enqueue import enqueue
from teleread.pipeline.land import Landed, land
from teleread.pipeline.prepare import prepare
from teleread.pipeline.services import Services
from teleread.signal.ecg import simulate
from tests.fault.world import Clock, Step, no_step

Landing = Callable[..., Landed]
Later = Callable[[Services, str], str]


@dataclass(frozen=True, slots=True)
class Delivery:
    """One thing that a site sends."""

    name: str
    site_id: str
    source: Literal["dicom", "folder", "web", "cli"]
    files: Mapping[str, bytes]
    priority: Priority = "routine"


@cache
def deliveries() -> tuple[Delivery, ...]:
    """ECG, bundle, image, what nobody can read, the same again, the same as urgent, and a contradiction."""
    ecg = _dicom("waveform_ecg.dcm", "王^小明", "F-100")
    signals, _ = simulate("normal", 7, duration_s=4.0)
    return (
        Delivery("ecg", "village", "web", {"a.dcm": ecg}),
        Delivery("bundle", "village", "web", write_wfdb(signals, "rec")),
        Delivery("image", "township", "dicom", {"i.dcm": _dicom("CT_small.dcm", "Li^Na", "F-200")}),
        Delivery("unreadable", "village", "folder", {"x.bin": b"no recording of any kind" * 99}),
        Delivery("again", "village", "web", {"b.dcm": ecg}),
        Delivery("urgent", "village", "web", {"a.dcm": ecg}, "urgent"),
        Delivery("contradiction", "township", "dicom", {"j.dcm": _dicom("CT_small.dcm", "Li^Na", "F-200", "HEAD")}),
    )


def run(
    services: Services,
    clock: Clock,
    acknowledge: Callable[[str, str], None],
    *,
    acknowledged: Mapping[str, str] | None = None,
    step: Step = no_step,
    land: Landing = land,
    prepare: Later = prepare,
    enqueue: Later = enqueue,
    what: tuple[Delivery, ...] | None = None,
) -> None:
    """Bring every delivery to a reader.

    Args:
        clock: set to each delivery's own time.
        acknowledge: told the delivery's name and its arrival.
        acknowledged: arrivals by delivery, of runs before; these are not sent again.
        step: numbered before and after each acknowledgement.
        land, prepare, enqueue: the product's, or a broken twin's.
        what: deliveries, instead of all.
    """
    known = acknowledged or {}
    for number, delivery in enumerate(what or deliveries()):
        clock.minute(number)
        arrival_id = known.get(delivery.name)
        if arrival_id is None:
            landed = land(
                services,
                site_id=delivery.site_id,
                source=delivery.source,
                files=delivery.files,
                clinic_priority=delivery.priority,
                actor="test",
            )
            step("acknowledge")
            acknowledge(delivery.name, landed.arrival_id)
            step("acknowledged")
            arrival_id = landed.arrival_id
        prepare(services, arrival_id)
        step("prepared")
        enqueue(services, arrival_id)
        step("enqueued")


def _dicom(name: str, patient: str, patient_id: str, body_part: str | None = None) -> bytes:
    path = get_testdata_file(name)
    assert isinstance(path, str)
    dataset: Any = pydicom.dcmread(path)
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate = patient, patient_id, "19620304"
    if body_part:
        dataset.BodyPartExamined = body_part
    buffer = BytesIO()
    dataset.save_as(buffer)
    return buffer.getvalue()
