"""Read licensed heads' pickles without executing them.

A pickle is a program: loading one the usual way runs whatever it names. Here the standard library's
interpreter of that language is reduced to the instructions that build plain data, and the few names that
head files use are replaced by inert records, which are turned into numpy arrays at the end. No name is ever
imported; any other name, instruction or layout is refused with an :class:`AssetError` that says which.
chumpy, scipy and torch are not needed.

Lists of names: FLAME 2017-2023 pickles, FLAME_masks.pkl, static and dynamic landmark embeddings.
"""

from __future__ import annotations

import io
import os
import pickle
import pickletools
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import numpy as np

from facezoo.errors import AssetError
from facezoo.heads.pickle_records import MAX_FILE, Array, Name, Plain, Record

_NUMPY = ("numpy.core", "numpy._core")  # numpy 1 and numpy 2
_BASIC = {
    **{f"{core}.multiarray._reconstruct": "array" for core in _NUMPY},
    **{f"{core}.numeric._frombuffer": "frombuffer" for core in _NUMPY},
    "numpy.ndarray": "ndarray",
    "numpy.dtype": "dtype",
    "_codecs.encode": "encode",  # how Python 3 writes bytes into a protocol-2 pickle
}
_MODEL = {
    **_BASIC,
    "scipy.sparse.csc.csc_matrix": "csc",
    "scipy.sparse._csc.csc_matrix": "csc",
    "chumpy.ch.Ch": "chumpy.Ch",
    "chumpy.reordering.Select": "chumpy.Select",
    "chumpy.reordering.transpose": "chumpy.transpose",
    "chumpy.ch_ops.add": "chumpy.add",
    "copy_reg._reconstructor": "reconstructor",
    "__builtin__.object": "object",
    "__builtin__.set": "set",
    "collections.OrderedDict": "dict",
}
_TORCH = {
    **_BASIC,
    "collections.OrderedDict": "dict",
    "torch._utils._rebuild_tensor_v2": "tensor",
    "torch.storage._load_from_bytes": "storage",
}
_STORAGE = {
    "torch.FloatStorage": "float32",
    "torch.DoubleStorage": "float64",
    "torch.LongStorage": "int64",
    "torch.IntStorage": "int32",
}
# Classes that `cls.__new__(cls)` and `_reconstructor(cls, object, None)` may make.
_INSTANCES = {"csc", "chumpy.Ch", "chumpy.Select", "chumpy.transpose", "chumpy.add"}
_STATEFUL = {"array", "dtype", *_INSTANCES}

_ALLOWED_OPCODES = (
    "PROTO FRAME STOP MARK POP POP_MARK DUP NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1 "
    "LONG4 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING UNICODE SHORT_BINUNICODE BINUNICODE "
    "BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8 EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 "
    "EMPTY_LIST LIST APPEND APPENDS EMPTY_DICT DICT SETITEM SETITEMS GET BINGET LONG_BINGET PUT BINPUT "
    "LONG_BINPUT MEMOIZE GLOBAL STACK_GLOBAL REDUCE NEWOBJ BUILD "
)
_OPCODES = {op.code.encode("latin-1")[0]: op.name for op in pickletools.opcodes}
# The pure-Python interpreter: its memo is a dict (the C one grows an array to any index a file asks for),
# and what an instruction does can be replaced here.
_INTERPRETER: Any = pickle._Unpickler  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]


