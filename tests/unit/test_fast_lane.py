"""The web service prepares what fits beside all else; what does not is left to the durable lane and still seen."""

from __future__ import annotations

import subprocess
import sys

import pytest
from sqlalchemy import select

from teleread.pipeline import fast_lane, sweep
from teleread.pipeline.fast_lane import prepare_here
from teleread.pipeline.land import Landed, land
from teleread.pipeline.prepare import Room
from teleread.pipeline.services import Services
from teleread.pipeline.sweep import queue_unseen, sweep_all, sweep_web
from teleread.pipeline.verdict import Verdict, verdict
from teleread.storage.catalogue.schema import arrivals
from tests.conftest import ROOT, Clock
from tests.unit.preparing_child import image
from tests.unit.test_pipeline_steps import sample, simulated

CEILING_MIB = 256


def arrive(services: Services, files: dict[str, bytes]) -> Landed:
    return land(services, site_id="village", source="web", files=files, clinic_priority="routine", actor="nurse")


def found(services: Services, landed: Landed) -> Verdict:
    seen = verdict(services, receipt=landed.receipt, site_id="village")
    assert seen is not None
    return seen


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lanes in which a slice of 30 KB is large and an ECG of 120 KB is too large."""
    monkeypatch.setattr(fast_lane, "SMALL", Room(10_000, 20_000))
    monkeypatch.setattr(fast_lane, "LARGE", Room(50_000, 200_000))
    monkeypatch.setattr(fast_lane, "_left", set())


@pytest.mark.usefixtures("narrow")
def test_an_ecg_that_is_too_large_here_is_seen_at_once_and_prepared_by_the_durable_lane(
    services: Services, clock: Clock
) -> None:
    landed = arrive(services, simulated())
    assert prepare_here(services, landed.arrival_id) == "landed"
    seen = found(services, landed)
    assert (seen.state, seen.analysed, seen.position) == ("landed", False, 1)
    assert seen.priority == "high"  # what is not analysed is never routine
    clock.advance(60)
    sweep_web(services)
    assert found(services, landed).state == "landed"
    sweep_all(services)
    seen = found(services, landed)
    assert (seen.state, seen.analysed) == ("prepared", True)


@pytest.mark.usefixtures("narrow")
def test_an_image_that_is_too_large_here_is_queued_when_its_time_is_over(services: Services, clock: Clock) -> None:
    landed = arrive(services, {"a.dcm": image(400_000)})
    assert prepare_here(services, landed.arrival_id) == "landed"
    assert found(services, landed).case_id is None
    clock.advance(sweep.IMAGE_SEEN_WITHIN_S + 1)
    assert queue_unseen(services) == 1
    assert found(services, landed).position == 1


@pytest.mark.usefixtures("narrow")
def test_what_only_unpacks_to_much_is_tried_once_and_left(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast_lane, "LARGE", Room(1 << 20, 25_000))
    landed = arrive(services, simulated())
    assert prepare_here(services, landed.arrival_id) == "landed"
    tried: list[str] = []
    monkeypatch.setattr(fast_lane, "prepare", lambda _services, arrival_id, **_: tried.append(arrival_id))
    assert prepare_here(services, landed.arrival_id) == "landed"
    assert tried == []


@pytest.mark.usefixtures("narrow")
def test_large_ones_are_prepared_one_at_a_time(services: Services) -> None:
    landed = arrive(services, {"a.dcm": sample("CT_small.dcm")})
    with fast_lane._one_large:
        assert prepare_here(services, landed.arrival_id, wait_s=0) == "landed"
    assert prepare_here(services, landed.arrival_id, wait_s=0) == "prepared"


@pytest.mark.usefixtures("narrow")
def test_what_is_left_to_the_durable_lane_keeps_nothing_small_from_the_sweep(
    services: Services, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "_ROUND", 2)
    for seed in range(3):
        arrive(services, {"a.dcm": image(400_000, seed)})
    small = arrive(services, {"a.dcm": sample("CT_small.dcm")})
    clock.advance(30)
    sweep_web(services)
    assert found(services, small).state == "prepared"
    with services.catalogue.read() as conn:
        assert sorted(conn.scalars(select(arrivals.c.state))) == ["landed", "landed", "landed", "prepared"]


def growth_mib(*what: str) -> float:
    """By how much the memory of a process grows that prepares these; in MiB."""
    command = [sys.executable, "-m", "tests.unit.preparing_child", *what]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return float(done.stdout.split()[-1])


def test_what_is_prepared_here_takes_less_than_its_share_of_memory() -> None:
    assert growth_mib("here", "31", *["0.9"] * 12) < CEILING_MIB
    assert growth_mib("here", "120") < 32


def test_without_the_limit_it_would_take_more() -> None:
    assert growth_mib("all", "120") > CEILING_MIB
