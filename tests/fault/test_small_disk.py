from __future__ import annotations

from pathlib import Path

import pytest

from tests.fault.small_disk import tell_story, why_not

pytestmark = [pytest.mark.peers, pytest.mark.skipif(bool(why_not()), reason=why_not())]


def test_a_full_disk_is_told_and_keeps_what_has_a_receipt_and_service_returns_with_the_space(tmp_path: Path) -> None:
    story = tell_story(tmp_path / "home")
    assert story["ready at first"] == [200, []]
    status, body = story["refused"]
    assert status in (503, 507)
    assert body["error"]["code"] in {"store_full", "catalogue_full", "vault_full"}
    assert body["error"]["telephone"]
    page_status, page = story["page"]
    assert page_status == status
    assert "The disk is full" in page
    status, failing = story["ready when full"]
    assert status == 503
    assert "store" in failing
    # what has a receipt can still be asked for, and is there
    assert set(story["receipts when full"]) == {200}
    assert len(story["acknowledged"]) >= 3
    assert story["problems"] == []
    # without a restart
    assert story["taken"] == 201
    assert story["ready again"] == [200, []]
