"""``teleread vault``: what it tells, what it never tells, and the halves."""

from __future__ import annotations

import json
import os
import pty
import re
import stat
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from teleread.cli import main
from teleread.storage.catalogue.database import Database
from teleread.storage.vault import Identity, KeyRing, Vault, recovery
from tests.conftest import ROOT

AT = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TELEREAD_HOME", str(tmp_path))
    monkeypatch.setenv("TELEREAD_KEY_FILE", str(tmp_path / "keys.json"))
    monkeypatch.setenv("TELEREAD_VAULT_URL", f"sqlite:///{tmp_path}/vault.db")
    return tmp_path


@pytest.fixture
def ring(home: Path) -> KeyRing:
    ring = KeyRing.open(home / "keys.json", clock=lambda: AT)
    catalogue = Database(f"sqlite:///{home}/catalogue.db")
    catalogue.migrate()
    catalogue.close()
    vault = Vault(f"sqlite:///{home}/vault.db", ring)
    vault.migrate()
    for number in range(3):
        vault.enroll(Identity("H1", str(number), "张三"), AT)
    vault.project_key("a")
    vault.close()
    return ring


def told(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    assert main(["vault", *words]) == code
    return capsys.readouterr().out


def halves(home: Path) -> list[str]:
    return [str(home / "half-1"), str(home / "half-2")]


def make_halves(home: Path, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    one, two = halves(home)
    return told(capsys, "recovery-key", "--half-1", one, "--half-2", two, *words)


def test_status_counts_and_tells_no_secret(ring: KeyRing, capsys: pytest.CaptureFixture[str]) -> None:
    facts = json.loads(told(capsys, "status", "--json"))
    assert (facts["entries"], facts["projects"], facts["recovery_key"]) == (3, 1, None)
    assert facts["master_keys"] == [
        {"id": ring.master()[0].hex(), "made_at": AT.isoformat(), "retired_at": None, "entries": 3}
    ]
    assert facts["intake_keys"][0]["only_here"] == 0
    text = told(capsys, "status")
    assert "recovery-key" in text
    for secret in (ring.master()[1], ring.intake()[1]):
        assert secret.hex() not in text + json.dumps(facts)


def test_status_makes_no_key_ring(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert json.loads(told(capsys, "status", "--json", code=2))["error"]["code"] == "key_file_missing"
    assert not (home / "keys.json").exists()


def test_rotate_makes_another_master_key_and_says_which(ring: KeyRing, capsys: pytest.CaptureFixture[str]) -> None:
    old = ring.master()[0]
    facts = json.loads(told(capsys, "rotate", "--json"))
    assert facts == {"wrapped": 4, "master_key": ring.master()[0].hex()}
    assert ring.master_key(old) is None
    assert "0 keys" not in told(capsys, "rotate")


def test_halves_in_files_fit_until_the_key_is_replaced(
    home: Path, ring: KeyRing, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = json.loads(make_halves(home, capsys, "--json"))
    assert ring.recovery_public is not None
    assert facts == {"recovery_key": recovery.fingerprint(ring.recovery_public)}
    for path in halves(home):
        assert stat.S_IMODE(Path(path).stat().st_mode) == 0o600
    assert json.loads(told(capsys, "check-halves", *halves(home), "--json"))["fit"] is True
    private = recovery.join(*(Path(path).read_text() for path in halves(home)))
    assert recovery.open_sealed(private, ring.sealed_for_recovery())
    again = ("recovery-key", "--half-1", str(home / "b1"), "--half-2", str(home / "b2"))
    assert "recovery_key_exists" in told(capsys, *again, "--json", code=3)
    told(capsys, *again, "--replace")
    assert "recovery_halves_other_ring" in told(capsys, "check-halves", *halves(home), "--json", code=3)
    mixed = (halves(home)[0], str(home / "b2"))
    assert "recovery_halves_mixed" in told(capsys, "check-halves", *mixed, "--json", code=3)


def test_halves_are_never_json_nor_shown_where_a_log_could_keep_them(
    ring: KeyRing, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (["--json"], []):
        out = told(capsys, "recovery-key", *words, code=2)
        assert not re.search(r"[0-9A-Z]{4}-[0-9A-Z]{4}", out)
    assert ring.recovery_public is None


def test_no_half_is_written_over(home: Path, ring: KeyRing, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "half-2").write_text("kept")
    one, two = halves(home)
    assert "file_unwritable" in told(capsys, "recovery-key", "--half-1", one, "--half-2", two, "--json", code=2)
    assert (home / "half-2").read_text() == "kept"
    assert ring.recovery_public is None
    assert "usage" in told(capsys, "recovery-key", "--half-1", one, "--json", code=2)
    assert "usage" in told(capsys, "check-halves", one, "--json", code=2)


def test_on_a_terminal_each_half_is_shown_once_and_wiped(home: Path, ring: KeyRing) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "teleread", "vault", "recovery-key"],
        cwd=ROOT,
        env=os.environ,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    shown = ""

    def until(sign: str) -> None:
        nonlocal shown
        shown += "\0"  # only what comes from here on
        while sign not in shown.rpartition("\0")[2]:
            shown += os.read(ours, 4096).decode()

    for sign in ("not shown again", "second person", "not shown again"):
        until(sign)
        os.write(ours, b"\n")
    until("from now")
    assert process.wait(30) == 0
    os.close(ours)
    groups = re.findall(r"(?:[0-9A-Z]{4}-){3}[0-9A-Z]{4}", shown)
    assert len(groups) == 8
    private = recovery.join("-".join(groups[:4]), "-".join(groups[4:]))
    assert recovery.public_of(private) == ring.recovery_public
    assert shown.count("\033[2J") == 2


def test_a_new_intake_key_is_the_one_in_use(ring: KeyRing, capsys: pytest.CaptureFixture[str]) -> None:
    made = json.loads(told(capsys, "new-intake-key", "--json"))["intake_key"]
    assert ring.intake()[0].hex() == made
    assert len(json.loads(told(capsys, "status", "--json"))["intake_keys"]) == 2
