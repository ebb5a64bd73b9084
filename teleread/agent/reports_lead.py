"""The lead hospital, asked for reports: which there are, and their files, whole or not at all."""

from __future__ import annotations

import base64
import hashlib
import re
import socket
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from typing import Any

from teleread.agent.lead import LineBroken
from teleread.agent.sound import NotSound
from teleread.agent.standing import KnownLead

AT_ONCE = 64
"""Receipts in one question."""
_BLOCK = 4 << 10
_REFUSAL_BYTES = 64 << 10
_NARROW_BYTES = 32 << 10  # what the system takes from the line ahead of us, where there is a cap
_BEGIN_S = 60.0  # until a sheet is drawn, on a lead hospital that has much to do
_SLOWEST_BYTES_S = 500.0
_STATE = re.compile(r"[0-9A-Za-z]{1,64}\Z")


class GaveWay(Exception):
    """Something more urgent needs the line; nothing was kept."""


class ReportsLead(KnownLead):
    """One connection for reports alone, so that giving way never costs the sending its own."""

    def states(self, receipts: Iterable[str]) -> dict[str, tuple[str, bool]]:
        """By receipt, the word for the state of the report that was given back, and whether it is critical; where there
        is one.

        Raises:
            LineBroken, Refused.
        """
        wanted = list(receipts)[:AT_ONCE]
        body, _ = self._ask("GET", f"/api/receipts/-/reports?of={','.join(wanted)}", {}, b"")
        said: Any = body.get("reports") if isinstance(body, dict) else None
        if not isinstance(said, dict):
            raise LineBroken("answer_not_understood")
        found = {}
        for one in wanted:
            row = said.get(one)
            row = row if isinstance(row, dict) else {}
            word = row.get("state")
            if isinstance(word, str) and _STATE.match(word):
                found[one] = word, row.get("critical") is True
        return found

    def file(
        self, receipt: str, ending: str, language: str, largest: int, gives_way: Callable[[], bool]
    ) -> tuple[bytes, str]:
        """A report's file, whole, and the state that it shows.

        Args:
            gives_way: asked before each block; True ends it.

        Raises:
            GaveWay: nothing was kept.
            LineBroken, Refused.
            NotSound: ``report_too_large``, ``report_damaged``: other bytes than the lead hospital says.
        """
        headers = {"Accept": "*/*", "Accept-Language": language}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        with self._line():
            connection = self._connected(_BEGIN_S)
            connection.request("GET", f"/api/receipts/{receipt}/report.{ending}", headers=headers)
            if self._pace is not None and connection.sock is not None:
                with suppress(OSError):
                    connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _NARROW_BYTES)
            answer = connection.getresponse()
        with closing(answer):
            if answer.status != 200:
                with self._line():
                    refusal = answer.read(_REFUSAL_BYTES)
                self.close()
                raise self._refusal(answer.status, refusal)
            size = answer.length
            if not size or size > largest:
                self.close()
                raise NotSound("report_too_large" if size else "report_not_understood")
            data = self._whole(answer, size, gives_way)
            answered = self._heard(answer)
        digest = base64.b64encode(hashlib.sha256(data).digest()).decode()
        state = answered.get("teleread-report", "")
        if answered.get("repr-digest") != f"sha-256=:{digest}:" or not _STATE.match(state):
            raise NotSound("report_damaged")
        return data, state

    def abort(self) -> None:
        """End what is on its way; from another thread."""
        connection = self._connection
        if connection is not None and connection.sock is not None:
            with suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)

    def _whole(self, answer: Any, size: int, gives_way: Callable[[], bool]) -> bytes:
        """So many bytes, no faster than the cap and no slower than any line that is worth waiting for."""
        slowest = min(_SLOWEST_BYTES_S, self._pace.bytes_s / 4) if self._pace else _SLOWEST_BYTES_S
        ends = self._clock() + _BEGIN_S + size / slowest
        data = bytearray()
        while len(data) < size:
            if gives_way():
                self.close()
                raise GaveWay
            if self._pace is not None:
                self._pace.take(min(_BLOCK, size - len(data)))
            with self._line():
                # one piece of the line at a time: what drips must not outlast the end
                block = answer.read1(min(_BLOCK, size - len(data)))
            if not block or self._clock() > ends:
                self.close()
                raise LineBroken("line_broken")
            data += block
        with self._line():
            answer.read()  # nothing is left; the line is free for the next question
        return bytes(data)
