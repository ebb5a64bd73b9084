"""Backups and their restoring."""

from __future__ import annotations

import argparse
import getpass
import json
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from teleread.errors import InputRejected, Misconfigured, StorageError
from teleread.settings import load_settings


def add_commands(commands: Any) -> None:
    """Add ``backup`` and ``restore``."""
    backup = commands.add_parser(
        "backup",
        help="catalogue, vault, objects and key ring, whole and consistent, while the system runs",
        description="Backs everything up into a folder: a mounted disk or share, one system's alone. Databases and "
        "key ring are sealed to the recovery key; objects are sealed anyway and are copied once.",
    )
    backup.add_argument("folder", type=Path, metavar="FOLDER", help="made when absent")
    backup.add_argument("--keep", type=_count, metavar="N", help="remove all but the newest N backups afterwards")
    backup.add_argument("--verify", action="store_true", help="read everything once more before it counts")
    backup.add_argument("--list", action="store_true", help="make none; show those that are there")
    backup.add_argument(
        "--dropped", metavar="ID", help="make none; record that this backup was destroyed elsewhere, in all copies"
    )
    backup.add_argument("--json", action="store_true")
    backup.set_defaults(run=run_backup)

    restore = commands.add_parser(
        "restore",
        help="a backup into empty databases, by the two halves of the recovery key",
        description="Restores key ring, vault, catalogue and missing objects, then catches up with what the store "
        "holds from after the backup. Everything is checked before anything is changed; a restore that was stopped "
        "can be run again. The halves are asked for, or read from files; they never stand on the command line. "
        "Databases, store and key file are those of the settings; stop every service first.",
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


def _check_folder(folder: Path) -> None:
    """Refuse what is no folder of its own: a URL, or a place inside or around the system's own files."""
    if "://" in str(folder) or str(folder).partition("/")[0].endswith(":"):
        raise Misconfigured("backup_folder_unusable", "A backup goes into a folder: mount the disk or share first.")
    settings = load_settings()
    place = folder.resolve()
    own = [settings.key_file.parent, settings.home / "objects", settings.home / "vault"]
    if settings.store_url.startswith("file://"):
        own.append(Path(settings.store_url.removeprefix("file://")))
    for one in (path.resolve() for path in own):
        if place == one or one in place.parents or place in one.parents:
            raise Misconfigured(
                "backup_folder_unusable",
                "The folder lies in or around the system's own files; give one apart, best on another disk.",
            )


def run_backup(options: argparse.Namespace) -> int:
    """``teleread backup FOLDER``. Exit code 3 when something is lost, or is not what was written."""
    _check_folder(options.folder)
    if options.list:
        return _list(options)
    from teleread.services import running_services
    from teleread.storage.backup.make import Parts, make_backup, note_dropped

    with running_services() as services:
        store = services.store.blobs
        parts = Parts(services.catalogue, services.vault.database, store, services.ring, services.clock)
        if options.dropped:
            note_dropped(parts, options.dropped, who=_who())
            print(json.dumps({"dropped": options.dropped}) if options.json else f"{options.dropped} is gone for good")
            return 0
        made = make_backup(parts, options.folder, keep=options.keep, verify=options.verify, progress=_Progress())
    facts = {
        "id": made.manifest.id,
        "manifest_sha256": made.manifest_sha256,
        "objects": made.manifest.object_count,
        "bytes": made.manifest.object_bytes,
        "copied": made.copied,
        "copied_bytes": made.copied_bytes,
        "removed": made.removed,
        "lost_in_store": made.kept,
        "lost": list(made.manifest.lost),
        "thinned": list(made.thinned),
        "broken": list(made.broken),
        "unproven": list(made.unproven),
    }
    if options.json:
        print(json.dumps(facts))
    else:
        print(f"backup {made.manifest.id}: {made.manifest.object_count} objects, {made.copied} of them new")
        if made.kept or made.manifest.lost:
            print(
                f"the store has lost {made.kept + len(made.manifest.lost)} objects, {made.kept} of them are in this "
                "folder; see `teleread storage reconcile`"
            )
        if made.broken:
            print(f"{len(made.broken)} copies in the folder are damaged, and the store has no such bytes either:")
            print("\n".join(made.broken))
        if made.unproven:
            print(f"not written by this system, or damaged (left alone): {', '.join(made.unproven)}")
    return 3 if made.kept or made.manifest.lost or made.broken or made.unproven else 0


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
    with (
        closing(Database(settings.catalogue_url)) as catalogue,
        closing(Database(settings.vault_url, migrations=VAULT)) as vault,
        closing(open_blobs(settings.store_url)) as blobs,
    ):
        target = Target(catalogue, vault, blobs, settings.key_file, _now)
        restored = restore_backup(
            target,
            options.folder,
            halves,
            identifier=options.id,
            without_broken=options.without_broken,
            actor=_who(),
            progress=_Progress(),
        )
        with running_services(settings) as services:
            caught_up = catch_up(services, restored.manifest.audit, actor=_who(), progress=_Progress())
        facts = {
            "id": restored.manifest.id,
            "made_at": restored.manifest.made_at.isoformat(),
            "copied": restored.copied,
            "missing": list(restored.missing),
            "ring_newer": restored.ring_newer,
            "deleted_again": len(caught_up.replayed.deleted),
            "unreadable_certificates": list(caught_up.replayed.unreadable),
            "caught_up": dict(caught_up.compared.mended),
            "left": caught_up.compared.left,
            "audit_links": dict(caught_up.links),
        }
        note_restored(target, restored.manifest, actor=_who(), detail={"copied": restored.copied})
    if options.json:
        print(json.dumps(facts))
    else:
        for name, value in facts.items():
            print(f"{name:<24} {value}")
        print("anchors of the audit that you keep elsewhere: compare them with `teleread audit verify`")
    return 3 if restored.missing or caught_up.compared.left or caught_up.replayed.unreadable else 0


def _list(options: argparse.Namespace) -> int:
    from teleread.storage.backup.folder import finished
    from teleread.storage.backup.manifest import read_manifest

    code = 0
    for identifier in finished(options.folder):
        try:
            manifest = read_manifest(options.folder / identifier)
        except (StorageError, Misconfigured) as error:
            print(
                json.dumps({"id": identifier, "error": error.code}) if options.json else f"{identifier}  {error.code}"
            )
            code = 3
            continue
        facts = {
            "id": identifier,
            "begun_at": manifest.begun_at.isoformat(),
            "made_at": manifest.made_at.isoformat(),
            "objects": manifest.object_count,
            "bytes": manifest.object_bytes,
            "lost": len(manifest.lost),
        }
        if options.json:
            print(json.dumps(facts))
        else:
            print(f"{identifier}  {manifest.made_at:%Y-%m-%d %H:%M} UTC  {manifest.object_count} objects")
    return code


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


class _Progress:
    """One line on a terminal, rewritten as the work goes on."""

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty()
        self._last = ""

    def __call__(self, what: str, done: int) -> None:
        if not self._shown:
            return
        line = f"{what}: {done}"
        print(f"\r{line:<{len(self._last)}}", end="", file=sys.stderr, flush=True)
        self._last = line


def _now() -> datetime:
    return datetime.now(UTC)


def _who() -> str:
    return f"cli:{getpass.getuser()}"


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("must be a whole number above zero")
    return int(text)
