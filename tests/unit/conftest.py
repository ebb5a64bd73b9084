"""Fixtures that many unit tests share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import httpx
import pytest

from teleread.pipeline.services import Services
from tests.ui.live import Web, running


@pytest.fixture
def new_url(tmp_path: Path) -> Callable[[], str]:
    numbers = count(1)
    return lambda: f"sqlite:///{tmp_path}/{next(numbers)}/catalogue.sqlite"


@pytest.fixture
def web(services: Services) -> Iterator[Web]:
    with running(services) as started:
        yield started


@pytest.fixture
def nurse(web: Web) -> Iterator[httpx.Client]:
    with web.signed_in("nurse") as client:
        yield client


@pytest.fixture
def reader(web: Web) -> Iterator[httpx.Client]:
    with web.signed_in("reader") as client:
        yield client
