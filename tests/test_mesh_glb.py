"""GLB in detail: the container, every accessor, seams, morph targets, colours and refusals."""

import io
import json
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from mesh_shapes import rich_mesh, symmetric_patch
from PIL import Image

from facezoo.errors import AssetError, InputError
from facezoo.mesh import Mesh
from facezoo.mesh.io import read_glb, write_glb
from facezoo.mesh.io.colour import linear_to_srgb, srgb_to_linear
from facezoo.mesh.io.glb import NormalMap
from facezoo.mesh.seams import split_seams
from facezoo.render.normal_map import bake_normal_map

SIZES = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}
TYPES = {5123: "<u2", 5125: "<u4", 5126: "<f4"}


def parse(path: Path) -> tuple[dict, bytes]:
    """Read a GLB by the letter of the specification, independently of facezoo's reader."""
    data = path.read_bytes()
    magic, version, total = struct.unpack_from("<4sII", data)
    assert (magic, version, total) == (b"glTF", 2, len(data))
    length, kind = struct.unpack_from("<I4s", data, 12)
    assert kind == b"JSON" and length % 4 == 0
    document = json.loads(data[20 : 20 + length])
    size, kind = struct.unpack_from("<I4s", data, 20 + length)
    assert kind == b"BIN\0" and size % 4 == 0 and 28 + length + size == total
    return document, data[28 + length :]


def accessor(document: dict, binary: bytes, index: int) -> np.ndarray:
    entry = document["accessors"][index]
    view = document["bufferViews"][entry["bufferView"]]
    width, kind = SIZES[entry["type"]], TYPES[entry["componentType"]]
    values = np.frombuffer(binary, kind, entry["count"] * width, view["byteOffset"])
    assert values.nbytes == view["byteLength"]
    return values.reshape(-1, width)


def test_container_is_valid(tmp_path: Path) -> None:
    mesh = rich_mesh()
    document, binary = parse(write_glb(tmp_path / "m.glb", mesh, morph_normals=True, copyright="CC0-1.0"))
    assert document["asset"] == {"version": "2.0", "generator": "facezoo", "copyright": "CC0-1.0"}
    assert document["buffers"][0]["byteLength"] <= len(binary) < document["buffers"][0]["byteLength"] + 4
    ends = 0
    for view in document["bufferViews"]:
        assert view["byteOffset"] % 4 == 0 and view["byteOffset"] >= ends
        ends = view["byteOffset"] + view["byteLength"]
    assert ends == document["buffers"][0]["byteLength"]
    primitive = document["meshes"][0]["primitives"][0]
    counts = {document["accessors"][i]["count"] for i in primitive["attributes"].values()}
    counts |= {document["accessors"][i]["count"] for t in primitive["targets"] for i in t.values()}
    assert len(counts) == 1
    indices = accessor(document, binary, primitive["indices"])
    assert indices.max() < counts.pop() and len(indices) == mesh.faces.size
    positions = [primitive["attributes"]["POSITION"], *(t["POSITION"] for t in primitive["targets"])]
    for index in positions:  # the specification demands bounds here
        entry, values = document["accessors"][index], accessor(document, binary, index)
        assert entry["min"] == values.min(axis=0).tolist() and entry["max"] == values.max(axis=0).tolist()
    normals = accessor(document, binary, primitive["attributes"]["NORMAL"])
    np.testing.assert_allclose(normals[: len(mesh.vertices)], mesh.normals, atol=1e-6)


