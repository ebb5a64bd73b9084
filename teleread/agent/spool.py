"""What the agent holds: every recording on disk before anything else is done with it, until it is acknowledged.

``items/<id>/item.json`` says what a recording is and how far it has come, ``items/<id>/<n>`` are its files. An id
follows from the bytes, so the same recording written twice is one item.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from teleread.agent.disk import read_json, sync_folder, write_json, write_whole

State = Literal["queued", "sent", "refused"]
"""``queued``: to be sent or on its way. ``sent``: acknowledged. ``refused``: the lead hospital will never take it."""


@dataclass(frozen=True, slots=True)
class File:
    """One file of a recording."""

    name: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class Item:
    """One recording.

    Args:
        seen_at: seconds since 1970 by the clock of this PC, when it was taken.
        form: what the clinic says about the patient's state, by field.
        verdict: of the quality, as the agent or the lead hospital judged it; empty while nobody has.
        failure: code of the last refusal or failure; empty while there was none.
        number: counts what was taken; the clock may jump by years.
        raising_since: when the clinic said of what was sent that it is urgent after all; 0 while the lead hospital
            need not be told.
        raised_at: when the lead hospital was told so.
    """

    id: str
    files: tuple[File, ...]
    urgent: bool
    seen_at: float
    state: State = "queued"
    receipts: tuple[str, ...] = ()
    verdict: Mapping[str, Any] = field(default_factory=dict)
    form: Mapping[str, str] = field(default_factory=dict)
    failure: str = ""
    sent_at: float = 0.0
    number: int = 0
    raising_since: float = 0.0
    raised_at: float = 0.0

    @property
    def size(self) -> int:
        """Of all its files, in bytes."""
        return sum(one.size for one in self.files)

    @property
    def order(self) -> tuple[bool, int, float]:
        """Urgent first, then as they came, whatever the clock of this PC did meanwhile."""
        return (not self.urgent, self.number, self.seen_at)


class Spool:
    """The folder of recordings; one process at a time owns it, any number of its threads use it.

    Args:
        owner: False to look only, beside the process that owns it.
    """

    def __init__(self, folder: Path, *, owner: bool = True) -> None:
        self.folder = folder
        self._owner = owner
        self._lock = threading.RLock()
        self.changed = threading.Condition(self._lock)
        if owner:
            (folder / "items").mkdir(parents=True, exist_ok=True)
        self._items = {item.id: item for item in self._read_all()}

    def add(self, files: Mapping[str, bytes], *, urgent: bool, seen_at: float) -> Item:
        """Keep a recording; durable when this returns. One that is here already may become urgent."""
        parts = tuple(File(name, hashlib.sha256(data).hexdigest(), len(data)) for name, data in sorted(files.items()))
        return self._add(parts, urgent, seen_at, lambda n, to: write_whole(to, files[parts[n].name]))

    def add_paths(self, paths: Mapping[str, Path], *, urgent: bool, seen_at: float) -> Item:
        """As :meth:`add`, for files too large to be held in memory.

        Raises:
            OSError: a file cannot be read, or changed while it was.
        """
        parts = tuple(File(name, *_measure(path)) for name, path in sorted(paths.items()))

        def copy(n: int, to: Path) -> None:
            _copy(paths[parts[n].name], to, parts[n])

        return self._add(parts, urgent, seen_at, copy)

    def _add(self, parts: tuple[File, ...], urgent: bool, seen_at: float, copy: Any) -> Item:
        item = Item(_identify(parts), parts, urgent, seen_at)
        with self.changed:
            known = self._items.get(item.id)
            if known is not None and not (known.state == "refused" or (urgent and not known.urgent)):
                return known
            place = self.folder / "items" / item.id
            place.mkdir(exist_ok=True)
            if known is None or known.state != "queued":
                for n in range(len(parts)):
                    copy(n, place / str(n))
                sync_folder(place.parent)
            # what was sent as routine and comes again as urgent is announced again: the lead hospital raises it
            if known is not None:
                return self._keep(replace(known, urgent=urgent or known.urgent, state="queued", failure=""))
            number = max((one.number for one in self._items.values()), default=0) + 1
            return self._keep(replace(item, number=number))

    def update(self, identifier: str, **changes: Any) -> Item | None:
        """Write down what has changed; None when the item is gone."""
        with self.changed:
            item = self._items.get(identifier)
            return None if item is None else self._keep(replace(item, **changes))

    def make_urgent(self, identifier: str, at: float) -> Item | None:
        """It is urgent after all; durable when this returns. The lead hospital is told of what was sent already; said
        twice is said once.
        """
        with self.changed:
            item = self._items.get(identifier)
            if item is None or item.urgent or item.state == "refused":
                return item
            return self._keep(replace(item, urgent=True, raising_since=at if item.state == "sent" else 0.0))

    def told(self, item: Item, at: float, failure: str = "") -> None:
        """The lead hospital has heard that it is urgent after all, or has said that it cannot be told."""
        self.update(item.id, raising_since=0.0, raised_at=0.0 if failure else at, failure=failure)

    def acknowledged(self, item: Item, receipts: Iterable[str], at: float) -> None:
        """The lead hospital holds the bytes under these receipts: ours may go, and go after that is written down."""
        with self.changed:
            current = self._items[item.id]
            if current.urgent and not item.urgent:
                # it became urgent while it was sent as routine: it is announced again, and the lead hospital raises it
                self._keep(replace(current, receipts=tuple(receipts)))
                return
            sent = self._keep(replace(current, state="sent", receipts=tuple(receipts), failure="", sent_at=at))
            self._drop_bytes(sent)

    def _drop_bytes(self, item: Item) -> None:
        for n in range(len(item.files)):
            self.path(item, n).unlink(missing_ok=True)

    def path(self, item: Item, n: int) -> Path:
        """Where the bytes of one of its files are."""
        return self.folder / "items" / item.id / str(n)

    def has_bytes(self, item: Item) -> bool:
        """Whether the disk still has all files of an item."""
        return all(self.path(item, n).exists() for n in range(len(item.files)))

    def is_sound(self, item: Item) -> bool:
        """Whether the bytes of an item are still those that were taken."""
        try:
            return all(_measure(self.path(item, n)) == (one.sha256, one.size) for n, one in enumerate(item.files))
        except OSError:
            return False

    def find(self, identifier: str) -> Item | None:
        """The item of that id."""
        with self._lock:
            return self._items.get(identifier)

    def items(self) -> list[Item]:
        """All items in the order of sending."""
        with self._lock:
            return sorted(self._items.values(), key=lambda one: one.order)

    def queued(self) -> list[Item]:
        """What is to be sent, in order."""
        return [one for one in self.items() if one.state == "queued"]

    def to_tell(self) -> list[Item]:
        """What was sent and became urgent since, the earliest word first."""
        return sorted((one for one in self.items() if one.raising_since), key=lambda one: one.raising_since)

    def forget_sent(self, before: float, stays: Callable[[Item], bool] = lambda _: False) -> int:
        """Forget what was acknowledged before then, but for what ``stays``; returns how many."""
        with self.changed:
            old = [one for one in self._items.values() if one.state == "sent" and one.sent_at < before]
            old = [one for one in old if not one.raising_since and not stays(one)]
            for one in old:
                shutil.rmtree(self.folder / "items" / one.id, ignore_errors=True)
                del self._items[one.id]
            return len(old)

    def _keep(self, item: Item) -> Item:
        write_json(self.folder / "items" / item.id / "item.json", asdict(item))
        self._items[item.id] = item
        self.changed.notify_all()
        return item

    def _read_all(self) -> list[Item]:
        found = []
        places = (self.folder / "items").iterdir() if (self.folder / "items").is_dir() else ()
        for place in places:
            item = _read(place)
            if item is None and self._owner:
                item = self._without_item(place)
            if item is None:
                continue
            found.append(item)
            if self._owner:
                for draft in place.glob("*.part"):
                    draft.unlink()  # of a process that died while it wrote
                if item.state == "sent":
                    self._drop_bytes(item)  # it died between the acknowledgement and this
        return found

    def _without_item(self, place: Path) -> Item | None:
        """What is to become of bytes of which nothing is written down, or nothing that can be read."""
        if not (place / "item.json").exists():
            # cut short before it was written down: nobody was told of it, and it is still in its own folder
            shutil.rmtree(place, ignore_errors=True)
            return None
        # the disk has damaged what was written down. The bytes may be the only ones: a single file is sent, since its
        # hash says that it is whole; of several it is not known which they are, and a person must look
        if (place / "0").exists() and not (place / "1").exists():
            sha256, size = _measure(place / "0")
            file = File("recording", sha256, size)
            if _identify((file,)) == place.name:
                item = Item(place.name, (file,), True, (place / "0").stat().st_mtime)
                write_json(place / "item.json", asdict(item))
                return item
        aside = self.folder / "damaged"
        aside.mkdir(exist_ok=True)
        os.replace(place, aside / place.name)
        return None


def _identify(parts: tuple[File, ...]) -> str:
    names = "\n".join(f"{one.sha256} {one.size} {one.name if len(parts) > 1 else ''}" for one in parts)
    return hashlib.sha256(names.encode()).hexdigest()[:32]


def _read(place: Path) -> Item | None:
    row = read_json(place / "item.json")
    try:
        files = tuple(File(**one) for one in row.pop("files"))
        return Item(files=files, receipts=tuple(row.pop("receipts")), **row)
    except (AttributeError, KeyError, TypeError):
        return None


def _measure(path: Path) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
            size += len(piece)
    return digest.hexdigest(), size


def _copy(source: Path, to: Path, expected: File) -> None:
    draft = to.with_name(f"{to.name}.part")
    digest = hashlib.sha256()
    with source.open("rb") as reader, draft.open("wb") as writer:
        while piece := reader.read(1 << 20):
            digest.update(piece)
            writer.write(piece)
        writer.flush()
        os.fsync(writer.fileno())
    if digest.hexdigest() != expected.sha256:
        draft.unlink()
        raise OSError("the file changed while it was read")
    os.replace(draft, to)
