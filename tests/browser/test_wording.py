"""What the templates write and what the scripts put in its place are the same words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from api import wording
from tests.browser.service import Pages

if TYPE_CHECKING:
    from tests.browser.conftest import Tabs

SECONDS = [0.2, 1, 59.4, 60, 61, 3599, 3600, 7260, 86_400, 1e6]
NUMBERS = [0, 1, -2.5, 0.1369, 1.9e-6, -3e-4, 0.0012345, 12_345.6, 99_999, 123_456, 5e12, None]
METRICS = [
    (0.99722, "test_accuracy"),
    (0.13, "firing_rate/layer1"),
    (1.2341, "step_seconds"),
    (0.913, "device_use"),
    (3.2e8, "memory_bytes"),
]
SIZES = [0, 1023, 1024, 480_376, 5_000_000, 3 * 2**30, 5 * 2**40]


def test_scripts_and_templates_word_the_same(tabs: Tabs, pages: Pages) -> None:
    page = tabs.open(f"{pages.url}/datasets")
    written = page.evaluate(
        """async ([seconds, numbers, metrics, sizes]) => {
            const words = await import("/static/format.js");
            return [
                seconds.map((value) => words.duration(value)),
                numbers.map((value) => words.number(value)),
                metrics.map(([value, name]) => words.metric(value, name)),
                sizes.map((value) => words.size(value)),
            ];
        }""",
        [SECONDS, NUMBERS, METRICS, SIZES],
    )
    assert written == [
        [wording.duration(value) for value in SECONDS],
        [wording.number(value) for value in NUMBERS],
        [wording.metric(value, name) for value, name in METRICS],
        [wording.size(value) for value in SIZES],
    ]
