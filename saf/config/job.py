"""The specification of a training job: what people send, what a checkpoint records.

One definition for the HTTP body, the file given to `saf train`, the header of a checkpoint and
the documentation. Every default stands here and nowhere else; an unknown key is an error.
This module loads no torch: the API process reads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    StringConstraints,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from saf.config.augmentations import AUGMENTATIONS, Augmentation
from saf.config.base import Auto, OrAuto, Strict
from saf.config.choice import Choice, Several
from saf.config.conversion import Conversion
from saf.config.encodings import ENCODING, Encoding
from saf.config.methods import AT_THE_END, METHODS, Method
from saf.config.networks import NETWORKS, Network
from saf.config.neurons import NEURON, Neuron
from saf.config.optimisation import SGD, AdamW, AutomaticOptimizer, Loss, Optimizer, Schedule
from saf.config.presentation import Present
from saf.powers import SIGNIFICANT_BITS, halvings, most_timesteps

NETWORK = Choice(NETWORKS, "convnet")
METHOD = Choice(METHODS, "saf-f")
_NO_NUL = r"^[^\x00]*$"  # a character that PostgreSQL cannot store
Metadata = dict[
    Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[\w.\-/]+$")],
    Annotated[str, StringConstraints(max_length=512, pattern=_NO_NUL)],
]


Precision = Literal["float32", "tf32", "float64", "bfloat16"]

MOST_TIMESTEPS = 1024
TIMESTEPS = 6  # of images, unless told
MOST_IN_BFLOAT16 = 256
"""Accumulated spikes to which one more can be added in 8 significant bits."""


class Init(Strict):
    """Weights to start from."""

    job: Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=_NO_NUL)] | None = (
        None
    )
    """A job that has left a checkpoint: its weights, those of its best epoch where there is one.
    The network has to be the same but for the number of classes: a readout of another shape starts
    anew."""
    network: (
        Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=_NO_NUL)] | None
    ) = None
    """In place of a job, an uploaded network (`POST /v1/networks`), by its id. Where the
    specification does not say otherwise, its layers, neurons, time steps, normalisation and readout
    are taken over, so that it spikes as the file does before it learns further."""
    freeze: Annotated[
        tuple[
            Annotated[
                str, StringConstraints(min_length=1, max_length=65, pattern=r"^[a-z0-9_]*\*?$")
            ],
            ...,
        ],
        Field(max_length=256),
    ] = ()
    """Layers whose weights stay as they are, by name ("layer1"), or by the beginning of it and an
    asterisk ("stage1*"); "*" is every layer but the readout."""

    @model_validator(mode="after")
    def _one_of_both(self) -> Init:
        if (self.job is None) == (self.network is None):
            raise ValueError("names what to start from: give either job or network")
        return self

    @model_serializer(mode="wrap")
    def _without_the_other(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without what is not named, so that specifications stay what they were."""
        written: dict[str, Any] = handler(self)
        return {key: value for key, value in written.items() if value is not None}

    @property
    def source(self) -> str:
        """Name or id of what the weights are taken from."""
        return str(self.job or self.network)


class Input(Strict):
    """How samples reach the network."""

    encoding: Annotated[Encoding, ENCODING] = Field(default_factory=ENCODING.default)
    """What the first layer gets of the values of a time step, after they are normalised channel by
    channel. The network that is delivered encodes its input itself."""
    present: Present = "whole"
    """How images are shown: whole at every time step, or as a sequence, which fixes T: at each step
    a row, a column, or a pixel, whose values are channels without a place, as in series. They are
    changed (`augment`) and normalised as the images that they are, and encoded at each step. The
    network that is delivered reads images so, too."""

    def changes(self, in_time: bool) -> bool:
        """Whether the first layer gets another input at each time step: of data `in_time`, and of
        images that are shown in parts or encoded over time."""
        return in_time or self.present != "whole" or self.encoding.over_time


Timesteps = Annotated[int, Field(ge=1, le=MOST_TIMESTEPS)]
Epochs = Annotated[int, Field(ge=1, le=100_000)]
BatchSize = Annotated[int, Field(ge=1, le=10_000_000)]
ValidationShare = Annotated[float, Field(ge=0, le=0.5)]
GradientNorm = Annotated[float, Field(gt=0)]


