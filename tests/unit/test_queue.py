"""The reading queue on SQLite."""

from __future__ import annotations

from tests.contract.queue_contract import QueueContract


class TestQueueOnSqlite(QueueContract):
    pass
