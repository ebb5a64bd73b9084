"""A disk that is full in the middle of an upload."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fault import small_spool
from tests.fault.small_disk import why_not


def test_an_upload_outlives_a_full_disk_and_is_told_of_it(tmp_path: Path) -> None:
    if reason := why_not():
        pytest.skip(reason)
    story = small_spool.tell_story(tmp_path / "home", tmp_path / "agent")
    assert story["asked while full"] == "disk_full"
    assert story["waiting while full"] == 2
    assert sorted(story["landed"]) == story["wanted"]
    assert sorted(story["landed"].values()) == story["receipts"]
