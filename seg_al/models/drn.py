"""Dilated residual networks for segmentation.

Yu, Koltun, Funkhouser, *Dilated Residual Networks*, CVPR 2017. Every variant has output stride 8: where a
ResNet would halve the map for a fourth and a fifth time, its convolutions are dilated instead (§2). Variants
C and D replace the max-pooling by convolutions and end in two stages of falling dilation that remove the
gridding artefacts of A (§4).
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from torch import Tensor, nn

from seg_al.config import UserError
from seg_al.models.base import IMAGENET_MEAN, IMAGENET_STD, Model, Normalize, SegmentationNetwork
from seg_al.models.weights import load_into, load_state_dict


def _conv_bn(inputs: int, outputs: int, kernel: int, stride: int = 1, dilation: int = 1) -> tuple[nn.Module, nn.Module]:
    """Return a convolution that keeps the size (up to its stride), and its BatchNorm."""
    padding = dilation * (kernel // 2)
    convolution = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=padding, dilation=dilation, bias=False)
    return convolution, nn.BatchNorm2d(outputs)


class _Block(nn.Module):
    """What both residual blocks share: the shortcut, and the choice to go without one (DRN-C's last stages)."""

    expansion: int

    def __init__(self, inputs: int, outputs: int, stride: int, residual: bool) -> None:
        super().__init__()
        self.relu = nn.ReLU(inplace=True)
        self.residual = residual
        self.downsample: nn.Module | None = None
        if residual and (stride != 1 or inputs != outputs):
            self.downsample = nn.Sequential(*_conv_bn(inputs, outputs, 1, stride))

    def branch(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        out = self.branch(x)
        if self.residual:
            out = out + (x if self.downsample is None else self.downsample(x))
        return self.relu(out)


class BasicBlock(_Block):
    """Two 3x3 convolutions of the given dilation around a shortcut."""

    expansion = 1

    def __init__(self, inputs: int, planes: int, stride: int = 1, dilation: int = 1, residual: bool = True) -> None:
        super().__init__(inputs, planes, stride, residual)
        self.conv1, self.bn1 = _conv_bn(inputs, planes, 3, stride, dilation)
        self.conv2, self.bn2 = _conv_bn(planes, planes, 3, 1, dilation)

    def branch(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        return self.bn2(self.conv2(x))


class Bottleneck(_Block):
    """1x1, 3x3 of the given stride and dilation, 1x1 to four times the planes, around a shortcut."""

    expansion = 4

    def __init__(self, inputs: int, planes: int, stride: int = 1, dilation: int = 1, residual: bool = True) -> None:
        super().__init__(inputs, planes * self.expansion, stride, residual)
        self.conv1, self.bn1 = _conv_bn(inputs, planes, 1)
        self.conv2, self.bn2 = _conv_bn(planes, planes, 3, stride, dilation)
        self.conv3, self.bn3 = _conv_bn(planes, planes * self.expansion, 1)

    def branch(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        return self.bn3(self.conv3(x))


class _Variant(NamedTuple):
    family: Literal["A", "C", "D"]
    block: type[BasicBlock] | type[Bottleneck]
    blocks: tuple[int, ...]  # per layer: layer1-4 for A, layer1-8 for C and D


_VARIANTS = {
    "drn_a_18": _Variant("A", BasicBlock, (2, 2, 2, 2)),
    "drn_a_34": _Variant("A", BasicBlock, (3, 4, 6, 3)),
    "drn_a_50": _Variant("A", Bottleneck, (3, 4, 6, 3)),
    "drn_a_101": _Variant("A", Bottleneck, (3, 4, 23, 3)),
    "drn_c_26": _Variant("C", BasicBlock, (1, 1, 2, 2, 2, 2, 1, 1)),
    "drn_c_42": _Variant("C", BasicBlock, (1, 1, 3, 4, 6, 3, 1, 1)),
    "drn_c_58": _Variant("C", Bottleneck, (1, 1, 3, 4, 6, 3, 1, 1)),
    "drn_d_22": _Variant("D", BasicBlock, (1, 1, 2, 2, 2, 2, 1, 1)),
    "drn_d_24": _Variant("D", BasicBlock, (1, 1, 2, 2, 2, 2, 2, 2)),
    "drn_d_38": _Variant("D", BasicBlock, (1, 1, 3, 4, 6, 3, 1, 1)),
    "drn_d_40": _Variant("D", BasicBlock, (1, 1, 3, 4, 6, 3, 2, 2)),
    "drn_d_54": _Variant("D", Bottleneck, (1, 1, 3, 4, 6, 3, 1, 1)),
    "drn_d_56": _Variant("D", Bottleneck, (1, 1, 3, 4, 6, 3, 2, 2)),
    "drn_d_105": _Variant("D", Bottleneck, (1, 1, 3, 4, 23, 3, 1, 1)),
    "drn_d_107": _Variant("D", Bottleneck, (1, 1, 3, 4, 23, 3, 2, 2)),
}


class _Stage(NamedTuple):
    planes: int
    stride: int
    dilation: int


# Of C and D. The dilation falls again in layers 7 and 8, which is what removes the gridding (§4).
_STAGES = {
    1: _Stage(16, 1, 1),
    2: _Stage(32, 2, 1),
    3: _Stage(64, 2, 1),
    4: _Stage(128, 2, 1),
    5: _Stage(256, 1, 2),
    6: _Stage(512, 1, 4),
    7: _Stage(512, 1, 2),
    8: _Stage(512, 1, 1),
}


class DRNBackbone(nn.Sequential):
    """A DRN up to its last map: normalised images (B, 3, H, W) to (B, channels, ⌈H/8⌉, ⌈W/8⌉).

    Its modules run in the order they are registered, and their names are those of the authors' published
    state dicts, without the ``fc`` classifier. Convolutions start from N(0, 2/(k·k·out)), as the authors' do.

    Attributes:
        channels: of the last map: 512, or 2048 for A-50 and A-101.
    """

    def __init__(self, arch: str) -> None:
        family, block, blocks = _VARIANTS[arch]
        super().__init__(_layers_a(block, blocks) if family == "A" else _layers_cd(family, block, blocks))
        self.channels = 512 * block.expansion if family == "A" else _STAGES[8].planes
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                fan_out = math.prod(module.kernel_size) * module.out_channels
                nn.init.normal_(module.weight, 0.0, math.sqrt(2.0 / fan_out))


def _layers_a(block: type[BasicBlock] | type[Bottleneck], blocks: tuple[int, ...]) -> OrderedDict[str, nn.Module]:
    """A ResNet whose last two stages keep the size and are dilated by 2 and 4."""
    conv1, bn1 = _conv_bn(3, 64, 7, stride=2)
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        conv1=conv1, bn1=bn1, relu=nn.ReLU(inplace=True), maxpool=nn.MaxPool2d(3, stride=2, padding=1)
    )
    inputs = 64
    stages = (_Stage(64, 1, 1), _Stage(128, 2, 1), _Stage(256, 1, 2), _Stage(512, 1, 4))
    for number, (stage, count) in enumerate(zip(stages, blocks, strict=True), start=1):
        # Not dilated, the first block of a stage takes the place of the one that halved the map.
        members: list[nn.Module] = [block(inputs, stage.planes, stage.stride)]
        inputs = stage.planes * block.expansion
        members += [block(inputs, stage.planes, dilation=stage.dilation) for _ in range(count - 1)]
        layers[f"layer{number}"] = nn.Sequential(*members)
    return layers


def _layers_cd(
    family: str, block: type[BasicBlock] | type[Bottleneck], blocks: tuple[int, ...]
) -> OrderedDict[str, nn.Module]:
    """Layers 3 to 6 are residual stages; 1, 2, 7 and 8 BasicBlocks in C and plain convolutions in D."""
    stem = [*_conv_bn(3, 16, 7), nn.ReLU(inplace=True)]
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    if family == "C":
        layers.update(conv1=stem[0], bn1=stem[1], relu=stem[2])
    else:
        layers["layer0"] = nn.Sequential(*stem)
    inputs = 16
    for (number, (planes, stride, dilation)), count in zip(_STAGES.items(), blocks, strict=True):
        members: list[nn.Module] = []
        for index in range(count):
            step = stride if index == 0 else 1
            if 3 <= number <= 6:
                members.append(block(inputs, planes, step, dilation))
                inputs = planes * block.expansion
            elif family == "C":
                members.append(BasicBlock(inputs, planes, step, dilation, residual=number < 7))
                inputs = planes
            else:
                members += [*_conv_bn(inputs, planes, 3, step, dilation), nn.ReLU(inplace=True)]
                inputs = planes
        layers[f"layer{number}"] = nn.Sequential(*members)
    return layers


class DRNSegmentation(SegmentationNetwork):
    """A DRN with a 1x1 classifier on its last map, of output stride 8.

    ``forward_features``: (B, 3, H, W) in [0, 1] to (B, D, ⌈H/8⌉, ⌈W/8⌉), D = 512 (2048 for A-50 and A-101);
    ``forward_head``: these to logits (B, C, ⌈H/8⌉, ⌈W/8⌉); any H and W.
    """

    def __init__(self, backbone: DRNBackbone, num_classes: int, dropout: float) -> None:
        super().__init__()
        self.normalize = Normalize(IMAGENET_MEAN, IMAGENET_STD)
        self.backbone = backbone
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(backbone.channels, num_classes, 1)
        # Not N(0, 2/(k·k·out)): with few outputs that makes the first logits so large that learning from few labels
        # stalls (11 classes, 64 images, 60 steps from scratch: test cross-entropy 4.6, and 1.1 this way).
        nn.init.xavier_uniform_(self.classifier.weight)
        nn.init.zeros_(self.classifier.bias)  # type: ignore[arg-type]

    def forward_features(self, x: Tensor) -> Tensor:
        return self.backbone(self.normalize(x))

    def forward_head(self, features: Tensor) -> Tensor:
        return self.classifier(self.dropout(features))


class DRN(Model):
    """A dilated residual network (Yu, Koltun, Funkhouser, CVPR 2017), the task model of VAAL's segmentation."""

    arch: Literal[
        "drn_a_18",
        "drn_a_34",
        "drn_a_50",
        "drn_a_101",
        "drn_c_26",
        "drn_c_42",
        "drn_c_58",
        "drn_d_22",
        "drn_d_24",
        "drn_d_38",
        "drn_d_40",
        "drn_d_54",
        "drn_d_56",
        "drn_d_105",
        "drn_d_107",
    ] = "drn_d_22"
    """Variant and depth. A is a dilated ResNet, C and D remove its gridding; D-22 is the usual small one."""

    weights: str | Path | None = None
    """A local file with pretrained weights: the authors' ImageNet or segmentation checkpoint, a torchvision
    ResNet for A, or a model.pt of a run. Only the backbone is taken; the classifier always starts afresh."""

    dropout: float = 0.2
    """Probability that a channel of the last map is dropped before the classifier, 0 to below 1."""

    def __post_init__(self) -> None:
        if not 0 <= self.dropout < 1:
            raise UserError(f"DRN.dropout must be at least 0 and below 1, not {self.dropout}")

    def build(self, num_classes: int) -> DRNSegmentation:
        """Build the network for `num_classes` classes, initialised from torch's global random state.

        Raises:
            UserError: `weights` is missing, unreadable, or does not fit `arch`; one line.
        """
        backbone = DRNBackbone(self.arch)
        network = DRNSegmentation(backbone, num_classes, self.dropout)
        if self.weights is not None:
            state = _backbone_state(load_state_dict(self.weights), backbone)
            load_into(backbone, state, self.weights, f"the backbone of {self.arch}")
        return network


def _backbone_state(state: Mapping[str, Tensor], backbone: DRNBackbone) -> dict[str, Tensor]:
    """Rename the tensors of any published layout to the backbone's, and leave out those of classifiers."""
    if any(name.startswith("backbone.") for name in state):  # this package's own
        return {n.removeprefix("backbone."): t for n, t in state.items() if n.startswith("backbone.")}
    if any(name.startswith("base.") for name in state):
        # The authors' segmentation models: `base` counts the modules of the classification model.
        modules = [name for name, _ in backbone.named_children()]
        renamed = {}
        for name, tensor in state.items():
            prefix, _, rest = name.partition(".")
            index, _, rest = rest.partition(".")
            if prefix == "base":
                known = index.isdecimal() and int(index) < len(modules)
                renamed[f"{modules[int(index)]}.{rest}" if known else name] = tensor
    else:
        renamed = {name: tensor for name, tensor in state.items() if not name.startswith("fc.")}
    # The authors' code gives C-58's layer 7 a shortcut and then leaves it out of the forward pass; here it has none.
    return {name: tensor for name, tensor in renamed.items() if not name.startswith("layer7.0.downsample.")}
