"""Small ONNX models that see coloured dots, in the shapes that YOLOX and DWPose have."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

MEAN, STD = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])
BOX = (96, 192)  # width and height of all that the people's model finds


def _save(
    path: Path, nodes: list, weights: dict[str, np.ndarray], size: Sequence[int], outputs: dict
) -> Path:
    graph = helper.make_graph(
        nodes, "dots",
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, [1, 3, *size])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def pose_model(path: Path, colours: np.ndarray, width: int = 288, height: int = 384) -> Path:
    """Each joint is where the picture is of its colour [K, 3], 0..255; confidence 1 where it is just that."""
    normal = ((colours - MEAN) / STD).astype(np.float32)
    count = len(colours)
    weights = {
        "squares": -np.ones((count, 3, 1, 1), np.float32),
        "colours": 2 * normal[:, :, None, None],
        "ends": (1 - (normal**2).sum(1)).astype(np.float32),
        "columns": np.array([0, count, 2 * width], np.int64),
        "rows": np.array([0, count, 2 * height], np.int64),
        "last": np.array([3], np.int64),
    }

    def axis(name: str, over: int) -> list:
        return [
            helper.make_node("ReduceMax", ["near"], [f"most {name}"], axes=[over], keepdims=0),
            helper.make_node("Unsqueeze", [f"most {name}", "last"], [f"one {name}"]),
            helper.make_node("Concat", [f"one {name}", f"one {name}"], [f"two {name}"], axis=3),
            helper.make_node("Reshape", [f"two {name}", name], [f"simcc {name}"]),
        ]

    nodes = [
        helper.make_node("Mul", ["picture", "picture"], ["squared"]),
        helper.make_node("Conv", ["squared", "squares"], ["length"]),
        helper.make_node("Conv", ["picture", "colours", "ends"], ["alike"]),
        helper.make_node("Add", ["length", "alike"], ["sharp"]),
        helper.make_node(
            "AveragePool", ["sharp"], ["near"], kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[1, 1]
        ),
        *axis("columns", 2),
        *axis("rows", 3),
    ]
    outputs = {"simcc columns": [1, count, 2 * width], "simcc rows": [1, count, 2 * height]}
    return _save(path, nodes, weights, (height, width), outputs)


def people_model(path: Path, size: int = 640) -> Path:
    """A person of BOX about every cell of 32 pixels that is red, BGR as YOLOX reads it."""
    redness = np.array([-1, -1, 1], np.float32).reshape(1, 3, 1, 1) / 255
    counts = {stride: (size // stride) ** 2 for stride in (8, 16, 32)}
    place = np.zeros((1, counts[32], 4), np.float32)
    place[..., :2], place[..., 2:] = 0.5, np.log(np.array(BOX) / 32)
    weights = {
        "redness": redness,
        "cells": np.array([1, counts[32], 1], np.int64),
        "place": place,
        "person": np.ones((1, counts[32], 1), np.float32),
        "others": np.zeros((1, counts[32], 79), np.float32),
        "finer": np.zeros((1, counts[8] + counts[16], 85), np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["picture", "redness"], ["red"]),
        helper.make_node("AveragePool", ["red"], ["of cells"], kernel_shape=[32, 32], strides=[32, 32]),
        helper.make_node("Reshape", ["of cells", "cells"], ["there"]),
        helper.make_node("Concat", ["place", "there", "person", "others"], ["coarse"], axis=2),
        helper.make_node("Concat", ["finer", "coarse"], ["found"], axis=1),
    ]
    return _save(path, nodes, weights, (size, size), {"found": [1, sum(counts.values()), 85]})
