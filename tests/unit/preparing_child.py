"""A process of its own that prepares images side by side and says by how many MiB its memory grew.

``python -m tests.unit.preparing_child here|all MB…``: as the web service does, or without its limits.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
from pydicom.data import get_testdata_file

from teleread.alliance import Alliance
from teleread.ingest.bounded import BoundedPool
from teleread.pipeline.fast_lane import prepare_here
from teleread.pipeline.land import land_file
from teleread.pipeline.prepare import prepare
from teleread.pipeline.services import Services
from teleread.storage.catalogue.database import Database
from teleread.storage.objects import SealedStore
from teleread.storage.objects.filesystem import FileBlobs
from teleread.storage.vault import KeyRing, Vault

_LOOK_EVERY_S = 0.005


def image(size: int, seed: int = 0) -> bytes:
    """An image of about so many bytes; another seed is another study."""
    path = get_testdata_file("CT_small.dcm")
    assert isinstance(path, str)
    dataset = pydicom.dcmread(path)
    dataset.StudyInstanceUID = f"{dataset.StudyInstanceUID}.{seed}"
    dataset.SeriesInstanceUID = f"{dataset.SeriesInstanceUID}.{seed}"
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"{dataset.SOPInstanceUID}.{seed}"
    frame = np.random.default_rng(seed).integers(0, 2000, (256, 256)).astype("<i2").tobytes()
    count = max(1, round(size / len(frame)))
    dataset.Rows = dataset.Columns = 256
    dataset.NumberOfFrames, dataset.PixelData = count, frame * count
    buffer = BytesIO()
    dataset.save_as(buffer)
    return buffer.getvalue()


def main(how: str, *sizes_mb: str) -> None:
    """See the module."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        # made by another process: what it took does not count
        make = "import sys; from pathlib import Path; from tests.unit.preparing_child import image;"
        make += "[Path(sys.argv[1], str(n)).write_bytes(image(int(float(mb) * 2**20), n))"
        make += " for n, mb in enumerate(sys.argv[2:])]"
        subprocess.run([sys.executable, "-c", make, folder, *sizes_mb], check=True)
        services = _services(home)
        try:
            ids = [_land(services, home / str(n)) for n in range(len(sizes_mb))]
            assert services.pool
            start = _resident_mib()
            highest, ended = [start], threading.Event()

            def watch() -> None:
                while not ended.wait(_LOOK_EVERY_S):
                    highest.append(max(highest.pop(), _resident_mib()))

            watching = threading.Thread(target=watch)
            watching.start()
            with ThreadPoolExecutor(12) as lane:
                work = prepare_here if how == "here" else prepare
                states = list(lane.map(lambda one: work(services, one), ids))
            ended.set()
            watching.join()
            sys.stdout.write(f"{states} {highest[0] - start:.0f}\n")
        finally:
            services.close()


def _land(services: Services, path: Path) -> str:
    with path.open("rb") as file:
        landed = land_file(
            services, site_id="village", source="web", file=file, clinic_priority="routine", actor="nurse"
        )
    return landed.arrival_id


def _services(home: Path) -> Services:
    def clock() -> datetime:
        return datetime.now(UTC)

    catalogue = Database(f"sqlite:///{home / 'catalogue.db'}")
    catalogue.migrate()
    ring = KeyRing.open(home / "keys.json", clock=clock)
    vault = Vault(f"sqlite:///{home / 'vault.db'}", ring)
    vault.migrate()
    return Services(
        alliance=Alliance("医联体", "Alliance", "0571-0", 480, {}, (), ()),
        catalogue=catalogue,
        store=SealedStore(FileBlobs(home / "objects"), vault.keys),
        ring=ring,
        vault=vault,
        make_pool=lambda: BoundedPool(workers=2, timeout_s=120),
        clock=clock,
        spool_folder=home / "spool",
    )


def _resident_mib() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    raise AssertionError("the kernel says how much memory a process has")


if __name__ == "__main__":
    main(*sys.argv[1:])
