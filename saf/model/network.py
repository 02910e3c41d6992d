"""The spiking network: its weights, its neurons and the normalisation of its input.

`saf.model.forward` has the forward passes, with SAF neurons and with LIF neurons.

Shapes: `T` time steps, `B` samples, `C H W` one image or frame, `K` classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy, deepcopy

import torch
from torch import Tensor

from saf.config import JobSpecification
from saf.config import Neuron as NeuronSettings
from saf.config.encodings import ENCODING, Encoding
from saf.config.methods import Readout
from saf.config.presentation import ImageSequence, image_sequence
from saf.errors import UserConfigError
from saf.kernels.precision import compute_dtype, parameter_dtype
from saf.model.dropout import dropout_masks
from saf.model.forward.presentation import NO_DROPOUT, Constants, Effective, Masks, Presentation
from saf.model.forward.readout import scores_of
from saf.model.inputs import Frames, Stimulus, divisors, with_pixels
from saf.model.layers import Layer, Map, Wire, wires_of
from saf.model.operations import channels_last, without_scales
from saf.networks.architecture import INPUT, Architecture, Connection, Conv, Shape
from saf.neurons.base import Neuron


class SpikingNetwork(torch.nn.Module):
    """An `Architecture` with weights, neurons and the normalisation of its input.

    Called with images or event frames it returns class scores, which are differentiable. Its
    children are `Layer`s by name, and theirs the maps of each layer. A forward hook on a layer sees
    the outputs of its sources and its own output: its spike accumulation â at the K time steps that
    are computed at once (K · B …).

    Parameters of a layer `layer1`: `layer1.0.weight` (and `layer1.0.gain` where it is standardised,
    `layer1.0.residual_gain` where it has one) for its first convolution or linear map, numbered
    over all its connections, and `layer1.bias`, one per channel or feature. The modules keep no
    recurrent state.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        architecture: Architecture,
        neuron: NeuronSettings,
        *,
        mean: Sequence[float],
        std: Sequence[float],
        seed: int | None,
        compute_dtype: torch.dtype | None = None,
        timesteps: int | None = None,
        readout: Readout | None = None,
        neurons: Mapping[str, Neuron] | None = None,
        encoding: Encoding | None = None,
        image: ImageSequence | None = None,
    ) -> None:
        """Draw the weights from `seed` (None: from the operating system); no global generator.

        `mean` and `std` are per input channel. `compute_dtype` is the type of the arithmetic where
        it is not that of the parameters (bfloat16 with float32 parameters); `.to` changes that of
        the parameters. `timesteps` and `readout` are those of a call (None: `mean`). `neurons` are
        those of single layers where they are others than `neuron` says. `encoding` is that of the
        input, of which the architecture has the channels (None: values are currents). `image` says
        that images are shown as a sequence, of whose time steps `mean` and `std` then are. Raises
        ValueError.

        Initialisation as in the code published with OTTT: convolutions Kaiming-normal over the
        fan-out (std = sqrt(2 / (out_channels / groups · k²))), linear maps normal with 0.01, gains
        1 unless the architecture says otherwise, biases 0, and feedback connections 0. Learned
        delays are drawn evenly over their span. Standardised linear maps, which it does not have,
        start like convolutions: the smaller a standardised weight, the faster it turns, and at 0.01
        an MLP does not learn.
        """
        super().__init__()
        self.encoding, self.image = encoding or ENCODING.default(), image
        channels = len(mean)
        encoded = self.encoding.channels(channels)
        if len(std) != channels or encoded != architecture.input_shape[0]:
            raise ValueError(
                f"mean and std are needed for each of the input channels, which become "
                f"{architecture.input_shape[0]}"
            )
        if min(std) <= 0:
            raise ValueError("the standard deviation of an input channel must be positive")
        self.architecture = architecture
        self.neuron = neuron
        self.compute_dtype = compute_dtype
        self.timesteps, self.readout_kind = timesteps, readout
        shapes, neurons = architecture.shapes(), dict(neurons or {})
        spiking = {layer.name: number for number, layer in enumerate(architecture.spiking)}
        if neuron.decays and len(neuron.decays) != len(spiking):
            raise ValueError(
                f"the neuron has {len(neuron.decays)} decays for {len(spiking)} spiking layers"
            )
        for layer in (*architecture.layers, architecture.readout):
            name = layer.name
            if hasattr(self, name):
                raise ValueError(f"a layer cannot be named {name}")
            of_layer = None
            if not layer.relay and layer is not architecture.readout:
                of_layer = neurons.pop(name, None)
                of_layer = of_layer or neuron.of_layer(spiking[name]).neurons(shapes[name])
            self.add_module(name, Layer(layer, shapes, of_layer, filters=(neuron.decay,)))
        if neurons:
            raise ValueError(f"there is no spiking layer {next(iter(neurons))!r} for its neurons")
        per_channel = (channels, *(1,) * (len(architecture.input_shape) - 1))
        self.register_buffer("mean", torch.tensor(mean).view(per_channel))
        self.register_buffer("std", torch.tensor(std).view(per_channel))
        generator = torch.Generator()
        if seed is None:
            generator.seed()
        else:
            generator.manual_seed(seed)
        self._initialise(generator)

    @torch.no_grad()
    def _initialise(self, generator: torch.Generator) -> None:
        known = {INPUT}
        for layer in (*self.layers, self.readout_layer):
            for connection, maps in layer.connected():
                for own in maps:
                    weight, operation = own.weight, own.operation
                    groups = operation.groups if isinstance(operation, Conv) else 1
                    fan_out = weight.shape[0] // groups * math.prod(weight.shape[2:])
                    kaiming = isinstance(operation, Conv) or operation.standardised
                    std = math.sqrt(2.0 / fan_out) if kaiming else 0.01
                    weight.normal_(0.0, std, generator=generator)
                    if own.centre is not None:
                        own.centre.uniform_(generator=generator)
                if connection.source not in known and maps:
                    maps[-1].weight.zero_()
            known.add(layer.name)

    def forward(self, x: Tensor, timesteps: int | None = None) -> Tensor:
        """Class scores B K of images B C H W or event frames B T C H W with values in [0, 1], or
        of series B T C with values of any sign.

        The scores are Σ_t (W s[t] + b) where `readout_kind` is `mean` or None, W (â[T] / c[T]) + b
        where it is `weighted`. `timesteps` is T (None: that of the network, or the number of
        frames). Gradients are those of SAF: by surrogate derivatives, with the past detached, for
        bias and input by their traces. In training mode neuron dropout draws from torch's global
        generator.
        Raises ValueError, and UserConfigError for frames of another number.
        """
        if timesteps is None:
            timesteps = self.timesteps
        x = self._sequence(x)
        if timesteps is None and x.dim() == len(self.architecture.input_shape) + 2:
            timesteps = x.shape[1]
        if timesteps is None:
            raise ValueError(
                "the number of time steps is not known: call network(x, timesteps), or give "
                "timesteps to SpikingNetwork"
            )
        masks = dropout_masks(self, len(x), None) if self.training else NO_DROPOUT
        shown = present(self, self.stimulus(x, timesteps), masks)
        return scores_of(shown, timesteps, self.readout_kind or "mean")

    def _sequence(self, x: Tensor) -> Tensor:
        """Images that are shown as sequences as these, and series with the axes of a pixel."""
        if self.image is not None:
            x = self.image.sequence(x)
        return with_pixels(x, self.sample_shape, len(self.sample_shape) + 2)

    @property
    def sample_shape(self) -> Shape:
        """Shape of a sample, or of a time step of it, before it is encoded."""
        return (self.mean.shape[0], *self.architecture.input_shape[1:])

    @property
    def layers(self) -> tuple[Layer, ...]:
        """All layers but the readout, relays included, in the order in which they are computed."""
        return tuple(self._layer(layer.name) for layer in self.architecture.layers)

    @property
    def readout_layer(self) -> Layer:
        """The layer that gives the scores."""
        return self._layer(self.architecture.readout.name)

    def _layer(self, name: str) -> Layer:
        layer = self._modules[name]
        assert isinstance(layer, Layer)
        return layer

    @torch.no_grad()
    def scale(self, name: str, factor: float) -> None:
        """Multiply the input current of layers by `factor`, except for biases and feedback: the
        last map of each connection is scaled, by its gain or that of its branch if it has one."""
        known = {INPUT}
        for layer in (*self.layers, self.readout_layer):
            if layer.name == name:
                for connection, maps in layer.connected():
                    if connection.source in known and maps:
                        maps[-1].scale(factor)
            known.add(layer.name)

    def with_neuron(self, neuron: NeuronSettings) -> SpikingNetwork:
        """The same network with other neurons in all layers; weights and biases are shared."""
        numbers = {layer.name: n for n, layer in enumerate(self.architecture.spiking)}
        return self._with_neurons(
            neuron, lambda layer: neuron.of_layer(numbers[layer.name]).neurons(layer.shape)
        )

    def with_threshold(self, threshold: float) -> SpikingNetwork:
        """The same network with another V in all layers, and the constants of neurons that have
        been learned; weights and biases are shared."""

        def neurons(layer: Layer) -> Neuron:
            changed = layer.neurons.fold().model_copy(update={"threshold": threshold})
            return changed.neurons(layer.shape)

        return self._with_neurons(self.neuron.model_copy(update={"threshold": threshold}), neurons)

    def _with_neurons(
        self, neuron: NeuronSettings, neurons: Callable[[Layer], Neuron]
    ) -> SpikingNetwork:
        other = copy(self)
        other.neuron = neuron
        other._modules = {}
        for layer in (*self.layers, self.readout_layer):
            of_layer = None if layer.neuron is None else neurons(layer)
            other._modules[layer.name] = layer.with_neuron(of_layer, (neuron.decay,))
        return other

    @property
    def dtype(self) -> torch.dtype:
        """Type of the arithmetic."""
        return self.compute_dtype or self.parameter_dtype

    @property
    def parameter_dtype(self) -> torch.dtype:
        """Type of the parameters, the scores and the loss."""
        return next(self.parameters()).dtype

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @property
    def classes(self) -> int:
        """K"""
        return self.architecture.shapes()[self.architecture.readout.name][0]

    @torch.no_grad()
    def with_weights(self, weights: Mapping[str, Tensor]) -> SpikingNetwork:
        """A copy with these parameters, by name."""
        copy = deepcopy(self)
        for name, parameter in copy.named_parameters():
            parameter.copy_(weights[name])
        return copy

    def normalise(self, x: Tensor) -> Tensor:
        """(x − mean) / std of B C H W or B T C H W, on the network's device."""
        mean, std = self.mean, self.std
        return (x.to(mean) - mean) / std

    def effective(self) -> dict[str, Effective]:
        """Effective weights of every layer and of the readout, by name, with their graph.

        Weights are standardised here, once per sequence and not once per time step.
        """

        def plain(connection: Connection, maps: tuple[Map, ...]) -> Iterator[Wire]:
            weights = [own.effective() for own in maps]
            return wires_of(connection, connection.operations, weights, maps, self.dtype)

        return self._effective(plain)

    def folded(self) -> dict[str, Effective]:
        """Effective weights to compute with: the constant factors of a connection are folded
        into its last weight, and weights of convolutions have the channels last."""

        def fold(connection: Connection, maps: tuple[Map, ...]) -> Iterator[Wire]:
            operations, factor = without_scales(connection.operations)
            if not maps:
                return wires_of(connection, connection.operations, (), (), self.dtype)
            factors = [1.0] * (len(maps) - 1) + [factor]
            weights = [
                own.folded(f, self.dtype if own.centre is None else self.parameter_dtype)
                for own, f in zip(maps, factors, strict=True)
            ]
            return wires_of(connection, operations, weights, maps, self.dtype)

        return self._effective(fold)

    def _effective(
        self, wires: Callable[[Connection, tuple[Map, ...]], Iterator[Wire]]
    ) -> dict[str, Effective]:
        return {
            layer.name: Effective(
                tuple(wire for connected in layer.connected() for wire in wires(*connected)),
                layer.shaped_bias().to(self.dtype),
            )
            for layer in (*self.layers, self.readout_layer)
        }

    def stimulus(self, x: Tensor, timesteps: int) -> Stimulus:
        """Normalise and encode `x`, images B C H W or event frames B T C H W with values in [0, 1],
        or series
        B T C.

        Raises UserConfigError when the frames are not `timesteps` many, ValueError when the shape
        is another than the network's.
        """
        shape = self.sample_shape
        if timesteps < 1:
            raise ValueError(f"a sequence has at least 1 time step, not {timesteps}")
        x = self._sequence(x)
        if x.dim() not in (len(shape) + 1, len(shape) + 2) or x.shape[-len(shape) :] != shape:
            raise ValueError(
                f"the network takes images of {shape} (or frames, with the time steps before), "
                f"and got a batch of {tuple(x.shape)}"
            )
        if x.dim() == len(shape) + 1:
            if INPUT in self.architecture.delays:
                raise UserConfigError(
                    "the network delays its input, and an image is the same at every time step",
                    hint="Give it data in time, or choose a network that does not delay its input.",
                )
            image = self.normalise(x)
            if not self.encoding.over_time:
                encoded, _ = self.encoding.encoded(image[None], None, 0)
                return Stimulus(encoded[0].to(self.dtype), None)
            return self._frames(
                lambda first, end: image.expand(end - first, *image.shape), timesteps
            )
        if x.shape[1] != timesteps:
            raise UserConfigError(
                f"the samples have {x.shape[1]} frames and the job asks for {timesteps} time steps",
                hint=f"set timesteps to {x.shape[1]}, or bring the samples to {timesteps} frames",
            )
        return self._frames(
            lambda first, end: self.normalise(x[:, first:end]).transpose(0, 1), timesteps
        )

    def _frames(self, shown: Callable[[int, int], Tensor], timesteps: int) -> Stimulus:
        """What the first layer gets of `shown`, (first, end) → K B C H W, normalised."""

        def made(first: int, steps: int, memory: Tensor | None) -> tuple[Tensor, Tensor | None]:
            encoded, memory = self.encoding.encoded(shown(first, first + steps), memory, first)
            return channels_last(encoded.to(self.dtype)), memory

        behind = self.architecture.delays.get(INPUT, 0)
        return Stimulus(None, Frames(made, timesteps, behind))


