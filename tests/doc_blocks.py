"""Fenced blocks of the documentation, so that tests run the very commands that a reader copies."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1] / "docs"
# The walk-through's blocks have the step's name in a comment right above, which the rendered page does not show.
_BLOCK = re.compile(r"(?:^<!-- walkthrough: ([\w-]+) -->\n)?^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block: its step in the walk-through (empty if it is no part of it), its language and its text."""

    step: str
    language: str
    text: str

    def commands(self, *programs: str) -> list[list[str]]:
        """Return the words of each line that starts one of ``programs``, without the comments."""
        lines = (shlex.split(line, comments=True) for line in self.text.replace("\\\n", " ").splitlines())
        return [words for words in lines if words[:1] and words[0] in programs]


def blocks(page: str) -> list[Block]:
    """Return all fenced blocks of a page in docs/, in order."""
    return [Block(*found) for found in _BLOCK.findall((DOCS / page).read_text(encoding="utf-8"))]
