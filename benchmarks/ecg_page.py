"""The ECG page: how long Chromium takes to draw it anew, and the server to filter ten seconds and a page of a day.

    .venv-core/bin/python -m benchmarks.ecg_page [--times 60]

Drawn is what the page draws: paper, grid and twelve leads of 5,000 samples each. A canvas draws when its pixels are
asked for, so one is read after every drawing and its time counts. Of the browser's main thread the CPU time is given,
and the time by the clock, which on a busy machine says more of the machine. The server's times are CPU time too,
without a cache.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from playwright.sync_api import Page

from teleread.ingest.formats import bundle, write_wfdb
from teleread.pipeline import derive
from teleread.reading.tracing import Keys, Tracings
from teleread.signal.ecg import analyse, simulate
from teleread.signal.ecg.views import VIEWS
from teleread.storage import accounts
from tests.lead_hospital import SITE, LeadHospital
from tests.ui.chromium import browser

PASSWORD = "a bench of oak"
DRAW = """async ([name, times]) => {
  const [{ Source }, { arrange }, { draw }, { baselines }] = await Promise.all(['source', 'layout', 'paper', 'baseline']
    .map((part) => import(`/static/js/ecg-${part}.js`)));
  const canvas = document.getElementById('trace'), words = canvas.dataset;
  const known = {arrival: words.arrival, leads: JSON.parse(words.leads), fs: +words.fs, total: +words.total};
  const source = new Source(known), taken = [];
  const recordings = [await source.window(0, 10, 'raw'), await source.window(0, 10, 'diagnostic')];
  for (let n = 0; n < times; n++) {
    const recording = recordings[n % 2], begun = performance.now();
    const set = {name, order: 'standard', rhythm: 'II', speed: 25, gain: 10};
    const layout = arrange(set, recording.leads, 0, 10);
    draw(canvas, recording, layout, {speed: 25, gain: 10, pxPerMm: 96 / 25.4, dpr: devicePixelRatio, room: 260,
      baselinesMv: baselines(recording, 0, 10), doubtful: new Map(), noSignal: '', offScale: '', foot: ['25 mm/s']});
    canvas.getContext('2d').getImageData(0, 0, 1, 1);
    taken.push(performance.now() - begun);
  }
  return taken; }"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=60, help="how often each layout is drawn (default: 60)")
    options = parser.parse_args()
    server()
    with (
        tempfile.TemporaryDirectory(prefix="teleread-ecg-page-") as folder,
        LeadHospital(Path(folder) / "lead") as lead,
    ):
        services = lead.open()
        with services.catalogue.write() as conn:
            for name, role, site in (("bench-nurse", "uploader", SITE), ("bench-reader", "reader", None)):
                accounts.create_account(conn, name, PASSWORD, role, site, services.clock())
        services.close()
        with browser() as chromium:
            for dpr in (1.0, 2.0):
                page = chromium.new_context(
                    viewport={"width": 1366, "height": 768}, device_scale_factor=dpr, locale="en-GB"
                ).new_page()
                redraw(page, f"http://127.0.0.1:{lead.port}", options.times, dpr)
    return 0


def redraw(page: Page, address: str, times: int, dpr: float) -> None:
    """Open a case as a reader does and draw it again and again."""

    def sign_in(name: str) -> None:
        page.context.clear_cookies()
        page.request.post(f"{address}/sign-in", form={"name": name, "password": PASSWORD}, headers={"origin": address})

    sign_in("bench-nurse")
    files = write_wfdb(simulate("normal", 3 + round(dpr))[0], "rec")
    sent = {"file": {"name": "rec.zip", "mimeType": "application/zip", "buffer": bundle(files)}, "urgent": "0"}
    page.request.post(f"{address}/api/upload", multipart=sent, headers={"origin": address})
    sign_in("bench-reader")
    page.goto(f"{address}/worklist")
    page.locator("a.open").first.press("Enter")
    page.locator("#trace[data-drawn]").wait_for()
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})

    def cpu_s() -> float:
        metrics = session.send("Performance.getMetrics")["metrics"]
        return float(next(one["value"] for one in metrics if one["name"] == "TaskDuration"))

    for layout in ("3x4", "12x1"):
        page.evaluate(DRAW, [layout, 3])
        before = cpu_s()
        taken = sorted(page.evaluate(DRAW, [layout, times]))
        cpu_ms = 1000.0 * (cpu_s() - before) / times
        print(
            f"drawn anew, {layout}, device pixel ratio {dpr:g}: {cpu_ms:.1f} ms of CPU; by the clock least "
            f"{taken[0]:.1f} ms, median {statistics.median(taken):.1f} ms"
        )


class _Shelf(dict[str, bytes]):
    """Objects in memory."""

    def get(self, key: str) -> bytes:  # type: ignore[override]
        return self[key]

    def get_range(self, key: str, start: int, length: int) -> bytes:
        return self[key][start : start + length]


def server() -> None:
    """CPU time of one window in each view."""
    for title, record in (
        ("10 s, 500 Hz, 12 leads", simulate("normal", 3)[0]),
        ("10 s of a long one, 250 Hz, 12 leads", simulate("normal", 3, duration_s=600.0, fs_hz=250.0)[0]),
    ):
        blobs = derive._display(record)
        shelf = _Shelf(display=blobs["display.json"], wave=blobs["wave.i16"])
        shelf["analysis"] = json.dumps(analyse(record).to_json()).encode()
        keys, n = Keys("display", "wave", "analysis"), round(10 * record.fs_hz)
        for view in VIEWS:
            taken = []
            for at in range(5):
                tracings = Tracings(shelf)  # type: ignore[arg-type]
                begun = time.process_time()
                tracings.window(keys, at * n if record.duration_s > 60 else 0, n, view).to_bytes()
                taken.append(1000.0 * (time.process_time() - begun))
            print(f"window of {title}, {view}: {np.median(taken):.0f} ms of CPU")


if __name__ == "__main__":
    raise SystemExit(main())
