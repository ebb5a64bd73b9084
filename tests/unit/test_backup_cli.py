"""The commands as a person types them: backup, restore, retention."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, update

from teleread.cli import main
from teleread.pipeline.land import land
from teleread.pipeline.prepare import prepare
from teleread.services import running_services
from teleread.settings import load_settings
from teleread.storage.catalogue import schema
from teleread.storage.vault import KeyRing, recovery
from tests.unit.test_pipeline_steps import sample

ALLIANCE = """
[alliance]
name_zh = "联盟"
name_en = "Alliance"
telephone = "1"
[[site]]
id = "village"
name_zh = "村"
name_en = "Village"
role = "member"
[[connection]]
site = "village"
kind = "web"
valid_from = 2026-01-01
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A system with one prepared study."""
    place = tmp_path / "home"
    place.mkdir()
    monkeypatch.setenv("TELEREAD_HOME", str(place))
    (place / "alliance.toml").write_text(ALLIANCE, encoding="utf-8")
    with running_services() as services:
        landed = land(
            services,
            site_id="village",
            source="web",
            files={"a": sample("CT_small.dcm")},
            clinic_priority="routine",
            actor="nurse",
        )
        assert prepare(services, landed.arrival_id) == "prepared"
    return place


def call(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, list[Any], str]:
    """Run a command with ``--json``; its code, its objects and its standard error."""
    capsys.readouterr()
    code = main([*map(str, words), "--json"])
    said = capsys.readouterr()
    return code, [json.loads(line) for line in said.out.splitlines()], said.err


def test_backup_and_restore_by_two_files(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "backups"
    code, (said,), _ = call(capsys, "backup", folder)
    assert (code, said["error"]["code"]) == (2, "no_recovery_key")
    private, public = recovery.new_pair()
    halves = [tmp_path / "half-1", tmp_path / "half-2"]
    for path, half in zip(halves, recovery.split(private), strict=True):
        path.write_text(half)
    KeyRing.open(load_settings().key_file, clock=lambda: datetime.now(UTC)).set_recovery(public)

    code, (made,), _ = call(capsys, "backup", folder, "--verify", "--keep", 2)
    assert code == 0
    assert made["objects"] == made["copied"] > 2
    code, (listed,), _ = call(capsys, "backup", folder, "--list")
    assert listed["id"] == made["id"]
    code, (refused,), _ = call(capsys, "restore", folder, "--half", halves[0], "--half", halves[1])
    assert (code, refused["error"]["code"]) == (3, "database_not_empty")

    alliance = (home / "alliance.toml").read_text(encoding="utf-8")
    shutil.rmtree(home)
    code, (refused,), _ = call(capsys, "restore", folder, "--half", halves[0], "--half", halves[1])
    assert (code, refused["error"]["code"]) == (2, "alliance_missing")
    home.mkdir(exist_ok=True)
    (home / "alliance.toml").write_text(alliance, encoding="utf-8")
    code, (refused,), _ = call(capsys, "restore", folder, "--half", halves[0])
    assert (code, refused["error"]["code"]) == (2, "usage")
    code, (done,), _ = call(capsys, "restore", folder, "--half", halves[0], "--half", halves[1])
    assert code == 0
    assert (done["missing"], done["left"], done["copied"]) == ([], 0, made["objects"])
    assert call(capsys, "storage", "reconcile")[0] == 0
    assert call(capsys, "audit", "verify")[0] == 0


@pytest.fixture
def halves(tmp_path: Path) -> list[str]:
    """The options that name both halves of a recovery key, which the ring's copies are sealed to."""
    private, public = recovery.new_pair()
    said: list[str] = []
    for number, half in enumerate(recovery.split(private)):
        path = tmp_path / f"the-half-{number}"
        path.write_text(half)
        said += ["--half", str(path)]
    return [*said, public.hex()]


