"""The command line: facts on standard output, one line and a stable exit code when something is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.data import get_testdata_file

from teleread.cli import main
from teleread.ingest.formats import write_wfdb
from teleread.pipeline.enqueue import enqueue
from teleread.pipeline.land import land
from teleread.pipeline.prepare import prepare
from teleread.services import running_services
from teleread.settings import load_settings
from teleread.signal.ecg import simulate
from teleread.up.sample import sample_folders, write_alliance
from tests.ecgs import ecg

Run = Callable[..., tuple[int, str, str]]
ECG = str(get_testdata_file("waveform_ecg.dcm"))


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: object) -> tuple[int, str, str]:
        code = main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with the sample alliance and one broken arrival in quarantine."""
    monkeypatch.setenv("TELEREAD_HOME", str(tmp_path))
    settings = load_settings()
    write_alliance(settings, sample_folders(settings), None, 1)
    with running_services() as services:
        landed = land(
            services,
            site_id="township-clinic",
            source="cli",
            files={"x": b"not an ECG"},
            clinic_priority="routine",
            actor="test",
        )
        prepare(services, landed.arrival_id)
        enqueue(services, landed.arrival_id)
    return tmp_path


def test_ecg_prints_the_analysis_for_people_and_as_json(run: Run) -> None:
    code, text, _ = run("ecg", ECG)
    assert code == 0
    assert "heart_rate_bpm" in text
    assert "licensed reader" in text
    code, text, _ = run("ecg", ECG, "--json")
    assert code == 0
    assert 55 < json.loads(text)["measurements"]["heart_rate_bpm"]["value"] < 65


def test_ecg_reads_a_wfdb_header_with_its_samples_beside_it(run: Run, tmp_path: Path) -> None:
    for name, data in write_wfdb(simulate("normal", 3)[0], "rec").items():
        (tmp_path / name).write_bytes(data)
    assert run("ecg", tmp_path / "rec.hea")[0] == 0


def test_a_rejected_file_is_exit_code_3_with_a_stable_code(run: Run, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"no ECG")
    code, _, problem = run("ecg", tmp_path / "x")
    assert code == 3
    assert problem.count("\n") == 1
    code, text, _ = run("ecg", tmp_path / "x", "--json")
    assert (code, json.loads(text)["error"]["code"]) == (3, "format_unknown")


def test_check_judges_every_file_even_after_a_bad_one(run: Run, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"no ECG")
    code, text, _ = run("check", tmp_path / "x", ECG, "--json")
    bad, good = map(json.loads, text.splitlines())
    assert (code, good["acceptable"]) == (3, True)
    assert bad["error"]["code"] == "format_unknown"


def test_anonymise_writes_a_folder_of_copies_without_the_patient(run: Run, tmp_path: Path) -> None:
    source, target, key = tmp_path / "in", tmp_path / "out", tmp_path / "key"
    (source / "deep").mkdir(parents=True)
    (source / "deep" / "ecg.dcm").write_bytes(Path(ECG).read_bytes())
    (source / "text.txt").write_text("not DICOM")
    key.write_bytes(bytes(range(32)))
    code, text, _ = run("anonymise", source, target, "--key-file", key, "--json")
    assert code == 3  # the text file is told, the ECG is done all the same
    assert len(text.splitlines()) == 2
    (made,) = target.rglob("*.dcm")
    assert "ecg" not in str(made.relative_to(target))  # a name may be a patient's
    copy = pydicom.dcmread(made)
    assert copy.PatientIdentityRemoved == "YES"
    assert str(copy.PatientID) != "642341"
    again = tmp_path / "again.dcm"
    run("anonymise", source / "deep" / "ecg.dcm", again, "--key-file", key)
    assert again.read_bytes() == made.read_bytes()


