"""What a scrub found stands on the engineer's page."""

from __future__ import annotations

from pathlib import Path

import pytest

from teleread.ingest.formats import write_wfdb
from teleread.pipeline.land import land
from teleread.pipeline.scrub import scrub
from teleread.pipeline.services import Services
from teleread.signal.ecg import simulate
from tests.ui.live import running


@pytest.mark.parametrize(("language", "words"), [("en", "1 stored objects are damaged"), ("zh", "有 1 个已存对象损坏")])
def test_a_damaged_object_is_named_to_the_engineer(
    services: Services, tmp_path: Path, language: str, words: str
) -> None:
    files = write_wfdb(simulate("normal", 1)[0], "rec")
    landed = land(services, site_id="village", source="web", files=files, clinic_priority="routine", actor="nurse")
    key = f"raw/sha256/{landed.sha256[:2]}/{landed.sha256[2:4]}/{landed.sha256}"
    with running(services) as web, web.signed_in("engineer", headers={"accept-language": language}) as engineer:
        assert words not in engineer.get("/engineer").text
        path = tmp_path / "objects" / key
        path.write_bytes(path.read_bytes()[:-1] + b"?")
        assert scrub(services).faults
        page = engineer.get("/engineer")
    assert page.status_code == 200
    assert words in page.text
    assert key in page.text