class _Restricted(_INTERPRETER):
    """The interpreter with the instruction set above and no way to reach a real object."""

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = {
        code: function
        for code, function in _INTERPRETER.dispatch.items()
        if _OPCODES.get(code) in _ALLOWED_OPCODES.split()
    }

    def __init__(self, stream: BinaryIO, names: dict[str, str], source: str) -> None:
        # latin1 keeps every byte of Python 2's strings, which is where its arrays are.
        super().__init__(stream, encoding="latin1")
        self.names = names
        self.source = source

    def find_class(self, module: str, name: str) -> Name:
        """Return the token of an allowed name; nothing is imported."""
        full = f"{module}.{name}"
        if full not in self.names:
            raise AssetError(
                f"{self.source}: refused, the pickle names {full}, which no FLAME file needs. Loading it "
                "could run "
                "code: fetch the file again from its official site."
            )
        return Name(self.names[full])

    def load_reduce(self) -> None:
        """Record a call instead of making it."""
        args = self.stack.pop()
        self.stack[-1] = self._call(self.stack[-1], args)

    def load_newobj(self) -> None:
        """Record an instance instead of making one."""
        args = self.stack.pop()
        cls = self.stack.pop()
        if not isinstance(cls, Name) or cls.kind not in _INSTANCES or args != ():
            raise AssetError(f"{self.source}: refused, the pickle makes an object of an unexpected kind.")
        self.append(Record(cls.kind))

    def load_build(self) -> None:
        """Keep an object's state beside it; nothing of the object runs."""
        state = self.stack.pop()
        target = self.stack[-1]
        if isinstance(target, dict) and state == {}:
            return  # an OrderedDict's empty __dict__
        if not isinstance(target, Record) or target.state is not None or target.kind in ("encode", "storage"):
            raise AssetError(f"{self.source}: refused, the pickle sets the state of something that has none.")
        target.state = state

    def load_setitems(self) -> None:
        """Fill a dict."""
        items = self.pop_mark()
        self._fill(items)

    def load_setitem(self) -> None:
        """Fill one entry of a dict."""
        items = self.stack[-2:]
        del self.stack[-2:]
        self._fill(items)

    def load_dict(self) -> None:
        """Make a dict of everything since the mark."""
        items = self.pop_mark()
        self.append({})
        self._fill(items)

    def _fill(self, items: list[Any]) -> None:
        if not isinstance(self.stack[-1], dict) or len(items) % 2:
            raise AssetError(f"{self.source}: refused, the pickle fills something that is no dict.")
        self.stack[-1].update((self._key(k), v) for k, v in zip(items[::2], items[1::2], strict=True))

    def _key(self, key: Any) -> str | int | float:
        # Checked before it is hashed: hashing a tuple nested a million deep overflows the C stack.
        if not isinstance(key, str | int | float):
            raise AssetError(f"{self.source}: refused, a dict or set key is no text or number.")
        return key

    def load_bytearray8(self) -> None:
        """Read a bytearray; the length is checked against the file before any memory is taken."""
        length = int.from_bytes(self.read(8), "little")
        data = self.read(length) if length <= MAX_FILE else b""
        if len(data) != length:
            raise AssetError(f"{self.source} is truncated.")
        self.append(data)

    dispatch[pickle.REDUCE[0]] = load_reduce
    dispatch[pickle.NEWOBJ[0]] = load_newobj
    dispatch[pickle.BUILD[0]] = load_build
    dispatch[pickle.SETITEMS[0]] = load_setitems
    dispatch[pickle.SETITEM[0]] = load_setitem
    dispatch[pickle.DICT[0]] = load_dict
    dispatch[pickle.BYTEARRAY8[0]] = load_bytearray8

    def _call(self, function: Any, args: Any) -> Any:
        kind = function.kind if isinstance(function, Name) else None
        match kind, args:
            case "encode", (str(text), "latin1" | "latin-1"):
                return text.encode("latin1")
            case "dict", ():
                return {}
            case "dict", (list(pairs),):
                return {self._key(k): v for k, v in pairs}
            case "set", (list(items),):
                return {self._key(k) for k in items}
            case "reconstructor", (Name(cls), Name("object"), None) if cls in _INSTANCES:
                return Record(cls)
            case (("array" | "frombuffer" | "dtype" | "tensor" | "storage"), tuple()):
                return Record(str(kind), args)
        called = f"{kind} in a way" if kind else "something"
        raise AssetError(f"{self.source}: refused, the pickle calls {called} that head files do not use.")


class _RestrictedStorage(_Restricted):
    """The same for the pickles inside a torch storage, which refer to it by a persistent id."""

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = {
        **_Restricted.dispatch,
        pickle.BINPERSID[0]: _INTERPRETER.dispatch[pickle.BINPERSID[0]],
    }

    def persistent_load(self, pid: Any) -> Record:
        """Record a torch storage: ("storage", type, key, location, length)."""
        match pid:
            case ("storage", Name(kind), str(key), str(), int(length)) if kind in _STORAGE.values():
                return Record("pending", (kind, key, length))
            case ("storage", Name(kind), str(key), str(), int(length), None) if kind in _STORAGE.values():
                return Record("pending", (kind, key, length))
        raise AssetError(f"{self.source}: refused, a torch storage of an unknown layout.")


