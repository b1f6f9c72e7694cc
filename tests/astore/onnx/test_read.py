"""What goes in and comes out of an imported graph, and what is refused, each with its place."""

import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from esp.astore.adopt import import_onnx
from esp.astore.graph import Layer, Value, run_reference
from esp.astore.onnx import read_model, read_onnx, to_onnx
from esp.errors import EspError, FileError, GraphError
from tests.astore.onnx.oracle import agree, floats, model, node

RELU = [node("Relu", "x", "y")]


def test_first_axis_is_the_batch_whatever_its_size_in_the_file() -> None:
    for first in (1, 8, "N", "batch_size", None):
        graph = read_onnx(model(RELU, {"x": [first, 3]}, ["y"]))
        assert (graph.inputs, graph.outputs) == ((Value("x", "float32", (None, 3)),), (Value("y", "float32", (None, 3)),))


def test_output_shapes_are_what_the_graph_makes_not_what_the_file_declares() -> None:
    proto = model(RELU, {"x": ["N", 3]}, ["y"])
    proto.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["N", 77]))
    assert read_onnx(proto).outputs[0].shape == (None, 3)


def test_sizes_left_open_are_fixed_by_shapes() -> None:
    proto = model(RELU, {"x": ["N", 3, "height", None]}, ["y"])
    with pytest.raises(GraphError, match=r"input 'x': axis 2 \(height\) has no fixed size; say it: --shape x=N,3,SIZE,SIZE"):
        read_onnx(proto)
    assert read_onnx(proto, shapes={"x": [1, 3, 5, 7]}).outputs[0].shape == (None, 3, 5, 7)
    with pytest.raises(GraphError, match="axis 1 is 3, not 4"):
        read_onnx(proto, shapes={"x": [1, 4, 5, 7]})
    with pytest.raises(GraphError, match="for 4 axes"):
        read_onnx(proto, shapes={"x": [3, 5, 7]})
    with pytest.raises(GraphError, match="shapes names 'z', which is no input; the inputs are: x"):
        read_onnx(proto, shapes={"z": [1]})


def test_inputs_that_are_initializers_are_weights() -> None:
    graph = read_onnx(model([node("Add", "x w", "y")], {"x": ["N", 3], "w": [3]}, ["y"], {"w": floats(3)}))
    assert [value.name for value in graph.inputs] == ["x"]
    assert list(graph.weights) == ["w"]


def test_an_input_without_a_batch_is_bound() -> None:
    proto = model([node("Mul", "x threshold", "y")], {"x": ["N", 3], "threshold": []}, ["y"])
    with pytest.raises(GraphError, match="input 'threshold': it has no axis for the batch; give its number by bind"):
        read_onnx(proto)
    graph = read_onnx(proto, bind={"threshold": np.float64(2)})
    assert [value.name for value in graph.inputs] == ["x"]
    np.testing.assert_array_equal(run_reference(graph, [np.float32([[1, 2, 3]])])[0], [[2, 4, 6]])
    with pytest.raises(GraphError, match=r"bound to shape \[2\], declared \[\]"):
        read_onnx(proto, bind={"threshold": np.float32([1, 2])})


def test_outputs_cut_the_graph_and_what_they_do_not_need_is_left_away() -> None:
    nodes = [node("Relu", "x", "a"), node("Loop", "z z", "b"), node("Add", "a w", "y"), node("Mul", "b v", "c")]
    proto = model(nodes, {"x": ["N", 3], "z": ["N", 4]}, ["y", "c"], {"w": floats(3), "v": floats(4)})
    graph = read_onnx(proto, outputs=["a"])
    assert ([one.op for one in graph.nodes], list(graph.weights)) == (["Relu"], [])
    assert [value.name for value in graph.inputs] == ["x"]
    with pytest.raises(GraphError, match=r"node 1 \(Loop -> 'b'\): control flow is not supported"):
        read_onnx(proto)
    with pytest.raises(GraphError, match="output 'nowhere': no node makes it"):
        read_onnx(proto, outputs=["nowhere"])


