"""Pulls: one member's failure is its own, is told once, and is tried again when it is due."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.data import get_testdata_file
from sqlalchemy import select

from teleread.alliance import Alliance, Connection, Site
from teleread.errors import Misconfigured, PeerError
from teleread.pipeline.batches import plan_batches, prepare_batch
from teleread.pipeline.give_back import give_back, undelivered
from teleread.pipeline.pull import _listed_from, due_sites, pull_site, site_report
from teleread.pipeline.services import Services
from teleread.pipeline.sweep import sweep_all
from teleread.pipeline.verdict import verdict
from teleread.reading.worklist import list_items
from teleread.sample.pacs import Pacs
from teleread.storage.catalogue import schema
from tests.conftest import Clock
from tests.signing import sign_report

SINCE = date(2026, 1, 1)


def shipped(name: str) -> bytes:
    return Path(str(get_testdata_file(name))).read_bytes()


@pytest.fixture
def pacs_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "pacs"
    folder.mkdir()
    (folder / "ct").write_bytes(shipped("CT_small.dcm"))
    (folder / "ecg").write_bytes(shipped("waveform_ecg.dcm"))
    return folder


@pytest.fixture
def pacs(pacs_folder: Path) -> Iterator[Pacs]:
    opened = Pacs(pacs_folder, "COUNTY")
    yield opened
    opened.close()


@pytest.fixture
def silent_port() -> Iterator[int]:
    """Takes connections into its backlog and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=16) as listener:
        yield listener.getsockname()[1]


@pytest.fixture
def dead_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def wide(services: Services, alliance: Alliance, pacs: Pacs, silent_port: int, dead_port: int) -> Services:
    """The services of an alliance with a good PACS, a dead one, a silent one and a folder."""
    dicom = Connection(
        "county",
        "dicom",
        SINCE,
        host="127.0.0.1",
        port=pacs.port,
        ae_title="COUNTY",
        report_back="dicom",
        connect_timeout_s=1,
        answer_timeout_s=1,
        budget_s=20,
    )
    members = [
        dicom,
        replace(dicom, site_id="dead", port=dead_port),
        replace(dicom, site_id="silent", port=silent_port),
    ]
    sites = {member.site_id: Site(member.site_id, member.site_id, member.site_id, "member") for member in members}
    wider = replace(alliance, sites={**alliance.sites, **sites}, connections=(*alliance.connections, *members))
    return replace(services, alliance=wider)


def rows(services: Services, table: Any) -> list[Any]:
    with services.catalogue.read() as conn:
        return list(conn.execute(select(table)))


def pull_all(services: Services) -> dict[str, str]:
    """What a run of the pull DAG does: every due site by itself."""
    outcomes = {}
    for site_id in due_sites(services):
        try:
            pull_site(services, site_id)
            outcomes[site_id] = "ok"
        except PeerError as error:
            outcomes[site_id] = error.code
    return outcomes


def prepare_all(services: Services) -> None:
    for batch in plan_batches(services):
        prepare_batch(services, batch)


def test_a_dead_and_a_silent_member_do_not_hold_the_others_up(wide: Services) -> None:
    assert pull_all(wide) == {"township": "ok", "county": "ok", "dead": "peer_refused", "silent": "peer_silent"}
    assert len(rows(wide, schema.arrivals)) == 2
    open_messages = {row.site_id: row.code for row in rows(wide, schema.site_messages)}
    assert open_messages == {"dead": "peer_refused", "silent": "peer_silent"}


def test_a_failing_member_gives_one_message_however_often_it_fails(
    wide: Services, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="teleread.pipeline.pull"):
        for _ in range(4):
            with pytest.raises(PeerError):
                pull_site(wide, "dead")
            clock.advance(3600)
    (message,) = rows(wide, schema.site_messages)
    assert message.closed_at is None
    assert len([record for record in caplog.records if "dead" in record.getMessage()]) == 1
    (status,) = rows(wide, schema.site_status)
    connection = wide.alliance.connection("dead", clock().date())
    assert connection is not None
    report = site_report(connection, status)
    for part in ("dead: failing since 2026-11-01 02:00:00", "(4 tries)", "waiting, next try"):
        assert part in report


