"""The pages' scripts keep the types that their comments promise; where there is a TypeScript compiler, it is asked."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.peers

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "web" / "static" / "js"
WORKERS = ("ahead-worker.js", "clinic-worker.js", "ticker.js")
OPTIONS = (
    *("--checkJs", "--allowJs", "--noEmit", "--strict", "--noImplicitReturns", "--noUnusedLocals"),
    *("--target", "es2022", "--module", "esnext", "--moduleResolution", "bundler", "--moduleDetection", "force"),
)
GIVEN = "const VERSION: string;\nconst FILES: string[];\n"
"""What the web service writes before the clinic's worker."""


def compiler() -> str:
    found = shutil.which("tsc", path=str(ROOT / "node_modules" / ".bin")) or shutil.which("tsc")
    if found is None:
        pytest.skip("no tsc: npm install typescript in a folder of its own, and put it on the path")
    return found


def faults(scripts: list[Path], *more: str) -> str:
    paths = [str(one) for one in scripts]
    done = subprocess.run([compiler(), *OPTIONS, *more, *paths], capture_output=True, text=True, check=False)
    return done.stdout


def test_pages_and_workers_keep_their_types(tmp_path: Path) -> None:
    of_pages = [one for one in sorted(SCRIPTS.glob("*.js")) if one.name not in WORKERS]
    assert faults(of_pages, "--lib", "es2022,dom,dom.iterable") == ""
    given = tmp_path / "given.d.ts"
    given.write_text(f"declare global {{\n{GIVEN}}}\nexport {{}};\n")
    for name in WORKERS:
        needed = [given] if name == "clinic-worker.js" else []
        assert faults([*needed, SCRIPTS / name], "--lib", "es2022,webworker") == ""


def test_a_wrong_type_is_seen(tmp_path: Path) -> None:
    twin = tmp_path / "twin.js"
    twin.write_text("/** @param {number} n */\nexport const twice = (n) => n * 2;\ntwice('two');\n")
    assert "TS2345" in faults([twin], "--lib", "es2022,dom")
