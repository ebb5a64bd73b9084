"""Pulling from a hospital's PACS: C-FIND says what it holds, the ledger what is missing, C-GET fetches it.

Studies are listed down to their instances at every pull, because they appear late and grow; the site's own counts
are hints. An object is answered with success only when it is durable. PS3.4 annex C; C-GET because it needs no
port of ours open at the hospital.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar, cast

from pydicom.dataset import Dataset
from pynetdicom import build_role, evt
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation
from pynetdicom.presentation import PresentationContext

from teleread.alliance import Connection
from teleread.errors import PeerError, TelereadError
from teleread.ingest.sources import dicom_query as query
from teleread.ingest.sources.base import Land, Ledger, PullResult, PullStopped, SourceItem
from teleread.ingest.sources.dicom_query import Series, Study
from teleread.ingest.sources.dimse import BUDGET_SPENT, MAX_ANSWER_BYTES, MAX_ANSWERS, Peer, associate
from teleread.ingest.sources.part10 import dataset_uid, is_uid, part10

MAX_OBJECT_BYTES = 2 << 30

_GROUP = 64  # studies listed before their missing objects are fetched
_CHUNK = 32  # instances asked for by name in one C-GET
_BREAKS_BORNE = 4  # objects that make the peer break off, in one pull

_SUCCESS, _OUT_OF_RESOURCES, _WARNING, _CANNOT_UNDERSTAND = 0x0000, 0xA700, 0xB000, 0xC000

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class _Job:
    """One C-GET: a whole series, or named instances of it."""

    series: Series
    uids: tuple[str, ...]
    whole: bool


@dataclass(slots=True)
class _Tally:
    listed: set[str] = field(default_factory=set)
    held: set[str] = field(default_factory=set)
    landed: int = 0
    known: int = 0
    unreadable: int = 0
    short: int = 0
    refused: dict[str, str] = field(default_factory=dict)
    problem: PeerError | None = None
    complete: bool = False

    def result(self) -> PullResult:
        waiting = len(self.listed - self.held)
        return PullResult(
            listed=len(self.listed),
            landed=self.landed,
            known=self.known,
            waiting=waiting,
            unrecognised=self.unreadable,
            refused=tuple(sorted(self.refused.items())),
            complete=self.complete and not waiting,
            short_studies=self.short,
        )


class DicomSource:
    """A hospital's PACS.

    Args:
        connection: of kind ``dicom``.
        since: aware; studies of earlier days are not listed. None lists everything.
        rng: where the listing of older studies begins, so that a short budget reaches all of them in the end.
        max_object_bytes: a larger object is refused as ``peer_failed``.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        since: datetime | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
        max_object_bytes: int = MAX_OBJECT_BYTES,
    ) -> None:
        self.connection = connection
        self.since = since
        self.monotonic = monotonic
        self.rng = random.Random() if rng is None else rng
        self.max_object_bytes = max_object_bytes

    def pull(self, ledger: Ledger, land: Land, deadline: float) -> PullResult:
        """Fetch what is missing. See ``Source.pull``.

        Raises:
            PullStopped: codes of ``associate``; ``peer_failed`` too when the peer itself says that its list is cut.
        """
        run = _Pull(self, ledger, land, deadline)
        try:
            run.go()
        except PeerError as error:
            run.tally.problem = run.tally.problem or error
        if run.bug is not None:
            raise run.bug
        problem, result = run.tally.problem, run.tally.result()
        if problem is not None and problem.code != BUDGET_SPENT:
            raise PullStopped(problem.code, problem.safe_message, result) from problem
        return result


