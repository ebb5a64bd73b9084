"""``teleread audit``: facts on standard output, exit code 3 when a chain is broken."""

from __future__ import annotations

import argparse
import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from teleread.alliance import Alliance
from teleread.cli import audit as commands
from teleread.errors import Conflict, InputRejected
from teleread.storage import audit
from teleread.storage.catalogue import schema
from teleread.storage.catalogue.database import Database
from teleread.storage.vault import schema as vault_schema
from tests.contract.audit_contract import act
from tests.contract.catalogue_contract import AT
from tests.prove.attacks import KEY

Run = Callable[..., tuple[int, str]]


@dataclass
class Wired:
    """The parts of the services that these commands use."""

    catalogue: Database
    vault: Any
    alliance: Alliance
    trails: tuple[audit.Trail, ...]
    clock: Callable[[], Any]
    audit_key: bytes = KEY


@pytest.fixture
def wired(tmp_path: Path, alliance: Alliance, monkeypatch: pytest.MonkeyPatch) -> Iterator[Wired]:
    monkeypatch.setenv("TELEREAD_HOME", str(tmp_path))
    catalogue = Database(f"sqlite:///{tmp_path}/catalogue.db")
    vault = Database(f"sqlite:///{tmp_path}/vault/vault.db", migrations=vault_schema.VAULT)
    catalogue.migrate()
    vault.migrate()
    trails = (
        audit.Trail("catalogue", catalogue, schema.audit),
        audit.Trail("vault", vault, vault_schema.audit),
    )
    services = Wired(catalogue, SimpleNamespace(database=vault), alliance, trails, lambda: AT)

    @contextmanager
    def running() -> Iterator[Wired]:
        yield services

    monkeypatch.setattr(commands, "running_services", running)
    with vault.write() as conn:
        audit.record(
            conn,
            at=AT,
            actor="intake",
            action="enroll",
            object_type="patient",
            object_id="P1",
            table=vault_schema.vault_events,
        )
    for name in "abc":
        act(catalogue, name)
    yield services
    catalogue.close()
    vault.close()


@pytest.fixture
def run(wired: Wired, capsys: pytest.CaptureFixture[str]) -> Run:
    parser = argparse.ArgumentParser()
    commands.add_commands(parser.add_subparsers())

    def call(*arguments: object) -> tuple[int, str]:
        options = parser.parse_args(["audit", *map(str, arguments)])
        code = options.run(options)
        return code, capsys.readouterr().out

    return call


def test_verify_calls_both_chains_sound(run: Run) -> None:
    code, said = run("verify")
    assert code == 0
    assert "catalogue: sound, 3 links" in said
    assert "vault: sound, 1 links" in said


def test_verify_names_the_first_broken_link_and_exits_3(run: Run, tmp_path: Path) -> None:
    run("verify")
    with sqlite3.connect(tmp_path / "catalogue.db") as conn:
        conn.execute("DROP TRIGGER audit_event_kept")
        conn.execute("UPDATE audit_events SET actor = 'nobody' WHERE id = 2")
    conn.close()
    code, said = run("verify", "--json")
    broken, sound = (json.loads(line) for line in said.splitlines())
    assert code == 3
    assert (broken["database"], broken["sound"], broken["broken"]["kind"]) == ("catalogue", False, "event_changed")
    assert (broken["broken"]["seq"], broken["broken"]["event_id"], broken["links"]) == (2, 2, 1)
    assert (sound["database"], sound["sound"]) == ("vault", True)
    assert run("verify")[1].startswith("catalogue: BROKEN [event_changed]")


def test_a_broken_end_is_told_and_not_sealed_over(run: Run, tmp_path: Path, wired: Wired) -> None:
    run("seal")
    with sqlite3.connect(tmp_path / "catalogue.db") as conn:
        conn.execute("UPDATE audit_head SET seq = 9")
    conn.close()
    act(wired.catalogue)
    code, said = run("verify")
    assert code == 3
    assert "[head_mismatch]" in said


def test_a_break_is_put_on_record_once_and_verify_names_it_ever_after(run: Run, tmp_path: Path, wired: Wired) -> None:
    signed = ("--who", "Dr Wang", "--why", "disk replaced")
    run("seal")
    with pytest.raises(Conflict, match="audit_not_broken"):
        run("new-section", *signed)
    with sqlite3.connect(tmp_path / "catalogue.db") as conn:
        conn.execute("UPDATE audit_head SET seq = 9")
    conn.close()
    act(wired.catalogue)
    with pytest.raises(SystemExit):
        run("new-section", "--who", "Dr Wang")
    with pytest.raises(InputRejected, match="reason_missing"):
        run("new-section", "--who", "Dr Wang", "--why", " ")
    code, said = run("new-section", *signed, "--json")
    section = json.loads(said)
    assert code == 0
    assert (section["database"], section["seq"], section["kind"]) == ("catalogue", 10, "head_mismatch")
    code, said = run("verify")
    assert code == 0
    assert "catalogue: sound, 11 links" in said
    assert "catalogue: an older break [head_mismatch]" in said
    assert "by Dr Wang: disk replaced" in said


def test_anchors_are_written_and_compared(run: Run, tmp_path: Path) -> None:
    code, said = run("anchor", "--json")
    files = [json.loads(line) for line in said.splitlines()]
    assert code == 0
    assert [Path(one["file"]).parent for one in files] == [tmp_path / "anchors"] * 2
    assert [(one["database"], one["seq"]) for one in files] == [("catalogue", 3), ("vault", 1)]
    assert "the first 3 also by anchors" in run("verify")[1]
    code, said = run("anchor", "--to", tmp_path / "stick")
    words = said.splitlines()[1].strip()
    assert words == f"catalogue:3:{files[0]['hash']}"
    assert run("verify", "--anchors", tmp_path / "stick", "--paper", words)[0] == 0
    wrong = f"catalogue:2:{files[0]['hash']}"
    code, said = run("verify", "--paper", wrong)
    assert code == 3
    assert "[anchor_mismatch]" in said
    assert run("verify", "--paper", words.replace("catalogue", "elsewhere"))[0] == 3


def test_seal_says_how_many(run: Run) -> None:
    assert run("seal", "--json") == (0, '{"sealed": 4}\n')
    assert run("seal") == (0, "0 events chained\n")


def test_export_is_lines_of_json_and_itself_an_event(run: Run) -> None:
    code, said = run("export")
    resources = [json.loads(line) for line in said.splitlines()]
    assert code == 0
    assert [one["id"] for one in resources] == [f"catalogue-{n}" for n in range(1, 5)] + ["vault-1"]
    assert resources[3]["subtype"][-1]["code"] == "export_audit"
    assert resources[4]["entity"][0]["what"]["identifier"]["value"] == "P1"
    code, said = run("export", "--format", "jsonl", "--since", "2026-03-01", "--until", "2026-03-01T08:00Z")
    assert (code, said) == (0, "")
    plain = run("export", "--format", "jsonl", "--since", "2026-03-01T16:00+08:00")[1]
    assert json.loads(plain.splitlines()[0])["actor"] == "r1"
