"""The reading queue on PostgreSQL."""

from __future__ import annotations

import pytest

from tests.contract.queue_contract import QueueContract

pytestmark = pytest.mark.peers


class TestQueueOnPostgres(QueueContract):
    pass