class _Pull:
    """One pull: listing and fetching take turns, one association at a time."""

    def __init__(self, source: DicomSource, ledger: Ledger, land: Land, deadline: float) -> None:
        self.source = source
        self.connection = source.connection
        self.ledger = ledger
        self.land = land
        self.deadline = deadline
        self.tally = _Tally()
        self.bug: Exception | None = None
        self._job: _Job | None = None
        self._arrived = 0
        self._breaks = 0

    def go(self) -> None:
        studies = self._studies()
        for start in range(0, len(studies), _GROUP):
            wanted = self._missing(studies[start : start + _GROUP])
            for classes, series in query.partition(wanted):
                self._fetch(classes, deque(_jobs(series)))
        self.tally.complete = True

    # Listing

    def _studies(self) -> list[Study]:
        since = None
        if self.source.since is not None:
            # a day more: the hospital's calendar is not ours
            since = f"{self.source.since - timedelta(days=1):%Y%m%d}"
        with self._associate([query.context(query.STUDY_ROOT_FIND)]) as peer:
            found = self._find(peer, query.studies_query(since), query.read_study)
        return query.in_order(list({study.uid: study for study in found}.values()), self.source.rng)

    def _missing(self, studies: Sequence[Study]) -> list[Series]:
        wanted: list[Series] = []
        with self._associate([query.context(query.STUDY_ROOT_FIND)]) as peer:
            for study in studies:
                answers = self._find(
                    peer, query.series_query(study.uid), lambda answer: query.read_uid(answer, query.SERIES_UID)
                )
                series = [self._instances(peer, study.uid, uid) for uid in dict.fromkeys(answers)]
                wanted.extend(one for one in series if one.missing)
                self.tally.short += study.count is not None and study.count > sum(one.size for one in series)
        return wanted

    def _instances(self, peer: Peer, study_uid: str, series_uid: str) -> Series:
        answers = dict(self._find(peer, query.instances_query(study_uid, series_uid), query.read_instance))
        series = Series(study_uid, series_uid, len(answers), {})
        for uid, sop_class in answers.items():
            if uid in self.tally.listed:
                continue  # shown under two series
            self.tally.listed.add(uid)
            row = self.ledger.get(uid)
            if row is not None and row.arrival_id is not None and row.fingerprint == series.fingerprint:
                self.tally.known += 1
                self.tally.held.add(uid)
            else:
                series.missing[uid] = sop_class
        return series

    def _find(self, peer: Peer, identifier: Dataset, read: Callable[[Dataset], _T | None]) -> list[_T]:
        limit = max(1, MAX_ANSWERS - len(self.tally.listed))
        found, unreadable, problem = peer.find(query.STUDY_ROOT_FIND, identifier, read, limit)
        self.tally.unreadable += unreadable
        if problem is not None and problem.code != "peer_failed":
            raise problem
        # what a cut list shows is taken all the same, and the pull says so in the end
        self.tally.problem = self.tally.problem or problem
        return found

    # Fetching

    def _fetch(self, classes: Sequence[str], jobs: deque[_Job]) -> None:
        contexts = [query.context(query.STUDY_ROOT_GET), *query.storage_contexts(classes)]
        roles = [build_role(sop_class, scp_role=True) for sop_class in classes]
        while jobs and self._room():
            with self._associate(contexts, roles=roles, on_store=self._on_store) as peer:
                while jobs and (room := self._room()):
                    job = jobs.popleft()
                    if len(job.uids) > room:
                        jobs.extendleft(reversed(_chunks(job.series, job.uids, room)))
                        continue
                    try:
                        self._get(peer, job)
                    except PeerError as error:
                        jobs.extend(self._after_break(job, error))
                        break

    def _room(self) -> int:
        return 0 if self.bug is not None else max(0, self.connection.max_items - self.tally.landed)

    def _get(self, peer: Peer, job: _Job) -> None:
        self._job, self._arrived, before = job, 0, len(self.tally.held)
        asked = query.retrieve_query(job.series.study_uid, job.series.uid, None if job.whole else job.uids)
        status = peer.get(query.STUDY_ROOT_GET, asked)
        for uid in job.uids:
            if uid not in self.tally.held:
                self.tally.refused.setdefault(uid, "not_sent")
        failed = status != _SUCCESS and status & 0xF000 != _WARNING
        if failed and not self._arrived and len(self.tally.held) == before:
            problem = PeerError("peer_failed", f"The peer ended C-GET with status 0x{status:04X}.")
            self.tally.problem = self.tally.problem or problem

    def _after_break(self, job: _Job, error: PeerError) -> list[_Job]:
        """One object may make a peer break off each time: the others are then asked for one by one, behind all."""
        self._breaks += 1
        if error.code not in ("peer_aborted", "peer_failed", "peer_silent") or self._breaks > _BREAKS_BORNE:
            raise error
        left = [uid for uid in job.uids if uid not in self.tally.held and uid not in self.tally.refused]
        if len(job.uids) == 1:
            self.tally.refused.update(dict.fromkeys(left, error.code))
            return []
        return [_Job(job.series, (uid,), whole=False) for uid in left]

    def _on_store(self, event: evt.Event) -> int:
        """Take in one object; what it returns answers the peer, so success only stands for durable."""
        job = self._job
        self._arrived += 1
        if job is None or self.bug is not None or self._arrived > 2 * len(job.uids) + _CHUNK:
            return _OUT_OF_RESOURCES  # the peer sends on and on what nobody asked for
        request = cast(C_STORE, event.request)
        named, sop_class = str(request.AffectedSOPInstanceUID), str(request.AffectedSOPClassUID)
        if not (is_uid(named) and is_uid(sop_class)) or request.DataSet is None:
            self.tally.unreadable += 1
            return _CANNOT_UNDERSTAND
        syntax = str(event.context.transfer_syntax)
        received = request.DataSet.getbuffer()
        inside = dataset_uid(received, syntax) or named
        if inside != named:
            # kept under its own name; what was asked for stays missing, and is said to be
            self.tally.refused[named] = "other_uid"
        data = part10(sop_class, inside, syntax, received)
        item = SourceItem(inside, job.series.fingerprint, {"instance.dcm": data}, self.connection.default_priority)
        return self._land(item)

    def _land(self, item: SourceItem) -> int:
        try:
            self.ledger.landed(item.key, item.fingerprint, self.land(item))
        except TelereadError as error:
            self.tally.refused[item.key] = error.code
            return _OUT_OF_RESOURCES
        except Exception as error:
            self.bug = error  # pynetdicom swallows a programming error: it is raised again when the pull ends
            raise
        self.tally.refused.pop(item.key, None)
        self.tally.listed.add(item.key)
        if item.key not in self.tally.held:
            self.tally.held.add(item.key)
            self.tally.landed += 1
        return _SUCCESS

    def _associate(
        self,
        contexts: list[PresentationContext],
        *,
        roles: Sequence[SCP_SCU_RoleSelectionNegotiation] = (),
        on_store: Callable[[evt.Event], int] | None = None,
    ) -> AbstractContextManager[Peer]:
        return associate(
            self.connection,
            contexts,
            deadline=self.deadline,
            roles=roles,
            on_store=on_store,
            max_message_bytes=MAX_ANSWER_BYTES if on_store is None else self.source.max_object_bytes,
            monotonic=self.source.monotonic,
        )


def _jobs(wanted: Iterable[Series]) -> list[_Job]:
    jobs: list[_Job] = []
    for series in wanted:
        uids = tuple(series.missing)
        if len(uids) == series.size:
            jobs.append(_Job(series, uids, whole=True))
        else:
            jobs.extend(_chunks(series, uids, _CHUNK))
    return jobs


def _chunks(series: Series, uids: Sequence[str], size: int) -> list[_Job]:
    size = min(size, _CHUNK)
    return [_Job(series, tuple(uids[at : at + size]), whole=False) for at in range(0, len(uids), size)]
