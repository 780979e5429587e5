"""The equations of RNNPool in NumPy, step after step, patch after patch; and EdgeML's networks by its names.

Nothing here shares code with the zoo.  Complex numbers pass through the equations, so an imaginary step
gives derivatives to the last digit.
"""

from collections.abc import Callable

import numpy as np

SHAPES = {  # side of the patch, channels, states of both cells
    "vww": (6, 8, 8, 8),
    "face_c": (8, 3, 16, 16),
    "face_quant": (8, 4, 8, 8),
    "face_m4": (8, 4, 16, 16),
    "unequal": (5, 3, 4, 6),
    "mobilenet_v2": (6, 32, 16, 16),
    "vww_2": (7, 320, 80, 80),
}
SMOOTH = ("sigmoid", "tanh")
LINES = ("quant_sigmoid", "quant_tanh")


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def _clip(x, low, high):
    return np.where(x.real < low, low, np.where(x.real > high, high, x))


NONLINEARITIES: dict[str, Callable] = {
    "sigmoid": sigmoid,
    "tanh": np.tanh,
    "relu": lambda x: np.where(x.real > 0, x, 0),
    "quant_tanh": lambda x: _clip(x, -1, 1),
    "quant_sigmoid": lambda x: _clip((x + 1) / 2, 0, 1),
    "quant_sigmoid4": lambda x: _clip((x + 2) / 4, 0, 1),
}


def cell(p, x, h, gate, update):
    a = x @ p["W"] + h @ p["U"]
    z = NONLINEARITIES[gate](a + p["bias_gate"])
    c = NONLINEARITIES[update](a + p["bias_update"])
    return z * h + (sigmoid(p["zeta"]) * (1 - z) + sigmoid(p["nu"])) * c


def last_state(p, sequence, gate, update):
    h = np.zeros(p["U"].shape[0])
    for x in sequence:
        h = cell(p, x, h, gate, update)
    return h


def rnn_pool(params, patch, gate, update):
    """Returns the vector of one patch [p, p, k]."""
    side = len(patch)

    def first(line):
        return last_state(params["rnn1"], line, gate, update)

    def second(summaries):
        return last_state(params["rnn2"], summaries, gate, update)

    rows = [first([patch[i, j] for j in range(side)]) for i in range(side)]
    columns = [first([patch[i, j] for i in range(side)]) for j in range(side)]
    return np.concatenate(
        [second(rows), second(rows[::-1]), second(columns), second(columns[::-1])]
    )


def random_cell(rng, inputs, hidden):
    """Returns a cell whose zeta and nu are not saturated."""
    return {
        "W": rng.normal(size=(inputs, hidden)) / np.sqrt(inputs),
        "U": rng.normal(size=(hidden, hidden)) / np.sqrt(hidden),
        "bias_gate": rng.normal(size=hidden),
        "bias_update": rng.normal(size=hidden),
        "zeta": np.array(0.7),
        "nu": np.array(-1.2),
    }


def random_params(rng, inputs, first, second):
    return {"rnn1": random_cell(rng, inputs, first), "rnn2": random_cell(rng, first, second)}


