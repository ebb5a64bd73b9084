"""Archives that no honest program writes."""

from __future__ import annotations

import io
import random
import stat
import struct
import zipfile
from collections.abc import Iterator

from teleread.ingest.formats import write_wfdb
from teleread.signal.ecg import simulate


def archives(chance: random.Random, *, large: bool = False) -> Iterator[tuple[str, bytes]]:
    """Archives that no honest program writes, by what is wrong with them.

    Args:
        large: a million entries instead of thirty thousand, 2 GB declared by many.
    """
    ecg = write_wfdb(simulate("normal", chance.randrange(1000), duration_s=2.0)[0], "rec")
    good = {"a/rec.hea": ecg["rec.hea"], "a/rec.dat": ecg["rec.dat"], "b/x.pdf": b"%PDF-1.4 " + chance.randbytes(3000)}
    whole = zipped(good)
    yield "many", many(1_000_000 if large else 30_000, chance)
    yield "many, and the end says one", many(300_000 if large else 30_000, chance, says=1)
    yield "zip64 that points elsewhere", lying_zip64(chance)
    yield "nested", zipped({"a.zip": zipped({"b.zip": zipped({"c.zip": whole})}), "d.zip": whole})
    yield "absolute", zipped({"/etc/passwd": b"1", **good})
    yield "upwards", zipped({"../../x": b"1", **good})
    yield "upwards in Windows", zipped({"..\\..\\x": b"1", **good})
    yield "a drive", zipped({"C:\\x": b"1", **good})
    yield "a NUL", whole.replace(b"x.pdf", b"x\0pdf")
    yield "names collide", zipped(good).replace(b"b/x.pdf", b"a/rec.h")
    yield "names collide but for case", zipped({**good, "A/REC.HEA": ecg["rec.hea"]})
    yield "no UTF-8", zipped({**good, "é/1": b"1"}).replace("é".encode(), b"\xff\xfe")
    yield "bomb", zipped({"a": bytes((200 if large else 30) << 20), **good})
    yield "overlap", overlapping(chance, 2000 if large else 200)
    yield "2 GB declared", declared(whole, 2 << 30)
    yield "checksum wrong", damaged(whole)
    yield "encrypted", flagged(whole, 0x1)
    yield "unknown compression", compressed_as(whole, 99)
    yield "cut off", whole[: len(whole) // 2]
    yield "an end and nothing else", b"PK\x05\x06" + bytes(18)
    yield "a second end in its comment", whole[:-2] + struct.pack("<H", 30) + b"PK\x05\x06" + chance.randbytes(26)
    yield "a link", linked(good)
    flipped = bytearray(whole)
    for _ in range(20):
        flipped[chance.randrange(len(flipped))] ^= 1 << chance.randrange(8)
    yield "bits turned over", bytes(flipped)


def zipped(files: dict[str, bytes]) -> bytes:
    """A deflated archive."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def many(count: int, chance: random.Random, says: int | None = None) -> bytes:
    """Empty entries, all of one name; the end may say another number of them."""
    local = b"PK\x03\x04" + struct.pack("<HHHHHIIIHH", 20, 0, 0, 0, 0, 0, 0, 0, 1, 0) + b"a"
    entry = b"PK\x01\x02" + struct.pack("<HHHHHHIIIHHHHHII", 20, 20, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"a"
    local += chance.randbytes(8)
    directory = entry * count
    number = count if says is None else says
    end_64 = b"PK\x06\x06" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, number, number, len(directory), len(local))
    locator = b"PK\x06\x07" + struct.pack("<IQI", 0, len(local) + len(directory), 1)
    end = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    return local + directory + end_64 + locator + end


def lying_zip64(chance: random.Random) -> bytes:
    """A harmless record where the locator points, and another where readers look."""
    data = bytearray(many(30_000, chance))
    harmless = b"PK\x06\x06" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, 1, 1, 47, 39)
    at = data.rindex(b"PK\x06\x07")
    where = data.rindex(b"PK\x06\x06")
    data[where:where] = harmless
    struct.pack_into("<Q", data, at + len(harmless) + 8, where)
    return bytes(data)


def overlapping(chance: random.Random, count: int) -> bytes:
    """Entries that all name the same compressed bytes."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("0", b"%PDF-1.4 " + chance.randbytes(1000) + b"abcdefgh" * 100_000)
    data = out.getvalue()
    start = data.rindex(b"PK\x01\x02")
    entry = data[start : data.rindex(b"PK\x05\x06")]
    entries = b"".join(
        entry[:28] + struct.pack("<H", 5) + entry[30:46] + f"{number:05}".encode() for number in range(count)
    )
    end = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, count, count, len(entries), start, 0)
    return data[:start] + entries + end


def declared(data: bytes, size: int) -> bytes:
    """An archive whose first entry says that it unpacks to ``size``."""
    return _patched(data, 24, struct.pack("<I", size))


def flagged(data: bytes, flag: int) -> bytes:
    """An archive whose first entry has a flag set."""
    return _patched(data, 8, struct.pack("<H", flag))


def compressed_as(data: bytes, method: int) -> bytes:
    """An archive whose first entry names another compression."""
    return _patched(data, 10, struct.pack("<H", method))


def _patched(data: bytes, at: int, value: bytes) -> bytes:
    out = bytearray(data)
    start = out.index(b"PK\x01\x02") + at
    out[start : start + len(value)] = value
    return bytes(out)


def damaged(data: bytes) -> bytes:
    """An archive whose last recording has another checksum than its bytes."""
    out = bytearray(data)
    start = out.rindex(b"PK\x01\x02") + 16
    out[start] ^= 0xFF
    return bytes(out)


def linked(good: dict[str, bytes]) -> bytes:
    """An archive with a symbolic link."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        info = zipfile.ZipInfo("link")
        info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
        for name, data in good.items():
            archive.writestr(name, data)
    return out.getvalue()
