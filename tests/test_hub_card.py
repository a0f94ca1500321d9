"""Cards say what was measured on these very weights, under which licences, and nothing else."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import yaml
from hub_models import LICENCES, tiny_model, weights_sha256, write_run
from huggingface_hub import ModelCard
from PIL import Image

from facezoo.catalog import CATALOG
from facezoo.cli import main
from facezoo.errors import AssetError, InputError
from facezoo.evaluation.groups import AGES, Person, by_groups, measure_groups, spread_seeds
from facezoo.hub.bias import BiasReport, Group, read_bias
from facezoo.hub.card import card_text, write_card
from facezoo.hub.exported import read_export
from facezoo.synth.engine import SHARED_SKIN, TEST_SEEDS, Sample, traits_of

REPO = "lab/tiny"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run")


def text_of(run: Path) -> str:
    return card_text(read_export(run, CATALOG), REPO)


def metadata(run: Path) -> dict:
    return dict(yaml.safe_load(text_of(run).split("---")[1]))


def write_evaluation(run: Path, **changes: object) -> Path:
    values = {
        "data": "dlib_18",
        "model": "x",
        "faces": 18,
        "missed": 1,
        "boxes": "true tight boxes",
        "landmarks": "ibug68",
        "note": "",
        "nme_percent": {"contour": {"mean": 4.567, "jaw": 7.1}, "none": {}},
        "weights_sha256": weights_sha256(run),
        "command": "facezoo evaluate /my runs/export data=dlib_18 root=DIR boxes=truth",
        **changes,
    }
    (run / "evaluation").mkdir(exist_ok=True)
    path = run / "evaluation" / "dlib_18_truth.json"
    path.write_text(json.dumps(values))
    return path


def report(run: Path, **changes: object) -> BiasReport:
    groups = {
        "sex": (Group("female", 3, 4.25, 0.5), Group("male", 4, 5.5)),
        "age": (Group("under 18", 0, math.nan),),
    }
    made = BiasReport(
        "lab/tiny", weights_sha256(run), "drawn people", "NME", 7, "facezoo evaluate x data=synthetic", groups
    )
    return dataclasses.replace(made, **changes)


def test_the_metadata_is_what_the_hub_reads(run: Path) -> None:
    write_evaluation(run)
    found = metadata(run)
    assert found["license"] == "cc0-1.0"
    assert found["library_name"] == "facezoo"
    assert found["pipeline_tag"] == "keypoint-detection"
    assert {"3d-face", "landmarks", "reconstruction", "dense"} <= set(found["tags"])
    assert "base_model" not in found
    card = ModelCard(text_of(run))
    (name, *others) = [
        (r.metric_value, r.dataset_name, r.metric_args["command"]) for r in card.data.eval_results
    ]
    data = "dlib_18, contour labels, 18 faces, 1 missed, true tight boxes"
    assert name == (4.567, data, "facezoo evaluate lab/tiny data=dlib_18 root=DIR boxes=truth")
    assert [value for value, _, _ in others] == [12.345, 20.5]
    assert card.data.model_name == REPO
    assert [r.metric_type for r in card.data.eval_results] == ["nme", "nme", "mean-error-of-dense-points"]


def test_the_text_has_every_part_and_every_number(run: Path) -> None:
    without = text_of(run)
    for heading in (
        "How to use",
        "Intended use",
        "Limits",
        "Training data",
        "Results",
        "By groups of people",
        "Licences",
    ):
        assert f"\n## {heading}\n" in without
    assert without.count("Not measured") == 2
    assert str(run) not in without
    assert 'facezoo.load("lab/tiny")' in without
    assert "12.35" in without  # the training's own validation, and the command it came from
    assert "```sh\npython -m facezoo.train recipe=dense trainer.max_steps=10\n```" in without
    assert "1609 points, crops of 32 px, " in without
    assert "| mean error of dense points, px of a 256 px crop | 20.50 |" in without
    (run / "recipe.yaml").write_text(f"data:\n  root: {Path.home()}/people\n")
    assert "  root: ~/people" in text_of(run)
    assert str(Path.home() / "people") not in text_of(run)
    write_evaluation(run)
    (run / "bias.json").write_text(report(run).to_json())
    measured = text_of(run)
    assert "Not measured" not in measured
    assert "| dlib_18, contour labels, 18 faces, 1 missed, true tight boxes | 4.57 | 7.10 |" in measured
    assert "| sex | female | 3 | 4.25 ± 0.50 |" in measured
    assert "| sex | male | 4 | 5.50 |" in measured
    assert "| age | under 18 | 0 |  |" in measured
    for arguments in ("data=dlib_18 root=DIR boxes=truth", "data=synthetic"):
        assert f"\nfacezoo evaluate lab/tiny {arguments}\n" in measured
    for part, licence in LICENCES.items():
        assert f"| {part} | {licence} |" in measured


def test_a_method_that_reads_meshes_is_not_asked_for_photographs(run: Path) -> None:
    export = read_export(run, CATALOG)
    text = card_text(dataclasses.replace(export, model=CATALOG["skull-stabilizer"]), REPO)
    assert "photo" not in text
    assert "By groups of people" not in text
    assert 'model.predict("smile.obj", "neutral.obj")' in text


def test_licences_and_lineage_are_those_of_the_export_and_never_a_default(tmp_path: Path) -> None:
    unfree = {**LICENCES, "weights": "CC-BY-NC-4.0", "head": "custom-flame"}
    parents = [
        {"id": "dense-1609.open-v2", "sha256": "9d67", "licences": LICENCES},
        {"id": "lab/base@v1", "sha256": "0a0a", "licences": {"weights": None}},
    ]
    lineage = {"base_model": "lab/base@v1", "parents": parents}
    run = write_run(tmp_path / "a", licences=unfree, lineage=lineage, limits=["No beards."])
    found = metadata(run)
    assert found["license"] == "cc-by-nc-4.0"
    assert found["base_model"] == "lab/base"
    text = text_of(run)
    assert "Started from `lab/base@v1`" in text
    assert "Not all four allow commercial use" in text
    assert "- No beards." in text
    oldest, newest = (
        text.index(f"- `{name}`, weights under") for name in ("dense-1609.open-v2", "lab/base@v1")
    )
    assert oldest < newest
    assert "under not stated, sha256 `0a0a`" in text
    own = write_run(
        tmp_path / "b",
        licences={**LICENCES, "weights": "LicenseRef-Lab"},
        lineage={"base_model": "dense-1609"},
    )
    found = metadata(own)
    assert (found["license"], found["license_name"]) == ("other", "LicenseRef-Lab")
    assert "base_model" not in found  # a catalogue name is no repo
    assert "Started from `dense-1609`" in text_of(own)


def test_numbers_of_other_weights_never_get_onto_a_card(run: Path) -> None:
    path = write_evaluation(run, weights_sha256="0" * 64)
    with pytest.raises(AssetError, match="measured on other weights"):
        text_of(run)
    path.write_text("{}")
    with pytest.raises(AssetError, match="no evaluation"):
        text_of(run)
    path.unlink()
    (run / "bias.json").write_text(report(run, weights_sha256="0" * 64).to_json())
    with pytest.raises(AssetError, match="measured on other weights"):
        text_of(run)


def test_a_card_that_is_there_is_kept_until_asked_for(run: Path) -> None:
    export = read_export(run, CATALOG)
    path, written = write_card(export, REPO)
    assert written
    path.write_text(path.read_text() + "\nBy hand.\n")
    assert write_card(export, REPO) == (path, False)
    assert "By hand." in path.read_text()
    assert write_card(export, REPO, again=True) == (path, True)
    assert "By hand." not in path.read_text()


def test_a_bias_file_reads_back(run: Path, tmp_path: Path) -> None:
    path = tmp_path / "bias.json"
    path.write_text(report(run).to_json())
    again = read_bias(path)
    assert again.to_json() == report(run).to_json()
    assert again.groups["sex"] == report(run).groups["sex"]
    assert math.isnan(again.groups["age"][0].nme)
    for spoilt in ("{", "[]", "{}", json.dumps({**json.loads(path.read_text()), "schema": "facezoo-bias-2"})):
        path.write_text(spoilt)
        with pytest.raises(AssetError, match="data=synthetic"):
            read_bias(path)


def test_seeds_are_spread_so_that_people_do_not_share_a_skin() -> None:
    seeds = spread_seeds(500)
    assert len({seed // SHARED_SKIN for seed in seeds}) == 500
    assert set(seeds) < set(TEST_SEEDS)
    assert spread_seeds(len(TEST_SEEDS)) == list(TEST_SEEDS)
    for count in (0, 2, len(TEST_SEEDS) + 1):
        with pytest.raises(InputError, match="count"):
            spread_seeds(count)


def test_groups_divide_everybody_and_their_means_are_right() -> None:
    rng = np.random.default_rng(0)
    people = [
        Person(
            float(rng.random()), bool(rng.random() < 0.5), float(rng.uniform(3, 90)), float(rng.uniform(2, 9))
        )
        for _ in range(200)
    ]
    groups = by_groups(people)
    assert set(groups) == {"skin tone", "sex", "age"}
    mean = np.mean([person.nme for person in people])
    for kind in groups.values():
        assert sum(group.n for group in kind) == len(people)
        assert sum(group.n * group.nme for group in kind) / len(people) == pytest.approx(mean, abs=1e-3)
    assert max(group.n for group in groups["skin tone"]) - min(group.n for group in groups["skin tone"]) <= 2
    women = [person.nme for person in people if not person.male]
    assert groups["sex"][0].nme == pytest.approx(np.mean(women), abs=1e-3)
    assert groups["sex"][0].se == pytest.approx(np.std(women, ddof=1) / np.sqrt(len(women)), abs=1e-3)
    assert len(groups["age"]) == len(AGES)
    assert [group.name for group in groups["age"]] == ["under 18", "18 to 39", "40 to 64", "65 and over"]


def fake_person(seed: int) -> Sample:
    """A picture of nobody with true points that only the seed decides, in place of a second of rendering."""
    rng = np.random.default_rng(seed)
    points = (rng.random((68, 2)) * 40 + 20).astype(np.float32)
    nothing = np.zeros(3, np.float32)
    box = np.concatenate([points.min(0), points.max(0)])
    image = np.asarray(Image.fromarray(rng.integers(0, 256, (6, 6, 3)).astype(np.uint8)).resize((96, 96)))
    return Sample(
        image,
        nothing,
        points,
        points,
        np.zeros(1, bool),
        box,
        nothing,
        nothing,
        nothing,
        nothing,
        nothing,
        nothing,
        seed,
    )


def test_every_person_is_compared_with_their_own_points() -> None:
    model = tiny_model()
    made = measure_groups(model, "0" * 64, count=20, render=fake_person)
    assert (made.count, made.weights_sha256) == (20, "0" * 64)
    assert "data=synthetic count=20" in made.command
    errors = {False: [], True: []}
    for seed in spread_seeds(20):  # the same by hand, one person at a time
        sample = fake_person(seed)
        face = model.predict(sample.image, boxes=sample.box[None], fit=False)[0]
        distance = np.linalg.norm(face.landmarks["ibug68"].numpy() - sample.lm68, axis=1).mean()
        side = np.sqrt(np.prod(sample.lm68.max(0) - sample.lm68.min(0)))
        errors[traits_of(seed).masculine > 0.5].append(100 * distance / side)
    female, male = made.groups["sex"]
    assert (female.n, male.n) == (len(errors[False]), len(errors[True]))
    assert female.nme == pytest.approx(np.mean(errors[False]), rel=1e-3)
    assert male.nme == pytest.approx(np.mean(errors[True]), rel=1e-3)


@pytest.mark.slow
def test_evaluate_writes_what_the_card_reads(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [
        "evaluate",
        str(run / "export"),
        "data=synthetic",
        "count=3",
        f"out={run}",
        "--device",
        "cpu",
    ]
    assert main(arguments) == 0
    assert "skin tone" in capsys.readouterr().out
    assert read_bias(run / "bias.json").weights_sha256 == weights_sha256(run)
    assert "| skin tone | light" in text_of(run)
    assert main(["evaluate", str(run / "export"), "data=synthetic", "count=many"]) == 2
