"""Components, config files, overrides, and the config a run leaves behind."""

from __future__ import annotations

import dataclasses
import textwrap
from pathlib import Path
from typing import Literal

import pytest
import torch
from tiny import TinyScenes, tiny_experiment

import seg_al
from seg_al import VAAL, Component, Entropy, Experiment, Random, Study, Train, UserError, load
from seg_al.config import LISTED, components, nearest, run_tool, save, source


class Leaf(Component):
    number: int = 3
    word: Literal["a", "b"] = "a"
    pair: tuple[int, int] | None = None


class Tree(Component):
    leaf: Leaf = Leaf()
    leaves: tuple[Leaf, ...] = ()
    required: float


def write(folder: Path, name: str, text: str) -> Path:
    (folder / name).write_text(textwrap.dedent(text), encoding="utf-8")
    return folder / name


CONFIG = """
    from tiny import tiny_experiment
    config = tiny_experiment("out", name="")
"""


def test_components_are_frozen_and_compare_by_settings() -> None:
    assert Tree(required=1.0) == Tree(required=1.0) != Tree(required=2.0)
    assert hash(Leaf(pair=[1, 2])) == hash(Leaf(pair=(1, 2)))  # type: ignore[arg-type]
    with pytest.raises(dataclasses.FrozenInstanceError):
        Leaf().number = 4  # type: ignore[misc]


def test_a_component_with_its_own_init_is_refused_at_definition() -> None:
    with pytest.raises(TypeError, match="settings are its fields"):

        class Wrong(Component):
            def __init__(self) -> None: ...


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Leaf(numbr=1), "Leaf has no setting 'numbr'; did you mean 'number'?"),
        (lambda: Tree(), "Tree needs a value for required"),
        (lambda: Leaf(number="1"), "Leaf.number must be int, not '1'"),
        (lambda: Leaf(number=True), "Leaf.number must be int, not True"),
        (lambda: Leaf(word="c"), "Leaf.word must be one of 'a', 'b', not 'c'"),
        (lambda: Leaf(pair=(1, 2, 3)), "Leaf.pair must be"),
        (lambda: Tree(required=1, leaf=3), "Tree.leaf must be Leaf, not 3"),
        (lambda: Leaf(4), "Leaf takes settings by name"),
    ],
)
def test_a_wrong_setting_is_one_clear_line(build, message: str) -> None:
    with pytest.raises(UserError) as error:
        build()
    assert message in str(error.value) and "\n" not in str(error.value)


def test_whole_numbers_pass_for_floats() -> None:
    assert Tree(required=1).required == 1


def test_load_takes_the_files_name_and_applies_overrides(tmp_path: Path) -> None:
    path = write(tmp_path, "my_run.py", CONFIG)
    config = load(path, ["--train.epochs", "7", "--dataset.train", "9", "--initial", "5", "--precision", "bf16-mixed"])
    assert config.name == "my_run"
    assert (config.train.epochs, config.dataset.train, config.initial) == (7, 9, 5)
    assert config.train.precision == "bf16-mixed"
    assert load(path).train.epochs == 2


def test_configs_build_on_one_another_even_under_equal_names(tmp_path: Path) -> None:
    for folder, budget in (("a", 5), ("b", 6)):
        (tmp_path / folder).mkdir()
        write(
            tmp_path / folder,
            "base.py",
            f"from tiny import tiny_experiment\nbase = tiny_experiment('o', budget={budget})",
        )
        write(tmp_path / folder, "run.py", "import dataclasses\nfrom base import base\n"
              "config = dataclasses.replace(base, seed=3)")  # fmt: skip
    assert [load(tmp_path / folder / "run.py").budget for folder in "ab"] == [5, 6]
    assert load(tmp_path / "a" / "run.py").seed == 3


def test_a_config_named_like_a_module_does_not_replace_it(tmp_path: Path) -> None:
    import json

    load(write(tmp_path, "json.py", CONFIG))
    import json as again

    assert again is json and json.loads("1") == 1


@pytest.mark.parametrize(
    ("text", "arguments", "parts"),
    [
        (None, [], ["missing.py", "no such config file"]),
        ("x = 1", [], ["config.py", "needs a variable `config`", "found none"]),
        ("config = 3", [], ["found an int"]),
        ("def f(:\n  pass", [], ["config.py:1", "invalid syntax"]),
        ("from seg_al import VAAL\nconfig = VAAL(latnt=3)", [], ["config.py:2", "'latnt'", "did you mean 'latent'?"]),
        ("import nonsuch", [], ["config.py:1", "nonsuch"]),
        (CONFIG, ["--train.epoch", "3"], ["no option --train.epoch; did you mean --train.epochs?"]),
        (CONFIG, ["--train.epochs", "many"], ["--train.epochs", "'many'"]),
        (CONFIG, ["--train.epochs", "0"], ["Train.epochs must be at least 1"]),
        (CONFIG, ["--train.optimizer", "adamm"], ["--train.optimizer", "adam"]),
    ],
)
def test_mistakes_in_a_config_are_one_line(
    tmp_path: Path, text: str | None, arguments: list[str], parts: list[str]
) -> None:
    path = tmp_path / "missing.py" if text is None else write(tmp_path, "config.py", text)
    with pytest.raises(UserError) as error:
        load(path, arguments)
    assert "\n" not in str(error.value)
    for part in parts:
        assert part in str(error.value)


