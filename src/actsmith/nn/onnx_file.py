"""A formula as an ONNX file of its own: one input x, one output, both (batch, features) of any size, float32."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import torch

from actsmith.errors import JobError, require
from actsmith.files import written_atomically
from actsmith.formula.formula import Formula
from actsmith.nn.activation import Activation

__all__ = ["to_onnx"]


def to_onnx(f: Formula, path: Path) -> None:
    """Write the file, learned parameters at their values.

    Args:
        f: the activation.
        path: the file; it is whole or not there.

    Raises:
        ActsmithError: onnxscript is missing, or torch's exporter cannot write this formula.
    """
    require("onnxscript", "onnx", "export --to onnx")
    module = Activation(f).requires_grad_(False).eval()
    size = {0: torch.export.Dim("batch"), 1: torch.export.Dim("features")}
    talk = logging.getLogger("torch.onnx")
    level = talk.level
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            talk.setLevel(logging.ERROR)
            program = torch.onnx.export(
                module, (torch.zeros(3, 5),), input_names=["x"], output_names=["y"], dynamic_shapes=(size,),
                dynamo=True, verbose=False,
            )  # fmt: skip
    except torch.onnx.errors.OnnxExporterError as error:
        reason = str(error).strip().splitlines()[0]
        raise JobError(f"export: torch cannot write {f.name} as ONNX: {reason}") from None
    finally:
        talk.setLevel(level)
    assert program is not None
    with written_atomically(path) as file:
        file.write(program.model_proto.SerializeToString())