def test_morph_targets_carry_their_names(tmp_path: Path) -> None:
    mesh = rich_mesh()
    document, binary = parse(write_glb(tmp_path / "m.glb", mesh, morph_normals=True))
    gltf_mesh = document["meshes"][0]
    assert gltf_mesh["extras"]["targetNames"] == ["jawOpen", "eyeBlink_L"]
    assert gltf_mesh["weights"] == [0, 0]
    n = len(mesh.vertices)
    attributes, targets = gltf_mesh["primitives"][0]["attributes"], gltf_mesh["primitives"][0]["targets"]
    for target, offsets in zip(targets, mesh.morph_targets.values(), strict=True):
        np.testing.assert_array_equal(accessor(document, binary, target["POSITION"])[:n], offsets)
    # Adding a target's normals to those of the mesh gives the normals of the moved mesh.
    bare = Mesh(mesh.vertices, mesh.faces, morph_targets=mesh.morph_targets)
    document, binary = parse(write_glb(tmp_path / "bare.glb", bare, morph_normals=True))
    target = document["meshes"][0]["primitives"][0]["targets"][0]
    rest = accessor(document, binary, document["meshes"][0]["primitives"][0]["attributes"]["NORMAL"])
    moved = Mesh(bare.vertices + bare.morph_targets["jawOpen"], bare.faces)
    expected = read_glb(write_glb(tmp_path / "moved.glb", moved)).normals
    np.testing.assert_allclose(rest + accessor(document, binary, target["NORMAL"]), expected, atol=1e-5)
    assert attributes["POSITION"] != target["POSITION"]


def test_seams_split_the_fewest_vertices() -> None:
    mesh = rich_mesh()
    assert mesh.uv_faces is not None
    split = split_seams(mesh.faces, mesh.uv_faces, len(mesh.vertices))
    np.testing.assert_array_equal(split.vertex[split.faces], mesh.faces)
    np.testing.assert_array_equal(split.uv[split.faces], mesh.uv_faces)
    assert len(split.vertex) == len(mesh.vertices) + 7  # the seam is one column of the patch
    np.testing.assert_array_equal(split.vertex[: len(mesh.vertices)], np.arange(len(mesh.vertices)))
    whole = split_seams(mesh.faces, mesh.faces, len(mesh.vertices) + 2)  # two vertices without a face
    np.testing.assert_array_equal(whole.faces, mesh.faces)
    assert whole.uv[-2:].tolist() == [-1, -1]


def test_texture_stands_upright(tmp_path: Path) -> None:
    mesh = rich_mesh()
    document, binary = parse(write_glb(tmp_path / "m.glb", mesh))
    uv = accessor(document, binary, document["meshes"][0]["primitives"][0]["attributes"]["TEXCOORD_0"])
    up = mesh.vertices[:, 1] > 0.09
    assert (uv[: len(mesh.vertices)][up][:, 1] < 0.2).all()  # glTF counts v from the top
    image = document["images"][0]
    view = document["bufferViews"][image["bufferView"]]
    data = binary[view["byteOffset"] : view["byteOffset"] + view["byteLength"]]
    assert image["mimeType"] == "image/png"
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data))), mesh.texture)


def test_jpeg_texture(tmp_path: Path) -> None:
    ramp = np.repeat(np.linspace(0, 255, 64).astype(np.uint8)[None, :, None], 32, axis=0).repeat(3, axis=2)
    vertices, faces = symmetric_patch(3)
    alpha = np.concatenate([ramp, np.full((32, 64, 1), 128, np.uint8)], axis=2)
    mesh = Mesh(vertices, faces, uv=vertices[:, :2], texture=alpha)
    small = write_glb(tmp_path / "j.glb", mesh, texture_format="jpeg")
    assert parse(small)[0]["images"][0]["mimeType"] == "image/jpeg"
    back = read_glb(small).texture
    assert back is not None and np.abs(back.astype(int) - ramp).max() <= 4
    assert read_glb(write_glb(tmp_path / "p.glb", mesh)).texture.shape == (32, 64, 4)
    with pytest.raises(InputError, match="'png' or 'jpeg'"):
        write_glb(tmp_path / "x.glb", mesh, texture_format="webp")  # type: ignore[arg-type]
    assert not (tmp_path / "x.glb").exists()


def test_vertex_colours_are_linear_in_the_file(tmp_path: Path) -> None:
    vertices, faces = symmetric_patch(3)
    path = write_glb(tmp_path / "m.glb", Mesh(vertices, faces, colours=np.full((9, 3), 0.5)))
    document, binary = parse(path)
    stored = accessor(document, binary, document["meshes"][0]["primitives"][0]["attributes"]["COLOR_0"])
    np.testing.assert_allclose(stored, 0.2140411, atol=1e-6)  # sRGB 0.5 by IEC 61966-2-1
    grey = np.linspace(0, 1, 256, dtype=np.float32)
    np.testing.assert_allclose(linear_to_srgb(srgb_to_linear(grey)), grey, atol=1e-6)


