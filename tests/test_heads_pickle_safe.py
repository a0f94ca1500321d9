"""The restricted reader: official layouts come out as arrays, everything else is refused and nothing runs."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import struct
import sys
import types
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from heads_synthetic import flame_pack

from facezoo.errors import AssetError
from facezoo.heads.pickle_records import SparseMatrix
from facezoo.heads.pickle_safe import read_object_npy, read_pickle


class Call:
    """Pickles as a call of ``function``; unpickled the usual way, it runs."""

    def __init__(self, function: Any, *args: Any, state: Any = None) -> None:
        self.parts = (function, args) if state is None else (function, args, state)

    def __reduce__(self) -> Any:
        return self.parts


def npy(value: Any) -> bytes:
    """Return an .npy file with one pickled object."""
    cell = np.empty((), object)
    cell[()] = value
    stream = io.BytesIO()
    np.save(stream, cell, allow_pickle=True)
    return stream.getvalue()


def array_pickle(
    dtype: bytes = b"S'f8'\n", state: bytes = b"(I3\nS'<'\nNNNI-1\nI-1\nI0\nt", raw: bytes | None = None
) -> bytes:
    """Return two float64 as Python 2 pickled them with protocol 0."""
    if raw is None:
        text = "".join(f"\\x{b:02x}" for b in struct.pack("<2d", 1.5, -2.0))
        raw = f"S'{text}'\n".encode()
    return (
        b"cnumpy.core.multiarray\n_reconstruct\np0\n(cnumpy\nndarray\np1\n(I0\ntS'b'\ntR(I1\n(I2\nt"
        b"cnumpy\ndtype\np2\n(" + dtype + b"I0\nI1\ntR" + state + b"bI00\n" + raw + b"tb."
    )


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    """A folder that exists only if a payload ran."""
    return tmp_path / "ran"


# --- what must be read


@pytest.mark.parametrize("name", ["synthetic_flame.pkl", "synthetic_flame_oldnames.pkl"])
def test_official_layout(name: str) -> None:
    model = read_pickle(flame_pack() / name)
    with np.load(flame_pack() / "synthetic_flame.npz") as reference:
        for key in ("v_template", "f", "shapedirs", "posedirs", "J", "weights", "kintree_table"):
            assert model[key].dtype == reference[key].dtype and np.array_equal(model[key], reference[key]), (
                key
            )
        regressor = model["J_regressor"]
        assert isinstance(regressor, SparseMatrix)
        row, col, val = regressor.coordinates()
        dense = np.zeros(regressor.shape)
        dense[row, col] = val
        assert np.array_equal(dense, reference["J_regressor"])
    assert model["bs_style"] == "lbs" and model["bs_type"] == "lrotmin"


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_of_every_protocol(protocol: int) -> None:
    arrays = {
        "a": np.arange(6.0).reshape(2, 3),
        "f": np.asfortranarray(np.arange(6, dtype=np.int32).reshape(2, 3)),
        "b": np.array([True, False]),
        "e": np.zeros((0, 3), np.float32),
        "big": np.arange(3, dtype=">u4"),
        "s": np.array(2.0),
        "list": [1, -5, 1 << 70, 2.5, None, True, "é", (), ("t",)],
    }
    if protocol < 3:
        arrays.pop("e")  # pickled with __builtin__.bytes, which no FLAME file has
    again = read_pickle("x.pkl", pickle.dumps(arrays, protocol))
    for key, value in arrays.items():
        assert np.array_equal(again[key], value) if key != "list" else again[key] == value
    assert again["big"].dtype == np.uint32


def test_python_2_text_protocol() -> None:
    assert read_pickle("x.pkl", array_pickle()).tolist() == [1.5, -2.0]


def test_python_2_binary_strings() -> None:
    raw = struct.pack("<2d", 1.5, -2.0)
    data = array_pickle(raw=b"T" + struct.pack("<i", len(raw)) + raw)
    assert read_pickle("x.pkl", data).tolist() == [1.5, -2.0]


@pytest.fixture
def chumpy(monkeypatch: pytest.MonkeyPatch) -> types.SimpleNamespace:
    """Stand-ins for chumpy's classes, to write pickles that name them."""
    made = {}
    for module, names in {
        "chumpy.ch": ["Ch"],
        "chumpy.reordering": ["Select", "transpose"],
        "chumpy.ch_ops": ["add"],
    }.items():
        fake = types.ModuleType(module)
        monkeypatch.setitem(sys.modules, module, fake)
        for name in names:
            made[name] = type(name, (), {"__module__": module, "__qualname__": name, "__init__": _set})
            setattr(fake, name, made[name])
    monkeypatch.setitem(sys.modules, "chumpy", types.ModuleType("chumpy"))
    return types.SimpleNamespace(**made)