def test_an_output_whose_batch_is_elsewhere_says_which_transpose_would_help() -> None:
    proto = model([node("Transpose", "x", "y", perm=[1, 0, 2])], {"x": ["N", 3, 4]}, ["y"])
    with pytest.raises(GraphError, match=r"output 'y': shape \[3, N, 4\] .*a Transpose with perm \[1, 0, 2\]"):
        read_onnx(proto)


def test_a_graph_of_fixed_sizes_stays_as_it_is() -> None:
    proto = model([node("Transpose", "x", "y")], {"x": [2, 3]}, ["y"])
    graph = read_onnx(proto, batch=False)
    assert (graph.inputs[0].shape, graph.outputs[0].shape) == ((2, 3), (3, 2))


def test_inputs_of_several_first_sizes_are_refused() -> None:
    with pytest.raises(GraphError, match="first sizes of the inputs are 1, 3: no one batch"):
        read_onnx(model([node("Add", "x z", "y")], {"x": [1, 3], "z": [3, 3]}, ["y"]))


def test_tensors_keep_the_names_of_the_file_and_layers_those_of_its_nodes() -> None:
    nodes = [node("Relu", "x", "conv/1:0", name="first"), node("Softmax", "conv/1:0", "y", name="first")]
    graph = read_onnx(model(nodes, {"x": ["N", 2, 3]}, ["y"], opset=9))
    assert [value.name for value in graph.outputs] == ["y"]
    assert graph.nodes[0].outputs == ("conv/1:0",)
    assert graph.layers == (Layer("first", "Relu", (0,)), Layer("first_2", "Softmax", (1, 2, 3)))


def test_constants_are_computed_ahead_but_parameters_stay_those_of_the_file() -> None:
    nodes = [node("ConstantOfShape", "s", "ones", value=numpy_helper.from_array(np.float32([1]))), node("Transpose", "w", "wt"),
             node("MatMul", "x wt", "a"), node("Sqrt", "four", "two"), node("Div", "a two", "b"), node("Add", "b ones", "y")]  # fmt: skip
    weights = {"s": np.int64([5000]), "w": floats(5000, 3), "four": np.float32(4)}
    graph = agree(model(nodes, {"x": ["N", 3]}, ["y"], weights), floats(2, 3))
    assert [one.op for one in graph.nodes] == ["Transpose", "MatMul", "Div", "Add"]
    assert sorted(graph.weights) == ["ones", "two", "w"]
    assert graph.weights["ones"].strides == (0,)  # one number, however large the weight


def test_a_weight_of_two_names_is_one_weight() -> None:
    nodes = [node("Identity", "w", "same"), node("Add", "x w", "a"), node("Add", "a same", "y")]
    graph = agree(model(nodes, {"x": ["N", 3]}, ["y"], {"w": floats(3)}), floats(2, 3))
    assert list(graph.weights) == ["w"]


def test_outputs_of_training_that_nobody_reads_are_left_away() -> None:
    weights = {"s": floats(3), "b": floats(3), "m": floats(3), "v": np.abs(floats(3)) + 1}
    graph = read_onnx(model([node("BatchNormalization", "x s b m v", "y m2 v2 m3 v3")], {"x": ["N", 3]}, ["y"], weights, opset=9))
    assert graph.nodes[0].outputs == ("y",)


def test_nodes_out_of_order_are_put_in_order() -> None:
    proto = model([node("Relu", "a", "y"), node("Neg", "x", "a")], {"x": ["N", 3]}, ["y"])
    assert [one.op for one in read_onnx(proto).nodes] == ["Neg", "Relu"]


