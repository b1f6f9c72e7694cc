"""HDF5 files of weights: Keras of every generation and DLPy, read and written; h5py is imported here alone."""

from esp.astore.hdf5.apart import read_apart
from esp.astore.hdf5.assign import assign
from esp.astore.hdf5.file import Flavour, KerasFile, LayerWeights
from esp.astore.hdf5.flattening import Rows
from esp.astore.hdf5.nesting import by_layer
from esp.astore.hdf5.read import read_keras
from esp.astore.hdf5.write import write_keras_weights

__all__ = ["Flavour", "KerasFile", "LayerWeights", "Rows", "assign", "by_layer", "read_apart", "read_keras", "write_keras_weights"]
