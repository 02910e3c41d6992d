"""Run a network of LIF neurons from its `lif.safetensors` with numpy and nothing else.

    u[t] = λ (u[t−1] − V s[t−1]) + Σ W s_in[t − delay] + b        s[t] = 1 where u[t] ≥ V, else 0

    network = Network("lif.safetensors")
    scores, spikes = network.run(images)  # N C H W in [0, 1]; frames: N T C H W, series: N T C
    network.class_names[scores[0].argmax()]   # spikes: by layer, N T and the layer's shape
    scores, _ = network.run(padded, lengths)  # of series that end before T: the scores at their end

    python lif_numpy.py lif.safetensors images.npy result.npz [lengths.npy]

The file: 8 bytes (little-endian) say how long its header is, the header is JSON, tensors follow at
the offsets that it gives. In `__metadata__` every value is JSON again. See the guide, "Format of
lif.safetensors".
"""

import json
import sys

import numpy as np

TYPES = {"F32": "<f4", "F64": "<f8", "F16": "<f2"}
NEURONS = ("lif", "cuba", "alif")
PARTS = {"rows": (0, 2, 1, 3), "columns": (0, 3, 1, 2), "pixels": (0, 2, 3, 1)}
ENCODINGS = ("current", "onoff", "delta", "rate", "latency")