def network_of(
    specification: JobSpecification,
    architecture: Architecture,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    shape: Shape | None = None,
) -> SpikingNetwork:
    """The network of a job before its training, on the CPU; in bfloat16 its parameters are float32.

    `mean` and `std` are those of each input channel in the training data; a network may bring its
    own. `shape` is that of a sample, C H W, where images are shown as sequences.
    """
    std = divisors(std)
    image = None if shape is None else image_sequence(specification.input.present, shape)
    if image is not None:
        mean, std = image.of_each_value(mean), image.of_each_value(std)
    if specification.network.normalisation is not None:
        mean, std = specification.network.normalisation
    network = SpikingNetwork(
        architecture,
        specification.neuron,
        mean=mean,
        std=std,
        seed=specification.seed,
        compute_dtype=compute_dtype(specification.precision),
        timesteps=None if specification.timesteps == "auto" else specification.timesteps,
        readout=specification.method.readout,
        encoding=specification.input.encoding,
        image=image,
    )
    return network.to(parameter_dtype(specification.precision))


def present(network: SpikingNetwork, stimulus: Stimulus, masks: Masks = NO_DROPOUT) -> Presentation:
    """Present `stimulus` to `network` with its current weights; the graph leads to the
    parameters."""
    effective, stimulus = network.folded(), stimulus.channels_last()
    constant = Constants(network, stimulus, effective)
    return Presentation(network, stimulus, effective, constant, masks)
