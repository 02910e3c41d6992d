"""What is shown to a network that somebody tries, and what comes back."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from saf.data import Dataset, save
from saf.lif.header import LIFDescription
from saf.lif.network import LIFNetwork
from saf.networks.architecture import Architecture, Connection, Flatten, LayerDescription, Linear
from saf.processes.predict import answer
from saf.processes.samples import fitted
from saf.processes.steps import SHOWN_NEURONS


def saved(
    path: Path,
    shape: tuple[int, int, int],
    *,
    frames: bool = False,
    neurons: int = 3,
    encoding: str | None = None,
) -> dict[str, Any]:
    """A network in a file, and the beginning of a question for it. `shape` is that of samples; an
    `encoding` gives twice as many channels."""
    channels = shape[0]
    shape = (channels if encoding is None else 2 * channels, *shape[1:])
    layer = LayerDescription(
        name="layer1",
        connections=(
            Connection(source="input", operations=(Flatten(), Linear(out_features=neurons))),
        ),
    )
    readout = LayerDescription(
        name="readout",
        connections=(Connection(source="layer1", operations=(Linear(out_features=2),)),),
    )
    described = LIFDescription(
        architecture=Architecture(input_shape=shape, layers=(layer,), readout=readout),
        decay=0.5,
        threshold=2.0,
        timesteps=3,
        readout="weighted",
        frames=frames,
        encoding=None if encoding is None else {"name": encoding},
        format="saf-lif/2" if encoding is None else "saf-lif/3",
        mean=(0.0,) * channels,
        std=(1.0,) * channels,
        class_names=("a", "b"),
        specification={},
    )
    random = torch.Generator().manual_seed(1)
    tensors = {
        "layer1.0.weight": torch.randn(neurons, int(np.prod(shape)), generator=random),
        "layer1.bias": torch.ones(neurons),
        "readout.0.weight": torch.randn(2, neurons, generator=random),
        "readout.bias": torch.zeros(2),
    }
    LIFNetwork(described, tensors).save(path)
    return {"network": str(path)}


def png(shape: tuple[int, ...]) -> str:
    file = io.BytesIO()
    Image.fromarray(np.zeros(shape, np.uint8)).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def test_event_frames_are_tried_with_a_sample_and_not_with_an_image(tmp_path: Path) -> None:
    question = saved(tmp_path / "lif.safetensors", (2, 4, 4), frames=True)
    refused = answer({**question, "image": png((4, 4))})
    assert not refused["ok"]
    assert "event frames" in refused["message"]
    events = np.random.default_rng(0).integers(0, 5, (6, 3, 2, 4, 4)).astype(np.float32)
    labels = np.array([0, 1, 0, 1, 0, 1])
    data = Dataset(
        x_train=events, y_train=labels, x_test=events, y_test=labels, class_names=("a", "b")
    )
    save(data, tmp_path / "events")
    sample = {"dataset": str(tmp_path / "events"), "builtin": False, "index": 3}
    found = answer({**question, "sample": sample})
    assert found["ok"], found
    assert (found["label"], len(found["scores"])) == (1, 3)


def in_base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def test_series_are_tried_as_lists_a_csv_or_an_array(tmp_path: Path) -> None:
    question = saved(tmp_path / "lif.safetensors", (2, 1, 1), frames=True)
    x = np.array([[1.5, -2.0], [0.25, 3.0], [-1.0, 0.5]], np.float32)
    array = io.BytesIO()
    np.save(array, x)
    lines = [",".join(map(str, row)) for row in x.tolist()]
    asked: list[dict[str, Any]] = [
        {"series": x.tolist()},
        {"file": in_base64("\n".join(lines).encode())},
        {"file": in_base64("\r\n".join(["left,right", *lines, ""]).encode("utf-8-sig"))},
        {"file": in_base64("\n".join(lines).replace(",", ";").encode())},
        {"file": in_base64(array.getvalue())},
    ]
    answers = [answer({**question, **each, "detail": True}) for each in asked]
    assert all(each["ok"] for each in answers), answers
    assert all(each == answers[0] for each in answers)
    assert answers[0]["frames"] is None
    assert answers[0]["image"].startswith("data:image/png")
    assert [len(layer["raster"]) for layer in answers[0]["layers"]] == [3]


@pytest.mark.parametrize("encoding", ["onoff", "delta"])
def test_series_and_images_are_given_as_they_are_before_they_are_encoded(
    tmp_path: Path, encoding: str
) -> None:
    of = saved(tmp_path / "series.safetensors", (2, 1, 1), frames=True, encoding=encoding)
    assert answer({**of, "series": [[1.5, -2.0], [0.25, 3.0], [-1.0, 0.5]]})["ok"]
    assert "not 3 × 2" in answer({**of, "series": [[1.5, -2.0]] * 2})["message"]
    of = saved(tmp_path / "images.safetensors", (1, 4, 4), encoding=encoding)
    assert answer({**of, "image": png((4, 4))})["ok"]
    assert answer({**of, "pixels": np.zeros((1, 4, 4)).tolist()})["ok"]


def test_series_end_earlier_where_those_of_the_data_do(tmp_path: Path) -> None:
    of = saved(tmp_path / "lif.safetensors", (2, 1, 1), frames=True)
    x = np.random.default_rng(0).normal(size=(3, 2)).astype(np.float32)
    whole = answer({**of, "series": x.tolist(), "lengths": True})
    short = answer({**of, "series": x[:2].tolist(), "lengths": True})
    assert (whole["timesteps"], short["timesteps"]) == (3, 2)
    assert short["scores"] == whole["scores"][:2]
    for wrong in (x[:0], np.zeros((4, 2)), x[:2, :1]):
        refused = answer({**of, "series": wrong.tolist(), "lengths": True})
        assert "3 rows at most" in refused["hint"]
    assert "2 × 2 values" in answer({**of, "series": x[:2].tolist()})["message"]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"series": [[1, 2]]}, "1 × 2 values, not 3 × 2"),
        ({"series": [[1, 2, 3], [4, 5, 6]]}, "turn rows and columns round"),
        ({"series": [[1, 2], [3], [4, 5]]}, "no rows of numbers"),
        ({"series": [["a", "b"]] * 3}, "no rows of numbers"),
        ({"series": [[1, None]] * 3}, "NaN"),
        ({"file": in_base64(b"")}, "no rows of numbers"),
        ({"file": in_base64(b"a,b\n")}, "values, not 3 × 2"),
        ({"file": in_base64(b"\x93NUMPY\x01\x00broken")}, "no rows of numbers"),
        ({"file": in_base64(b"\xff\xfe\x00")}, "no rows of numbers"),
        ({"image": png((1, 1))}, "series and no image"),
        ({"pixels": [[[0.5]], [[0.5]]]}, "series and no image"),
    ],
)
def test_what_is_no_series_for_the_network_is_refused_in_words(
    asked: dict[str, Any], message: str, tmp_path: Path
) -> None:
    refused = answer({**saved(tmp_path / "lif.safetensors", (2, 1, 1), frames=True), **asked})
    assert not refused["ok"]
    assert message in f"{refused['message']}; {refused['hint']}"


def test_arrays_of_objects_are_not_unpickled(tmp_path: Path) -> None:
    array = io.BytesIO()
    np.save(array, np.array([[{}]], object), allow_pickle=True)
    question = saved(tmp_path / "lif.safetensors", (2, 1, 1), frames=True)
    refused = answer({**question, "file": in_base64(array.getvalue())})
    assert "no rows of numbers" in refused["message"]


def test_series_are_refused_by_a_network_for_images(tmp_path: Path) -> None:
    refused = answer({**saved(tmp_path / "lif.safetensors", (1, 4, 4)), "series": [[1.0]]})
    assert "takes no series" in refused["message"]


def test_of_a_large_layer_some_neurons_are_shown_the_same_ones_always(tmp_path: Path) -> None:
    question = saved(tmp_path / "lif.safetensors", (1, 4, 4), neurons=1000)
    asked = {**question, "pixels": [[[0.5] * 4] * 4], "detail": True}
    (layer,) = answer(asked)["layers"]
    assert len(layer["shown"]) == SHOWN_NEURONS
    assert layer["shown"] == sorted(set(layer["shown"]))
    assert len({number % 8 for number in layer["shown"]}) == 8
    assert answer(asked)["layers"] == [layer]
    for firing, membrane in zip(layer["raster"], layer["membrane"], strict=True):
        assert [position for position, u in enumerate(membrane) if u >= 1] == firing


def test_a_file_that_is_no_network_is_an_answer_too(tmp_path: Path) -> None:
    (tmp_path / "broken").write_bytes(b"{}")
    found = answer({"network": str(tmp_path / "broken"), "pixels": []})
    assert not found["ok"]
    assert "damaged" in found["message"]


@pytest.mark.parametrize(("channels", "side"), [(1, 6), (3, 6), (1, 2), (3, 12)])
def test_an_image_is_made_of_the_size_and_colours_that_the_network_takes(
    channels: int, side: int
) -> None:
    gray = np.full((1, 6, 6), 51, np.uint8)
    shown = fitted(gray, (channels, side, side))
    assert shown.x.shape == (channels, side, side)
    assert shown.x.dtype == np.float32
    np.testing.assert_allclose(shown.x, 0.2)
    assert shown.scaled_from == (None if side == 6 else (6, 6))


def test_shrinking_takes_the_mean_of_the_pixels() -> None:
    fine = np.random.default_rng(0).integers(0, 256, (1, 16, 16)).astype(np.uint8)
    blocks = fine.reshape(1, 4, 4, 4, 4).mean((2, 4)) / 255
    np.testing.assert_allclose(fitted(fine, (1, 4, 4)).x, blocks, atol=1.01 / 255)  # rounded twice