def test_what_was_exported_is_read_back_the_same() -> None:
    graph = read_onnx(
        model([node("Gemm", "x w b", "a"), node("Relu", "a", "y")], {"x": ["N", 3]}, ["y"], {"w": floats(3, 4), "b": floats(4)})
    )
    back = read_onnx(to_onnx(graph))
    assert (back.nodes, back.inputs, back.outputs) == (graph.nodes, graph.inputs, graph.outputs)
    for name, array in graph.weights.items():
        np.testing.assert_array_equal(back.weights[name], array)


def test_what_the_file_tells_of_itself_is_kept() -> None:
    proto = model(RELU, {"x": ["N", 3]}, ["y"], opset=17)
    proto.producer_name, proto.producer_version = "pytorch", "2.9"
    facts = {"producer": "pytorch", "producer_version": "2.9", "ir_version": 8, "opset ai.onnx": 17}
    assert read_model(proto).facts == facts


REFUSED = {
    "an op that no row of the table is": ([node("Det", "x", "y")], r"node 0 \(Det -> 'y'\): the op is not supported"),
    "an op that came later": ([node("Swish", "x", "y")], r"node 0 \(Swish -> 'y'\): opset 21 of ai.onnx has no such op"),
    "an op that is none": ([node("Frobnicate", "x", "y")], r"node 0 \(Frobnicate -> 'y'\): opset 21 of ai.onnx has no such op"),
    "a domain that is none": (
        [node("FusedConv", "x", "y", name="c1", domain="com.microsoft")],
        r"node 0 'c1' \(com.microsoft.FusedConv -> 'y'\): domain 'com.microsoft' is not known",
    ),
    "a tensor that is not there": ([node("Add", "x ghost", "y")], "node 0 .Add -> 'y'.: input 'ghost' is no tensor of the graph"),
    "a cycle": ([node("Add", "x b", "a"), node("Relu", "a", "b"), node("Relu", "b", "y")], "the nodes form a cycle: .*'a'.*'b'"),
    "a name taken twice": ([node("Relu", "x", "y"), node("Neg", "x", "y")], "'y' is empty or taken twice"),
    "too many inputs": ([node("Relu", "x x", "y")], r"Relu -> 'y'.*wants 1 inputs, got 2"),
    "an attribute that is none": ([node("Relu", "x", "y", slope=2.0)], r"Relu -> 'y'.*unknown attribute 'slope'"),
    "an attribute of another type": ([node("Softmax", "x", "y", axis=1.5)], r"Softmax -> 'y'.*'axis' wants int"),
    "a sequence": ([node("SequenceConstruct", "x", "s"), node("SequenceLength", "s", "y")], "SequenceConstruct -> 's'.*not supported"),
    "an If on data": ([helper.make_node("If", ["x"], ["y"])], "its condition depends on the data"),
    "a node without outputs": ([helper.make_node("Relu", ["x"], []), *RELU], "node 0 .Relu -> .: it makes nothing"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_no_graph_holds_is_refused_in_one_line(what: str) -> None:
    nodes, message = REFUSED[what]
    with pytest.raises(EspError, match=message) as err:
        read_onnx(model(nodes, {"x": ["N", 3]}, ["y"], opsets=[("com.microsoft", 1)]))
    assert "\n" not in str(err.value)


@pytest.mark.parametrize(("opset", "op"), [(29, "Relu"), (5, "BatchNormalization"), (0, "Relu"), (-1, "Relu")])
def test_an_opset_that_is_not_known_is_refused(opset: int, op: str) -> None:
    with pytest.raises(GraphError, match=f"opset {opset} of ai.onnx is not known; export it with one of 6 to"):
        read_onnx(model([node(op, "x", "y")], {"x": ["N", 3]}, ["y"], opset=opset))


def test_an_op_that_is_the_same_since_before_the_oldest_opset_is_taken() -> None:
    assert [one.op for one in read_onnx(model([node("Not", "x", "y")], {"x.bool": ["N", 3]}, ["y"], opset=5)).nodes] == ["Not"]


@pytest.mark.parametrize(
    ("kind", "name"),
    [(onnx.TensorProto.BFLOAT16, "bfloat16"), (onnx.TensorProto.FLOAT8E4M3FN, "float8e4m3fn"), (onnx.TensorProto.INT4, "int4"),
     (onnx.TensorProto.COMPLEX64, "complex64"), (99, "type 99")],
)  # fmt: skip
def test_dtypes_that_no_graph_holds_are_refused_by_name(kind: int, name: str) -> None:
    proto = model([node("Add", "x w", "y")], {"x": ["N", 3]}, ["y"], {"w": floats(3)})
    proto.graph.initializer[0].data_type = kind
    with pytest.raises(GraphError, match=f"weight 'w': {name} tensors are not supported"):
        read_onnx(proto)


def test_text_that_a_node_computes_on_is_refused() -> None:
    proto = model([node("Add", "x w", "y")], {"x": ["N", 3]}, ["y"], {"w": floats(3)})
    proto.graph.initializer[0].CopyFrom(helper.make_tensor("w", onnx.TensorProto.STRING, [1], [b"a"]))
    with pytest.raises(GraphError, match=r"Add -> 'y'.*'w' is text: string tensors are not supported"):
        read_onnx(proto)


def halves() -> onnx.ModelProto:
    """A network of half precision, its constants, a type that a node names and a body of an If among it."""
    half = onnx.TensorProto.FLOAT16
    body = helper.make_graph([node("Mul", "a w", "branch")], "b", [], [helper.make_tensor_value_info("branch", half, None)])
    one = numpy_helper.from_array(np.float16([0.1]))
    nodes = [node("Cast", "ids", "x2", to=half), node("ConstantOfShape", "three", "ones", value=one), node("Add", "x x2", "s"),
             node("Add", "s ones", "a"), helper.make_node("If", ["is"], ["i"], then_branch=body, else_branch=body),
             node("Conv", "i kernel", "y")]  # fmt: skip
    weights = {"three": np.int64([4]), "is": np.bool_(True), "w": np.float16([1.5, -2, 0.1, 4]), "kernel": floats(2, 3, 1)}
    weights["kernel"] = weights["kernel"].astype(np.float16)
    return model(nodes, {"x.float16": ["N", 3, 4], "ids.int64": ["N", 3, 4]}, ["y"], weights, kind=half)


def test_half_precision_is_read_as_single_with_the_same_weights() -> None:
    x, ids = floats(2, 3, 4), np.arange(24).reshape(2, 3, 4)
    imported = read_model(halves())
    graph, weights = imported.graph, {tensor.name: numpy_helper.to_array(tensor) for tensor in halves().graph.initializer}
    assert [value.dtype for value in (*graph.inputs, *graph.outputs)] == ["float32", "int64", "float32"]
    np.testing.assert_array_equal(graph.weights["kernel"], weights["kernel"].astype(np.float32))
    before = (x + ids + np.float32(np.float16(0.1))) * weights["w"].astype(np.float32)
    wanted = np.einsum("ncl,oc->nol", before, weights["kernel"][:, :, 0].astype(np.float32))
    np.testing.assert_allclose(run_reference(graph, [x, ids])[0], wanted, rtol=1e-5, atol=1e-5)
    assert imported.facts["float16"] == "computed in float32"
    assert "float16" not in read_model(model(RELU, {"x": ["N", 3]}, ["y"])).facts


def test_half_precision_of_fixed_sizes_stays_half() -> None:
    proto = model(
        [node("Add", "x w", "a"), node("Cast", "a", "y", to=10)], {"x.float16": [2, 3]}, ["y"], {"w": np.float16([1, 2, 3])}
    )
    graph = read_onnx(proto, batch=False)
    assert (graph.weights["w"].dtype, graph.inputs[0].dtype, graph.outputs[0].dtype) == (np.float16, "float16", "float16")


def test_half_precision_from_a_file_is_a_model_that_events_can_feed(tmp_path: Path) -> None:
    onnx.save(halves(), tmp_path / "half.onnx")
    astore = import_onnx(tmp_path / "half.onnx")
    assert [item.dtype for item in astore.inputs] == ["float32", "int64"]
    assert astore.card["source"]["float16"] == "computed in float32"


SPECS = {
    "a node": (model([node("Det", "x", "y")], {"x": ["N", 3]}, ["y"]), {}, r"node 0 \(Det -> 'y'\): the op is not supported"),
    "a shape of the spec": (model(RELU, {"x": ["N", 3]}, ["y"]), {"inputs": {"x": {"shape": (4,)}}}, r"inputs\[0\] 'x': prepared"),
    "a name of the spec": (model(RELU, {"x": ["N", 3]}, ["y"]), {"inputs": {"z": {}}}, "spec: inputs: unknown input 'z'"),
    "a dtype of no event": (model(RELU, {"x.int8": ["N", 3]}, ["y"]), {}, r"inputs\[0\] 'x': dtype 'int8' is none of an input"),
    "too large a row": (model(RELU, {"x": ["N", 1 << 27]}, ["y"]), {}, "graph: tensor 'x' of shape .* is too large"),
}


@pytest.mark.parametrize("what", SPECS)
def test_an_import_that_is_refused_names_its_file_first(what: str, tmp_path: Path) -> None:
    proto, spec, message = SPECS[what]
    onnx.save(proto, tmp_path / "m.onnx")
    with pytest.raises(EspError) as err:
        import_onnx(tmp_path / "m.onnx", spec=spec)
    assert re.match(re.escape(f"{tmp_path / 'm.onnx'}: ") + message, str(err.value))


def test_labels_that_fit_no_output_are_refused_with_the_file_named(tmp_path: Path) -> None:
    onnx.save(model(RELU, {"x": ["N", 3]}, ["y"]), tmp_path / "m.onnx")
    with pytest.raises(FileError, match=r"^\S*m.onnx: labels: 2 labels fit 0 of the outputs 'y' \[3\]"):
        import_onnx(tmp_path / "m.onnx", labels=["a", "b"])


def test_labels_of_the_file_that_do_not_fit_its_output_are_refused_with_the_file_named(tmp_path: Path) -> None:
    proto = model(RELU, {"x": ["N", 3]}, ["y"])
    proto.metadata_props.add(key="esp.outputs", value='[{"tensor": "y", "labels": ["a", "b"]}]')
    onnx.save(proto, tmp_path / "m.onnx")
    with pytest.raises(GraphError, match=r"^\S*m.onnx: outputs\[0\] 'y': 2 labels for 3 classes"):
        import_onnx(tmp_path / "m.onnx")


def test_sparse_weights_are_refused() -> None:
    proto = model([node("Add", "x w", "y")], {"x": ["N", 3]}, ["y"])
    sparse = proto.graph.sparse_initializer.add()
    sparse.values.name = "w"
    with pytest.raises(GraphError, match="weight 'w': sparse tensors are not supported"):
        read_onnx(proto)


@pytest.fixture
def beside(tmp_path: Path) -> Path:
    """A model whose weight lies beside it."""
    proto = model([node("Add", "x w", "y")], {"x": ["N", 300]}, ["y"], {"w": floats(300)})
    folder = tmp_path / "models"
    folder.mkdir()
    onnx.save(proto, folder / "m.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    return folder / "m.onnx"


def relocate(path: Path, **entries: str) -> Path:
    proto = onnx.load(path, load_external_data=False)
    held = {entry.key: entry.value for entry in proto.graph.initializer[0].external_data} | entries
    del proto.graph.initializer[0].external_data[:]
    for key, value in held.items():
        proto.graph.initializer[0].external_data.add(key=key, value=value)
    path.write_bytes(proto.SerializeToString())
    return path


def test_weights_beside_the_model_are_read(beside: Path) -> None:
    np.testing.assert_array_equal(read_onnx(beside).weights["w"], floats(300))


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/passwd", "a/../../secret.bin", "", "a\0b"])
def test_data_outside_the_folder_of_the_model_are_refused(beside: Path, location: str) -> None:
    (beside.parent.parent / "secret.bin").write_bytes(bytes(1200))
    with pytest.raises(FileError, match=r"m.onnx: weight 'w': .*(lie outside the model's folder|is no path)"):
        read_onnx(relocate(beside, location=location))


def test_a_link_that_leads_out_of_the_folder_is_refused(beside: Path) -> None:
    (beside.parent.parent / "secret.bin").write_bytes(bytes(1200))
    (beside.parent / "link.bin").symlink_to(beside.parent.parent / "secret.bin")
    with pytest.raises(FileError, match="lie outside the model's folder"):
        read_onnx(relocate(beside, location="link.bin"))


def test_external_data_that_are_short_or_missing_or_of_another_size_are_refused(beside: Path) -> None:
    with pytest.raises(FileError, match=r"1200 bytes|end at byte 1300, 'w.bin' at 1200"):
        read_onnx(relocate(beside, offset="100"))
    with pytest.raises(FileError, match="8 bytes of external data for 300 elements"):
        read_onnx(relocate(beside, offset="0", length="8"))
    with pytest.raises(FileError, match="offset '-1' of external data is no size"):
        read_onnx(relocate(beside, offset="-1", length="1200"))
    with pytest.raises(FileError, match=r"the external data 'gone.bin' cannot be read"):
        read_onnx(relocate(beside, offset="0", location="gone.bin"))
    with pytest.raises(FileError, match="lie in another file; give the path of the model"):
        read_onnx(onnx.load(beside, load_external_data=False))


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 no protobuf at all", b"\x08\x07", b"\xff" * 100])
def test_a_file_that_is_no_model_is_refused_in_one_line(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.onnx").write_bytes(data)
    with pytest.raises(FileError, match=r"x.onnx: this is no ONNX model"):
        read_onnx(tmp_path / "x.onnx")
    with pytest.raises(FileError, match=r"none.onnx: the file cannot be read"):
        read_onnx(tmp_path / "none.onnx")


def test_a_model_cut_off_anywhere_is_refused_or_reads_as_a_whole_one(tmp_path: Path) -> None:
    whole = model([node("Gemm", "x w b", "y")], {"x": ["N", 3]}, ["y"], {"w": floats(3, 4), "b": floats(4)}).SerializeToString()
    path, refused = tmp_path / "cut.onnx", 0
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        try:
            read_onnx(path)
        except EspError as err:
            refused += "\n" not in str(err)
    assert refused > len(whole) - 20  # the opset import stands at the end, in its last bytes


@pytest.mark.parametrize("change", [{"dims": [4]}, {"dims": [-3]}, {"dims": [1 << 40, 1 << 40]}, {"raw_data": b"123"}])
def test_weights_whose_data_do_not_fit_their_shape_are_refused(change) -> None:
    proto = model([node("Add", "x w", "y")], {"x": ["N", 3]}, ["y"], {"w": floats(3)})
    tensor = proto.graph.initializer[0]
    if "dims" in change:
        tensor.dims[:] = change["dims"]
    else:
        tensor.raw_data = change["raw_data"]
    with pytest.raises(FileError, match="weight 'w': "):
        read_onnx(proto)


def test_a_constant_of_boundless_size_is_refused_before_it_is_made() -> None:
    nodes = [node("ConstantOfShape", "s", "w"), node("ReduceSum", "w", "total", keepdims=0), node("Add", "x total", "y")]
    with pytest.raises(GraphError, match=r"ConstantOfShape.*too large"):
        read_onnx(model(nodes, {"x": ["N", 3]}, ["y"], {"s": np.int64([1 << 30, 1 << 20])}))
