"""Where a signed report meets the critical loop, inside the transaction in which it is signed."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection

from teleread.reading.reports import Report


def reported(conn: Connection, report: Report, at: datetime) -> None:
    """A version is signed: a critical statement must be acknowledged, a corrected one again.

    It is called for every kind of version, critical or not: a correction may also take a critical statement back.
    ``report.critical_codes`` are its critical statements, ``report.replaces`` is the version that it corrects.

    Until the loop stands there is nothing to write: the clinic's acknowledgement hangs on the report itself.
    """
