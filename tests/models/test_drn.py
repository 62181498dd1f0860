import math
import typing

import pytest
import torch
from torch import nn

from seg_al.config import UserError
from seg_al.models.base import SegmentationNetwork
from seg_al.models.drn import DRN, DRNBackbone

ARCHS = typing.get_args(typing.get_type_hints(DRN)["arch"])


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.mark.parametrize(
    "arch, millions",  # Yu et al. 2017 and the authors' table, with the 1000-way fc of ImageNet
    [
        ("drn_a_18", 11.7),
        ("drn_a_50", 25.6),
        ("drn_c_26", 21.1),
        ("drn_c_42", 31.2),
        ("drn_d_22", 16.4),
        ("drn_d_38", 26.5),
        ("drn_d_54", 35.8),
        ("drn_d_105", 54.8),
    ],
)
def test_parameter_count_is_the_published_one(arch, millions):
    with torch.device("meta"):
        backbone = DRNBackbone(arch)
    count = sum(p.numel() for p in backbone.parameters()) + 1000 * backbone.channels + 1000
    assert count / 1e6 == pytest.approx(millions, abs=0.05)


@pytest.mark.parametrize("arch", ARCHS)
def test_depth_in_the_name_is_the_number_of_layers_with_weights(arch):
    # The classifier counts, the shortcuts do not.
    with torch.device("meta"):
        backbone = DRNBackbone(arch)
    convolutions = [n for n, m in backbone.named_modules() if isinstance(m, nn.Conv2d) and "downsample" not in n]
    assert len(convolutions) + 1 == int(arch.split("_")[2])


PUBLISHED = {
    "drn_d_22": {
        "layer0.0.weight": (16, 3, 7, 7),
        "layer0.1.running_mean": (16,),
        "layer1.0.weight": (16, 16, 3, 3),
        "layer1.1.bias": (16,),
        "layer2.0.weight": (32, 16, 3, 3),
        "layer3.0.conv1.weight": (64, 32, 3, 3),
        "layer3.0.downsample.0.weight": (64, 32, 1, 1),
        "layer3.0.downsample.1.running_var": (64,),
        "layer3.1.bn2.weight": (64,),
        "layer4.0.downsample.0.weight": (128, 64, 1, 1),
        "layer5.0.downsample.0.weight": (256, 128, 1, 1),
        "layer6.1.conv2.weight": (512, 512, 3, 3),
        "layer7.0.weight": (512, 512, 3, 3),
        "layer8.0.weight": (512, 512, 3, 3),
        "layer8.1.weight": (512,),
    },
    "drn_c_26": {
        "conv1.weight": (16, 3, 7, 7),
        "bn1.weight": (16,),
        "layer1.0.conv1.weight": (16, 16, 3, 3),
        "layer2.0.conv1.weight": (32, 16, 3, 3),
        "layer2.0.downsample.0.weight": (32, 16, 1, 1),
        "layer3.0.downsample.1.weight": (64,),
        "layer6.1.conv2.weight": (512, 512, 3, 3),
        "layer7.0.conv1.weight": (512, 512, 3, 3),
        "layer8.0.conv2.weight": (512, 512, 3, 3),
        "layer8.0.bn2.running_var": (512,),
    },
    "drn_d_54": {
        "layer3.0.conv1.weight": (64, 32, 1, 1),
        "layer3.0.conv3.weight": (256, 64, 1, 1),
        "layer6.0.downsample.0.weight": (2048, 1024, 1, 1),
        "layer7.0.weight": (512, 2048, 3, 3),
    },
    "drn_d_24": {"layer7.3.weight": (512, 512, 3, 3), "layer8.4.running_mean": (512,)},
}


@pytest.mark.parametrize("arch", PUBLISHED)
def test_state_dict_names_are_the_published_ones(arch):
    with torch.device("meta"):
        state = DRNBackbone(arch).state_dict()
    assert {name: tuple(state[name].shape) for name in PUBLISHED[arch]} == PUBLISHED[arch]


def test_number_of_tensors_of_d22_and_c26():
    # Counted by hand: 6 tensors a convolution with BatchNorm (weight, and 5 of the norm).
    with torch.device("meta"):
        d22, c26 = DRNBackbone("drn_d_22").state_dict(), DRNBackbone("drn_c_26").state_dict()
    assert len(d22) == 6 * (5 + 8 * 2 + 4)  # layer0-2, 7, 8; eight BasicBlocks; four shortcuts
    assert len(c26) == 6 * (1 + 12 * 2 + 5)  # stem; twelve BasicBlocks; five shortcuts


@pytest.mark.parametrize("arch", ["drn_a_34", "drn_a_50"])
def test_variant_a_has_the_names_and_shapes_of_torchvisions_resnet(arch):
    torchvision = pytest.importorskip("torchvision")
    with torch.device("meta"):
        ours = DRNBackbone(arch).state_dict()
        resnet = getattr(torchvision.models, arch.replace("drn_a_", "resnet"))().state_dict()
    shapes = {name: tensor.shape for name, tensor in resnet.items() if not name.startswith("fc.")}
    assert {name: tensor.shape for name, tensor in ours.items()} == shapes


