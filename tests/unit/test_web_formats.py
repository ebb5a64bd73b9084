"""What a nurse and a reader see of pictures, of files that do not say their scale, of a recording that came twice."""

from __future__ import annotations

import io
import re
from dataclasses import replace

import httpx
import numpy as np
from PIL import Image

from teleread.ingest.formats.aecg_write import write_aecg
from teleread.web.problems import find
from tests.format_files import FILES, recording
from tests.signing import post_report
from tests.ui.live import upload

PDF = b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n"


def cases(reader: httpx.Client) -> list[str]:
    return sorted(set(re.findall(r"/cases/\w+", reader.get("/worklist").text)))


def test_a_picture_stands_on_the_readers_page_and_can_be_reported(nurse: httpx.Client, reader: httpx.Client) -> None:
    out = io.BytesIO()
    Image.new("RGB", (300, 200), (255, 240, 240)).save(out, "JPEG")
    receipt = upload(nurse, {"ecg.jpg": out.getvalue()}).json()["receipt"]
    assert "picture_not_measured" in nurse.get(f"/receipts/{receipt}").text
    (path,) = cases(reader)
    page = reader.get(path).text
    (address,) = re.findall(r'<img src="(/api/recordings/\w+/shown/picture\.png)"', page)
    answer = reader.get(address)
    assert answer.headers["content-type"] == "image/png"
    with Image.open(io.BytesIO(answer.content)) as shown:
        assert shown.size == (300, 200)
    assert post_report(reader, path, {"text": "Read by eye."}).status_code == 303
    assert "Read by eye." in nurse.get(f"/receipts/{receipt}").text or cases(reader) == []


def test_a_pdf_is_never_opened_among_our_pages(nurse: httpx.Client, reader: httpx.Client) -> None:
    upload(nurse, {"ecg.pdf": PDF})
    (path,) = cases(reader)
    (address,) = re.findall(r'href="(/api/recordings/\w+/shown/document\.pdf)"', reader.get(path).text)
    answer = reader.get(address)
    assert answer.content == PDF
    assert answer.headers["content-disposition"].startswith("attachment")
    assert "object-src 'none'" in answer.headers["content-security-policy"]
    assert reader.get(address.replace("document.pdf", "..%2fx")).status_code in (404, 422)


def test_a_table_that_does_not_say_its_rate_is_said_to_be_one(nurse: httpx.Client) -> None:
    (table,) = FILES["csv"]()
    receipt = upload(nurse, {"ecg.csv": table}).json()["receipt"]
    page = nurse.get(f"/receipts/{receipt}", headers={"accept-language": "en"}).text
    assert "csv_no_" in page
    words = find("csv_no_rate")
    assert words is not None
    assert words.what in page


def test_both_pages_say_that_a_recording_came_twice(nurse: httpx.Client, reader: httpx.Client) -> None:
    first = upload(nurse, {"a.xml": write_aecg(recording())}).json()["receipt"]
    coarse = replace(recording(), signals_mv=np.rint(recording().signals_mv * 200) / 200)
    second = upload(nurse, {"b.xml": write_aecg(coarse)}).json()["receipt"]
    page = nurse.get(f"/receipts/{second}").text
    assert first in page
    assert f'href="/receipts/{first}"' in page
    (path,) = cases(reader)
    assert second in reader.get(path).text