class Torch:
    """Layers as EdgeML's modules have them, NCHW; a tensor is drawn when its name is first used.

    Attributes:
      state: Tensors by name.
    """

    def __init__(self, seed=0):
        self._rng = np.random.default_rng(seed)
        self.state = {}

    def tensor(self, name, *shape, positive=False):
        if name not in self.state:
            values = self._rng.normal(size=shape) * 0.4
            values = np.abs(values) + 0.5 if positive else values
            # Float32 holds them exactly, so that networks may be compared in more digits.
            self.state[name] = values.astype(np.float32).astype(np.float64)
        return self.state[name]

    def conv(self, name, x, features, kernel, *, stride=1, padding=0, groups=1, bias=False):
        weight = self.tensor(f"{name}.weight", features, x.shape[1] // groups, kernel, kernel)
        x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
        windows = np.lib.stride_tricks.sliding_window_view(x, (kernel, kernel), (2, 3))
        windows = windows[:, :, ::stride, ::stride]  # [b, c, h, w, kh, kw]
        if groups == 1:
            y = np.einsum("bchwij,ocij->bohw", windows, weight)
        else:
            y = np.einsum("bchwij,cij->bchw", windows, weight[:, 0])
        return y + self.tensor(f"{name}.bias", features)[None, :, None, None] if bias else y

    def norm(self, name, x):
        c = x.shape[1]
        weight = self.tensor(f"{name}.weight", c, positive=True)
        bias, mean = self.tensor(f"{name}.bias", c), self.tensor(f"{name}.running_mean", c)
        var = self.tensor(f"{name}.running_var", c, positive=True)
        self.state[f"{name}.num_batches_tracked"] = np.array(7)
        wide = (slice(None), None, None)
        return (x - mean[wide]) / np.sqrt(var[wide] + 1e-5) * weight[wide] + bias[wide]

    def conv_norm(self, name, x, features, kernel, *, stride=1, groups=1):
        padding = (kernel - 1) // 2
        x = self.conv(
            f"{name}.0", x, features, kernel, stride=stride, padding=padding, groups=groups
        )
        return np.clip(self.norm(f"{name}.1", x), 0, 6)

    def inverted_residual(self, name, x, features, *, stride, expansion):
        wide, y, at = x.shape[1] * expansion, x, 0
        if expansion != 1:
            y, at = self.conv_norm(f"{name}.conv.0", y, wide, 1), 1
        y = self.conv_norm(f"{name}.conv.{at}", y, wide, 3, stride=stride, groups=wide)
        y = self.norm(f"{name}.conv.{at + 2}", self.conv(f"{name}.conv.{at + 1}", y, features, 1))
        return x + y if stride == 1 and features == x.shape[1] else y

    def l2_norm(self, name, x):
        weight = self.tensor(f"{name}.weight", x.shape[1], positive=True)
        return weight[:, None, None] * x / (np.sqrt((x**2).sum(1, keepdims=True)) + 1e-10)

    def rnn_pool(self, name, x, patch, stride, hidden, *, pad=True):
        """Returns the pooled map, its last row and column repeated."""
        params = {}
        for ours, there, inputs in (
            ("rnn1", "cell_rnn", x.shape[1]),
            ("rnn2", "cell_bidirrnn", hidden),
        ):
            at = f"{name}.{there}.cell"
            shapes = {"W": (inputs, hidden), "U": (hidden, hidden)}
            shapes |= dict.fromkeys(("bias_gate", "bias_update"), (1, hidden))
            params[ours] = {n: self.tensor(f"{at}.{n}", *shape) for n, shape in shapes.items()}
            params[ours] |= {n: self.tensor(f"{at}.{n}", 1, 1) for n in ("zeta", "nu")}
            copies = ("RNNCell",) if ours == "rnn1" else ("RNNCell", "RNNCell_reverse")
            for copy in copies:
                for n, values in params[ours].items():
                    self.state[f"{name}.{there}.unrollRNN.{copy}.{n}"] = values
            params[ours] = {n: v if n in "WU" else v.reshape(-1) for n, v in params[ours].items()}
        height, width = ((size - patch) // stride + 1 for size in x.shape[2:])
        y = np.zeros((len(x), 4 * hidden, height, width))
        for b, i, j in np.ndindex(len(x), height, width):
            piece = x[b, :, i * stride : i * stride + patch, j * stride : j * stride + patch]
            y[b, :, i, j] = rnn_pool(params, piece.transpose(1, 2, 0), "sigmoid", "tanh")
        return np.pad(y, ((0, 0), (0, 0), (0, 1), (0, 1)), mode="edge") if pad else y


def wake_word(torch, x, *, pool_last):
    """Returns the logits of images [b, 3, h, w] by EdgeML's wake word networks."""
    x = torch.conv_norm("features_init", x, 8, 3, stride=2)
    x = torch.rnn_pool("rnn_model", x, 6, 4, 8)
    strides = (2, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1)
    channels = (24,) * 4 + (32,) * 3 + (56,) * 3 + (112,)
    for i, (stride, features) in enumerate(zip(strides, channels, strict=True)):
        x = torch.inverted_residual(f"features.{i}", x, features, stride=stride, expansion=6)
    x = torch.conv_norm("features.11", x, 320, 1)
    if pool_last:
        x, head = torch.rnn_pool("rnn_model_end", x, x.shape[2], 1, 80, pad=False)[:, :, 0, 0], 0
    else:
        x, head = x.mean((2, 3)), 1
    weight = torch.tensor(f"classifier.{head}.weight", 2, 320)
    return x @ weight.T + torch.tensor(f"classifier.{head}.bias", 2)


def _heads(torch, sources, kernels, *, reduced=False):
    boxes, scores = [], []
    for i, (x, kernel) in enumerate(zip(sources, kernels, strict=True)):
        outputs = []
        for kind, features in (("loc", 4), ("conf", 4 if i == 0 else 2)):
            y, at = x, i
            if reduced:
                at = i + 1
                y = torch.conv_norm(f"{kind}.0", x, 8, 3, stride=2) if i == 0 else x
            outputs.append(
                torch.conv(f"{kind}.{at}", y, features, kernel, padding=kernel // 2, bias=True)
            )
        loc, conf = outputs
        if i == 0:
            conf = np.concatenate([conf[:, :3].max(1, keepdims=True), conf[:, 3:]], 1)
        boxes.append(loc.transpose(0, 2, 3, 1).reshape(len(loc), -1, 4))
        scores.append(conf.transpose(0, 2, 3, 1).reshape(len(conf), -1, 2))
    return np.concatenate(boxes, 1), np.concatenate(scores, 1)


def face_m4(torch, x):
    """Returns boxes and scores of grey images [b, 1, h, w], the mean subtracted, by `RPool_Face_M4`."""
    x = torch.conv_norm("conv", x, 4, 3, stride=2)
    x = torch.rnn_pool("rnn_model", x, 8, 4, 16)
    sources = []
    for i, (features, stride) in enumerate([(32, 1), (32, 1), (64, 2), (64, 1)]):
        x = torch.inverted_residual(f"mob.{i}", x, features, stride=stride, expansion=2)
        norms = ("L2Norm3_3", "L2Norm4_3", "L2Norm5_3")
        sources.append(torch.l2_norm(norms[i], x) if i < 3 else x)
    return _heads(torch, sources, (3, 3, 3, 3))


def face_quant(torch, x):
    """Returns boxes and scores of images [b, 3, h, w], the mean subtracted, by `RPool_Face_Quant`."""
    x = torch.conv_norm("conv_top.0", x, 4, 3, stride=2)
    x = torch.conv_norm("conv_top.1", x, 4, 3)
    sources = [torch.l2_norm("L2Norm3_3", x)]
    x = torch.rnn_pool("rnn_model", x, 8, 4, 8)
    block = 0
    rows = [
        (16, 4, 1, "L2Norm4_3"),
        (24, 4, 2, "L2Norm5_3"),
        (32, 2, 2, ""),
        (64, 1, 2, ""),
        (96, 1, 2, ""),
    ]
    for features, count, first_stride, norm in rows:
        for i in range(count):
            stride = first_stride if i == 0 else 1
            x = torch.inverted_residual(f"mob.{block}", x, features, stride=stride, expansion=2)
            block += 1
        sources.append(torch.l2_norm(norm, x) if norm else x)
    return _heads(torch, sources, (3,) * 6, reduced=True)


def face_c(torch, x):
    """Returns boxes and scores of images [b, 3, h, w], the mean subtracted, by `RPool_Face_C`."""
    x = torch.rnn_pool("rnn_model", x, 8, 4, 16)
    x = torch.inverted_residual("mob.0", x, 24, stride=1, expansion=1)
    block, sources = 1, []
    rows = [
        (24, 1, 1, "L2Norm3_3"),
        (32, 3, 2, "L2Norm4_3"),
        (64, 4, 2, "L2Norm5_3"),
        (96, 3, 2, ""),
        (160, 2, 2, ""),
        (320, 1, 2, ""),
    ]
    for features, count, first_stride, norm in rows:
        for i in range(count):
            stride = first_stride if i == 0 else 1
            x = torch.inverted_residual(f"mob.{block}", x, features, stride=stride, expansion=6)
            block += 1
        sources.append(torch.l2_norm(norm, x) if norm else x)
    return _heads(torch, sources, (5, 5, 5, 1, 1, 3))
