"""Files that are broken or mean harm: each is refused in one line that names the place, before memory is asked for."""

import json
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import h5py
import numpy as np
import pytest

from esp.astore.hdf5 import by_layer, read_apart, read_keras
from esp.errors import FileError

GOLDEN = Path(__file__).parents[1] / "golden" / "keras"


def one_layer(file: h5py.File) -> h5py.Group:
    """A file whose layer "l" lists one weight, "k", which is not there yet."""
    file.attrs["layer_names"], file.attrs["keras_version"] = [b"l"], b"2.4.0"
    group = file.create_group("l")
    group.attrs["weight_names"] = [b"k"]
    return group


def huge_without_data(file: h5py.File) -> None:
    one_layer(file).create_dataset("k", (1 << 20, 1 << 20), "f4")


def no_data(file: h5py.File) -> None:
    one_layer(file).create_dataset("k", (10, 10), "f4")


def bomb_by_size(file: h5py.File) -> None:
    one_layer(file).create_dataset("k", data=np.zeros(1 << 24, "f4"), compression="gzip", compression_opts=9)


def bomb_by_chunk(file: h5py.File) -> None:
    """A chunk that says 400 bytes and unpacks to 64 MiB."""
    data = one_layer(file).create_dataset("k", (100,), "f4", chunks=(100,), compression="gzip")
    data.id.write_direct_chunk((0,), zlib.compress(bytes(1 << 26)))


def broken_chunk(file: h5py.File) -> None:
    data = one_layer(file).create_dataset("k", (100,), "f4", chunks=(100,), compression="gzip")
    data.id.write_direct_chunk((0,), b"no zlib at all")


def huge_chunk(file: h5py.File) -> None:
    one_layer(file).create_dataset("k", (1,), "f4", chunks=(1 << 26,), maxshape=(None,), compression="gzip")


def other_compression(file: h5py.File) -> None:
    one_layer(file).create_dataset("k", data=np.zeros(100, "f4"), compression="lzf")


def same_array_over_and_over(file: h5py.File) -> None:
    group = one_layer(file)
    group.attrs["weight_names"] = [b"k"] * 4000
    group["k"] = np.ones(10_000, "f4")


def external_link(file: h5py.File) -> None:
    one_layer(file)["k"] = h5py.ExternalLink("/etc/passwd", "/k")


def soft_link(file: h5py.File) -> None:
    one_layer(file)["k"] = h5py.SoftLink("/elsewhere")


def linked_layer(file: h5py.File) -> None:
    one_layer(file)
    del file["l"]
    file["l"] = h5py.ExternalLink("other.h5", "/")


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((10,), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "x", (10,))
    one_layer(file).create_virtual_dataset("k", layout)


def external_storage(file: h5py.File) -> None:
    one_layer(file).create_dataset("k", (2,), "f4", external=[("/etc/passwd", 0, 8)])


def text_array(file: h5py.File) -> None:
    one_layer(file).create_dataset("k", data=[b"some", b"text"])


def objects(file: h5py.File) -> None:
    one_layer(file).create_dataset("k", (2,), h5py.vlen_dtype(np.float32))


def null_array(file: h5py.File) -> None:
    one_layer(file).create_dataset("k", data=h5py.Empty("f4"))


def group_for_an_array(file: h5py.File) -> None:
    one_layer(file).create_group("k")


def array_for_a_group(file: h5py.File) -> None:
    one_layer(file)
    del file["l"]
    file["l"] = np.zeros(3)


def missing_array(file: h5py.File) -> None:
    one_layer(file)


def missing_layer(file: h5py.File) -> None:
    one_layer(file)
    del file["l"]


def no_weight_names(file: h5py.File) -> None:
    del one_layer(file).attrs["weight_names"]


def names_that_are_numbers(file: h5py.File) -> None:
    one_layer(file).attrs["weight_names"] = [1, 2]


def names_that_are_no_text(file: h5py.File) -> None:
    one_layer(file).attrs["weight_names"] = [b"\xff\xfe"]


def layer_twice(file: h5py.File) -> None:
    one_layer(file)["k"] = np.zeros(2)
    file.attrs["layer_names"] = [b"l", b"l"]


def no_keras(file: h5py.File) -> None:
    file["data"] = np.zeros(3)


def unknown_version(file: h5py.File) -> None:
    one_layer(file)["k"] = np.zeros(2)
    file.attrs["keras_version"] = b"7.0"


