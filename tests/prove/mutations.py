"""Mutated files: parsed in a bounded process, each gives a product or a coded error, and the pool goes on."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydicom.data import get_testdata_file

from teleread.errors import InputRejected
from teleread.ingest.bounded import BoundedPool
from teleread.ingest.formats import bundle, write_wfdb
from teleread.signal.ecg import simulate

OPTIONS: dict[str, Any] = {"export_key": "00" * 32, "issuer": "village", "utc_offset_minutes": 480}
# what a parser must never need: it would mean that a limit stopped it, not its own checks
LIMITS = {"worker_crashed", "analysis_timeout", "too_much_memory", "too_much_output"}


def mutate(data: bytes, seed: int) -> bytes:
    """A few random faults of the kinds that files really have: bits, bytes, cuts, repeats, inserted lengths."""
    chance = random.Random(seed)
    out = bytearray(data)
    for _ in range(chance.randint(1, 6)):
        # headers decide most, so most faults go there
        at = chance.randrange(min(len(out), 4096) if chance.random() < 0.7 else len(out))
        kind = chance.randrange(5)
        if kind == 0:
            out[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            out[at : at + 4] = chance.choice([b"\xff\xff\xff\xff", b"\0\0\0\0", b"\xff\xff\xff\x7f", b"9999"])
        elif kind == 2:
            del out[at:]
            out = out or bytearray(b"\0")
        elif kind == 3:
            out[at:at] = out[at : at + chance.randrange(1, 64)]
        else:
            del out[at : at + chance.randrange(1, 64)]
            out = out or bytearray(b"\0")
    return bytes(out)


@contextmanager
def mutated_dicom() -> Iterator[Callable[[int], None]]:
    names = ["waveform_ecg.dcm", "CT_small.dcm", "MR_small_RLE.dcm", "examples_rgb_color.dcm"]
    originals = [Path(str(get_testdata_file(name))).read_bytes() for name in names]
    with BoundedPool(workers=2) as pool:
        yield lambda number: check(pool, mutate(originals[number % len(originals)], number), number)


@contextmanager
def mutated_wfdb() -> Iterator[Callable[[int], None]]:
    files = write_wfdb(simulate("normal", 1)[0], "rec")

    def prove(number: int) -> None:
        name = "rec.hea" if number % 4 else "rec.dat"
        check(pool, bundle({**files, name: mutate(files[name], number)}), number)

    with BoundedPool(workers=2) as pool:
        yield prove


def check(pool: BoundedPool, data: bytes, number: int) -> None:
    """The result is a product or a coded error, within two seconds."""
    code = None
    try:
        pool.run("teleread.pipeline.derive:derive", data, OPTIONS, timeout_s=2.0)
    except InputRejected as error:
        code = error.code
    assert code not in LIMITS, (number, code)
