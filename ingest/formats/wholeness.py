"""Whether a file came to its end, by what its header declares or by the mark of its end; cheap, and never raises."""

from __future__ import annotations

import re

from teleread.ingest.formats.format import Head

_TAIL_BYTES = 4096
_MAX_TAGS = 10_000
_MFER_END, _MFER_CHANNEL = 0x80, 0x3F
_END_TAG = re.compile(r"</(?:[\w.-]+:)?([A-Za-z_][\w.-]*)\s*>\s*(?:<!--.*?-->\s*|<\?.*?\?>\s*)*\Z", re.DOTALL)
_LONE_TAG = re.compile(r"<(?:[\w.-]+:)?[A-Za-z_][^<>]*/>\s*\Z")


def text_is_whole(data: bytes) -> bool:
    """Whether markup closes its root element, or a JSON object its brace. What is neither counts as whole."""
    head = Head.of(data)
    if head.is_xml:
        # a head without a root within it is a comment of some kilobytes, or a file that has only begun
        return _markup_is_whole(data, head)
    if head.data.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"{":
        return data[-_TAIL_BYTES:].rstrip(b" \t\r\n\x00").endswith(b"}")
    return True


def _markup_is_whole(data: bytes, head: Head) -> bool:
    tail = data[-_TAIL_BYTES:]
    if head.data.startswith((b"\xff\xfe", b"\xfe\xff")):
        if len(data) % 2:
            return False
        order = "utf-16-le" if head.data.startswith(b"\xff\xfe") else "utf-16-be"
        text = tail[len(tail) % 2 :].decode(order, "replace")
    else:
        text = tail.decode("latin-1")
    text = text.rstrip("\x00\x1a \t\r\n")
    closed = _END_TAG.search(text)
    if closed is None:
        return len(data) <= _TAIL_BYTES and bool(_LONE_TAG.search(text))
    return not head.root or closed[1].lower() == head.root


def picture_is_whole(data: bytes, kind: str) -> bool:
    """Whether a ``"pdf"``, ``"png"`` or ``"jpeg"`` has the mark of its end near its end."""
    tail = data[-_TAIL_BYTES:]
    if kind == "pdf":
        return b"%%EOF" in tail
    return b"IEND" in tail if kind == "png" else b"\xff\xd9" in tail


def scp_is_whole(data: bytes) -> bool:
    """SCP-ECG: the record's length stands behind its checksum."""
    return len(data) < 6 or len(data) >= int.from_bytes(data[2:6], "little")


def healforce_is_whole(data: bytes) -> bool:
    """Heal Force: the length stands in the last two bytes of the field."""
    return len(data) < 6 or len(data) >= int.from_bytes(data[4:6], "little")


def edf_is_whole(data: bytes) -> bool:
    """EDF and BDF: the records that the header counts; -1 while the recorder has not said how many."""
    count = _count(data[252:256])
    if len(data) < 256 or count is None:
        return len(data) >= 256
    at = 256 + count * 216
    per_record = [_count(data[k : k + 8]) for k in range(at, at + 8 * count, 8)]
    size, records = _count(data[184:192]), _count(data[236:244])
    if size is None or records is None or len(data) < 256 * (count + 1):
        return size is None or len(data) >= size
    width = 3 if data[0] == 0xFF else 2
    return len(data) >= size + records * width * sum(one or 0 for one in per_record)


def _count(field: bytes) -> int | None:
    text = field.strip(b" \x00")
    return int(text) if text.isdigit() and len(text) <= 8 else None


def ishne_is_whole(data: bytes) -> bool:
    """ISHNE: samples of each lead, behind a header of stated length."""
    if len(data) < 522:
        return False
    samples, start = (int.from_bytes(data[at : at + 4], "little") for at in (14, 22))
    leads = int.from_bytes(data[156:158], "little")
    return len(data) >= start + 2 * samples * leads or samples >= 1 << 31 or leads > 12


def mfer_is_whole(data: bytes) -> bool:
    """MFER: every tag's value is there."""
    at = 0
    for _ in range(_MAX_TAGS):
        if at >= len(data):
            return at == len(data)
        tag, at = data[at], at + 1
        if tag == _MFER_END:
            return True
        at += tag == _MFER_CHANNEL
        length = data[at] if at < len(data) else 0
        at += 1
        if length >= 0x80:
            n = length & 0x7F
            length, at = int.from_bytes(data[at : at + n], "big"), at + n
        at += length
    return True
