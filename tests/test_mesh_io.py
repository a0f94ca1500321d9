"""Mesh files: round trips, other programs' dialects, trimesh as a witness, stable bytes, damaged input."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from mesh_shapes import rich_mesh, symmetric_patch
from PIL import Image

from facezoo.errors import AssetError, InputError, UnknownNameError
from facezoo.mesh import Mesh, read_mesh, write_mesh
from facezoo.mesh.io import MESH_SUFFIXES, read_obj, read_ply, write_ply
from facezoo.mesh.io.atomic import write_bytes

READABLE = [".obj", ".ply", ".glb", ".npz"]


@pytest.mark.parametrize("suffix", READABLE)
def test_round_trip(suffix: str, tmp_path: Path) -> None:
    mesh = rich_mesh()
    path = write_mesh(tmp_path / f"deep/er/patch{suffix}", mesh)
    back = read_mesh(path)
    np.testing.assert_array_equal(back.vertices, mesh.vertices)
    np.testing.assert_array_equal(back.faces, mesh.faces)
    assert back.normals is not None and back.colours is not None
    np.testing.assert_allclose(back.normals, mesh.normals, atol=1e-6)
    np.testing.assert_allclose(back.colours, mesh.colours, atol=0.5 / 255 if suffix == ".ply" else 1e-6)
    assert back.name == "patch"
    if suffix == ".ply":
        return
    assert back.uv is not None and mesh.uv is not None
    np.testing.assert_allclose(back.uv[back.uv_faces], mesh.uv[mesh.uv_faces], atol=1e-7)
    np.testing.assert_array_equal(back.texture, mesh.texture)
    if suffix != ".obj":
        assert list(back.morph_targets) == ["jawOpen", "eyeBlink_L"]
        for name, offsets in mesh.morph_targets.items():
            np.testing.assert_array_equal(back.morph_targets[name], offsets)


@pytest.mark.parametrize("suffix", READABLE)
def test_a_bare_mesh_round_trips(suffix: str, tmp_path: Path) -> None:
    vertices, faces = symmetric_patch(5)
    back = read_mesh(write_mesh(tmp_path / f"bare{suffix}", Mesh(vertices, faces)))
    np.testing.assert_array_equal(back.vertices, vertices.astype(np.float32))
    np.testing.assert_array_equal(back.faces, faces)
    assert back.uv is None and back.colours is None and back.texture is None and not back.morph_targets
    assert (back.normals is not None) == (suffix == ".glb")  # GLB adds them: viewers shade flat otherwise


@pytest.mark.parametrize("suffix", MESH_SUFFIXES)
def test_same_mesh_same_bytes_and_nothing_left_behind(suffix: str, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        write_mesh(tmp_path / folder / f"m{suffix}", rich_mesh())
        write_mesh(tmp_path / folder / f"m{suffix}", rich_mesh())  # overwrites
    names = sorted(os.listdir(tmp_path / "a"))
    extra = {".obj": ["m.mtl", "m.obj", "m.png"], ".usda": ["m.png", "m.usda"]}
    assert names == sorted(os.listdir(tmp_path / "b")) == extra.get(suffix, [f"m{suffix}"])
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize("suffix", [".obj", ".ply", ".glb"])
def test_trimesh_reads_the_same_mesh(suffix: str, tmp_path: Path) -> None:
    trimesh = pytest.importorskip("trimesh")
    mesh = rich_mesh()
    path = write_mesh(tmp_path / f"patch{suffix}", mesh)
    loaded = trimesh.load(path, process=False, force="mesh")
    n = len(mesh.vertices)
    # OBJ and GLB readers split vertices at UV seams: compare triangle by triangle.
    np.testing.assert_allclose(loaded.triangles, mesh.vertices[mesh.faces], atol=1e-6)
    if suffix != ".obj":
        np.testing.assert_allclose(loaded.vertices[:n], mesh.vertices, atol=1e-6)
    if suffix == ".ply":
        np.testing.assert_array_equal(loaded.visual.vertex_colors[:, :3], np.rint(mesh.colours * 255))
    else:
        np.testing.assert_allclose(loaded.visual.uv[loaded.faces], mesh.uv[mesh.uv_faces], atol=1e-6)


def test_binary_and_ascii_ply_hold_the_same(tmp_path: Path) -> None:
    mesh = rich_mesh()
    binary = read_ply(write_ply(tmp_path / "b.ply", mesh))
    text = read_ply(write_ply(tmp_path / "a.ply", mesh, ascii=True))
    for key in ("vertices", "faces", "normals", "colours"):
        np.testing.assert_array_equal(getattr(binary, key), getattr(text, key))


def test_ply_of_other_programs(tmp_path: Path) -> None:
    header = (
        "ply\r\nformat {} 1.0\r\nobj_info x\r\nelement camera 1\r\n"
        "property list uchar float k\r\nproperty int id\r\n"
        "element vertex 5\r\nproperty double x\r\nproperty double y\r\nproperty double z\r\n"
        "property uchar alpha\r\n"
        "element face 2\r\nproperty uchar flag\r\nproperty list int uint vertex_index\r\nend_header\r\n"
    )
    points = np.arange(15.0).reshape(5, 3)
    text = header.format("ascii") + "2 0.5 0.5 7\r\n"
    text += "".join(f"{x} {y} {z} 255\r\n" for x, y, z in points) + "0 3 0 1 2\r\n\r\n1 4 1 2 3 4\r\n"
    (tmp_path / "a.ply").write_bytes(text.encode())
    big = header.format("binary_big_endian").encode()
    big += b"\x02" + np.array([0.5, 0.5], ">f4").tobytes() + np.array([7], ">i4").tobytes()
    big += b"".join(p.astype(">f8").tobytes() + b"\xff" for p in points)
    for flag, ids in ((0, [0, 1, 2]), (1, [1, 2, 3, 4])):
        big += bytes([flag]) + np.array([len(ids), *ids], ">u4").tobytes()
    (tmp_path / "b.ply").write_bytes(big)
    for name in ("a.ply", "b.ply"):
        mesh = read_ply(tmp_path / name)
        np.testing.assert_array_equal(mesh.vertices, points)
        assert mesh.faces.tolist() == [[0, 1, 2], [1, 2, 3], [1, 3, 4]]


def test_ply_point_cloud(tmp_path: Path) -> None:
    cloud = Mesh(np.random.default_rng(0).normal(size=(7, 3)), np.zeros((0, 3), int))
    back = read_ply(write_ply(tmp_path / "c.ply", cloud))
    np.testing.assert_array_equal(back.vertices, cloud.vertices)
    assert back.faces.shape == (0, 3)


def test_obj_of_other_programs(tmp_path: Path) -> None:
    (tmp_path / "quad.obj").write_text(
        "# comment\ng a b\nmtllib my mat.mtl\n"
        "v 0 0 0 # first\nv 1 0 0\nv 1 1 0 \\\n  1.0\nv 0 1 0\n"
        "vt 0 0\nvt 1 0 0\nvt 1 1\nvt 0 1\nvn 0 0 1\nvn 0 0.6 0.8\ns off\nusemtl skin\n"
        "f 1/1/1 2/2/1 3/3/1 4/4/2\nf -4/-4/-2 -2/-2/-2 -1/-1/-2\n"
    )
    (tmp_path / "my mat.mtl").write_text("newmtl skin\n  map_Kd -clamp on sub\\t.png\n")
    (tmp_path / "sub").mkdir()
    Image.new("L", (3, 2), 77).save(tmp_path / "sub" / "t.png")
    mesh = read_obj(tmp_path / "quad.obj")
    assert mesh.vertices[2].tolist() == [1, 1, 0]
    assert mesh.faces.tolist() == [[0, 1, 2], [0, 2, 3], [0, 2, 3]]
    assert mesh.uv_faces is not None and mesh.uv_faces.tolist() == mesh.faces.tolist()
    assert mesh.texture is not None and mesh.texture.shape == (2, 3, 3) and (mesh.texture == 77).all()
    assert mesh.normals is not None
    np.testing.assert_allclose(mesh.normals[3], np.array([0, 0.6, 1.8]) / np.hypot(0.6, 1.8), atol=1e-6)
    (tmp_path / "sub" / "t.png").unlink()
    with pytest.warns(UserWarning, match="t.png' is missing"):
        assert read_obj(tmp_path / "quad.obj").texture is None


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("v 0 0\n", r"m\.obj, line 1: expected 3 or 4 or 6 or 7 numbers, got 2"),
        ("v 0 0 x\n", "line 1: expected numbers"),
        ("v 0 0 nan\n", "line 1: a number is not finite"),
        ("v 0 0 0\nf 1 1\n", "line 2: a face needs at least 3 corners"),
        ("v 0 0 0\n\nf 1 1 2\n", "line 3: face corner '2' refers to vertex 2 of 1"),
        ("v 0 0 0\nf 1 0 1\n", "line 2: face corner '0' refers to vertex 0"),
        ("v 0 0 0\nf 1/1 1/1 1/1\n", "refers to texture coordinate 1 of 0"),
        ("v 0 0 0\nf 1 1 a\n", "expected whole numbers"),
        ("v 0 0 0\nf 1 1 1/2/3/4\n", "expected v, v/vt"),
        ("hello\n", "no vertex in it"),
        ("", "no vertex in it"),
    ],
)
def test_damaged_obj_names_file_and_line(content: str, text: str, tmp_path: Path) -> None:
    (tmp_path / "m.obj").write_text(content)
    with pytest.raises(AssetError, match=text):
        read_obj(tmp_path / "m.obj")


VERTEX = "element vertex 1\nproperty float x\nproperty float y\nproperty float z\n"
FACE = "element face 1\nproperty list uchar int vertex_indices\n"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("plie\n", r"m\.ply, line 1: does not start with 'ply'"),
        ("ply\nformat ascii 1.0\n", "no end_header"),
        ("ply\nformat utf8 1.0\nend_header\n", "line 2: unknown format 'utf8'"),
        ("ply\nend_header\n", "no format line"),
        ("ply\nformat ascii 1.0\nelement vertex -1\nend_header\n", "line 3: the number of elements is '-1'"),
        (f"ply\nformat ascii 1.0\n{VERTEX}property half q\nend_header\n", "line 7: unknown type 'half'"),
        (
            "ply\nformat ascii 1.0\nelement vertex 0\nproperty float x\nend_header\n",
            "no vertex element with x, y",
        ),
        (f"ply\nformat ascii 1.0\n{VERTEX}end_header\n", "ends after 0 of 1 vertex rows"),
        (f"ply\nformat ascii 1.0\n{VERTEX}end_header\n1 2\n", "line 8: too few numbers for a vertex"),
        (f"ply\nformat ascii 1.0\n{VERTEX}end_header\n1 2 z\n", "line 8: expected numbers"),
        (f"ply\nformat ascii 1.0\n{VERTEX}end_header\n1 2 nan\n", "not finite"),
        (f"ply\nformat ascii 1.0\n{VERTEX}{FACE}end_header\n1 2 3\n2 0 0\n", "fewer than 3 corners"),
        (f"ply\nformat ascii 1.0\n{VERTEX}{FACE}end_header\n1 2 3\n3 0 0 5\n", "vertex id 5"),
        (f"ply\nformat ascii 1.0\n{VERTEX}{FACE}end_header\n1 2 3\n9 0 0 0\n", "line 11: too few numbers"),
        (f"ply\nformat binary_little_endian 1.0\n{VERTEX}end_header\nabc", "truncated"),
        (f"ply\nformat binary_little_endian 1.0\n{VERTEX}{FACE}end_header\n{'0' * 12}\x03ab", "truncated"),
        ("ply\nformat ascii 1.0\nproperty float x\nend_header\n", "line 3: unexpected header line"),
        (f"ply\nformat ascii 1.0\n{VERTEX}{VERTEX}end_header\n", "declared twice"),
    ],
)
def test_damaged_ply_names_file_and_line(content: str, text: str, tmp_path: Path) -> None:
    (tmp_path / "m.ply").write_bytes(content.encode())
    with pytest.raises(AssetError, match=text):
        read_ply(tmp_path / "m.ply")


def complaint(path: Path) -> str | None:
    """Read a mesh; return the text of its AssetError. Any other exception is a bug and comes through."""
    try:
        read_mesh(path)
    except AssetError as error:
        return str(error)
    return None


@pytest.mark.parametrize("suffix", READABLE)
def test_truncated_files_never_crash_a_reader(suffix: str, tmp_path: Path) -> None:
    data = write_mesh(tmp_path / f"whole{suffix}", rich_mesh()).read_bytes()
    for part in np.linspace(0, 0.99, 23):
        path = tmp_path / f"part{suffix}"
        path.write_bytes(data[: int(len(data) * part)])
        error = complaint(path)
        # Half an OBJ can be a valid OBJ; the other formats say how long they are.
        assert path.name in error if error else suffix == ".obj"


@pytest.mark.parametrize("suffix", READABLE)
def test_flipped_bytes_never_crash_a_reader(suffix: str, tmp_path: Path) -> None:
    data = bytearray(write_mesh(tmp_path / f"whole{suffix}", rich_mesh()).read_bytes())
    rng = np.random.default_rng(0)
    for _ in range(40):
        broken = bytearray(data)
        for at in rng.integers(0, min(len(data), 3000), 5):
            broken[at] = rng.integers(0, 256)
        path = tmp_path / f"broken{suffix}"
        path.write_bytes(bytes(broken))
        error = complaint(path)
        assert error is None or path.name in error


def test_unknown_suffix_lists_the_known(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"\.gbl'.*Did you mean '\.glb'.*\.npz, \.obj, \.ply, \.usda"):
        write_mesh(tmp_path / "m.gbl", rich_mesh())
    with pytest.raises(UnknownNameError, match="mesh format"):
        read_mesh(tmp_path / "mesh")
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("suffix", READABLE)
def test_missing_file(suffix: str, tmp_path: Path) -> None:
    with pytest.raises(AssetError, match=f"cannot read .*nothing{suffix}: No such file"):
        read_mesh(tmp_path / f"nothing{suffix}")


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_bytes(tmp_path / "f.bin", b"old")

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(InputError, match=r"cannot write .*f\.bin: No space left"):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["f.bin"]


def test_unwritable_place(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        write_mesh(tmp_path / "file" / "m.ply", rich_mesh())


def test_written_files_follow_the_umask(tmp_path: Path) -> None:
    path = write_bytes(tmp_path / "f.bin", b"x")
    (tmp_path / "plain").write_text("x")
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_usda_holds_the_mesh(tmp_path: Path) -> None:
    mesh = rich_mesh()
    text = write_mesh(tmp_path / "m.usda", mesh).read_text()

    def numbers(keyword: str) -> np.ndarray:
        body = text.split(f"{keyword} = [", 1)[1].split("]", 1)[0]
        return np.array([float(x) for x in body.replace("(", "").replace(")", "").split(",")])

    np.testing.assert_array_equal(numbers("point3f[] points").astype(np.float32), mesh.vertices.ravel())
    np.testing.assert_array_equal(numbers("int[] faceVertexIndices"), mesh.faces.ravel())
    np.testing.assert_array_equal(numbers("int[] primvars:st:indices"), mesh.uv_faces.ravel())
    blink = text.split('def BlendShape "eyeBlink_L"')[1]
    assert "pointIndices = [0, 1, 2]" in blink  # only what moves
    assert 'upAxis = "Y"' in text and "metersPerUnit = 1" in text and text.count("{") == text.count("}")


def test_usda_opens_in_usd(tmp_path: Path) -> None:
    usd = pytest.importorskip("pxr.Usd", reason="usd-core is not installed")
    from pxr import UsdGeom, UsdSkel

    mesh = rich_mesh()
    odd = Mesh(
        mesh.vertices, mesh.faces, morph_targets={"jaw open": mesh.vertices, "jaw-open": mesh.vertices}
    )
    stage = usd.Stage.Open(str(write_mesh(tmp_path / "odd.usda", odd)))
    assert stage.GetPrimAtPath("/face/mesh/jaw_open") and stage.GetPrimAtPath("/face/mesh/jaw_open_1")
    stage = usd.Stage.Open(str(write_mesh(tmp_path / "m.usda", mesh)))
    prim = stage.GetPrimAtPath("/patch/mesh")
    np.testing.assert_array_equal(np.array(UsdGeom.Mesh(prim).GetPointsAttr().Get()), mesh.vertices)
    query = UsdSkel.BlendShapeQuery(UsdSkel.BindingAPI(prim))
    assert query.GetNumBlendShapes() == 2
    offsets = np.array(query.GetBlendShape(0).GetOffsetsAttr().Get())
    np.testing.assert_array_equal(offsets, mesh.morph_targets["jawOpen"])


def test_mesh_takes_tensors_and_refuses_nonsense() -> None:
    vertices, faces = symmetric_patch(3)
    mesh = Mesh(torch.tensor(vertices, requires_grad=True), torch.tensor(faces))
    assert mesh.vertices.dtype == np.float32 and mesh.faces.dtype == np.int64
    for bad, text in [
        ({"vertices": vertices[:, :2]}, r"vertices must be numbers of shape \(N, 3\)"),
        ({"vertices": vertices * np.nan}, "27 values that are not finite"),
        ({"faces": faces + 9}, "vertex id 17, but there are only 9"),
        ({"normals": vertices[:4]}, r"normals must be numbers of shape \(9, 3\)"),
        ({"uv": vertices[:5, :2]}, "give uv_faces as well"),
        ({"uv_faces": faces}, "uv_faces needs uv"),
        ({"uv": vertices[:, :2], "uv_faces": faces[:2]}, "uv_faces has shape"),
        ({"colours": vertices * 0 + 2}, r"must lie in \[0, 1\]"),
        ({"texture": np.zeros((2, 2, 3), np.uint8)}, "texture needs uv"),
        ({"texture": np.zeros((2, 2, 3)), "uv": vertices[:, :2]}, "texture must be uint8"),
        ({"morph_targets": {"smile": vertices[:2]}}, "morph target 'smile'"),
    ]:
        with pytest.raises(InputError, match=text):
            Mesh(**{"vertices": vertices, "faces": faces, **bad})
