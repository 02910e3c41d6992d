"""Specifications to start from."""

from __future__ import annotations

import pytest

from api.datasets.schemas import DatasetDocument, DatasetUrls
from api.jobs.pages.presets import filled, suited
from saf.config import JobSpecification, automatic
from saf.networks.build import build_for
from saf.presets import PRESETS, Preset


def upload(name: str, shape: list[int], classes: int, status: str = "ready") -> DatasetDocument:
    return DatasetDocument.model_validate(
        {
            **dict.fromkeys(
                ("class_names", "counts", "statistics", "findings", "bytes", "created_at")
            ),
            "id": "ds_1",
            "name": name,
            "title": name,
            "builtin": False,
            "status": status,
            "problems": [],
            "format": "cifar-python",
            "shape": shape,
            "timesteps": None,
            "classes": classes,
            "jobs": 0,
            "urls": DatasetUrls(self="/", page="/", preview="/"),
        }
    )


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: str(preset.key))
def test_every_preset_is_a_job_that_can_be_submitted(preset: Preset) -> None:
    specification = JobSpecification.model_validate(filled(preset, []))
    shape = preset.shape or (1, 8, 8)
    build_for(specification, shape, preset.classes or 10, in_time=preset.in_time)


def test_a_published_setting_takes_the_newest_upload_that_can_be_its_data_set() -> None:
    preset = next(preset for preset in PRESETS if preset.key == "saf-e-cifar100")
    offered = [
        upload("too small", [3, 8, 8], 100),
        upload("ten classes", [3, 32, 32], 10),
        upload("damaged", [3, 32, 32], 100, status="invalid"),
        upload("newest", [3, 32, 32], 100),
        upload("older", [3, 32, 32], 100),
    ]
    assert filled(preset, offered)["dataset"] == "newest"
    assert filled(preset, offered[:2])["dataset"] == "cifar100"


def test_spoken_digits_are_taken_where_they_are_in_time() -> None:
    preset = next(preset for preset in PRESETS if preset.key == "shd-rnn")
    images = upload("images", [700, 1, 1], 20)
    events = images.model_copy(update={"name": "mine", "timesteps": 140})
    assert filled(preset, [images, events])["dataset"] == "mine"
    assert filled(preset, [images])["dataset"] == "shd"
    assert preset.reading == {"step_ms": "10", "timesteps": "140"}


def test_published_settings_are_those_of_the_papers() -> None:
    preset = next(preset for preset in PRESETS if preset.key == "ottt-o-cifar10")
    job = JobSpecification.model_validate(filled(preset, []))
    assert (job.network.name, job.method.name, job.timesteps) == ("vgg11", "ottt-o", 6)
    assert (job.epochs, job.batch_size, job.optimizer.learning_rate) == (300, 128, 0.1)  # type: ignore[union-attr]
    assert set(job.augment) == {"crop", "flip", "cutout"}
    assert job.loss.mse_share == 0.05
    assert (job.network.gain, job.max_gradient_norm) == (1.0, None)
    assert (job.validation_share, job.conversion.weights) == (0.0, "last")


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: str(preset.key))
def test_only_first_looks_leave_settings_to_the_rules(preset: Preset) -> None:
    job = JobSpecification.model_validate(filled(preset, []))
    found = automatic.resolve(job, automatic.DataFacts(train=50_000))
    of_the_data = {"/timesteps"} if preset.in_time else set()
    assert (set(found.automatic) > of_the_data) == (preset.key in ("quick", "rows"))


def test_what_the_default_network_does_not_take_begins_with_one_that_does() -> None:
    in_time = {"id": "ds_2", "kind": "series", "timesteps": 29}
    vowels = upload("vowels", [12, 1, 1], 9).model_copy(update=in_time)
    for name in ("vowels", vowels.id):
        assert suited(name, [upload("other", [3, 32, 32], 10), vowels]) == {
            "dataset": name,
            "network": {"name": "mlp"},
            "method": {"name": "saf-e"},
        }
    assert suited("other", [vowels, upload("other", [3, 32, 32], 10)]) == {"dataset": "other"}
    assert suited("not there", [vowels]) == {"dataset": "not there"}
