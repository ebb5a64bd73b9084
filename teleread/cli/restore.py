"""Restoring a backup, and saying what came back, what was caught up with, what is missing and what to do next."""

from __future__ import annotations

import argparse
import getpass
import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from teleread.cli.terminal import Line, actor
from teleread.errors import InputRejected, Misconfigured, StorageError
from teleread.settings import load_settings

if TYPE_CHECKING:
    from teleread.pipeline.restored import CaughtUp
    from teleread.storage.backup.restore import Restored

_INCOMPLETE = 3
_NAMED = 10  # keys in the summary; --json has all
# what is wrong with the folder that was given is no fault of ours
_FOLDERS_OWN = ("backup_missing", "backup_corrupt", "backup_unfinished", "backup_copies_broken")
# differences that only look mended: what they are about is in quarantine
_LOST = ("object_missing", "object_corrupt", "object_size")
_TABLES = {"patients": "patients", "studies": "studies", "arrivals": "arrivals", "reports": "reports"}
_CAUGHT_UP = {
    "arrival_missing": "arrivals from after the backup, with their receipts",
    "priority_behind": "priorities that were raised after it",
    "note_missing": "arrival notes written again",
    "note_corrupt": "arrival notes written again, for theirs had rotted",
    "derived_missing": "analyses and copies to be made again",
    "object_row": "rows made to agree with their objects",
    "object_back": "originals that are there again",
}


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What a restore has to say."""

    restored: Restored
    caught_up: CaughtUp

    @property
    def lost(self) -> int:
        """Originals that are gone or rotten and stand in quarantine."""
        return sum(self.caught_up.compared.mended[code] for code in _LOST)

    @property
    def is_whole(self) -> bool:
        compared, replayed = self.caught_up.compared, self.caught_up.replayed
        return not (self.restored.missing or compared.left or replayed.unreadable or self.lost)


def add_commands(commands: Any) -> None:
    """Add ``restore``."""
    restore = commands.add_parser(
        "restore",
        help="a backup into empty databases, by the two halves of the recovery key",
        description="Restores key ring, vault, catalogue and missing objects, then catches up with what the store "
        "holds from after the backup. Everything is checked before anything is changed; a restore that was stopped "
        "can be run again. The halves are asked for, or read from files; they never stand on the command line. "
        "Databases, store and key file are those of the settings; stop every service first. Exit code 0: all is "
        "there; 2: usage or settings; 3: the halves or the folder are at fault and nothing was changed, or something "
        "could not be brought back and is named; 5: a database or the store failed, run it again.",
    )
    restore.add_argument("folder", type=Path, metavar="FOLDER")
    restore.add_argument("--id", metavar="ID", help="which backup (default: the newest)")
    restore.add_argument(
        "--half",
        type=Path,
        action="append",
        metavar="FILE",
        help="a half of the recovery key; said twice, or asked for",
    )
    restore.add_argument(
        "--without-broken", action="store_true", help="go on although copies are missing or damaged, and name them"
    )
    restore.add_argument("--json", action="store_true")
    restore.set_defaults(run=run_restore)


def run_restore(options: argparse.Namespace) -> int:
    """``teleread restore FOLDER``. Exit code 3 when something could not be brought back."""
    from teleread.pipeline.restored import catch_up
    from teleread.services import read_alliance, running_services
    from teleread.storage.backup.restore import Target, note_restored, restore_backup
    from teleread.storage.catalogue.database import Database
    from teleread.storage.objects.urls import open_blobs
    from teleread.storage.vault.schema import VAULT

    settings = load_settings()
    read_alliance(settings)  # said before anything is changed: it is no part of a backup
    halves = _halves(options)
    shown = Line()
    with (
        closing(Database(settings.catalogue_url)) as catalogue,
        closing(Database(settings.vault_url, migrations=VAULT)) as vault,
        closing(open_blobs(settings.store_url)) as blobs,
    ):
        target = Target(catalogue, vault, blobs, settings.key_file, _now)
        try:
            restored = restore_backup(
                target,
                options.folder,
                halves,
                identifier=options.id,
                without_broken=options.without_broken,
                actor=actor(),
                progress=shown.count,
            )
        except StorageError as error:
            if error.code not in _FOLDERS_OWN:
                raise
            raise InputRejected(error.code, error.safe_message) from error
        with running_services(settings) as services:
            caught_up = catch_up(services, restored.manifest.audit, actor=actor(), progress=shown.count)
        note_restored(target, restored.manifest, actor=actor(), detail={"copied": restored.copied})
    shown.clear()
    outcome = _Outcome(restored, caught_up)
    print(json.dumps(_facts(outcome)) if options.json else "\n".join(_words(outcome)))
    return 0 if outcome.is_whole else _INCOMPLETE


def _facts(outcome: _Outcome) -> dict[str, Any]:
    restored, caught_up = outcome.restored, outcome.caught_up
    return {
        "id": restored.manifest.id,
        "made_at": restored.manifest.made_at.isoformat(),
        "rows": _rows(restored),
        "copied": restored.copied,
        "missing": list(restored.missing),
        "ring_newer": restored.ring_newer,
        "deleted_again": len(caught_up.replayed.deleted),
        "unreadable_certificates": list(caught_up.replayed.unreadable),
        "caught_up": dict(caught_up.compared.mended),
        "left": caught_up.compared.left,
        "audit_links": dict(caught_up.links),
    }


def _rows(restored: Restored) -> dict[str, int]:
    parts = [part for part in restored.manifest.parts if part.database == "catalogue"]
    return {part.table: part.rows for part in parts if part.table in _TABLES}


def _words(outcome: _Outcome) -> Iterator[str]:
    restored, caught_up = outcome.restored, outcome.caught_up
    made_at = f"{restored.manifest.made_at:%Y-%m-%d %H:%M} UTC"
    yield f"Restored from backup {restored.manifest.id}, made {made_at}."
    yield "\nCame back"
    rows = _rows(restored)
    yield from (_count(rows[table], words) for table, words in _TABLES.items() if table in rows)
    yield _count(restored.copied, "objects that the store did not have")
    yield from (
        _count(links, f"links of the {name}'s audit chain, all of which fit")
        for name, links in sorted(caught_up.links.items())
    )
    yield "\nCaught up with"
    done = {_CAUGHT_UP[code]: n for code, n in caught_up.compared.mended.items() if code in _CAUGHT_UP and n}
    if caught_up.replayed.deleted:
        done["patients deleted again, as was decided after the backup"] = len(caught_up.replayed.deleted)
    yield from (_count(n, words) for words, n in done.items())
    if restored.ring_newer:
        yield "         keys that were made after the backup"
    if not done and not restored.ring_newer:
        yield "         nothing: the store holds nothing from after the backup"
    yield "\nStill missing"
    yield f"         what stood in the databases alone after {made_at}: reports, accounts, links, holds"
    yield from _missing(outcome)
    yield "\nNext"
    yield from _next(outcome)


def _missing(outcome: _Outcome) -> Iterator[str]:
    restored, caught_up = outcome.restored, outcome.caught_up
    if restored.missing:
        yield _count(len(restored.missing), "objects that neither the store nor the backup has:")
        yield from _some(restored.missing)
    if outcome.lost:
        yield _count(outcome.lost, "originals gone or rotten; their cases are in quarantine")
    if caught_up.compared.left:
        yield _count(caught_up.compared.left, "differences between store and catalogue that a person must look at")
    if caught_up.replayed.unreadable:
        yield _count(len(caught_up.replayed.unreadable), "certificates of deletion that cannot be read:")
        yield from _some(caught_up.replayed.unreadable)


def _next(outcome: _Outcome) -> Iterator[str]:
    steps = []
    if not outcome.is_whole:
        steps.append("teleread storage reconcile      names what is missing; send it again or copy it from elsewhere")
    steps += [
        "teleread audit verify --anchors FOLDER      compare with the anchors that you keep elsewhere",
        "start the services: what was caught up with is prepared and queued within minutes",
        "teleread backup FOLDER      back up again",
    ]
    yield from (f"  {number}. {step}" for number, step in enumerate(steps, 1))


def _count(number: int, words: str) -> str:
    return f"{number:>8} {words}"


def _some(names: Iterable[str]) -> Iterator[str]:
    everything = list(names)
    yield from (f"           {name}" for name in everything[:_NAMED])
    if len(everything) > _NAMED:
        yield f"           and {len(everything) - _NAMED} more; --json names all"


def _halves(options: argparse.Namespace) -> tuple[str, str]:
    if options.half is None:
        if not sys.stdin.isatty():
            raise Misconfigured("usage", "Give both halves as files with --half, or run this on a terminal.")
        return getpass.getpass("one half of the recovery key: "), getpass.getpass("the other half: ")
    if len(options.half) != 2:
        raise Misconfigured("usage", "Say --half twice.")
    return _read(options.half[0]), _read(options.half[1])


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        raise InputRejected("recovery_half_unreadable", f"{path} cannot be read as text.") from None


def _now() -> datetime:
    return datetime.now(UTC)
