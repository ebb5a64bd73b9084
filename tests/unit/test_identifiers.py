from __future__ import annotations

import re

from teleread.pipeline.identifiers import arrival_id, derived_id, receipt_of, uid_from


def test_the_same_bytes_of_two_sites_are_two_arrivals() -> None:
    assert arrival_id("one", "a" * 64) == arrival_id("one", "a" * 64)
    assert arrival_id("one", "a" * 64) != arrival_id("two", "a" * 64)


def test_parts_cannot_run_into_each_other() -> None:
    assert derived_id("ab", "c") != derived_id("a", "bc")


def test_a_receipt_can_be_read_aloud_and_differs_between_arrivals() -> None:
    receipts = {receipt_of(derived_id(str(n))) for n in range(20_000)}
    assert len(receipts) == 20_000
    assert all(re.fullmatch(r"(?:[0-9A-HJKMNP-TV-Z]{4}-){2}[0-9A-HJKMNP-TV-Z]{4}", receipt) for receipt in receipts)


def test_a_made_uid_is_a_valid_dicom_uid() -> None:
    uid = uid_from("study", "x")
    assert re.fullmatch(r"2\.25\.[1-9][0-9]*", uid)
    assert len(uid) <= 64
