"""Settings of a dataclass to JSON and back."""

import json
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import ClassVar, Literal

import pytest
from torch import nn

from obverse.classifier import Classifier
from obverse.methods import method
from obverse.settings import adjust, check_choices, check_least, check_share, named, plain, restore, settings_as_json


@dataclass(kw_only=True)
class Inner:
    low: float = 0.5
    sides: tuple[int, ...] = (1, 2)


@dataclass(kw_only=True)
class Outer:
    part: str = field(kw_only=False, default="not a setting")
    rate: float = 0.1
    pairs: tuple[tuple[str, str], ...] = (("3", "8"), ("4", "9"))
    inner: Inner = field(default_factory=Inner)
    made: int = field(init=False, default=3)


def test_there_and_back():
    outer = Outer(rate=0.2, inner=Inner(sides=(7,)))
    written = json.loads(json.dumps(settings_as_json(outer)))
    assert written == {"rate": 0.2, "pairs": [["3", "8"], ["4", "9"]], "inner": {"low": 0.5, "sides": [7]}}
    again = Outer(**restore(Outer, written))
    assert again == outer and again.pairs == (("3", "8"), ("4", "9"))


def test_an_unknown_setting_is_named():
    with pytest.raises(ValueError, match=r"speed: Outer has no such hyperparameter; it was saved by another version"):
        restore(Outer, {"speed": 1})


def test_a_word_that_is_no_choice_is_refused():
    @dataclass
    class Filled:
        name: ClassVar[str] = "filled"
        fill: Literal["black", "blur"] = "black"
        size: int = 1

    check_choices(Filled("blur"))
    with pytest.raises(ValueError, match="fill: expected one of 'black', 'blur' for filled, got 'grey'; pass one of these"):
        check_choices(Filled("grey"))


def test_a_class_by_name():
    table = {"inner": "test_settings_elsewhere:Inner", "batch norm": "torch.nn:BatchNorm2d"}
    assert named(table, "batch norm", "layer", "read on") is nn.BatchNorm2d
    with pytest.raises(ValueError, match="layer: expected one of inner, batch norm, got 'outer'; read on"):
        named(table, "outer", "layer", "read on")


def test_plain_values():
    assert plain(((1, 2), "x", None)) == [[1, 2], "x", None]


@pytest.mark.parametrize("name", ["syce", "cxgan", "cyclegan", "medxgan"])
def test_a_penalty_every_no_steps_is_refused(name):
    classifier = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(256, 2)), ["a", "b"], (1, 16, 16), device="cpu")
    with pytest.raises(ValueError, match=r"penalty_every: expected (more than 0|at least 1) for .*, got 0; leave it out"):
        method(name)(classifier, penalty_every=0)


def test_a_type_that_only_a_type_checker_knows_leaves_the_words_unchecked():
    @dataclass
    class Own:
        name = "own"
        fill: "OnlyForTheChecker" = "grey"  # noqa: F821

    check_choices(Own())


@dataclass(kw_only=True)
class Adjusted:
    name: ClassVar[str] = "it"
    adjustable: ClassVar[tuple[str, ...]] = ("steps", "share")
    calibrated: ClassVar[tuple[str, ...]] = ()

    steps: int = 3
    share: float = 0.5
    width: int = 4

    def __post_init__(self):
        check_least(self, 1, "steps")
        check_share(self, "share")


def test_a_setting_that_is_left_to_the_rest_is_not_checked():
    check_least(SimpleNamespace(name="it", width=None), 1, "width")


def test_what_counts_after_training_can_be_set_and_is_checked():
    it = Adjusted()
    adjust(it, {"steps": 7, "share": 0.25})
    assert (it.steps, it.share) == (7, 0.25)
    with pytest.raises(ValueError, match=r"width: expected a setting of it that counts after training \(steps, share\), got"):
        adjust(it, {"width": 5})
    with pytest.raises(ValueError, match="steps: expected at least 1 for it, got 0; leave it out for the default"):
        adjust(it, {"share": 0.1, "steps": 0})
    with pytest.raises(ValueError, match="share: expected a number between 0 and 1 for it, got 1; leave it out"):
        adjust(it, {"share": 1.0})
    for name, value, expected in (("steps", 2.5, "a whole number"), ("steps", "fast", "a whole"), ("share", True, "a number")):
        with pytest.raises(ValueError, match=f"{name}: expected {expected}.* for it, got {value!r}; pass e.g. {name}="):
            adjust(it, {name: value})
    assert (it.steps, it.share) == (7, 0.25)
