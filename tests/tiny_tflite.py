"""Builds TFLite classifiers of a few hundred bytes whose answers are known: they name the colour of the picture.

Label i is the colour i % 3 (red, green, blue): its score is `gain` times the mean of that channel of the input as the
network sees it. So `model()` on a red picture says label 0, on green 1, on blue 2.
"""

from __future__ import annotations

import io
import zipfile
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

LABELS = ("red", "green", "blue")
NORMALISATION = {"float32": (127.5, 127.5), "uint8": (128.0, 128.0), "int8": (128.0, 128.0)}
_TYPE = {"float32": schema.TensorType.FLOAT32, "uint8": schema.TensorType.UINT8, "int8": schema.TensorType.INT8}


def model(
    dtype: str = "uint8",
    labels: int = 3,
    size: tuple[int, int] = (32, 32),
    last: str = "SOFTMAX",
    gain: float = 4.0,
    embedding: bool = False,
    metadata: tuple[float, float] | None = None,
    label_file: str | None = None,
    *,
    inputs: int = 1,
    channels: int = 3,
    outputs: int = 1,
    custom: str = "",
) -> bytes:
    """A classifier [1, height, width, 3] -> [1, labels], input and output in `dtype`.

    `last`: "SOFTMAX", "LOGISTIC", "LOG_SOFTMAX" or "" for bare logits. `embedding` adds, before the scores, the mean
    colour [1, 3] as a float32 output. `metadata` is (mean, std) of TFLite Metadata, `label_file` the text of
    an associated label file. What follows makes models that are no such classifiers: more inputs or outputs, other
    channels, a `custom` step at the end that no runtime knows.
    """
    net = _Net()
    quantised = dtype != "float32"
    low = -128 if dtype == "int8" else 0
    seen = net.tensor("picture", (1, *size, channels), dtype, (1 / 128, low + 128) if quantised else None)
    pictures = [seen] + [net.tensor(f"picture{i}", (1, *size, channels), dtype) for i in range(1, inputs)]
    if quantised:
        seen = net.step("DEQUANTIZE", [seen], "picture_real", (1, *size, channels))
    axes = net.constant("axes", np.array([1, 2], np.int32), schema.TensorType.INT32)
    colour = net.step("MEAN", [seen, axes], "colour", (1, 3), "ReducerOptions")
    weights = np.zeros((labels, 3), np.float32)
    weights[np.arange(labels), np.arange(labels) % 3] = gain
    w = net.constant("weights", weights, schema.TensorType.FLOAT32)
    b = net.constant("bias", np.zeros(labels, np.float32), schema.TensorType.FLOAT32)
    scores = net.step("FULLY_CONNECTED", [colour, w, b], "logits", (1, labels), "FullyConnectedOptions")
    if last:
        options = {"SOFTMAX": "SoftmaxOptions", "LOG_SOFTMAX": "LogSoftmaxOptions"}.get(last, "")
        scores = net.step(last, [scores], "scores", (1, labels), options)
    if quantised:
        scale = (1 / 256, low) if last in ("SOFTMAX", "LOGISTIC") else (gain / 64, low + 128)
        scores = net.step("QUANTIZE", [scores], "scores_quantised", (1, labels), "QuantizeOptions", dtype, scale)
    if custom:
        scores = net.step("CUSTOM", [scores], "unknown", (1, labels), dtype=dtype, custom=custom)
    answers = [colour, scores] if embedding else [scores] * outputs
    if metadata:
        net.metadata(*metadata)
    data = net.finish(pictures, answers)
    return data + _zip(label_file) if label_file is not None else data


def picture(colour: int, size: tuple[int, int] = (40, 56)) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """A picture uint8[h, w, 3] all red (0), green (1) or blue (2)."""
    image = np.zeros((*size, 3), np.uint8)
    image[..., colour] = 255
    return image


class _Net:
    """One graph as it grows."""

    def __init__(self) -> None:
        self.graph = schema.SubGraphT()
        self.graph.tensors, self.graph.operators = [], []
        self.model = schema.ModelT()
        self.model.version = 3
        self.model.operatorCodes, self.model.subgraphs = [], [self.graph]
        self.model.buffers, self.model.metadata = [schema.BufferT()], []

    def tensor(
        self, name: str, shape: tuple[int, ...], dtype: str = "float32", scale: tuple[float, int] | None = None
    ) -> int:
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = name, list(shape), _TYPE[dtype], 0
        if scale:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale, tensor.quantization.zeroPoint = [scale[0]], [scale[1]]
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def constant(self, name: str, values: np.ndarray[Any, Any], type_: int) -> int:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(values.tobytes(), np.uint8)
        self.model.buffers.append(buffer)
        index = self.tensor(name, values.shape)
        self.graph.tensors[index].type, self.graph.tensors[index].buffer = type_, len(self.model.buffers) - 1
        return index

    def step(
        self,
        step: str,
        inputs: list[int],
        name: str,
        shape: tuple[int, ...],
        options: str = "",
        dtype: str = "float32",
        scale: tuple[float, int] | None = None,
        custom: str = "",
    ) -> int:
        code = schema.OperatorCodeT()
        code.customCode = custom or None
        code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, step)
        code.version = 1
        self.model.operatorCodes.append(code)
        operator = schema.OperatorT()
        operator.opcodeIndex = len(self.model.operatorCodes) - 1
        operator.inputs, operator.outputs = inputs, [self.tensor(name, shape, dtype, scale)]
        if options:
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, options)
            operator.builtinOptions = getattr(schema, options + "T")()
            if options == "SoftmaxOptions":
                operator.builtinOptions.beta = 1.0
        self.graph.operators.append(operator)
        return int(operator.outputs[0])

    def metadata(self, mean: float, std: float) -> None:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(_metadata(mean, std), np.uint8)
        self.model.buffers.append(buffer)
        entry = schema.MetadataT()
        entry.name, entry.buffer = "TFLITE_METADATA", len(self.model.buffers) - 1
        self.model.metadata.append(entry)

    def finish(self, inputs: list[int], outputs: list[int]) -> bytes:
        self.graph.inputs, self.graph.outputs = inputs, outputs
        builder = flatbuffers.Builder(4096)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


def _zip(labels: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("labels.txt", labels)
    return file.getvalue()


def _metadata(mean: float, std: float) -> bytes:
    """ModelMetadata > SubGraphMetadata > TensorMetadata > ProcessUnit > NormalizationOptions."""
    builder = flatbuffers.Builder(256)

    def floats(value: float) -> int:
        return int(builder.CreateNumpyVector(np.array([value], np.float32)))

    def table(fields: int, slots: dict[int, int], byte: tuple[int, int] | None = None) -> int:
        builder.StartObject(fields)
        for slot, offset in slots.items():
            builder.PrependUOffsetTRelativeSlot(slot, offset, 0)
        if byte:
            builder.PrependUint8Slot(byte[0], byte[1], 0)
        return int(builder.EndObject())

    def vector(offset: int) -> int:
        builder.StartVector(4, 1, 4)
        builder.PrependUOffsetTRelative(offset)
        return int(builder.EndVector())

    normalisation = table(2, {0: floats(mean), 1: floats(std)})
    unit = table(2, {1: normalisation}, byte=(0, 1))
    tensor = table(7, {4: vector(unit)})
    graph = table(5, {2: vector(tensor)})
    builder.Finish(table(8, {3: vector(graph)}), b"M001")
    return bytes(builder.Output())
