"""Mutated files: each gives a record or a coded error within 2 s of CPU and 256 MiB, and never a silently wrong record.

What is silently wrong is told as far as it can be told without the mutation: a sample or rate that is no finite
number, more samples than the bytes could hold, two leads of one name, and of a file that was only cut off anything
but the beginning of what the whole file holds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.data import get_testdata_file

from teleread.errors import InputRejected
from teleread.ingest.bounded import BoundedPool, Product
from teleread.ingest.formats import bundle, read_ecg, sniff, unbundle, write_wfdb
from teleread.ingest.formats.format import Given
from teleread.ingest.parse_limits import CPU_S, parse_limits
from teleread.signal.ecg import simulate
from tests.format_files import FILES, GIVEN, TEXT
from tests.prove.mutate import cut, mend_ishne, mend_scp, mutate, mutate_numbers, mutate_text

OPTIONS: dict[str, Any] = {"export_key": "00" * 32, "issuer": "village", "utc_offset_minutes": 480}
# what a parser must never need: it would mean that a limit stopped it, not its own checks
LIMITS = {"worker_crashed", "analysis_timeout", "too_much_memory", "too_much_output"}

_WALL_S = 60.0  # the CPU time is what is bounded; other processes must not decide
_SAMPLES_PER_BYTE = 64
_MENDS: Mapping[str, Callable[[bytes], bytes]] = {"scp": mend_scp, "ishne": mend_ishne}
_DERIVED_EVERY = 10
_UNSURE_END = frozenset({"csv"})

Proof = Iterator[Callable[[int], None]]
Samples = NDArray[np.float64]


# -- in the bounded process ---------------------------------------------------------------------------------------


def read(payload: bytes, options: Mapping[str, Any]) -> Product:
    """The stored leads of a file as float64, and how long that took."""
    began = time.process_time()
    files = unbundle(payload) if sniff(payload) == "zip" else {"recording": payload}
    given = Given(*options["given"]) if options.get("given") else None
    with parse_limits(len(payload)):
        record = read_ecg(files, given=given)
    return Product(
        {
            "cpu_s": time.process_time() - began,
            "leads": list(record.leads),
            "fs_hz": record.fs_hz,
            "others": [[one.name, one.fs_hz, int(one.samples.size)] for one in record.other_channels],
        },
        {"signals": record.signals_mv.astype("<f8").tobytes()},
    )


# -- the proofs ---------------------------------------------------------------------------------------------------


@contextmanager
def mutated(name: str) -> Proof:
    """Mutations of the files of one format."""
    originals = [bytes(data) for data in FILES[name]()]
    with BoundedPool(workers=1, memory_bytes=1 << 30, preload=("teleread.pipeline.derive", __name__)) as pool:
        options = {"given": GIVEN.get(name)}
        whole = [_read(pool, data, options)[0] for data in originals]
        assert all(whole), name
        yield partial(_prove, pool, name, originals, whole, options)


def _prove(
    pool: BoundedPool,
    name: str,
    originals: Sequence[bytes],
    whole: Sequence[Mapping[str, Samples]],
    options: Mapping[str, Any],
    number: int,
) -> None:
    which = number % len(originals)
    original = originals[which]
    data, is_cut = _mutation(name, original, number)
    leads, code = _read(pool, data, options)
    assert code not in LIMITS, (name, number, code)
    if leads is not None:
        _judge(leads, data, (name, number))
        if is_cut:
            for lead, samples in leads.items():
                before = whole[which].get(lead)
                assert before is not None, (name, number, lead)
                # a number of a table may be cut and still be one
                sure = samples[:-1] if name in _UNSURE_END else samples
                assert begins(before, sure), (name, number, lead)
    if number % _DERIVED_EVERY == 0:
        check(pool, data, number)


def _mutation(name: str, original: bytes, number: int) -> tuple[bytes, bool]:
    if number % 7 == 0:
        return cut(original, number), True
    if name in TEXT:
        return (mutate_text if number % 2 else mutate)(original, number), False
    data = (mutate_numbers if number % 2 else mutate)(original, number)
    mend = _MENDS.get(name)
    return (mend(data) if mend is not None and number % 4 < 2 else data), False


def _read(
    pool: BoundedPool, data: bytes, options: Mapping[str, Any]
) -> tuple[Mapping[str, Samples] | None, str | None]:
    try:
        product = pool.run(f"{__name__}:read", data, dict(options), timeout_s=_WALL_S)
    except InputRejected as error:
        return None, error.code
    facts = product.facts
    assert facts["cpu_s"] <= CPU_S, facts["cpu_s"]
    assert np.isfinite(facts["fs_hz"])
    assert len(set(facts["leads"])) == len(facts["leads"])
    samples = np.frombuffer(product.blobs["signals"], "<f8").reshape(len(facts["leads"]), -1)
    stored = samples.size + sum(size for _, _, size in facts["others"])
    assert stored <= _SAMPLES_PER_BYTE * max(64, len(data)), (stored, len(data))
    return dict(zip(facts["leads"], samples, strict=True)), None


def _judge(leads: Mapping[str, Samples], data: bytes, which: tuple[str, int]) -> None:
    for samples in leads.values():
        assert not np.isinf(samples).any(), which


def begins(before: Samples, samples: Samples) -> bool:
    """Whether ``samples`` are the first of ``before``, those that were cut off being missing."""
    n = min(before.size, samples.size)
    present = np.isfinite(samples[:n])
    return samples.size <= before.size and bool(np.array_equal(samples[:n][present], before[:n][present]))


@contextmanager
def mutated_dicom() -> Proof:
    names = ["waveform_ecg.dcm", "CT_small.dcm", "MR_small_RLE.dcm", "examples_rgb_color.dcm"]
    originals = [Path(str(get_testdata_file(name))).read_bytes() for name in names]
    with BoundedPool(workers=2) as pool:
        yield lambda number: check(pool, mutate(originals[number % len(originals)], number), number)


@contextmanager
def mutated_wfdb() -> Proof:
    files = write_wfdb(simulate("normal", 1)[0], "rec")

    def prove(number: int) -> None:
        name = "rec.hea" if number % 4 else "rec.dat"
        fault = mutate_text if name == "rec.hea" and number % 2 else mutate
        check(pool, bundle({**files, name: fault(files[name], number)}), number)

    with BoundedPool(workers=2) as pool:
        yield prove


def check(pool: BoundedPool, data: bytes, number: int) -> None:
    """The result is a product or a coded error; reading has a limit of its own."""
    code = None
    try:
        pool.run("teleread.pipeline.derive:derive", data, OPTIONS, timeout_s=_WALL_S)
    except InputRejected as error:
        code = error.code
    assert code not in LIMITS, (number, code)


MUTATED: Mapping[str, Callable[[], Any]] = {
    "DICOM": mutated_dicom,
    "WFDB": mutated_wfdb,
    **{name: partial(mutated, name) for name in FILES},
}
"""The proof of each format."""
