"""Tiny networks in files of ONNX, each number of which is on paper."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import ArrayLike
from onnx import helper, numpy_helper

# As ImageNet's mean and deviation are not: what the networks below want is 0 to 1.
PLAIN = "mean: [0.0, 0.0, 0.0]\nstd: [1.0, 1.0, 1.0]\n"
STRIDE = 4


def save(
    path: Path,
    nodes: list[onnx.NodeProto],
    outputs: dict[str, list],
    constants: dict[str, ArrayLike],
    inputs: list,
) -> Path:
    """Write a network from "image" to some outputs."""
    tensor = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("image", tensor, inputs)],
        [helper.make_tensor_value_info(name, tensor, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(np.asarray(v), name) for name, v in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8  # of that operator set's time: any onnxruntime reads it
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path


def colour_heatmaps(
    path: Path, colours: ArrayLike, size: tuple[int, int] | None = None, reach: float = 0.2
) -> Path:
    """Write a network that sees colours: ``max(0, 1 - |image - colour|^2 / reach^2)``, averaged.

    Parameters
    ----------
    path : Path
    colours : array_like, shape (joints, 3)
        Red, green and blue, 0 to 1.
    size : (int, int), optional
        Width and height that the file says its input has.
    reach : float
        How far a colour may be off.

    Pixel ``(u, v)`` of a heatmap is the mean of 5 x 5 pixels around ``(4 u, 4 v)``.
    """
    colours = np.asarray(colours, np.float64)
    # 1 - (|x|^2 - 2 c x + |c|^2) / reach^2 is linear in x and x^2
    weights = np.concatenate([2 * colours, -np.ones_like(colours)], axis=1) / reach**2
    bias = 1 - (colours**2).sum(1) / reach**2
    nodes = [
        helper.make_node("Mul", ["image", "image"], ["squared"]),
        helper.make_node("Concat", ["image", "squared"], ["both"], axis=1),
        helper.make_node("Conv", ["both", "weights", "bias"], ["alike"]),
        helper.make_node("Relu", ["alike"], ["seen"]),
        helper.make_node(
            "AveragePool",
            ["seen"],
            ["heatmaps"],
            kernel_shape=[5, 5],
            strides=[STRIDE, STRIDE],
            pads=[2, 2, 2, 2],
        ),
    ]
    width, height = ("w", "h") if size is None else size
    return save(
        path,
        nodes,
        {"heatmaps": [1, len(colours), None, None]},
        {
            "weights": weights.astype(np.float32)[:, :, None, None],
            "bias": bias.astype(np.float32),
        },
        [1, 3, height, width],
    )


def answering(path: Path, *answers: ArrayLike, inputs: list | None = None) -> Path:
    """Write a network that gives these arrays whatever it sees; its input is 64 wide, 48 high."""
    nodes, outputs, constants = [], {}, {"zero": np.zeros(1, np.float32)}
    nodes.append(helper.make_node("ReduceSum", ["image"], ["sum"], keepdims=0))
    nodes.append(helper.make_node("Mul", ["sum", "zero"], ["nothing"]))
    for number, answer in enumerate(answers):
        values = np.asarray(answer, np.float32)
        constants[f"answer{number}"] = values
        nodes.append(helper.make_node("Add", [f"answer{number}", "nothing"], [f"output{number}"]))
        outputs[f"output{number}"] = list(values.shape)
    return save(path, nodes, outputs, constants, inputs or [1, 3, 48, 64])
