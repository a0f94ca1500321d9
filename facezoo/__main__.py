"""``python -m facezoo`` and the installed ``facezoo`` command."""

from __future__ import annotations

import sys

from facezoo.cli import main

if __name__ == "__main__":
    sys.exit(main())
