"""The NoW benchmark: the official computation (parity pack ``now-eval``), its files, pooling, curves, refusals."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from deca_packs import load_pack
from PIL import Image
from scipy.spatial.transform import Rotation

from facezoo.errors import AssetError, InputError
from facezoo.evaluation.now import (
    NowResult,
    compare,
    evaluate_now,
    export_prediction,
    measure_scans,
    neutral_head,
)
from facezoo.evaluation.now_alignment import (
    SEVEN,
    Placement,
    counted_vertices,
    landmark_placement,
    metric_placement,
    refine,
    region,
    scan_error,
)
from facezoo.evaluation.now_data import NowBenchmark, Scan, challenge_name, read_picked_points
from facezoo.evaluation.now_picture import cumulative_curve, draw_curves
from facezoo.evaluation.now_synthetic import _mean_head, covered_share, scan_of, yaw_group
from facezoo.heads import HeadModel, HeadParams, load_head
from facezoo.mesh import read_mesh
from facezoo.mesh.closest import closest_points
from facezoo.metrics.scan import PooledDistance
from facezoo.models.deca.predict import Deca
from facezoo.synth.engine import Sample, label_batch
from facezoo.types import Face


@pytest.fixture(scope="module")
def pack() -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in load_pack("now-eval").items()}


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return load_head("open-v1")


@pytest.mark.parametrize("kind", ["nonmetrical", "metrical"])
def test_crop_and_first_placement_are_the_official_ones(pack: dict[str, np.ndarray], kind: str) -> None:
    p = {k.removeprefix(f"{kind}."): v for k, v in pack.items() if k.startswith(f"{kind}.")}
    centre, radius = region(p["scan_lmk"])
    np.testing.assert_allclose(centre, p["crop_centre"], rtol=1e-9)
    np.testing.assert_allclose(radius, p["crop_radius"][0], rtol=1e-9)
    assert np.array_equal(counted_vertices(p["scan_v"], p["scan_lmk"]), p["crop_ids"])
    found = landmark_placement(p["pred_lmk"], p["scan_lmk"])
    np.testing.assert_allclose(found.R, p["procrustes.R"], atol=1e-9)
    np.testing.assert_allclose(
        [found.scale, *found.t], [p["procrustes.scale"][0], *p["procrustes.t"]], rtol=1e-9
    )
    np.testing.assert_allclose(found(p["pred_lmk"]), p["procrustes.Z"], rtol=1e-9, atol=1e-9)
    if kind == "metrical":
        found = metric_placement(p["pred_lmk"], p["scan_lmk"], 1000.0, compat=True)
    np.testing.assert_allclose(found(p["pred_v"])[::7], p["initial_aligned_v.sub"], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", ["nonmetrical", "metrical"])
def test_distances_are_the_official_ones(pack: dict[str, np.ndarray], kind: str) -> None:
    p = {k.removeprefix(f"{kind}."): v for k, v in pack.items() if k.startswith(f"{kind}.")}
    first = (
        landmark_placement(p["pred_lmk"], p["scan_lmk"]) if kind == "nonmetrical"
        else metric_placement(p["pred_lmk"], p["scan_lmk"], 1000.0, compat=True)
    )  # fmt: skip
    stored = p["refine.s"][0] * first(p["pred_v"]) @ p["refine.R"].T + p["refine.t"]
    np.testing.assert_allclose(stored[::7], p["aligned_v.sub"], atol=1e-9)
    points = p["scan_v"][p["crop_ids"]]
    official = closest_points(points, stored, p["pred_f"].astype(np.int64)).distance
    np.testing.assert_allclose(official, p["distances"], atol=1e-9)

    unit = None if kind == "nonmetrical" else 1000.0
    own = scan_error(
        p["scan_v"], p["scan_lmk"], p["pred_v"], p["pred_f"].astype(np.int64), p["pred_lmk"], unit=unit
    )
    median, mean, _ = p["summary_median_mean_std"]
    best, best_median, best_mean, _ = p["own_GN_optimum.sumsq_median_mean_s"]
    total = float((own.distances**2).sum())
    assert total <= p["sum_sq_before_after"][1] * 1.0005 and total <= best * (1 + 1e-5)
    assert abs(np.median(own.distances) - median) < 0.005 and abs(own.distances.mean() - mean) < 0.005
    assert abs(np.median(own.distances) - best_median) < 1e-3 and abs(own.distances.mean() - best_mean) < 1e-3
    if unit:
        assert own.placement.scale == unit
    placed = own.placement(p["pred_v"])
    np.testing.assert_allclose(
        closest_points(points, placed, p["pred_f"].astype(np.int64)).distance, own.distances, atol=1e-8
    )


def bowl(n: int = 15) -> tuple[np.ndarray, np.ndarray]:
    """An asymmetric curved patch in millimetres."""
    x, y = np.meshgrid(np.linspace(-60, 60, n), np.linspace(-80, 80, n))
    z = 90 - x**2 / 90 - y**2 / 120 + 0.05 * x + 3 * np.sin(x / 20) * np.cos(y / 30)
    ids = np.arange(n * n).reshape(n, n)
    a, b, c, d = ids[:-1, :-1].ravel(), ids[:-1, 1:].ravel(), ids[1:, 1:].ravel(), ids[1:, :-1].ravel()
    return np.stack([x, y, z], -1).reshape(-1, 3), np.concatenate(
        [np.stack([a, b, c], 1), np.stack([a, c, d], 1)]
    )


@pytest.mark.parametrize("scale", [True, False])
def test_refinement_finds_a_placement_that_fits(scale: bool) -> None:
    vertices, faces = bowl()
    target = Placement(
        1.04 if scale else 1.0, Rotation.from_rotvec([0.05, -0.04, 0.03]).as_matrix(), np.array([2.0, -1, 3])
    )
    inner = np.flatnonzero(np.abs(vertices[:, :2]).max(1) < 55)
    found = refine(target(vertices)[inner], vertices, faces, scale=scale)
    gaps = closest_points(target(vertices)[inner], found(vertices), faces).distance
    assert gaps.max() < 1e-2
    assert abs(found.scale - target.scale) < 1e-3


def test_a_reflected_prediction_may_fit_as_in_the_official_program() -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(size=(7, 3))
    mirrored = points * [-1, 1, 1] * 3 + 5
    found = landmark_placement(mirrored, points)
    np.testing.assert_allclose(found(mirrored), points, atol=1e-12)
    assert np.linalg.det(found.R) < 0


def test_pooled_numbers_run_over_vertices() -> None:
    metric = PooledDistance()
    metric.update(torch.tensor([1.0, -2, 3]))
    metric.update(torch.tensor([10.0]))
    expected = np.array([1.0, 2, 3, 10])
    torch.testing.assert_close(metric.compute(), torch.tensor([2.5, expected.mean(), expected.std()]).float())
    result = NowResult()
    result.add("a/x/1", "neutral", np.array([1.0, 1, 1, 1]))
    result.add("a/y/2", "selfie", np.array([5.0, 7]))
    table = result.summary()
    assert table["all"] == {"median": 1.0, "mean": 2.667, "std": 2.427, "vertices": 6}
    assert table["selfie"]["median"] == 6 and result.medians["a/y/2"] == 6
    errors, curves = cumulative_curve(result.pooled)
    assert curves["all"][np.searchsorted(errors, 0.9)] == 0
    assert abs(curves["all"][np.searchsorted(errors, 1.0)] - 100 * 4 / 6) < 1e-9 and curves["all"][-1] == 100
    assert all((np.diff(curve) >= 0).all() for curve in curves.values())
    picture = np.asarray(draw_curves(result.pooled, "title"))
    assert picture.std() > 5 and picture.ndim == 3


def person(head: HeadModel, seed: int) -> Face:
    identity = torch.randn(1, head.n_identity, generator=torch.Generator().manual_seed(seed)) * 0.8
    params = HeadParams(identity=identity, expression=torch.full((1, 49), 0.3), jaw=torch.full((1, 3), 0.1))
    return Face(torch.zeros(4), 1.0, {}, params=params, head=head, head_id=head.head_id)


def test_neutral_heads_lose_expression_and_keep_the_person(head: HeadModel, tmp_path: Path) -> None:
    one, other = neutral_head(person(head, 1)), neutral_head(person(head, 2))
    expected = head(HeadParams(identity=person(head, 1).params.identity)).vertices  # type: ignore[union-attr]
    np.testing.assert_allclose(one.vertices, expected[0].double().numpy())
    np.testing.assert_allclose(
        one.landmarks, head.landmarks(expected, "ibug68")[0, list(SEVEN)].numpy(), atol=1e-7
    )
    assert np.linalg.norm(one.landmarks[0] - one.landmarks[3]) > 0.06  # the outer eye corners, metres
    scan = Scan(one.vertices[::3] * 1000, one.landmarks * 1000)
    result = measure_scans([("self", "neutral", one, scan), ("other", "neutral", other, scan)])
    assert result.medians["self"] < 1e-6 and 0.1 < result.medians["other"] < 5
    export_prediction(tmp_path, "s/neutral/1", one)
    written = read_mesh(tmp_path / "s/neutral/1.obj")
    assert written.colours is None
    np.testing.assert_allclose(written.vertices, one.vertices, atol=1e-6)
    np.testing.assert_allclose(np.load(tmp_path / "s/neutral/1.npy"), one.landmarks)
    bare = Face(torch.zeros(4), 1.0, {})
    with pytest.raises(InputError, match="estimates none"):
        neutral_head(bare)
    with pytest.raises(InputError, match=r"\(7, 3\)"):
        compare(one, Scan(scan.vertices, scan.landmarks[:5]))


def write_benchmark(root: Path, head: HeadModel, *, scans: bool = True) -> None:
    """Write a benchmark of one subject and two pictures in the official layout."""
    base = root / "final_release_version"
    names = ["subj/multiview_neutral/a.jpg", "subj/multiview_occlusions/b.jpg"]
    rng = np.random.default_rng(0)
    for name in names:
        path = base / "iphone_pictures" / name
        path.parent.mkdir(parents=True)
        Image.fromarray(rng.integers(0, 255, (160, 120, 3), dtype=np.uint8)).save(path)
        box = base / "detected_face" / Path(name).with_suffix(".npy")
        box.parent.mkdir(parents=True)
        np.save(box, {"left": 30, "top": 40, "right": 90, "bottom": 110}, allow_pickle=True)
    for file in ("imagepathsvalidation.txt", "imagepathstest.txt"):
        (root / file).write_text("\n".join(names) + "\n")
    if not scans:
        return
    truth = neutral_head(person(head, 3))
    export_prediction(root / "scans" / "subj", "scan", truth)
    mesh = (root / "scans" / "subj" / "scan.obj").read_text().splitlines()
    scaled = [
        "v " + " ".join(str(1000 * float(x)) for x in line.split()[1:]) if line.startswith("v ") else line
        for line in mesh
    ]
    (root / "scans" / "subj" / "scan.obj").write_text("\n".join(scaled) + "\n")
    points = "\n".join(
        f' <point x="{x}" y="{y}" z="{z}" active="1" name="{i}"/>'
        for i, (x, y, z) in enumerate(truth.landmarks * 1000)
    )
    path = root / "scans_lmks_onlypp" / "subj" / "scan_picked_points.pp"
    path.parent.mkdir(parents=True)
    path.write_text(f"<!DOCTYPE PickedPoints>\n<PickedPoints>\n <DocumentData/>\n{points}\n</PickedPoints>\n")


def untrained(folder: Path, head: HeadModel) -> Path:
    """Write an untrained small DECA."""
    from test_deca_net import SMALL

    from facezoo.models.deca.config import DecaConfig

    torch.manual_seed(0)
    model = Deca(DecaConfig(**{**SMALL, "detail": 0}))
    with torch.no_grad():
        model.net.codes_std.fill_(0.1)
        model.net.codes_mean[-30] = 8.0  # the camera's scale
    model.save_pretrained(folder)
    return folder


@pytest.mark.slow
def test_command_measures_and_exports(tmp_path: Path, head: HeadModel) -> None:
    write_benchmark(tmp_path / "now", head)
    folder = untrained(tmp_path / "model", head)
    base = [sys.executable, "-m", "facezoo", "evaluate", str(folder), "data=now", f"root={tmp_path / 'now'}"]
    done = subprocess.run(
        [*base, f"out={tmp_path / 'out'}", "--json"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert set(summary["millimetres"]) == {"all", "neutral", "occlusion"}
    parts = [summary["millimetres"][k]["vertices"] for k in ("neutral", "occlusion")]
    assert summary["millimetres"]["all"]["vertices"] == sum(parts) and parts[0] == parts[1] > 500
    assert 0.05 < summary["millimetres"]["all"]["median"] < 5
    assert json.loads((tmp_path / "out" / "now_validation.json").read_text()) == summary
    with Image.open(tmp_path / "out" / "now_validation_curve.png") as curve:
        assert curve.size == (760, 520)
    assert (tmp_path / "out" / "now_validation" / "subj" / "multiview_occlusions" / "b.npy").is_file()


def test_covered_share_counts_facial_skin_in_view(head: HeadModel) -> None:
    (row,) = [{name: value[0] for name, value in label_batch([900_000_000], 96).items()}]
    skin = np.full((24, 24), 255, np.uint8)
    sample = Sample(image=np.zeros((96, 96, 3), np.uint8), **{**row, "skin": skin})
    assert covered_share(head, sample) == 0
    assert covered_share(head, sample._replace(skin=0 * skin)) == 1
    half = skin.copy()
    middle = (sample.box[1] + sample.box[3]) / 2 / 4
    half[int(middle) :] = 0  # a mask over mouth and chin
    assert 0.3 < covered_share(head, sample._replace(skin=half)) < 0.8
    assert covered_share(head, sample._replace(visible=0 * sample.visible)) == 1


def test_synthetic_people_are_their_own_scans(head: HeadModel) -> None:
    identity = person(head, 4).params.identity[0].numpy()  # type: ignore[union-attr, index]
    scan = scan_of(head, identity)
    assert compare(neutral_head(person(head, 4)), scan).max() < 1e-3
    mean = compare(_mean_head(head), scan)
    assert 0.2 < np.median(mean) < 5
    frontal, turned = np.diag([1.0, -1, -1]), Rotation.from_euler("y", 50, degrees=True).as_matrix()
    assert yaw_group(frontal) == "yaw 0-30" and yaw_group(turned @ frontal) == "yaw 30-60"
    assert yaw_group(Rotation.from_euler("y", -120, degrees=True).as_matrix() @ frontal) == "yaw 60-90"
    result = NowResult()
    result.add("1", "yaw 0-30", np.ones(3))
    result.compare_with("mean head", np.full(3, 2.0))
    assert result.summary()["all"]["vertices"] == 3 and result.summary()["mean head"]["median"] == 2


def test_benchmark_refuses_what_is_not_there(tmp_path: Path, head: HeadModel) -> None:
    write_benchmark(tmp_path, head, scans=False)
    benchmark = NowBenchmark(tmp_path)
    assert [benchmark[i].challenge for i in range(2)] == ["neutral", "occlusion"]
    assert benchmark[0].box == (30, 40, 90, 110) and challenge_name("selfie") == "selfie"
    with pytest.raises(AssetError, match="validation split only"):
        benchmark.scan("subj")
    with pytest.raises(InputError, match="out=DIR"):
        evaluate_now(None, NowBenchmark(tmp_path, "test"))  # type: ignore[arg-type]
    with pytest.raises(AssetError, match="no iphone_pictures"):
        NowBenchmark(tmp_path / "absent")
    (tmp_path / "imagepathsvalidation.txt").write_text("subj/selfie/none.jpg\n")
    with pytest.raises(AssetError, match="1 are not in"):
        NowBenchmark(tmp_path)
    points = tmp_path / "few.pp"
    points.write_text('<point x="1" y="2" z="3"/>' * 6)
    with pytest.raises(AssetError, match="holds 6 points"):
        read_picked_points(points)
    box = tmp_path / "final_release_version" / "detected_face" / "subj" / "multiview_neutral" / "a.npy"

    class Evil:
        def __reduce__(self) -> tuple:
            return (print, ("executed",))

    np.save(box, np.array(Evil(), dtype=object), allow_pickle=True)
    assert pickle.PROTO  # what follows reads a pickle, and must not run it
    with pytest.raises(AssetError, match="refused"):
        benchmark[0]
