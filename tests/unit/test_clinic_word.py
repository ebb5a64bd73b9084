"""The clinic's later word: answers and "urgent after all" only ever raise, and "I have read this" has a name."""

from __future__ import annotations

import re

import httpx
import pytest
from sqlalchemy import select

from teleread.alliance import PRIORITIES
from teleread.errors import InputRejected
from teleread.pipeline.notes import NOTES, split_key
from teleread.pipeline.services import Services
from teleread.pipeline.sweep import sweep_web
from teleread.reading import symptoms
from teleread.reading.symptoms import Form, parse, raises_to
from teleread.signal.ecg.quality import FAULTS
from teleread.storage.catalogue.schema import acknowledgements, arrivals, audit_events, clinic_forms, work_items
from teleread.web.electrodes import PLACES, marked
from tests.conftest import Clock
from tests.signing import post_report
from tests.ui.live import Web, named_ecg, upload, wfdb

ANSWERS = {
    "chest_pain": "now",
    "onset": "m30",
    "systolic": "150",
    "diastolic": "95",
    "drug_aspirin": "1",
    "consent": "yes",
}


@pytest.fixture
def receipt(nurse: httpx.Client) -> str:
    return str(upload(nurse, wfdb()).json()["receipt"])


@pytest.mark.parametrize(
    "form",
    [
        Form(),
        Form("now", "m30", "to179", 150, 95, ("aspirin", "digoxin"), "no"),
        Form("gone", "longer", "none", None, None, ("none",), "later"),
        Form(pressure="ge220", systolic=240),
    ],
)
def test_a_form_goes_to_the_page_and_back_unchanged(form: Form) -> None:
    assert parse(symptoms.fields(form)) == form


def case_of(reader: httpx.Client) -> str:
    return str(re.findall(r'href="(/cases/\w+)"', reader.get("/worklist").text)[0])


def priorities(services: Services) -> tuple[str, str, list[str]]:
    """Of the arrival, of its work item, and of its notes."""
    with services.catalogue.read() as conn:
        arrival = conn.scalar(select(arrivals.c.clinic_priority))
        item = conn.scalar(select(work_items.c.priority))
    notes = [found[1] for info in services.store.blobs.list(NOTES) if (found := split_key(info.key))]
    return str(arrival), str(item), sorted(notes)


@pytest.mark.parametrize(
    ("form", "least"),
    [
        (Form(), None),
        (Form(chest_pain="no", onset="m30", pressure="to139", consent="no"), None),
        (Form(chest_pain="now"), "urgent"),
        (Form(chest_pain="now", onset="longer"), "urgent"),
        (Form(chest_pain="gone"), "high"),
        (Form(chest_pain="gone", onset="h12"), "high"),
        (Form(chest_pain="gone", onset="longer"), None),
        (Form(pressure="le90"), "urgent"),
        (Form(pressure="ge220"), "urgent"),
        (Form(pressure="to219"), None),
        (Form(pressure="none"), None),
    ],
)
def test_what_the_answers_ask_for(form: Form, least: str | None) -> None:
    assert raises_to(form) == least


@pytest.mark.parametrize(
    ("systolic", "code"),
    [
        ("20", "le90"),
        ("90", "le90"),
        ("91", "to139"),
        ("139", "to139"),
        ("140", "to179"),
        ("219", "to219"),
        ("220", "ge220"),
    ],
)
def test_a_typed_pressure_gives_its_range(systolic: str, code: str) -> None:
    assert parse({"systolic": systolic, "pressure": "to139"}).pressure == code


@pytest.mark.parametrize(
    "fields",
    [
        {"chest_pain": "maybe"},
        {"consent": "<script>"},
        {"systolic": "1e2"},
        {"systolic": "-90"},
        {"systolic": "9"},
        {"systolic": "999"},
        {"systolic": "１２０"},
        {"systolic": "90", "diastolic": "120"},
        {"systolic": "9" * 5000},
    ],
)
def test_answers_that_cannot_be_are_refused(fields: dict[str, str]) -> None:
    with pytest.raises(InputRejected, match="form_invalid"):
        parse(fields)


def test_every_code_has_words_in_the_pages() -> None:
    from teleread.web import texts

    assert set(symptoms.CHEST_PAIN) == set(texts.CHEST_PAIN)
    assert set(symptoms.ONSET) == set(texts.ONSET)
    assert set(symptoms.PRESSURE) == set(texts.PRESSURE)
    assert set(symptoms.DRUGS) == set(texts.DRUGS)
    assert set(symptoms.CONSENT) == set(texts.CONSENT)


