"""The networks of the literature as graph builders: any size, weights by seed."""

from esp.train.zoo.table import SMALL, ZOO, Builder, build

__all__ = ["SMALL", "ZOO", "Builder", "build"]
