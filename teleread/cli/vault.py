"""Commands on the vault's keys: what there is, another one, and the two halves that people keep."""

from __future__ import annotations

import argparse
import getpass
import json
import os
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from teleread.cli.terminal import actor
from teleread.errors import Conflict, InputRejected, Misconfigured
from teleread.services import open_vault, running_services
from teleread.settings import load_settings
from teleread.storage.catalogue.database import Database
from teleread.storage.vault import KeyRing, Vault, recovery


def add_commands(commands: Any) -> None:
    """Add ``teleread vault``."""
    vault = commands.add_parser("vault", help="the keys to identities and objects; the halves that two people keep")
    actions = vault.add_subparsers(metavar="ACTION", required=True)

    status = actions.add_parser(
        "status", help="keys by id and age, entries, and what still hangs on an intake key alone (no secrets)"
    )
    status.add_argument("--json", action="store_true")
    status.set_defaults(run=run_status)

    rotate = actions.add_parser(
        "rotate",
        help="another master key; everybody works on meanwhile",
        description="Make another master key, wrap every entry's and project's key anew and destroy the old one. "
        "Everybody works on meanwhile; a rotation that was stopped goes on where it stood. Copies of the old "
        "key ring, in backups too, still open copies of the old database.",
    )
    rotate.add_argument("--json", action="store_true")
    rotate.set_defaults(run=run_rotate)

    pair = actions.add_parser(
        "recovery-key",
        help="make the two halves that together open a backup of the keys",
        description="Make a recovery key, show its two halves once, each to be written down and kept by another "
        "person, and seal the key ring to it in every backup from now on. One half alone says nothing. Halves "
        "are shown on a terminal or written to two files, never as JSON.",
    )
    pair.add_argument("--half-1", type=Path, metavar="FILE", help="write the first half here instead of showing it")
    pair.add_argument("--half-2", type=Path, metavar="FILE", help="write the second half here instead of showing it")
    pair.add_argument("--replace", action="store_true", help="there is a recovery key already: make another")
    pair.add_argument("--json", action="store_true", help="say what was done; only with --half-1 and --half-2")
    pair.set_defaults(run=run_recovery_key)

    check = actions.add_parser(
        "check-halves", help="whether two halves fit this key ring; typed, or from files; nothing is shown"
    )
    check.add_argument("half_1", type=Path, metavar="FILE", nargs="?")
    check.add_argument("half_2", type=Path, metavar="FILE", nargs="?")
    check.add_argument("--json", action="store_true")
    check.set_defaults(run=run_check_halves)

    intake = actions.add_parser("new-intake-key", help="wrap the keys of new objects with another key from now on")
    intake.add_argument("--json", action="store_true")
    intake.set_defaults(run=run_new_intake_key)

    retire = actions.add_parser(
        "retire-intake-keys",
        help="destroy intake keys whose objects' keys are all in the vault and in a backup",
        description="Destroy intake keys that were replaced some time ago, once the vault holds the data key of "
        "every object under them and a backup was begun since. Only then does deleting a patient make every "
        "copy of the bytes useless. Exit code 3 when one has to wait; its reason is said.",
    )
    retire.add_argument(
        "--older-than-days", type=_days, default=7, metavar="DAYS", help="replaced so long ago (default: 7)"
    )
    retire.add_argument("--json", action="store_true")
    retire.set_defaults(run=run_retire_intake_keys)