def _set(self: Any, **state: Any) -> None:
    self.__dict__.update(state)


@pytest.mark.parametrize("protocol", [0, 1, 2])
def test_chumpy_values(chumpy: types.SimpleNamespace, protocol: int) -> None:
    a = np.arange(6.0).reshape(2, 3)
    leaf = chumpy.Ch(x=a, _status="clean", _dirty_vars=[])
    select = chumpy.Select(a=leaf, idxs=np.array([5, 0, 1, 2]), preferred_shape=(2, 2))
    model = {
        "leaf": leaf,
        "nested": chumpy.Ch(x=chumpy.Ch(x=a)),
        "select": select,
        "flat": chumpy.Select(a=leaf, idxs=np.array([1])),
        "turned": chumpy.transpose(a=leaf, axes=(1, 0)),
        "sum": chumpy.add(a=select, b=select),
    }
    again = read_pickle("x.pkl", pickle.dumps(model, protocol))
    assert np.array_equal(again["leaf"], a) and np.array_equal(again["nested"], a)
    assert np.array_equal(again["turned"], a.T)
    assert again["select"].tolist() == [[5, 0], [1, 2]] and again["flat"].tolist() == [1]
    assert again["sum"].tolist() == [[10, 0], [2, 4]]


def test_deca_landmark_embedding() -> None:
    faces = torch.arange(79 * 17).reshape(79, 17)
    bary = torch.rand(79, 17, 3, generator=torch.Generator().manual_seed(0))
    embedding = {
        "static_lmk_faces_idx": np.arange(51),
        "dynamic_lmk_faces_idx": faces,
        "dynamic_lmk_bary_coords": bary,
        "view": faces.t()[1:3],  # an offset and strides of its own
        "double": bary.double()[0],
    }
    again = read_object_npy("landmark_embedding.npy", npy(embedding))
    for key, value in embedding.items():
        assert np.array_equal(again[key], np.asarray(value)), key
        assert again[key].dtype == np.asarray(value).dtype


def test_ringnet_dynamic_embedding() -> None:
    rows = [np.arange(17, dtype=np.uint32) + i for i in range(79)]
    again = read_object_npy("x.npy", npy({"lmk_face_idx": rows}))
    assert np.array_equal(np.asarray(again["lmk_face_idx"]), np.stack(rows))


def test_plain_npy() -> None:
    stream = io.BytesIO()
    np.save(stream, np.arange(3))
    assert read_object_npy("x.npy", stream.getvalue()).tolist() == [0, 1, 2]


# --- what must be refused


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("nest", ["bare", "value", "key", "list", "array", "state", "dtype", "argument"])
def test_calls_are_refused_wherever_they_stand(marker: Path, protocol: int, nest: str) -> None:
    evil = Call(os.mkdir, str(marker))
    cell = np.empty(1, object)
    cell[0] = evil
    value = {
        "bare": evil,
        "value": {"v_template": np.zeros(3), "f": evil},
        "key": {evil: 1},
        "list": [[(1, evil)]],
        "array": cell,
        "state": Call(OrderedDict, state={"x": evil}),
        "dtype": Call(np.dtype, evil),
        "argument": Call(OrderedDict, [("a", evil)]),
    }[nest]
    data = pickle.dumps(value, protocol)
    with pytest.raises(AssetError, match=rf"model\.pkl.*{os.mkdir.__module__}\.mkdir"):
        read_pickle("model.pkl", data)
    with pytest.raises(AssetError, match=r"e\.npy"):
        read_object_npy("e.npy", npy(value))
    assert not marker.exists()
    # The payload is live: the usual way runs it.
    if nest == "bare":
        pickle.loads(data)
        assert marker.exists()


