"""What is told about a data set before it is trained on, and what is refused."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from saf.data import BUILTIN, Dataset, blocks, load, save
from saf.data import findings as findings_module
from saf.data.findings import Finding, findings, refuse
from saf.errors import DataError

RANDOM = np.random.default_rng(0)


def samples(count: int, *shape: int) -> Any:
    return RANDOM.integers(0, 256, (count, *(shape or (2, 3, 4))), np.uint8)


def build(
    x: Any = None, y: Any = None, *, test: tuple[Any, Any] | None = None, **fields: Any
) -> Dataset:
    """40 training and 100 test samples of two classes, nothing odd about them."""
    x = samples(40) if x is None else x
    y = np.arange(len(x)) % 2 if y is None else np.asarray(y)
    x_test, y_test = test or (samples(100, *x.shape[1:]).astype(x.dtype), np.arange(100) % 2)
    fields = {"class_names": ("cat", "dog")} | fields
    return Dataset(x_train=x, y_train=y, x_test=x_test, y_test=np.asarray(y_test), **fields)


def codes(found: Sequence[Finding]) -> list[str]:
    return [finding.code for finding in found]


def only(dataset: Dataset) -> Finding:
    (found,) = findings(dataset)
    assert found.hint.endswith(".")
    assert not found.message.endswith(".")
    return found


def test_of_ordinary_data_nothing_is_told() -> None:
    assert findings(build()) == []
    for load_builtin in BUILTIN.values():
        assert findings(load_builtin()) == []


@pytest.mark.parametrize("kind", ["images", "floats", "events"])
@pytest.mark.parametrize("chunk", [1, 100, 2**22])
def test_test_samples_among_the_training_samples_are_counted(
    kind: str, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "VALUES", chunk)
    x = samples(140, *((5, 2, 3, 4) if kind == "events" else (2, 3, 4)))
    if kind != "images":
        x = x.astype(np.float32) / (255 if kind == "floats" else 1)
    one = x[40:].copy()
    one[7] = x[0]
    found = only(build(x[:40], test=(one, np.arange(100) % 2)))
    assert found.code == "test_in_training"
    assert found.message == (
        "1 of 100 test samples is also a training sample, byte for byte: "
        "the accuracy looks better than it is on new data "
        "(test sample 7 is training sample 0; counted from 0)"
    )
    many = np.concatenate([x[:40], x[:40], x[40:60]])
    found = only(build(x[:40], test=(many, np.arange(100) % 2)))
    assert found.message.startswith("80 of 100 test samples are also training samples")
    every = np.concatenate([x[:40], x[:40], x[:20]])
    found = only(build(x[:40], test=(every, np.arange(100) % 2)))
    assert found.message == (
        "all 100 of 100 test samples are also training samples, byte for byte: "
        "the accuracy says nothing about new data (test sample 0 is training sample 0, "
        "test sample 1 is training sample 1, test sample 2 is training sample 2, …; counted from 0)"
    )


def test_validation_samples_are_compared_with_training_and_test_samples() -> None:
    data = build()
    val = np.concatenate([data.x_train[:2], data.x_test[:3], samples(4)])
    found = findings(
        build(data.x_train, test=(data.x_test, data.y_test), x_val=val, y_val=np.arange(9) % 2)
    )
    assert codes(found) == ["validation_in_training", "validation_in_test"]
    assert found[0].message.startswith("2 of 9 validation samples are also training samples")
    assert found[1].message.startswith("3 of 9 validation samples are also test samples")


def test_samples_that_differ_in_one_bit_or_in_shape_alone_are_not_equal() -> None:
    x = samples(40)
    test = np.concatenate([x, x, x[:20]])
    test[:, 1, 2, 3] ^= 1
    assert findings(build(x, test=(test, np.arange(100) % 2))) == []


def test_samples_that_do_not_lie_contiguously_are_compared_by_their_values() -> None:
    x = samples(40, 2, 4, 4)
    turned = np.ascontiguousarray(x.transpose(0, 1, 3, 2)).transpose(0, 1, 3, 2)
    test = np.concatenate([turned, samples(60, 2, 4, 4)])
    assert only(build(turned, test=(test, np.arange(100) % 2))).message.startswith("40 of 100")


def test_equal_training_samples_with_different_labels_are_counted() -> None:
    x = samples(40)
    x[1] = x[2] = x[0]  # labels 0, 1, 0: three that cannot all be right
    x[6] = x[4]  # both 0
    found = only(build(x))
    assert found.code == "contradicting_labels"
    assert found.message.startswith("3 of 40 training samples equal a training sample with another")


def test_classes_without_training_or_test_samples_are_named() -> None:
    names = tuple("abcdefghij")
    found = findings(build(y=np.arange(40) % 2, class_names=names))
    assert codes(found) == ["empty_class", "empty_class"]
    assert found[0].message.startswith(
        "8 of 10 classes have no training sample (c, d, e, f, g, …): "
    )
    assert found[1].message.startswith("8 of 10 classes have no test sample (c, d, e, f, g, …)")
    found = findings(build(class_names=("a", "b", "c"), test=(samples(100), np.arange(100) % 3)))
    assert codes(found) == ["empty_class"]
    assert found[0].message.startswith("1 of 3 classes has no training sample (c)")


def test_classes_of_few_training_samples_are_named() -> None:
    found = findings(build(samples(14), y=[0] * 10 + [1] * 4))
    assert codes(found) == ["few_samples"]
    assert found[0].message == "1 of 2 classes has fewer than 5 training samples: dog"
    assert findings(build(samples(15), y=[0] * 10 + [1] * 5)) == []


@pytest.mark.parametrize(("count", "points"), [(80, "11"), (99, "10"), (1, "98")])
def test_a_small_test_set_is_told_with_the_width_of_its_interval(count: int, points: str) -> None:
    found = findings(build(test=(samples(count), np.arange(count) % 2)))
    assert found[-1].code == "few_samples"
    assert f"is known to ± {points} points (95 % interval)" in found[-1].message


def test_uneven_classes_are_told_with_the_weights_that_help() -> None:
    found = only(build(samples(31), y=[0] * 26 + [1] * 5))
    assert found.code == "uneven_classes"
    assert "the largest class has 26 training samples, the smallest 5" in found.message
    assert 'loss.class_weights to "balanced"' in found.hint
    assert findings(build(samples(30), y=[0] * 25 + [1] * 5)) == []


@pytest.mark.parametrize("chunk", [1, 2**22])
@pytest.mark.parametrize("events", [False, True])
def test_channels_of_one_value_are_told(
    events: bool, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "VALUES", chunk)
    x = samples(40, *((5, 3, 2, 4) if events else (3, 2, 4))).astype(np.uint8)
    x[..., 1, :, :] = 9
    found = only(build(x))
    assert found.code == "constant_channel"
    assert found.message.startswith("1 of 3 channels holds one value")
    assert "(channel 1)" in found.message
    assert "; test samples hold others there (channel 1)" in found.message
    others = samples(100, *x.shape[1:])
    others[..., 1, :, :] = 9
    assert "others there" not in only(build(x, test=(others, np.arange(100) % 2))).message
    x[39, ..., 1, 1, 3] = 8
    assert findings(build(x)) == []


def test_features_of_one_value_are_called_so() -> None:
    x = RANDOM.random((40, 4, 1, 1)).astype(np.float32)
    x[:, 2:] = 0.5
    told = findings(build(x, test=(x, np.arange(40) % 2)))
    (found,) = (each for each in told if each.code == "constant_channel")
    assert found.message.startswith("2 of 4 features hold one value")
    assert "(feature 2, feature 3)" in found.message
    assert found.hint.startswith("Leave such features out")


def series(count: int, *, scale: float = 1.0, offset: float = 0.0, lengths: bool = False) -> Any:
    x = RANDOM.normal(size=(count, 20, 3)).astype(np.float32)
    x[:, :, 2] = 4  # says nothing
    x[:, :, :2] = scale * x[:, :, :2] + offset
    if lengths:
        x[:, 10:] = 0
    return x


@pytest.mark.parametrize(
    ("scale", "offset"), [(300.0, 0.0), (0.003, 0.0), (1.0, 50.0), (1.0, -50.0)]
)
@pytest.mark.parametrize("lengths", [False, True])
def test_splits_that_were_not_scaled_alike_are_told(
    scale: float, offset: float, lengths: bool
) -> None:
    own = {f"lengths_{name}": np.full(n, 10) for name, n in (("train", 40), ("test", 100))}
    fields = own if lengths else {}
    x = series(40, lengths=lengths)
    other = series(100, scale=scale, offset=offset, lengths=lengths)
    found = findings(build(x, test=(other, np.arange(100) % 2), **fields))
    flat = ["constant_channel"]  # padding is no value of it
    assert codes(found) == ["other_scale", *flat]
    assert "test samples hold others" not in found[1].message
    assert found[0].message.startswith("the test samples are scaled in another way than the train")
    tiny = findings(build(x * 2.0**-30, test=(other * 2.0**-30, np.arange(100) % 2), **fields))
    assert codes(tiny) == codes(found)
    like = series(100, scale=2.0, offset=1.5, lengths=lengths)
    alike = findings(build(x, test=(like, np.arange(100) % 2), **fields))
    assert codes(alike) == flat


def test_images_of_another_range_are_told_and_a_single_one_that_is_dark_is_not() -> None:
    x, dark = samples(40), samples(100) // 100
    assert codes(findings(build(x, test=(dark, np.arange(100) % 2)))) == ["other_scale"]
    assert codes(findings(build(x, test=(dark[:1], [0])))) == ["empty_class", "few_samples"]
    own = {"x_val": dark, "y_val": np.arange(100) % 2}
    (found,) = (f for f in findings(build(x, **own)) if f.code == "other_scale")
    assert found.message.startswith("the validation samples")


def test_without_memory_to_compare_samples_that_is_said_and_the_rest_still_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(x: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(findings_module, "_hashes", fail)
    found = findings(build(test=(samples(80), np.arange(80) % 2)))
    assert codes(found) == ["not_compared", "few_samples"]


def test_a_file_mapped_into_memory_is_not_read_as_a_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "VALUES", 2**16)
    x = samples(400, 3, 64, 64)
    save(build(x, test=(x[:100], np.arange(100) % 2)), tmp_path / "d")
    mapped = load(tmp_path / "d")
    tracemalloc.start()
    try:
        assert codes(findings(mapped)) == ["test_in_training"]
        refuse(mapped)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < x.nbytes / 4


def test_the_summary_holds_the_findings_as_json() -> None:
    data = build()
    summary = build(data.x_train, test=(data.x_train, data.y_train)).summary()
    found = json.loads(json.dumps(summary))["findings"]
    assert [finding["code"] for finding in found] == ["test_in_training", "few_samples"]
    assert set(found[0]) == {"code", "message", "hint"}


def test_training_samples_of_one_class_are_refused() -> None:
    data = build(y=[1] * 40)
    with pytest.raises(DataError, match="all 40 training samples are of the class 'dog'") as caught:
        refuse(data)
    assert caught.value.hint
    assert codes(findings(data)) == ["one_class", "empty_class"]


@pytest.mark.parametrize("chunk", [1, 2**22])
def test_training_samples_that_are_all_equal_are_refused(
    chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "VALUES", chunk)
    x = np.repeat(samples(1), 40, axis=0)
    with pytest.raises(DataError, match="all 40 training samples are equal") as caught:
        refuse(build(x))
    assert caught.value.hint
    assert findings(build(x))[0].code == "equal_samples"
    x[39, 0, 0, 0] ^= 1
    refuse(build(x))


def test_what_can_be_learnt_is_not_refused(dataset: Callable[..., Dataset]) -> None:
    refuse(build())
    refuse(dataset())
