"""The critical loop on PostgreSQL."""

from __future__ import annotations

import pytest

from tests.contract.criticals_contract import CriticalsContract

pytestmark = pytest.mark.peers


class TestCriticalsOnPostgres(CriticalsContract):
    pass
