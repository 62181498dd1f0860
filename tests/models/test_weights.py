import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from seg_al.config import UserError
from seg_al.models.weights import load_into, load_state_dict


class Harmful:
    pass


def one_line(error) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


@pytest.fixture
def state():
    return {"a.weight": torch.arange(6.0).view(2, 3), "a.bias": torch.ones(2)}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: s,
        lambda s: {"state_dict": s, "epoch": 3, "arch": "drn_d_22", "best_prec1": 0.5},
        lambda s: {"model": s},
        lambda s: {f"module.{name}": tensor for name, tensor in s.items()},
        lambda s: {"state_dict": {f"module.{name}": tensor for name, tensor in s.items()}},
    ],
    ids=["plain", "checkpoint", "model", "parallel", "parallel checkpoint"],
)
def test_state_dict_is_found_in_any_wrapping(tmp_path, state, wrap):
    torch.save(wrap(state), tmp_path / "w.pth")
    loaded = load_state_dict(tmp_path / "w.pth")
    assert list(loaded) == list(state)
    assert all(torch.equal(loaded[name], state[name]) for name in state)


def test_safetensors_files_load(tmp_path, state):
    save_file(state, tmp_path / "w.safetensors")
    loaded = load_state_dict(str(tmp_path / "w.safetensors"))
    assert loaded.keys() == state.keys() and torch.equal(loaded["a.weight"], state["a.weight"])


def test_files_that_pickle_other_objects_are_refused(tmp_path, state):
    torch.save({"state_dict": state, "config": Harmful()}, tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"w\.pth: holds more than weights") as error:
        load_state_dict(tmp_path / "w.pth")
    one_line(error)


def test_missing_file_and_folder_are_named(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.pth: no such file"):
        load_state_dict(tmp_path / "nowhere.pth")
    with pytest.raises(UserError, match="folder"):
        load_state_dict(tmp_path)


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", b"PK\x03\x04 cut off", bytes(range(256)) * 40])
def test_damaged_files_are_named_in_one_line(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=f"{name}: not a weights file, or damaged") as error:
        load_state_dict(tmp_path / name)
    one_line(error)


def test_truncated_download_is_named(tmp_path, state):
    torch.save(state, tmp_path / "w.pth")
    whole = (tmp_path / "w.pth").read_bytes()
    (tmp_path / "w.pth").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="damaged") as error:
        load_state_dict(tmp_path / "w.pth")
    one_line(error)


@pytest.mark.parametrize("content", [torch.ones(3), [torch.ones(3)], {}, {"epoch": 3}, {0: torch.ones(3)}])
def test_files_without_a_state_dict_are_refused(tmp_path, content):
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(UserError, match="holds no state dict"):
        load_state_dict(tmp_path / "w.pth")


def test_load_into_copies_and_allows_missing_counters():
    source, target = nn.BatchNorm2d(4), nn.BatchNorm2d(4)
    nn.init.uniform_(source.weight)
    state = {name: tensor for name, tensor in source.state_dict().items() if name != "num_batches_tracked"}
    load_into(target, state, "old.pth", "a norm")
    assert torch.equal(target.weight, source.weight)


def test_load_into_names_file_and_first_misfits(state):
    module = nn.ModuleDict({"a": nn.Linear(4, 2), "b": nn.Linear(1, 1)})
    before = module["a"].bias.clone()
    with pytest.raises(UserError) as error:
        load_into(module, {**state, "c.weight": torch.ones(1)}, "odd.pth", "a net")
    text = one_line(error)
    assert "weights odd.pth do not fit a net" in text
    assert "lacks 2 of 4 tensors, first b.weight" in text
    assert "1 tensors too many, first c.weight" in text
    assert "a.weight: (2, 3) instead of (2, 4)" in text
    assert torch.equal(module["a"].bias, before), "a refused file must leave the network as it was"
