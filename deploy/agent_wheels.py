"""What the one-file agent needs of other people's packages to judge a recording: wheels of the lock, compared with it.

pip fetches them, from wherever this machine's pip fetches; the lock says which versions and which bytes.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

NAMES = ("numpy", "pydicom", "scipy")
LEFT_OUT = re.compile(
    r"""(^|/)(tests|test_files|testing/tests)/
    |\.(pyi|pxd|pyx|h|hpp|c|cpp|lib|a|f90|f|pc)$
    |(^|/)conftest\.py$
    |^scipy/(cluster|datasets|differentiate|fftpack|io|misc|odr)/
    |^numpy/(distutils|_pyinstaller|doc)/
    |^pydicom/(sr|cli)/
    |^pydicom/data/(palettes|charset_files|dicomdirtests)/
    |^[^/]+\.data/
    |\.dist-info/(RECORD|WHEEL|INSTALLER|entry_points\.txt|top_level\.txt)$""",
    re.VERBOSE,
)
"""What no verdict imports; a test compares it with what one does."""

_LINUX = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_24", "manylinux_2_17", "manylinux2014", "manylinux_2_5")
_MARKER = re.compile(
    r"^(python_full_version|python_version|sys_platform|platform_machine) (<=|>=|==|!=|<|>) '([^']*)'$"
)
_MACHINES = {"amd64": "x86_64", "AMD64": "x86_64"}


class CannotFetch(Exception):
    """A sentence for whoever builds."""


@dataclass(frozen=True, slots=True)
class Target:
    """A system and a Python.

    Args:
        system: ``win_amd64``, ``linux_x86_64``, ``macosx_arm64``, …
        python: major and minor version.
    """

    system: str
    python: tuple[int, int]

    @classmethod
    def parse(cls, text: str) -> Target:
        """Read ``win_amd64:3.12``.

        Raises:
            ValueError: with a sentence.
        """
        found = re.fullmatch(
            r"(win_amd64|win_arm64|linux_x86_64|linux_aarch64|macosx_x86_64|macosx_arm64):3\.(\d+)", text
        )
        if found is None:
            raise ValueError(
                f"{text} is no target: say one such as win_amd64:3.12, linux_x86_64:3.11 or macosx_arm64:3.13."
            )
        return cls(found[1], (3, int(found[2])))

    @classmethod
    def here(cls) -> Target:
        """This machine and this Python."""
        system, _, rest = sysconfig.get_platform().partition("-")
        machine = rest.rpartition("-")[2]
        return cls(f"{system}_{machine}", (sys.version_info[0], sys.version_info[1]))

    @property
    def key(self) -> str:
        """As the agent finds it: ``cp312-win_amd64``."""
        return f"cp{self.python[0]}{self.python[1]}-{self.system}"

    @property
    def platforms(self) -> list[str]:
        """Tags that pip knows, the newest first."""
        system, _, machine = self.system.partition("_")
        if system == "linux":
            return [f"{one}_{machine}" for one in _LINUX]
        if system == "macosx":
            return [f"macosx_{major}_0_{machine}" for major in (14, 13, 12, 11)]
        return [self.system]

    def holds(self, marker: str) -> bool:
        """Whether a line of the lock is for this target.

        Raises:
            CannotFetch: a marker that we cannot read.
        """
        system, _, machine = self.system.partition("_")
        facts = {
            "python_full_version": self.python,
            "python_version": self.python,
            "sys_platform": {"win": "win32", "macosx": "darwin"}.get(system, system),
            "platform_machine": _MACHINES.get(machine, machine),
        }
        return any(all(_compare(facts, part.strip()) for part in one.split(" and ")) for one in marker.split(" or "))


def _compare(facts: dict[str, object], text: str) -> bool:
    found = _MARKER.match(text.strip("() "))
    if found is None:
        raise CannotFetch(f"The lock holds a marker that is not understood: {text}")
    mine: object = facts[found[1]]
    theirs: object = tuple(map(int, found[3].split(".")[:2])) if isinstance(mine, tuple) else found[3]
    if found[2] in {"==", "!="}:
        return (mine == theirs) is (found[2] == "==")
    if not isinstance(mine, tuple) or not isinstance(theirs, tuple):
        raise CannotFetch(f"The lock holds a marker that is not understood: {text}")
    return {"<": mine < theirs, "<=": mine <= theirs, ">": mine > theirs, ">=": mine >= theirs}[found[2]]


def locked(lock: Path, target: Target) -> dict[str, tuple[str, frozenset[str]]]:
    """Version and hashes by name, of what :data:`NAMES` is for this target."""
    found: dict[str, tuple[str, frozenset[str]]] = {}
    for entry in re.split(r"\n(?=\S)", lock.read_text(encoding="utf-8")):
        head = re.match(r"([A-Za-z0-9._-]+)==(\S+)(?: ; ([^\\\n]*?))? *\\?\n", entry)
        if head is None or head[1] not in NAMES or (head[3] and not target.holds(head[3].strip())):
            continue
        found[head[1]] = head[2], frozenset(re.findall(r"--hash=sha256:([0-9a-f]{64})", entry))
    missing = set(NAMES) - found.keys()
    if missing:
        raise CannotFetch(f"The lock has no {', '.join(sorted(missing))} for {target.key}.")
    return found


def wheels(lock: Path, target: Target, kept: Path, patience_s: float | None = None) -> list[Path]:
    """The wheels for a target, in ``kept``; fetched where they are not there yet.

    Args:
        patience_s: how long the fetching may take; None for as long as pip tries.

    Raises:
        CannotFetch: with a sentence.
    """
    wanted, folder = locked(lock, target), kept / target.key
    folder.mkdir(parents=True, exist_ok=True)
    found = _there(folder, wanted)
    if len(found) < len(wanted):
        _fetch(wanted, target, folder, patience_s)
        found = _there(folder, wanted)
    missing = wanted.keys() - found.keys()
    if missing:
        raise CannotFetch(f"pip has brought no {', '.join(sorted(missing))} with the lock's hash for {target.key}.")
    return [found[name] for name in sorted(found)]


def _there(folder: Path, wanted: dict[str, tuple[str, frozenset[str]]]) -> dict[str, Path]:
    found = {}
    for path in sorted(folder.glob("*.whl")):
        name, version = path.name.split("-")[:2]
        if name in wanted and wanted[name][0] == version and _sha256(path) in wanted[name][1]:
            found[name] = path
    return found


def _fetch(
    wanted: dict[str, tuple[str, frozenset[str]]], target: Target, folder: Path, patience_s: float | None
) -> None:
    lines = [
        f"{name}=={version} " + " ".join(f"--hash=sha256:{one}" for one in sorted(hashes))
        for name, (version, hashes) in sorted(wanted.items())
    ]
    with tempfile.TemporaryDirectory() as draft:
        only = Path(draft) / "only.lock"
        only.write_text("\n".join(lines) + "\n", encoding="utf-8")
        command = [*_pip(Path(draft)), "download", "--quiet", "--disable-pip-version-check", "--no-input"]
        command += ["--require-hashes", "--no-deps", "--only-binary", ":all:", "--dest", str(folder)]
        command += ["--implementation", "cp", "--python-version", f"{target.python[0]}.{target.python[1]}"]
        for one in target.platforms:
            command += ["--platform", one]
        try:
            done = subprocess.run(
                [*command, "-r", str(only)], capture_output=True, text=True, check=False, timeout=patience_s
            )
        except subprocess.TimeoutExpired as error:
            raise CannotFetch(f"pip has not fetched the wheels for {target.key} in {patience_s:.0f} s.") from error
    if done.returncode:
        why = [line for line in done.stderr.splitlines() if line.startswith("ERROR")][-1:] or ["pip does not work."]
        raise CannotFetch(f"pip cannot fetch the wheels for {target.key}: {why[0]}")


def _pip(draft: Path) -> list[str]:
    """This Python's pip; where it has none, that of an environment made for it."""
    pip = [sys.executable, "-m", "pip"]
    if subprocess.run([*pip, "--version"], capture_output=True, check=False).returncode:
        made = subprocess.run([sys.executable, "-m", "venv", str(draft / "venv")], capture_output=True, check=False)
        if made.returncode:
            raise CannotFetch("This Python has neither pip nor venv; install python3-venv.")
        pip = [str(draft / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python"), "-m", "pip"]
    return pip


def contents(wheel: Path) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of what a verdict needs of a wheel, and its licences."""
    with zipfile.ZipFile(wheel) as archive:
        for name in sorted(archive.namelist()):
            if not name.endswith("/") and not LEFT_OUT.search(name):
                yield name, archive.read(name)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
