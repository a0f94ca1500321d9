"""Build, check or look at the open head.

python -m facezoo.heads.open [build [PATH]]     write the head file (the same bytes every time)
python -m facezoo.heads.open check              print sizes against published ones, expressions, turned triangles
python -m facezoo.heads.open turntable PNG      render random people with expressions
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

# One thread: sums in another order would change the last bits, and the file must be the same every time.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_variable] = "1"


def main(arguments: list[str]) -> int:
    """Run one of the commands of the module's text."""
    command = arguments[0] if arguments else "build"
    if command == "build":
        from .build import DEFAULT_PATH, build

        target = build(Path(arguments[1]) if len(arguments) > 1 else DEFAULT_PATH)
        print(f"{target}: {target.stat().st_size / 1e6:.2f} MB")
    elif command == "check":
        from .check import report

        print(report())
    elif command == "turntable" and len(arguments) == 2:
        from .turntable import turntable

        turntable().save(arguments[1])
        print(arguments[1])
    else:
        print(__doc__, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
