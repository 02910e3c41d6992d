"""Random changes to training samples."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Generator, Tensor

from saf.augment import CHANGES, augment


def seeded(seed: int) -> Generator:
    return Generator().manual_seed(seed)


@pytest.fixture
def images() -> Tensor:
    return torch.rand(64, 3, 8, 12, generator=seeded(0)) + 0.01  # no pixel is zero


@pytest.mark.parametrize("name", list(CHANGES))
def test_the_same_seed_gives_the_same_change_and_another_seed_another(
    name: str, images: Tensor
) -> None:
    assert torch.equal(augment(images, [name], seeded(1)), augment(images, [name], seeded(1)))
    assert not torch.equal(augment(images, [name], seeded(1)), augment(images, [name], seeded(2)))


@pytest.mark.parametrize("name", list(CHANGES))
def test_samples_are_changed_independently_of_each_other(name: str, images: Tensor) -> None:
    same = images[:1].expand_as(images)
    changed = augment(same, [name], seeded(3))
    assert len(torch.unique(changed, dim=0)) > 1


@pytest.mark.parametrize("name", list(CHANGES))
def test_all_steps_of_an_event_sample_are_changed_alike(name: str, images: Tensor) -> None:
    frames = images[:, None].expand(-1, 5, -1, -1, -1)  # N T C H W
    changed = augment(frames, [name], seeded(4))
    assert changed.shape == frames.shape
    assert torch.equal(changed, changed[:, :1].expand_as(changed))


def test_crop_shifts_each_sample_and_lets_zeros_in(images: Tensor) -> None:
    changed = augment(images, ["crop"], seeded(5))
    shifts = set()
    for before, after in zip(images, changed, strict=True):
        inside = after[0] != 0
        rows, columns = inside.any(1).nonzero().flatten(), inside.any(0).nonzero().flatten()
        kept = after[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        _, height, width = kept.shape
        found = [
            (top, left)
            for top in range(8 - height + 1)
            for left in range(12 - width + 1)
            if torch.equal(before[:, top : top + height, left : left + width], kept)
        ]
        assert len(found) == 1
        assert height >= 7
        assert width >= 11
        shifts.add((int(rows[0]) - found[0][0], int(columns[0]) - found[0][1]))
    assert shifts == {(row, column) for row in (-1, 0, 1) for column in (-1, 0, 1)}


def test_resized_crop_scales_a_box_of_the_published_size_to_the_whole(images: Tensor) -> None:
    """Images of their own row and column numbers tell which box was taken."""
    height, width = images.shape[2:]
    rows = torch.arange(height).view(-1, 1).expand(height, width)
    columns = torch.arange(width).expand(height, width)
    places = torch.stack([rows, columns, columns]).float().expand_as(images)
    where = augment(places, ["resized_crop"], seeded(6))
    changed = augment(images, ["resized_crop"], seeded(6))
    boxes = set()
    for before, after, (row, column, _) in zip(images, changed, where, strict=True):
        h = round(float(row[4, 0] - row[3, 0]) * height) or 1
        w = round(float(column[0, 6] - column[0, 5]) * width) or 1
        top, left = round(float(row[0, 0])), round(float(column[0, 0]))
        box = before[None, :, top : top + h, left : left + w]
        expected = F.interpolate(box, (height, width), mode="bilinear", align_corners=False)
        torch.testing.assert_close(after, expected[0])
        assert (h, w) == (height, width) or 0.05 < h * w / (height * width) <= 1.0
        boxes.add((top, left, h, w))
    assert len(boxes) > 20


def test_flip_mirrors_about_half_of_the_samples(images: Tensor) -> None:
    changed = augment(images, ["flip"], seeded(6))
    mirrored = [torch.equal(a, b.flip(-1)) for a, b in zip(changed, images, strict=True)]
    kept = [torch.equal(a, b) for a, b in zip(changed, images, strict=True)]
    assert all(m != k for m, k in zip(mirrored, kept, strict=True))
    assert 16 <= sum(mirrored) <= 48


def test_cutout_blanks_one_rectangle_in_about_half_of_the_samples(images: Tensor) -> None:
    changed = augment(images, ["cutout"], seeded(7))
    blanked = 0
    for before, after in zip(images, changed, strict=True):
        differs = (before != after).any(0)
        if not differs.any():
            continue
        blanked += 1
        rows, columns = differs.any(1).nonzero().flatten(), differs.any(0).nonzero().flatten()
        rectangle = after[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert torch.equal(differs.sum(), torch.tensor(rectangle[0].numel()))
        assert len(rectangle[0].unique()) == 1, "one value in the first channel, as published"
        assert not rectangle[1:].any(), "none in the others"
        assert rectangle[0].numel() <= 0.4 * 8 * 12
    assert 16 <= blanked <= 48


def test_cutout_blanks_event_frames_with_zeros(images: Tensor) -> None:
    frames = images[:, None].expand(-1, 2, -1, -1, -1)
    changed = augment(frames, ["cutout"], seeded(8))
    assert set(changed[changed != frames].tolist()) == {0.0}


def test_the_order_in_which_changes_are_named_does_not_matter(images: Tensor) -> None:
    one = augment(images, ["flip", "crop", "cutout"], seeded(9))
    other = augment(images, ["cutout", "flip", "crop"], seeded(9))
    assert torch.equal(one, other)


def test_a_change_that_does_not_exist_is_refused(images: Tensor) -> None:
    with pytest.raises(ValueError, match="there is no change"):
        augment(images, ["rotate"], seeded(0))
