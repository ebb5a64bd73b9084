"""What the ECG page asks the server for: windows, the usual beat, the earlier recording, verdicts on flags, the PDF."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from datetime import date
from typing import Any

import httpx
import numpy as np
import pytest
from sqlalchemy import select

from teleread.alliance import EcgRules
from teleread.ingest.formats import write_wfdb
from teleread.reading import claims, desk, flag_verdicts, persons, worklist
from teleread.signal.ecg import simulate
from teleread.signal.ecg.sheet_layout import GRID, PAPER_MM
from teleread.storage.catalogue.schema import audit_events, patients
from teleread.web.api import tracing as tracing_api
from tests.conftest import Clock
from tests.ecgs import ecg
from tests.ui.live import Web, upload, wfdb
from tests.unit.sheets import pdf_page

NOBODYS_ID = "0" * 32
TENTH = 0.1


def send(web: Web, files: dict[str, bytes], account: str = "nurse") -> str:
    """The case of what is sent."""
    with web.signed_in(account) as client:
        receipt = upload(client, files).json()["receipt"]
    with web.services.catalogue.read() as conn:
        return next(one.case_id for one in worklist.list_items(conn) if one.receipt == receipt)


def claimed(web: Web, case_id: str, who: str = "reader") -> dict[str, str]:
    with web.services.catalogue.write() as conn:
        claim = claims.claim_case(conn, case_id, claims.Reach(who, desk.pools_of(conn, case_id)), web.services.clock())
    return {"item_id": claim.item_id, "fence": str(claim.fence)}


def window(client: httpx.Client, arrival: str, **query: Any) -> tuple[dict[str, Any], np.ndarray]:
    answer = client.get(f"/api/recordings/{arrival}/window", params=query)
    assert answer.status_code == 200, answer.text
    (length,) = struct.unpack_from("<I", answer.content)
    head = json.loads(answer.content[4 : 4 + length])
    return head, np.frombuffer(answer.content[4 + length :], "<i2").reshape(-1, head["n"])


def calibration() -> dict[str, bytes]:
    """Twelve leads with a step of 1 mV for 1 s in each 2.5 s, and microvolts of noise, so that no level is a fault."""
    record, _truth = simulate("normal", 1, noise=0.0)
    t = np.arange(record.signals_mv.shape[1]) / record.fs_hz
    x = np.where((t % 2.5 >= 1.0) & (t % 2.5 < 2.0), 1.0, 0.0)
    x = x + 0.002 * np.random.default_rng(1).normal(size=(len(record.leads), x.size))
    return write_wfdb(replace(record, signals_mv=x), "step")


def test_views_differ_and_say_what_was_applied(web: Web, reader: httpx.Client) -> None:
    case = send(web, wfdb("normal", 2))
    seen = {view: window(reader, case, n=5000, view=view) for view in ("diagnostic", "monitor", "baseline", "raw")}
    applied = {view: head["applied"] for view, (head, _steps) in seen.items()}
    assert (applied["diagnostic"]["high_pass_hz"], applied["diagnostic"]["low_pass_hz"]) == (0.05, 150.0)
    assert (applied["monitor"]["high_pass_hz"], applied["monitor"]["low_pass_hz"]) == (0.5, 40.0)
    assert applied["raw"] == {"high_pass_hz": None, "low_pass_hz": None, "notch_hz": None, "baseline_removed": False}
    assert [head["st"] for head, _steps in seen.values()] == [True, False, True, True]
    assert reader.get(f"/api/recordings/{case}/window", params={"view": "nothing"}).status_code == 400
    assert reader.get(f"/api/recordings/{NOBODYS_ID}/window").status_code == 404


def test_turning_pages_is_one_audit_event(web: Web, reader: httpx.Client) -> None:
    case = send(web, wfdb())
    for start in range(0, 4000, 1000):
        window(reader, case, start=start, n=1000)
    reader.get(f"/api/recordings/{case}/beat")
    with web.services.catalogue.read() as conn:
        events = conn.execute(select(audit_events.c.detail).where(audit_events.c.action == "view")).scalars().all()
    assert [one for one in events if one == {"part": "tracing"}] == [{"part": "tracing"}]


def test_measurements_that_are_kept_from_readers_give_no_marks(web: Web, reader: httpx.Client) -> None:
    case = send(web, wfdb())
    assert reader.get(f"/api/recordings/{case}/beat").json()["marks"]["qrs_on"] is not None
    object.__setattr__(web.services.alliance, "ecg", (EcgRules(date(2026, 1, 1), measurement=False),))
    assert set(reader.get(f"/api/recordings/{case}/beat").json()["marks"].values()) == {None}
    assert "pr_ms" not in reader.get(f"/cases/{case}").text.partition('id="measurements"')[2][:400]


# --- the earlier recording


def test_the_earlier_recording_is_compared_in_words_of_both_languages(web: Web, reader: httpx.Client) -> None:
    send(web, {"a": ecg(patient_id="7", at="20251101100000", seed=1)})
    case = send(web, {"b": ecg(patient_id="7", at="20261101100000", seed=2)})
    found = reader.get(f"/api/cases/{case}/earlier").json()
    assert (found["acquired"], found["site"], found["compared"]) == ("2025-11-01 10:00", "Village Clinic", True)
    assert any("QT" in line["text"] for line in found["lines"])
    assert f'option value="{found["arrival"]}"' in reader.get(f"/cases/{case}").text
    with web.signed_in("reader", headers={"accept-language": "zh-CN"}) as chinese:
        assert any("间期" in line["text"] for line in chinese.get(f"/api/cases/{case}/earlier").json()["lines"])


def possible_prior(web: Web) -> tuple[str, str]:
    """Two patients of one name and birth date, about whom nobody has decided."""
    before = send(web, {"a": ecg(patient_id="7", at="20251101100000", seed=1)}, "stranger")
    return before, send(web, {"b": ecg(patient_id="8", at="20261101100000", seed=2)})


def test_a_possible_earlier_recording_is_never_compared(web: Web, reader: httpx.Client) -> None:
    before, case = possible_prior(web)
    assert reader.get(f"/api/cases/{case}/earlier").status_code == 404
    assert reader.get(f"/api/cases/{case}/earlier", params={"of": before}).status_code == 404
    assert 'id="earlier-panel"' not in reader.get(f"/cases/{case}").text
    with web.services.catalogue.write() as conn:
        one, other = conn.scalars(select(patients.c.pseudonym)).all()
        persons.link(conn, one, other, reason="seen", who="reader", at=web.services.clock())
    assert reader.get(f"/api/cases/{case}/earlier").json()["arrival"] == before


def test_a_page_that_took_possible_ones_would_be_caught(
    web: Web, reader: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broken twin: possible ones among the priors."""
    before, case = possible_prior(web)
    monkeypatch.setattr(tracing_api.persons, "priors", persons.possible_priors)
    assert reader.get(f"/api/cases/{case}/earlier").json()["arrival"] == before


