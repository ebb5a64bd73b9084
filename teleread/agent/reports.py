"""The reports that the clinic was given back, as files in a folder of its own, and what is known of each.

``<home>/given/<receipt>.json`` says what is there. It is written after the files are whole, and before anything that no
longer holds is put aside; so after a death at any step it is known what is still to do, and nothing half is taken for
whole. In the folder itself lies the newest version of each report alone::

    7K2M-QX9D-0RTB-v1.pdf                       what holds
    8M3N-QX9D-0RTB-v2-CORRECTED.pdf             the kind, where it is none of a plain report
    8M3N-QX9D-0RTB-v2-CORRECTED.json            the same with its signatures, to check
    no-longer-valid/8M3N-QX9D-0RTB-v1-4f1d20aa.pdf

A file that another program holds open cannot be moved on some systems: then a text beside it says that it no longer
holds, until it can.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from teleread.agent.disk import private_folder, read_json, sync_folder, write_json, write_whole
from teleread.agent.sound import KINDS, News

KEPT = 10_000
"""Receipts whose report is followed; the clock of this PC, which may jump by years, ends none."""
ASIDE = "no-longer-valid"
ENDINGS = ("json", "pdf")
_RECORDS = "given"
_RECEIPT = re.compile(r"[0-9A-Z]{1,8}(-[0-9A-Z]{1,8}){1,5}\Z")
_MARK = ".NOT-VALID.txt"
_MARKED = "{name}: 此版本已失效，请勿使用。This version no longer holds: do not use it.\n"
_DRAFT = re.compile(r"[0-9A-Z-]{3,60}-v\d{1,4}(-[A-Z-]+)?\.(json|pdf)(\.NOT-VALID\.txt)?\.\d+\.\d+\.part\Z")


@dataclass(frozen=True, slots=True)
class File:
    """A file of a report, where it was put."""

    path: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Report:
    """What is known of the report under one receipt.

    Args:
        item: of the spool; empty where that is not known any more.
        name: of the recording, as the cart named it.
        news: what the lead hospital says there is.
        state: what the files say; another word than ``news.state`` while newer ones are to be fetched.
        files: by ending; empty while there are none.
        aside: files that no longer hold and are still to be put aside.
        signature: ``good``, ``not_checked``, ``none``; of the files that are here.
        changed_at: when the news came, by the clock of this PC.
        failure: code of why the newer files are not here; empty while there was none.
    """

    receipt: str
    news: News
    item: str = ""
    name: str = ""
    urgent: bool = False
    state: str = ""
    files: Mapping[str, File] = field(default_factory=dict)
    aside: tuple[File, ...] = ()
    signature: str = ""
    changed_at: float = 0.0
    failure: str = ""

    @property
    def is_here(self) -> bool:
        """Whether the files are those of the newest state."""
        return self.state == self.news.state and bool(self.files)

    @property
    def goes_first(self) -> tuple[bool, float]:
        """The order in which reports are shown: critical ones that still hold first, then the newest."""
        return (not self.news.critical or self.news.kind == "withdrawn", -self.changed_at)


def is_receipt(text: object) -> bool:
    """Whether it is a receipt number, so that it may stand in an address and name a file."""
    return isinstance(text, str) and len(text) <= 48 and _RECEIPT.match(text) is not None


class Reports:
    """All reports of an agent; one process at a time owns them, any number of its threads use them.

    Args:
        home: the agent's folder.
        folder: where new files go.
        owner: False to look only.
    """

    def __init__(self, home: Path, folder: Path, *, owner: bool = True) -> None:
        self._records = home / _RECORDS
        self.folder = folder
        self._owner = owner
        self._lock = threading.RLock()
        self._read_once: dict[str, Report] | None = None

    @property
    def _known(self) -> dict[str, Report]:
        """All by receipt; read when first needed, so that nothing that is to be sent waits for it."""
        with self._lock:
            if self._read_once is None:
                if self._owner:
                    self._clear()
                found = map(_read, self._records.glob("*.json"))
                self._read_once = {one.receipt: one for one in found if one is not None}
            return self._read_once

    def find(self, receipt: str) -> Report | None:
        """The report of that receipt."""
        with self._lock:
            return self._known.get(receipt)

    def all(self) -> list[Report]:
        """All reports in the order in which they are shown."""
        with self._lock:
            return sorted(self._known.values(), key=lambda one: one.goes_first)

    def known(self) -> list[Report]:
        """All reports, in no order."""
        with self._lock:
            return list(self._known.values())

    def learn(self, receipt: str, news: News, at: float, *, item: str = "", name: str = "", urgent: bool) -> Report:
        """There is another report than the one here, or the first: what is here no longer holds from now on.

        Raises:
            OSError: it could not be written down.
        """
        if not is_receipt(receipt):
            raise ValueError("not a receipt number")
        with self._lock:
            known = self._known.get(receipt)
            if known is not None and known.news == news:
                return self.put_aside(known)
            found = Report(receipt, news, item, name, urgent, changed_at=at)
            if known is not None:
                found = replace(
                    found,
                    item=item or known.item,
                    name=name or known.name,
                    state=known.state,
                    aside=(*known.aside, *known.files.values()),
                )
            return self.put_aside(self._write(found))

    def put_aside(self, report: Report) -> Report:
        """Move away what no longer holds; what another program holds open is marked, and tried again next time."""
        left = tuple(one for one in report.aside if not _moved(Path(one.path)))
        return report if left == report.aside else self._write(replace(report, aside=left))

    def keep(self, receipt: str, news: News, data: Mapping[str, bytes], signature: str) -> Report:
        """Put the files of this state into the folder; whole or not at all.

        Raises:
            OSError: the disk takes nothing more, or an old file of the same name is open in another program.
        """
        with self._lock:
            known = self.put_aside(self._known[receipt])
            paths = {ending: self.folder / f"{stem(receipt, news)}.{ending}" for ending in ENDINGS}
            if {one.path for one in known.aside} & {str(path) for path in paths.values()}:
                raise PermissionError("an old file of this name is open")
            private_folder(self.folder)
            files = {}
            for ending, path in paths.items():
                write_whole(path, data[ending])
                files[ending] = File(str(path), hashlib.sha256(data[ending]).hexdigest())
            # what a record that the disk has lost knew of
            held = {one.path for one in known.aside} | {str(path) for path in paths.values()}
            stray = [one for one in _of_receipt(self.folder, receipt) if str(one) not in held]
            known = replace(known, aside=(*known.aside, *(File(str(one), "") for one in stray if not _moved(one))))
            done = replace(known, news=news, state=news.state, files=files, signature=signature, failure="")
            self._write(done)
            self._forget_oldest()
            return done

    def failed(self, receipt: str, code: str) -> None:
        """Note why the newer files are not here."""
        with self._lock:
            known = self._known.get(receipt)
            if known is not None and known.failure != code:
                self._write(replace(known, failure=code))

    def read(self, receipt: str, ending: str) -> bytes | None:
        """The bytes of a file that holds and is as it was given; None otherwise. One that was changed or damaged here
        is fetched anew; one that somebody has taken away is not.
        """
        with self._lock:
            known = self._known.get(receipt)
            file = known.files.get(ending) if known is not None and known.is_here else None
        if known is None or file is None:
            return None
        try:
            data = Path(file.path).read_bytes()
        except OSError:
            return None
        if hashlib.sha256(data).hexdigest() == file.sha256:
            return data
        with self._lock:
            if self._known.get(receipt) is known:
                self._write(replace(known, state="", failure="report_changed_here"))
        return None

    def _write(self, report: Report) -> Report:
        private_folder(self._records)
        write_json(self._records / f"{report.receipt}.json", asdict(report))
        self._known[report.receipt] = report
        return report

    def _forget_oldest(self) -> None:
        for one in sorted(self._known.values(), key=lambda one: one.changed_at)[: max(len(self._known) - KEPT, 0)]:
            (self._records / f"{one.receipt}.json").unlink(missing_ok=True)
            del self._known[one.receipt]

    def _clear(self) -> None:
        """Drafts of a process that died while it wrote."""
        for draft in self._records.glob("*.part"):
            draft.unlink(missing_ok=True)
        with suppress(OSError):  # a share that is not there yet: what is to be sent must not wait for it
            for draft in self.folder.glob("*.part"):
                if _DRAFT.match(draft.name):
                    draft.unlink(missing_ok=True)


def stem(receipt: str, news: News) -> str:
    """A file's name without its ending; it names no patient."""
    said = "" if news.kind in {"final", "addendum"} else f"-{news.kind.upper()}"
    return f"{receipt}-v{news.version}{said}{'-IDENTITY-UNDER-CORRECTION' if news.held else ''}"


