"""``make install`` on a machine that is not as it should be: one clear line that says what to do."""

from __future__ import annotations

import builtins
import importlib.util
import sys
from collections import namedtuple
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture
def install(root: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("install", root / "deploy" / "install.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def refusal(install: ModuleType, capsys: pytest.CaptureFixture[str], environment: Path) -> str:
    assert install.main([str(environment), "requirements.lock"]) == 2
    assert not environment.exists()
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    return said


@pytest.mark.parametrize("version", [(3, 10), (3, 14), (2, 7)])
def test_a_python_that_is_too_old_or_too_new_is_named(
    install: ModuleType,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    version: tuple[int, int],
) -> None:
    monkeypatch.setattr(sys, "version_info", (*version, 0, "final", 0))
    assert "install Python 3.11, 3.12 or 3.13" in refusal(install, capsys, tmp_path / "v")


def test_a_missing_python3_venv_is_named_with_its_remedy(
    install: ModuleType, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without(name: str, *more: Any, **named: Any) -> Any:
        if name == "ensurepip":
            raise ImportError(name)
        return real(name, *more, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    assert "apt-get install python3-venv" in refusal(install, capsys, tmp_path / "v")


def test_a_full_disk_is_named(
    install: ModuleType, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(install.shutil, "disk_usage", lambda _path: usage(1, 1, 5 << 20))
    assert "5 MB free" in refusal(install, capsys, tmp_path / "v")


def test_an_environment_made_from_these_locks_is_left_alone(install: ModuleType, root: Path, tmp_path: Path) -> None:
    lock = str(root / "requirements.lock")
    (tmp_path / "requirements.stamp").write_text(install.fingerprint([lock]))
    assert install.main([str(tmp_path), lock]) == 0


def test_the_locks_hold_hashes_and_no_address(root: Path) -> None:
    for name in ("requirements.lock", "requirements-airflow.lock", "requirements-dev.lock"):
        text = (root / name).read_text()
        assert "://" not in text
        blocks = [block for block in text.replace("\\\n", "").splitlines() if "==" in block]
        assert blocks
        assert all("--hash=sha256:" in block for block in blocks), name


def test_the_locks_agree_with_each_other(root: Path) -> None:
    pinned: dict[str, set[str]] = {}
    for name in ("requirements.lock", "requirements-airflow.lock", "requirements-dev.lock"):
        for line in (root / name).read_text().splitlines():
            if "==" in line:
                package, _, rest = line.partition("==")
                marker = line.partition(";")[2].strip(" \\")
                pinned.setdefault(f"{package} {marker}", set()).add(rest.split()[0])
    assert {package: versions for package, versions in pinned.items() if len(versions) > 1} == {}
