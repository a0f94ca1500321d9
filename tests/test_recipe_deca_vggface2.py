"""The paper's three stages on folders as they are published: their commands resolve, and tiny ones train."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import torch
from photo_folders import SIDE, celeba, label_with, vggface2, voxceleb2

from facezoo.config import Recipe, load_recipe, recipe_folder
from facezoo.data.datamodule import FaceDataModule
from facezoo.heads import load_head
from facezoo.synth.engine import label_batch
from facezoo.training.run import train


def stages() -> list[list[str]]:
    """Return the overrides of the commands in the recipe's comment."""
    text = (recipe_folder() / "deca-vggface2.yaml").read_text()
    comment = "\n".join(line.lstrip("# ") for line in text[: text.index("\n\n")].splitlines())
    commands = re.findall(r"python -m facezoo\.train (.*)", comment.replace("\\\n", " "))
    return [shlex.split(command)[1:] for command in commands]


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    """The three data sets, tiny: pictures of noise under labels of synthetic people."""
    root = tmp_path_factory.mktemp("sets")
    made = {
        "VGGFace2": vggface2(root / "VGGFace2", {1: 6, 2: 6}),
        "CelebA": celeba(root / "CelebA", [5] * 4 + [9] * 4),
        "VoxCeleb2": voxceleb2(root / "VoxCeleb2", {7: 4, 12: 4}),
    }
    samples = label_batch(range(12), SIDE)
    for folder in made.values():
        label_with(folder, samples, load_head())
    return made


def tiny(folders: dict[str, Path], stage: int, runs: Path) -> Recipe:
    """Return a stage's recipe with its own settings, on small networks and small data."""
    words = []
    for word in stages()[stage]:
        word = word.replace("runs/", f"{runs}/")
        for name, folder in folders.items():
            word = word.replace(f"root={name}", f"root={folder}")
        words.append(
            word.replace("=FILE", "=").replace("identity=0.2", "identity=0").replace("style=0.1", "style=0")
        )
    words += [
        f"data.mix[0].root={folders['VGGFace2']}",
        "data.size=64",
        "data.workers=0",
        "data.validation=3",
    ]
    if "root=" not in " ".join(stages()[stage]):
        words += [f"data.mix[1].root={folders['CelebA']}", f"trainer.run_dir={runs / 'deca-vggface2'}"][
            : 2 - (stage > 0)
        ]
    batch = 2 * next((int(word[-1]) for word in words if word.startswith("data.pictures=")), 1)
    return load_recipe("deca-vggface2", [
        *words, f"data.batch_size={batch}", "data.statistics=8", "model.backbone=nano", "model.pretrained=false",
        "model.widths=[8,8,8,8]", "model.depths=[1,1,1,1]", "model.hidden=16", "model.detail_channels=[8,8,8]",
        "model.crop_size=64", "trainer.max_steps=2", "trainer.device=cpu", "trainer.image_every=0",
        "trainer.validate_every=2",
    ])  # fmt: skip


def test_the_three_commands_say_what_the_paper_does() -> None:
    one, two, three = (load_recipe("deca-vggface2", words) for words in stages())
    assert [(r.data.batch_size, r.data.pictures, r.loss.pictures) for r in (one, two, three)] == [
        (64, 1, 1), (32, 4, 4), (6, 3, 3),
    ]  # fmt: skip
    assert {(r.model.backbone, r.model.crop_size, r.optim.name, r.optim.lr) for r in (one, two, three)} == {
        ("resnet50", 224, "adam", 1e-4)
    }
    assert (one.loss.pixels, one.loss.identity) == (0, 0) and (two.loss.pixels, two.loss.identity) == (2, 0.2)
    assert three.loss.name == "detail" and three.model.detail == 128 and three.init.freeze == ["net.coarse"]
    assert (
        [part.root for part in one.data.mix] == [part.root for part in two.data.mix] == ["VGGFace2", "CelebA"]
    )
    assert [part.root for part in three.data.mix] == ["VGGFace2", "VoxCeleb2"]
    assert (
        two.init.weights == f"{one.trainer.run_dir}/export"
        and three.init.weights == f"{two.trainer.run_dir}/export"
    )


def test_stages_open_their_folders(folders: dict[str, Path], tmp_path: Path) -> None:
    for stage, pictures in enumerate((1, 4, 3)):
        recipe = tiny(folders, stage, tmp_path)
        data = FaceDataModule(recipe.data, recipe.seed)
        batch = next(iter(data.train_loader()))
        assert batch["images"].shape == (2 * pictures, 3, 64, 64) and batch["points"].shape[1] == 1609
        people = batch["person"].view(2, pictures)
        assert torch.equal(people, people[:, :1].expand(2, pictures)) and int(people.min()) >= 0
        assert data.head_id == recipe.model.head


@pytest.mark.slow
def test_three_stages_train(folders: dict[str, Path], tmp_path: Path) -> None:
    for stage in range(3):
        assert (train(tiny(folders, stage, tmp_path)) / "model.safetensors").is_file()
