"""A picture of some images in rows with a word to each, to choose a reading by."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np

from saf.data.images.decode import Pixels, require_pillow

TILE, GAP, LINE = 64, 4, 14
ROWS, COLUMNS = 8, 8


def sheet(rows: Sequence[tuple[str, Sequence[Pixels]]]) -> bytes:
    """A PNG: each row its words, such as the name of a class, and images `C H W` below them. At
    most `ROWS` × `COLUMNS` are shown, none larger than `TILE` pixels."""
    require_pillow()
    from PIL import Image, ImageDraw, ImageFont

    rows = [(words, images[:COLUMNS]) for words, images in rows[:ROWS]]
    across = max((len(images) for _, images in rows), default=1) or 1
    pitch = TILE + GAP
    width, height = max(across * pitch, 240), len(rows) * (pitch + LINE)
    picture = Image.new("RGB", (width, max(height, 1)), "white")
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default()
    for row, (words, images) in enumerate(rows):
        top = row * (pitch + LINE)
        draw.text((1, top), words[:60].encode("ascii", "replace").decode(), "black", font)
        for column, pixels in enumerate(images):
            array = pixels[0] if len(pixels) != 3 else np.moveaxis(pixels, 0, -1)
            tile = Image.fromarray(np.ascontiguousarray(array)).convert("RGB")
            factor = TILE / max(tile.size)
            size = (max(1, round(tile.width * factor)), max(1, round(tile.height * factor)))
            method = Image.Resampling.NEAREST if factor > 1 else Image.Resampling.BOX
            picture.paste(tile.resize(size, method), (column * pitch, top + LINE))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def spread(names: Sequence[str], most: int) -> list[str]:
    """At most that many of the names, from all over."""
    if len(names) <= most:
        return list(names)
    return [names[i] for i in np.linspace(0, len(names) - 1, most).round().astype(int)]