@pytest.mark.parametrize(
    "name",
    [
        "os.system",
        "posix.system",
        "subprocess.Popen",
        "builtins.eval",
        "builtins.exec",
        "builtins.getattr",
        "builtins.__import__",
        "__builtin__.eval",
        "__builtin__.getattr",
        "numpy.load",
        "numpy.core.multiarray.fromfile",
        "numpy.core.multiarray.scalar",
        "numpy.testing._private.utils.runstring",
        "operator.attrgetter",
        "functools.partial",
        "importlib.import_module",
        "pickle.loads",
        "torch.load",
        "torch.storage._load_from_bytes",
        "torch.serialization._load",
        "chumpy.ch.Ch.__init__",
        "chumpy.utils.timer",
        "scipy.sparse.csc.csc_matrix.__init__",
        "numpy.core.multiarray._reconstruct.__globals__",
        "numpy.ndarray.tofile",
        "numpy.dtype.mro",
        "collections.OrderedDict.__init__",
        "codecs.encode",
        "copyreg._reconstructor",
    ],
)
def test_other_names_are_refused_by_name(name: str) -> None:
    module, _, last = name.rpartition(".")
    stack = b"\x80\x04" + b"".join(b"\x8c" + bytes([len(p)]) + p.encode() for p in (module, last)) + b"\x93."
    dotted, _, attribute = module.rpartition(".")
    tails = [f"c{module}\n{last}\n.".encode(), stack]
    if dotted:
        tails.append(f"c{dotted}\n{attribute}.{last}\n.".encode())
    for data in tails:
        with pytest.raises(AssetError, match=rf"m\.pkl.*{name}"):
            read_pickle("m.pkl", data)


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"(S'echo'\nios\nsystem\n.", "INST"),
        (b"(cnumpy\nndarray\nI1\no.", "OBJ"),
        (b"\x82\x01.", "EXT1"),
        (b"\x83\x01\x00.", "EXT2"),
        (b"Pstorage\n.", "PERSID"),
        (b"I1\nQ.", "BINPERSID"),
        (b"\x80\x04cnumpy\nndarray\n)}\x92.", "NEWOBJ_EX"),
        (b"\x80\x05\x97.", "NEXT_BUFFER"),
        (b"\xff.", "unknown instruction"),
    ],
)
def test_other_instructions_are_refused(data: bytes, match: str) -> None:
    with pytest.raises(AssetError, match=rf"m\.pkl.*{match}"):
        read_pickle("m.pkl", data)


