"""VGG for classification, with torchvision's names of layers: for images of 32 pixels, and for those of 224."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from torch import Tensor, nn

from seg_al.config import UserError
from seg_al.models.base import IMAGENET_MEAN, IMAGENET_STD, ClassificationNetwork, Model, Normalize
from seg_al.models.weights import load_into, load_state_dict

CHANNELS = (64, 128, 256, 512, 512)
"""Of the five stages, each of which ends in max-pooling."""

CONVOLUTIONS = {"vgg11": (1, 1, 2, 2, 2), "vgg13": (2, 2, 2, 2, 2), "vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
"""Number of 3x3 convolutions in each stage."""

HIDDEN, POOLED = 4096, 7  # width of the two fully connected layers, and the side of the map they read


class VGGNetwork(ClassificationNetwork):
    """A VGG; its modules have torchvision's names, so that state dicts fit both ways.

    ``forward_features``: (B, 3, H, W) in [0, 1] to the last convolutional map, (B, 512·width, ⌊H/32⌋, ⌊W/32⌋);
    ``forward_head``: average pooling, dropout and the fully connected layers, to logits (B, C).

    All weights start from Xavier's uniform distribution (Glorot & Bengio, 2010), biases at 0.
    """

    def __init__(self, arch: str, num_classes: int, large: bool, width: float, dropout: float) -> None:
        super().__init__()
        self.normalize = Normalize(IMAGENET_MEAN, IMAGENET_STD)
        name, _, norm = arch.partition("_")
        layers: list[nn.Module] = []
        inputs = 3
        for channels, count in zip(CHANNELS, CONVOLUTIONS[name], strict=True):
            for _ in range(count):
                outputs = max(1, round(width * channels))
                layers.append(nn.Conv2d(inputs, outputs, 3, padding=1))
                layers += [nn.BatchNorm2d(outputs)] if norm else []
                layers.append(nn.ReLU(inplace=True))
                inputs = outputs
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(POOLED if large else 1)
        if large:
            hidden = max(1, round(width * HIDDEN))
            self.classifier = nn.Sequential(
                nn.Linear(inputs * POOLED**2, hidden), nn.ReLU(inplace=True), nn.Dropout(dropout),
                nn.Linear(hidden, hidden), nn.ReLU(inplace=True), nn.Dropout(dropout),
                nn.Linear(hidden, num_classes),
            )  # fmt: skip
        else:
            self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(inputs, num_classes))
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def forward_features(self, x: Tensor) -> Tensor:
        return self.features(self.normalize(x))

    def forward_head(self, features: Tensor) -> Tensor:
        return self.classifier(self.avgpool(features).flatten(1))


class VGG(Model):
    """VGG (Simonyan & Zisserman, ICLR 2015), VAAL's task model for classification: VGG16 from Xavier's weights.

    VAAL's public code takes VGG16 with BatchNorm and, for the 32 pixels of CIFAR, one Linear layer behind the
    convolutions: the defaults here, plus a dropout before that layer, which the release has not. Strategies
    that need one and strategies that do not then share their first model.
    """

    arch: Literal["vgg11", "vgg11_bn", "vgg13", "vgg13_bn", "vgg16", "vgg16_bn", "vgg19", "vgg19_bn"] = "vgg16_bn"
    """Number of layers with weights; "_bn": with BatchNorm."""

    input: Literal["small", "large"] = "small"
    """What images it is made for. "small", 32 pixels and more: the last map is averaged, and one Linear layer
    classifies. "large", 224 pixels: torchvision's, the map pooled to 7x7 and two hidden layers of 4096."""

    width: float = 1.0
    """Multiplies the number of channels (and of hidden units) of every layer; below 1 for small machines."""

    weights: str | Path | None = None
    """A local file with pretrained weights: torchvision's, or a model.pt of a run. The last layer always starts
    afresh; with input "small" convolutions alone are taken."""

    dropout: float | None = None
    """Probability that a value is dropped, 0 to below 1: before the one layer of "small" (None: 0.2), or after
    each of the two hidden layers of "large" (None: 0.5, as the paper's and torchvision's)."""

    def __post_init__(self) -> None:
        if self.dropout is not None and not 0 <= self.dropout < 1:
            raise UserError(f"VGG.dropout must be at least 0 and below 1, not {self.dropout}")
        if not 0 < self.width < float("inf"):
            raise UserError(f"VGG.width must be above 0, not {self.width}")

    def build(self, num_classes: int) -> VGGNetwork:
        """Build the network for `num_classes` classes, initialised from torch's global random state.

        Raises:
            UserError: `weights` is missing, unreadable, or does not fit; one line.
        """
        large = self.input == "large"
        dropout = self.dropout if self.dropout is not None else 0.5 if large else 0.2
        network = VGGNetwork(self.arch, num_classes, large, self.width, dropout)
        if self.weights is not None:
            fresh = "classifier.6." if large else "classifier."
            state = {n: t for n, t in load_state_dict(self.weights).items() if not n.startswith(fresh)}
            state |= {n: t for n, t in network.state_dict().items() if n.startswith(fresh)}
            load_into(network, state, self.weights, f"{self.arch} for {self.input} images")
        return network
