"""What a forged child does: the scenario, the second run, and a look at what is held."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from typing import Any

from teleread.errors import TelereadError
from teleread.pipeline.enqueue import enqueue
from teleread.pipeline.land import land
from teleread.pipeline.prepare import prepare
from teleread.pipeline.services import Services
from tests.fault import faults, scenario, twins
from tests.fault.state import look
from tests.fault.steps import Stepped, Steps, number_databases, number_requests
from tests.fault.uploads import files as uploaded_files
from tests.fault.uploads import upload_run
from tests.fault.world import Clock, Step, World, no_step, open_services

__all__ = ["first_run", "second_run", "stubborn_run", "upload_run", "warm_up"]

Say = Callable[[dict[str, Any]], None]
_TRIES = 60

_MODULES = ("psycopg", "pydicom", "alembic", "certifi", "teleread.storage.objects.s3", "zoneinfo")


def warm_up() -> None:
    """Import what is imported late, and make what is made once, so that no child pays for it."""
    for name in _MODULES:
        importlib.import_module(name)
    scenario.deliveries()
    uploaded_files()


def opened(request: dict[str, Any], pool: Any, clock: Clock, step: Step = no_step) -> Services:
    """The services of the request's world, or its broken twin's."""
    world = World(**request["world"])
    services = open_services(world, make_pool=lambda: pool, clock=clock, step=step)
    return twins.services(request.get("twin", ""), services, world, step)


def first_run(request: dict[str, Any], say: Say, pool: Any) -> None:
    """The scenario, which dies at step ``die_at`` (0: it ends, and says the steps' names)."""
    step, clock = Steps(request.get("die_at", 0)), Clock()
    if request.get("numbered", True):
        number_databases(step)
        number_requests(step)
    services = opened(request, pool, clock, step)
    if request.get("numbered", True):
        object.__setattr__(services, "store", Stepped(services.store, "store", step))
    _run(request, services, clock, say, step)
    services.close()
    say({"steps": step.names})


def second_run(request: dict[str, Any], say: Say, pool: Any) -> None:
    """Look; send what got no receipt and finish the rest; look again."""
    clock = Clock()
    services = opened(request, pool, clock)
    acknowledged = dict(request["acknowledged"])
    say({"before": look(services, acknowledged).as_json()})
    _run(request, services, clock, lambda line: acknowledged.update([line["ack"]]), no_step)
    say({"after": look(services, acknowledged).as_json()})
    services.close()


def _run(request: dict[str, Any], services: Services, clock: Clock, say: Say, step: Step) -> None:
    twin = request.get("twin", "")
    scenario.run(
        services,
        clock,
        lambda name, arrival_id: say({"ack": (name, arrival_id)}),
        acknowledged=request.get("acknowledged"),
        step=step,
        land=twins.LANDING.get(twin, land),
        prepare=twins.PREPARING.get(twin, prepare),
        enqueue=twins.ENQUEUEING.get(twin, enqueue),
    )


def stubborn_run(request: dict[str, Any], say: Say, pool: Any) -> None:
    """The scenario of a process that lives on: what failed with a code is tried again, each part by itself."""
    clock = Clock()
    faults.set_up(request)
    services = _with_patience(lambda: opened(request, pool, clock), say)
    faults.begin(request, services)
    acknowledged: dict[str, str] = {}

    def acknowledge(name: str, arrival_id: str) -> None:
        acknowledged[name] = arrival_id
        say({"ack": (name, arrival_id)})

    _with_patience(
        lambda: scenario.run(
            services,
            clock,
            acknowledge,
            acknowledged=acknowledged,
            step=faults.passed,
            enqueue=twins.ENQUEUEING.get(request.get("twin", ""), enqueue),
        ),
        say,
    )
    faults.end(services)
    _with_patience(services.close, say)
    say({"done": True})


def _with_patience(act: Callable[[], Any], say: Say) -> Any:
    for _ in range(_TRIES):
        begun = time.monotonic()
        try:
            return act()
        except TelereadError as error:
            say({"error": error.code, "seconds": time.monotonic() - begun})
            faults.mend()
    raise AssertionError("it does not recover")
