"""What a reader is drawn: a curve whatever the recording's offset is, and also where its analysis fails."""

from __future__ import annotations

import json
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from teleread.ingest.bounded import Product
from teleread.ingest.formats import bundle, write_wfdb
from teleread.pipeline import derive as deriving
from teleread.pipeline import products
from teleread.pipeline.derive import derive
from teleread.pipeline.services import Services
from teleread.signal.ecg import EcgRecord, simulate
from tests.ecgs import ecg
from tests.ui.live import Web, case_paths, upload, wfdb

OPTIONS = {"issuer": "a", "utc_offset_minutes": 480}


def record() -> EcgRecord:
    return simulate("normal", 1, noise=0.0)[0]


def drawn(signals_mv: NDArray[np.float64]) -> NDArray[np.float64]:
    """The samples in mV as a page puts them together again."""
    steps, offset_uv = deriving._display_steps(signals_mv)
    stored = steps.astype("<i2").astype(float)
    stored[stored == deriving.MISSING_SAMPLE] = np.nan
    found: NDArray[np.float64] = (stored + np.array(offset_uv)[:, np.newaxis]) / 1000.0
    return found


@pytest.mark.parametrize("offset_mv", [0.0, 5.0, -400.0, 1e9])
def test_an_offset_of_one_lead_costs_no_lead_its_detail(offset_mv: float) -> None:
    signals = np.array(record().signals_mv)
    signals[3] += offset_mv
    # a double that holds a gigavolt has no more than a tenth of a microvolt left
    assert np.max(np.abs(drawn(signals) - signals)) <= 0.0011


def test_one_wild_sample_costs_no_other_its_detail() -> None:
    signals = np.array(record().signals_mv)
    signals[0, 100] = 1e6
    found = drawn(signals)
    assert found[0, 100] > 30.0
    others = np.ones(signals.shape, dtype=bool)
    others[0, 100] = False
    assert np.max(np.abs(found - signals)[others]) <= 0.0011


def test_missing_samples_and_leads_stay_missing() -> None:
    signals = np.array(record().signals_mv)
    signals[0, 5:9] = np.nan
    signals[2] = np.nan
    assert np.array_equal(np.isnan(drawn(signals)), np.isnan(signals))


def failing(raised: Exception) -> Any:
    def analyse(*_: Any) -> Any:
        raise raised

    return analyse


@pytest.mark.parametrize("raised", [ZeroDivisionError(), IndexError(), np.linalg.LinAlgError(), ValueError()])
@pytest.mark.parametrize("kind", ["wfdb", "dicom"])
def test_where_the_analysis_fails_the_tracing_is_kept(
    monkeypatch: pytest.MonkeyPatch, raised: Exception, kind: str
) -> None:
    payload = ecg(patient_id="1") if kind == "dicom" else bundle(write_wfdb(record(), "rec"))
    whole = derive(payload, OPTIONS)
    monkeypatch.setattr(deriving, "analyse", failing(raised))
    product = derive(payload, OPTIONS)
    assert product.facts["failure"]["code"] == "analysis_failed"
    assert product.facts["recording"] is None
    assert product.facts["patient"] == whole.facts["patient"]
    assert product.blobs == {name: whole.blobs[name] for name in ("display.json", "wave.i16")}


def test_a_fault_of_the_program_is_not_taken_for_a_strange_recording(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deriving, "analyse", failing(AttributeError()))
    with pytest.raises(AttributeError):
        derive(bundle(write_wfdb(record(), "rec")), OPTIONS)


def test_no_blob_holds_a_number_that_a_browser_cannot_read() -> None:
    with pytest.raises(ValueError, match="JSON"):
        deriving._json({"value": float("nan")})


def test_a_reader_sees_the_tracing_of_what_could_not_be_analysed(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deriving, "analyse", failing(ZeroDivisionError()))

    def here(_: Services, data: bytes, *__: Any, **___: Any) -> Product:
        return derive(data, OPTIONS)

    monkeypatch.setattr(products, "derive", here)
    with web.signed_in("nurse") as nurse:
        sent = upload(nurse, wfdb()).json()
        receipt: httpx.Response = nurse.get(f"/receipts/{sent['receipt']}")
    assert sent["verdict"]["failure_code"] == "analysis_failed"
    assert "The tracing is shown" in receipt.text
    with web.signed_in("reader") as reader:
        (path,) = case_paths(reader)
        page = reader.get(path)
        display = reader.get(f"/api/recordings/{path.rpartition('/')[2]}/display")
    assert page.status_code == 200
    assert 'id="trace"' in page.text
    assert "analysis_failed" in page.text
    assert "Nothing is flagged" not in page.text
    assert "No finding on the recording" not in page.text
    assert json.loads(display.content)["r_peaks"] == []
