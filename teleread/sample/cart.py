"""An ECG cart at the township clinic: writes its recordings into a folder, slowly and in place, and ends.

python -m teleread.sample.cart --folder F
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from teleread.sample.studies import fill_cart, slowly


def main(arguments: Sequence[str] | None = None) -> int:
    """Write what is missing and say how much that was."""
    parser = argparse.ArgumentParser(prog="python -m teleread.sample.cart", description="A sample ECG cart.")
    parser.add_argument("--folder", type=Path, required=True)
    options = parser.parse_args(arguments)
    print(f"written {fill_cart(options.folder, pause=slowly)}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