def test_large_meshes_use_wide_indices(tmp_path: Path) -> None:
    for n, component in ((65534, 5123), (65535, 5125)):
        vertices = np.zeros((n, 3))
        document, _ = parse(write_glb(tmp_path / "m.glb", Mesh(vertices, [[0, 1, n - 1]])))
        assert document["accessors"][0]["componentType"] == component
        assert read_glb(tmp_path / "m.glb").faces.tolist() == [[0, 1, n - 1]]


def test_a_mesh_without_faces_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"write \.ply or \.npz"):
        write_glb(tmp_path / "m.glb", Mesh(np.zeros((3, 3)), np.zeros((0, 3), int)))


def rewrite(path: Path, change) -> Path:
    """Apply ``change`` to the JSON chunk of a GLB."""
    document, binary = parse(path)
    change(document)
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    head = struct.pack("<4sII", b"glTF", 2, 28 + len(text) + len(binary)) + struct.pack(
        "<I4s", len(text), b"JSON"
    )
    path.write_bytes(head + text + struct.pack("<I4s", len(binary), b"BIN\0") + binary)
    return path


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda d: d.update(extensionsRequired=["KHR_draco"]), "needs the extension KHR_draco"),
        (lambda d: d["meshes"].append(d["meshes"][0]), "2 meshes"),
        (lambda d: d["nodes"][0].update(scale=[2, 2, 2]), "a node has a scale"),
        (lambda d: d["meshes"][0]["primitives"][0].update(mode=1), r"expected 4 \(triangles\)"),
        (lambda d: d["accessors"][1].update(count=10**6), "beyond its buffer view"),
        (lambda d: d["bufferViews"][1].update(byteLength=10**7), "beyond the binary chunk"),
        (lambda d: d["bufferViews"][1].update(byteOffset=-4), "beyond the binary chunk"),
        (lambda d: d["accessors"][1].update(sparse={}), "sparse"),
        (lambda d: d["accessors"][1].update(type="MAT4"), "MAT4"),
        (lambda d: d["buffers"][0].update(uri="x.bin"), "outside the file"),
        (lambda d: d["meshes"][0]["extras"].update(targetNames=["one"]), "2 morph targets, but 1 names"),
        (lambda d: d.pop("accessors"), "incomplete or inconsistent"),
        (lambda d: d["images"][0].update(bufferView=0), "not a readable image"),
    ],
)
def test_what_the_reader_cannot_do_is_said(change, text: str, tmp_path: Path) -> None:
    path = rewrite(write_glb(tmp_path / "m.glb", rich_mesh()), change)
    with pytest.raises(AssetError, match=text) as caught:
        read_glb(path)
    assert "m.glb" in str(caught.value)


def test_rewriting_without_change_keeps_the_mesh(tmp_path: Path) -> None:
    path = rewrite(write_glb(tmp_path / "m.glb", rich_mesh()), lambda d: None)
    np.testing.assert_array_equal(read_glb(path).vertices, rich_mesh().vertices)


RADIUS, GRID = 0.1, 41


