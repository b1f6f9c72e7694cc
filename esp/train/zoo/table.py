"""The table of networks by name, and how one is built."""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from esp.astore.graph import Graph
from esp.errors import GraphError
from esp.train.network import Init, Tensor
from esp.train.zoo import attention, classic, darknet, dense, faster_rcnn, inception, mobile, residual, segmentation, series, yolox
from esp.train.zoo.draft import Draft

Builder = Callable[..., Mapping[str, Tensor]]  # of a draft and settings by name; gives the outputs

ZOO: Mapping[str, Builder] = {
    "mlp": dense.mlp,
    "autoencoder": dense.autoencoder,
    "factorization_machine": dense.factorization_machine,
    "lenet": classic.lenet,
    "mnist_cnn": classic.mnist_cnn,
    "alexnet": classic.alexnet,
    "alexnet_2014": classic.alexnet_2014,
    "zfnet": classic.zfnet,
    **{f"vgg{depth}": partial(classic.vgg, depth=depth) for depth in classic.VGG_BLOCKS},
    **{f"vgg{depth}_bn": partial(classic.vgg, depth=depth, bn=True) for depth in classic.VGG_BLOCKS},
    **{f"resnet{depth}": partial(residual.resnet, depth=depth) for depth in residual.RESNET_BLOCKS},
    "wide_resnet50": partial(residual.resnet, depth=50, inner=2),
    **{f"densenet{depth}": partial(residual.densenet, depth=depth) for depth in residual.DENSENET_BLOCKS},
    "squeezenet1_0": partial(residual.squeezenet, version="1.0"),
    "squeezenet1_1": partial(residual.squeezenet, version="1.1"),
    "darknet19": darknet.darknet19,
    "darknet53": darknet.darknet53,
    "yolov1": darknet.yolov1,
    "tiny_yolov1": darknet.tiny_yolov1,
    "yolov2": darknet.yolov2,
    "tiny_yolov2": darknet.tiny_yolov2,
    "inception_v1": inception.inception_v1,
    "inception_v2": inception.inception_v2,
    "inception_v3": inception.inception_v3,
    "xception": inception.xception,
    "mobilenet": mobile.mobilenet,
    "mobilenet_v2": mobile.mobilenet_v2,
    "shufflenet": mobile.shufflenet,
    "shufflenet_v2": mobile.shufflenet_v2,
    "efficientnet_b0": mobile.efficientnet,
    "efficientnet_b1": partial(mobile.efficientnet, size=240, depth=1.1),
    "efficientnet_b2": partial(mobile.efficientnet, size=260, width=1.1, depth=1.2, dropout=0.3),
    "efficientnet_b3": partial(mobile.efficientnet, size=300, width=1.2, depth=1.4, dropout=0.3),
    "unet": segmentation.unet,
    "unet_1d": segmentation.unet_1d,
    "enet": segmentation.enet,
    "autoencoder_conv": segmentation.autoencoder_conv,
    "yolox": yolox.yolox,
    "faster_rcnn": faster_rcnn.faster_rcnn,
    "faster_rcnn_max": partial(faster_rcnn.faster_rcnn, align=False),
    "conv_1d": series.conv_1d,
    "tcn": series.tcn,
    "rnn": partial(series.recurrent, cell="RNN"),
    "gru": partial(series.recurrent, cell="GRU"),
    "lstm": partial(series.recurrent, cell="LSTM"),
    "text_mean": series.text,
    "text_gru": partial(series.text, gru=True),
    "spectral_3d": series.spectral_3d,
    "transformer": attention.transformer,
    "vit": attention.vit,
}

_PICTURE = {"size": 32, "classes": 5, "width": 0.125}
_VGG = {**_PICTURE, "hidden": 16}
_RESNET = {"size": 32, "classes": 5, "width": 0.0625}
_CELL = {"length": 6, "channels": 3, "units": 5, "lengths": True, "states": True, "depth": 2}
_REGIONS = {
    "size": 64,
    "classes": 3,
    "width": 0.0625,
    "hidden": 16,
    "depth": 11,
    "scales": (16, 32),
    "ranked": 24,
    "regions": 8,
}
_EFFICIENT = {"size": 32, "classes": 5, "width": 0.25}

