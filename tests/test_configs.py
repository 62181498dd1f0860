"""Every config that comes with the package loads, explains itself, and repeats itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import ROOT, Tool

from seg_al import BDD100K, DRN, VAAL, Cityscapes, Experiment, OwnPool, Study, load
from seg_al.config import save, source

CONFIGS = sorted((ROOT / "configs").glob("*.py"))


def tool_of(path: Path) -> str:
    """Return the tool that runs a config."""
    last = path.stem.rpartition("_")[2]
    return {"study": "run_study.py", "pool": "query.py"}.get(last, "train_al.py")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_loads_and_survives_being_saved(path: Path, tmp_path: Path) -> None:
    config = load(path)
    assert isinstance(config, (Experiment, OwnPool, Study)) and config.name == path.stem
    save(config, tmp_path)
    assert source(load(tmp_path / "config.py")) == source(config)
    assert f"python tools/{tool_of(path)} configs/{path.name}" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_prints_its_help(tool: Tool, path: Path) -> None:
    if tool_of(path) != "train_al.py":  # its own options first
        assert "--setting value ..." in tool(tool_of(path), "--help").stdout
        with pytest.raises(SystemExit):
            load(path, ["--help"])
        return
    done = tool("train_al.py", path, "--help")
    assert done.returncode == 0
    assert "--strategy." in done.stdout or "random" in path.stem or "entropy" in path.stem
    assert "Passes over what `epoch_of` says." in done.stdout


@pytest.mark.parametrize(
    ("name", "dataset", "initial", "budget", "held_out"),
    [("cityscapes_vaal", Cityscapes, 300, 150, 300), ("bdd100k_vaal", BDD100K, 800, 400, 1000)],
)
def test_the_papers_tables_2_and_3(name: str, dataset: type, initial: int, budget: int, held_out: int) -> None:
    config = load(ROOT / "configs" / f"{name}.py")
    assert isinstance(config.dataset, dataset) and config.dataset.size == (688, 688)
    assert (config.initial, config.budget, config.rounds, config.dataset.val_images) == (initial, budget, 7, held_out)
    assert isinstance(config.model, DRN) and isinstance(config.strategy, VAAL)
    strategy, train = config.strategy, config.train
    assert (strategy.latent, strategy.lr_vae, strategy.lr_discriminator, train.lr) == (128, 1e-3, 1e-3, 1e-3)
    assert (strategy.lambda_transductive, strategy.lambda_adversarial, strategy.beta) == (1, 25, 1)
    assert strategy.batch_size == train.batch_size == 8