def read_pickle(path: str | os.PathLike[str], data: bytes | None = None) -> Any:
    """Read a FLAME model, mask or embedding pickle (.pkl) as plain data.

    Args:
        path: the file; also its name in errors.
        data: its bytes, when they are at hand already.

    Returns:
        Dicts, lists, tuples, numbers, texts, numpy arrays and :class:`SparseMatrix`; chumpy objects as their
        values.

    Raises:
        AssetError: unreadable, damaged, or anything in it that head files do not need; names the file and
            the culprit.
    """
    source = os.fspath(path)
    return _load(_bytes(path) if data is None else data, _MODEL, source, objects=False)


def read_object_npy(path: str | os.PathLike[str], data: bytes | None = None) -> Any:
    """Read an .npy file that may hold pickled objects (DECA's and RingNet's landmark embeddings).

    Args:
        path: the file; also its name in errors.
        data: its bytes, when they are at hand already.

    Returns:
        As :func:`read_pickle`; torch tensors become arrays; a plain numeric file gives its array.

    Raises:
        AssetError: as :func:`read_pickle`.
    """
    source = os.fspath(path)
    data = _bytes(path) if data is None else data
    stream = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(stream)
        read_header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }
        shape, _, dtype = read_header[version](stream)
        if not dtype.hasobject:
            return np.load(io.BytesIO(data), allow_pickle=False)
    except Exception as error:  # numpy's header parser lets a dozen kinds through
        raise AssetError(f"{source} is no .npy file that can be read ({error}).") from error
    if dtype != np.dtype(object) or shape != ():
        raise AssetError(f"{source}: expected one object, found an array of {dtype} with shape {shape}.")
    return _load(stream.read(), _TORCH, source, objects=True)


def _bytes(path: str | os.PathLike[str]) -> bytes:
    try:
        if Path(path).stat().st_size > MAX_FILE:
            raise AssetError(f"{os.fspath(path)} is larger than {MAX_FILE >> 30} GiB: it is no head file.")
        return Path(path).read_bytes()
    except OSError as error:
        raise AssetError(f"cannot read {os.fspath(path)}: {error.strerror or error}.") from error


def _load(data: bytes, names: dict[str, str], source: str, *, objects: bool) -> Any:
    stream = io.BytesIO(data)
    plain = Plain(source, objects=objects, read_storage=lambda raw: _torch_storage(raw, source))
    return plain.of(_run(_Restricted(stream, names, source)))


def _run(interpreter: _Restricted) -> Any:
    """Run one pickle; whatever a broken file makes the interpreter raise becomes an AssetError."""
    try:
        return interpreter.load()
    except AssetError:
        raise
    except KeyError as error:
        code = error.args[0]
        name = _OPCODES.get(code) if isinstance(code, int) and code not in interpreter.dispatch else None
        reason = (
            f"the pickle uses the instruction {name}"
            if name
            else f"an unknown instruction or reference {code!r}"
        )
        raise AssetError(f"{interpreter.source}: refused, {reason}.") from error
    except Exception as error:  # a hostile stream can raise anything from inside the interpreter
        raise AssetError(f"{interpreter.source} is no pickle, or a damaged one ({error!r}).") from error


def _torch_storage(data: Any, source: str) -> Array:
    """Read one storage in torch's legacy format: five pickles, then a count and the raw numbers."""
    if not isinstance(data, bytes):
        raise AssetError(f"{source}: refused, a torch storage is not bytes.")
    stream = io.BytesIO(data)

    def part() -> Any:
        return _run(_RestrictedStorage(stream, _STORAGE, source))

    magic, version, _, record, keys = part(), part(), part(), part(), part()
    if magic != 0x1950A86A20F9469CFC6C or version != 1001:
        raise AssetError(f"{source}: refused, a torch storage of an unknown version.")
    if not isinstance(record, Record) or record.kind != "pending" or keys != [record.args[1]]:
        raise AssetError(f"{source}: refused, a torch storage that is not one vector.")
    kind, _, length = record.args
    dtype = np.dtype(kind).newbyteorder("<")
    count = int.from_bytes(stream.read(8), "little")
    raw = stream.read()
    if count != length or len(raw) != length * dtype.itemsize:
        raise AssetError(f"{source}: a torch storage is truncated.")
    return np.frombuffer(raw, dtype).astype(dtype.newbyteorder("="))