def test_the_breaker_holds_a_failing_member_back_longer_each_time_and_lets_the_others_through(
    wide: Services, clock: Clock
) -> None:
    pauses = []
    for _ in range(6):
        with pytest.raises(PeerError):
            pull_site(wide, "dead")
        begun = clock.now
        while "dead" not in due_sites(wide):
            assert {"county", "township"} <= set(due_sites(wide))
            clock.advance(30)
        pauses.append((clock.now - begun).total_seconds())
    assert pauses[0] <= 60
    assert pauses[0] < pauses[1] < pauses[2] < pauses[3] < min(pauses[4:])
    assert max(pauses) <= 15 * 60


def test_a_member_that_answers_again_closes_its_message_and_has_lost_nothing(
    wide: Services, clock: Clock, pacs: Pacs, pacs_folder: Path
) -> None:
    port = pacs.port
    pacs.close()
    assert pull_all(wide)["county"] == "peer_refused"
    clock.advance(120)
    again = Pacs(pacs_folder, "COUNTY", port)
    try:
        assert pull_all(wide)["county"] == "ok"
    finally:
        again.close()
    message = next(row for row in rows(wide, schema.site_messages) if row.site_id == "county")
    assert message.closed_at == clock.now
    status = next(row for row in rows(wide, schema.site_status) if row.site_id == "county")
    assert (status.failing_since, status.waiting, status.last_landed) == (None, 0, 2)
    assert status.watermark is not None


def test_everything_pulled_twice_changes_nothing(wide: Services, alliance: Alliance) -> None:
    cart = alliance.connections[0].path
    assert cart is not None
    (cart / "a.dcm").write_bytes(shipped("waveform_ecg.dcm"))
    (cart / "broken.dcm").write_bytes(shipped("waveform_ecg.dcm")[:5000])
    states = []
    for _ in range(2):
        pull_site(wide, "county")
        pull_site(wide, "township")
        pull_site(wide, "township")  # a second look says that a file is still
        prepare_all(wide)
        tables = (schema.arrivals, schema.objects, schema.work_items, schema.quarantine, schema.derived, schema.studies)
        keys = [info.key for info in wide.store.list()]
        states.append([*(sorted(map(str, rows(wide, table))) for table in tables), keys])
    assert states[0] == states[1]
    # the same ECG at two members is read at each; the broken file is in view, not lost
    with wide.catalogue.read() as conn:
        assert sorted((item.site_id, item.analysed) for item in list_items(conn)) == [
            ("county", True),
            ("county", True),
            ("township", False),
            ("township", True),
        ]


def test_a_name_that_is_written_over_is_taken_again(services: Services, alliance: Alliance) -> None:
    cart = alliance.connections[0].path
    assert cart is not None
    for name in ("waveform_ecg.dcm", "CT_small.dcm"):
        (cart / "latest.dcm").write_bytes(shipped(name))
        pull_site(services, "township")
        pull_site(services, "township")
    assert len(rows(services, schema.arrivals)) == 2


def test_a_site_that_sends_by_itself_is_not_pulled(services: Services) -> None:
    with pytest.raises(Misconfigured) as caught:
        pull_site(services, "village")
    assert caught.value.code == "site_not_pulled"


def sign(services: Services, site_id: str) -> str:
    with services.catalogue.read() as conn:
        item = next(item for item in list_items(conn, site_ids=[site_id]) if item.modality == "ECG")
    connection = services.alliance.connection(site_id, services.clock().date())
    assert connection is not None
    with services.catalogue.write() as conn:
        return sign_report(
            conn,
            item.case_id,
            text="窦性心律，大致正常心电图。",
            critical=False,
            signed_by="reader",
            channel=connection.report_back,
            at=services.clock(),
        ).id


