"""What keeps the records safe, and does not do so just now, stands in red on the engineer's page."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from teleread.pipeline.safekeeping import safekeeping
from teleread.pipeline.services import Services
from teleread.storage import audit
from teleread.storage.backup.make import Parts, make_backup, note_dropped
from teleread.storage.vault import recovery
from tests.conftest import Clock
from tests.ui.live import Web, running


def rows(web: Web, language: str = "en") -> dict[str, tuple[str, str]]:
    """The table's rows by their headings: which mark, and all words."""
    with web.signed_in("engineer", headers={"accept-language": language}) as engineer:
        page = engineer.get("/engineer").text
    table = page.partition('id="safekeeping"')[2].partition("</table>")[0]
    found = {}
    for row in re.findall(r"<tr>(.*?)</tr>", table.partition("<tbody>")[2], re.DOTALL):
        heading = re.search(r"<th[^>]*>(.*?)</th>", row, re.DOTALL)
        mark = re.search(r'class="state (\w+)"', row)
        assert heading is not None
        assert mark is not None
        found[heading[1]] = (mark[1], " ".join(re.sub(r"<[^>]*>", " ", row).split()))
    return found


def back_up(services: Services, folder: Path) -> str:
    parts = Parts(services.catalogue, services.vault.database, services.store.blobs, services.ring, services.clock)
    return make_backup(parts, folder).manifest.id


def test_a_missing_or_old_backup_and_a_missing_recovery_key_are_red(
    services: Services, tmp_path: Path, clock: Clock
) -> None:
    with running(services) as web:
        found = rows(web)
        assert found["Last backup"][0] == "bad"
        assert found["Recovery key in two halves"][0] == "bad"
        assert "teleread vault recovery-key" in found["Recovery key in two halves"][1]

        services.ring.set_recovery(recovery.new_pair()[1])
        identifier = back_up(services, tmp_path / "backups")
        found = rows(web)
        assert found["Last backup"][0] == found["Recovery key in two halves"][0] == "good"
        assert rows(web, "zh")["最近备份"][0] == "good"

        clock.advance(timedelta(days=1, minutes=1).total_seconds())
        assert rows(web)["Last backup"][0] == "bad"

        back_up(services, tmp_path / "backups")
        assert rows(web)["Last backup"][0] == "good"
    parts = Parts(services.catalogue, services.vault.database, services.store.blobs, services.ring, clock)
    note_dropped(parts, identifier, who="chief")
    assert not safekeeping(services).backup_overdue


def test_an_audit_that_nobody_seals_is_red_after_a_minute(services: Services, clock: Clock) -> None:
    with running(services) as web:
        rows(web)  # signing in is recorded
        clock.advance(30)
        assert rows(web)["Audit of the catalogue"][0] == "good"
        clock.advance(31)
        assert rows(web)["Audit of the catalogue"][0] == "bad"
        services.sealer.seal_all()
        assert rows(web)["Audit of the catalogue"][0] == "good"


@pytest.mark.parametrize("database", ["catalogue", "vault"])
def test_an_audit_chain_that_was_cut_is_red(services: Services, clock: Clock, database: str) -> None:
    trail = next(one for one in services.trails if one.name == database)
    with trail.database.write() as conn:
        for _ in range(2):
            audit.record(
                conn, at=clock(), actor="a", action="view", object_type="case", object_id="c", table=trail.tables.events
            )
    services.sealer.seal_all()
    with trail.database.write() as conn:
        for (name,) in conn.execute(text("SELECT name FROM sqlite_master WHERE type = 'trigger'")).all():
            conn.execute(text(f"DROP TRIGGER {name}"))
        conn.execute(text(f"DELETE FROM {trail.tables.chain.name} WHERE seq = 2"))
    with running(services) as web:
        mark, words = rows(web)[f"Audit of the {database}"]
    assert mark == "bad"
    assert "teleread audit verify" in words