def run_status(options: argparse.Namespace) -> int:
    """``teleread vault status``."""
    from teleread.pipeline.intake_keys import unkept

    settings = load_settings()
    ring = _ring()
    with (
        closing(Database(settings.catalogue_url)) as catalogue,
        closing(open_vault(settings, ring, catalogue)) as vault,
    ):
        facts = vault.status()
        waiting = unkept(catalogue, vault)
    masters = [
        {**_key(one), "entries": facts.by_master.get(one.id.hex(), 0)} for one in ring.masters() if not one.retired_at
    ]
    intakes = []
    for one in ring.intakes():
        roots, missing = waiting.get(one.id.hex(), (0, 0))
        intakes.append({**_key(one), "roots": roots, "only_here": missing})
    public = ring.recovery_public
    report = {
        "entries": facts.entries,
        "not_sealed_yet": facts.plain,
        "object_keys": facts.object_keys,
        "projects": facts.projects,
        "forgotten": facts.forgotten,
        "recovery_key": None if public is None else recovery.fingerprint(public),
        "master_keys": masters,
        "intake_keys": intakes,
    }
    if options.json:
        print(json.dumps(report))
        return 0
    for name in ("entries", "not_sealed_yet", "object_keys", "projects", "forgotten"):
        print(f"{name.replace('_', ' '):<16} {report[name]}")
    print(f"{'recovery key':<16} {report['recovery_key'] or 'NONE: make one with `teleread vault recovery-key`'}")
    for master in masters:
        print(f"{'master key':<16} {_line(master)}, wraps {master['entries']} entries")
    for intake in intakes:
        print(f"{'intake key':<16} {_line(intake)}, {intake['roots']} originals, {intake['only_here']} only under it")
    return 0


def run_rotate(options: argparse.Namespace) -> int:
    """``teleread vault rotate``."""

    def progress(done: int, total: int) -> None:
        if sys.stderr.isatty():
            print(f"\rwrapping {done} of {total}", end="", file=sys.stderr, flush=True)

    with _vault(_ring()) as vault:
        wrapped = vault.rotate(progress, who=actor())
        newest = vault.ring.master()[0].hex()
        _keep_copy(vault.ring)
    if wrapped and sys.stderr.isatty():
        print(file=sys.stderr)
    facts = {"wrapped": wrapped, "master_key": newest}
    print(json.dumps(facts) if options.json else f"{wrapped} keys wrapped anew; the master key is {newest}")
    return 0


def run_recovery_key(options: argparse.Namespace) -> int:
    """``teleread vault recovery-key``."""
    files = (options.half_1, options.half_2)
    if any(files) != all(files) or (all(files) and options.half_1.absolute() == options.half_2.absolute()):
        raise Misconfigured("usage", "Name two different files, or none.")
    if not all(files) and (options.json or not (sys.stdin.isatty() and sys.stdout.isatty())):
        raise Misconfigured(
            "secrets_need_terminal", "Halves are shown on a terminal only; or name --half-1 FILE and --half-2 FILE."
        )
    ring = KeyRing.open(load_settings().key_file, clock=_now)
    if ring.recovery_public is not None and not options.replace:
        raise Conflict(
            "recovery_key_exists", "There is a recovery key already; --replace makes another for the backups to come."
        )
    private, public = recovery.new_pair()
    halves = recovery.split(private)
    if all(files):
        for path, half in zip(files, halves, strict=True):
            _write_private(path, half + "\n")
    else:
        _show(halves)
    # last, so that no backup is sealed to a key whose halves nobody has seen
    with _vault(ring) as vault:
        vault.set_recovery_key(public, who=actor())
    _keep_copy(ring)
    facts = {"recovery_key": recovery.fingerprint(public)}
    print(json.dumps(facts) if options.json else f"backups are sealed to recovery key {facts['recovery_key']} from now")
    return 0


def run_check_halves(options: argparse.Namespace) -> int:
    """``teleread vault check-halves [FILE FILE]``."""
    if bool(options.half_1) != bool(options.half_2):
        raise Misconfigured("usage", "Name two files, or none.")
    public = _ring().recovery_public
    if public is None:
        raise Misconfigured("no_recovery_key", "There is no recovery key: run `teleread vault recovery-key`.")
    if options.half_1:
        halves = [_read(options.half_1), _read(options.half_2)]
    else:
        halves = [getpass.getpass(f"half {number} of 2 (not shown): ") for number in (1, 2)]
    if recovery.public_of(recovery.join(*halves)) != public:
        raise InputRejected("recovery_halves_other_ring", "The halves fit each other, but not this key ring.")
    facts = {"fit": True, "recovery_key": recovery.fingerprint(public)}
    print(json.dumps(facts) if options.json else "the halves fit this key ring")
    return 0


