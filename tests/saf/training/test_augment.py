"""Random changes to training samples."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Generator, Tensor

from saf.config.augmentations import AUGMENTATIONS
from saf.training.augment import augment


def seeded(seed: int) -> Generator:
    return Generator().manual_seed(seed)


@pytest.fixture
def images() -> Tensor:
    return torch.rand(64, 3, 8, 12, generator=seeded(0)) + 0.01  # no pixel is zero


@pytest.mark.parametrize("name", AUGMENTATIONS.names())
def test_the_same_seed_gives_the_same_change_and_another_seed_another(
    name: str, images: Tensor
) -> None:
    assert torch.equal(augment(images, [name], seeded(1)), augment(images, [name], seeded(1)))
    assert not torch.equal(augment(images, [name], seeded(1)), augment(images, [name], seeded(2)))


@pytest.mark.parametrize("name", AUGMENTATIONS.names())
def test_samples_are_changed_independently_of_each_other(name: str, images: Tensor) -> None:
    same = images[:1].expand_as(images)
    changed = augment(same, [name], seeded(3))
    assert len(torch.unique(changed, dim=0)) > 1


@pytest.mark.parametrize("name", AUGMENTATIONS.names())
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


SHAPES = [
    *((1, 1, n) for n in (1, 2, 7, 8, 64)),
    *((3, n, 1) for n in (2, 7, 8, 64)),
    *(
        (1, 95, 50),
        (2, 3, 3),
        (1, 5, 100),
        (4, 2, 1, 64),
        (3, 2, 16, 16),
        (2, 1, 5, 7),
        (2, 2, 1, 1),
    ),
]


def dots(shape: tuple[int, ...]) -> Tensor:
    """Samples with one bright pixel each, another one in each sample; the hardest to keep."""
    pixels = shape[-2] * shape[-1]
    x = torch.zeros(max(pixels, 2), *shape)
    for number in range(pixels):
        x[number].flatten(-2)[..., number] = 1.0
    return x[:200] if pixels > 200 else x


def shows_something(sample: Tensor) -> bool:
    return bool((sample.flatten(-2) != sample.flatten(-2)[..., :1]).any())


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_crop_leaves_something_of_every_sample_that_shows_something(shape: tuple[int, ...]) -> None:
    generator = seeded(11)
    for x in (dots(shape), torch.rand(64, *shape, generator=seeded(12)), torch.ones(64, *shape)):
        changed = augment(x, ["crop"], generator)
        assert changed.shape == x.shape
        for before, after in zip(x, changed, strict=True):
            assert shows_something(after) or not shows_something(before)
            assert after.any() == before.any()


@pytest.mark.parametrize("side", [1, 2, 7])
def test_crop_does_not_shift_along_a_side_of_fewer_than_8_pixels(side: int) -> None:
    x = torch.rand(100, 2, side, 16, generator=seeded(13)) + 0.01
    changed = augment(x, ["crop"], seeded(14))
    for before, after in zip(x, changed, strict=True):
        kept = after.flatten(0, 1).any(0)
        assert kept.sum() >= 14
        rows = [torch.roll(before, shift, -1) for shift in (-2, -1, 0, 1, 2)]
        assert any(torch.equal(row[..., kept], after[..., kept]) for row in rows)
    turned = augment(x.transpose(-1, -2), ["crop"], seeded(14))
    assert (turned.flatten(1, 2).any(1).sum(1) == side).all()


@pytest.mark.parametrize("name", AUGMENTATIONS.names())
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_changes_of_samples_of_any_sides_keep_their_shape_and_range(
    shape: tuple[int, ...], name: str
) -> None:
    x = 0.25 + 0.5 * torch.rand(100, *shape, generator=seeded(15))
    changed = augment(x, [name], seeded(16))
    assert changed.shape == x.shape
    assert changed.isfinite().all()
    assert changed.min() >= 0.0
    assert changed.max() <= 1.0
    if name == "flip":
        both = zip(changed, x, strict=True)
        assert all(torch.equal(a, b) or torch.equal(a, b.flip(-1)) for a, b in both)
    if name == "resized_crop":
        assert changed.min() >= x.min() - 1e-6
        assert changed.max() <= x.max() + 1e-6
    if name == "cutout":
        pixels = (changed != x).flatten(-2).flatten(1, -2).any(1)
        assert pixels.float().mean(1).max() <= 0.4


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_all_changes_together_keep_samples_of_any_sides_apart(shape: tuple[int, ...]) -> None:
    x = 0.25 + 0.5 * torch.rand(100, *shape, generator=seeded(17))
    changed = augment(x, AUGMENTATIONS.names(), seeded(18))
    assert (changed.shape, changed.dtype) == (x.shape, x.dtype)
    assert changed.isfinite().all()
    assert changed.flatten(1).any(1).all()


def test_a_change_that_does_not_exist_is_refused(images: Tensor) -> None:
    with pytest.raises(ValueError, match="there is no change"):
        augment(images, ["rotate"], seeded(0))
