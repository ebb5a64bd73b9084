"""Store and catalogue on Ceph's gateway: what depends on how a server lists, ages and deletes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from teleread.alliance import Alliance
from teleread.ingest.bounded import BoundedPool
from teleread.pipeline.services import Services
from teleread.storage.catalogue.database import Database
from teleread.storage.objects import SealedStore
from teleread.storage.vault import KeyRing, Vault
from tests.conftest import Clock, services_of
from tests.contract.ceph import ACCESS_KEY, SECRET_KEY, CephServer
from tests.contract.integrity_contract import (
    test_a_landing_that_was_cut_short_behind_its_note_is_an_arrival,
    test_only_orphans_are_removed_and_only_old_ones,
    test_the_walk_goes_on_from_where_it_stands,
)
from tests.contract.reconcile_contract import (
    test_a_lost_derived_object_is_made_again_and_the_case_keeps_its_place,
    test_an_emptied_catalogue_catches_up_from_the_store,
)
from tests.contract.s3_contract import new_blobs
from tests.contract.scrub_contract import (
    test_an_object_that_a_row_names_and_the_store_has_not_is_named,
    test_what_the_scrub_found_is_mended_by_reconcile,
)
from tests.contract.sweeping_contract import test_in_no_order_of_steps_does_a_row_name_a_removed_object

__all__ = [
    "test_a_landing_that_was_cut_short_behind_its_note_is_an_arrival",
    "test_a_lost_derived_object_is_made_again_and_the_case_keeps_its_place",
    "test_an_emptied_catalogue_catches_up_from_the_store",
    "test_an_object_that_a_row_names_and_the_store_has_not_is_named",
    "test_in_no_order_of_steps_does_a_row_name_a_removed_object",
    "test_only_orphans_are_removed_and_only_old_ones",
    "test_the_walk_goes_on_from_where_it_stands",
    "test_what_the_scrub_found_is_mended_by_reconcile",
]
pytestmark = pytest.mark.peers


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path / 'catalogue.db'}")
    database.migrate()
    yield database
    database.close()


@pytest.fixture
def vault(tmp_path: Path, clock: Clock) -> Iterator[Vault]:
    vault = Vault(f"sqlite:///{tmp_path / 'vault.db'}", KeyRing.open(tmp_path / "keys.json", clock=clock))
    vault.migrate()
    yield vault
    vault.close()


@pytest.fixture
def store(ceph: CephServer, vault: Vault) -> Iterator[SealedStore]:
    store = SealedStore(new_blobs(ceph.endpoint, ACCESS_KEY, SECRET_KEY), vault.keys)
    yield store
    store.close()


@pytest.fixture
def services(
    database: Database, store: SealedStore, vault: Vault, alliance: Alliance, clock: Clock, pool: BoundedPool
) -> Iterator[Services]:
    opened = services_of(database, vault, store, alliance, clock, pool)
    yield opened
    opened.close()