@pytest.mark.parametrize(
    "data",
    [
        b"cnumpy\nndarray\n(I0\ntR.",  # calling a class
        b"cnumpy.core.multiarray\n_reconstruct\n}b.",  # a state for a function
        b"cnumpy.core.multiarray\n_reconstruct\n(N}S'__defaults__'\nI1\nstb.",  # ... and for its slots
        b"cchumpy.ch\nCh\n}S'__setstate__'\nI1\nsb.",  # a state for a class
        b"}}S'__class__'\nI1\nsb.",  # a state for a dict
        b"]}S'append'\nI1\nsb.",  # a state for a list
        b"\x80\x02cnumpy\ndtype\n)\x81.",  # making an instance of what is called
        b"\x80\x02cchumpy.ch\nCh\nI1\n\x85\x81.",  # with arguments
        b"ccopy_reg\n_reconstructor\n(cnumpy\nndarray\nc__builtin__\nobject\nNtR.",
        b"ccopy_reg\n_reconstructor\n(cchumpy.ch\nCh\ncnumpy\nndarray\nNtR.",
        b"I1\n(I2\ntR.",  # calling a number
        b"c_codecs\nencode\n(S'a'\nS'rot13'\ntR.",
        b"c__builtin__\nset\n(](I1\ntatR.",  # a tuple as element
        b"](I1\nI2\nu.",  # filling a list like a dict
        b"}I1\nI2\na.",  # appending to a dict
        b"cnumpy\nndarray\n.",  # a bare class
        b"cnumpy\ndtype\n(S'f8'\nI0\nI1\ntR.",  # a bare dtype
        b"\x80\x02cchumpy.ch\nCh\n)\x81.",  # no state
        b"\x80\x02cchumpy.ch\nCh\n)\x81}S'x'\nI1\nsb.",  # no array
        b"\x80\x02cscipy.sparse.csc\ncsc_matrix\n)\x81}b.",
        b"g9\n.",  # an unknown memo
        b".",
        b"",
        b"(.",
        b"hello",
        b"\x80\x09.",
        b"I" + b"9" * 10000 + b"\n.",
    ],
)
def test_misuse_is_refused(data: bytes) -> None:
    with pytest.raises(AssetError, match=r"m\.pkl"):
        read_pickle("m.pkl", data)


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (array_pickle(dtype=b"S'O8'\n"), "objects"),
        (array_pickle(dtype=b"S'O8'\n", raw=b"(I1\nI2\nl"), "objects"),
        (array_pickle(dtype=b"S'S16'\n"), "plain numbers"),
        (array_pickle(dtype=b"S'V16'\n"), "plain numbers"),
        (array_pickle(dtype=b"S'f8,f8'\n"), "plain numbers"),
        (array_pickle(dtype=b"](S'a'\nS'f8'\nta"), "plain numbers"),
        (array_pickle(state=b"(I3\nS'<'\nN(S'a'\nt}I-1\nI-1\nI0\nt"), "structured"),
        (array_pickle(state=b"(I3\nS'?'\nNNNI-1\nI-1\nI0\nt"), "structured"),
        (array_pickle(raw=b"S'short'\n"), "bytes"),
        (array_pickle(raw=b"I5\n"), "not bytes"),
        (array_pickle().replace(b"(I2\nt", b"(I-2\nt"), "shape"),
        (array_pickle().replace(b"(I2\nt", b"(I4611686018427387904\nI4\nt"), "shape"),
        (array_pickle().replace(b"cnumpy\nndarray", b"cnumpy\ndtype"), "class of its own"),
    ],
)
def test_odd_arrays_are_refused(data: bytes, match: str) -> None:
    with pytest.raises(AssetError, match=rf"m\.pkl.*{match}"):
        read_pickle("m.pkl", data)


def test_object_arrays_by_frombuffer_are_refused() -> None:
    dtype = b"cnumpy\ndtype\n(S'O8'\nI0\nI1\ntR"
    data = b"\x80\x04cnumpy.core.numeric\n_frombuffer\n(C\x08ABCDEFGH" + dtype + b"(I1\ntS'C'\ntR."
    with pytest.raises(AssetError, match="not bytes"):
        read_pickle("m.pkl", data)


@pytest.mark.parametrize(
    "change",
    [
        {"indices": np.array([9], np.int32)},
        {"indptr": np.array([0, 5], np.int32)},
        {"indptr": np.array([0], np.int32)},
        {"data": np.zeros((1, 1))},
        {"_shape": (2, 2, 2)},
    ],
)
def test_broken_sparse_matrices_are_refused(monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]) -> None:
    csc = type("csc_matrix", (), {"__module__": "scipy.sparse._csc", "__qualname__": "csc_matrix"})
    fake = types.ModuleType("scipy.sparse._csc")
    fake.csc_matrix = csc  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "scipy.sparse._csc", fake)
    matrix = csc()
    one = np.ones(1, np.int32)
    matrix.__dict__.update(
        {"_shape": (2, 1), "data": np.ones(1), "indices": one, "indptr": np.array([0, 1], np.int32)}
    )
    assert read_pickle("m.pkl", pickle.dumps(matrix, 2)).indices.tolist() == [1]
    matrix.__dict__.update(change)
    with pytest.raises(AssetError, match="sparse matrix"):
        read_pickle("m.pkl", pickle.dumps(matrix, 2))


def test_memo_index_takes_no_memory() -> None:
    # C's unpickler grows an array to the largest index: this file would ask it for 32 GiB.
    assert read_pickle("m.pkl", b"I1\nr\xff\xff\xff\xff.") == 1


def test_lengths_beyond_the_file_take_no_memory() -> None:
    for opcode in (b"\x8e", b"\x96", b"\x8d"):
        with pytest.raises(AssetError, match=r"m\.pkl"):
            read_pickle("m.pkl", b"\x80\x05" + opcode + (1 << 60).to_bytes(8, "little") + b"abc.")


