"""Build the open head's file; an optional argument is where to write it."""

from __future__ import annotations

import sys
from pathlib import Path

from .build import DEFAULT_PATH, build

if __name__ == "__main__":
    target = build(Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT_PATH)
    print(f"{target}: {target.stat().st_size / 1e6:.2f} MB")
