"""Run a network of LIF neurons from its `lif.safetensors` with numpy and nothing else.

    u[t] = λ (u[t−1] − V s[t−1]) + Σ W s_in[t] + b        s[t] = 1 where u[t] ≥ V, else 0

    network = Network("lif.safetensors")
    scores, spikes = network.run(images)  # N C H W in [0, 1]; frames: N T C H W, series: N T C
    network.class_names[scores[0].argmax()]   # spikes: by layer, N T and the layer's shape

    python lif_numpy.py lif.safetensors images.npy result.npz

The file: 8 bytes (little-endian) say how long its header is, the header is JSON, tensors follow at
the offsets that it gives. In `__metadata__` every value is JSON again. See the guide, "Format of
lif.safetensors".
"""

import json
import sys

import numpy as np

TYPES = {"F32": "<f4", "F64": "<f8", "F16": "<f2"}
PARTS = {"rows": (0, 2, 1, 3), "columns": (0, 3, 1, 2), "pixels": (0, 2, 3, 1)}


class Network:
    def __init__(self, path):
        with open(path, "rb") as file:
            content = file.read()
        start = 8 + int.from_bytes(content[:8], "little")
        header = json.loads(content[8:start])
        of = {key: json.loads(value) for key, value in header.pop("__metadata__").items()}
        if of["format"] not in ("saf-lif/1", "saf-lif/2", "saf-lif/3"):
            raise ValueError(f"this program does not know the format {of['format']!r}")
        if of.get("neurons"):
            raise ValueError(f"this program does not know the neurons {of['neurons']}")
        self.tensors = {}
        for name, entry in header.items():
            first, end = (start + offset for offset in entry["data_offsets"])
            values = np.frombuffer(content[first:end], TYPES[entry["dtype"]])
            self.tensors[name] = values.reshape(entry["shape"])
        self.decay, self.threshold, self.steps = of["decay"], of["threshold"], of["timesteps"]
        self.weighted = of["readout"] in ("weighted", "final")  # `final` in version 1
        self.frames, self.grid, self.class_names = of["frames"], of["grid"], of["class_names"]
        self.encoding = (of.get("encoding") or {"name": "current"})["name"]
        if self.encoding not in ("current", "onoff"):
            raise ValueError(f"this program does not know the encoding {self.encoding}")
        self.image = of.get("image")  # where images are sequences of rows, columns or pixels
        self.mean, self.std = np.array(of["mean"]), np.array(of["std"])
        all_ = of["architecture"]  # whose layers version 1 calls populations
        self.layers = [*all_.get("layers", all_.get("populations")), all_["readout"]]
        heard = [c for layer in self.layers for c in layer["connections"]]
        kinds = {operation["kind"] for c in heard for operation in c["operations"]}
        if any(c.get("delay") for c in heard) or any("1d" in k or "row" in k for k in kinds):
            raise ValueError("this program does not know delays, nor maps of one dimension")
        self.type = next(iter(self.tensors.values())).dtype

    def run(self, x):
        """Class scores, N K, and the spikes of every layer, by its name: N T …"""
        if self.image and x.ndim == 4:
            x = x.transpose(PARTS[self.image["present"]]).reshape(len(x), self.steps, -1)
        x = x[..., None, None] if self.frames and x.ndim == 3 else x
        fired, u, s = {}, {}, {}  # spikes; potentials; what each layer has sent last
        total = 0.0
        for t in range(self.steps):
            if t == 0 or self.frames:  # an image brings the same at each step
                pixels = self.normalised(x[:, t] if self.frames else x)
                if self.encoding == "onoff":  # above the mean, and below it
                    pixels = np.concatenate([np.maximum(pixels, 0), np.maximum(-pixels, 0)], 1)
                constant = {layer["name"]: self.of_input(layer, pixels) for layer in self.layers}
            for layer in self.layers:
                name = layer["name"]
                current = self.arriving(layer, s, constant[name])
                if layer is self.layers[-1]:
                    total = (self.decay if self.weighted else 1.0) * total + current
                elif layer.get("relay"):
                    s[name] = current
                else:
                    if name in u:
                        current = self.decay * (u[name] - self.threshold * s[name]) + current
                    u[name] = current.astype(self.type)
                    s[name] = (u[name] >= self.threshold).astype(self.type)
                    shape = (len(x), self.steps, *s[name].shape[1:])
                    fired.setdefault(name, np.zeros(shape, bool))[:, t] = s[name]
        if self.weighted:
            total = total / sum(self.decay**k for k in range(self.steps))
        return total, fired

    def normalised(self, x):
        per_channel = (-1, *(1,) * (x.ndim - 2))
        if self.grid is None:
            mean, std = (each.reshape(per_channel) for each in (self.mean, self.std))
            return ((x - mean) / std).astype(self.type)
        # Pixels are looked up: each of 256 levels, normalised and rounded to 2^−input_bits.
        levels = np.arange(256) / 255.0
        unit = 2.0 ** self.grid["input_bits"]
        table = np.round((levels - self.mean[:, None]) / self.std[:, None] * unit) / unit
        index = np.round(np.float32(x) * np.float32(255)).astype(int)
        return table[np.arange(len(table)).reshape(per_channel), index].astype(self.type)

    def of_input(self, layer, pixels):
        """What a layer gets from the input, and its bias."""
        bias = self.tensors[layer["name"] + ".bias"][None]
        current = self.arriving(layer, {"input": pixels}, bias)
        if self.grid is None:
            return current
        return np.round(current * 2.0 ** self.grid["bits"]) / 2.0 ** self.grid["bits"]

    def arriving(self, layer, sent, total):
        """`total` and what comes over the connections whose source has sent something."""
        number = 0
        for connection in layer["connections"]:
            heard = connection["source"] in sent
            x = sent[connection["source"]] if heard else None
            for operation in connection["operations"]:
                weight = None
                if operation["kind"] in ("conv", "linear"):
                    weight = self.tensors[f"{layer['name']}.{number}.weight"]
                    number += 1
                x = applied(operation, weight, x) if heard else None
            if heard:
                total = (total[:, :, None, None] if total.ndim < x.ndim else total) + x
        return total


def applied(operation, weight, x):
    kind = operation["kind"]
    if kind == "conv":
        return convolved(x, weight, operation["stride"], operation["padding"], operation["groups"])
    if kind == "linear":
        return x @ weight.T
    if kind in ("sum_pool", "average_pool"):
        n = operation["kernel"]
        h, w = x.shape[2] // n, x.shape[3] // n
        sums = x[:, :, : h * n, : w * n].reshape(*x.shape[:2], h, n, w, n).sum((3, 5))
        return sums if kind == "sum_pool" else sums / n**2
    if kind == "upsample":
        return x.repeat(operation["factor"], 2).repeat(operation["factor"], 3)
    return x * x.dtype.type(operation["factor"]) if kind == "scale" else x.reshape(len(x), -1)


def convolved(x, weight, stride, padding, groups):
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    windows = np.lib.stride_tricks.sliding_window_view(x, weight.shape[2:], (2, 3))
    windows = windows[:, :, ::stride, ::stride]  # N C h w kernel kernel
    parts = zip(np.split(windows, groups, 1), np.split(weight, groups), strict=True)
    maps = [np.tensordot(part, own, ((1, 4, 5), (1, 2, 3))) for part, own in parts]
    return np.concatenate(maps, axis=3).transpose(0, 3, 1, 2)


if __name__ == "__main__":
    scores, spikes = Network(sys.argv[1]).run(np.load(sys.argv[2]))
    np.savez(sys.argv[3], scores=scores, **{f"s_{name}": fired for name, fired in spikes.items()})
