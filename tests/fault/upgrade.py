"""The version before the newest schema, out of the history, and a day of its life."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import select, text

from teleread.storage.catalogue.database import Database
from teleread.storage.catalogue.schema import arrivals, audit_events, derived, reports, studies, work_items
from tests.fault.forge import ROOT
from tests.fault.scenario import deliveries
from tests.fault.world import World

_VERSIONS = "storage/catalogue/migrations/versions"
_KEPT = (arrivals, studies, derived, work_items, reports, audit_events)


class NoHistory(Exception):
    """Why there is no version before."""


@cache
def commit_before() -> str:
    """The last commit whose newest revision is not the present one.

    Raises:
        NoHistory: with its reason.
    """
    revisions = sorted(path.name for path in (ROOT / _VERSIONS).glob("[0-9]*.py"))
    if len(revisions) < 2:
        raise NoHistory("there is only one revision yet")
    added = _git("log", "--diff-filter=A", "--format=%H %P", "-1", "--", f"{_VERSIONS}/{revisions[-1]}").split()
    # a revision that nobody has committed yet: the version before is the last commit
    before = added[1] if len(added) > 1 else "HEAD"
    if added and len(added) == 1:
        raise NoHistory("the newest revision came with the first commit, or the history was cut")
    return _git("rev-parse", before).strip()


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NoHistory(f"git: {done.stderr.strip()[-100:]}")
    return done.stdout


def unpack_before(folder: Path) -> Path:
    """The version before, as files."""
    archive = subprocess.run(
        ["git", "archive", "--format=tar", commit_before()], cwd=ROOT, capture_output=True, check=True
    )
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive.stdout, check=True)
    return folder


@dataclass(frozen=True, slots=True)
class Day:
    """What the old code said of its day; ``error`` is how it failed, empty when it did not."""

    arrivals: dict[str, str]
    listed: list[str]
    report: str
    error: str = ""


def old_day(old: Path, world: World, *, migrate: bool) -> Day:
    """A day with the old code, in a process of its own, on this world's databases and keys and a store of its own.

    Args:
        migrate: whether the old code makes the schema; else it finds the present one, as a process that was running
            when the upgrade came.
    """
    day = {
        "catalogue_url": world.catalogue_url,
        "vault_url": world.vault_url,
        "store": f"{world.home}/old-objects",
        "keys": f"{world.home}/keys.json",
        "migrate": migrate,
        "sign": "ecg",
        "deliveries": [
            {
                "name": each.name,
                "site_id": each.site_id,
                "source": each.source,
                "priority": each.priority,
                "files": {name: base64.b64encode(data).decode() for name, data in each.files.items()},
            }
            for each in deliveries()
            if each.name in ("ecg", "image", "unreadable")
        ],
    }
    script = old / "old_day.py"
    script.write_bytes((ROOT / "tests/fault/old_day.py").read_bytes())
    done = subprocess.run(
        [sys.executable, "-P", str(script)],
        input=json.dumps(day),
        capture_output=True,
        text=True,
        check=False,
        cwd=old,
        env={**os.environ, "PYTHONPATH": str(old)},
        timeout=120,
    )
    if done.returncode:
        return Day({}, [], "", "\n".join(done.stderr.strip().splitlines()[-6:]))
    said = json.loads(done.stdout)
    assert Path(said.pop("code")).is_relative_to(old.resolve()), "this was not the old code"
    return Day(**said)


def kept(world: World) -> dict[str, list[Any]]:
    """The primary keys of everything that an upgrade must keep."""
    database = Database(world.catalogue_url)
    with database.read() as conn:
        rows = {
            table.name: sorted(tuple(row) for row in conn.execute(select(*table.primary_key.columns)))
            for table in _KEPT
        }
    database.close()
    return rows


def drop_what_the_old_writes(world: World) -> None:
    """The broken twin of a migration: it contracts before the old code is gone."""
    database = Database(world.catalogue_url)
    with database.write() as conn:
        conn.execute(text("ALTER TABLE recordings DROP COLUMN quality_findings"))
    database.close()
