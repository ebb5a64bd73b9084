"""The indicators on PostgreSQL, also counted by several processes at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from teleread.reading import indicators
from teleread.storage.catalogue.database import Database
from tests.contract.indicators_contract import CHINA, History, IndicatorsContract, anew, running

pytestmark = pytest.mark.peers


class TestIndicatorsOnPostgres(IndicatorsContract):
    def test_those_who_count_at_once_count_each_event_once(self, database: Database) -> None:
        history = History(database, 11)
        for _ in range(200):
            history.step()

        def some(_n: int) -> int:
            with database.write() as conn:
                return indicators.fold(conn, CHINA, 7)

        with ThreadPoolExecutor(4) as threads:
            while any(threads.map(some, range(8))):
                pass
        assert running(database) == anew(database)
