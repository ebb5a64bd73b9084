"""Faults at the clients' boundary, set in a process that is thrown away.

Full databases and files stay full until they have been met twice; then space returns. Requests, statements and
commits fail at a number, once or for a while.
"""

from __future__ import annotations

import io
import resource
import signal
from typing import Any

import psycopg
import urllib3
import urllib3.connectionpool
from sqlalchemy import Engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.pool import Pool

from teleread.pipeline.services import Services
from tests.fault.world import administration

_UNLIMITED_PAGES = 1 << 30
_MEETINGS = 2

ANSWERS = ("reset", "timeout", "lost", "500", "503", "507")
"""What may happen to a request: the connection ends, no answer in time, done and the answer lost, an error."""


class _Present:
    """The faults of this process."""

    def __init__(self) -> None:
        self.request: dict[str, Any] = {}
        self.met = 0
        self.over = False
        self.seen = 0


_now = _Present()


def passed(_: str) -> None:
    """No step is numbered here."""


def set_up(request: dict[str, Any]) -> None:
    """Remember which fault is wanted, and set it where connections are made."""
    _now.request = request
    kind = request.get("fault")
    if kind == "pages":
        event.listen(Engine, "connect", lambda connection, _: _limit_pages(connection))
        event.listen(Pool, "checkout", lambda connection, *_: _limit_pages(connection))
    elif kind == "request":
        _fail_requests()
    elif kind in ("statement", "commit", "lost commit"):
        _fail_postgres(kind)


def begin(request: dict[str, Any], services: Services) -> None:
    """Set what needs the services to be open."""
    kind = request.get("fault")
    if kind == "file size":
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(request["at"]), resource.RLIM_INFINITY))
    elif kind == "full":
        _table(
            "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'no space' USING ERRCODE = '53100'; END $$"
        )
        _table(f"CREATE TRIGGER full_disk BEFORE INSERT OR UPDATE ON {request['at']} EXECUTE FUNCTION full_disk()")


def mend() -> None:
    """Told of each failure; after some of them the cause goes away."""
    _now.met += 1
    if _now.met >= _MEETINGS:
        _end()


def end(services: Services) -> None:
    """The fault is over, met or not."""
    _end()


def _end() -> None:
    if _now.over:
        return
    _now.over = True
    kind = _now.request.get("fault")
    if kind == "file size":
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    elif kind == "full":
        _table("DROP FUNCTION full_disk() CASCADE")


def _limit_pages(connection: Any) -> None:
    """As if the disk had only so many pages left; SQLite never limits below what is there."""
    database = {str(row[2]) for row in connection.execute("PRAGMA database_list")}
    if any(name.endswith(f"{_now.request['of']}.db") for name in database):
        limit = _UNLIMITED_PAGES if _now.over else int(_now.request["at"])
        connection.execute(f"PRAGMA max_page_count = {limit}")


def _now_is(often: int) -> bool:
    """Whether this is the n-th time, or one of those that follow."""
    _now.seen += 1
    at = int(_now.request["at"])
    return not _now.over and at <= _now.seen < at + often


def _fail_requests() -> None:
    pool: Any = urllib3.connectionpool.HTTPConnectionPool
    ask = pool._make_request
    how = _now.request["how"]

    def make_request(self: Any, connection: Any, method: str, url: str, *rest: Any, **named: Any) -> Any:
        if not _now_is(int(_now.request.get("often", 1))):
            return ask(self, connection, method, url, *rest, **named)
        if how == "reset":
            raise urllib3.exceptions.ProtocolError("Connection aborted.", ConnectionResetError(104, "reset by peer"))
        if how == "timeout":
            raise urllib3.exceptions.ReadTimeoutError(self, url, "read timed out")
        if how == "lost":
            ask(self, connection, method, url, *rest, **named).drain_conn()
            raise urllib3.exceptions.ProtocolError("Connection aborted.", ConnectionResetError(104, "reset by peer"))
        named["response_conn"] = None
        return _refusal(int(how), method, url)

    pool._make_request = make_request


def _refusal(status: int, method: str, url: str) -> urllib3.HTTPResponse:
    code = {500: "InternalError", 503: "SlowDown", 507: "InsufficientStorage"}[status]
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>no</Message></Error>".encode()
    return urllib3.HTTPResponse(
        body=io.BytesIO(b"" if method == "HEAD" else body),
        status=status,
        headers={"content-type": "application/xml", "content-length": str(len(body))},
        preload_content=False,
        request_method=method,
        request_url=url,
    )


def _fail_postgres(kind: str) -> None:
    often = int(_now.request.get("often", 1))

    def before_statement(connection: Any, *_: object) -> None:
        if _now_is(often):
            _end_backend(connection.connection.dbapi_connection)

    if kind == "statement":
        event.listen(Engine, "before_cursor_execute", before_statement)
        return
    commit: Any = DefaultDialect.do_commit

    def do_commit(self: DefaultDialect, connection: Any) -> None:
        hit = _now_is(often)
        if hit and kind == "commit":
            _end_backend(connection.dbapi_connection)
        commit(self, connection)
        if hit and kind == "lost commit":
            _end_backend(connection.dbapi_connection)
            raise psycopg.OperationalError("server closed the connection unexpectedly")

    DefaultDialect.do_commit = do_commit  # type: ignore[method-assign]


def _end_backend(connection: Any) -> None:
    with administration(_now.request["world"]["catalogue_url"]) as beside:
        beside.execute("SELECT pg_terminate_backend(%s, 5000)", [connection.info.backend_pid])


def _table(statement: str) -> None:
    address = make_url(_now.request["world"]["catalogue_url"])
    with psycopg.connect(
        host=address.host, port=address.port, user=address.username, dbname=address.database, autocommit=True
    ) as connection:
        connection.execute(statement)
