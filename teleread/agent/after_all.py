"""``--urgent-after-all``: said on the command line, also while the agent runs, which owns the spool.

What is said becomes a file in ``raise/`` before anything else is done with it; the agent that owns the spool takes it
over, and a word that it has taken over is in the spool. So it survives whichever of both dies.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from teleread.agent.disk import private_folder, read_json, write_json
from teleread.agent.spool import Item, Spool

_FOLDER = "raise"


def find(spool: Spool, what: str) -> Item | None:
    """The recording of a receipt, or of a file that holds the bytes of one of its files."""
    receipt = what.strip().upper()
    for item in spool.items():
        if receipt in item.receipts:
            return item
    path = Path(what)
    if not path.is_file():
        return None
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return next((one for one in spool.items() if sha256 in {file.sha256 for file in one.files}), None)


def say(home: Path, item: Item, at: float) -> None:
    """Write down that it is urgent after all; durable when this returns."""
    private_folder(home / _FOLDER)
    write_json(home / _FOLDER / f"{item.id}.json", {"at": at})


def take_over(home: Path, spool: Spool) -> int:
    """What was said since, into the spool; for its owner. Returns how many words."""
    said = sorted((home / _FOLDER).glob("*.json"))
    for path in said:
        row = read_json(path)
        at = row.get("at") if isinstance(row, dict) else None
        spool.make_urgent(path.stem, at if isinstance(at, float) else path.stat().st_mtime)
        path.unlink(missing_ok=True)
    return len(said)