C_AND_D = {1: (16, 1), 2: (32, 2), 3: (64, 4), 4: (128, 8), 5: (256, 8), 6: (512, 8), 7: (512, 8), 8: (512, 8)}


@pytest.mark.parametrize(
    "arch, expected",
    [
        ("drn_d_22", {0: (16, 1), **C_AND_D}),
        ("drn_c_26", C_AND_D),
        ("drn_a_50", {1: (256, 4), 2: (512, 8), 3: (1024, 8), 4: (2048, 8)}),
    ],
)
def test_channels_and_stride_of_every_layer(arch, expected):
    backbone = DRNBackbone(arch).eval()
    seen = {}
    for name, module in backbone.named_children():
        if name.startswith("layer"):
            number = int(name.removeprefix("layer"))
            module.register_forward_hook(lambda _m, _i, out, number=number: seen.update({number: tuple(out.shape[1:])}))
    with torch.no_grad():
        backbone(torch.rand(1, 3, 64, 96))
    assert seen == {number: (channels, 64 // s, 96 // s) for number, (channels, s) in expected.items()}


def reach(layer: nn.Module, channels: int) -> list[int]:
    """Return the horizontal offsets at which an impulse reaches the layer's output."""
    for module in layer.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.constant_(module.weight, 1.0)
    x = torch.zeros(1, channels, 1, 129)
    x[..., 64] = 1.0
    with torch.no_grad():
        out = layer.eval().double()(x.double())
    assert out.shape[-1] == 129, "a dilated layer keeps the size"
    return [int(i) - 64 for i in out[0, 0, 0].nonzero()[:, 0]]


def every(step: int, end: int) -> list[int]:
    return list(range(-end, end + 1, step))


@pytest.mark.parametrize(
    "arch, layer, channels, offsets",
    [
        ("drn_d_22", "layer5", 128, every(2, 8)),  # four convolutions of dilation 2: the first block's too
        ("drn_d_22", "layer6", 256, every(4, 16)),  # four of dilation 4
        ("drn_d_22", "layer7", 512, every(2, 2)),  # one of dilation 2
        ("drn_d_22", "layer8", 512, every(1, 1)),
        ("drn_d_24", "layer7", 512, every(2, 4)),  # two of dilation 2
        ("drn_d_54", "layer5", 512, every(2, 12)),  # six bottlenecks, one 3x3 each
        ("drn_c_26", "layer6", 256, every(4, 16)),
        ("drn_c_26", "layer7", 512, every(2, 4)),
        ("drn_c_26", "layer8", 512, every(1, 2)),
        # A: the first block is not dilated (reach 2, every offset), the second is: 2 x dilation.
        ("drn_a_18", "layer3", 128, every(1, 6)),
        ("drn_a_18", "layer4", 256, every(1, 10)),
        ("drn_a_50", "layer4", 1024, [i + 4 * j for j in range(-2, 3) for i in (-1, 0, 1)]),  # 3x3 of dilation 1, 4, 4
    ],
)
def test_an_impulse_reaches_exactly_where_the_dilation_says(arch, layer, channels, offsets):
    assert reach(getattr(DRNBackbone(arch), layer), channels) == offsets


def test_layers_7_and_8_of_c_have_no_shortcut_and_layer_6_has():
    backbone = DRNBackbone("drn_c_26").eval()
    x = torch.rand(1, 512, 5, 5)
    for layer, expected in ((backbone.layer6[1], x), (backbone.layer7[0], 0 * x), (backbone.layer8[0], 0 * x)):
        nn.init.zeros_(layer.bn2.weight)  # nothing comes through the branch
        with torch.no_grad():
            assert torch.equal(layer(x), expected)


def test_convolutions_start_with_the_authors_standard_deviation():
    backbone = DRNBackbone("drn_d_54")
    for name in ("layer6.1.conv2", "layer6.1.conv3", "layer7.0"):
        module = backbone.get_submodule(name)
        k, out = module.kernel_size[0], module.out_channels
        assert module.weight.std().item() == pytest.approx(math.sqrt(2 / (k * k * out)), rel=0.01)
        assert abs(module.weight.mean().item()) < 1e-3


@pytest.mark.parametrize("arch", ["drn_a_18", "drn_c_26", "drn_d_22"])
@pytest.mark.parametrize("size", [(64, 64), (61, 83)])
def test_features_logits_and_output_have_the_promised_shapes(arch, size):
    network = DRN(arch=arch).build(7).eval()
    assert isinstance(network, SegmentationNetwork)
    x = torch.rand(2, 3, *size)
    with torch.no_grad():
        features = network.forward_features(x)
        logits = network.forward_head(features)
        assert features.shape == (2, 512, math.ceil(size[0] / 8), math.ceil(size[1] / 8))
        assert logits.shape == (2, 7, *features.shape[2:])
        assert network(x).shape == (2, 7, *size)


def test_odd_street_size():
    network = DRN().build(19).eval()
    with torch.no_grad():
        assert network.forward_features(torch.rand(1, 3, 181, 243)).shape == (1, 512, 23, 31)


def test_the_network_normalises_with_imagenet_statistics():
    network = DRN().build(3).eval()
    x = torch.rand(1, 3, 32, 32)
    by_hand = torch.stack(
        [(x[:, 0] - 0.485) / 0.229, (x[:, 1] - 0.456) / 0.224, (x[:, 2] - 0.406) / 0.225],
        dim=1,
    )
    with torch.no_grad():
        torch.testing.assert_close(network.forward_features(x), network.backbone(by_hand))


def test_dropout_is_in_the_head_only():
    network = DRN(dropout=0.5).build(5).train()
    network.backbone.eval()
    x = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        features = network.forward_features(x)
        assert torch.equal(features, network.forward_features(x))
        assert not torch.equal(network.forward_head(features), network.forward_head(features))
        network.eval()
        assert torch.equal(network.forward_head(features), network.forward_head(features))


def test_every_parameter_is_trained():
    network = DRN(arch="drn_c_58").build(2)
    network(torch.rand(2, 3, 16, 16)).square().mean().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None] == []


def test_build_is_a_function_of_the_random_state():
    states = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        states.append(DRN().build(2).state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not torch.equal(states[0]["backbone.layer8.0.weight"], states[2]["backbone.layer8.0.weight"])


# --- checkpoints -----------------------------------------------------------------------------------------------------


def published(arch: str, fc: bool = True) -> dict[str, torch.Tensor]:
    """A file as the authors published it: no counters (older than these), and the ImageNet classifier."""
    backbone = DRNBackbone(arch)
    state = {name: torch.rand(t.shape) for name, t in backbone.state_dict().items() if "num_batches" not in name}
    if fc:
        state |= {"fc.weight": torch.rand(1000, backbone.channels, 1, 1), "fc.bias": torch.rand(1000)}
    return state


def as_segmentation_model(state: dict[str, torch.Tensor], family: str) -> dict[str, torch.Tensor]:
    """Rename to the authors' segmentation models, whose `base` counts the modules (ReLU and pooling too)."""
    if family == "D":
        order = {f"layer{i}": i for i in range(9)}
    elif family == "C":
        order = {"conv1": 0, "bn1": 1, **{f"layer{i}": i + 2 for i in range(1, 9)}}
    else:
        order = {"conv1": 0, "bn1": 1, **{f"layer{i}": i + 3 for i in range(1, 5)}}
    renamed = {}
    for name, tensor in state.items():
        module, _, rest = name.partition(".")
        if module != "fc":
            renamed[f"base.{order[module]}.{rest}"] = tensor
    return renamed | {
        "seg.weight": torch.rand(19, 512, 1, 1),
        "seg.bias": torch.rand(19),
        "up.weight": torch.rand(19, 1, 16, 16),
    }


@pytest.mark.parametrize("arch", ["drn_a_18", "drn_c_26", "drn_d_22"])
@pytest.mark.parametrize("layout", ["with fc", "without fc", "segmentation", "own"])
def test_published_checkpoints_load(tmp_path, arch, layout):
    state = published(arch, fc=layout == "with fc")
    segmentation = as_segmentation_model(state, family=arch[4].upper())
    file = {
        "with fc": state,
        "without fc": state,
        "segmentation": {"epoch": 9, "state_dict": {f"module.{name}": t for name, t in segmentation.items()}},
        "own": {f"backbone.{name}": t for name, t in state.items()} | {"classifier.bias": torch.ones(2)},
    }[layout]
    torch.save(file, tmp_path / "drn.pth")
    network = DRN(arch=arch, weights=tmp_path / "drn.pth").build(4)
    loaded = network.backbone.state_dict()
    for name, tensor in state.items():
        if not name.startswith("fc."):
            assert torch.equal(loaded[name], tensor), name
    assert network.classifier.weight.shape[0] == 4


def test_a_shortcut_in_layer_7_of_c58_is_ignored(tmp_path):
    state = published("drn_c_58") | {"layer7.0.downsample.0.weight": torch.rand(512, 2048, 1, 1)}
    torch.save(state, tmp_path / "c58.pth")
    network = DRN(arch="drn_c_58", weights=tmp_path / "c58.pth").build(2)
    assert torch.equal(network.backbone.state_dict()["layer7.0.conv1.weight"], state["layer7.0.conv1.weight"])


def test_a_file_of_another_variant_is_refused_in_one_line(tmp_path):
    torch.save(published("drn_d_22"), tmp_path / "d22.pth")
    with pytest.raises(UserError, match=r"d22\.pth do not fit the backbone of drn_d_38") as error:
        DRN(arch="drn_d_38", weights=tmp_path / "d22.pth").build(2)
    assert "layer3.2.conv1.weight" in str(error.value) and "\n" not in str(error.value)
    with pytest.raises(UserError, match=r"nowhere\.pth"):
        DRN(weights=tmp_path / "nowhere.pth").build(2)


def test_wrong_settings_are_user_errors():
    with pytest.raises(UserError, match="drn_d_22"):
        DRN(arch="drn_d_23")
    with pytest.raises(UserError, match="dropout"):
        DRN(dropout=1.0)
