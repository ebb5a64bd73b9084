"""Proofs about uploads over any line; each is a function of a number, as in :mod:`tests.prove.__main__`."""

from __future__ import annotations

from collections.abc import Callable

from tests.prove.lines_agent import agent_deaths
from tests.prove.lines_hostile import hostile_archives, many_half_open, mutated_requests
from tests.prove.lines_outage import outage
from tests.prove.lines_server import upload_deaths

LINES: dict[str, tuple[int | None, Callable[[], object]]] = {
    "uploads, every step of the server": (None, upload_deaths),
    "uploads, every step of the agent": (None, agent_deaths),
    "uploads, mutated requests": (10_000, mutated_requests),
    "uploads, hostile archives": (20, hostile_archives),
    "uploads, half-open and slow": (3, many_half_open),
    "uploads, a day without a line": (1, outage),
}
