"""Which axis of an array is what: decided where one order fits, asked where several do."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from saf.data import read
from saf.data.formats.format import NeedsChoiceError
from saf.errors import DataError

Npz = Callable[..., Path]
RANDOM = np.random.default_rng(3)
N, M = 12, 6
Y = np.arange(N) % 3


def split(*shape: int, dtype: str = "uint8", most: int = 256, n: int = 0) -> dict[str, Any]:
    """Random samples of a shape, with the axis of samples at place `n`."""
    arrays: dict[str, Any] = {"y_train": Y, "y_test": Y[:M]}
    for name, count in (("x_train", N), ("x_test", M)):
        full = (*shape[:n], count, *shape[n:])
        arrays[name] = RANDOM.integers(0, most, full).astype(dtype)
    if most == 256:
        for name in ("x_train", "x_test"):
            arrays[name].flat[0] = 255
    return arrays


@pytest.mark.parametrize(
    ("arrays", "order"),
    [
        (split(1, 9, 7), (0, 1, 2, 3)),
        (split(3, 9, 7), (0, 1, 2, 3)),
        (split(2, 9, 7), (0, 1, 2, 3)),
        (split(9, 7, 3), (0, 3, 1, 2)),
        (split(9, 7, 1), (0, 3, 1, 2)),
        (split(28, 28, 1), (0, 3, 1, 2)),
        (split(4, 4, 3), (0, 3, 1, 2)),
        (split(3, 4, 4), (0, 1, 2, 3)),
        (split(9, 7, 3, n=3), (3, 2, 0, 1)),  # as MATLAB has them
        (split(3, 9, 7, n=3), (3, 0, 1, 2)),
        (split(6, 2, 9, 7), (0, 1, 2, 3, 4)),
        (split(2, 2, 9, 7), (0, 1, 2, 3, 4)),
        (split(3, 2, 9, 7), (0, 1, 2, 3, 4)),
        (split(1, 5, 4), (0, 1, 2, 3)),
        (split(6, 9, 7, 2), (0, 1, 4, 2, 3)),
        (split(6, 2, 9, 7, n=1), (1, 0, 2, 3, 4)),  # time first
        (split(6, 9, 7, 2, n=1), (1, 0, 4, 2, 3)),
    ],
)
def test_an_order_that_alone_fits_the_lengths_is_taken(
    arrays: dict[str, Any], order: tuple[int, ...], npz: Npz
) -> None:
    data = read(npz(**arrays))
    for name in ("x_train", "x_test"):
        np.testing.assert_array_equal(getattr(data, name), arrays[name].transpose(order))


@pytest.mark.parametrize("fortran", [False, True])
@pytest.mark.parametrize(
    ("shape", "n"), [((3, 9, 7), 0), ((9, 7, 3), 0), ((9, 7, 3), 3), ((6, 9, 7, 2), 1)]
)
def test_the_order_in_memory_changes_nothing(
    shape: tuple[int, ...], n: int, fortran: bool, npz: Npz
) -> None:
    arrays = split(*shape, n=n)
    straight = read(npz(**arrays)).x_train
    turned = {k: np.asfortranarray(a) if fortran else a for k, a in arrays.items()}
    np.testing.assert_array_equal(read(npz(**turned)).x_train, straight)


@pytest.mark.parametrize(
    ("arrays", "orders"),
    [
        (split(3, 3, 3), {"N C H W", "N H W C"}),
        (split(3, 9, 3), {"N C H W", "N H W C"}),
        (split(6, 12, 10), {"N C H W", "N T H W", "N H W C", "N H W T"}),
        (split(16, 16, 13), {"N C H W", "N T H W", "N H W C", "N H W T"}),
        (split(2, 6, 12, 10), {"N T C H W", "N C T H W", "N C H W T"}),
        (split(2, 3, 12, 10), {"N T C H W", "N C T H W"}),
        (split(2, 34, 34, 20), {"N T C H W", "N C T H W", "N C H W T"}),
        (split(8, 8, most=5), {"N H W", "N T C", "N C T"}),
        (split(1, 90), {"N T C", "N C T"}),
        (split(3072), {"N C H W", "N H W C", "N T"}),
        (split(90), {"N T", "N C"}),
        (split(784, most=4), {"N H W", "N T", "N C"}),
    ],
)
def test_several_orders_that_fit_are_asked_about_with_a_picture_of_each(
    arrays: dict[str, Any], orders: set[str], npz: Npz
) -> None:
    path = npz(**arrays)
    with pytest.raises(NeedsChoiceError, match="Which axes has x_train, of shape") as caught:
        read(path)
    question = caught.value.questions[0]
    assert question.setting == "layout"
    assert {each.value for each in question.candidates} == orders
    for each in question.candidates:
        assert each.picture is not None
        Image.open(io.BytesIO(each.picture)).verify()
        settings = {"layout": each.value, "value_range": "0..255"}
        assert len(read(path, settings=settings).x_train) == N


def test_an_answer_decides(npz: Npz) -> None:
    arrays = split(3, 3, 3)
    path = npz(**arrays)
    last = read(path, settings={"layout": "N H W C"}).x_train
    np.testing.assert_array_equal(last, arrays["x_train"].transpose(0, 3, 1, 2))
    turned = read(path, settings={"layout": "n,c,w,h"}).x_train
    np.testing.assert_array_equal(turned, arrays["x_train"].transpose(0, 1, 3, 2))


@pytest.mark.parametrize(
    ("layout", "says"),
    [
        ("N C H", r"the shape \(12, 3, 3, 3\), 4 axes; the layout 'N C H' names 3"),
        ("C N H W", "x_train has 3 samples, and there are 12 labels"),
    ],
)
def test_an_answer_that_does_not_fit_is_refused(layout: str, says: str, npz: Npz) -> None:
    with pytest.raises(DataError, match=says):
        read(npz(**split(3, 3, 3)), settings={"layout": layout})


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("fortran", [False, True])
@pytest.mark.parametrize(
    ("layout", "shape", "order"),
    [
        (None, (1, 28, 28), (0, 1, 2, 3)),
        ("C H W", (3, 32, 32), (0, 1, 2, 3)),
        ("H W C", (32, 32, 3), (0, 3, 1, 2)),
        ("W H", (1, 28, 28), (0, 1, 3, 2)),
    ],
)
def test_rows_of_pixels_fold_into_images(
    layout: str | None,
    shape: tuple[int, ...],
    order: tuple[int, ...],
    transposed: bool,
    fortran: bool,
    npz: Npz,
) -> None:
    flat = split(int(np.prod(shape)))
    images = {k: a.reshape(-1, *shape) for k, a in flat.items() if k.startswith("x")}
    if transposed:
        flat = {k: a.T if k.startswith("x") else a for k, a in flat.items()}
    if fortran:
        flat = {k: np.asfortranarray(a) for k, a in flat.items()}
    said = {} if layout is None else {"layout": f"{layout} N" if transposed else f"N {layout}"}
    data = read(npz(**flat), settings=said)
    np.testing.assert_array_equal(data.x_train, images["x_train"].transpose(order))
    np.testing.assert_array_equal(data.x_test, images["x_test"].transpose(order))


def test_rows_that_fold_into_no_square_need_a_size(npz: Npz) -> None:
    arrays = split(12 * 10)
    path = npz(**arrays)
    with pytest.raises(DataError, match="do not fold into N H W") as caught:
        read(path, settings={"layout": "N H W"})
    assert "size" in caught.value.hint
    data = read(path, settings={"layout": "N H W", "size": "10x12"})
    np.testing.assert_array_equal(data.x_train, arrays["x_train"].reshape(-1, 1, 12, 10))


def test_large_arrays_are_read_in_blocks_whatever_their_order(npz: Npz) -> None:
    arrays = split(3, 300, 200, n=3)
    data = read(npz(**arrays))
    np.testing.assert_array_equal(data.x_train, arrays["x_train"].transpose(3, 0, 1, 2))
    data = read(npz(**{k: np.asfortranarray(a) for k, a in arrays.items()}))
    np.testing.assert_array_equal(data.x_train, arrays["x_train"].transpose(3, 0, 1, 2))


def test_samples_and_labels_that_are_swapped_are_told(npz: Npz) -> None:
    arrays = split(1, 9, 9)
    with pytest.raises(DataError, match="as labels have") as caught:
        read(npz(**arrays | {"x_train": arrays["y_train"], "y_train": arrays["x_train"]}))
    assert "Swap" in caught.value.hint


def test_what_was_decided_is_told(npz: Npz) -> None:
    decisions = {d.setting: d for d in read(npz(**split(9, 7, 3))).decisions}
    assert decisions["layout"].value == "N H W C"
    assert "3 values, as channels have" in decisions["layout"].why
    assert read(npz(**split(3, 9, 7))).decisions == ()


@pytest.mark.parametrize("frames", [2, 3, 4])
def test_few_frames_of_counts_may_be_channels(frames: int, npz: Npz) -> None:
    with pytest.raises(NeedsChoiceError) as caught:
        read(npz(**split(frames, 12, 10, most=5)))
    values = [each.value for each in caught.value.questions[0].candidates]
    assert values == ["N C H W", "N T H W"]


def series(*shape: int, smooth: tuple[int, ...] = ()) -> dict[str, Any]:
    """Floats in [0, 1], running smoothly along some axes and by chance along the others."""
    x = RANDOM.random((N, *shape))
    for axis in smooth:
        for _ in range(40):
            x = (x + np.roll(x, 1, axis) + np.roll(x, -1, axis)) / 3
    x = (x - x.min()) / (x.max() - x.min())
    return {"x_train": x, "y_train": Y, "x_test": x[:M], "y_test": Y[:M]}


def scaled(arrays: dict[str, Any], factor: float) -> dict[str, Any]:
    return {key: factor * x if key.startswith("x") else x for key, x in arrays.items()}


@pytest.mark.parametrize(
    "arrays",
    [
        series(30, 12),
        series(30, 12, smooth=(1,)),
        series(12, 40),
        series(187, 1),
        split(100, 70, most=4),
        split(20, 40, most=2, dtype="float32"),
    ],
)
def test_steps_of_several_values_are_series(arrays: dict[str, Any], npz: Npz) -> None:
    data = read(npz(**arrays))
    assert data.is_series
    np.testing.assert_array_equal(data.x_train, arrays["x_train"].astype(data.x_train.dtype))
    assert "steps of several values" in data.decisions[0].why


@pytest.mark.parametrize(
    ("arrays", "orders"),
    [
        (series(9, 128, smooth=(2,)), ["N C T", "N T C"]),
        (series(24, 40, smooth=(1, 2)), ["N H W", "N T C", "N C T"]),
        (scaled(series(3, 250, smooth=(1, 2)), 4.0), ["N T C", "N C T"]),
        (series(2, 250), ["N T C", "N C T"]),
    ],
)
def test_series_whose_values_run_along_another_axis_are_asked_about(
    arrays: dict[str, Any], orders: list[str], npz: Npz
) -> None:
    with pytest.raises(NeedsChoiceError) as caught:
        read(npz(**arrays))
    assert [each.value for each in caught.value.questions[0].candidates] == orders


def test_floats_that_are_bytes_over_255_are_images_of_any_shape(npz: Npz) -> None:
    arrays = split(24, 40)
    floats = {k: a / 255 if k.startswith("x") else a for k, a in arrays.items()}
    assert read(npz(**floats)).sample_shape == (1, 24, 40)


@pytest.mark.parametrize(
    ("train", "test", "layout"),
    [
        ((1, 9, 7), (1, 8, 6), "N C H W"),
        ((1, 8, 6), (1, 9, 7), "N C H W"),
        ((64,), (81,), "N H W"),
        ((81,), (64,), "N H W"),
        ((6, 2, 9, 7), (5, 2, 9, 7), "N T C H W"),
        ((6, 3), (6, 4), "N T C"),
    ],
)
def test_splits_of_different_sizes_are_refused_although_a_layout_is_said(
    train: tuple[int, ...], test: tuple[int, ...], layout: str, npz: Npz
) -> None:
    arrays = split(*train) | {"x_test": split(*test)["x_test"]}
    with pytest.raises(DataError, match=r"training samples have the shape .*, test samples"):
        read(npz(**arrays), settings={"layout": layout})


def test_values_of_all_splits_tell_the_order_of_the_axes(npz: Npz) -> None:
    bright = split(9, 7)
    assert read(npz(**bright)).kind == "images"
    dark = bright | {"x_train": bright["x_train"] // 4}  # alone they would be series of counts
    assert read(npz(**dark)).kind == "images"


def test_the_range_of_rows_is_asked_of_images_alone_and_says_so(npz: Npz) -> None:
    """Windows of a signal, 400 values each, which might be 20 × 20 pixels."""
    x = np.random.default_rng(0).normal(size=(90, 400)).astype(np.float32)
    y = np.arange(90) % 3
    path = npz(x_train=x[:60], y_train=y[:60], x_test=x[60:], y_test=y[60:])
    with pytest.raises(NeedsChoiceError) as caught:
        read(path)
    layout, value_range = caught.value.questions
    assert [c.value for c in layout.candidates] == ["N H W", "N T", "N C"]
    assert "series and features need no answer" in value_range.asks
    assert read(path, settings={"layout": "N T"}).kind == "series"
    assert read(path, settings={"layout": "N C"}).sample_shape == (400, 1, 1)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_bytes_as_floats_are_images_or_series_as_the_owner_says(dtype: str, npz: Npz) -> None:
    path = npz(**split(9, 12, dtype=dtype))
    with pytest.raises(NeedsChoiceError) as caught:
        read(path)
    (layout, _) = caught.value.questions
    assert [c.value for c in layout.candidates] == ["N H W", "N T C", "N C T"]


@pytest.mark.parametrize(
    ("shape", "orders"),
    [
        ((20, 12), ["N H W", "N T C", "N C T"]),
        ((2, 12, 10), ["N C H W", "N T H W"]),
        ((12, 12), None),
        ((1, 12, 10), None),
    ],
)
def test_truth_values_may_be_spikes(
    shape: tuple[int, ...], orders: list[str] | None, npz: Npz
) -> None:
    arrays = split(*shape)
    path = npz(**{n: array > 128 if n.startswith("x") else array for n, array in arrays.items()})
    if orders is None:
        assert read(path).kind == "images"
        return
    with pytest.raises(NeedsChoiceError) as caught:
        read(path)
    assert [candidate.value for candidate in caught.value.questions[0].candidates] == orders
    spikes = read(path, settings={"layout": "N T C"}) if len(shape) == 2 else None
    assert spikes is None or (spikes.kind == "series" and spikes.unit == 1)
