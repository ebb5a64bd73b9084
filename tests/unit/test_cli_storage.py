"""``teleread storage``: names what is wrong on standard output and says by its exit code whether anything is."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from teleread.cli import main
from teleread.pipeline.services import Services
from teleread.storage.objects.raw import raw_key
from tests.contract.integrity import arrive, files, flip, through

Run = Callable[..., tuple[int, list[str]]]


@pytest.fixture
def run(services: Services, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    @contextmanager
    def running() -> Iterator[Services]:
        yield services

    monkeypatch.setattr("teleread.cli.storage.running_services", running)

    def call(*arguments: str) -> tuple[int, list[str]]:
        code = main(["storage", *arguments])
        said = capsys.readouterr()
        assert said.err == ""  # no progress where nobody watches
        return code, said.out.splitlines()

    return call


def test_what_is_well_ends_with_0(services: Services, run: Run) -> None:
    through(services, files(1))
    assert run("reconcile") == (0, ["arrivals 1, notes 1, objects 5, orphans 0, found 0, mended 0, left 0"])
    code, lines = run("scrub", "--json")
    facts = json.loads(lines[-1])
    assert (code, facts["objects"], facts["faults"]) == (0, 6, 0)


def test_each_rotten_object_is_named_with_3(services: Services, run: Run) -> None:
    key = raw_key(arrive(services, files(1)).sha256)
    flip(services.store, key, 8 * 150)
    code, lines = run("scrub", "--json", "--workers", "1")
    assert (code, json.loads(lines[0])) == (3, {"key": key, "code": "object_corrupt"})
    code, lines = run("scrub", "--fresh")
    assert (code, lines[0].split()) == (3, ["object_corrupt", key])


def test_repair_mends_and_what_is_lost_is_left_with_3(services: Services, run: Run) -> None:
    kept, lost = through(services, files(1)), arrive(services, files(2))
    wave = next(info.key for info in services.store.list("derived/") if info.key.endswith("wave.i16"))
    services.store.delete(wave)
    code, lines = run("reconcile", "--json")
    assert (code, json.loads(lines[0])) == (3, {"code": "derived_missing", "thing": wave, "mended": False})
    assert run("reconcile", "--repair")[0] == 0
    services.store.delete(raw_key(lost.sha256))
    code, lines = run("reconcile", "--repair", "--quick")
    assert (code, lines[0].split()) == (3, ["object_missing", "left", raw_key(lost.sha256)])
    assert kept.arrival_id


@pytest.mark.parametrize("arguments", [["scrub", "--workers", "0"], ["reconcile", "--mend"], []])
def test_wrong_usage_is_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["storage", *arguments])
    assert ended.value.code == 2