def test_anonymise_never_overwrites_its_source(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "ecg.dcm"
    path.write_bytes(Path(ECG).read_bytes())
    assert run("anonymise", path, path)[0] == 3
    assert path.read_bytes() == Path(ECG).read_bytes()


def test_quarantine_is_listed_shown_saved_and_retried(run: Run, home: Path) -> None:
    code, text, _ = run("quarantine", "list", "--json")
    (entry,) = map(json.loads, text.splitlines())
    assert (code, entry["site_id"]) == (0, "township-clinic")
    assert run("quarantine", "show", entry["arrival_id"], "--bytes", home / "saved")[0] == 0
    assert (home / "saved").read_bytes() == b"not an ECG"
    assert (home / "saved").stat().st_mode & 0o777 == 0o600
    code, text, _ = run("quarantine", "retry", entry["arrival_id"], "--json")
    assert (code, json.loads(text)["state"]) == (0, "quarantined")
    assert run("quarantine", "retry", "--all")[0] == 0
    assert run("quarantine", "show", "0" * 32)[0] == 3
    assert run("quarantine", "retry")[0] == 2


def test_the_worklist_shows_what_was_not_analysed_and_nobodys_name(run: Run, home: Path) -> None:
    code, text, _ = run("worklist")
    assert code == 0
    assert "high" in text
    assert "NOT ANALYSED" in text
    (item,) = map(json.loads, run("worklist", "--json")[1].splitlines())
    assert not {"name", "patient_id", "birth_date"} & set(item)


def test_sites_and_settings_are_told(run: Run, home: Path) -> None:
    code, text, _ = run("sites")
    assert code == 0
    assert "county-hospital: not pulled yet" in text
    assert "riverside-clinic: sends by itself" in text
    assert len(run("sites", "--json")[1].splitlines()) == 4
    assert json.loads(run("settings", "--json")[1])["web_port"] == "8420"


def test_a_pull_of_a_dead_peer_is_exit_code_4_and_of_an_unknown_site_2(run: Run, home: Path) -> None:
    assert run("pull", "county-hospital")[0] == 4
    assert run("pull", "nowhere")[0] == 2


def test_a_pull_takes_prepares_and_queues(run: Run, home: Path) -> None:
    (home / "sample" / "township-cart" / "a.dcm").write_bytes(Path(ECG).read_bytes())
    code, text, _ = run("pull", "township-clinic", "--json")
    assert code == 0
    assert json.loads(text)["landed"] == json.loads(text)["prepared"] == 1


def test_without_an_alliance_file_the_command_says_what_to_do(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TELEREAD_HOME", str(tmp_path))
    code, _, problem = run("worklist")
    assert code == 2
    assert "teleread up" in problem


def test_patients_are_linked_answered_and_corrected_without_a_name_in_sight(
    run: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {"1001": "Li^Na", "2002": "Li^Na", "3003": "Zhao^Min"}
    receipts = []
    with running_services() as services:
        site = next(site for site in services.alliance.sites if site != "township-clinic")
        for seed, (number, name) in enumerate(list(names.items())[:2]):
            data = ecg(patient_id=number, name=name, seed=seed, at=f"2026110{seed + 1}100000")
            landed = land(
                services, site_id=site, source="cli", files={"x": data}, clinic_priority="routine", actor="test"
            )
            assert prepare(services, landed.arrival_id) == "prepared"
            enqueue(services, landed.arrival_id)
            receipts.append(landed.receipt)
    said = []

    def call(*arguments: object) -> Any:
        code, out, err = run("patients", *arguments, "--json")
        assert code == 0, err
        said.append(out + err)
        return json.loads(out or "{}")

    question = call("questions")
    assert question["code"] == "possible_prior"
    one, other = question["pseudonym"], question["other_pseudonym"]
    call("answer", question["id"], "same", "--reason", "same telephone")
    assert call("person", one)["person"] == sorted([one, other])
    call("unlink", one, other, "--reason", "no")
    assert call("person", one)["person"] == [one]
    assert call("link", other, one, "--reason", "yes after all") == {"linked": True}
    call("correct", receipts[0], "open", "--reason", "wrong sticker")
    assert call("corrections")["receipt"] == receipts[0]
    named = {"issuer": site, "patient_id": "3003", "name": "Zhao^Min", "birth_date": "1990-05-06", "sex": "F"}
    monkeypatch.setattr("sys.stdin", StringIO(json.dumps(named)))
    assert call("correct", receipts[0], "name")["pseudonym"] not in {one, other}
    assert call("corrections") == {}
    code, _out, err = run("patients", "correct", receipts[0], "confirm")
    assert code == 3
    assert "no_open_correction" in err
    monkeypatch.setattr("sys.stdin", StringIO("[]"))
    assert run("patients", "correct", receipts[0], "name")[0] == 3
    assert not [secret for secret in (*names, *names.values(), "1990-05-06", "1962") if secret in "".join(said)]


def test_no_new_key_ring_takes_the_place_of_a_lost_one(run: Run, home: Path) -> None:
    key_file = load_settings().key_file
    key_file.rename(key_file.with_name("aside.json"))
    code, _, err = run("storage", "scrub")
    assert code == 2
    assert "key_file_missing" in err
    assert not key_file.exists()
    key_file.with_name("aside.json").rename(key_file)
    assert run("storage", "scrub")[0] == 0
