"""The settings of one layer, read key by key; what nobody read and could change a result is refused."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from esp.errors import GraphError

HARMLESS = (
    "activity_regularizer",
    "autocast",
    "b_constraint",
    "b_regularizer",
    "batch_input_shape",
    "batch_shape",
    "build_shape",
    "dtype",
    "inbound_nodes",
    "init",
    "inner_init",
    "input_dtype",
    "input_length",
    "input_shape",
    "mean_initializer",
    "name",
    "seed",
    "trainable",
    "variance_initializer",
    "weights",
)
HARMLESS_ENDS = ("_initializer", "_regularizer", "_constraint", "_init", "_quantizer")
HARMLESS_STARTS = ("W_", "U_", "U2_")  # Keras 1's regularizers and constraints
EXACT_DTYPES = ("float32", "int32", "int64", "uint8", "int8", "bool", "int16", "uint16")


@dataclass(slots=True)
class Settings:
    """A layer's config. Every reader raises GraphError, with the key's path, for a value that it does not take."""

    kind: str
    config: Mapping[str, Any]
    where: str
    _read: set[str] = field(default_factory=set)

    def get(self, key: str, default: Any = None) -> Any:
        """The value as it is; one that is None counts as left out."""
        self._read.add(key)
        value = self.config.get(key)
        return default if value is None else value

    def refused(self, key: str, reason: str, mend: str) -> GraphError:
        """The error for a value that cannot be taken over."""
        return GraphError(f"{self.kind} has {key} = {self.config.get(key)!r:.80}: {reason}", where=self.where, mend=mend)

    def number(self, key: str, default: float | None = None) -> float:
        value = self.get(key, default)
        if isinstance(value, Mapping) and "value" in dict(value.get("config") or {}):  # a numpy scalar, as Keras 2 wrote some
            value = value["config"]["value"]
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.refused(key, "it is no number", "save the model again")
        return float(value)

    def whole(self, key: str, default: int | None = None, least: int = 1) -> int:
        value = self.number(key, default)
        if value != int(value) or value < least:
            raise self.refused(key, f"it is no whole number from {least} on", "save the model again")
        return int(value)

    def flag(self, key: str, default: bool = False) -> bool:
        value = self.get(key, default)
        if value not in (True, False):
            raise self.refused(key, "it is neither true nor false", "save the model again")
        return bool(value)

    def choice(self, key: str, choices: Sequence[str], default: str) -> str:
        value = self.get(key, default)
        if value not in choices:
            raise self.refused(key, "there is no rule for it", f"use one of: {', '.join(choices)}")
        return str(value)

    def sizes(self, key: str, rank: int, default: int | None = None, least: int = 1) -> tuple[int, ...]:
        """One whole number an axis; a single one stands for all."""
        value = self.get(key, default)
        listed = [value] * rank if isinstance(value, int) else value
        is_listed = isinstance(listed, list | tuple) and all(isinstance(size, int) and size >= least for size in listed)
        if not is_listed or len(listed) != rank:
            raise self.refused(key, f"wanted {rank} whole numbers from {least} on", "save the model again")
        return tuple(listed)

    def is_channels_last(self) -> bool:
        return self.choice("data_format", ("channels_last", "channels_first"), "channels_last") == "channels_last"

    def ignore(self, *keys: str) -> None:
        """Names settings that do not change what the layer gives when it scores."""
        self._read.update(keys)

    def check_left(self) -> None:
        """Raises GraphError for a setting that no rule has read, unless it is empty or known to be harmless."""
        self._check_dtype()
        for key, value in self.config.items():
            is_known = key in self._read or key in HARMLESS or key.endswith(HARMLESS_ENDS) or key.startswith(HARMLESS_STARTS)
            if not is_known and value not in (None, False, [], {}, ""):
                raise self.refused(key, "there is no rule for this setting", "leave it out if it does not change the result")

    def _check_dtype(self) -> None:
        dtype = self.config.get("dtype")
        if isinstance(dtype, Mapping):
            inner = dtype.get("config")
            dtype = inner.get("name") if isinstance(inner, Mapping) else dtype.get("class_name")
        if dtype is not None and dtype not in EXACT_DTYPES:
            reason = f"it computes as {dtype}, and in float32 it would give other numbers"
            mend = "save it from Keras with the policy float32"
            raise GraphError(f"{self.kind} has the dtype policy {dtype!s:.40}: {reason}", where=self.where, mend=mend)
