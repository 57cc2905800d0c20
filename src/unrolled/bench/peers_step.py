"""What else makes one step of a character LSTM: torch.nn's ways, and ONNX Runtime where it is installed.

Each takes an id, keeps its own state between calls and returns the scores (1, V): a one-hot LSTM of one layer and an
output layer, weights as in :class:`unrolled.tasks.language.model.LanguageModel`.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

Step = Callable[[int], Tensor]
Weights = Mapping[str, Tensor]


def lstm_cell(w: Weights) -> Step:
    """``torch.nn.LSTMCell`` and a ``Linear`` under ``inference_mode``; a token is a row of the unit matrix."""
    V, H = w["head.weight"].shape
    cell, head = nn.LSTMCell(V, H), nn.Linear(H, V)
    cell.load_state_dict({n.removeprefix("rnn.").removesuffix("_l0"): t for n, t in w.items() if n.startswith("rnn.")})
    _load_head(head, w)
    rows, state = torch.eye(V)[:, None], [torch.zeros(1, H), torch.zeros(1, H)]

    @torch.inference_mode()
    def step(token: int) -> Tensor:
        state[0], state[1] = cell(rows[token], (state[0], state[1]))
        scores: Tensor = head(state[0])
        return scores

    return step


def lstm_layer(w: Weights) -> Step:
    """``torch.nn.LSTM`` called with one step, as most programs sample, under ``inference_mode``."""
    V, H = w["head.weight"].shape
    layer, head = nn.LSTM(V, H), nn.Linear(H, V)
    layer.load_state_dict({n.removeprefix("rnn."): t for n, t in w.items() if n.startswith("rnn.")})
    _load_head(head, w)
    rows, state = torch.eye(V)[:, None, None], [torch.zeros(1, 1, H), torch.zeros(1, 1, H)]

    @torch.inference_mode()
    def step(token: int) -> Tensor:
        output, (state[0], state[1]) = layer(rows[token], (state[0], state[1]))
        scores: Tensor = head(output[0])
        return scores

    return step


def _load_head(head: nn.Linear, w: Weights) -> None:
    head.load_state_dict({"weight": w["head.weight"], "bias": w["head.bias"]})


def onnx_missing() -> str | None:
    """Why ONNX Runtime cannot be measured, or None."""
    lacking = [name for name in ("onnx", "onnxruntime") if importlib.util.find_spec(name) is None]
    return f"{' and '.join(lacking)} not installed: pip install onnx onnxruntime" if lacking else None


def onnx_runtime(w: Weights, form: str, threads: int) -> Step:
    """ONNX Runtime on the CPU.

    Args:
        form: ``LSTM``, its own operator on a gathered unit row; ``plain``, the input product as a gather of columns of
            W_ih and the gates from elementary operators.
    """
    onnx, runtime = importlib.import_module("onnx"), importlib.import_module("onnxruntime")
    graph = _lstm_graph(onnx, w) if form == "LSTM" else _plain_graph(onnx, w)
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    session = runtime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    H = w["head.weight"].shape[1]
    shape = (1, 1, H) if form == "LSTM" else (1, H)
    state = [np.zeros(shape, np.float32), np.zeros(shape, np.float32)]

    def step(token: int) -> Tensor:
        feeds = {"id": np.array([token], np.int64), "h": state[0], "c": state[1]}
        scores, state[0], state[1] = session.run(["scores", "h_new", "c_new"], feeds)
        return torch.from_numpy(scores)

    return step


def _lstm_graph(onnx: Any, w: Weights) -> bytes:
    """Gather a unit row, the LSTM operator with one step, the output layer."""
    V, H = w["head.weight"].shape
    node, order = onnx.helper.make_node, [0, 3, 1, 2]  # torch's i f g o as ONNX's i o f c

    def turned(name: str) -> Any:
        t = w[f"rnn.{name}_l0"].detach()
        return torch.cat([t.chunk(4)[k] for k in order]).numpy()[None]

    constants = {
        "rows": np.eye(V, dtype=np.float32)[:, None], "W": turned("weight_ih"), "R": turned("weight_hh"),
        "b": np.concatenate((turned("bias_ih"), turned("bias_hh")), 1), "shape": np.array([1, H], np.int64),
    }  # fmt: skip
    nodes = [
        node("Gather", ["rows", "id"], ["x"]),
        node("LSTM", ["x", "W", "R", "b", "", "h", "c"], ["", "h_new", "c_new"], hidden_size=H),
        node("Reshape", ["h_new", "shape"], ["flat"]),
        node("Gemm", ["flat", "W_hy", "b_y"], ["scores"], transB=1),
    ]
    return _model(onnx, nodes, constants, w, (1, 1, H))


def _plain_graph(onnx: Any, w: Weights) -> bytes:
    """Gather a column of W_ih with both biases added; one product; the gates."""
    H = w["head.weight"].shape[1]
    node = onnx.helper.make_node
    columns = (w["rnn.weight_ih_l0"].t() + w["rnn.bias_ih_l0"] + w["rnn.bias_hh_l0"]).detach().contiguous()
    constants = {"columns": columns.numpy(), "R": w["rnn.weight_hh_l0"].detach().t().contiguous().numpy()}
    nodes = [
        node("Gather", ["columns", "id"], ["x"]),
        node("Gemm", ["h", "R", "x"], ["bar"]),
        node("Split", ["bar"], ["i_", "f_", "g_", "o_"], axis=1, num_outputs=4),
        *(node("Tanh" if n == "g" else "Sigmoid", [f"{n}_"], [n]) for n in "ifgo"),
        node("Mul", ["f", "c"], ["kept"]),
        node("Mul", ["i", "g"], ["new"]),
        node("Add", ["kept", "new"], ["c_new"]),
        node("Tanh", ["c_new"], ["c_tanh"]),
        node("Mul", ["o", "c_tanh"], ["h_new"]),
        node("Gemm", ["h_new", "W_hy", "b_y"], ["scores"], transB=1),
    ]
    return _model(onnx, nodes, constants, w, (1, H))


def _model(onnx: Any, nodes: list[Any], constants: dict[str, Any], w: Weights, state: tuple[int, ...]) -> bytes:
    value, floats = onnx.helper.make_tensor_value_info, onnx.TensorProto.FLOAT
    constants |= {"W_hy": w["head.weight"].detach().numpy(), "b_y": w["head.bias"].detach().numpy()}
    graph = onnx.helper.make_graph(
        nodes, "step",
        [value("id", onnx.TensorProto.INT64, [1]), value("h", floats, state), value("c", floats, state)],
        [value("scores", floats, None), value("h_new", floats, None), value("c_new", floats, None)],
        [onnx.numpy_helper.from_array(np.ascontiguousarray(a), n) for n, a in constants.items()],
    )  # fmt: skip
    made = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=8)
    content: bytes = made.SerializeToString()
    return content
