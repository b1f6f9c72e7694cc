"""Names that Keras gave up: classes and settings of Keras 1 and 2 in the words of Keras 3."""

from collections.abc import Mapping
from typing import Any

from esp.errors import GraphError

CLASSES: Mapping[str, str] = {
    "AtrousConvolution1D": "Conv1D",
    "AtrousConvolution2D": "Conv2D",
    "BatchNormalizationV1": "BatchNormalization",
    "BatchNormalizationV2": "BatchNormalization",
    "Convolution1D": "Conv1D",
    "Convolution2D": "Conv2D",
    "Convolution3D": "Conv3D",
    "Deconvolution2D": "Conv2DTranspose",
    "GRUV1": "GRU",
    "GRUV2": "GRU",
    "LSTMV1": "LSTM",
    "LSTMV2": "LSTM",
    "SeparableConvolution1D": "SeparableConv1D",
    "SeparableConvolution2D": "SeparableConv2D",
    "SyncBatchNormalization": "BatchNormalization",
    "TimeDistributedDense": "Dense",
}
SETTINGS: Mapping[str, str] = {
    "atrous_rate": "dilation_rate",
    "bias": "use_bias",
    "border_mode": "padding",
    "filter_length": "kernel_size",
    "inner_activation": "recurrent_activation",
    "nb_filter": "filters",
    "p": "rate",
    "pool_length": "pool_size",
    "stride": "strides",
    "subsample": "strides",
    "subsample_length": "strides",
}
OF_CLASS: Mapping[str, Mapping[str, str]] = {
    "Dense": {"output_dim": "units"},
    "GRU": {"output_dim": "units"},
    "LSTM": {"output_dim": "units"},
    "LeakyReLU": {"alpha": "negative_slope"},
    "SimpleRNN": {"output_dim": "units"},
    "UpSampling1D": {"length": "size"},
}
_ORDERINGS = {"th": "channels_first", "tf": "channels_last", "default": "channels_last"}
_KERNELS = (("nb_row", "nb_col"), ("kernel_dim1", "kernel_dim2", "kernel_dim3"))
_CONV1D_OF_KERAS_1 = ("Convolution1D", "AtrousConvolution1D")


def renewed(kind: str, config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Class and settings in the words of Keras 3. Raises GraphError for a dim_ordering that is none.

    >>> renewed("Convolution2D", {"nb_filter": 8, "nb_row": 3, "nb_col": 5, "border_mode": "same", "dim_ordering": "tf"})
    ('Conv2D', {'filters': 8, 'padding': 'same', 'data_format': 'channels_last', 'kernel_size': [3, 5]})
    """
    new_kind = CLASSES.get(kind, kind)
    names = {**SETTINGS, **OF_CLASS.get(new_kind, {})}
    settings = {names.get(key, key): value for key, value in config.items()}
    if "dim_ordering" in settings:
        ordering = settings.pop("dim_ordering")
        if ordering not in _ORDERINGS:
            raise GraphError(f"dim_ordering is {ordering!r}", where=kind, mend=f"use one of: {', '.join(_ORDERINGS)}")
        settings["data_format"] = _ORDERINGS[ordering]
    for keys in _KERNELS:
        if keys[0] in settings:
            settings["kernel_size"] = [settings.pop(key) for key in keys]
    if kind in _CONV1D_OF_KERAS_1 and settings.get("data_format") == "channels_first":
        settings["data_format"] = "channels_last"  # Keras 1 had sequences as [steps, features] whatever the ordering
    return new_kind, settings
