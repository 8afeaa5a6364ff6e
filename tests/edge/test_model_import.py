"""Import: any classifier and its labels become a bundle that answers the same; anything else is one clear line."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge import bundle, keys, labels, tflite_file
from edge.bundle import Bundle
from edge.catalogue import ENTRIES
from edge.config import LabelsConfig
from edge.errors import BundleError
from edge.evidence import Kinds
from edge.model_import import Overrides, import_tflite, suggest_kinds
from edge.preprocess import prepare
from edge.runtimes.tflite import TfliteRuntime
from edge.self_test import self_test
from edge.values import Kind
from tests import tiny_tflite

KEY = keys.SigningKey(keys.Ed25519PrivateKey.from_private_bytes(bytes(range(32))), "device")
NAMES = "red\ngreen\nblue\n"


@dataclass(frozen=True)
class Desk:
    """A folder to import in."""

    folder: Path

    def bring(self, model: bytes, names: str | bytes | None = NAMES, name: str | None = None, **more: object) -> Bundle:
        tflite = self.folder / "My Model (1).tflite"
        tflite.write_bytes(model)
        label_file = None
        if names is not None:
            label_file = self.folder / "labels.txt"
            label_file.write_bytes(names if isinstance(names, bytes) else names.encode())
        out = self.folder / "out"
        out.mkdir(exist_ok=True)
        overrides = Overrides(**more)  # type: ignore[arg-type]
        path, written = import_tflite(tflite, label_file, key=KEY, out=out, name=name, overrides=overrides)
        assert bundle.verify(path, [KEY.public]).manifest == written.manifest
        return written

    def refused(self, complaint: str, model: bytes, names: str | bytes | None = NAMES, **more: object) -> None:
        with pytest.raises(BundleError, match=complaint) as caught:
            self.bring(model, names, **more)
        assert "\n" not in str(caught.value)
        assert str(self.folder) in str(caught.value)
        assert not any((self.folder / "out").glob("*"))


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def answers(of: Bundle) -> list[str]:
    """What the bundle calls a red, a green and a blue picture."""
    runtime = TfliteRuntime(of.model, of.manifest, threads=1)
    said = [runtime.invoke(prepare(tiny_tflite.picture(colour), of.manifest.input))[0] for colour in range(3)]
    assert all(p.max() > 0.9 for p in said)
    return [of.labels[p.argmax()] for p in said]


@pytest.mark.parametrize("dtype", ["float32", "uint8", "int8"])
@pytest.mark.parametrize("last", ["SOFTMAX", "", "LOG_SOFTMAX"])
def test_any_input_and_output_becomes_a_bundle_that_names_the_colours(desk: Desk, dtype: str, last: str) -> None:
    more = {"mean": 127.5, "std": 127.5} if dtype == "float32" else {}
    made = desk.bring(tiny_tflite.model(dtype, last=last), **more)
    assert answers(made) == ["red", "green", "blue"]
    assert (made.manifest.outputs.logits is None) == (last == "SOFTMAX")
    assert made.manifest.input.dtype == dtype
    assert (made.manifest.origin, made.manifest.evaluation, made.manifest.demo) == ("imported", None, False)
    assert made.name == "my-model-1"
    assert self_test(made).worst < 0.01


def test_the_normalisation_of_float_models_comes_from_their_metadata_or_is_asked_for(desk: Desk) -> None:
    told = desk.bring(tiny_tflite.model("float32", metadata=(127.5, 127.5)))
    assert told.manifest.input.mean == (127.5,) * 3
    assert answers(told) == ["red", "green", "blue"]
    over = desk.bring(tiny_tflite.model("float32", metadata=(127.5, 127.5)), mean=0.0, std=255.0)
    assert (over.manifest.input.mean, over.manifest.input.std) == ((0.0,) * 3, (255.0,) * 3)
    each = desk.bring(tiny_tflite.model("float32"), mean=(123.0, 117.0, 104.0), std=1.0, color="bgr")
    assert each.manifest.input.mean == (123.0, 117.0, 104.0)


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        ({}, r"give --mean and --std; usual: --mean 127\.5 --std 127\.5 \(Teachable Machine.*--mean 0 --std 255"),
        ({"mean": 127.5}, "give --std;"),
        ({"mean": (1.0, 2.0), "std": 1.0}, "mean has 2 numbers"),
        ({"mean": 0.0, "std": 0.0}, "std: each must be"),
    ],
)
def test_what_is_missing_or_wrong_about_pixels_is_said(desk: Desk, more: dict[str, object], complaint: str) -> None:
    desk.refused(complaint, tiny_tflite.model("float32"), **more)


def test_labels_may_come_with_the_model(desk: Desk) -> None:
    assert answers(desk.bring(tiny_tflite.model(label_file=NAMES), None)) == ["red", "green", "blue"]
    desk_names = desk.bring(tiny_tflite.model(label_file=NAMES), "r\ng\nb")
    assert desk_names.labels == ("r", "g", "b")


def test_an_embedding_beside_the_scores_is_kept(desk: Desk) -> None:
    made = desk.bring(tiny_tflite.model(embedding=True))
    assert made.manifest.outputs.embedding is not None
    assert answers(made) == ["red", "green", "blue"]


@pytest.mark.parametrize(
    ("model", "names", "complaint"),
    [
        (b"", NAMES, "not a TFLite model"),
        (b"\x89PNG and so on", NAMES, "not a TFLite model"),
        (tiny_tflite.model()[:700], NAMES, "damaged or cut short"),
        (tiny_tflite.model(), None, "carries no labels: give its label file with --labels"),
        (tiny_tflite.model(), "red\ngreen", "gives 3 scores, but there are 2 labels; is a row `background` missing"),
        (
            tiny_tflite.model(),
            "background\n" + NAMES,
            "gives 3 scores, but there are 4 labels; this model has no backg",
        ),
        (tiny_tflite.model(), NAMES + "pink\nbrown", "gives 3 scores, but there are 5 labels$"),
        (tiny_tflite.model(last="LOGISTIC"), NAMES, "ends in a sigmoid"),
        (tiny_tflite.model(inputs=2), NAMES, "has 2 inputs"),
        (tiny_tflite.model(channels=1), NAMES, r"its input is \[1, 32, 32, 1\]"),
        (tiny_tflite.model(size=(3, 32), channels=32), NAMES, "colours first"),
        (tiny_tflite.model(size=(4, 4)), NAMES, "input.shape.1|shape"),
        (tiny_tflite.model(outputs=4), NAMES, "looks like a detector: its outputs are"),
        (tiny_tflite.model(custom="edgetpu-custom-op"), NAMES, "compiled for the Edge TPU"),
        (tiny_tflite.model("float32", custom="Mystery", metadata=(0, 1)), NAMES, "cannot load it: .*Mystery"),
    ],
)
def test_what_is_no_classifier_of_pictures_is_refused(
    desk: Desk, model: bytes, names: str | None, complaint: str
) -> None:
    desk.refused(complaint, model, names)


def test_files_that_are_not_there_are_named(tmp_path: Path) -> None:
    model = tmp_path / "m.tflite"
    with pytest.raises(BundleError, match=r"m\.tflite: the model cannot be read: No such file"):
        import_tflite(model, None, key=KEY, out=tmp_path)
    model.write_bytes(tiny_tflite.model())
    with pytest.raises(BundleError, match=r"l\.txt: the label file cannot be read: No such file"):
        import_tflite(model, tmp_path / "l.txt", key=KEY, out=tmp_path)


@pytest.mark.parametrize(
    "more", [{"name": "../x"}, {"name": ""}, {"temperature": -1.0}, {"resize": "cubic"}, {"margin": 9.0}]
)
def test_overrides_out_of_bounds_are_refused(desk: Desk, more: dict[str, object]) -> None:
    desk.refused("|".join(more), tiny_tflite.model(), **more)


def complaint_of(step: Callable[[], object]) -> str:
    """What is complained about, "" when nothing is."""
    try:
        step()
    except BundleError as error:
        return str(error)
    return ""


@given(at=st.integers(0, 1500), value=st.integers(0, 255))
def test_reading_a_damaged_model_file_says_so_or_reads_it(at: int, value: int) -> None:
    damaged = bytearray(tiny_tflite.model(metadata=(1.0, 2.0), label_file=NAMES))
    damaged[at % len(damaged)] = value
    assert "\n" not in complaint_of(lambda: tflite_file.read(bytes(damaged), "m.tflite"))


@given(st.binary(max_size=200))
def test_reading_noise_says_so(noise: bytes) -> None:
    for data in (noise, noise[:4].ljust(4) + b"TFL3" + noise[4:]):
        assert complaint_of(lambda data=data: tflite_file.read(data, "m.tflite")).startswith("m.tflite: ")


@pytest.mark.parametrize(
    "text",
    [
        b"red\ngreen\nblue",
        b"red\r\ngreen\r\nblue\r\n\r\n",
        b"\xef\xbb\xbfred\ngreen\nblue\n",
        b"0 red\n1 green\n2 blue\n",
        b"0  red\n1  green\n2  blue\n",
        b"0: red\n1: green\n2: blue",
        b"0,red\n1,green\n2,blue",
        b"1 red\n2 green\n3 blue",
        b"2 blue\n0 red\n1 green\n",
        b"  red \n\tgreen\nblue\t\n \n",
    ],
)
def test_label_files_of_every_kind_are_read(text: bytes) -> None:
    assert labels.parse(text, "labels.txt") == ("red", "green", "blue")


def test_labels_that_only_begin_with_digits_are_left_alone() -> None:
    assert labels.parse(b"7 spot ladybird\n2 spot ladybird\n", "l") == ("7 spot ladybird", "2 spot ladybird")
    assert labels.parse(b"0 red\ngreen\n", "l") == ("0 red", "green")


def test_a_label_that_is_there_again_is_told_apart() -> None:
    assert labels.parse(b"crane\nhen\ncrane\ncrane\ncrane (2)", "l") == (
        "crane",
        "hen",
        "crane (3)",
        "crane (4)",
        "crane (2)",
    )


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (b"", "line 1 is empty"),
        (b"only\n", "has 1 label"),
        (b"a\n\nb\n", "line 2 is empty"),
        (b"a\n\x00b\n", "line 2 is no label"),
        (b"a\n" + b"x" * 201, "line 2 is no label"),
        (b"\xff\xfea\x00\n", "not UTF-8"),
        (b"0 a\n1 b\n3 c\n", "numbered, but 2 is missing"),
        (b"0 a\n1 b\n1 c\n", "numbered, but 2 is missing"),
    ],
)
def test_label_files_that_cannot_be_meant_are_refused(text: bytes, complaint: str) -> None:
    with pytest.raises(BundleError, match=f"^l.txt: .*{complaint}"):
        labels.parse(text, "l.txt")


@given(st.binary(max_size=400) | st.text(max_size=100).map(str.encode))
def test_any_bytes_as_a_label_file_give_distinct_labels_or_one_line(data: bytes) -> None:
    complaint = complaint_of(lambda: labels.parse(data, "l.txt"))
    assert "\n" not in complaint
    if not complaint:
        found = labels.parse(data, "l.txt")
        assert len(set(found)) == len(found) >= 2


def test_kinds_are_suggested_for_well_known_names_only() -> None:
    kinds = suggest_kinds(
        ["Corvus corax (Common Raven)", "Garrulus glandarius (Eurasian Jay)", "person", "hen", "red fox, Vulpes vulpes"]
    )
    of = Kinds(["Corvus corax (Common Raven)", "person", "hen", "red fox, Vulpes vulpes"], kinds).of_label
    assert of == (Kind.THREAT, Kind.PERSON, Kind.RESIDENT, Kind.THREAT)
    assert suggest_kinds(["foxglove", "jaywalking sign", "personal computer", "hen-of-the-woods"]) == LabelsConfig()


def test_the_bird_model_knows_owl_parrot_and_the_crow_of_the_feeder(shared_data: Path, tmp_path: Path) -> None:
    files = shared_data / "tflite"
    birds = ENTRIES[0]
    key = keys.generate(tmp_path / "k")
    _, made = import_tflite(
        files / birds.model.name,
        files / birds.labels.name,
        key=key,
        out=tmp_path,
        overrides=Overrides(kinds=birds.kinds),
    )
    assert self_test(made).worst < 0.02
    runtime = TfliteRuntime(made.model, made.manifest)

    def top(picture: Path) -> str:
        image = cv2.cvtColor(cv2.imread(str(picture)), cv2.COLOR_BGR2RGB)
        p, _ = runtime.invoke(prepare(image, made.manifest.input))
        assert p.sum() == pytest.approx(1, abs=1e-5)
        return made.labels[int(np.argmax(p))]

    assert "Owl" in top(files / "owl.jpg")
    assert top(files / "parrot.jpg") == "Ara macao (Scarlet Macaw)"
    assert top(shared_data / "images/crowcam_traumverloren/crow/image_47165.jpg") == "Corvus cornix (Hooded Crow)"
    assert top(shared_data / "images/jays_cub200/Blue_Jay/0028.jpg") == "Cyanocitta cristata (Blue Jay)"


def test_imagenet_knows_the_cat_and_keeps_both_cranes(shared_data: Path, tmp_path: Path) -> None:
    files = shared_data / "tflite"
    entry = ENTRIES[1]
    key = keys.generate(tmp_path / "k")
    _, made = import_tflite(
        files / entry.model.name,
        files / entry.labels.name,
        key=key,
        out=tmp_path,
        overrides=Overrides(kinds=entry.kinds),
    )
    image = cv2.cvtColor(cv2.imread(str(files / "cat_720p.jpg")), cv2.COLOR_BGR2RGB)
    p, _ = TfliteRuntime(made.model, made.manifest).invoke(prepare(image, made.manifest.input))
    assert Kinds(made.labels, made.manifest.suggested_kinds).p(p)[Kind.THREAT] > 0.9
    assert {"crane", "crane (2)"} <= set(made.labels)
