"""Backups: making them, listing them, saying that one is gone."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from teleread.cli.terminal import Line, actor
from teleread.errors import Misconfigured, StorageError
from teleread.settings import load_settings


def add_commands(commands: Any) -> None:
    """Add ``backup``; ``restore`` is beside it."""
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
            note_dropped(parts, options.dropped, who=actor())
            print(json.dumps({"dropped": options.dropped}) if options.json else f"{options.dropped} is gone for good")
            return 0
        shown = Line()
        made = make_backup(parts, options.folder, keep=options.keep, verify=options.verify, progress=shown.count)
    shown.clear()
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


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("must be a whole number above zero")
    return int(text)
