"""Reads what a .tflite file says about itself: tensors, last step, metadata, associated files. Runs nothing."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from dataclasses import dataclass, field

from edge.errors import BundleError

_TYPES = {0: "float32", 1: "float16", 2: "int32", 3: "uint8", 4: "int64", 7: "int16", 9: "int8"}
_STEPS = {14: "LOGISTIC", 25: "SOFTMAX", 50: "LOG_SOFTMAX", 32: "CUSTOM"}
_PASSING_ON = {6, 22, 43, 53, 114}  # DEQUANTIZE, RESHAPE, SQUEEZE, CAST, QUANTIZE: values stay what they are
_CUSTOM = 32
_LARGEST_LABELS = 4_000_000
_MOST_ENTRIES = 1_000_000  # of any vector; more is damage


@dataclass(frozen=True, slots=True)
class Tensor:
    """One input or output. `scale` is 0 where it is not quantised."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float = 0.0
    zero_point: int = 0


@dataclass(frozen=True, slots=True)
class ModelFile:
    """What the file says. `last_steps` names, per output, the step that made it, or is "" for one of no meaning here.

    `steps`: the built-in operators used, each with its version.
    `mean`, `std`: normalisation of the input by the file's metadata, where it carries that.
    `label_file`: the associated file with the labels, where it carries one.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    last_steps: tuple[str, ...]
    custom_steps: tuple[str, ...] = ()
    steps: tuple[tuple[int, int], ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    label_file: bytes | None = field(default=None, repr=False)


class _Table:
    """A flatbuffers table: fields by number, absent ones have defaults. Damage shows as `struct.error`."""

    def __init__(self, data: bytes, at: int) -> None:
        self._data, self._at = data, at
        self._vtable = at - self._number("<i", at)
        self._size = self._number("<H", self._vtable)

    def _number(self, form: str, at: int) -> int:
        if at < 0:
            raise struct.error("offset outside the file")
        return int(struct.unpack_from(form, self._data, at)[0])

    def _place(self, number: int) -> int:
        """Where field `number` lies; 0 when absent."""
        entry = 4 + 2 * number
        offset = self._number("<H", self._vtable + entry) if entry < self._size else 0
        return self._at + offset if offset else 0

    def integer(self, number: int, form: str = "<i", default: int = 0) -> int:
        at = self._place(number)
        return self._number(form, at) if at else default

    def table(self, number: int) -> _Table | None:
        at = self._place(number)
        return _Table(self._data, at + self._number("<I", at)) if at else None

    def _vector(self, number: int) -> tuple[int, int]:
        at = self._place(number)
        if not at:
            return 0, 0
        at += self._number("<I", at)
        length = self._number("<I", at)
        return at + 4, length

    def blob(self, number: int) -> bytes:
        at, length = self._vector(number)
        if at + length > len(self._data):
            raise struct.error("vector outside the file")
        return self._data[at : at + length]

    def text(self, number: int) -> str:
        return self.blob(number).decode("utf-8", "replace")

    def numbers(self, number: int, code: str) -> tuple[float, ...]:
        """A vector of scalars of struct code `code`."""
        at, length = self._vector(number)
        if length > _MOST_ENTRIES:
            raise struct.error("vector too long")
        return struct.unpack_from(f"<{length}{code}", self._data, at) if at else ()

    def tables(self, number: int) -> list[_Table]:
        at, _ = self._vector(number)
        offsets = self.numbers(number, "I")
        return [_Table(self._data, at + 4 * i + int(offset)) for i, offset in enumerate(offsets)]


def read(data: bytes, where: str) -> ModelFile:
    """Read the bytes of a .tflite file; `where` names it in errors. Raises `BundleError`."""
    if data[4:8] != b"TFL3":
        raise BundleError(f"{where}: not a TFLite model; one has the letters TFL3 at its byte 4")
    try:
        return _read(data)
    except (struct.error, IndexError, RecursionError, MemoryError):
        raise BundleError(f"{where}: this TFLite model is damaged or cut short ({len(data)} bytes)") from None


def _read(data: bytes) -> ModelFile:
    model = _Table(data, int(struct.unpack_from("<I", data)[0]))
    graphs = model.tables(2)
    if not graphs:
        raise struct.error("no graph")
    graph = graphs[0]
    tensors = graph.tables(0)
    codes = [(max(c.integer(0, "<b"), c.integer(3)), c.text(1)) for c in model.tables(1)]
    versions = [c.integer(2, default=1) for c in model.tables(1)]
    makers: dict[int, tuple[int, tuple[int, ...]]] = {}
    for operator in graph.tables(3):
        code = codes[operator.integer(0, "<I")][0]
        sources = tuple(int(i) for i in operator.numbers(1, "i"))
        makers.update({int(made): (code, sources) for made in operator.numbers(2, "i")})
    outputs = [int(i) for i in graph.numbers(2, "i")]
    mean, std, label_name = _metadata(model)
    return ModelFile(
        inputs=tuple(_tensor(tensors[int(i)]) for i in graph.numbers(1, "i")),
        outputs=tuple(_tensor(tensors[i]) for i in outputs),
        last_steps=tuple(_last_step(i, makers) for i in outputs),
        custom_steps=tuple(text for code, text in codes if code == _CUSTOM),
        steps=tuple((code, version) for (code, _), version in zip(codes, versions, strict=True)),
        mean=mean,
        std=std,
        label_file=_associated(data, label_name),
    )


def _tensor(table: _Table) -> Tensor:
    quantisation = table.table(4)
    scales = quantisation.numbers(2, "f") if quantisation else ()
    zero_points = quantisation.numbers(3, "q") if quantisation else ()
    code = table.integer(1, "<b")
    return Tensor(
        name=table.text(3),
        shape=tuple(int(n) for n in table.numbers(0, "i")),
        dtype=_TYPES.get(code, f"type {code}"),
        scale=float(scales[0]) if len(scales) == 1 else 0.0,
        zero_point=int(zero_points[0]) if len(zero_points) == 1 else 0,
    )


def _last_step(tensor: int, makers: dict[int, tuple[int, tuple[int, ...]]]) -> str:
    """Go back from an output over the steps that only hand values on."""
    for _ in range(8):
        code, sources = makers.get(tensor, (-1, ()))
        if code not in _PASSING_ON or not sources:
            return _STEPS.get(code, "")
        tensor = sources[0]
    return ""


def _metadata(model: _Table) -> tuple[tuple[float, ...], tuple[float, ...], str]:
    """Input normalisation (mean, std) and the name of the label file, from TFLite Metadata (metadata_schema.fbs)."""
    buffers = model.tables(4)
    for entry in model.tables(6):
        if entry.text(0) != "TFLITE_METADATA":
            continue
        data = buffers[entry.integer(1, "<I")].blob(0)
        graphs = _Table(data, int(struct.unpack_from("<I", data)[0])).tables(3)
        if graphs:
            mean, std = _normalisation(graphs[0].tables(2))
            return mean, std, _label_name(graphs[0].tables(3))
    return (), (), ""


def _normalisation(inputs: list[_Table]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    for unit in inputs[0].tables(4) if inputs else ():
        options = unit.table(1)
        if unit.integer(0, "<B") == 1 and options:  # NormalizationOptions of the union ProcessUnitOptions
            return options.numbers(0, "f"), options.numbers(1, "f")
    return (), ()


def _label_name(outputs: list[_Table]) -> str:
    for output in outputs:
        for file in output.tables(6):
            if file.integer(2, "<b") == 2:  # TENSOR_AXIS_LABELS
                return file.text(0)
    return ""


def _associated(data: bytes, name: str) -> bytes | None:
    """The label file from the zip at the end of the model: the one named, else the only text file."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            texts = [i for i in archive.infolist() if i.filename == name] or [
                i for i in archive.infolist() if i.filename.endswith(".txt")
            ]
            if len(texts) != 1 or texts[0].file_size > _LARGEST_LABELS:
                return None
            return archive.read(texts[0])
    except (zipfile.BadZipFile, zlib.error, struct.error, RuntimeError, ValueError, OSError, EOFError):
        return None  # no zip at the end, or a damaged one: then the labels have to be given
