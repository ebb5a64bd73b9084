"""The folder ``signal`` at the root never hides the standard library's module of that name."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ASK = "import signal; assert 'teleread' not in (signal.__file__ or ''), signal.__file__; signal.SIGTERM"


def run(command: list[str], cwd: Path, **variables: str) -> str:
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_signal_is_a_namespace_and_has_no_init(root: Path) -> None:
    assert not (root / "signal" / "__init__.py").exists()


def test_python_from_the_root_gets_the_standard_library(root: Path) -> None:
    run([sys.executable, "-c", ASK], root)


def test_pytest_from_the_root_gets_the_standard_library(root: Path, tmp_path: Path) -> None:
    check = tmp_path / "test_probe.py"
    uses = "import asyncio, subprocess\n    asyncio.run(asyncio.sleep(0))"
    check.write_text(f"def test_probe():\n    {ASK}\n    {uses}\n")
    out = run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(check)], root)
    assert "1 passed" in out


def test_uvicorn_from_the_root_gets_the_standard_library(root: Path, tmp_path: Path) -> None:
    (tmp_path / "probe_app.py").write_text(f"{ASK}\nimport uvicorn.server\nasync def app(scope, receive, send): ...\n")
    check = "import uvicorn; uvicorn.Config('probe_app:app').load(); print('loaded')"
    out = run([sys.executable, "-c", check], root, PYTHONPATH=str(tmp_path))
    assert "loaded" in out


def test_an_init_file_would_be_caught(tmp_path: Path) -> None:
    """The broken twin: with ``signal/__init__.py`` the same question fails."""
    (tmp_path / "signal").mkdir()
    (tmp_path / "signal" / "__init__.py").write_text('"""teleread\'s own"""\n')
    with pytest.raises(AssertionError):
        run([sys.executable, "-c", "import signal; signal.SIGTERM"], tmp_path)


def test_the_core_imports_without_airflow(root: Path) -> None:
    check = (
        "import sys; sys.modules['airflow'] = None\n"
        "import teleread.cli, teleread.web.app, teleread.pipeline.pull, teleread.services, teleread.up.main"
    )
    run([sys.executable, "-c", check], root)
