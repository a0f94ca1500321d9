"""ICT-FaceKit's folder: a tiny one of its format becomes a head that the recipe trains on."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from stabilizer_fakes import head
from test_stabilizer_training import recipe

from facezoo.cli import main
from facezoo.errors import AssetError, InputError
from facezoo.heads import HeadModel, HeadParams, load_head
from facezoo.heads.ict import NEUTRAL, PUBLISHED, IctLayout, add_ict
from facezoo.models.stabilizer import PairConfig
from facezoo.models.stabilizer.pairs import PairSampler
from facezoo.models.stabilizer.predict import SkullStabilizer
from facezoo.models.stabilizer.regions import choose_points, regions
from facezoo.training.run import train

_SHAPES = {"jawOpen": ["mouthLowerDownLeft", "mouthLowerDownRight"], "browDown_L": ["browDownLeft"],
           "browDown_R": ["browDownRight"], "eyeBlink_L": ["eyeBlinkLeft"], "eyeBlink_R": ["eyeBlinkRight"],
           "mouthSmile_L": ["mouthSmileLeft"], "mouthSmile_R": ["mouthSmileRight"]}  # fmt: skip


def write_facekit(folder: Path) -> IctLayout:
    """Write a folder in ICT-FaceKit's format: centimetres, whole meshes, quads; the open head cut into ICT's parts."""
    model = head()
    masks = {name: set(ids.tolist()) for name, ids in model.topology.masks.items()}
    front = masks["face"] | masks["forehead"] | masks["left_ear"] | masks["right_ear"]
    inner = masks["mouth_interior"] | masks["teeth"]
    eyes = masks["left_eyeball"] | masks["right_eyeball"]
    everything = set(range(model.n_vertices))
    groups = {
        "face": front - inner - eyes,
        "head": everything - front - inner - eyes - masks["eye_socket"],
        "eye_sockets": masks["eye_socket"] - front - inner - eyes,
        "gums": inner,
        "left_eyeball": masks["left_eyeball"],
        "right_eyeball": masks["right_eyeball"],
    }
    order: list[int] = []
    parts = {}
    for name, ids in groups.items():
        parts[name] = (len(order), len(order) + len(ids))
        order += sorted(ids)
    assert len(order) == model.n_vertices
    place = np.argsort(order)
    vertices = model.v_template.numpy()[order]
    marks = model.landmarks(model.v_template[None], "ibug68")[0].numpy()
    skin = np.array(list(range(*parts["face"])))
    nearest = [int(skin[((vertices[skin] - m) ** 2).sum(1).argmin()]) for m in marks]
    triangles = place[model.topology.faces.numpy()]
    quad = [
        *triangles[0],
        next(int(v) for v in triangles[1] if v not in triangles[0]),
    ]  # one face has four corners
    lines = [f"f {' '.join(f'{v + 1}/1/1' for v in face)}" for face in [quad, *triangles[2:].tolist()]]
    folder.mkdir(parents=True)

    def write(name: str, shape: np.ndarray) -> None:
        rows = [f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in 100 * shape]
        text = "\n".join(["mtllib ICTFaceModelMaterial.mtl", *rows, "vt 0 0", "vn 0 0 1", *lines])
        (folder / name).write_text(text + "\n")

    write(NEUTRAL, vertices)
    directions = model.shapedirs.numpy()[order]
    for number in range(3):
        write(f"identity{number:03d}.obj", vertices + directions[..., number])
    names = model.params["expression"].names
    for name, sources in _SHAPES.items():
        moved = sum(directions[..., model.n_identity + names.index(s)] for s in sources)
        write(f"{name}.obj", vertices + moved)
    (folder / "PupilDilate_L.obj").write_text("v 0 0 0\n")
    return IctLayout(parts, tuple(nearest))


@pytest.fixture(scope="module")
def facekit(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, IctLayout]:
    folder = tmp_path_factory.mktemp("ict") / "FaceXModel"
    return folder, write_facekit(folder)


@pytest.fixture(scope="module")
def converted(facekit: tuple[Path, IctLayout], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return add_ict(facekit[0].parent, cache_dir=tmp_path_factory.mktemp("cache"), layout=facekit[1])


def test_the_published_table_is_whole() -> None:
    ends = sorted(PUBLISHED.parts.values())
    assert ends[0][0] == 0 and ends[-1][1] == PUBLISHED.size == 26719
    assert all(a[1] == b[0] for a, b in itertools.pairwise(ends))
    assert len(PUBLISHED.landmarks) == len(set(PUBLISHED.landmarks)) == 68


def test_coefficients_are_the_folders_shapes(facekit: tuple[Path, IctLayout], converted: Path) -> None:
    model = load_head(converted)
    assert (
        model.licence == "MIT"
        and model.n_identity == 3
        and set(model.params["expression"].names) == set(_SHAPES)
    )
    number = model.params["expression"].names.index("mouthSmile_R")
    expression = torch.zeros(1, len(_SHAPES))
    expression[0, number] = 1
    rows = [
        line.split()[1:]
        for line in (facekit[0] / "mouthSmile_R.obj").read_text().splitlines()
        if line[:2] == "v "
    ]
    expected = torch.tensor([[float(x) for x in row] for row in rows]) / 100
    assert torch.allclose(model(HeadParams(expression=expression)).vertices[0], expected, atol=1e-6)
    assert model.params["expression"].bounds is not None
    marks = model.landmarks(model.v_template[None], "ibug68")[0]
    assert torch.allclose(marks, model.v_template[list(facekit[1].landmarks)])


def test_regions_are_found_by_where_they_lie(converted: Path) -> None:
    model = load_head(converted)
    areas, own = regions(model), regions(head())

    def height(h: HeadModel, ids: torch.Tensor) -> float:
        return float(h.v_template[ids, 1].mean())

    assert height(model, areas.upper_face) == pytest.approx(height(head(), own.upper_face), abs=0.02)
    assert (
        len(areas.upper_face) > 0.6 * len(own.upper_face)
        and len(areas.cranium) > 200
        and len(areas.ears) > 100
    )
    eyes = model.topology.masks["left_eyeball"]
    assert not torch.isin(areas.full_head, eyes).any()
    assert (model.weights[eyes, 3] == 1).all()  # the subject's left is at positive x
    assert float(model.v_template[eyes, 0].mean()) > 0
    turned = model(HeadParams(neck=torch.tensor([[0.0, 0.3, 0.0]]))).vertices[0]
    body = model.v_template[:, 1].argmin()
    assert float((turned - model.v_template)[body].norm()) < 1e-4
    assert float((turned - model.v_template)[areas.upper_face].norm(dim=1).min()) > 0.01


def test_the_truth_holds_for_its_pairs(converted: Path) -> None:
    model = load_head(converted)
    ids = choose_points(model, "full_head", 200)
    sampler = PairSampler(model, ids, PairConfig(pool=16))
    assert sampler.population.sided and sampler.twin is not None
    pairs = sampler(0, 8, strength=0.0)
    rest = 1e3 * (pairs.truth.apply(pairs.source) - pairs.target).norm(dim=-1)
    assert float(rest[:, torch.isin(ids, regions(model).ears)].max()) < 0.05


def test_the_recipe_trains_on_it(converted: Path, tmp_path: Path) -> None:
    export = train(recipe(tmp_path, f"head={converted}", "trainer.max_steps=4"))
    model = SkullStabilizer.from_pretrained(export)
    assert model.info["head_id"] == str(converted) and model.info["licences"]["head"] == "MIT"
    mesh = load_head(converted).v_template
    assert torch.allclose(model.predict(mesh, mesh + 0.01).t, torch.full((3,), 0.01), atol=1e-5)
    with pytest.raises(InputError, match="topology"):
        model.predict(mesh[:-1], mesh[:-1])


def test_what_is_not_facekit_is_refused(facekit: tuple[Path, IctLayout], tmp_path: Path, capsys) -> None:
    folder, layout = facekit
    assert main(["assets", "add", "ict", str(tmp_path)]) == 2
    assert NEUTRAL in capsys.readouterr().err
    with pytest.raises(AssetError, match="ICT-FaceKit has 26719"):
        add_ict(folder, cache_dir=tmp_path)
    (tmp_path / NEUTRAL).write_bytes((folder / NEUTRAL).read_bytes())
    with pytest.raises(AssetError, match="0 identity and 0 expression"):
        add_ict(tmp_path, cache_dir=tmp_path, layout=layout)
    (tmp_path / "identity000.obj").write_text("v 1 2 3\n")
    (tmp_path / "jawOpen.obj").write_text("v 1 2 3\n")
    with pytest.raises(AssetError, match="has 1 vertices, expected"):
        add_ict(tmp_path, cache_dir=tmp_path, layout=layout)
