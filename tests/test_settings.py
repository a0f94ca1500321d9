"""``key=value`` settings, and every command line that reads them."""

from __future__ import annotations

import importlib

import pytest

from facezoo.cli import main
from facezoo.errors import FacezooError, InputError, UnknownNameError
from facezoo.settings import (
    Setting,
    number,
    read_settings,
    run_module,
    several,
    split_words,
    switch,
    whole,
)

KNOWN = {
    "out": Setting(needed="FOLDER"),
    "count": Setting(200, whole(1)),
    "minutes": Setting(8.0, number),
    "jaw": Setting(True, switch),
    "seeds": Setting([0, 1], several(whole())),
    "real": Setting(),
}


def test_defaults_stand_where_nothing_is_given() -> None:
    found = read_settings("make", ["out=x"], KNOWN)
    assert found == {"out": "x", "count": 200, "minutes": 8.0, "jaw": True, "seeds": [0, 1]}


def test_values_are_converted_and_may_hold_equals_signs() -> None:
    words = ["count=3", "out=a=b", "minutes=0.5", "jaw=false", "seeds=4,5", "real="]
    expected = {"out": "a=b", "count": 3, "minutes": 0.5, "jaw": False, "seeds": [4, 5], "real": ""}
    assert read_settings("make", words, KNOWN) == expected


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["out=x", "count=0"], r"make: count must be a whole number from 1 on, got '0'"),
        (["out=x", "count=-1"], "count must be"),
        (["out=x", "count=2.5"], "count must be"),
        (["out=x", "minutes=soon"], "minutes must be a positive number, got 'soon'"),
        (["out=x", "minutes=nan"], "minutes must be"),
        (["out=x", "minutes=inf"], "minutes must be"),
        (["out=x", "jaw=yes"], "jaw must be true or false"),
        (["out=x", "seeds=1,,2"], "seeds must be a whole number each"),
        (["out=x", "out=y"], "out= is given twice"),
        (["out"], "expected key=value, got 'out'; keys: out, count"),
        (["count=3"], "make needs out=FOLDER"),
        (["out="], "make needs out=FOLDER"),
    ],
)
def test_wrong_words_are_refused(words: list[str], text: str) -> None:
    with pytest.raises(InputError, match=text):
        read_settings("make", words, KNOWN)


def test_unknown_key_names_the_nearest_before_what_is_missing() -> None:
    with pytest.raises(
        UnknownNameError, match=r"make setting 'cuont'. Did you mean 'count'\? Known: count, "
    ):
        read_settings("make", ["cuont=3"], KNOWN)


def test_a_recipes_settings_are_passed_on_in_order() -> None:
    words = ["loss.x=1", "out=x", "seed=3", "count"]
    assert split_words(words, KNOWN) == (["out=x", "count"], ["loss.x=1", "seed=3"])


def test_module_reports_what_a_user_can_mend(capsys: pytest.CaptureFixture[str]) -> None:
    def refuse(words: list[str]) -> None:
        raise FacezooError(f"no {words[0]}")

    assert run_module("help", refuse, ["x"]) == 2
    assert capsys.readouterr() == ("", "error: no x\n")
    assert run_module("help", refuse, ["x", "--help"]) == 0
    assert capsys.readouterr() == ("help\n", "")
    assert run_module("help", refuse, []) == 2
    assert capsys.readouterr() == ("", "help\n")


@pytest.mark.parametrize(
    ("module", "words", "text"),
    [
        ("facezoo.models.synergynet.__main__", ["whiten", "haed=x"], "Did you mean 'head'"),
        ("facezoo.models.synergynet.__main__", ["whiten", "out=x", "people=0"], "people must be"),
        ("facezoo.models.synergynet.__main__", ["wihten"], "Did you mean 'whiten'"),
        ("facezoo.models.deca.__main__", ["convert", "ckeckpoint=x"], "Did you mean 'checkpoint'"),
        ("facezoo.models.deca.__main__", ["convert"], "needs checkpoint=deca_model.tar out=FOLDER"),
        ("facezoo.data.pack_300wlp", ["limits=3"], "Did you mean 'limit'"),
        ("facezoo.data.pack_300wlp", ["out=x"], "needs root=300W_LP head=bfm-40-10"),
        ("facezoo.data.pack_300wlp", ["crops=x", "out=x", "head=x"], "needs list="),
        ("facezoo.evaluation.stabilizer_performance", ["OUT", "frame=9"], "Did you mean 'frames'"),
        ("facezoo.evaluation.stabilizer_performance", ["OUT", "frames=1"], "from 2 on"),
        ("facezoo.evaluation.stabilizer_performance", ["frames=9"], "OUT first"),
        ("facezoo.evaluation.stabilizer_ablations", ["OUT", "only=no-mesk"], "Did you mean 'no-mask'"),
        ("facezoo.evaluation.stabilizer_ablations", ["only=full"], "OUT first"),
        ("facezoo.evaluation.synergy_ablation", ["root=x"], "needs out=FOLDER"),
        ("facezoo.evaluation.synergy_ablation", ["root=x", "out=x", "seeds=a"], "seeds must be"),
    ],
)
def test_modules_refuse_and_help(
    module: str, words: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    part = importlib.import_module(module)
    assert part.main(words) == 2
    assert text in capsys.readouterr().err
    assert part.main([*words, "--help"]) == 0
    assert capsys.readouterr().out == f"{part.__doc__}\n"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["evaluate", "dense-1609", "root=."], "evaluate needs data="),
        (["evaluate", "dense-1609", "data=now", "boxes=truth", "root=."], "setting 'boxes'"),
        (["evaluate", "dense-1609", "data=now-synthetic", "count=0"], "count must be"),
        (["evaluate", "dense-1609", "data=nov"], "Did you mean 'now'"),
        (["evaluate", "dense-1609", "data=synthetic", "unpose=3"], "setting 'unpose'"),
        (["evaluate", "skull-stabilizer", "data=synthetic", "unpose=few"], "unpose must be a whole number"),
        (["bench", "train", "steps=0"], "steps must be a whole number from 1 on"),
    ],
)
def test_verbs_refuse_settings_that_they_do_not_have(
    words: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert text in capsys.readouterr().err
