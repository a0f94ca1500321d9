"""Inert stand-ins for the objects in a pickle, and their conversion to plain data and numpy arrays."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from facezoo.errors import AssetError

Array = NDArray[Any]
MAX_FILE = 2 << 30  # bytes; FLAME's pickles have some 55 MB
_MAX_DEPTH = 64


class SparseMatrix(NamedTuple):
    """A compressed-sparse-column matrix as plain arrays."""

    data: Array
    indices: Array
    indptr: Array
    shape: tuple[int, int]

    def coordinates(self) -> tuple[Array, Array, Array]:
        """Return row, column and value of every stored entry."""
        columns = np.repeat(np.arange(self.shape[1]), np.diff(self.indptr))
        return self.indices.astype(np.int64), columns, self.data


@dataclass(frozen=True)
class Name:
    """An allowed global: a token, never the thing itself."""

    kind: str


@dataclass(eq=False)
class Record:
    """An object of the pickle: what it was called with and the state it was given.

    ``array`` keeps the numbers of a torch storage that several tensors share.
    """

    kind: str
    args: tuple[Any, ...] = ()
    state: Any = None
    array: Any = field(default=None, repr=False)


class Plain:
    """Turn the interpreter's records into plain data."""

    def __init__(self, source: str, *, objects: bool, read_storage: Callable[[Any], Array]) -> None:
        """Prepare for one file.

        Args:
            source: its name in errors.
            objects: arrays of objects may occur.
            read_storage: turns a torch storage's bytes into a flat array.
        """
        self.source = source
        self.objects = objects
        self.read_storage = read_storage
        self.done: dict[int, Any] = {}
        self.keep: list[Any] = []  # ids stay unique only while their objects live
        self.open: set[int] = set()
        self.size = 0

    def fail(self, reason: str) -> AssetError:
        """Build the refusal."""
        return AssetError(f"{self.source}: refused, {reason}.")

    def of(self, value: Any) -> Any:
        """Return the plain form; shared parts are converted once, loops are refused."""
        if value is None or isinstance(value, bool | int | float | str | bytes):
            return value
        key = id(value)
        if key in self.done:
            return self.done[key]
        if key in self.open or len(self.open) > _MAX_DEPTH:
            raise self.fail("the data contains itself or is nested too deeply")
        self.open.add(key)
        try:
            plain = self._convert(value)
        except (TypeError, ValueError, IndexError, KeyError, OverflowError, MemoryError) as error:
            raise self.fail(f"an array in it is malformed ({error})") from error
        finally:
            self.open.discard(key)
        if isinstance(plain, np.ndarray):
            # A file may name the same bytes a thousand times; what comes out stays as bounded as what goes
            # in.
            self.size += plain.nbytes
            if self.size > MAX_FILE:
                raise self.fail(f"its arrays take more than {MAX_FILE >> 30} GiB")
        self.done[key] = plain
        self.keep.append(value)
        return plain

    def _convert(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {k: self.of(v) for k, v in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(self.of(v) for v in value)
        if isinstance(value, set):
            return set(value)
        if isinstance(value, Record):
            makers: dict[str, Callable[[Record], Any]] = {
                "array": self._array,
                "frombuffer": self._frombuffer,
                "csc": self._csc,
                "tensor": self._tensor,
            }
            if value.kind.startswith("chumpy."):
                return self._chumpy(value)
            if value.kind in makers:
                return makers[value.kind](value)
        raise self.fail(
            f"it holds a bare {getattr(value, 'kind', type(value).__name__)} where data is expected"
        )

    def _dtype(self, record: Any) -> np.dtype[Any]:
        """Return a record's dtype: args (code, ...), state (version, byte order, ...); plain numbers only."""
        if not isinstance(record, Record) or record.kind != "dtype" or not record.args:
            raise self.fail("an array has no dtype")
        code = record.args[0]
        if isinstance(code, str) and code in ("O", "O8"):
            return np.dtype(object)
        if not isinstance(code, str) or not re.fullmatch(r"[<>=|]?(b1|[iu][1248]|f[248])", code):
            raise self.fail(f"an array has dtype {code!r}, not plain numbers")
        if record.state is None:
            return np.dtype(code)
        order = record.state[1]
        if order not in ("<", ">", "=", "|") or any(part is not None for part in record.state[2:5]):
            raise self.fail("an array has a structured dtype")
        return np.dtype(order + code.lstrip("<>=|"))

    def _shape(self, shape: Any) -> tuple[int, ...]:
        if not isinstance(shape, tuple) or len(shape) > 8:
            raise self.fail("an array has no proper shape")
        if not all(isinstance(n, int) and not isinstance(n, bool) and 0 <= n <= MAX_FILE for n in shape):
            raise self.fail(f"an array has the shape {shape}")
        return shape

    def _numbers(self, raw: Any, dtype: np.dtype[Any], shape: tuple[int, ...], fortran: bool) -> Array:
        if isinstance(raw, str):
            raw = raw.encode("latin1")
        if not isinstance(raw, bytes) or dtype.hasobject:
            raise self.fail("an array's numbers are not bytes")
        if math.prod(shape) * dtype.itemsize != len(raw):
            raise self.fail(f"an array of shape {shape} and {dtype} has {len(raw)} bytes")
        if not raw:
            return np.zeros(shape, dtype.newbyteorder("="))
        flat = np.frombuffer(raw, dtype)
        return flat.reshape(shape, order="F" if fortran else "C").astype(dtype.newbyteorder("="))

    def _array(self, record: Record) -> Any:
        if not (isinstance(record.args[0], Name) and record.args[0].kind == "ndarray"):
            raise self.fail("an array is of a class of its own")
        state = record.state
        if not isinstance(state, tuple) or len(state) != 5:
            raise self.fail("an array has no contents")
        shape, dtype, fortran, raw = self._shape(state[1]), self._dtype(state[2]), state[3], state[4]
        if not dtype.hasobject:
            return self._numbers(raw, dtype, shape, bool(fortran))
        if not self.objects:
            raise self.fail("it holds an array of objects")
        if not isinstance(raw, list) or len(raw) != math.prod(shape) or len(shape) > 1:
            raise self.fail("an array of objects has no list of them")
        items = [self.of(item) for item in raw]
        return items if shape else items[0]

    def _frombuffer(self, record: Record) -> Array:
        raw, dtype, shape, order = record.args[:4]
        if order not in ("C", "F") or any(extra is not None for extra in record.args[4:]):
            raise self.fail("an array has an unknown memory order")
        return self._numbers(raw, self._dtype(dtype), self._shape(shape), order == "F")

    def _csc(self, record: Record) -> SparseMatrix:
        state = record.state
        if not isinstance(state, dict):
            raise self.fail("a sparse matrix has no contents")
        data, indices, indptr = (self.of(state.get(name)) for name in ("data", "indices", "indptr"))
        shape = self._shape(state.get("_shape", state.get("shape")))
        parts = (data, indices, indptr)
        if len(shape) != 2 or not all(isinstance(p, np.ndarray) and p.ndim == 1 for p in parts):
            raise self.fail("a sparse matrix is not made of three vectors")
        good = indices.dtype.kind in "iu" and indptr.dtype.kind in "iu" and len(data) == len(indices)
        good = good and len(indptr) == shape[1] + 1 and indptr[0] == 0 and indptr[-1] == len(data)
        good = good and bool((np.diff(indptr.astype(np.int64)) >= 0).all())
        if not good or (len(indices) and (indices.min() < 0 or indices.max() >= shape[0])):
            raise self.fail("a sparse matrix does not hold together")
        return SparseMatrix(data, indices, indptr, (shape[0], shape[1]))

    def _chumpy(self, record: Record) -> Array:
        """Return the value of a chumpy object: its ``x``, or a reordering of what it refers to."""
        state = record.state
        if not isinstance(state, dict):
            raise self.fail("a chumpy object has no contents")

        def term(name: str) -> Array:
            value = self.of(state.get(name))
            if not isinstance(value, np.ndarray):
                raise self.fail(f"a {record.kind} object has no array {name!r}")
            return value

        if record.kind == "chumpy.Ch":
            return term("x")
        if record.kind == "chumpy.add":
            a, b = term("a"), term("b")
            if a.shape != b.shape:
                raise self.fail("a chumpy sum has terms of different shapes")
            return a + b
        if record.kind == "chumpy.transpose":
            axes = self.of(state.get("axes"))
            return np.ascontiguousarray(np.transpose(term("a"), None if axes is None else tuple(axes)))
        chosen = np.asarray(term("a")).ravel()[term("idxs")]
        shape = self.of(state.get("preferred_shape"))
        return chosen if shape is None else chosen.reshape(tuple(int(n) for n in shape))

    def _tensor(self, record: Record) -> Array:
        storage, offset = record.args[:2]
        if not isinstance(storage, Record) or storage.kind != "storage" or len(storage.args) != 1:
            raise self.fail("a tensor has no storage")
        size, stride = self._shape(record.args[2]), self._shape(record.args[3])
        if isinstance(storage.array, np.ndarray):
            flat = storage.array
        else:
            flat = storage.array = self.read_storage(storage.args[0])
        if 0 in size:
            return np.zeros(size, flat.dtype)
        last = sum((n - 1) * s for n, s in zip(size, stride, strict=True))
        if not isinstance(offset, int) or offset < 0 or offset + last >= len(flat):
            raise self.fail("a tensor reaches outside its storage")
        if math.prod(size) > len(flat):
            raise self.fail("a tensor is larger than its storage")
        index = np.full((), offset, np.int64)
        for n, s in zip(size, stride, strict=True):
            index = index[..., None] + np.arange(n) * s
        return flat[index]
