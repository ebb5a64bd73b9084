"""Build the running parts from the settings. The shell (web, DAG tasks, command line) starts here."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import inspect, select

from teleread.alliance import Alliance, parse_alliance
from teleread.alliance_file import AllianceFile
from teleread.errors import Misconfigured, StorageError
from teleread.ingest.bounded import BoundedPool
from teleread.pipeline.services import Services
from teleread.pipeline.tell import Telling
from teleread.reading.critical_ladder import Ladder, parse_ladders, standard_ladders
from teleread.settings import Settings, load_settings
from teleread.storage.catalogue.database import Database
from teleread.storage.catalogue.schema import objects, studies
from teleread.storage.objects import open_store
from teleread.storage.vault import KeyRing, Vault

log = logging.getLogger(__name__)


def utc_now() -> datetime:
    return datetime.now(UTC)


def open_services(settings: Settings) -> Services:
    """Open the store, the catalogue and the vault, bring their schemas up to date, and read the alliance file.

    A vault that does not answer stops nobody: what arrives is landed and queued without it.

    Raises:
        Misconfigured: the alliance file is missing or wrong; ``key_file_missing``, ``vault_missing``.
        StorageError: something cannot be opened.
    """
    alliance = read_alliance(settings)
    catalogue = Database(settings.catalogue_url)
    catalogue.migrate()
    if not settings.key_file.exists() and _holds_sealed_objects(catalogue):
        raise Misconfigured(
            "key_file_missing",
            f"The key file {settings.key_file} is gone, and objects are sealed with it: put it back, "
            "or run `teleread restore`.",
        )
    ring = KeyRing.open(settings.key_file, clock=utc_now)
    vault = open_vault(settings, ring, catalogue)
    vault.migrate_when_it_answers()

    def make_pool() -> BoundedPool:
        return BoundedPool(
            workers=settings.parse_workers,
            memory_bytes=settings.parse_memory_mb << 20,
            timeout_s=float(settings.parse_timeout_s),
        )

    return Services(
        alliance=alliance,
        catalogue=catalogue,
        store=open_store(settings.store_url, vault.keys, remember=settings.home / "store-probe.json"),
        ring=ring,
        vault=vault,
        make_pool=make_pool,
        clock=utc_now,
        anchors=settings.home / "anchors",
        spool_folder=settings.home / "spool",
        telling=Telling(
            smtp_host=settings.smtp_host,
            smtp_port=settings.smtp_port,
            sender=settings.smtp_sender,
            public_url=settings.public_url,
        ),
        ladders=read_ladders(settings),
        alliance_file=AllianceFile(settings.alliance_file, alliance, lambda: read_alliance(settings)),
    )


def open_vault(settings: Settings, ring: KeyRing, catalogue: Database) -> Vault:
    """The vault, not migrated yet; refused where its database is gone and the catalogue shows that there was one.

    Raises:
        Misconfigured: ``vault_missing``, here or when it is migrated.
    """
    return Vault(settings.vault_url, ring, expected=lambda: _knows_patients(catalogue))


@contextmanager
def running_services(settings: Settings | None = None) -> Iterator[Services]:
    """Services for one task or one command, closed at its end. What it recorded is chained, unless that must wait."""
    services = open_services(settings or load_settings())
    try:
        yield services
        try:
            services.sealer.seal_all()
        except StorageError as error:
            # the act itself is done and durable; another process will chain it, or `audit verify` will tell
            log.warning("audit not chained: %s", error.code)
    finally:
        services.close()


def read_alliance(settings: Settings) -> Alliance:
    """Read and check the alliance file that the settings name.

    Raises:
        Misconfigured: ``alliance_missing``, ``alliance_unreadable``, ``alliance_invalid``, ``flag_profile_unknown``.
    """
    try:
        text = settings.alliance_file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise Misconfigured(
            "alliance_missing",
            f"There is no alliance file at {settings.alliance_file}; `teleread up` makes a sample one.",
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured("alliance_unreadable", f"{settings.alliance_file} cannot be read: {error}") from error
    alliance = parse_alliance(text)
    for rules in alliance.ecg:
        from teleread.signal.ecg.flag_profile import load_profile  # numpy and scipy, for the few that need them here

        load_profile(rules.profile)
    return alliance


def read_ladders(settings: Settings) -> tuple[Ladder, ...]:
    """The ladders of critical values: the file that the settings name, else the embedded one.

    Raises:
        Misconfigured: ``ladder_unreadable``, ``ladder_invalid``.
    """
    if not settings.critical_ladder_file:
        return standard_ladders()
    try:
        text = Path(settings.critical_ladder_file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured("ladder_unreadable", f"The ladder file cannot be read: {error}") from error
    return parse_ladders(text)


def _holds_sealed_objects(catalogue: Database) -> bool:
    """Whether anything was sealed yet: a new key ring would only stand in the way of the right one."""
    with catalogue.read() as conn:
        return conn.execute(select(objects.c.key).where(objects.c.intake_key.is_not(None)).limit(1)).first() is not None


def _knows_patients(catalogue: Database) -> bool:
    """Whether anything was prepared yet: then the vault has held entries."""
    with catalogue.read() as conn:
        if not inspect(conn).has_table(studies.name):
            return False
        return conn.execute(select(studies.c.id).limit(1)).first() is not None