def test_another_patients_recording_is_not_found_beside(web: Web, reader: httpx.Client) -> None:
    other = send(web, wfdb("normal", 9))
    send(web, {"a": ecg(patient_id="7", at="20251101100000", seed=1)})
    case = send(web, {"b": ecg(patient_id="7", at="20261101100000", seed=2)})
    assert reader.get(f"/api/cases/{case}/earlier", params={"of": other}).status_code == 404
    assert reader.get(f"/api/cases/{case}/earlier", params={"of": case}).status_code == 404


# --- verdicts


def test_a_flag_is_rejected_and_taken_back_by_whoever_has_the_case(web: Web, reader: httpx.Client) -> None:
    case = send(web, wfdb("inferior_stemi", 3))
    path, mine = f"/api/cases/{case}/flags/st_elevation_inferior", claimed(web, case)
    answer = reader.post(path, data={"verdict": "rejected", "reason": "artefact"} | mine).json()
    assert "st_elevation_inferior" not in answer["open"]
    assert "st_depression_posterior" in answer["open"]
    with web.services.catalogue.read() as conn:
        said = flag_verdicts.of_case(conn, case)
    assert {one.verdict for one in said.values()} == {"rejected"}
    assert {"udmi-2018.inferior:III", "teleread-patterns.inferior-reciprocal:III"} <= set(said)
    assert 'class="is-critical is-rejected"' in reader.get(f"/cases/{case}").text
    assert "st_elevation_inferior" in reader.post(path, data={"verdict": "open"} | mine).json()["open"]
    assert "is-rejected" not in reader.get(f"/cases/{case}").text


@pytest.mark.parametrize("change", [{"fence": "7"}, {"fence": ""}, {"fence": "-1"}, {"item_id": "nobody"}])
def test_without_the_claim_nothing_is_said_of_a_flag(web: Web, reader: httpx.Client, change: dict[str, str]) -> None:
    case = send(web, wfdb("inferior_stemi", 3))
    mine = claimed(web, case) | change
    answer = reader.post(f"/api/cases/{case}/flags/st_elevation_inferior", data={"verdict": "rejected"} | mine)
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "claim_lost")
    with web.services.catalogue.read() as conn:
        assert flag_verdicts.of_case(conn, case) == {}