def shown(report: Report) -> dict[str, Any]:
    """A report as the page, ``--status`` and programs are told of it."""
    files = {ending: file.path for ending, file in report.files.items() if report.is_here and Path(file.path).is_file()}
    state = "here" if len(files) == len(ENDINGS) else "taken_away"
    if not report.is_here:
        state = "newer" if report.state else "coming"
    return {
        "receipt": report.receipt,
        "name": report.name,
        "version": report.news.version,
        "kind": report.news.kind,
        "critical": report.news.critical,
        "identity_under_correction": report.news.held,
        "state": state,
        "signature": report.signature if report.is_here else "",
        "files": files,
        "open_elsewhere": [one.path for one in report.aside],
        "changed_at": report.changed_at,
        "failure": report.failure,
    }


def _of_receipt(folder: Path, receipt: str) -> Iterator[Path]:
    """The report's files in a folder, of whatever version."""
    for ending in ENDINGS:
        yield from folder.glob(f"{receipt}-v[0-9]*.{ending}")


def _moved(path: Path) -> bool:
    """Put a file aside, also one that somebody has written into; False while another program holds it open."""
    if not path.parent.is_dir():
        return False  # a share that is away: it may come back, with the file
    mark = path.with_name(f"{path.name}{_MARK}")
    try:
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        to = path.parent / ASIDE / f"{path.stem}-{sha256[:8]}{path.suffix}"
        private_folder(to.parent)
        path.replace(to)
        sync_folder(to.parent)
        sync_folder(path.parent)
    except FileNotFoundError:
        pass  # moved before a death, or taken away by somebody
    except PermissionError:
        if not mark.exists():
            write_whole(mark, _MARKED.format(name=path.name).encode())
        return False
    mark.unlink(missing_ok=True)
    return True


def _read(path: Path) -> Report | None:
    row = read_json(path)
    try:
        news = News(**row.pop("news"))
        files = {ending: File(**one) for ending, one in row.pop("files").items()}
        aside = tuple(File(**one) for one in row.pop("aside"))
        found = Report(news=news, files=files, aside=aside, **row)
    except (AttributeError, KeyError, TypeError):
        return None  # the disk has damaged it: it is asked for anew, and fetched once more
    return found if found.receipt == path.stem and news.kind in KINDS else None


def newest(reports: Iterable[Report], count: int) -> list[dict[str, Any]]:
    """The first of these as they are shown."""
    return [shown(one) for one in list(reports)[:count]]