def bumpy(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Metres of displacement: slopes of up to 13 degrees on the ball."""
    return 0.0006 * np.sin(2 * np.pi * 6 * u) * np.cos(2 * np.pi * 4 * v)


def ball(u: np.ndarray, v: np.ndarray, relief: bool) -> np.ndarray:
    """Places on a piece of a ball that looks along +z, u to the right and v up."""
    across, up = u - 0.5, v - 0.5
    out = np.stack([np.sin(across) * np.cos(up), np.sin(up), np.cos(across) * np.cos(up)], -1)
    return (RADIUS + relief * bumpy(u, v))[..., None] * out


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_viewer_that_decodes_the_normal_map_sees_the_displaced_surface(
    tmp_path: Path, mirrored: bool
) -> None:
    line = np.linspace(0, 1, GRID)
    u, v = (x.ravel() for x in np.meshgrid(line, line))
    corner = (np.arange(GRID - 1)[:, None] * GRID + np.arange(GRID - 1)).ravel()
    quads = np.stack([corner, corner + 1, corner + GRID + 1, corner + GRID], 1)
    faces = np.concatenate([quads[:, :3], quads[:, [0, 2, 3]]])
    uv = np.stack([1 - u if mirrored else u, v], 1).astype(np.float32)
    vertices = ball(u, v, relief=False).astype(np.float32)
    normals = (vertices / RADIUS).astype(np.float32)
    side = 128
    texel = (np.arange(side) + 0.5) / side
    height = bumpy(1 - texel[None] if mirrored else texel[None], 1 - texel[:, None])
    baked = bake_normal_map(
        torch.from_numpy(vertices), torch.from_numpy(faces), torch.from_numpy(uv), torch.from_numpy(faces),
        torch.from_numpy(height)[None], side=256,
    )  # fmt: skip
    photo = np.full((4, 4, 3), 120, np.uint8)
    mesh = Mesh(vertices, faces, uv, faces, normals=normals, texture=photo)
    path = write_glb(tmp_path / "m.glb", mesh, normal_map=baked)
    document, binary = parse(path)
    material, primitive = document["materials"][0], document["meshes"][0]["primitives"][0]
    source = document["textures"][material["normalTexture"]["index"]]["source"]
    view = document["bufferViews"][document["images"][source]["bufferView"]]
    picture = Image.open(io.BytesIO(binary[view["byteOffset"] : view["byteOffset"] + view["byteLength"]]))
    colours = np.asarray(picture, float) / 255 * 2 - 1
    np.testing.assert_array_equal(read_glb(path).texture, photo)  # the colours are still the colours

    values = {name: accessor(document, binary, index) for name, index in primitive["attributes"].items()}
    normal, tangent = values["NORMAL"], values["TANGENT"]
    assert set(np.unique(tangent[:, 3])) == ({-1.0} if mirrored else {1.0})
    np.testing.assert_allclose(np.linalg.norm(tangent[:, :3], axis=1), 1, atol=1e-6)
    np.testing.assert_allclose((tangent[:, :3] * normal).sum(1), 0, atol=0.02)
    bitangent = np.cross(normal, tangent[:, :3]) * tangent[:, 3:]
    at = values["TEXCOORD_0"] * 256 - 0.5  # nearest texel; the file's v runs down
    column, row = np.clip(np.rint(at), 0, 255).astype(int).T
    shares = colours[row, column]
    decoded = shares[:, :1] * tangent[:, :3] + shares[:, 1:2] * bitangent + shares[:, 2:] * normal
    decoded /= np.linalg.norm(decoded, axis=1, keepdims=True)
    step = 1e-5
    along = ball(u + step, v, True) - ball(u - step, v, True)
    up = ball(u, v + step, True) - ball(u, v - step, True)
    truth = np.cross(along, up)
    truth /= np.linalg.norm(truth, axis=1, keepdims=True)
    inner = (np.abs(u - 0.5) < 0.45) & (np.abs(v - 0.5) < 0.45)

    def degrees(found: np.ndarray) -> np.ndarray:
        return np.degrees(np.arccos(np.clip((found * truth).sum(1), -1, 1)))[inner]

    assert np.median(degrees(normal)) > 4  # the light mesh alone does not show it
    assert np.median(degrees(decoded)) < 0.8 and degrees(decoded).max() < 2


def test_a_normal_map_must_fit_its_mesh(tmp_path: Path) -> None:
    mesh = rich_mesh()
    wrong = NormalMap(np.zeros((2, 2, 3), np.uint8), np.zeros((3, 4), np.float32))
    with pytest.raises(InputError, match="the mesh has"):
        write_glb(tmp_path / "m.glb", mesh, normal_map=wrong)
    with pytest.raises(InputError, match="no texture coordinates"):
        write_glb(tmp_path / "m.glb", Mesh(mesh.vertices, mesh.faces), normal_map=wrong)
    assert not list(tmp_path.iterdir())
