"""Carry a LIF network to another tool: write it, replay it there, and certify what came out.

Shapes: `N` samples, `T` steps, `K` classes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from subprocess import SubprocessError
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from saf import extras
from saf.config.targets import (
    CannotExportError,
    NoReaderError,
    Obstacle,
    Played,
    Reader,
    Target,
    samples_in_words,
    target_of,
    unfit_for,
    unread_rows,
)
from saf.files import digest_of, write_bytes
from saf.lif.checks import check_lengths
from saf.lif.identity import digests_of
from saf.lif.network import LIFNetwork
from saf.lif.verdict import ONE_OF, TOLERATED, tolerated_of
from saf.model.inputs import floats
from saf.model.lengths import Lengths
from saf.networks.outline import outline_of
from saf.redaction import without_folders
from saf.registry import name_of

Verdict = Literal["identical", "equivalent", "differs", "not_replayed"]
FORMAT = "saf-export/1"
SAMPLES = 1000
"""Held-out samples that a replay compares where nobody says how many."""
TOLERATED_SPIKES = 0.001  # of all: rounding, and not another neuron
RULE = (
    "identical: on every held-out sample (until its end, of padded ones, see until_ends) every "
    "spike of every layer and every prediction is that of the LIF network in float32. equivalent: "
    f"the predictions differ on at most {TOLERATED:.1%} of the samples (of {ONE_OF} or more, on "
    "one) and at most "
    f"{TOLERATED_SPIKES:.1%} of the spikes do; where the reader shows no spikes, predictions "
    "alone. differs: otherwise. not_replayed: nothing ran it, or no neuron fired, so that nothing "
    "was compared."
)


@dataclass(frozen=True, kw_only=True)
class Export:
    """A network written for a target."""

    target: str
    verdict: Verdict
    directory: Path
    files: tuple[str, ...]
    """The one that is loaded first, what else it needs, and its certificate."""
    certificate: dict[str, Any]


class ReplayError(ValueError):
    """A reader that is installed cannot run what was written for it."""


class Replaying(NamedTuple):
    """How far a replay is."""

    samples: int
    total: int


def check(network: LIFNetwork, target: str | Target) -> tuple[Obstacle, ...]:
    """Why `target` cannot express `network`; nothing where it can. Nothing is written."""
    chosen = target_of(target) if isinstance(target, str) else target
    return _obstacles(network, chosen)


def _obstacles(network: LIFNetwork, target: Target) -> tuple[Obstacle, ...]:
    outline = outline_of(network.description)
    unfit = unfit_for(target, outline)
    if unread_rows(target, outline):
        return unfit
    return (*unfit, *target.obstacles(network))


def export(
    network: LIFNetwork,
    target: str | Target,
    directory: Path | str,
    x: Any = None,
    y: Any = None,
    lengths: Any = None,
    *,
    unit: int = 255,
    batch_size: int = 50,
    dataset_sha256: str | None = None,
) -> Export:
    """Write `network` for `target` into `directory`, replay it there and certify it.

    `x` (`N C H W`, of event frames `N T C H W`, of series `N T C`; uint8 means value / `unit`, or
    floats as the network takes them) and `y` (`N`, may be left out) are held-out samples; without
    `x` the verdict is `not_replayed`. Of padded samples `lengths` (`N`) time steps are their own:
    spikes are compared until the end of each, and scores are those at it, where the target can
    tell them. The certificate names the data set that they are of by
    `dataset_sha256`, as the certificate of a job does. Raises CannotExportError where the target
    cannot express the network, ReplayError where the reader cannot run it, ValueError for samples
    that do not fit, ModuleNotFoundError where a package that writing needs is missing, and OSError.
    Samples that do not fit are refused before anything is written.
    """
    chosen = target_of(target) if isinstance(target, str) else target
    *_, done = exported(
        network,
        chosen,
        Path(directory),
        x,
        y,
        lengths,
        unit=unit,
        batch_size=batch_size,
        dataset_sha256=dataset_sha256,
    )
    assert isinstance(done, Export)
    return done


def exported(
    network: LIFNetwork,
    target: Target,
    directory: Path,
    x: Any = None,
    y: Any = None,
    lengths: Any = None,
    *,
    unit: int = 255,
    batch_size: int = 50,
    dataset_sha256: str | None = None,
) -> Iterator[Replaying | Export]:
    """`export`, a batch at a time: how far it is, and in the end what came out."""
    name, outline = name_of(type(target)), outline_of(network.description)
    if obstacles := _obstacles(network, target):
        raise CannotExportError(name, obstacles)
    if missing := target.missing(target.packages):
        raise ModuleNotFoundError(
            f"writing for {target.label} needs {', '.join(missing)}: pip install "
            f"{' '.join(missing)}, or saf-snn with its extra: {extras.remedy(target.extra)}"
        )
    network = network.copied("cpu", torch.float32)
    ends: NDArray[np.int64] | None = None
    samples = None if x is None else _as_numpy(x)
    labels = None if y is None else _as_numpy(y)
    if samples is not None:
        if labels is not None and len(samples) != len(labels):
            raise ValueError(f"there are {len(samples)} samples and {len(labels)} labels")
        classes = len(network.class_names)
        if labels is not None and len(labels) and not 0 <= labels.min() <= labels.max() < classes:
            raise ValueError(
                f"the network knows {classes} classes, and the labels go from {labels.min()} to "
                f"{labels.max()}: are the samples of another data set?"
            )
        samples = _with_pixels(network, samples)
        if lengths is not None:
            given = torch.from_numpy(_as_numpy(lengths))
            kept = check_lengths(network.description, given, len(samples)).steps
            ends = kept.numpy() if target.lengths else None
        next(network.run(torch.from_numpy(_floats(samples[:1], unit))))  # do they fit?
    directory.mkdir(parents=True, exist_ok=True)
    files = target.write(network, directory)
    comparison = _Comparison(network)
    reason = "no held-out samples were given"
    versions: dict[str, str] = {}
    if samples is not None:
        try:
            with target.replay(network, directory) as opened:
                versions = opened.versions
                for start in range(0, len(samples), batch_size):
                    rows = slice(start, start + batch_size)
                    batch = _floats(samples[rows], unit)
                    own = None if ends is None else ends[rows]
                    comparison.add(batch, None if labels is None else labels[rows], own, opened)
                    yield Replaying(start + len(batch), len(samples))
            reason = "" if comparison.fired else "no neuron fired on the samples"
        except NoReaderError as error:
            reason = without_folders(str(error))  # the certificate travels
        except (RuntimeError, SubprocessError) as error:
            said = " ".join(str(error).split())[:1000]
            message = f"{target.label} cannot run what was written for it: {said}"
            raise ReplayError(message) from error
    verdict = comparison.verdict() if not reason else "not_replayed"
    certificate = {
        "format": FORMAT,
        "target": name,
        "label": target.label,
        "settings": target.model_dump(mode="json", exclude={"name"}),
        "verdict": verdict,
        "statement": _statement(target, verdict, comparison, reason),
        "rule": RULE,
        "load": target.loading.format(file=files[0], samples=samples_in_words(outline)),
        "reader": versions,
        "not_replayed_because": reason or None,
        "files": [_described(directory / file) for file in files],
        "network": _network(network),
        "samples_sha256": comparison.sha256 if not reason else None,
        "dataset_sha256": dataset_sha256,
        "until_ends": None if lengths is None else ends is not None,
        **({} if reason else comparison.result()),
        "facts": target.facts(network, directory),
    }
    path = directory / f"{name}-certificate.json"
    write_bytes(path, json.dumps(certificate, indent=1, allow_nan=False).encode())
    yield Export(
        target=name,
        verdict=verdict,
        directory=directory,
        files=(*files, path.name),
        certificate=certificate,
    )


class _Comparison:
    """The LIF network beside what a reader plays, batch by batch."""

    def __init__(self, network: LIFNetwork) -> None:
        self._network = network
        names = [layer.name for layer in network.layers if layer.neuron is not None]
        self._compared, self._differing = dict.fromkeys(names, 0), dict.fromkeys(names, 0)
        self._fired, self._fired_there = dict.fromkeys(names, 0), dict.fromkeys(names, 0)
        self.predictions_differing = self.samples = self._correct = self._correct_there = 0
        self._labelled = self._shown = True
        self._digest = hashlib.sha256()

    @property
    def sha256(self) -> str:
        """Of the samples, as float32."""
        return self._digest.hexdigest()

    def add(
        self,
        samples: NDArray[np.float32],
        labels: NDArray[Any] | None,
        ends: NDArray[np.int64] | None,
        reader: Reader,
    ) -> None:
        """Run a batch in both, each sample until its end (T where there are no `ends`)."""
        self._digest.update(np.ascontiguousarray(samples).data)
        scores: torch.Tensor | None = None
        fired: dict[str, list[NDArray[Any]]] = {name: [] for name in self._compared}
        own = None if ends is None else Lengths(torch.from_numpy(ends))
        for t, step in enumerate(self._network.run(torch.from_numpy(samples)), 1):
            scores = step.scores if own is None else own.held(scores, step.scores[None], [t])
            for name, spikes in step.spikes.items():
                fired[name].append(spikes.bool().numpy())
        assert scores is not None
        played = reader.play(samples) if ends is None else reader.play(samples, ends)
        self._compare_spikes(fired, played, ends)
        here, there = scores.argmax(1).numpy(), np.asarray(played.scores).argmax(1)
        self.samples += len(samples)
        self.predictions_differing += int((here != there).sum())
        if labels is None:
            self._labelled = False
        else:
            self._correct += int((here == labels).sum())
            self._correct_there += int((there == labels).sum())

    def _compare_spikes(
        self,
        fired: Mapping[str, list[NDArray[Any]]],
        played: Played,
        ends: NDArray[np.int64] | None,
    ) -> None:
        for name, steps in fired.items():
            ours = np.stack(steps, axis=1)
            if played.spikes is None:
                self._shown = False
                self._fired[name] += int(ours.sum())
                continue
            theirs = played.spikes[name]
            if ours.shape != theirs.shape:
                raise AssertionError(f"{name}: {theirs.shape} spikes were played, not {ours.shape}")
            if ends is not None:  # those of each sample before its end, N T of them
                going = np.arange(ours.shape[1]) < ends[:, None]
                ours, theirs = ours[going], theirs[going]
            self._compared[name] += ours.size
            self._fired[name] += int(ours.sum())
            self._differing[name] += int((ours != theirs).sum())
            self._fired_there[name] += int(theirs.sum())

    @property
    def spikes_differing(self) -> int:
        return sum(self._differing.values())

    @property
    def spikes_compared(self) -> int:
        return sum(self._compared.values())

    @property
    def fired(self) -> bool:
        """Whether a neuron fired here, or there."""
        return any(self._fired.values()) or any(self._fired_there.values())

    def verdict(self) -> Verdict:
        """By `RULE`."""
        if self._shown and not self.spikes_differing and not self.predictions_differing:
            return "identical"
        few = self.predictions_differing <= tolerated_of(self.samples)
        if few and self.spikes_differing <= TOLERATED_SPIKES * max(1, self.spikes_compared):
            return "equivalent"
        return "differs"

    def result(self) -> dict[str, Any]:
        """As JSON values."""
        n = max(1, self.samples)
        return {
            "samples": self.samples,
            "spikes_compared": self.spikes_compared if self._shown else None,
            "spikes_differing": self.spikes_differing if self._shown else None,
            "predictions_differing": self.predictions_differing,
            "accuracy_lif": self._correct / n if self._labelled else None,
            "accuracy_exported": self._correct_there / n if self._labelled else None,
            "layers": [
                {
                    "name": name,
                    "spikes_compared": compared,
                    "spikes_differing": self._differing[name],
                    "firing_rate_lif": self._fired[name] / max(1, compared),
                    "firing_rate_exported": self._fired_there[name] / max(1, compared),
                }
                for name, compared in self._compared.items()
                if self._shown
            ],
        }


def _statement(target: Target, verdict: Verdict, found: _Comparison, reason: str) -> str:
    if target.is_check and reason:
        return f"Checked against {target.label}: {reason}."
    if verdict == "not_replayed":
        return f"Written for {target.label} and not replayed: {reason}."
    counted = f"{found.predictions_differing:,} of {found.samples:,} predictions differ"
    if found.spikes_compared:
        counted = f"{found.spikes_differing:,} of {found.spikes_compared:,} spikes and {counted}"
    else:
        counted += ", and the reader shows no spikes"
    end = {
        "identical": "It is the same network there.",
        "equivalent": "It may stand in for the LIF network; what differs is rounding.",
        "differs": "It is another network there: do not rely on it.",
    }[verdict]
    return f"Replayed in {target.label}: {counted}. {end}"


def _network(network: LIFNetwork) -> dict[str, Any]:
    """What traces an export back to the network that it was made from."""
    of = network.description
    return {
        "is": repr(network),
        **digests_of(network),
        "timesteps": of.timesteps,
        "decay": of.decay,
        "threshold": of.threshold,
        "readout": of.readout,
        "frames": of.frames,
        "image": of.image_sequence,
        "grid": None if of.grid is None else of.grid.model_dump(mode="json"),
        "class_names": list(of.class_names),
    }


def _described(path: Path) -> dict[str, Any]:
    content = digest_of(path)
    return {"name": path.name, "bytes": content.bytes, "sha256": content.sha256}


def _as_numpy(x: Any) -> NDArray[Any]:
    return x.detach().cpu().numpy() if isinstance(x, torch.Tensor) else np.asarray(x)


def _with_pixels(network: LIFNetwork, samples: NDArray[Any]) -> NDArray[Any]:
    """Series `N T C` as every reader takes them, `N T C 1 1`, and images that are read as sequences
    as such; others as they are."""
    if network.description.image is not None:
        samples = network.description.image.sequence(samples)
    shape = network.description.architecture.input_shape
    is_series = network.description.frames and tuple(shape[1:]) == (1, 1) and samples.ndim == 3
    return samples[..., None, None] if is_series else samples


def _floats(samples: NDArray[Any], unit: int) -> NDArray[np.float32]:
    own = np.array(samples)  # a mapped data set stays as it is
    return floats(torch.from_numpy(own), torch.float32, unit).numpy()
