"""Recipes: shipped ones resolve, wrong ones fail before any work with the nearest key."""

from __future__ import annotations

from pathlib import Path

import pytest

from facezoo.config import SECTIONS, list_recipes, load_recipe, recipe_folder, save_resolved, to_yaml
from facezoo.errors import InputError, RecipeError, UnknownNameError
from facezoo.train import main


@pytest.mark.parametrize("name", sorted(list_recipes()))
def test_shipped_recipes_resolve_and_keep_the_section_order(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.model.name in name
    text = (recipe_folder() / f"{name}.yaml").read_text()
    header = text[: text.index("\n\n")].splitlines()
    assert all(line.startswith("#") for line in header)
    assert any(f"python -m facezoo.train recipe={name}" in line for line in header[1:])
    order = [line.split(":")[0] for line in text.splitlines() if line[:1].isalpha()]
    assert order == [s for s in ("base", *SECTIONS, "smoke") if s in order]


def test_overrides_by_dots_and_by_section() -> None:
    recipe = load_recipe(
        "dense",
        ["loss=rle", "loss.vertex_edge=0.1", "model.backbone=resnet50", "model.widths=[8,8]", "model.depths=[1,1]",
         "trainer.max_minutes=1.5", "data.augment.flip=0", "seed=7", "data=shards", "data.root=/somewhere"],
    )  # fmt: skip
    assert (recipe.loss.name, recipe.loss.vertex_edge, recipe.model.scale) == ("rle", 0.1, "sigmoid")
    assert (recipe.model.backbone, recipe.model.widths, recipe.trainer.max_minutes) == (
        "resnet50",
        [8, 8],
        1.5,
    )
    assert (recipe.data.augment.flip, recipe.seed, recipe.data.source, recipe.data.root) == (
        0,
        7,
        "shards",
        "/somewhere",
    )
    assert load_recipe("dense", ["loss=rle-exp"]).model.scale == "exp"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.bakbone=resnet50", "model.backbone"),
        ("trainer.maxsteps=3", "trainer.max_steps"),
        ("data.augment.flipp=1", "data.augment.flip"),
        ("optim.learning_rate=1", "optim"),
        ("modle.backbone=x", "'model'"),
        ("trainer.max_steps=soon", "trainer.max_steps"),
        ("data.batch_size=1.5", "data.batch_size"),
        ("model.widths=7", "model.widths"),
        ("seed=x", "seed"),
        ("loss=rlee", "rle"),
        ("model.decoder=spirals", "spiral"),
        ("model.name=dens", "dense"),
        ("data.source=shards", "data.root"),
        ("nonsense", "key=value"),
        ("trainer=3", "trainer"),
    ],
)
def test_wrong_overrides_name_the_key_and_the_nearest(override: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        load_recipe("dense", [override])
    assert message in str(caught.value)


def test_resolved_recipe_is_a_recipe(tmp_path: Path) -> None:
    recipe = load_recipe("dense", ["trainer.max_steps=3", "loss=gaussian"])
    save_resolved(recipe, tmp_path)
    text = (tmp_path / "recipe.yaml").read_text()
    assert "torch " in text and "git " in text and "seed: 0" in text
    again = load_recipe(str(tmp_path / "recipe.yaml"))
    assert again == recipe and to_yaml(again) == to_yaml(recipe)


def test_one_level_of_base(tmp_path: Path) -> None:
    (tmp_path / "child.yaml").write_text("base: dense\nmodel:\n  hidden: 32\n")
    child = load_recipe(str(tmp_path / "child.yaml"))
    assert child.model.hidden == 32 and child.model.backbone == load_recipe("dense").model.backbone
    (tmp_path / "grandchild.yaml").write_text("base: child\n")
    with pytest.raises(RecipeError, match="one level"):
        load_recipe(str(tmp_path / "grandchild.yaml"))


def test_missing_and_broken_recipes(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="dense"):
        load_recipe("dence")
    with pytest.raises(RecipeError, match="does not exist"):
        load_recipe(str(tmp_path / "none.yaml"))
    broken = tmp_path / "broken.yaml"
    broken.write_text("model: [1\n")
    with pytest.raises(RecipeError, match="not valid YAML"):
        load_recipe(str(broken))
    broken.write_text("- 1\n")
    with pytest.raises(RecipeError, match="table"):
        load_recipe(str(broken))


def test_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipe=list"]) == 0 and "dense " in capsys.readouterr().out
    assert main([]) == 0 and "recipe=NAME" in capsys.readouterr().out
    for arguments in (["data.size=3"], ["recipe=dence"], ["recipe=dense", "data.sizes=3"]):
        assert main(arguments) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ") and "Traceback" not in error