class Network:
    def __init__(self, path):
        with open(path, "rb") as file:
            content = file.read()
        start = 8 + int.from_bytes(content[:8], "little")
        header = json.loads(content[8:start])
        of = {key: json.loads(value) for key, value in header.pop("__metadata__").items()}
        if of["format"] not in ("saf-lif/1", "saf-lif/2", "saf-lif/3"):
            raise ValueError(f"this program does not know the format {of['format']!r}")
        self.tensors = {}
        for name, entry in header.items():
            first, end = (start + offset for offset in entry["data_offsets"])
            values = np.frombuffer(content[first:end], TYPES[entry["dtype"]])
            self.tensors[name] = values.reshape(entry["shape"])
        self.type = next(iter(self.tensors.values())).dtype
        self.decay, self.steps, self.readout = of["decay"], of["timesteps"], of["readout"]
        self.readout = {"sum": "mean", "final": "weighted"}.get(self.readout, self.readout)
        self.plain = {"name": "lif", "decay": of["decay"], "threshold": of["threshold"]}
        self.neurons = of.get("neurons") or {}  # of layers that have others
        self.frames, self.grid, self.class_names = of["frames"], of["grid"], of["class_names"]
        self.encoding = of.get("encoding") or {"name": "current"}
        self.changes = self.frames or self.encoding["name"] in ("rate", "latency")
        for kind, known in ((self.encoding["name"], ENCODINGS), (self.readout, READOUTS)):
            if kind not in known:
                raise ValueError(f"this program does not know {kind!r}, but {', '.join(known)}")
        for layer, own in self.neurons.items():
            if own["name"] not in NEURONS:
                raise ValueError(f"this program does not know the neurons {own} of {layer}")
        self.image = of.get("image")  # where images are sequences of rows, columns or pixels
        self.mean, self.std = (np.array(of[name], self.type) for name in ("mean", "std"))
        self.exact = np.array(of["mean"])[:, None], np.array(of["std"])[:, None]
        all_ = of["architecture"]  # whose layers version 1 calls populations
        self.shape = (len(of["mean"]), *all_["input_shape"][1:])  # of an image, or of a frame
        self.layers = [*all_.get("layers", all_.get("populations")), all_["readout"]]
        self.depths = {}  # of what each source has sent: its longest delay
        for connection in (c for layer in self.layers for c in layer["connections"]):
            source, delay = connection["source"], connection.get("delay") or 0
            self.depths[source] = max(delay, self.depths.get(source, 0))

    def run(self, x, lengths=None):
        """Class scores, N K, and the spikes of every layer, by its name: N T …; of padded series,
        of which `lengths` (N) time steps are their own, the scores at their end."""
        x = np.asarray(x)
        if self.image and list(x.shape[1:]) == self.image["shape"]:
            x = x.transpose(PARTS[self.image["present"]]).reshape(len(x), self.steps, -1)
        x = x[..., None, None] if self.frames and x.ndim == 3 else x
        self.check(x)
        ends = np.full(len(x), self.steps) if lengths is None else np.asarray(lengths)
        if ends.shape != (len(x),) or ends.min() < 1 or ends.max() > self.steps:
            raise ValueError(f"lengths are {len(x)} whole numbers from 1 to {self.steps}")
        states, fired, scores = {}, {}, None
        s, past = {}, {}  # what each layer has sent last; what each source has sent before that
        total, memory = None, None  # of the readout; of the encoding
        for t in range(self.steps):
            if t == 0 or self.changes:  # else an image brings the same at each step
                values = self.normalised(x[:, t] if self.frames else x)
                pixels, memory = encoded(self.encoding, values, t, memory)
                arrived = {"input": pixels}
                constant = {e["name"]: self.of_input(e, arrived, past) for e in self.layers}
            for layer in self.layers[:-1]:
                name = layer["name"]
                current = self.arriving(layer, s, past, constant[name])
                if layer.get("relay"):
                    s[name] = current
                    continue
                states[name] = fire(self.neurons.get(name, self.plain), current, states.get(name))
                s[name] = states[name]["s"]
                shape = (len(x), self.steps, *s[name].shape[1:])
                fired.setdefault(name, np.zeros(shape, bool))[:, t] = s[name]
            last = self.layers[-1]
            current = self.arriving(last, s, past, constant[last["name"]])
            total = READOUTS[self.readout](current if total is None else total, current, self, t)
            now = total
            if self.readout == "weighted":
                now = total / sum(self.decay**k for k in range(t + 1))
            scores = now if scores is None else np.where((t < ends)[:, None], now, scores)
            for source, depth in self.depths.items():
                sent = pixels if source == "input" else s.get(source)
                past[source] = [*past.get(source, []), sent][-depth:] if depth else []
        return scores, fired

    def check(self, x):
        shape = (self.steps, *self.shape) if self.frames else self.shape
        if x.shape[1:] != shape or not len(x):
            raise ValueError(f"samples have the shape N {shape}, and these are {x.shape}")
        bounded = not self.frames or self.image or self.grid is not None
        if not np.isfinite(x).all() or (bounded and not 0 <= x.min() <= x.max() <= 1):
            raise ValueError("samples are finite numbers, those of images from 0 to 1")

    def normalised(self, x):
        per_channel = (-1, *(1,) * (x.ndim - 2))
        if self.grid is None:
            return (x.astype(self.type) - self.mean.reshape(per_channel)) / self.std.reshape(
                per_channel
            )
        # Pixels are looked up: each of 256 levels, normalised and rounded to 2^−input_bits.
        mean, std = self.exact
        unit = 2.0 ** self.grid["input_bits"]
        table = np.round((np.arange(256) / 255.0 - mean) / std * unit) / unit
        index = np.round(np.float32(x) * np.float32(255)).astype(int)
        return table[np.arange(len(table)).reshape(per_channel), index].astype(self.type)

    def of_input(self, layer, arrived, past):
        """What a layer gets from the input, and its bias."""
        bias = self.tensors[layer["name"] + ".bias"][None]
        current = self.arriving(layer, arrived, past, bias)
        if self.grid is None:
            return current
        return np.round(current * 2.0 ** self.grid["bits"]) / 2.0 ** self.grid["bits"]

    def arriving(self, layer, sent, past, total):
        """`total` and what comes over the connections whose source has `sent` something."""
        number = 0
        for connection in layer["connections"]:
            source, delay = connection["source"], connection.get("delay") or 0
            x = sent.get(source)
            if x is not None and delay:
                x = past[source][-delay] if len(past.get(source, [])) >= delay else 0 * x
            for operation in connection["operations"]:
                weight = None
                if operation["kind"] in ("conv", "conv1d", "linear"):
                    weight = self.tensors[f"{layer['name']}.{number}.weight"]
                    number += 1
                x = None if x is None else applied(operation, weight, x)
            if x is not None:
                total = (total[:, :, None, None] if total.ndim < x.ndim else total) + x
        return total


