"""Keras models as graphs: config and weights of Keras 1, 2 and 3."""

from esp.astore.keras.importing import config_in, graph_of_keras, import_keras

__all__ = ["config_in", "graph_of_keras", "import_keras"]
