"""FHIR as one tree, whether it came as XML or as JSON: a primitive is an element with the attribute ``value``."""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

from teleread.errors import InputRejected
from teleread.ingest.formats.format import Head
from teleread.ingest.formats.markup import MAX_BYTES, MAX_DEPTH, MAX_ELEMENTS, Element, parse
from teleread.ingest.formats.texts import decode, decode_utf16

NAME = "fhir"

_KINDS = ("observation", "bundle")
_RESOURCE = re.compile(r"\"resourceType\"\s*:\s*\"(Observation|Bundle)\"")
_MAX_PLACES = 1_000_000


def tree(data: bytes) -> Element:
    """The resource, named after its type in lower case.

    Raises:
        InputRejected: the codes of :func:`~teleread.ingest.formats.markup.parse`.
    """
    head = Head.of(data)
    return parse(data, NAME) if head.is_xml else _from_json(_text(data))


def recognises(head: Head) -> bool:
    """FHIR's name space in XML, or JSON that names its resource type within the head."""
    if head.is_xml:
        return head.root in _KINDS and (b"hl7.org/fhir" in head.data or b"h\x00l\x007\x00" in head.data)
    start = head.data.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    if start == b"{":
        return _RESOURCE.search(head.data.decode("latin-1")) is not None
    if head.data.startswith((b"\xff\xfe{\x00", b"\xfe\xff\x00{")):
        return _RESOURCE.search(decode_utf16(head.data[2:], head.data[0] == 0xFF)) is not None
    return False


def _text(data: bytes) -> str:
    wide = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    if len(data) > (MAX_BYTES if wide else MAX_BYTES // 2):
        raise InputRejected("fhir_too_large", "The file exceeds the size limit.")
    if wide:
        return decode_utf16(data[2:], data[0] == 0xFF)
    return decode(data.removeprefix(b"\xef\xbb\xbf"))


def _from_json(text: str) -> Element:
    if text.count("{") + text.count("[") > MAX_ELEMENTS or text.count(",") > _MAX_PLACES:
        raise InputRejected("fhir_too_many_elements", "The JSON file has too many elements.")
    try:
        # numbers stay text: nothing is rounded, and no number is too long
        found = json.loads(text.rstrip("\x00 \t\r\n"), parse_int=str, parse_float=str, parse_constant=_no_number)
    except json.JSONDecodeError as e:
        cut = e.pos >= len(e.doc) or e.msg.startswith("Unterminated string")
        raise InputRejected("fhir_truncated" if cut else "fhir_broken", "The JSON file is not well-formed.") from e
    except RecursionError as e:
        raise InputRejected("fhir_too_deep", "The JSON file is nested too deeply.") from e
    if not isinstance(found, dict):
        raise InputRejected("fhir_broken", "The JSON file holds no resource.")
    return _resource(found)


def _no_number(_: str) -> NoReturn:
    raise InputRejected("fhir_broken", "The JSON file holds something that is no number.")


def _resource(found: dict[str, Any]) -> Element:
    root = Element(_type(found), {})
    waiting: list[tuple[Element, dict[str, Any], int]] = [(root, found, 0)]
    made = 0
    while waiting:
        parent, members, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise InputRejected("fhir_too_deep", "The JSON file is nested too deeply.")
        children: list[Element] = []
        for name, value in members.items():
            for one in value if isinstance(value, list) else (value,):
                made += 1
                if made > MAX_ELEMENTS:
                    raise InputRejected("fhir_too_many_elements", "The JSON file has too many elements.")
                child = Element(name[:256].lower(), {} if not isinstance(one, str) else {"value": one})
                children.append(child)
                if isinstance(one, dict):
                    waiting.append((child, one, depth + 1))
                    if "resourceType" in one:
                        # as XML has it: the resource stands within the element that holds it
                        waiting.pop()
                        inner = Element(_type(one), {})
                        child.children = [inner]
                        waiting.append((inner, one, depth + 1))
        parent.children = children
    return root


def _type(found: dict[str, Any]) -> str:
    kind = found.get("resourceType")
    return kind[:256].lower() if isinstance(kind, str) else ""
