"""What a specification asks of samples, and whether these have it."""

from __future__ import annotations

import pytest

from saf.config import JobSpecification
from saf.config.samples import Samples, misfits

FEATURES = Samples("the data set wine", "images", None, True, (13, 1, 1))


@pytest.mark.parametrize("change", ["crop", "flip", "cutout", "resized_crop"])
def test_features_have_no_places_that_change(change: str) -> None:
    """A crop would replace whole samples by nothing."""
    (found,) = misfits(JobSpecification.model_validate({"augment": [change]}), FEATURES)
    assert found.pointer == "/augment/0"
    assert "holds features, which have none" in found.message
    line = FEATURES._replace(shape=(1, 1, 13))
    assert not [*misfits(JobSpecification.model_validate({"augment": [change]}), line)]


@pytest.mark.parametrize("change", ["crop", "flip"])
def test_nor_have_frames_of_one_pixel(change: str) -> None:
    asked = JobSpecification.model_validate({"augment": [change], "timesteps": 9})
    events = Samples("the data set taps", "events", 9, False, (2, 1, 1))
    (found,) = misfits(asked, events)
    assert "holds frames of one pixel, which have none" in found.message
    assert not [*misfits(asked, events._replace(shape=(2, 1, 8)))]
