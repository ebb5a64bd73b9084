"""What a reader says of flags: one word for all rules of a finding, the last one counts, silence rejects nothing."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import select

from teleread.errors import InputRejected
from teleread.pipeline.services import Services
from teleread.reading import flag_verdicts
from teleread.reading.flag_verdicts import Verdict, by_code, flag_key, unrejected
from teleread.storage.catalogue.schema import audit_events

AT = datetime(2026, 11, 1, 2, 0, tzinfo=UTC)
FLAGS: list[dict[str, Any]] = [
    {"rule_id": "a.inferior", "version": "1", "lead": "III", "code": "st_elevation_inferior"},
    {"rule_id": "b.reciprocal", "version": "2", "lead": "III", "code": "st_elevation_inferior"},
    {"rule_id": "a.long-rr", "version": "1", "lead": "global", "code": "long_rr"},
]


def verdict(flag: dict[str, Any], word: str) -> dict[str, Verdict]:
    return {flag_key(flag): Verdict(flag_key(flag), flag["version"], word, None, "reader", AT)}


def test_a_finding_is_rejected_only_when_each_of_its_rules_is() -> None:
    one, both = verdict(FLAGS[0], "rejected"), verdict(FLAGS[0], "rejected") | verdict(FLAGS[1], "rejected")
    assert unrejected(FLAGS, {}) == ("st_elevation_inferior", "long_rr")
    assert unrejected(FLAGS, one) == ("st_elevation_inferior", "long_rr")
    assert unrejected(FLAGS, both) == ("long_rr",)
    assert unrejected(FLAGS, both | verdict(FLAGS[2], "confirmed")) == ("long_rr",)
    assert by_code(FLAGS, one) == {"st_elevation_inferior": None, "long_rr": None}


def test_the_last_word_counts_and_each_is_in_the_audit_trail(services: Services) -> None:
    about = FLAGS[:2]
    with services.catalogue.write() as conn:
        for word, who in (("rejected", "one"), ("confirmed", "two")):
            flag_verdicts.say(conn, "c", about, verdict=word, reason=None, who=who, at=AT)
        said = flag_verdicts.of_case(conn, "c")
        assert {(one.verdict, one.said_by, one.rule_version) for one in said.values()} == {
            ("confirmed", "two", "1"),
            ("confirmed", "two", "2"),
        }
        flag_verdicts.say(conn, "c", about, verdict="open", reason=None, who="two", at=AT)
        assert flag_verdicts.of_case(conn, "c") == {}
        assert flag_verdicts.of_case(conn, "another") == {}
        actions = conn.scalars(select(audit_events.c.action)).all()
    assert actions.count("flag_verdict") == 3


@pytest.mark.parametrize(("word", "reason"), [("no", None), ("", None), ("rejected", "free text"), ("rejected", "")])
def test_nothing_but_the_list_is_said(services: Services, word: str, reason: str | None) -> None:
    with services.catalogue.write() as conn, pytest.raises(InputRejected, match="flag_verdict_unknown"):
        flag_verdicts.say(conn, "c", FLAGS, verdict=word, reason=reason, who="reader", at=AT)
