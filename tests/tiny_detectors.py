"""Detectors small enough to build on the spot, whose answers can be computed by hand."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIDE = 64
"""Pixels a side of what they look at."""

QUARTERS = ((0, 0, 32, 32), (32, 0, 64, 32), (0, 32, 32, 64), (32, 32, 64, 64))


def onnx_bytes(boxes: tuple = QUARTERS, *, layout: bool = True) -> bytes:
    """A YOLOv8-shaped network of three classes that knows four boxes.

    Box ``i`` scores, for class red, green or blue, the mean of that channel (0 to 1) in quarter
    ``i`` of the picture, counted in reading order. Without ``layout`` the output is turned.
    """
    corners = np.array(boxes, np.float32)
    with np.errstate(all="ignore"):  # boxes may be wild
        centres, sides = (corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]
    known = np.hstack([centres, sides]).T[None]
    halves, order = [SIDE // 2] * 2, [0, 1, 2] if layout else [0, 2, 1]
    nodes = [
        helper.make_node("AveragePool", ["images"], ["means"], kernel_shape=halves, strides=halves),
        helper.make_node("Reshape", ["means", "shape"], ["scores"]),
        helper.make_node("Concat", ["boxes", "scores"], ["found"], axis=1),
        helper.make_node("Transpose", ["found"], ["output0"], perm=order),
    ]
    shape = [1, 7, 4] if layout else [1, 4, 7]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, shape)],
        [
            numpy_helper.from_array(known, "boxes"),
            numpy_helper.from_array(np.array([1, 3, 4], np.int64), "shape"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()
