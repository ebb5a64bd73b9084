"""The clinic's page over 256 kbit/s: what it weighs, and how soon the verdict is on it after the last byte of an ECG.

    .venv-core/bin/python -m benchmarks.clinic_page [--ecgs 20] [--kbit 256] [--latency-ms 50]

Chromium reaches a real ``teleread serve`` through a proxy on loopback that lets so much through and no more. The last
byte is counted where it leaves the line towards the lead hospital; the verdict, when its words stand on the page.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page

from teleread.ingest.formats import bundle, write_wfdb
from teleread.signal.ecg import simulate
from teleread.storage import accounts
from teleread.testing.line import BadLine, Faults
from tests.lead_hospital import SITE, LeadHospital
from tests.ui.chromium import browser

KBIT = 1000 / 8
PASSWORD = "a bench of oak"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ecgs", type=int, default=20, help="how many are sent (default: 20)")
    parser.add_argument("--kbit", type=int, default=256, help="kbit/s in each direction (default: 256)")
    parser.add_argument("--latency-ms", type=int, default=50, help="of each direction (default: 50)")
    options = parser.parse_args()
    faults = Faults(bytes_per_s=options.kbit * KBIT, latency_s=options.latency_ms / 1000)
    with tempfile.TemporaryDirectory(prefix="teleread-page-") as folder, LeadHospital(Path(folder) / "lead") as lead:
        services = lead.open()
        with services.catalogue.write() as conn:
            accounts.create_account(conn, "bench-nurse", PASSWORD, "uploader", SITE, services.clock())
        services.close()
        with BadLine(lead.port, faults, seed=1) as line, browser() as chromium:
            page = chromium.new_context(viewport={"width": 1366, "height": 768}, locale="en-GB").new_page()
            weigh(page, line)
            verdicts(page, line, Path(folder), options.ecgs)
    return 0


def weigh(page: Page, line: BadLine) -> None:
    """The page from nothing, and once more with what the browser keeps."""
    address = f"http://127.0.0.1:{line.port}"
    page.goto(f"{address}/sign-in")
    page.locator("#name").fill("bench-nurse")
    page.locator("#password").fill(PASSWORD)
    page.keyboard.press("Enter")
    page.locator(".zone").first.wait_for()
    for name, again in (("first", False), ("again", True)):
        if not again:
            page.context.new_cdp_session(page).send("Network.clearBrowserCache")
        before, begun = line.down_bytes, time.monotonic()
        page.goto(f"{address}/upload", wait_until="load")
        page.locator("#plain").wait_for(state="hidden")  # its scripts run
        took = time.monotonic() - begun
        print(f"page, {name}: {(line.down_bytes - before) / 1000:.0f} kB down, ready after {took:.2f} s", flush=True)


def verdicts(page: Page, line: BadLine, folder: Path, count: int) -> None:
    """One urgent ECG after the other; what stands on the page of the one before is taken off."""
    times, clicks, sizes = [], 1, []
    for number in range(count):
        data = bundle(write_wfdb(simulate("normal", number, duration_s=18)[0], "rec"))
        path = folder / f"{number}.zip"
        path.write_bytes(data)
        sizes.append(len(data))
        with passed(line, len(data)) as last_byte:
            with page.expect_file_chooser() as chooser:
                page.locator(".zone.urgent button").click()
            chooser.value.set_files(path)
            page.locator(".card .verdict.green, .card .verdict.amber, .card .verdict.red").wait_for(timeout=120_000)
            shown = time.monotonic()
        times.append(shown - last_byte[0])
        page.locator(".card-done").click()
    times.sort()
    size = statistics.mean(sizes) / 1000
    p95 = times[max(0, -(-95 * len(times) // 100) - 1)]
    print(
        f"verdict on the page after the last byte, {count} ECGs of {size:.0f} kB, {clicks} press each: "
        f"median {statistics.median(times):.2f} s, p95 {p95:.2f} s, longest {times[-1]:.2f} s",
        flush=True,
    )


@contextmanager
def passed(line: BadLine, size: int) -> Iterator[list[float]]:
    """When so many bytes had left the line towards the server; requests count in, so it is a little early."""
    wanted, found, over = line.up_bytes + size, [], threading.Event()

    def watch() -> None:
        while not over.wait(0.002):
            if line.up_bytes >= wanted:
                found.append(time.monotonic())
                return

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()


if __name__ == "__main__":
    raise SystemExit(main())