def config_no_json(file: h5py.File) -> None:
    one_layer(file)["k"] = np.zeros(2)
    file.attrs["model_config"] = b"{no json"


def config_too_deep(file: h5py.File) -> None:
    one_layer(file)["k"] = np.zeros(2)
    file.attrs["model_config"] = "[" * 50_000


def config_of_no_model(file: h5py.File) -> None:
    one_layer(file)["k"] = np.zeros(2)
    file.attrs["model_config"] = b'{"layers": []}'


def group_within_itself(file: h5py.File) -> None:
    layers = file.create_group("layers")
    dense = layers.create_group("dense")
    dense["again"] = dense


def weights_of_the_model(file: h5py.File) -> None:
    file.create_group("layers")
    file["vars/0"] = np.zeros(2)


CASES: dict[Callable[[h5py.File], None], str] = {
    huge_without_data: r"/l/k: claims 4,398,046,511,104 bytes, more than a file of this size may hold",
    no_data: r"/l/k: claims shape \[10, 10\] and holds no numbers",
    bomb_by_size: "/l/k: claims 67,108,864 bytes",
    bomb_by_chunk: "/l/k: unpacks to more than it says",
    broken_chunk: "/l/k: cannot be unpacked",
    huge_chunk: "/l/k: claims 268,435,456 bytes",
    other_compression: "/l/k: is compressed in a way that is not known",
    same_array_over_and_over: "/l/k: claims 40,000 bytes",
    external_link: "/l/k: is a link to another place",
    soft_link: "/l/k: is a link to another place",
    linked_layer: "/l: is a link to another place",
    virtual: "/l/k: its numbers are in another file",
    external_storage: "/l/k: its numbers are in another file",
    text_array: "/l/k: wanted an array of plain numbers",
    objects: "/l/k: wanted an array of plain numbers",
    null_array: "/l/k: wanted an array of plain numbers",
    group_for_an_array: "/l/k: wanted an array, got a group",
    array_for_a_group: "/l: wanted a group, got an array",
    missing_array: "/l/k: is not in the file",
    missing_layer: "/l: is not in the file",
    no_weight_names: "/l: has no attribute 'weight_names'",
    names_that_are_numbers: "/l: attribute 'weight_names' wants strings",
    names_that_are_no_text: "cannot be read as HDF5",
    layer_twice: "/: layer 'l' is listed twice",
    no_keras: "is no file of Keras",
    unknown_version: "keras_version '7.0' is not known",
    config_no_json: "attribute 'model_config': is not JSON",
    config_too_deep: "attribute 'model_config': is not JSON",
    config_of_no_model: "is no model's config",
    group_within_itself: "too many groups, or a group within itself",
    weights_of_the_model: "/vars: holds weights of the model itself",
}


