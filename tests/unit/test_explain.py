"""``teleread explain``: why a case is where it is, for the command, the page and a program."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, time, timedelta
from typing import Any

import pytest

from teleread.cli import main
from teleread.cli import reading_room as commands
from teleread.pipeline.services import Services
from teleread.reading import claims, coverage, flag_verdicts
from teleread.reading.explain import Explanation, explain
from teleread.reading_room import Agreement, Licence, Pool, ReadingRoom, Route, Shift
from teleread.storage import accounts
from teleread.storage.catalogue.schema import audit_events
from teleread.web import explain_words
from tests.conftest import Clock
from tests.ui.live import Web, named_ecg, running, upload
from tests.unit.test_pipeline_route import send

SINCE = date(2026, 1, 1)
ROOM = ReadingRoom(
    pools=(
        Pool("ecg", "心电", "ECG pool", SINCE, lead="senior", overflow="partner"),
        Pool("partner", "协作", "Partner", SINCE),
    ),
    routes=(
        Route("children", "partner", SINCE, age_below_years=14.0),
        Route("ct", "partner", SINCE, modality=("CT",), site=("township",)),
        Route("rest", "ecg", SINCE),
    ),
    licences=(Licence("reader", SINCE), Licence("night", SINCE), Licence("nobody", SINCE)),
    shifts=(
        Shift("d", "reader", SINCE, pool="ecg", begins=time(8), ends=time(20)),
        Shift("n", "night", SINCE, pool="ecg", begins=time(20), ends=time(8)),
    ),
    agreements=(Agreement("village", SINCE, high_min=20.0),),
)


@pytest.fixture
def ruled(services: Services) -> Services:
    """Services under the rules above, at 10:00 of the alliance's clock."""
    return replace(services, alliance=replace(services.alliance, room=ROOM))


@pytest.fixture
def web(ruled: Services) -> Iterator[Web]:
    with running(ruled) as started:
        with ruled.catalogue.write() as conn:
            accounts.create_account(conn, "night", "correct horse", "reader", None, ruled.clock())
        yield started


def explained(services: Services, name: str) -> Explanation:
    with services.catalogue.read() as conn:
        found = explain(conn, services.room, name, services.clock())
    assert found is not None
    return found


def test_it_says_which_rules_were_asked_and_why_each_fitted_or_not(web: Web) -> None:
    case_id, receipt = send(web.services)
    found = explained(web.services, receipt)
    assert found == explained(web.services, case_id) == explained(web.services, receipt.lower())
    assert [(step.id, step.fits) for step in found.steps] == [
        ("children", False),
        ("ct", False),
        ("rest", True),
        ("village", True),
    ]
    assert [(check.fact, check.wanted, check.found, check.fits) for check in found.steps[1].checks] == [
        ("modality", "CT", "OT", False),
        ("site", "township", "village", False),
    ]
    assert (found.standing.pool, found.now_pool, found.routed_at) == ("ecg", "ecg", found.at)


def test_it_says_who_may_read_it_now_and_what_stands_against_the_others(web: Web, clock: Clock) -> None:
    case_id, _ = send(web.services)
    by_name = {one.account: one for one in explained(web.services, case_id).readers}
    assert by_name["reader"].may
    assert by_name["reader"].until == clock.now + timedelta(hours=10, minutes=30)
    assert {name: one.why for name, one in by_name.items() if not one.may} == {
        "night": ("not_on_duty",),
        "senior": ("not_licensed", "not_on_duty"),
        "nobody": ("no_account",),
    }


def test_who_may_read_is_who_can_claim(web: Web) -> None:
    from teleread.reading.eligibility import reach

    case_id, _ = send(web.services)
    for one in explained(web.services, case_id).readers:
        its_reach = reach(web.services.room, one.account, one.role, web.services.clock())
        assert one.may == ("ecg" in its_reach.pools)


def test_it_tells_the_history_timers_and_alarms_and_what_the_rules_of_now_would_say(web: Web, clock: Clock) -> None:
    case_id, _ = send(web.services, priority="urgent")
    with web.services.catalogue.write() as conn:
        reach = claims.Reach("reader", ("ecg",))
        claims.claim_case(conn, case_id, reach, clock.now)
        coverage.watch(conn, web.services.room, clock.now)
    other = replace(ROOM, routes=(Route("all", "partner", SINCE),))
    with web.services.catalogue.read() as conn:
        found = explain(conn, other, case_id, clock.now)
    assert found is not None
    assert [one.event for one in found.history] == ["created", "routed", "claimed"]
    assert {"unclaimed", "late", "unsigned"} <= {one.kind for one in found.timers}
    assert (found.standing.pool, found.now_pool) == ("ecg", "partner")
    assert found.alarms == ()


