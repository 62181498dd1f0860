"""ResNet for classification, of torchvision's blocks and names: for images of 32 pixels, and for those of 224."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from seg_al.config import UserError
from seg_al.models.base import IMAGENET_MEAN, IMAGENET_STD, ClassificationNetwork, Model, Normalize
from seg_al.models.weights import load_into, load_state_dict

Block = type[BasicBlock] | type[Bottleneck]

BLOCKS: dict[str, tuple[Block, tuple[int, ...]]] = {
    "resnet18": (BasicBlock, (2, 2, 2, 2)),
    "resnet34": (BasicBlock, (3, 4, 6, 3)),
    "resnet50": (Bottleneck, (3, 4, 6, 3)),
    "resnet101": (Bottleneck, (3, 4, 23, 3)),
    "resnet152": (Bottleneck, (3, 8, 36, 3)),
}
"""Kind of block, and how many of them each of the four stages has."""


def _stage(block: Block, inputs: int, planes: int, count: int, stride: int) -> nn.Sequential:
    outputs = planes * block.expansion
    downsample = None
    if stride != 1 or inputs != outputs:
        downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
    return nn.Sequential(block(inputs, planes, stride, downsample), *(block(outputs, planes) for _ in range(count - 1)))


class ResNetNetwork(ClassificationNetwork):
    """A ResNet; its modules have torchvision's names, so that state dicts fit both ways.

    ``forward_features``: (B, 3, H, W) in [0, 1] to the last map, (B, D, h, w), D = 512·width (2048·width from
    ResNet50 on) and h = ⌈H/32⌉, or ⌈H/8⌉ with the stem for small images;
    ``forward_head``: average pooling, dropout and one Linear layer, to logits (B, C).
    """

    def __init__(self, arch: str, num_classes: int, large: bool, width: float, dropout: float) -> None:
        super().__init__()
        block, blocks = BLOCKS[arch]
        planes = [max(1, round(width * channels)) for channels in (64, 128, 256, 512)]
        self.normalize = Normalize(IMAGENET_MEAN, IMAGENET_STD)
        self.conv1 = nn.Conv2d(3, planes[0], *((7, 2, 3) if large else (3, 1, 1)), bias=False)
        self.bn1 = nn.BatchNorm2d(planes[0])
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1) if large else nn.Identity()
        self.layer1 = _stage(block, planes[0], planes[0], blocks[0], 1)
        self.layer2 = _stage(block, planes[0] * block.expansion, planes[1], blocks[1], 2)
        self.layer3 = _stage(block, planes[1] * block.expansion, planes[2], blocks[2], 2)
        self.layer4 = _stage(block, planes[2] * block.expansion, planes[3], blocks[3], 2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(planes[3] * block.expansion, num_classes)
        for module in self.modules():  # as torchvision's
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward_features(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(self.normalize(x)))))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))

    def forward_head(self, features: Tensor) -> Tensor:
        return self.fc(self.dropout(self.avgpool(features).flatten(1)))


class ResNet(Model):
    """A ResNet (He et al., CVPR 2016) that classifies images."""

    arch: Literal["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"] = "resnet18"
    """Number of layers with weights."""

    input: Literal["small", "large"] = "small"
    """What images it is made for. "small", 32 pixels: a 3x3 convolution of stride 1 comes first, without
    max-pooling, as is usual on CIFAR. "large", 224 pixels: torchvision's 7x7 convolution and max-pooling."""

    width: float = 1.0
    """Multiplies the number of channels of every layer; below 1 for small machines."""

    weights: str | Path | None = None
    """A local file with pretrained weights: torchvision's (input "large"), or a model.pt of a run. The last
    layer always starts afresh."""

    dropout: float = 0.2
    """Probability that a value is dropped before the last layer, 0 to below 1."""

    def __post_init__(self) -> None:
        if not 0 <= self.dropout < 1:
            raise UserError(f"ResNet.dropout must be at least 0 and below 1, not {self.dropout}")
        if not 0 < self.width < float("inf"):
            raise UserError(f"ResNet.width must be above 0, not {self.width}")

    def build(self, num_classes: int) -> ResNetNetwork:
        """Build the network for `num_classes` classes, initialised from torch's global random state.

        Raises:
            UserError: `weights` is missing, unreadable, or does not fit; one line.
        """
        network = ResNetNetwork(self.arch, num_classes, self.input == "large", self.width, self.dropout)
        if self.weights is not None:
            state = {**load_state_dict(self.weights), **network.fc.state_dict(prefix="fc.")}
            load_into(network, state, self.weights, f"{self.arch} for {self.input} images")
        return network
