"""Store and catalogue, on SQLite and files."""

from __future__ import annotations

from tests.contract.integrity_contract import *  # noqa: F403