def test_what_a_reader_said_of_a_flag_is_in_the_history_once_with_the_reason(web: Web, clock: Clock) -> None:
    case_id, _ = send(web.services)
    about = [{"rule_id": rule, "version": "1", "lead": "III"} for rule in ("udmi-2018.inferior", "gone.rule")]
    about.append({"rule_id": "teleread-patterns.inferior-lvh", "version": "1", "lead": "II"})
    with web.services.catalogue.write() as conn:
        flag_verdicts.say(conn, case_id, about, verdict="rejected", reason="artefact", who="reader", at=clock.now)
    said = [one for one in explained(web.services, case_id).history if one.event.startswith("flag_")]
    assert [(one.event, one.who, one.detail) for one in said] == [
        ("flag_rejected", "reader", {"flag": "gone.rule", "reason": "artefact"}),
        ("flag_rejected", "reader", {"flag": "st_elevation_inferior", "reason": "artefact"}),
    ]
    with web.signed_in("engineer") as engineer:
        page = engineer.get(f"/cases/{case_id}/explain").text
    assert "flag rejected" in page
    assert "ST elevation, inferior – artefact" in page
    with web.services.catalogue.write() as conn:
        flag_verdicts.say(conn, case_id, about[:1], verdict="open", reason=None, who="reader", at=clock.now)
        flag_verdicts.say(conn, case_id, about[1:], verdict="rejected", reason=None, who="reader", at=clock.now)
    said = [one for one in explained(web.services, case_id).history if one.event.startswith("flag_")]
    assert all("reason" not in one.detail for one in said)


def test_there_is_none_for_an_unknown_number(web: Web) -> None:
    with web.services.catalogue.read() as conn:
        assert explain(conn, ROOM, "0" * 32, web.services.clock()) is None
        assert explain(conn, ROOM, "NONE-NONE", web.services.clock()) is None


NAMES = ["Wang^Xiulan", "110101", "1962"]


def test_neither_page_nor_json_holds_an_identity(web: Web) -> None:
    with web.signed_in("nurse") as nurse:
        receipt = upload(nurse, {"a.dcm": named_ecg("Wang^Xiulan")}).json()["receipt"]
    found = explained(web.services, receipt)
    said = json.dumps(found.as_json())
    with web.signed_in("engineer") as engineer:
        page = engineer.get(f"/cases/{found.case_id}/explain").text
    for secret in NAMES:
        assert secret not in said
        assert secret not in page
    assert "ECG pool" in page
    assert found.facts.age_years is None or found.facts.age_years == int(found.facts.age_years)


@pytest.mark.parametrize("name", ["coordinator", "senior", "engineer"])
@pytest.mark.parametrize(("language", "says"), [("en", "Who may read it now"), ("zh-CN", "现在谁可以阅读")])
def test_the_page_speaks_both_languages_and_is_audited(web: Web, name: str, language: str, says: str) -> None:
    case_id, receipt = send(web.services)
    with web.signed_in(name, headers={"accept-language": language}) as client:
        answer = client.get(f"/cases/{case_id}/explain")
        assert answer.status_code == 200
        assert says in answer.text
        assert receipt in answer.text
        assert client.get(f"/cases/{'0' * 32}/explain").status_code == 404
    with web.services.catalogue.read() as conn:
        acts = conn.execute(audit_events.select().where(audit_events.c.action == "explain")).all()
    assert [(act.actor, act.object_id) for act in acts] == [(name, case_id)]


@pytest.fixture
def command(web: Web, monkeypatch: pytest.MonkeyPatch) -> Services:
    """The commands on the services of the test."""

    @contextmanager
    def same(_settings: Any = None) -> Iterator[Services]:
        yield web.services

    monkeypatch.setattr(commands, "running_services", same)
    return web.services


def test_the_command_explains_in_both_languages_and_as_json(
    command: Services, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    case_id, receipt = send(command)
    assert main(["explain", receipt]) == 0
    english = capsys.readouterr().out
    assert "1. route children: does not fit" in english
    assert "age in years: asks for <14, is not known" in english
    assert "3. route rest: fits → ECG pool (ecg)" in english
    assert "night: no: not on duty" in english
    monkeypatch.setenv("LANG", "zh_CN.UTF-8")
    assert main(["explain", case_id]) == 0
    assert "3. 路由 rest: 符合 → 心电 (ecg)" in capsys.readouterr().out
    assert main(["explain", case_id, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["standing"]["pool"] == "ecg"
    assert found["steps"][0]["checks"][0] == {"fact": "age", "wanted": "<14", "found": "", "fits": False}
    assert main(["explain", "nothing", "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "no_such_case"


def test_the_command_lists_gaps_and_says_by_its_exit_code_whether_there_is_one(
    command: Services, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["coverage", "--json"]) == 3
    gaps = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {gap["pool"] for gap in gaps} == {"partner"}
    assert main(["coverage", "--language", "en"]) == 3
    assert "Partner (partner): nobody reads" in capsys.readouterr().out
    everybody = replace(command, alliance=replace(command.alliance, room=ReadingRoom()))
    monkeypatch.setattr(commands, "running_services", lambda: _as_context(everybody))
    assert main(["coverage", "--hours", "24", "--language", "en"]) == 0
    assert "Every pool has a reader in the next 24 h." in capsys.readouterr().out


@contextmanager
def _as_context(services: Services) -> Iterator[Services]:
    yield services


def test_every_code_has_its_words() -> None:
    from teleread.reading import eligibility, ups
    from teleread.reading.escalation import STEPS

    of_flags = {"flag_rejected", "flag_confirmed"}
    assert set(explain_words.EVENTS) == {event for _state, event in ups.TRANSITIONS} | of_flags
    assert set(STEPS) <= set(explain_words.STEPS)
    assert set(eligibility.Why.__args__) <= set(explain_words.WHY_NOT)  # type: ignore[attr-defined]
