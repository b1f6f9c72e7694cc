"""The settings of training: optimiser, length, stopping, augmentation; a field is the key, the default and the help."""

from typing import Annotated, Literal

import pydantic
from pydantic import Field

from esp.train.losses import LossName
from esp.train.optimizers import SGD, Adam, Optimizer, Schedule


class Settings(pydantic.BaseModel):
    """Frozen, and unknown keys are refused."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


class _Rate(Settings):
    rate: float = Field(0.001, gt=0, description="learning rate at the start")
    schedule: Schedule = Field("constant", description="how the rate falls over the epochs")
    warmup: float = Field(0.0, ge=0, lt=1, description="share of the training over which the rate climbs to its start")
    l2: float = Field(0.0, ge=0, description="pull of weights (not biases) towards zero: l2 * weight is added to the gradient")


class AdamSettings(_Rate):
    """Adam."""

    kind: Literal["adam"] = "adam"
    beta1: float = Field(0.9, ge=0, lt=1)
    beta2: float = Field(0.999, ge=0, lt=1)
    epsilon: float = Field(1e-8, gt=0)

    def make(self) -> Optimizer:
        return Adam(self.beta1, self.beta2, self.epsilon)


class SgdSettings(_Rate):
    """Stochastic gradient descent, with or without momentum."""

    kind: Literal["sgd"]
    momentum: float = Field(0.0, ge=0, lt=1)
    nesterov: bool = False

    def make(self) -> Optimizer:
        return SGD(self.momentum, self.nesterov)


OptimizerSettings = Annotated[AdamSettings | SgdSettings, Field(discriminator="kind")]


class FitSettings(Settings):
    """How long, and against what."""

    epochs: int = Field(20, ge=1, description="passes over the training data, at most")
    batch_size: int = Field(64, ge=1)
    loss: LossName = "cross_entropy"
    threads: int = Field(1, ge=0, description="threads of the matrix products; 0 = as many as there are cores")
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="share of a row's target spread over all classes")


class StopSettings(Settings):
    """Early stopping: a split of the training data is watched, and the best weights are kept."""

    validation: float = Field(0.1, gt=0, lt=1, description="share of the training rows (groups, if any) that is watched")
    patience: int = Field(5, ge=1, description="epochs without a better validation loss before training ends")
    monitor: Literal["loss", "accuracy"] = "loss"


class AugmentSettings(Settings):
    """Random changes of the training rows, drawn anew for every batch, on the values as events give them."""

    shift: int = Field(0, ge=0, description="pictures: up to so many pixels up, down, left, right, zeros coming in")
    rotate: float = Field(
        0.0, ge=0, le=180, description="sensors: degrees by which each triad of channels turns about a random axis, at most"
    )
    scale: float = Field(0.0, ge=0, lt=1, description="the row times a number within 1 +- scale")
    noise: float = Field(0.0, ge=0, description="normal noise, in standard deviations of the channel")
