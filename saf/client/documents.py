"""Answers of the server that say what they are, and become data frames where pandas is installed.

Each is the dictionary that the server sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from saf.client.types import ClientError

if TYPE_CHECKING:
    import pandas


class Metrics(dict[str, Any]):
    """Metrics of a job: `series`, each with `name`, `count` and `points` of [step, value]."""

    def to_frame(self) -> pandas.DataFrame:
        """A column for each metric, a row for each step that any of them has a point at.

        Raises `ClientError` where pandas is not installed.
        """
        pandas = _pandas()
        columns = {}
        for series in self["series"]:
            steps = [step for step, _ in series["points"]]
            values = [value for _, value in series["points"]]
            columns[series["name"]] = pandas.Series(values, index=steps, dtype="float64")
        frame = pandas.DataFrame(columns)
        frame.index.name = "step"
        return frame.sort_index()

    def __repr__(self) -> str:
        counts = ", ".join(f"{series['name']} ({series['count']:,})" for series in self["series"])
        return f"Metrics({counts or 'none yet'})"


class SpikeStatistics(dict[str, Any]):
    """Firing rates, silent and saturated neurons and gradients of each `layer`, in `looks`."""

    def to_frame(self) -> pandas.DataFrame:
        """A row for each look and layer. Raises `ClientError` where pandas is not installed."""
        rows = [
            {
                "step": look["step"],
                "layer": layer,
                **{name: values[number] for name, values in look.items() if _is_by_layer(values)},
            }
            for look in self["looks"]
            for number, layer in enumerate(self["layers"])
        ]
        frame = _pandas().DataFrame(rows)
        return frame.drop(columns="membrane", errors="ignore")

    def __repr__(self) -> str:
        return f"SpikeStatistics({len(self['looks'])} looks at {len(self['layers'])} layers)"


class Comparison(dict[str, Any]):
    """Jobs side by side: `jobs`, their `settings` and their `results`."""

    def to_frame(self) -> pandas.DataFrame:
        """A row for each job: the settings that differ, and the results.

        Raises `ClientError` where pandas is not installed.
        """
        rows: list[dict[str, Any]] = [
            {"id": job["id"], "name": job["name"], "status": job["status"]} for job in self["jobs"]
        ]
        differing = [setting for setting in self["settings"] if setting["differs"]]
        named = [(each["pointer"].strip("/").replace("/", "."), each) for each in differing]
        named += [(each["name"], each) for each in self["results"]]
        for name, each in named:
            for row, value in zip(rows, each["values"], strict=True):
                row[name] = value
        return _pandas().DataFrame(rows).set_index("id")

    def __repr__(self) -> str:
        differing = [each["pointer"] for each in self["settings"] if each["differs"]]
        return f"Comparison({len(self['jobs'])} jobs that differ in {_some(differing)})"


class Sweep(dict[str, Any]):
    """Many jobs from one request; in a list without `rows`, `groups` and `best`."""

    def to_frame(self) -> pandas.DataFrame:
        """A row for each job: its settings and what came out so far.

        Raises `ClientError` where pandas is not installed.
        """
        rows = [
            {
                "job": row["job"],
                **{place.strip("/").replace("/", "."): v for place, v in row["settings"].items()},
                "status": row["status"],
                **row["results"],
                "verdict": row["verdict"],
            }
            for row in self.get("rows", ())
        ]
        return _pandas().DataFrame(rows)

    def __repr__(self) -> str:
        name = f" {self['name']!r}" if self["name"] else ""
        return f"Sweep({self['id']}{name}, {self['ended']} of {self['jobs_total']} jobs ended)"


class Dataset(dict[str, Any]):
    """A data set of the catalogue or an uploaded one."""

    def __repr__(self) -> str:
        if self["status"] == "needs_choice":
            ways = "; ".join(
                f"{question['setting']}={' or '.join(repr(c['value']) for c in candidates)}"
                for question in self.get("questions", [])
                if (candidates := question["candidates"]) is not None
            )
            return f"Dataset({self['name']!r}, needs_choice: {ways})"
        if self["shape"] is None or self["counts"] is None:
            return f"Dataset({self['name']!r}, {self['status']})"
        shape = "×".join(map(str, self["shape"]))
        counts = self["counts"]
        samples = f"{counts['train']:,} + {counts['test']:,} samples of {shape}"
        return f"Dataset({self['name']!r}, {samples}, {self['classes']} classes)"


class Prediction(dict[str, Any]):
    """What the network of a job says of one sample, after each time step."""

    @property
    def class_name(self) -> str:
        """The class with the highest score after the last step."""
        return str(self["class_names"][self["predicted"]])

    def __repr__(self) -> str:
        spikes = sum(sum(layer["spikes"]) for layer in self["layers"])
        label = self["label"]
        right = "" if label is None else f", labelled {self['class_names'][label]!r}"
        steps = self["timesteps"]
        return f"Prediction({self.class_name!r}{right}, {spikes:,} spikes in {steps} time steps)"


def identifiers(jobs: Iterable[str | Mapping[str, Any]]) -> list[str]:
    """The ids of jobs that are given by id or as documents."""
    return [job if isinstance(job, str) else str(job["id"]) for job in jobs]


def _is_by_layer(values: object) -> bool:
    return isinstance(values, list)


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "") if names else "nothing"


def _pandas() -> Any:
    try:
        import pandas
    except ImportError:
        raise ClientError(
            "a data frame needs pandas, which is not installed: pip install pandas; the values are "
            "in this object, a dictionary, too"
        ) from None
    return pandas
