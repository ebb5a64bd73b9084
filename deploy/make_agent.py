"""Build the agent as one file: ``python3 deploy/make_agent.py [--out FILE] [TARGET ...]``.

The file runs on any PC that has Python 3.11 or newer and nothing else: ``python teleread-agent.pyz --help``. For each
target, ``win_amd64:3.12`` for one, it carries what judging a recording needs; without one it carries that for this
machine and this Python, with ``none`` for nobody: then the verdicts come from the lead hospital alone. The same sources
and wheels give the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import stat
import sys
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from deploy.agent_wheels import CannotFetch, Target, contents, wheels  # noqa: E402

_FIXED_DATE = (1980, 1, 1, 0, 0, 0)
_MAIN = b"import sys\nfrom teleread.agent.main import main\nsys.exit(main())\n"
_BUNDLE = "verdict.zip"
_JUDGES = ("teleread/errors.py", "teleread/ingest/*.py", "teleread/ingest/formats/**/*", "teleread/signal/ecg/**/*")
_JUDGES += ("teleread/signal/anonymise/**/*", "teleread/__init__.py")
_JUDGES += tuple(f"teleread/agent/{name}.py" for name in ("__init__", "carried", "disk", "judge", "lock"))


def build(
    out: Path,
    targets: Iterable[Target] = (),
    kept: Path = ROOT / "build" / "wheels",
    patience_s: float | None = None,
) -> Path:
    """Write the file and return its path.

    Args:
        kept: where fetched wheels stay, for the next time.
        patience_s: how long fetching them may take for each target; None for as long as pip tries.

    Raises:
        CannotFetch: the wheels of a target.
    """
    files = {"__main__.py": _MAIN}
    files |= dict(_sources(("teleread/__init__.py", "teleread/agent/**/*")))
    lock = ROOT / "requirements.lock"
    found = {target.key: dict(_judging(wheels(lock, target, kept, patience_s))) for target in targets}
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = out.with_suffix(".part")
    with draft.open("wb") as file:
        file.write(b"#!/usr/bin/env python3\n")
        with zipfile.ZipFile(file, "w") as archive:
            for name, data in sorted(files.items()):
                _put(archive, name, data)
            if found:
                # stored as it is: the agent looks into it without unpacking it
                _put(archive, _BUNDLE, _bundle(found), zipfile.ZIP_STORED)
    draft.chmod(0o755)
    draft.replace(out)
    return out


def _judging(fetched: Sequence[Path]) -> Iterator[tuple[str, bytes]]:
    for wheel in fetched:
        yield from contents(wheel)
    yield from _sources(_JUDGES)


def _sources(patterns: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """Our own files by their names in the package."""
    for pattern in patterns:
        top, _, rest = pattern.partition("/")
        folder, _, below = rest.partition("/")
        # signal and ingest lie beside the package, and are links in it
        place = ROOT / top / folder if below else ROOT / top
        for path in sorted(place.resolve().glob(below or folder)):
            if path.is_file() and "__pycache__" not in path.parts:
                inside = path.relative_to(place.resolve()).as_posix()
                yield (f"{top}/{folder}/{inside}" if below else f"{top}/{inside}"), path.read_bytes()


def _bundle(found: Mapping[str, Mapping[str, bytes]]) -> bytes:
    """As :mod:`teleread.agent.carried` reads it; bytes that several targets share are in it once."""
    buffer, held = io.BytesIO(), set[str]()
    with zipfile.ZipFile(buffer, "w") as archive:
        for key, files in sorted(found.items()):
            hashes = {name: hashlib.sha256(data).hexdigest() for name, data in sorted(files.items())}
            _put(archive, f"{key}.json", json.dumps({"files": hashes}, indent=0).encode())
            for name, sha256 in hashes.items():
                if sha256 not in held:
                    held.add(sha256)
                    _put(archive, f"files/{sha256}", files[name])
    return buffer.getvalue()


def _put(archive: zipfile.ZipFile, name: str, data: bytes, how: int = zipfile.ZIP_DEFLATED) -> None:
    info = zipfile.ZipInfo(name, _FIXED_DATE)
    info.create_system = 3
    info.external_attr = (stat.S_IFREG | 0o644) << 16
    info.compress_type = how
    archive.writestr(info, data)


def main(arguments: Sequence[str] | None = None) -> int:
    """Build what is asked for."""
    parser = argparse.ArgumentParser(description="Build the clinic's agent as one file.")
    parser.add_argument(
        "targets", nargs="*", metavar="TARGET", help="such as win_amd64:3.12 (default: this PC); or none"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "teleread-agent.pyz", metavar="FILE")
    options = parser.parse_args(arguments)
    try:
        asked = [] if options.targets == ["none"] else [Target.parse(one) for one in options.targets] or [Target.here()]
        made = build(options.out, asked)
    except (CannotFetch, ValueError) as error:
        words = f"teleread: {error}\nWithout verdicts on the clinic's PC it is built by: make agent FOR=none"
        print(words, file=sys.stderr)
        return 2
    size = made.stat().st_size / 1e6
    keys = ", ".join(one.key for one in asked) or "none"
    print(f"{made} ({size:.1f} MB); verdicts without a line: {keys}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