def test_symptoms_raise_arrival_work_item_and_note_together(
    web: Web, nurse: httpx.Client, reader: httpx.Client, receipt: str
) -> None:
    assert priorities(web.services) == ("routine", "routine", ["routine"])
    answer = nurse.post(f"/api/receipts/{receipt}/form", data=ANSWERS)
    assert (answer.status_code, answer.json()) == (200, {"priority": "urgent"})
    assert priorities(web.services) == ("urgent", "urgent", ["routine", "urgent"])
    with web.services.catalogue.read() as conn:
        acts = list(conn.scalars(select(audit_events.c.action)))
        details = str(conn.execute(select(audit_events.c.detail)).all())
    assert acts.count("raise") == 1
    assert acts.count("form") == 1
    assert "aspirin" not in details  # answers are the patient's, not the audit's
    page = reader.get(case_of(reader)).text
    for words in ("Yes, now", "150/95 mmHg", "Aspirin", "Agrees"):
        assert words in page


def test_a_later_form_takes_the_place_of_the_first_and_never_lowers(
    web: Web, nurse: httpx.Client, receipt: str
) -> None:
    nurse.post(f"/api/receipts/{receipt}/form", data=ANSWERS)
    nurse.post(f"/api/receipts/{receipt}/patient")
    assert nurse.post(f"/api/receipts/{receipt}/form", data={"chest_pain": "no"}).json() == {"priority": "urgent"}
    with web.services.catalogue.read() as conn:
        (form,) = conn.execute(select(clinic_forms)).all()
    assert (form.chest_pain, form.systolic, form.drugs) == ("no", None, [])
    assert form.consent == "yes"  # an answer is not unsaid by silence
    assert form.is_the_patient is True
    assert priorities(web.services)[1] == "urgent"


def test_urgent_after_all_raises_once(web: Web, nurse: httpx.Client, receipt: str) -> None:
    for _ in range(2):
        assert nurse.post(f"/api/receipts/{receipt}/urgent").json() == {"priority": "urgent"}
    assert priorities(web.services) == ("urgent", "urgent", ["routine", "urgent"])
    with web.services.catalogue.read() as conn:
        assert list(conn.scalars(select(audit_events.c.action))).count("raise") == 1


@pytest.mark.parametrize("act", ["form", "patient", "urgent", "read"])
def test_another_sites_receipt_does_not_exist(web: Web, receipt: str, act: str) -> None:
    with web.signed_in("stranger") as stranger:
        assert stranger.post(f"/api/receipts/{receipt}/{act}", data={"chest_pain": "now"}).status_code == 404
    assert priorities(web.services)[0] == "routine"


def test_a_bad_answer_changes_nothing_and_says_so(web: Web, nurse: httpx.Client, receipt: str) -> None:
    answer = nurse.post(f"/api/receipts/{receipt}/form", data={"chest_pain": "now", "systolic": "abc"})
    assert answer.status_code == 422
    assert answer.json()["error"]["code"] == "form_invalid"
    assert priorities(web.services)[0] == "routine"


def critical(web: Web, reader: httpx.Client, clock: Clock) -> str:
    path = case_of(reader)
    assert post_report(reader, path, {"text": "STEMI. Call.", "critical": "1"}).status_code == 303
    clock.advance(5)
    sweep_web(web.services)
    return path


def test_i_have_read_this_is_kept_with_name_and_time_and_shown_to_the_reader(
    web: Web, nurse: httpx.Client, reader: httpx.Client, clock: Clock, receipt: str
) -> None:
    path = critical(web, reader, clock)
    assert "The clinic has not said that it has read this" in reader.get(path).text
    assert "not yet read at the clinic: 1" in reader.get("/worklist").text
    (report,) = re.findall(r'name="report" value="(\w+)"', nurse.get(f"/receipts/{receipt}").text)
    clock.advance(7)
    at = clock()
    assert nurse.post(f"/api/receipts/{receipt}/read", data={"report": report}).json() == {"read_by": "nurse"}
    clock.advance(60)
    nurse.post(f"/api/receipts/{receipt}/read", data={"report": report})
    with web.services.catalogue.read() as conn:
        (row,) = conn.execute(select(acknowledgements)).all()
        acts = conn.execute(select(audit_events.c.action, audit_events.c.object_type)).all()
    assert (row.read_by, row.read_at, row.site_id) == ("nurse", at, "village")
    # one press: the report has been read, and the critical value that it tells of is known
    assert [one.object_type for one in acts if one.action == "acknowledge"] == ["report", "critical"]
    assert "Read at the clinic by nurse" in reader.get(path).text
    assert "all read at the clinic" in reader.get("/worklist").text