def test_a_report_goes_back_to_the_pacs_and_does_not_come_in_again_as_a_study(
    wide: Services, clock: Clock, pacs_folder: Path
) -> None:
    pull_site(wide, "county")
    prepare_all(wide)
    report_id = sign(wide, "county")
    before = set(pacs_folder.iterdir())
    assert [give_back(wide, report_id), give_back(wide, report_id)] == [True, False]
    (stored,) = set(pacs_folder.iterdir()) - before
    dataset = pydicom.dcmread(stored)
    assert (dataset.Modality, str(dataset.PatientID)) == ("SR", "642341")
    texts = [str(one.value) for one in dataset.iterall() if one.VR == "UT"]
    assert "窦性心律，大致正常心电图。" in texts[0]
    clock.advance(60)
    assert pull_site(wide, "county").landed == 0
    assert len(rows(wide, schema.arrivals)) == 2


def test_a_report_waits_for_a_pacs_that_is_down_and_is_given_back_later(
    wide: Services, clock: Clock, pacs: Pacs, pacs_folder: Path
) -> None:
    pull_site(wide, "county")
    prepare_all(wide)
    sign(wide, "county")
    port = pacs.port
    pacs.close()
    assert sweep_all(wide)["not_taken"] == 1
    with wide.catalogue.read() as conn:
        assert undelivered(conn, clock(), ["dicom"]) == []  # not due yet
    clock.advance(90)
    again = Pacs(pacs_folder, "COUNTY", port)
    try:
        assert sweep_all(wide)["given_back"] == 1
    finally:
        again.close()


def test_a_report_goes_back_to_a_folder_and_to_the_page(services: Services, alliance: Alliance, tmp_path: Path) -> None:
    cart = alliance.connections[0].path
    assert cart is not None
    (tmp_path / "reports").mkdir()
    (cart / "a.dcm").write_bytes(shipped("waveform_ecg.dcm"))
    pull_site(services, "township")
    pull_site(services, "township")
    prepare_all(services)
    assert give_back(services, sign(services, "township"))
    assert any("窦性心律" in path.read_text() for path in (tmp_path / "reports").iterdir())
    (arrival,) = rows(services, schema.arrivals)
    told = verdict(services, receipt=arrival.receipt, site_id="township")
    assert told is not None
    assert told.report is not None
    assert told.report.text.startswith("窦性")
    assert told.case_state == "COMPLETED"


def test_after_a_long_outage_the_list_begins_before_the_watermark_and_not_before_today(
    wide: Services, clock: Clock
) -> None:
    connection = wide.alliance.connection("county", clock().date())
    assert connection is not None
    connection = replace(connection, lookback_days=2)
    outage = timedelta(days=20)
    watermark = clock() - outage
    assert _listed_from(connection, watermark, clock()) == watermark - timedelta(days=2)
    assert _listed_from(connection, None, clock()) == clock() - timedelta(days=2)
    assert _listed_from(replace(connection, lookback_days=None), watermark, clock()) is None


def test_the_watermark_moves_only_when_nothing_waits(wide: Services, clock: Clock, pacs_folder: Path) -> None:
    def watermark() -> Any:
        return next(row.watermark for row in rows(wide, schema.site_status) if row.site_id == "county")

    pull_site(wide, "county")
    first = watermark()
    clock.advance(600)
    tight = replace(
        wide,
        alliance=replace(
            wide.alliance,
            connections=tuple(
                replace(one, max_items=1) if one.site_id == "county" else one for one in wide.alliance.connections
            ),
        ),
    )
    for name in ("MR_small.dcm", "examples_rgb_color.dcm"):
        (pacs_folder / name).write_bytes(shipped(name))
    assert pull_site(tight, "county").waiting > 0
    assert watermark() == first
    clock.advance(600)
    assert pull_site(wide, "county").waiting == 0
    assert watermark() == clock.now
