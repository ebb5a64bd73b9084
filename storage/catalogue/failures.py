"""What a database raises, as the project's errors.

The library's error is not kept as the cause: a driver quotes values ("Key (patient_id)=(...) already exists"), and
a logged traceback prints every cause. The driver's own code, which holds no value, is named instead.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from sqlalchemy.exc import DBAPIError, IntegrityError, TimeoutError

from teleread.errors import StorageError

_SQLITE = (
    ("SQLITE_BUSY", "busy"),
    ("SQLITE_LOCKED", "busy"),
    ("SQLITE_FULL", "full"),
    ("SQLITE_CANTOPEN", "unreachable"),
    ("SQLITE_IOERR", "io"),
    ("SQLITE_CORRUPT", "corrupt"),
    ("SQLITE_NOTADB", "corrupt"),
    ("SQLITE_READONLY", "readonly"),
    ("SQLITE_TOOBIG", "bad_value"),
    ("SQLITE_CONSTRAINT_TRIGGER", "append_only"),
)
_POSTGRES = (  # by the start of the SQLSTATE
    ("08", "unreachable"),
    ("57P", "unreachable"),  # the server is stopping or starting
    ("3D", "unreachable"),
    ("28", "access_denied"),
    ("40", "busy"),  # deadlock, serialisation
    ("55P03", "busy"),  # lock timeout
    ("57014", "busy"),
    ("53100", "full"),
    ("53", "busy"),  # memory, connections
    ("58", "io"),
    ("XX001", "corrupt"),
    ("XX002", "corrupt"),
    ("25006", "readonly"),
    ("22", "bad_value"),
    ("42P01", "unmigrated"),
    ("TR001", "append_only"),  # our own triggers
)
_MESSAGES = {
    "access_denied": "the database does not accept the credentials",
    "append_only": "what stands in the audit, or is signed, is neither changed nor removed",
    "bad_value": "a value does not fit its column",
    "busy": "the database was busy for too long",
    "corrupt": "the database is damaged",
    "full": "no space is left for the database",
    "integrity": "a row does not fit those already there",
    "io": "the database could not read or write its files",
    "readonly": "nothing can be written to the database here",
    "unmigrated": "the database has not been brought up to date",
    "unreachable": "the database does not answer",
}


@contextmanager
def translated(database: str) -> Iterator[None]:
    """Turn database errors into ``StorageError``; what only a wrong statement can cause passes unchanged.

    Args:
        database: ``catalogue`` or ``vault``; the codes are ``<database>_busy`` and so on, each with its message
            below.
    """
    try:
        yield
    except IntegrityError as error:
        raise _failure(database, _code(error) or "integrity", error.orig) from None
    except DBAPIError as error:
        code = _code(error)
        if code is None:
            raise
        raise _failure(database, code, error.orig) from None
    except TimeoutError:
        raise _failure(database, "busy", None) from None


def _code(error: DBAPIError) -> str | None:
    driver = error.orig
    if isinstance(driver, sqlite3.Error):
        name = getattr(driver, "sqlite_errorname", "")
        if name == "SQLITE_ERROR" and str(driver).startswith("no such table"):
            return "unmigrated"
        return next((code for start, code in _SQLITE if name.startswith(start)), None)
    if isinstance(driver, psycopg.Error):
        if driver.sqlstate is None:  # nothing came from a server
            if isinstance(driver, psycopg.OperationalError):
                return "unreachable"
            return "bad_value" if isinstance(driver, psycopg.DataError) else None
        return next((code for start, code in _POSTGRES if driver.sqlstate.startswith(start)), None)
    return None


def _failure(database: str, code: str, driver: BaseException | None) -> StorageError:
    own = getattr(driver, "sqlstate", None) or getattr(driver, "sqlite_errorname", None)
    return StorageError(f"{database}_{code}", _MESSAGES[code] + (f" ({own})" if own else ""))