def run_new_intake_key(options: argparse.Namespace) -> int:
    """``teleread vault new-intake-key``."""
    ring = _ring()
    with _vault(ring) as vault:
        made = vault.new_intake_key(who=actor()).hex()
    _keep_copy(ring)
    print(json.dumps({"intake_key": made}) if options.json else f"new objects' keys are wrapped with {made} from now")
    return 0


def run_retire_intake_keys(options: argparse.Namespace) -> int:
    """``teleread vault retire-intake-keys``."""
    from teleread.pipeline.intake_keys import retire_intake_keys
    from teleread.pipeline.restored import store_ring

    with running_services() as services:
        outcomes = retire_intake_keys(services, older_than=timedelta(days=options.older_than_days), who=actor())
        store_ring(services)
    for one in outcomes:
        if options.json:
            print(json.dumps({name: getattr(one, name) for name in one.__slots__}))
        else:
            state = "destroyed" if one.retired else f"waits for: {one.waits_for}"
            print(f"{one.key_id}  {state}  ({one.roots} originals, {one.adopted} keys adopted now)")
    if not outcomes and not options.json:
        print("no intake key was replaced so long ago")
    return 0 if all(one.retired for one in outcomes) else 3


@contextmanager
def _vault(ring: KeyRing) -> Iterator[Vault]:
    settings = load_settings()
    with (
        closing(Database(settings.catalogue_url)) as catalogue,
        closing(open_vault(settings, ring, catalogue)) as vault,
    ):
        vault.migrate()
        yield vault


def _keep_copy(ring: KeyRing) -> None:
    """Leave a copy of the changed ring in the store, sealed for recovery, so that no change is lost with the file."""
    from teleread.storage.backup.rings import store_ring
    from teleread.storage.objects import open_blobs

    if ring.recovery_public is None:
        return
    settings = load_settings()
    with closing(open_blobs(settings.store_url, remember=settings.home / "store-probe.json")) as blobs:
        store_ring(blobs, ring)


def _ring() -> KeyRing:
    path = load_settings().key_file
    if not path.exists():
        raise Misconfigured("key_file_missing", f"There is no key ring at {path}; `teleread up` or `serve` makes one.")
    return KeyRing.open(path, clock=_now)


def _now() -> datetime:
    return datetime.now(UTC)


def _key(one: Any) -> dict[str, Any]:
    return {
        "id": one.id.hex(),
        "made_at": one.made_at.isoformat(),
        "retired_at": one.retired_at.isoformat() if one.retired_at else None,
    }


def _line(key: dict[str, Any]) -> str:
    days = (_now() - datetime.fromisoformat(key["made_at"])).days
    gone = f", destroyed {key['retired_at'][:10]}" if key["retired_at"] else ""
    return f"{key['id']}, {days} days old{gone}"


def _show(halves: tuple[str, str]) -> None:
    for number, half in enumerate(halves, start=1):
        head, letters = half.split(": ")
        groups = letters.split("-")
        print(f"\nThis is {head}. Write it down, and let nobody see it who keeps the other half.\n")
        for start in range(0, len(groups), 4):
            print("    " + "-".join(groups[start : start + 4]))
        input("\nPress Enter when it is written down; it is not shown again. ")
        # wiped off the screen and the scroll-back of terminals that can
        print("\033[2J\033[3J\033[H", end="", flush=True)
        if number == 1:
            input("Let the second person take the keyboard, then press Enter. ")


def _write_private(path: Path, text: str) -> None:
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "w", encoding="ascii") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
    except OSError as error:
        raise Misconfigured("file_unwritable", f"{path} cannot be written: {error.strerror}.") from None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")[:4096]
    except (OSError, UnicodeDecodeError):
        raise Misconfigured("file_unreadable", f"{path} cannot be read as text.") from None


def _days(text: str) -> int:
    if not text.isdecimal() or len(text) > 5:
        raise argparse.ArgumentTypeError("must be a whole number of days")
    return int(text)
