"""Whoever says "urgent" is heard, whatever another sender of the same bytes or the landing does at the same moment."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from teleread.alliance import Priority
from teleread.pipeline import uploads
from teleread.pipeline.services import Services
from teleread.pipeline.spool import Spool, Upload, upload_id
from teleread.storage.catalogue.schema import arrivals

SITE = "village"
DATA = b"an ECG " * 1000
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool")


def announced(services: Services, priority: Priority = "routine", group: str | None = None, name: str = "a") -> Upload:
    return Upload(
        id=upload_id(SITE, SHA256, len(DATA), group, name),
        site_id=SITE,
        actor="nurse",
        length=len(DATA),
        sha256=SHA256,
        name=name,
        priority=priority,
        group=group,
        group_size=1 if group is None else 2,
        created_at=services.clock(),
    )


def whole(spool: Spool, upload: Upload) -> Upload:
    with spool.append(upload, 0) as appender:
        appender.write(DATA)
    return upload


def landed_as(services: Services) -> set[str]:
    with services.catalogue.read() as conn:
        return set(conn.scalars(select(arrivals.c.clinic_priority)))


def at_the_same_moment(
    monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, act: Callable[[], object], *, before: bool = True
) -> None:
    """Do something once, in the middle of what calls that."""
    real, done = getattr(owner, name), []

    def interrupted(*arguments: Any, **named: Any) -> Any:
        if before and not done:
            done.append(1)
            act()
        value = real(*arguments, **named)
        if not before and not done:
            done.append(1)
            act()
        return value

    monkeypatch.setattr(owner, name, interrupted)


@pytest.mark.parametrize(("first", "second"), [("routine", "urgent"), ("urgent", "routine")])
def test_of_two_that_begin_at_once_the_urgent_one_counts(
    services: Services, spool: Spool, monkeypatch: pytest.MonkeyPatch, first: Priority, second: Priority
) -> None:
    """The second begins and ends while the first is between looking and writing."""
    other = Spool(spool.folder)
    at_the_same_moment(monkeypatch, spool, "_write", lambda: other.create(announced(services, second)))
    assert spool.create(announced(services, first)).priority == "urgent"
    found = other.find(SITE, announced(services).id)
    assert found is not None
    assert found.priority == "urgent"


def test_the_twin_that_keeps_the_priority_in_one_file_is_caught(
    services: Services, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Spool, "_mark", lambda *_: None)
    other = Spool(spool.folder)
    at_the_same_moment(monkeypatch, spool, "_write", lambda: other.create(announced(services, "urgent")))
    assert spool.create(announced(services)).priority == "routine"


def test_what_is_announced_again_as_urgent_is_raised(services: Services, spool: Spool) -> None:
    spool.create(announced(services))
    assert spool.create(announced(services, "urgent")).priority == "urgent"
    assert spool.create(announced(services)).priority == "urgent"


@pytest.mark.parametrize("where", ["_land_files", "settle"])
def test_a_word_during_the_landing_is_heard(
    services: Services, spool: Spool, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    upload = whole(spool, spool.create(announced(services)))

    def say() -> None:
        assert not Spool(spool.folder).raise_priority(upload, "urgent").settled

    at_the_same_moment(monkeypatch, uploads if where == "_land_files" else spool, where, say)
    assert uploads.finish(services, spool, upload).settled
    assert landed_as(services) == {"urgent"}


def test_a_word_for_one_file_of_a_recording_counts_for_all(
    services: Services, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = "g" * 16
    parts = [whole(spool, spool.create(announced(services, group=group, name=name))) for name in ("a", "b")]
    at_the_same_moment(
        monkeypatch, uploads, "_land_files", lambda: Spool(spool.folder).raise_priority(parts[1], "urgent")
    )
    uploads.finish(services, spool, parts[0])
    assert landed_as(services) == {"urgent"}


def test_a_word_after_the_receipts_sees_that_it_is_late(services: Services, spool: Spool) -> None:
    upload = whole(spool, spool.create(announced(services)))
    uploads.finish(services, spool, upload)
    late = spool.raise_priority(upload, "urgent")
    assert late.settled, "who says it raises what has landed"


def test_the_twin_that_looks_no_more_once_it_lands_is_caught(
    services: Services, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = whole(spool, spool.create(announced(services)))
    monkeypatch.setattr(uploads, "_settle", lambda _services, at, one, receipts, _as: at.settle(one, receipts=receipts))
    at_the_same_moment(
        monkeypatch, uploads, "_land_files", lambda: Spool(spool.folder).raise_priority(upload, "urgent")
    )
    uploads.finish(services, spool, upload)
    assert landed_as(services) == {"routine"}


def test_a_death_between_receipts_and_the_word_is_made_good_by_the_next_round(
    services: Services, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = whole(spool, spool.create(announced(services)))

    class Died(BaseException):
        pass

    def die(*_: Any, **__: Any) -> None:
        raise Died

    with monkeypatch.context() as patched:
        at_the_same_moment(
            patched, uploads, "_land_files", lambda: Spool(spool.folder).raise_priority(upload, "urgent")
        )
        patched.setattr(uploads, "raise_sent", die)
        with pytest.raises(Died):
            uploads.finish(services, spool, upload)
    assert landed_as(services) == {"routine"}
    uploads.finish_left(services, Spool(spool.folder))
    assert landed_as(services) == {"urgent"}
    assert not list(spool.folder.rglob("bytes"))


def test_a_settled_upload_is_not_made_unsettled_by_a_word(services: Services, spool: Spool) -> None:
    upload = whole(spool, spool.create(announced(services)))
    done = uploads.finish(services, spool, upload)
    spool.raise_priority(replace(upload, receipts=()), "urgent")
    found = spool.find(SITE, upload.id)
    assert found is not None
    assert found.receipts == done.receipts
