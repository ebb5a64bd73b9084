"""Calls at random, made from the application's own description: no fault of ours, and every error has its code."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Annotated

import pytest
from fastapi import APIRouter

from teleread.pipeline.services import Services
from teleread.web.security import Seat, public
from tests.prove import api

EACH = 2


@pytest.fixture(autouse=True)
def _schemathesis() -> None:
    if not api.is_there():
        pytest.skip(api.MISSING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own imports
        import schemathesis  # noqa: F401


def test_no_call_ends_in_a_fault_of_ours(services: Services, tmp_path: Path) -> None:
    with api.called(services, tmp_path) as callers:
        known = api.operations(callers.world)
        for number, (route, operation) in enumerate(known):
            api.try_operation(callers, route, operation, number, EACH)
        assert callers.n_calls >= len(known)


def test_a_route_that_trusts_what_comes_is_caught(services: Services, tmp_path: Path) -> None:
    careless = APIRouter()

    @careless.get("/api/careless")
    def trusts(seat: Annotated[Seat, public(audit=None)], n: str) -> dict[str, int]:
        return {"n": int(n)}

    with api.called(services, tmp_path) as callers:
        callers.world.web.app.include_router(careless)
        callers.world.web.app.openapi_schema = None
        route, operation = next(one for one in api.operations(callers.world) if one[0].path == "/api/careless")
        with pytest.raises(AssertionError, match="500"):
            api.try_operation(callers, route, operation, 0, 50)
