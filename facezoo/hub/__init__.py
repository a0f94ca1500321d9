"""Where checkpoints come from, and proof that they are what they claim to be; publishing them (``hub.publish``)."""

from facezoo.hub.resolve import Checkpoint, resolve
from facezoo.hub.verify import sha256_of, verify_files

__all__ = ["Checkpoint", "resolve", "sha256_of", "verify_files"]