class JobSpecification(Strict):
    """A training job. Everything that has a default may be left out."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"dataset": "digits", "method": {"name": "saf-f"}, "epochs": 10},
                {
                    "name": "first try",
                    "dataset": "digits",
                    "network": {"name": "convnet", "channels": [32, 64, 64]},
                    "method": {"name": "saf-e"},
                    "neuron": {"decay": 0.5, "threshold": 1.0},
                    "timesteps": 6,
                },
            ]
        }
    )

    name: Annotated[
        str, StringConstraints(max_length=200, strip_whitespace=True, pattern=_NO_NUL)
    ] = ""
    """Free text for people."""
    dataset: Annotated[str, StringConstraints(min_length=1, max_length=4096, pattern=_NO_NUL)] = (
        "digits"
    )
    """Name or id of a data set of the catalogue (`GET /v1/datasets`)."""
    input: Input = Field(default_factory=Input)
    network: Annotated[Network, NETWORK] = Field(default_factory=NETWORK.default)
    method: Annotated[Method, METHOD] = Field(default_factory=METHOD.default)
    neuron: Annotated[Neuron, NEURON] = Field(default_factory=NEURON.default)
    timesteps: Annotated[Timesteps | Auto, OrAuto()] = "auto"
    """T, the number of time steps that a sample is shown for. "auto": as many as the samples have,
    where the data set holds event frames or series, or images that are shown as a sequence, and 6
    of other images. Another number than that of the data is refused."""
    precision: Precision = "float32"
    """What the network computes with. `bfloat16`: half the memory, parameters stay float32. `tf32`:
    float32 whose products NVIDIA GPUs since Ampere take with 11 significant bits, which hold the
    accumulations of spikes up to T = 11 at λ = ½; float32 elsewhere. The conversion is checked in
    float32 and float64 whatever this is."""
    conversion: Conversion = Conversion()
    epochs: Annotated[Epochs | Auto, OrAuto()] = "auto"
    """Passes over the training samples. "auto" and the other automatic settings become numbers
    before the training starts, by the rules of `docs/defaults.md`."""
    patience: Annotated[int, Field(ge=1, le=100_000)] | None = None
    """The training ends after so many epochs in a row that were not better on the validation
    samples than the best one before; null: never."""
    validation_share: Annotated[ValidationShare | Auto, OrAuto()] = "auto"
    """Share of the training samples of each class, chosen by `seed`, that is kept for validation:
    the best epoch, early stopping and the grid of the conversion are chosen by them, and the test
    samples are looked at once, at the end. "auto": 0 where the data set brings validation samples
    of its own, else 0.1, or 0.2 of fewer than 2,000 samples. Validation samples of its own are used
    in any case, and none of the training samples are kept then."""
    batch_size: Annotated[BatchSize | Auto, OrAuto()] = "auto"
    """Samples per iteration, all devices together."""
    micro_batches: Annotated[int, Field(ge=1, le=10_000_000)] = 1
    """Parts that each batch is computed in, one after another. Their gradients are added up: less
    memory and more time, and the same training but for rounding."""
    timesteps_at_once: Annotated[int, Field(ge=1, le=1024)] | None = None
    """K, the time steps that `saf-e`, `saf-f` and `spike-representation` compute at once, layer by
    layer: 1 takes the least memory, whatever T is; T the most. The same training but for rounding.
    null: as many as make up 128 samples, in small networks of matrices more; on a GPU, with
    `SAF_GPU_TUNING` on the worker, a training of 1,000 iterations and a minute or more first tries
    whether more are faster by a tenth, within a quarter of the free memory. With feedback time
    steps run one after the other, and `saf-e` alone differentiates so many at once."""
    on_out_of_memory: Literal["split", "fail"] = "split"
    """When memory runs out: `split` tries again with at least twice as many micro-batches, from the
    last checkpoint; `fail` ends the job. Methods that update after every time step always fail."""
    optimizer: Optimizer = AutomaticOptimizer()
    schedule: Schedule = Schedule()
    max_gradient_norm: Annotated[GradientNorm | Auto | None, OrAuto()] = "auto"
    """The gradient of all weights together is scaled down to this norm where it is larger; null:
    never."""
    average_decay: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Decay per iteration of a moving average of the weights (EMA); the average is what is
    evaluated and converted. null: the last weights."""
    loss: Loss = Loss()
    augment: Annotated[tuple[str | Augmentation, ...], Several(AUGMENTATIONS)] = ()
    """Random changes to training images: crop with padding (a shift by up to an eighth of a side of
    8 pixels or more), horizontal flip, cutout (OTTT on CIFAR has these three), a crop of 8 % to
    100 % of the area resized (on ImageNet: with flip)."""
    devices: Annotated[int, Field(ge=1, le=1)] = 1
    """Devices that one job trains on."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    priority: Annotated[int, Field(ge=0, le=9)] = 5
    """0 is served first."""
    max_runtime_seconds: Annotated[float, Field(gt=0)] | None = None
    """The job fails with `time_limit` when it has trained for longer; null: no limit."""
    metadata: Annotated[Metadata, Field(max_length=64)] = Field(default_factory=dict)
    """Keys and values of your own, to find the job again."""
    init: Init | None = None
    """Weights to start from; null: drawn from `seed`."""
    automatic: Annotated[tuple[str, ...], Field(max_length=16)] = ()
    """JSON pointers to the settings that were "auto" and have become the numbers that stand there.
    The service writes it; what is sent is not looked at."""
    plugins: Annotated[dict[str, str], Field(max_length=64)] = Field(default_factory=dict)
    """The packages of plugins that the job needs, by what they add to it: `{"method 'mine'":
    "lab-plugin 1.0"}`. The service writes it; what is sent is not looked at."""

    @field_validator("optimizer", mode="before")
    @classmethod
    def _auto_is_an_optimizer(cls, value: Any) -> Any:
        return {"name": "auto"} if value == "auto" else value

    @field_validator("neuron")
    @classmethod
    def _can_be_trained(cls, neuron: Neuron, info: ValidationInfo) -> Neuron:
        method = info.data.get("method")
        if method is None or method.asks_for not in type(neuron).lacks:
            return neuron
        if method.asks_for == "rate_gate":
            raise ValueError(
                f"{neuron.name} has no gradient of firing rates, which {method.name} needs; take "
                "saf-f, which has its loss at the final time step as well"
            )
        raise ValueError(
            f"{neuron.name} cannot be trained by {method.name} with an update after each time "
            "step; set method.update to sequence, or take ottt-o"
        )

    @field_validator("micro_batches")
    @classmethod
    def _parts_of_a_batch(cls, parts: int, info: ValidationInfo) -> int:
        method, batch_size = info.data.get("method"), info.data.get("batch_size")
        if parts > 1 and method is not None and method.updates_at_each_step:
            raise ValueError(
                f"has to be 1 with {method.name} as chosen: it updates the weights after every "
                "time step, so the parts of a batch would be trained one after another and not "
                "together; take a smaller batch_size"
            )
        if isinstance(batch_size, int) and parts > batch_size:
            raise ValueError(f"is {parts}, and a batch has only {batch_size} samples to share out")
        return parts

    @field_validator("timesteps_at_once")
    @classmethod
    def _of_the_timesteps(cls, steps: int | None, info: ValidationInfo) -> int | None:
        method, timesteps = info.data.get("method"), info.data.get("timesteps")
        if steps is None or method is None or timesteps is None:
            return steps
        if not method.takes_steps_at_once:
            raise ValueError(
                f"has to be null with {method.name} as chosen, which computes one time step after "
                "the other; saf-f, spike-representation, and saf-e with one update per sequence "
                "can take several"
            )
        if timesteps != "auto" and steps > timesteps:
            raise ValueError(f"is {steps}, and there are only {timesteps} timesteps")
        return steps

    @field_validator("precision")
    @classmethod
    def _counts_every_spike(cls, precision: Precision, info: ValidationInfo) -> Precision:
        neuron, timesteps = info.data.get("neuron"), info.data.get("timesteps")
        if precision != "bfloat16" or neuron is None or timesteps in (None, "auto"):
            return precision
        most = neuron.most_accumulated(timesteps)
        if most > MOST_IN_BFLOAT16:
            raise ValueError(
                f"bfloat16 has 8 significant bits: of more than {MOST_IN_BFLOAT16} accumulated "
                f"spikes the next one is lost, and here there may be {most:.0f}; take float32, "
                "fewer timesteps or neurons that decay faster"
            )
        return precision

    @model_validator(mode="after")
    def _augment_once(self) -> JobSpecification:
        names = {each if isinstance(each, str) else each.name for each in self.augment}
        if len(names) != len(self.augment):
            raise ValueError("augment names the same change twice")
        return self

    @field_validator("conversion")
    @classmethod
    def _exact_on_a_grid(cls, conversion: Conversion, info: ValidationInfo) -> Conversion:
        neuron, timesteps = info.data.get("neuron"), info.data.get("timesteps")
        asked = conversion.on_grid
        if not asked or neuron is None or timesteps is None:
            return conversion
        shown = info.data.get("input")
        if shown is not None and not shown.encoding.is_plain:
            raise ValueError(
                f"{asked} needs input.encoding.name = current, not {shown.encoding.name}: of "
                "other encodings nothing is proven"
            )
        method = info.data.get("method")
        if method is not None and method.readout in AT_THE_END:
            raise ValueError(
                f"{asked} needs the readout mean or weighted, not {method.readout}: of others "
                "nothing is proven"
            )
        if not neuron.fits_grid:
            raise ValueError(
                f"{asked} needs neurons for which a bound is known, not {neuron.name}: take "
                f"neuron.name = lif, or {asked} = null"
            )
        for needed in neuron.off_grid():
            raise ValueError(f"{asked} needs {needed}")
        if neuron.learns_decay != conversion.round_decays:
            if neuron.learns_decay:
                raise ValueError(
                    f"{asked} needs λ = 2^−n, and {neuron.name} learns others: set round_decays, "
                    "which delivers the nearest"
                )
            raise ValueError(
                f"round_decays rounds a λ that is learned, and that of {neuron.name} is not: leave "
                "it out"
            )
        # Quantised weights are for arithmetic with fewer bits than float64.
        double = info.data.get("precision") == "float64" and asked == "grid_bits"
        kind, more = "float32", ", and precision = float64 has 53" if asked == "grid_bits" else ""
        if double:
            kind, more = "float64", ""
        bits = SIGNIFICANT_BITS[kind]
        for decay in () if neuron.learns_decay else neuron.decays or (neuron.decay,):
            most = most_timesteps(decay, bits)
            if timesteps != "auto" and most is not None and timesteps > most:
                raise ValueError(
                    f"{asked} needs timesteps of at most {most} with λ = {decay:g}, not "
                    f"{timesteps}: of the {bits} bits of {kind} every step after the first takes "
                    f"{halvings(decay)}; a larger λ takes fewer, and 1 none{more}"
                )
        return conversion


class ResolvedSpecification(JobSpecification):
    """A training job whose automatic settings are numbers, see `saf.config.automatic`."""

    timesteps: Timesteps = TIMESTEPS
    epochs: Epochs
    validation_share: ValidationShare
    batch_size: BatchSize
    optimizer: Annotated[SGD | AdamW, Field(discriminator="name")]
    max_gradient_norm: GradientNorm | None

    @property
    def learning_rate(self) -> float:
        """The largest learning rate of the schedule."""
        rate = self.optimizer.learning_rate
        assert rate != "auto"
        return rate

    @property
    def samples_at_once(self) -> int:
        """Samples of the largest micro-batch."""
        return -(-self.batch_size // self.micro_batches)

    @field_validator("optimizer")
    @classmethod
    def _has_a_rate(cls, optimizer: SGD | AdamW) -> SGD | AdamW:
        if optimizer.learning_rate == "auto":
            raise ValueError("learning_rate has to be a number here")
        return optimizer


def as_before_validation(specification: Mapping[str, Any]) -> dict[str, Any]:
    """A specification as versions without validation samples wrote it, with what they did: train on
    all training samples, from published gains, and deliver the last weights."""
    completed = {"validation_share": 0.0, **specification}
    conversion, network = completed.get("conversion"), completed.get("network")
    completed["conversion"] = {"weights": "last", **(conversion or {})}
    if network is not None:
        completed["network"] = {"gain": 1.0, **network}
    return completed
