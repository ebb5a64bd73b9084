"""Build the agent as one file: ``python3 deploy/make_agent.py [OUT]`` writes ``build/teleread-agent.pyz``.

The file runs on any PC that has Python 3.11 or newer and nothing else: ``python teleread-agent.pyz --help``. The same
sources give the same bytes.
"""

from __future__ import annotations

import stat
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_FIXED_DATE = (1980, 1, 1, 0, 0, 0)
_MAIN = b"import sys\nfrom teleread.agent.main import main\nsys.exit(main())\n"


def build(out: Path) -> Path:
    """Write the file and return its path."""
    agent = ROOT / "teleread" / "agent"
    files = {"__main__.py": _MAIN, "teleread/__init__.py": (ROOT / "teleread" / "__init__.py").read_bytes()}
    for path in sorted(agent.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            files[f"teleread/agent/{path.relative_to(agent).as_posix()}"] = path.read_bytes()
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = out.with_suffix(".part")
    with draft.open("wb") as file:
        file.write(b"#!/usr/bin/env python3\n")
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in sorted(files.items()):
                info = zipfile.ZipInfo(name, _FIXED_DATE)
                info.create_system = 3
                info.external_attr = (stat.S_IFREG | 0o644) << 16
                info.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(info, data)
    draft.chmod(0o755)
    draft.replace(out)
    return out


if __name__ == "__main__":
    print(build(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build" / "teleread-agent.pyz"))
