"""Whether a file that says nothing of its length came to its end: markup, JSON, PDF and pictures."""

from __future__ import annotations

import re

from teleread.ingest.formats.format import Head

_TAIL_BYTES = 4096
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