def test_what_is_not_critical_or_not_given_back_cannot_be_acknowledged(
    web: Web, nurse: httpx.Client, reader: httpx.Client, receipt: str
) -> None:
    assert nurse.post(f"/api/receipts/{receipt}/read", data={"report": "0" * 32}).status_code == 404
    post_report(reader, case_of(reader), {"text": "Sinus rhythm."})
    sweep_web(web.services)
    with web.services.catalogue.read() as conn:
        assert conn.execute(select(acknowledgements)).all() == []


def test_the_clinic_is_told_who_has_it_and_the_telephone_number_falls_silent(
    web: Web, nurse: httpx.Client, reader: httpx.Client, clock: Clock
) -> None:
    receipt = upload(nurse, wfdb(), urgent=True).json()["receipt"]
    status = f"/receipts/{receipt}/status"
    assert re.search(r'class="fallback"[^>]*hidden', nurse.get(status).text)
    clock.advance(61)
    assert re.search(r'class="fallback"(?![^>]*hidden)', nurse.get(status).text)
    reader.get(case_of(reader))
    told = nurse.get(status).text
    assert "fallback" not in told
    assert "Being read by reader" in told


def test_an_unchanged_state_is_not_sent_again(nurse: httpx.Client, receipt: str) -> None:
    answer = nurse.get(f"/receipts/{receipt}/status")
    mark = answer.headers["teleread-state"]
    again = nurse.get(f"/receipts/{receipt}/status", params={"seen": mark})
    assert (again.status_code, again.content) == (204, b"")
    assert f'data-state="{mark}"' in nurse.get(f"/receipts/{receipt}/card").text
    nurse.post(f"/api/receipts/{receipt}/urgent")
    assert nurse.get(f"/receipts/{receipt}/status", params={"seen": mark}).status_code == 200


def test_the_plain_forms_do_the_same(web: Web, nurse: httpx.Client, receipt: str) -> None:
    for act, data in (("form", {"chest_pain": "gone"}), ("patient", {}), ("urgent", {})):
        answer = nurse.post(f"/receipts/{receipt}/{act}", data=data)
        assert (answer.status_code, answer.headers["location"]) == (303, f"/receipts/{receipt}")
    assert priorities(web.services)[1] == "urgent"


def test_the_name_is_not_in_the_part_that_is_polled(nurse: httpx.Client) -> None:
    receipt = upload(nurse, {"a": named_ecg("Wang^XiaoDong=王^小东")}).json()["receipt"]
    assert "王小东" in nurse.get(f"/receipts/{receipt}/card?wait=2").text
    assert "小东" not in nurse.get(f"/receipts/{receipt}/status").text


def test_findings_mark_the_electrodes_that_they_name() -> None:
    def one(
        remedy: str, lead: str | None = None, electrode: str | None = None, fault: str = "off"
    ) -> dict[str, str | None]:
        return {"fault": fault, "remedy": remedy, "lead": lead, "electrode": electrode}

    assert marked([one("reattach_electrode", "V2"), one("reattach_electrode", "V5")]) == ("V2", "V5")
    assert marked([one("check_limb_electrodes", electrode="RA-LA")]) == ("RA", "LA")
    assert marked([one("check_limb_electrodes", electrode="arms-legs")]) == ("RA", "LA", "RL", "LL")
    assert marked([one("reattach_electrode", "II"), one("reattach_electrode", "III", electrode="LL")]) == ("RA", "LL")
    assert marked([one("ask_to_lie_still", "V1")]) == ()
    assert marked([one("reattach_electrode", "V1"), one("look_at_patient", fault="all_leads_bad")]) == ()
    assert "all_leads_bad" in FAULTS
    assert {place.code for place in PLACES} == {"RA", "LA", "RL", "LL", *(f"V{n}" for n in range(1, 7))}


def test_a_slow_line_gets_compressed_pages_and_samples_as_they_are(nurse: httpx.Client, receipt: str) -> None:
    takes = {"accept-encoding": "gzip"}
    for path in (f"/receipts/{receipt}", "/static/js/clinic-queue.js", "/static/css/clinic.css", "/upload"):
        assert nurse.get(path, headers=takes).headers.get("content-encoding") == "gzip", path
    assert "content-encoding" not in nurse.get(f"/api/receipts/{receipt}", headers=takes).headers
    assert "content-encoding" not in nurse.get("/upload", headers={"accept-encoding": "identity"}).headers


def test_no_priority_is_more_urgent_than_urgent() -> None:
    assert PRIORITIES[0] == "urgent"