def test_a_claim_counts_for_its_own_case_and_time(web: Web, reader: httpx.Client, clock: Clock) -> None:
    case, other = (send(web, wfdb("inferior_stemi", seed)) for seed in (3, 4))
    mine = claimed(web, other)
    path = f"/api/cases/{case}/flags/st_elevation_inferior"
    assert reader.post(path, data={"verdict": "rejected"} | mine).status_code == 409
    mine = claimed(web, case)
    clock.advance(16 * 60)
    assert reader.post(path, data={"verdict": "rejected"} | mine).status_code == 409
    with web.signed_in("senior") as senior:
        assert senior.post(path, data={"verdict": "rejected"} | claimed(web, case)).status_code == 409


def test_a_verdict_is_one_of_the_list_and_of_a_flag_that_was_raised(web: Web, reader: httpx.Client) -> None:
    case = send(web, wfdb("inferior_stemi", 3))
    mine = claimed(web, case)
    for said in ({"verdict": "maybe"}, {}, {"verdict": "rejected", "reason": "I do not like it"}):
        answer = reader.post(f"/api/cases/{case}/flags/st_elevation_inferior", data=said | mine)
        assert answer.json()["error"]["code"] == "flag_verdict_unknown"
    assert reader.post(f"/api/cases/{case}/flags/asystole", data={"verdict": "rejected"} | mine).status_code == 404


# --- the PDF


def height(trace: np.ndarray) -> float:
    """Between the two levels of a step, in mm."""
    y, middle = trace[:, 1], (trace[:, 1].max() + trace[:, 1].min()) / 2
    return float(np.median(y[y > middle]) - np.median(y[y < middle]))


def test_the_pdf_is_true_to_a_tenth_of_a_millimetre_and_says_whose_it_is(web: Web, reader: httpx.Client) -> None:
    case = send(web, calibration())
    answer = reader.get(f"/cases/{case}/tracing.pdf", params={"view": "raw"})
    assert answer.headers["content-type"] == "application/pdf"
    box, found = pdf_page(answer.content)
    assert box == pytest.approx((0.0, 0.0, *PAPER_MM), abs=TENTH)
    pulses = [line for line in found if len(line) == 6]
    assert len(pulses) == 4
    for pulse in pulses:
        assert np.ptp(pulse[:, 1]) == pytest.approx(10.0, abs=TENTH)
        assert np.ptp(pulse[np.isclose(pulse[:, 1], pulse[:, 1].max()), 0]) == pytest.approx(5.0, abs=TENTH)
    (rhythm,) = [line for line in found if np.ptp(line[:, 0]) > 200 and len(line) > 100]
    assert height(rhythm) == pytest.approx(10.0, abs=TENTH)  # 1 mV
    steps = np.diff(rhythm[:, 1])
    up, down = rhythm[1:, 0][steps > 5], rhythm[1:, 0][steps < -5]
    assert down - up == pytest.approx(25.0, abs=TENTH)  # 1 s
    assert rhythm[0, 0] == pytest.approx(GRID[0] + 10.0, abs=TENTH)


@pytest.mark.parametrize(("speed", "gain", "pages"), [(25, 10, 1), (50, 10, 2), (25, 20, 1), (50, 5, 2)])
def test_every_scale_of_the_pdf_is_true(web: Web, reader: httpx.Client, speed: int, gain: int, pages: int) -> None:
    case = send(web, calibration())
    query = {"view": "raw", "speed": speed, "gain": gain, "layout": "6x2", "order": "cabrera"}
    data = reader.get(f"/cases/{case}/tracing.pdf", params=query).content
    assert data.count(b"/Type /Page\n") + data.count(b"/Type /Page ") == pages
    _box, found = pdf_page(data)  # the first page
    traces = [line for line in found if len(line) > 1000]
    assert len(traces) == (12 if pages == 1 else 6)
    for trace in traces:
        assert height(trace) == pytest.approx(gain, abs=TENTH)
        assert trace[-1, 0] <= GRID[0] + 10.0 + 250.0 + TENTH


def test_the_pdf_bears_the_view_and_nobodys_name_in_its_file_name(web: Web, reader: httpx.Client) -> None:
    case = send(web, {"a": ecg(patient_id="7", seed=2)})
    one = reader.get(f"/cases/{case}/tracing.pdf")
    other = reader.get(f"/cases/{case}/tracing.pdf", params={"view": "monitor"})
    assert one.content != other.content
    assert one.content == reader.get(f"/cases/{case}/tracing.pdf").content
    assert "Li" not in one.headers["content-disposition"]
    assert reader.get(f"/cases/{case}/tracing.pdf", params={"layout": "5x5"}).status_code == 400
    assert reader.get(f"/cases/{NOBODYS_ID}/tracing.pdf").status_code == 404