def test_help_lists_every_setting_with_its_docstring(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, "vaal.py", "from tiny import tiny_experiment\nfrom seg_al import VAAL\n"
                 "config = tiny_experiment('o', strategy=VAAL())")  # fmt: skip
    with pytest.raises(SystemExit) as stop:
        load(path, ["--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    for part, prefix in ((VAAL, "strategy."), (Train, "train."), (Experiment, "")):
        for field in dataclasses.fields(part):  # type: ignore[arg-type]
            if field.name not in ("task", "model", "oracle", "machine", "dataset", "strategy", "train"):
                assert f"--{prefix}{field.name.replace('_', '-')}" in text, field.name
    assert "Dimensions of the latent space." in text and "Seed of every random choice." in text


def test_every_public_setting_has_a_docstring() -> None:
    import ast
    import inspect
    import sys

    for name in seg_al.__all__:
        cls = getattr(seg_al, name)
        if not (isinstance(cls, type) and issubclass(cls, Component)):
            continue
        for owner in cls.__mro__:
            if owner.__module__.startswith("seg_al") and "__annotations__" in vars(owner):
                tree = ast.parse(inspect.getsource(sys.modules[owner.__module__]))
                node = next(n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == owner.__name__)
                for statement, after in zip(node.body, [*node.body[1:], None], strict=True):
                    if isinstance(statement, ast.AnnAssign):
                        documented = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
                        assert documented, f"{owner.__name__}.{ast.unparse(statement.target)} has no docstring"


def test_a_saved_config_repeats_itself(tmp_path: Path) -> None:
    config = tiny_experiment(
        "out", strategy=VAAL(size=(8, 16), lr_vae=1e-5), dataset=TinyScenes(size=(32, 32), side=48)
    )
    save(config, tmp_path)
    again = load(tmp_path / "config.py")
    assert source(again) == source(config)
    assert (tmp_path / "tiny.py").exists()  # the module of the user's classes
    assert again.strategy == config.strategy and again.train == config.train
    assert [type(part).__name__ for part in components(again)] == [type(part).__name__ for part in components(config)]


def test_a_saved_run_carries_user_classes_and_what_they_import(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    write(tmp_path / "mine", "helper.py", "BONUS = 11")
    write(tmp_path / "mine", "mystrategy.py", """
        import helper
        from seg_al import Random
        class Mine(Random):
            bonus: int = helper.BONUS
    """)  # fmt: skip
    path = write(tmp_path / "mine", "config.py", """
        import mystrategy
        from tiny import TinyScenes, tiny_experiment
        class Own(TinyScenes):
            note: str = "é"
        config = tiny_experiment("o", dataset=Own(size=(32, 32)), strategy=mystrategy.Mine(bonus=4))
    """)  # fmt: skip
    run = tmp_path / "run"
    run.mkdir()
    before = load(path)
    save(before, run)
    for file in (tmp_path / "mine").iterdir():
        if file.is_file():
            file.unlink()
    again = load(run / "config.py")
    assert again.strategy.bonus == 4 and again.dataset.note == "é"
    assert type(again.strategy).__mro__[1] is Random
    assert source(again) == source(before)


def test_a_class_inside_a_function_cannot_be_saved(tmp_path: Path) -> None:
    class Local(Random):
        pass

    with pytest.raises(UserError, match="move it to the top of a file"):
        save(tiny_experiment("o", strategy=Local()), tmp_path)


def test_two_classes_of_one_name_cannot_be_saved(tmp_path: Path) -> None:
    mine = type("Entropy", (Entropy,), {"__module__": __name__})
    study = Study(base=tiny_experiment("o"), strategies={"theirs": Entropy(), "mine": mine()}, seeds=(0,))
    with pytest.raises(UserError, match="both have an Entropy; rename yours"):
        save(study, tmp_path)
    assert not list(tmp_path.iterdir())


class _Unreadable(torch.utils.data.Dataset):
    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> None:
        raise UserError("straße.jpg: cannot be read")


def test_a_mistake_found_by_a_loading_process_is_one_line_too(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        run_tool(lambda: list(torch.utils.data.DataLoader(_Unreadable(), num_workers=1)) and 0)
    assert stop.value.code == 2
    assert capsys.readouterr().err == "error: straße.jpg: cannot be read\n"


def test_a_message_lists_the_start_of_many_options() -> None:
    options = [f"option{index:02d}" for index in range(LISTED + 2)]
    assert nearest("zzz", options) == f"; it has: {', '.join(options[:LISTED])} and 2 more"
    assert nearest("zzz", options[:-1]) == f"; it has: {', '.join(options[:-1])}"  # one more is no longer than its name
    assert nearest("option3", options[:4]) == "; did you mean 'option03'?"
    assert nearest("zzz", []) == "; it has: none"
