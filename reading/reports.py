"""Reports: signed once, never changed; whatever comes later is a version of its own.

A report's life is a table (:data:`LIFE`). How a report is signed stands in ``signing.py``, what is signed in
``documents.py``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, Literal, cast

from sqlalchemy import Connection, Row, select

from teleread.errors import Conflict
from teleread.reading.documents import Bundle, Kind
from teleread.storage import signing_keys
from teleread.storage.catalogue.schema import deliveries, reports

TEXT_LIMIT = 20_000

Stage = Literal["preliminary", "final", "withdrawn"]
KINDS: tuple[Kind, ...] = ("preliminary", "final", "addendum", "corrected", "withdrawn")

LIFE: Mapping[tuple[Stage | None, Kind], Stage] = MappingProxyType(
    {
        (None, "preliminary"): "preliminary",
        (None, "final"): "final",
        ("preliminary", "preliminary"): "preliminary",
        ("preliminary", "final"): "final",
        ("preliminary", "withdrawn"): "withdrawn",
        ("final", "addendum"): "final",
        ("final", "corrected"): "final",
        ("final", "withdrawn"): "withdrawn",
        ("withdrawn", "preliminary"): "preliminary",
        ("withdrawn", "final"): "final",
    }
)
"""From what a case's reports amount to, by a new version, to what they amount to then. The rest does not happen."""

NEEDS_CLAIM = frozenset({"preliminary", "final"})
"""Kinds that only the reader signs who has the case. An addendum, a correction or a withdrawal follows a report that is
out already: nobody has the case then, and it is signed by role."""
NEEDS_REASON = frozenset({"corrected", "withdrawn"})


@dataclass(frozen=True, slots=True)
class Report:
    """A signed version.

    Args:
        text: the plain rendering of the document; of a report from before there were documents, all that there is.
        item_id: the work item under which it was signed.
        replaces: the version that it completes, corrects or withdraws.
        document: canonical JSON, byte for byte as signed; None before there were documents.
    """

    id: str
    case_id: str
    version: int
    text: str
    critical: bool
    signed_by: str
    signed_at: datetime
    kind: Kind = "final"
    item_id: str | None = None
    replaces: str | None = None
    document: str | None = None
    sha256: str | None = None
    signature: str | None = None
    key_id: str | None = None

    @property
    def content(self) -> dict[str, Any] | None:
        """The document's content."""
        return None if self.document is None else cast(dict[str, Any], json.loads(self.document))

    @property
    def statements(self) -> tuple[str, ...]:
        """The codes of its statements."""
        content = self.content
        return () if content is None else tuple(one["code"] for one in content["content"]["statements"])

    @property
    def critical_codes(self) -> tuple[str, ...]:
        """The codes of its statements that are critical values."""
        content = self.content
        said = () if content is None else content["content"]["statements"]
        return tuple(one["code"] for one in said if one["critical"])

    @property
    def signer(self) -> str:
        """The signer as the clinic reads it."""
        content = self.content
        return self.signed_by if content is None else str(content["signer"]["name"])


def after(stage: Stage | None, kind: Kind) -> Stage:
    """What a case's reports amount to after a version of this kind.

    Raises:
        Conflict: ``report_already_final``; ``report_not_final``: there is nothing to complete or to correct.
    """
    found = LIFE.get((stage, kind))
    if found is not None:
        return found
    if kind in NEEDS_CLAIM:
        raise Conflict("report_already_final", "This case has a final report; sign an addendum or a correction.")
    raise Conflict("report_not_final", "There is no final report that this could follow.")


def stage_of(versions: Sequence[Report]) -> Stage | None:
    """What a case's versions amount to.

    Versions of before there was a life may stand in any order; the later one counts then.
    """
    stage: Stage | None = None
    for one in versions:
        named: Stage = "final" if one.kind in {"addendum", "corrected"} else cast(Stage, one.kind)
        stage = LIFE.get((stage, one.kind), named)
    return stage


def in_force(versions: Sequence[Report]) -> tuple[Report | None, tuple[Report, ...]]:
    """The version that holds, and the addenda that came after it."""
    holding: Report | None = None
    addenda: list[Report] = []
    for one in versions:
        if one.kind == "addendum" and holding is not None:
            addenda.append(one)
        else:
            holding, addenda = one, []
    return holding, tuple(addenda)


def report_id(case_id: str, version: int) -> str:
    """The id of a case's n-th version."""
    return hashlib.sha256(f"report\0{case_id}\0{version}".encode()).hexdigest()[:32]


def given_back(conn: Connection, case_id: str) -> bool:
    """Whether a report of the case has been given back."""
    query = (
        select(deliveries.c.report_id)
        .join(reports, reports.c.id == deliveries.c.report_id)
        .where(reports.c.case_id == case_id, deliveries.c.delivered_at.is_not(None))
    )
    return conn.execute(query.limit(1)).first() is not None


def reports_of(conn: Connection, case_id: str) -> list[Report]:
    """All versions of a case's report, oldest first."""
    rows = conn.execute(select(reports).where(reports.c.case_id == case_id).order_by(reports.c.version))
    return [of_row(row) for row in rows]


def of_row(row: Row[Any]) -> Report:
    """A version from its row."""
    return Report(**{name: getattr(row, name) for name in Report.__dataclass_fields__})


def bundles_of(conn: Connection, case_id: str) -> list[tuple[Report, Bundle | None]]:
    """All versions with what is needed to check them; None for one that was signed before there were signatures."""
    return [(one, bundle(conn, one)) for one in reports_of(conn, case_id)]


def bundle(conn: Connection, report: Report) -> Bundle | None:
    """A version with its signature and its signer's public key."""
    if report.document is None or report.key_id is None or report.sha256 is None or report.signature is None:
        return None
    key = signing_keys.by_id(conn, report.key_id)
    return Bundle(
        document=report.document.encode("utf-8"),
        sha256=report.sha256,
        signature=signing_keys.decoded(report.signature),
        algorithm="unknown" if key is None else key.algorithm,
        key_id=report.key_id,
        public_key=b"" if key is None else key.public,
    )
