"""Documents: one form, a hash and a signature that fit nothing else, and a check that needs nobody."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from teleread.errors import InputRejected
from teleread.reading import documents
from teleread.reading.documents import Bundle, as_file, canonical, check_all, fixed, parse, read_file
from teleread.storage import signers, signing_keys

NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,7}", fullmatch=True)
LEAVES = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4), max_leaves=12
)
PEN = signing_keys.new_pen("reader")
SCHEME = signers.signer("ed25519")


@given(VALUES)
def test_the_canonical_form_reads_back_and_is_its_own_canonical_form(value: Any) -> None:
    data = canonical(value)
    assert json.loads(data) == value
    assert canonical(json.loads(data)) == data


@given(st.dictionaries(NAMES, VALUES, max_size=6), st.randoms())
def test_the_order_in_which_a_document_was_made_does_not_show(value: dict[str, Any], random: Any) -> None:
    names = list(value)
    random.shuffle(names)
    assert canonical({name: value[name] for name in names}) == canonical(value)


@pytest.mark.parametrize("value", [1.0, float("nan"), 2**53 + 1, b"x", {"A": 1}, {1: 2}, {"a": {"b": 0.1}}, "\ud800"])
def test_what_has_no_one_form_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r"document|surrogates"):
        canonical(value)


def test_escapes_are_the_shortest() -> None:
    assert canonical({"t": '\x00\x1f\n"\\/é心\u2028'}) == '{"t":"\\u0000\\u001f\\n\\"\\\\/é心\u2028"}'.encode()


@pytest.mark.parametrize(
    ("value", "places", "text"),
    [
        (0.125, 2, "0.12"),
        (-0.001, 2, "0.00"),
        (1e-9, 3, "0.000"),
        (396.4, 0, "396"),
        (397.5, 0, "398"),
        (-30.0, 0, "-30"),
    ],
)
def test_decimals_have_fixed_places(value: float, places: int, text: str) -> None:
    assert fixed(value, places) == text


def signed(version: int, replaces: Bundle | None = None, receipt: str = "AAAA-BBBB-CCCC", **more: Any) -> Bundle:
    body = {
        "format": documents.FORMAT,
        "report": {
            "id": f"{version:032x}",
            "kind": "final" if replaces is None else "corrected",
            "version": version,
            "replaces": None if replaces is None else {"id": "x", "version": version - 1, "sha256": replaces.sha256},
        },
        "case": {"receipt": receipt},
        "signer": {"account": "reader"},
        "times": {"signed": "2026-11-01T02:00:00.000Z"},
        **more,
    }
    return bundle_of(canonical(body))


def bundle_of(document: bytes) -> Bundle:
    public = SCHEME.public_of(PEN.private)
    return Bundle(document, hashlib.sha256(document).hexdigest(), PEN.sign(document), "ed25519", PEN.key_id, public)


def test_a_whole_chain_is_sound_and_survives_its_file() -> None:
    first = signed(1)
    chain = [first, signed(2, first)]
    assert read_file(as_file(chain)) == chain
    assert [one.faults for one in check_all(read_file(as_file(chain)))] == [(), ()]
    assert [one.version for one in check_all(chain)] == [1, 2]


@given(st.data())
def test_any_changed_byte_of_the_document_is_found(data: st.DataObject) -> None:
    bundle = signed(1, text="Sinus rhythm.")
    place = data.draw(st.integers(0, len(bundle.document) - 1))
    other = data.draw(st.integers(0, 255).filter(lambda byte: byte != bundle.document[place]))
    changed = bundle.document[:place] + bytes([other]) + bundle.document[place + 1 :]
    (found,) = check_all([replace(bundle, document=changed)])
    assert {"document_hash", "signature_wrong"} <= set(found.faults)


def test_a_hash_that_was_written_anew_does_not_help() -> None:
    bundle = signed(1)
    changed = bundle.document.replace(b"reader", b"READER")
    (found,) = check_all([replace(bundle, document=changed, sha256=hashlib.sha256(changed).hexdigest())])
    assert found.faults == ("signature_wrong",)


def test_another_key_under_the_same_name_is_found() -> None:
    bundle, other = signed(1), signing_keys.new_pen("reader")
    forged = replace(bundle, public_key=SCHEME.public_of(other.private), signature=other.sign(bundle.document))
    assert check_all([forged])[0].faults == ("key_mismatch",)


def test_the_same_content_in_another_form_is_found() -> None:
    bundle = signed(1)
    loose = bundle_of(json.dumps(json.loads(bundle.document)).encode())
    assert check_all([loose])[0].faults == ("document_not_canonical",)
    twice = bundle_of(bundle.document.replace(b'{"case"', b'{"case":{},"case"'))
    assert check_all([twice])[0].faults == ("document_not_canonical",)


def test_a_version_that_is_missing_or_of_another_case_breaks_the_chain() -> None:
    first = signed(1)
    second = signed(2, first)
    assert check_all([second])[0].faults == ("chain_broken",)
    assert check_all([second, first])[1].faults == ("chain_broken",)
    foreign = [first, signed(2, first, receipt="DDDD-EEEE-FFFF")]
    assert check_all(foreign)[1].faults == ("chain_broken",)


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"\xff", b'{"format":"teleread-report","x":1.5}', b"[" * 100_000])
def test_what_is_no_document_is_said_to_be_none(data: bytes) -> None:
    with pytest.raises(InputRejected):
        parse(data)
    with pytest.raises(InputRejected, match="bundle_unreadable"):
        read_file(data)


def test_a_signature_that_is_no_base64_is_no_bundle() -> None:
    body = json.loads(as_file([signed(1)]))
    body["versions"][0]["signature"] = "!" + base64.b64encode(b"x").decode()
    with pytest.raises(InputRejected, match="bundle_unreadable"):
        read_file(json.dumps(body).encode())
