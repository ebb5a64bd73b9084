"""Store and catalogue, on SQLite and files."""

from __future__ import annotations

from tests.contract.integrity_contract import *  # noqa: F403
from tests.contract.reconcile_contract import *  # noqa: F403
from tests.contract.scrub_contract import *  # noqa: F403