def test_loops_and_depth_are_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(AssetError, match="itself"):
        read_pickle("m.pkl", pickle.dumps(loop))
    with pytest.raises(AssetError, match="deeply"):
        read_pickle("m.pkl", b"(" * 500 + b"I1\n" + b"l" * 500 + b".")
    # Hashing this key would overflow the C stack.
    with pytest.raises(AssetError, match="key"):
        read_pickle("m.pkl", b"}I1\n" + b"\x85" * 200_000 + b"I1\ns.")


def test_shared_parts_are_converted_once() -> None:
    value: list[Any] = [1]
    for _ in range(40):  # 2^40 leaves if every path were walked
        value = [value, value]
    again = read_pickle("m.pkl", pickle.dumps(value))
    assert again[0] is again[1]


def test_the_same_bytes_again_and_again_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    from facezoo.heads import pickle_records

    monkeypatch.setattr(pickle_records, "MAX_FILE", 4096)
    data = pickle.dumps([np.zeros(100) for _ in range(9)])
    with pytest.raises(AssetError, match="arrays take more"):
        read_pickle("m.pkl", data)


def test_torch_storages_are_parsed_with_the_same_care(marker: Path) -> None:
    tensor = torch.arange(4.0)
    good = npy({"a": tensor})
    assert read_object_npy("e.npy", good)["a"].tolist() == [0, 1, 2, 3]
    stream = io.BytesIO()
    torch.save(Call(os.mkdir, str(marker)), stream, _use_new_zipfile_serialization=False)
    evil = npy(
        {
            "a": Call(
                torch._utils._rebuild_tensor_v2,
                _Storage(stream.getvalue()),
                0,
                (4,),
                (1,),
                False,
                OrderedDict(),
            )
        }
    )
    with pytest.raises(AssetError, match=rf"e\.npy.*{os.mkdir.__module__}\.mkdir"):
        read_object_npy("e.npy", evil)
    assert not marker.exists()


class _Storage:
    def __init__(self, data: bytes) -> None:
        self.data = data

    def __reduce__(self) -> Any:
        return torch.storage._load_from_bytes, (self.data,)


@pytest.mark.parametrize(
    ("size", "stride", "offset"),
    [((5,), (1,), 0), ((4,), (2,), 0), ((4,), (1,), 1), ((1 << 40,), (0,), 0), ((2,), (1, 1), 0)],
)
def test_tensors_stay_inside_their_storage(
    size: tuple[int, ...], stride: tuple[int, ...], offset: int
) -> None:
    raw = torch.arange(4.0)._typed_storage().__reduce__()[1][0]
    data = npy(
        {
            "a": Call(
                torch._utils._rebuild_tensor_v2, _Storage(raw), offset, size, stride, False, OrderedDict()
            )
        }
    )
    with pytest.raises(AssetError, match=r"e\.npy"):
        read_object_npy("e.npy", data)


def test_npy_headers_are_checked() -> None:
    for data in (
        b"",
        b"\x93NUMPY",
        b"\x93NUMPY\x01\x00\x10\x00__import__('os')",
        b"PK\x03\x04",
        npy({})[:-3],
    ):
        with pytest.raises(AssetError, match=r"e\.npy"):
            read_object_npy("e.npy", data)
    stream = io.BytesIO()
    np.save(stream, np.array([{}, {}], object), allow_pickle=True)
    with pytest.raises(AssetError, match="one object"):
        read_object_npy("e.npy", stream.getvalue())


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(AssetError, match=r"none\.pkl"):
        read_pickle(tmp_path / "none.pkl")


def test_truncations_never_escape() -> None:
    model = {"a": np.arange(4.0), "n": {"x": [1, 2, (3,)]}, "s": "text"}
    for protocol in (0, 2, 4, 5):
        data = pickle.dumps(model, protocol)
        for cut in range(len(data)):
            with pytest.raises(AssetError):
                read_pickle("m.pkl", data[:cut])


def test_random_damage_never_escapes() -> None:
    good = npy({"a": torch.arange(4.0), "b": np.arange(3)})
    g = np.random.default_rng(0)
    for _ in range(400):
        data = bytearray(good)
        for position in g.integers(0, len(data), 3):
            data[position] = g.integers(0, 256)
        with contextlib.suppress(AssetError):  # anything else fails the test
            read_object_npy("e.npy", bytes(data))