def lose_databases(home: Path) -> None:
    """What a dead disk takes along; the store is on another one."""
    shutil.rmtree(home / "vault")
    shutil.rmtree(home / "keys")
    for path in home.glob("catalogue.db*"):
        path.unlink()


def section(said: str, title: str) -> str:
    """The lines of a summary under one title."""
    return said.partition(f"\n{title}\n")[2].partition("\n\n")[0]


def test_a_restore_says_what_came_back_what_is_missing_and_what_to_do_next(
    home: Path, tmp_path: Path, halves: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, *options = tmp_path / "backups", *halves[:-1]
    KeyRing.open(load_settings().key_file, clock=lambda: datetime.now(UTC)).set_recovery(bytes.fromhex(halves[-1]))
    assert call(capsys, "backup", folder)[0] == 0
    with running_services() as services:  # after the backup
        said = {"source": "web", "clinic_priority": "routine", "actor": "nurse"}
        land(services, site_id="village", files={"a": sample("MR_small.dcm")}, **said)
        with services.catalogue.read() as conn:
            first = conn.scalar(select(schema.arrivals.c.object_key).order_by(schema.arrivals.c.arrived_at))
    lose_databases(home)
    assert main(["restore", str(folder), *options]) == 0
    shown = capsys.readouterr().out
    assert "1 patients" in section(shown, "Came back")
    assert "1 arrivals from after the backup" in section(shown, "Caught up with")
    assert len(section(shown, "Still missing").splitlines()) == 1
    assert "teleread audit verify --anchors" in section(shown, "Next")

    lose_databases(home)
    for copy in (home / "objects" / str(first), folder / "objects" / "0" / str(first)):
        copy.chmod(0o600)
        copy.unlink()
    code, (refused,), _ = call(capsys, "restore", folder, *options)
    assert (code, refused["error"]["code"]) == (3, "backup_copies_broken")
    assert main(["restore", str(folder), *options, "--without-broken"]) == 3
    shown = capsys.readouterr().out
    assert str(first) in section(shown, "Still missing")
    assert "teleread storage reconcile" in section(shown, "Next")


def test_a_folder_without_a_backup_is_the_callers_mistake(
    home: Path, tmp_path: Path, halves: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    code, (refused,), _ = call(capsys, "restore", tmp_path / "nothing-here", *halves[:-1])
    assert (code, refused["error"]["code"]) == (3, "backup_missing")


def test_retention_from_the_list_to_the_certificate(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with running_services() as services, services.catalogue.write() as conn:
        long_ago = datetime(1990, 5, 1, tzinfo=UTC)
        conn.execute(update(schema.studies).values(acquired_at=long_ago, created_at=long_ago))
        conn.execute(update(schema.arrivals).values(arrived_at=long_ago))
        patient = str(conn.scalar(select(schema.studies.c.patient_pseudonym)))
    plan = tmp_path / "plan.json"
    code, said, _ = call(capsys, "retention", "due", "--plan", plan)
    assert code == 0
    assert said[0]["pseudonyms"] == [patient]
    confirm = said[1]["confirm"]
    asked = ["retention", "delete", "--plan", plan, "--who", "Dr Wang", "--reason", "over", "--confirm"]

    code, (hold,), _ = call(capsys, "retention", "hold", patient, "--who", "Dr Li", "--reason", "dispute")
    code, (refused,), _ = call(capsys, *asked, confirm)
    assert (code, refused["error"]["code"]) == (3, "plan_changed")
    assert call(capsys, "retention", "lift", hold["hold"], "--who", "Dr Li")[0] == 0
    code, (refused,), _ = call(capsys, *asked, "0" * 64)
    assert (code, refused["error"]["code"]) == (3, "plan_changed")
    code, (shown,), _ = call(capsys, "retention", "due", "--patient", patient)
    assert shown["due"]

    code, (deleted,), _ = call(capsys, *asked, confirm)
    assert (code, deleted["state"]) == (0, "forgotten")
    code, (certificate,), _ = call(capsys, "retention", "certificates", "--save", tmp_path / "certificates")
    assert certificate["final_waits_for"] != []
    (saved,) = (tmp_path / "certificates").iterdir()
    assert json.loads(saved.read_text())["pseudonym"] == patient
    with running_services() as services, services.catalogue.read() as conn:
        assert conn.scalar(select(func.count()).select_from(schema.arrivals)) == 0
    assert call(capsys, "storage", "reconcile")[0] == 0


def test_retention_takes_a_receipt_number_for_a_patient_and_knows_who_is_unknown(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with running_services() as services, services.catalogue.read() as conn:
        patient = str(conn.scalar(select(schema.studies.c.patient_pseudonym)))
        receipt = str(conn.scalar(select(schema.arrivals.c.receipt)))
    by_pseudonym = call(capsys, "retention", "due", "--patient", patient)
    assert by_pseudonym[0] == 0
    assert call(capsys, "retention", "due", "--patient", receipt.lower()) == by_pseudonym
    for words, code in (("P0NOBODY", "no_such_patient"), ("0000-0000-0000", "no_such_arrival")):
        for asked in (["due", "--patient", words], ["holds", "--patient", words], ["encounters", words]):
            returned, (refused,), _ = call(capsys, "retention", *asked)
            assert (returned, refused["error"]["code"]) == (3, code)

    _, (hold,), _ = call(capsys, "retention", "hold", receipt, "--who", "Dr Li", "--reason", "dispute")
    assert hold["patient"] == patient
    _, (listed,), _ = call(capsys, "retention", "holds", "--patient", receipt)
    assert (listed["id"], listed["pseudonym"], listed["reason"]) == (hold["hold"], patient, "dispute")

    said = ["--who", "ward"]
    _, (made,), _ = call(
        capsys, "retention", "encounter", receipt, "--kind", "inpatient", "--ended", "2026-03-01", *said
    )
    number = made["encounter"]
    code, (refused,), _ = call(capsys, "retention", "amend", number, *said)
    assert (code, refused["error"]["code"]) == (2, "usage")
    _, (amended,), _ = call(capsys, "retention", "amend", number, "--ended", "2026-01-03", *said)
    assert (amended["kind"], amended["ended_at"]) == ("inpatient", "2026-01-03T00:00:00+00:00")
    _, (shown,), _ = call(capsys, "retention", "encounters", receipt)
    assert shown["ended_at"] == amended["ended_at"]
    assert call(capsys, "retention", "withdraw", number, *said)[0] == 0
    assert call(capsys, "retention", "encounters", receipt)[1] == []


def test_an_alliance_s_own_periods_are_read_beside_its_file(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "retention.toml").write_text(
        'id = "own"\nversion = "1"\n[[rule]]\nkind = "outpatient"\nyears = 5\nvalid_from = 2026-01-01\nsource = "x"\n'
    )
    code, (refused,), _ = call(capsys, "retention", "due")
    assert (code, refused["error"]["code"]) == (2, "retention_too_short")


def test_a_damaged_manifest_hides_no_other_backup(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "backups"
    KeyRing.open(load_settings().key_file, clock=lambda: datetime.now(UTC)).set_recovery(recovery.new_pair()[1])
    code, (made,), _ = call(capsys, "backup", folder)
    assert (code, made["broken"], made["unproven"]) == (0, [], [])
    other = folder / "00000000t000000z-000000"
    other.mkdir()
    (other / "manifest.json").write_text("[" * 200_000)
    code, listed, _ = call(capsys, "backup", folder, "--list")
    assert code == 3
    assert [one["id"] for one in listed] == [other.name, made["id"]]
    assert listed[0]["error"] == "backup_corrupt"
    code, (again,), _ = call(capsys, "backup", folder, "--verify")
    assert (code, again["unproven"]) == (3, [other.name])
