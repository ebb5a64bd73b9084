"""What the one-file agent carries to judge a recording on a PC that has only Python: the readers and numpy.

Libraries in C cannot be imported from a zip, so what fits this system and this Python is unpacked once into the agent's
own folder. A folder there is whole or not there: files are written beside it, each compared with its hash, and the
folder gets its name last. It is compared again at each start, and made anew where the disk has damaged it. Run as a
process of its own, so that nothing of this keeps the sending waiting.

``verdict.zip`` inside the agent's file: ``<key>.json`` names the files for one system and Python by hash,
``files/<hash>`` holds their bytes, once for all keys.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import platform
import secrets
import shutil
import sys
import sysconfig
import time
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from teleread.agent.disk import private_folder, renamed
from teleread.agent.lock import try_lock

BUNDLE = "verdict.zip"
FOLDER = "verdict"
NOT_CARRIED, UNUSABLE = "verdict_not_carried", "verdict_unusable"
_PIECE_BYTES = 1 << 20
_LOCK_PAUSE_S = 0.2
_NAMES = 3
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError)


@dataclass(frozen=True, slots=True)
class Carried:
    """The files for one system and Python.

    Args:
        archive: the agent's own file.
        version: follows from all bytes; names the folder.
        files: SHA-256 by path with forward slashes.
    """

    archive: Path
    version: str
    files: Mapping[str, str]


def key() -> str:
    """This system and Python, ``cp312-win_amd64``."""
    system, _, rest = sysconfig.get_platform().partition("-")
    machine = rest.rpartition("-")[2].replace("universal2", platform.machine())
    plain = sys.implementation.name == "cpython" and not sysconfig.get_config_var("Py_GIL_DISABLED")
    python = f"{'cp' if plain else 'other'}{sys.version_info[0]}{sys.version_info[1]}"
    return f"{python}-{system}_{machine}" if machine else f"{python}-{system}"


def find(archive: Path) -> Carried | None:
    """What an agent's file carries for this PC; None where it carries nothing that fits."""
    with contextlib.suppress(OSError, KeyError, ValueError, *_DAMAGED), _bundle(archive) as bundle:
        text = bundle.read(f"{key()}.json")
        files = json.loads(text)["files"]
        if all(_is_inside(name) for name in files):
            return Carried(archive, hashlib.sha256(text).hexdigest()[:16], files)
    return None


def unpacked(carried: Carried, home: Path) -> Path:
    """The folder with those files, whole; made where it is missing or damaged. Folders of other versions go.

    Raises:
        OSError: the disk takes nothing more, or what is carried is damaged itself.
    """
    place = home / FOLDER
    private_folder(place)
    with _alone(place / "lock"):
        # where another process still holds a damaged folder open, Windows does not let it go: the next name is taken
        for n in range(_NAMES):
            folder = place / (carried.version if n == 0 else f"{carried.version}-{n}")
            if folder.exists() and not is_whole(carried, folder):
                with contextlib.suppress(OSError):
                    renamed(folder, place / f"{folder.name}.gone.{secrets.token_hex(4)}")
            if not folder.exists():
                _write(carried, folder)
            if is_whole(carried, folder):
                _clear(place, folder)
                return folder
    raise OSError("what was unpacked does not stay as it was written")


def is_whole(carried: Carried, folder: Path) -> bool:
    """Whether every file is there with its bytes."""
    try:
        return all(_sha256(folder / name) == sha256 for name, sha256 in carried.files.items())
    except OSError:
        return False


def _write(carried: Carried, folder: Path) -> None:
    draft = folder.with_name(f"{folder.name}.part.{secrets.token_hex(4)}")
    try:
        with _bundle(carried.archive) as bundle:
            for name, sha256 in carried.files.items():
                path = draft / name
                path.parent.mkdir(parents=True, exist_ok=True)
                data = bundle.read(f"files/{sha256}")
                if hashlib.sha256(data).hexdigest() != sha256:
                    raise OSError("the agent's file is damaged")
                path.write_bytes(data)
        renamed(draft, folder)
    except (KeyError, *_DAMAGED) as error:
        raise OSError("the agent's file is damaged") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _clear(place: Path, current: Path) -> None:
    """Let older versions go, and what processes that died have left."""
    for other in place.iterdir():
        if other.is_dir() and other != current:
            shutil.rmtree(other, ignore_errors=True)


@contextlib.contextmanager
def _bundle(archive: Path) -> Iterator[zipfile.ZipFile]:
    with zipfile.ZipFile(archive) as outer, outer.open(BUNDLE) as inner, zipfile.ZipFile(inner) as bundle:
        yield bundle


@contextlib.contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Be the only process that changes the folder; the lock ends with the process that holds it."""
    with lock.open("a+b") as file:
        while not try_lock(file.fileno()):
            time.sleep(_LOCK_PAUSE_S)
        yield


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and ":" not in name and "\\" not in name


def main(archive: Path, home: Path) -> int:
    """Print ``{"folder": …}``, or ``{"code": …}`` where there is none."""
    answer: dict[str, Any] = {"code": NOT_CARRIED}
    carried = find(archive)
    if carried is not None:
        try:
            answer = {"folder": str(unpacked(carried, home))}
        except OSError:
            answer = {"code": UNUSABLE}
    sys.stdout.write(json.dumps(answer) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