READOUTS = {  # from what there was before the time step t, and the output of this step
    "mean": lambda total, now, of, t: total + now if t else now,
    "weighted": lambda total, now, of, t: of.decay * total + now if t else now,
    "last": lambda total, now, of, t: now,
    "max": lambda total, now, of, t: np.maximum(total, now),
}


def fire(own, current, before):
    """Potentials u before the reset, spikes s, and what else neurons remember, after a step."""
    u, s, i, p = (before[key] if before else np.zeros_like(current) for key in "usip")
    if own["name"] == "cuba":  # a synapse between
        current = i = own["synaptic_decay"] * i + current
    u = own["decay"] * (u - own["threshold"] * s) + current
    above = u - own["threshold"]
    if own["name"] == "alif":  # spikes raise the threshold
        p = own["adaptation_decay"] * p + s
        above = above - own["adaptation"] * p
    return {"u": u, "s": (above >= 0).astype(u.dtype), "i": i, "p": p}


def encoded(how, x, t, memory):
    """What the first layer gets of normalised values at time step t, and what is remembered."""
    name = how["name"]
    if name == "current":
        return x, None
    if name in ("onoff", "delta"):  # what is above, and what is below, as channels of their own
        if name == "delta":
            levels = np.trunc(x / how["step"])
            x, memory = levels if memory is None else levels - memory, levels
        return np.concatenate([np.maximum(x, 0), np.maximum(-x, 0)], 1), memory
    share = x / (2 * how["deviations"]) + 0.5
    if name == "rate":
        place = np.arange(x[0].size).reshape(x.shape[1:])
        irrational = 0.6180339887498949 * t + 0.7548776662466927 * place
        limits = (irrational + 0.5698402909980532 * how["seed"]) % 1.0
        return (share > limits.astype(x.dtype)).astype(x.dtype), None
    if t % how["window"] == 0:  # latency: at which step of the window
        memory = np.floor((1 - np.clip(share, 0, 1)) * how["window"])
    return (memory == t % how["window"]).astype(x.dtype), memory


def applied(operation, weight, x):
    kind, of_rows = operation["kind"], operation["kind"].endswith("1d")
    if kind in ("conv", "conv1d"):
        sides = [(1, 0) if of_rows else (operation["stride"], operation["padding"])]
        sides.append((operation["stride"], operation["padding"]))
        return convolved(x, weight, sides, operation["groups"])
    if kind == "linear":
        return x @ weight.T
    if "pool" in kind:
        n, m = 1 if of_rows else operation["kernel"], operation["kernel"]
        h, w = x.shape[2] // n, x.shape[3] // m
        sums = x[:, :, : h * n, : w * m].reshape(*x.shape[:2], h, n, w, m).sum((3, 5))
        return sums if kind.startswith("sum") else sums / (n * m)
    if kind == "upsample":
        return x.repeat(operation["factor"], 2).repeat(operation["factor"], 3)
    if kind == "in_a_row":
        return x.reshape(len(x), operation["maps"], 1, -1)
    return x * x.dtype.type(operation["factor"]) if kind == "scale" else x.reshape(len(x), -1)


def convolved(x, weight, sides, groups):
    """`sides`: stride and padding, in height and in width."""
    (up, high), (along, wide) = sides
    x = np.pad(x, ((0, 0), (0, 0), (high, high), (wide, wide)))
    windows = np.lib.stride_tricks.sliding_window_view(x, weight.shape[2:], (2, 3))
    windows = windows[:, :, ::up, ::along]  # N C h w and the kernel
    parts = zip(np.split(windows, groups, 1), np.split(weight, groups), strict=True)
    maps = [np.tensordot(part, own, ((1, 4, 5), (1, 2, 3))) for part, own in parts]
    return np.concatenate(maps, axis=3).transpose(0, 3, 1, 2)


if __name__ == "__main__":
    lengths = np.load(sys.argv[4]) if len(sys.argv) > 4 else None
    scores, spikes = Network(sys.argv[1]).run(np.load(sys.argv[2]), lengths)
    np.savez(sys.argv[3], scores=scores, **{f"s_{name}": fired for name, fired in spikes.items()})