@pytest.mark.parametrize("make", CASES, ids=lambda make: make.__name__)
def test_a_hostile_file_is_refused(make: Callable[[h5py.File], None], tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    with h5py.File(path, "w") as file:
        make(file)
    tracemalloc.start()
    try:
        with pytest.raises(FileError, match=CASES[make]) as caught:
            read_keras(path)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert peak_bytes < 64 * path.stat().st_size + (4 << 20)


@pytest.mark.parametrize("kept", [0, 7, 100, 2000, 9000, 17000])
def test_a_file_cut_off_is_refused(kept: int, tmp_path: Path) -> None:
    (tmp_path / "m.h5").write_bytes((GOLDEN / "dense.h5").read_bytes()[:kept])
    with pytest.raises(FileError, match="cannot be read as HDF5"):
        read_keras(tmp_path / "m.h5")


def test_a_file_that_is_not_there_is_said() -> None:
    with pytest.raises(FileError, match=r"nowhere\.h5: cannot be read: No such file"):
        read_keras(Path("nowhere.h5"))


def damaged(path: Path, at: dict[int, int]) -> Path:
    raw = bytearray((GOLDEN / "dense.weights-only.h5").read_bytes())
    for place, byte in at.items():
        raw[place] = byte
    path.write_bytes(raw)
    return path


def test_a_heap_of_strings_on_which_hdf5_never_ends_is_refused(tmp_path: Path) -> None:
    raw = (GOLDEN / "dense.weights-only.h5").read_bytes()
    heap = raw.index(b"GCOL")
    longer = raw.index((14).to_bytes(8, "little"), heap)  # the size of "hidden/kernel:0" or the like, two words long
    path = damaged(tmp_path / "m.h5", {longer: 1})
    with pytest.raises(FileError, match=f"byte {heap}: has strings that lie in one another"):
        read_keras(path)


def test_a_file_read_apart_gives_the_same() -> None:
    here, apart = (read(GOLDEN / "nested.h5") for read in (read_keras, read_apart))
    assert (here.config, here.generation, [*here.layers]) == (apart.config, apart.generation, [*apart.layers])
    for key, weights in here.layers.items():
        assert weights.names == apart.layers[key].names
        for one, other in zip(weights.arrays, apart.layers[key].arrays, strict=True):
            np.testing.assert_array_equal(one, other)


def test_what_is_wrong_is_said_from_apart_too(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "m.h5", "w") as file:
        soft_link(file)
    with pytest.raises(FileError, match="/l/k: is a link to another place"):
        read_apart(tmp_path / "m.h5")


def test_a_file_that_does_not_end_in_time_is_refused() -> None:
    with pytest.raises(FileError, match="did not end within 0 s"):
        read_apart(GOLDEN / "dense.h5", timeout_s=0.0)


def test_bytes_flipped_anywhere_are_a_file_error_or_nothing(tmp_path: Path) -> None:
    """Seed 209 brings the HDF5 library of 2025 down."""
    for seed in (1, 2, 3, 209):
        rng = np.random.default_rng([7, seed])
        size = (GOLDEN / "dense.weights-only.h5").stat().st_size
        path = damaged(tmp_path / "m.h5", {int(at): int(rng.integers(0, 256)) for at in rng.integers(0, size, 8)})
        with suppress(FileError):
            assert read_apart(path).path == path


def archive(path: Path, compression: int = zipfile.ZIP_DEFLATED, **members: bytes | None) -> Path:
    with h5py.File(path.with_suffix(".h5"), "w") as file:
        file["layers/dense/vars/0"] = np.ones((2, 2), np.float32)
    config = {"class_name": "Sequential", "config": {"name": "m", "layers": [{"class_name": "Dense", "config": {"name": "d"}}]}}
    usual = {
        "metadata": b'{"keras_version": "3.1.0"}',
        "config": json.dumps(config).encode(),
        "weights": path.with_suffix(".h5").read_bytes(),
    }
    names = {"metadata": "metadata.json", "config": "config.json", "weights": "model.weights.h5"}
    with zipfile.ZipFile(path, "w", compression) as file:
        for key, data in {**usual, **members}.items():
            if data is not None:
                file.writestr(names[key], data)
    return path


def test_a_sound_archive_is_read(tmp_path: Path) -> None:
    assert [*by_layer(read_keras(archive(tmp_path / "m.keras")))] == [("d",)]


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"config": b" " * (1 << 26) + b"{}"}, "config.json: claims 67,108,866 bytes"),
        ({"config": b"{"}, "config.json: is not JSON"),
        ({"config": b"[]"}, "config.json: wanted a JSON object, got list"),
        ({"config": None}, "config.json: is there 0 times, wanted once"),
        ({"metadata": b"{}"}, "metadata.json: names no 'keras_version'"),
        ({"weights": b"no hdf5"}, "cannot be read as HDF5"),
    ],
)
def test_a_hostile_archive_is_refused(members: dict[str, bytes | None], said: str, tmp_path: Path) -> None:
    with pytest.raises(FileError, match=said):
        read_keras(archive(tmp_path / "m.keras", **members))


def test_an_archive_packed_otherwise_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"config.json: is compressed in a way that Keras does not use"):
        read_keras(archive(tmp_path / "m.keras", zipfile.ZIP_LZMA))


def test_an_archive_that_says_less_than_it_unpacks_to_is_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "m.keras", config=b" " * 100_000 + b"{}")
    raw = path.read_bytes()
    size = (100_002).to_bytes(4, "little")
    assert raw.count(size) == 2
    path.write_bytes(raw.replace(size, (50).to_bytes(4, "little")))
    with pytest.raises(FileError, match="cannot be unpacked"):
        read_keras(path)


def test_a_gzipped_array_is_read(tmp_path: Path) -> None:
    given = np.arange(5000, dtype=np.float32)
    with h5py.File(tmp_path / "m.h5", "w") as file:
        one_layer(file).create_dataset("k", data=given, chunks=(700,), compression="gzip", shuffle=True, fletcher32=True)
    np.testing.assert_array_equal(read_keras(tmp_path / "m.h5").layers["l"].arrays[0], given)
