"""What keeps the reading room true to its rules, in every web process: a file that has changed, cases that belong
elsewhere, hours without a reader.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from teleread.pipeline.route import Rerouting
from teleread.pipeline.services import Services
from teleread.reading import alarms, coverage
from teleread.reading_room import ReadingRoom

BROKEN_FILE = "alliance_invalid"
"""Kind of the alarm that the alliance file was changed and is wrong: the rules before it hold on."""

COVERAGE_EVERY = timedelta(hours=1)


class RoomWatch:
    """One process's rounds; call it every few seconds. A round that fails is whole again the next time."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._rerouting = Rerouting(services)
        self._told: tuple[str | None] | None = None  # of what was wrong with the file, once it was told
        self._room: ReadingRoom | None = None
        self._next_coverage: datetime | None = None

    def __call__(self) -> None:
        room = self._services.room  # looks at the file
        self._tell_of_file()
        self._rerouting()
        now = self._services.clock()
        if room is not self._room or self._next_coverage is None or now >= self._next_coverage:
            with self._services.catalogue.write() as conn:
                coverage.watch(conn, room, now)
            self._room, self._next_coverage = room, now + COVERAGE_EVERY

    def _tell_of_file(self) -> None:
        file = self._services.alliance_file
        problem = None if file is None else file.problem
        told = None if problem is None else problem.safe_message
        if self._told == (told,):
            return
        now = self._services.clock()
        with self._services.catalogue.write() as conn:
            if problem is None:
                alarms.clear(conn, [BROKEN_FILE], "alliance", "teleread", now)
            else:
                # not the sentence: it may hold what somebody typed
                alarms.raise_alarm(conn, BROKEN_FILE, "alliance", now, detail={"code": problem.code})
        self._told = (told,)