# Settings that leave a network all of its parts and make it small enough for tests.
SMALL: Mapping[str, Mapping[str, Any]] = {
    "mlp": {"features": 8, "hidden": (8, 8), "classes": 3},
    "autoencoder": {},
    "factorization_machine": {"vocabulary": 30, "fields": 4, "factors": 3},
    "lenet": {},
    "mnist_cnn": {"hidden": 20},
    "alexnet": {"size": 67, "classes": 5, "width": 0.125, "hidden": 16},
    "alexnet_2014": {"size": 64, "classes": 5, "width": 0.125, "hidden": 16},
    "zfnet": {"size": 96, "classes": 5, "width": 0.0625, "hidden": (16, 8)},
    **{f"vgg{depth}": _VGG for depth in classic.VGG_BLOCKS},
    **{f"vgg{depth}_bn": _VGG for depth in classic.VGG_BLOCKS},
    **{f"resnet{depth}": _RESNET for depth in residual.RESNET_BLOCKS},
    "wide_resnet50": _RESNET,
    **{f"densenet{depth}": {"size": 32, "classes": 5, "growth": 2} for depth in residual.DENSENET_BLOCKS},
    "squeezenet1_0": {"size": 48, "classes": 5, "width": 0.125},
    "squeezenet1_1": {"size": 48, "classes": 5, "width": 0.125},
    "darknet19": _PICTURE,
    "darknet53": {**_PICTURE, "width": 0.0625},
    "yolov1": {"size": 64, "classes": 3, "width": 0.0625, "hidden": 16},
    "tiny_yolov1": {"size": 64, "classes": 3, "width": 0.125},
    "yolov2": {"size": 64, "classes": 3, "width": 0.0625},
    "tiny_yolov2": {"size": 64, "classes": 3, "width": 0.125},
    "inception_v1": _PICTURE,
    "inception_v2": _PICTURE,
    "inception_v3": {"size": 75, "classes": 5, "width": 0.0625},
    "xception": {"size": 48, "classes": 5, "width": 0.0625, "middle": 2},
    "mobilenet": _PICTURE,
    "mobilenet_v2": {"size": 32, "classes": 5, "width": 0.35},
    "shufflenet": {"size": 32, "classes": 5, "width": 0.25},
    "shufflenet_v2": {"size": 32, "classes": 5, "width": 0.125},
    "efficientnet_b0": _EFFICIENT,
    "efficientnet_b1": _EFFICIENT,
    "efficientnet_b2": _EFFICIENT,
    "efficientnet_b3": _EFFICIENT,
    "unet": {"size": 32, "width": 0.0625},
    "unet_1d": {"length": 32, "channels": 2, "width": 0.0625},
    "enet": {"size": 32, "classes": 4, "width": 0.25},
    "autoencoder_conv": {"size": 16},
    "yolox": {"size": 64, "classes": 3, "width": 0.0625},
    "faster_rcnn": _REGIONS,
    "faster_rcnn_max": _REGIONS,
    "conv_1d": {"length": 20, "filters": (4, 8), "hidden": 8},
    "tcn": {"length": 16, "filters": 4, "blocks": 3},
    "rnn": _CELL,
    "gru": _CELL,
    "lstm": _CELL,
    "text_mean": {"vocabulary": 20, "length": 6, "units": 4},
    "text_gru": {"vocabulary": 20, "length": 6, "units": 4},
    "spectral_3d": {"size": 5, "bands": 24, "filters": (2, 4, 4), "kernel": 3, "hidden": 8},
    "transformer": {"vocabulary": 20, "length": 6, "features": 8, "heads": 2},
    "vit": {"size": 32, "classes": 5, "patch": 8, "features": 12, "heads": 3, "blocks": 2},
}


def build(name: str, *, seed: int = 0, init: Init = "drawn", **settings: Any) -> Graph:
    """The network ``name`` of the zoo with ``settings`` (``settings_of``); the same seed gives the same weights.

    ``init``: ``drawn`` (every number as though trained), ``fresh`` (as training starts), ``zeros`` (sizes alone matter).
    Raises GraphError for a name or a setting that is not there, and where a size does not fit.

    >>> build("lenet", classes=7).outputs[0].shape
    (None, 7)
    """
    if name not in ZOO:
        raise GraphError(f"no network {name!r} in the zoo", mend=f"use one of {', '.join(sorted(ZOO))}")
    known = settings_of(name)
    for key in settings:
        if key not in known:
            raise GraphError(f"{name} has no setting {key!r}", mend=f"it has {', '.join(known)}")
    draft = Draft.of(seed, init)
    return draft.net.freeze(ZOO[name](draft, **settings))


def settings_of(name: str) -> dict[str, Any]:
    """The settings of a network of the zoo with their defaults."""
    given = inspect.signature(ZOO[name]).parameters.values()
    return {each.name: each.default for each in given if each.kind is each.KEYWORD_ONLY}
