"""What an output folder knows of itself: a record a picture, the settings it was made with, who writes into it.

``manifest.jsonl`` is the result, one line a picture. While a run goes on, each process appends to a journal of its own
in ``.facezoo/``; the next run, or the end of this one, merges journals into the manifest. A line is appended after its
picture's mark was written, so a killed process loses a line at most, and the mark then speaks for itself.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from facezoo.errors import InputError
from facezoo.mesh.io.atomic import write_bytes, write_json
from facezoo.predicting.pictures import Picture

MANIFEST = "manifest.jsonl"


@dataclass(frozen=True)
class Record:
    """A line of the manifest.

    Attributes:
        input: path below the input folder.
        size: of the file that was read, in bytes.
        outputs: files written, paths below the output folder.
        faces: faces found.
        seconds: loading, this picture's share of its batch, and writing; None where a killed run took it along.
        error: what went wrong, or None.
    """

    input: str
    size: int
    outputs: tuple[str, ...] = ()
    faces: int = 0
    seconds: float | None = None
    error: str | None = None

    def line(self) -> bytes:
        """Return the record as a line of JSON."""
        return (json.dumps(asdict(self)) + "\n").encode()

    @classmethod
    def from_line(cls, line: bytes) -> Record | None:
        """Read :meth:`line`; None for half a line."""
        try:
            values = json.loads(line)
            return cls(**(values | {"outputs": tuple(values["outputs"])}))
        except (ValueError, TypeError, KeyError):
            return None


class Ledger:
    """The records and settings of one output folder."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.state = out / ".facezoo"
        self._lock: IO[bytes] | None = None

    # -- before a run, by one process --------------------------------------------------------------------------------

    def begin(
        self, pictures: Iterable[Picture], settings: Mapping[str, Any], overwrite: bool
    ) -> dict[str, Record]:
        """Take the folder for a run and return the records of finished pictures by name.

        Args:
            pictures: all inputs.
            settings: JSON values that the results depend on.
            overwrite: forget what is there.

        Raises:
            InputError: another process writes there; it holds results of other settings; it cannot be written.
        """
        pictures = list(pictures)
        try:
            self.state.mkdir(parents=True, exist_ok=True)
            self._take_lock()
            for leftover in self.state.glob("work-*"):
                shutil.rmtree(leftover, ignore_errors=True)
            known = self.records()
            before = self._settings()
            if overwrite or before is None:
                # Marks of unknown origin must not pass for results of this run.
                self._forget(pictures, known if overwrite else {})
                known = {}
            elif differing := [name for name in settings if before.get(name) != settings[name]]:
                raise InputError(
                    f"{self.out} holds results of other settings ({_differences(before, settings, differing)}); "
                    "give another --out, or --overwrite to start over."
                )
            write_json(self.state / "settings.json", settings)
            done = {}
            for picture in pictures:
                if (record := self._finished(picture, known.get(picture.name))) is not None:
                    done[picture.name] = record
                elif picture.name in known:
                    self._remove(known[picture.name].outputs)
            self.write_manifest(done.values())
        except OSError as error:
            raise InputError(f"cannot write into {self.out}: {error.strerror or error}.") from error
        return done

    def records(self) -> dict[str, Record]:
        """Read manifest and journals; of several lines about a picture the last counts."""
        found: dict[str, Record] = {}
        for path in (self.out / MANIFEST, *self.journals()):
            if path.is_file():
                for line in path.read_bytes().splitlines():
                    if (record := Record.from_line(line)) is not None:
                        found[record.input] = record
        return found

    def journals(self) -> list[Path]:
        """List the journals of a run that goes on or was cut off."""
        return sorted(self.state.glob("journal-*.jsonl"))

    def write_manifest(self, records: Iterable[Record]) -> None:
        """Write the manifest whole, then drop the journals."""
        journals = self.journals()
        write_bytes(self.out / MANIFEST, b"".join(record.line() for record in records))
        for path in journals:
            path.unlink(missing_ok=True)

    def release(self) -> None:
        """Let other runs write here."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    # -- parts -------------------------------------------------------------------------------------------------------

    def _take_lock(self) -> None:
        """Lock the folder until :meth:`release` or the end of the process, where the file system has locks."""
        try:
            import fcntl
        except ImportError:  # Windows
            return
        lock = open(self.state / "lock", "wb")  # noqa: SIM115  # held as long as the run
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.close()
            raise InputError(
                f"another facezoo is predicting into {self.out}; wait for it, or give another --out."
            ) from error
        except OSError:  # a network disk without locks
            lock.close()
            return
        self._lock = lock

    def _settings(self) -> dict[str, Any] | None:
        try:
            values = json.loads((self.state / "settings.json").read_bytes())
        except (OSError, ValueError):
            return None
        return values if isinstance(values, dict) else None

    def _finished(self, picture: Picture, record: Record | None) -> Record | None:
        """Return the record of a finished picture: its mark is there, and was made from this very file."""
        mark = self.out / picture.mark
        if not mark.is_file():
            return None
        if record is not None:
            same = record.error is None and record.size == picture.size and picture.mark in record.outputs
            return record if same else None
        try:
            values = json.loads(mark.read_bytes())
            if PurePosixPath(Path(values["source"]).as_posix()).name != PurePosixPath(picture.name).name:
                return None
            faces = len(values["faces"])
        except (OSError, ValueError, TypeError, KeyError):
            return None
        return Record(picture.name, picture.size, self._files(picture, faces), faces)

    def _files(self, picture: Picture, faces: int) -> tuple[str, ...]:
        folder, stem = (self.out / picture.stem).parent, PurePosixPath(picture.stem).name
        suffixes = (self._settings() or {}).get("formats", [])
        names = [f"{stem}.json", f"{stem}_overlay.png"]
        names += [f"{stem}_{n}.{suffix}" for n in range(faces) for suffix in suffixes]
        written = [
            (folder / name).relative_to(self.out).as_posix() for name in names if (folder / name).is_file()
        ]
        return tuple(sorted(written))

    def _forget(self, pictures: Iterable[Picture], known: Mapping[str, Record]) -> None:
        (self.state / "settings.json").unlink(missing_ok=True)
        for record in known.values():
            self._remove(record.outputs)
        for picture in pictures:
            (self.out / picture.mark).unlink(missing_ok=True)
        self.write_manifest([])

    def _remove(self, outputs: Iterable[str]) -> None:
        for name in outputs:
            path = self.out / name
            # A manifest is a file that anybody can edit: never leave the folder because of it.
            if path.resolve().is_relative_to(self.out.resolve()):
                path.unlink(missing_ok=True)


class Journal:
    """What one process adds: files of finished pictures, moved to their places mark last, and their records."""

    def __init__(self, ledger: Ledger, rank: int) -> None:
        self.out = ledger.out
        self._file = open(ledger.state / f"journal-{rank:05d}.jsonl", "ab")  # noqa: SIM115  # see close
        self.work = Path(tempfile.mkdtemp(prefix="work-", dir=ledger.state))

    def publish(self, picture: Picture, files: Iterable[Path]) -> tuple[str, ...]:
        """Move a picture's files from :attr:`work` to their places, the mark last; return their names."""
        folder = (self.out / picture.stem).parent
        folder.mkdir(parents=True, exist_ok=True)
        mark = PurePosixPath(picture.mark).name
        targets = []
        for path in sorted(files, key=lambda path: (path.name == mark, path.name)):
            path.replace(folder / path.name)
            targets.append((folder / path.name).relative_to(self.out).as_posix())
        return tuple(sorted(targets))

    def add(self, record: Record) -> None:
        """Append a record; a reader sees it at once."""
        self._file.write(record.line())
        self._file.flush()

    def close(self) -> None:
        """Close the file and remove the workshop."""
        self._file.close()
        shutil.rmtree(self.work, ignore_errors=True)


def _differences(before: Mapping[str, Any], now: Mapping[str, Any], names: Iterable[str]) -> str:
    return "; ".join(f"{name} was {before.get(name)!r}, is {now[name]!r}" for name in names)
