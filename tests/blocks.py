"""Small networks of one block each: what people put into vision networks, in linen, nnx and plain JAX.

A block is a function and its variables with example inputs; they are as small as shows the point.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from traced import normal, variables_of

from attokit import zoo
from attokit.zoo.l2_norm import L2Norm
from attokit.zoo.max_out import max_out_background

IMAGES = (2, 6, 6, 4)
ROWS = (2, 5, 8)


@dataclasses.dataclass(frozen=True)
class Block:
    """A network.

    Attributes:
      function: Of variables and inputs.
      variables: A pytree.
      inputs: Example inputs.
    """

    function: Callable[..., Any]
    variables: Any
    inputs: tuple[jax.Array, ...]


class _Compact(nn.Module):
    body: Callable[..., Any]

    @nn.compact
    def __call__(self, *inputs: jax.Array) -> Any:
        return self.body(*inputs)


def linen(body: Callable[..., Any], *shapes: tuple[int, ...]) -> Block:
    """Returns the block of a body that makes linen modules as it goes."""
    module = _Compact(body)
    inputs = tuple(normal(*shape, seed=i) for i, shape in enumerate(shapes or (IMAGES,)))
    return Block(module.apply, variables_of(module, *inputs), inputs)


def functional(model: nnx.Module, *shapes: tuple[int, ...]) -> Block:
    """Returns the block of an nnx module, through nnx's functional form."""
    definition, state = nnx.split(model)
    inputs = tuple(normal(*shape, seed=i) for i, shape in enumerate(shapes or (IMAGES,)))
    return Block(lambda state, *x: nnx.merge(definition, state)(*x), state, inputs)


def plain(function: Callable[..., Any], variables: Any, *shapes: tuple[int, ...]) -> Block:
    """Returns the block of a function of variables and inputs."""
    inputs = tuple(normal(*shape, seed=i) for i, shape in enumerate(shapes or (IMAGES,)))
    return Block(function, variables, inputs)


def _conv(channels: int, size: int = 3, **options: Any) -> nn.Conv:
    return nn.Conv(channels, (size, size), **options)


def _norm(x: jax.Array) -> jax.Array:
    return nn.BatchNorm(use_running_average=True)(x)


def _conv_norm(activation: Callable, channels: int = 6, **options: Any) -> Callable:
    return lambda x: activation(_norm(_conv(channels, use_bias=False, **options)(x)))


def _inverted_residual(x):
    y = nn.relu6(_norm(_conv(8, 1)(x)))
    y = nn.relu6(_norm(_conv(8, 3, feature_group_count=8)(y)))
    return x + _norm(_conv(4, 1)(y))


def _squeeze_excite(gate: Callable) -> Callable:
    def body(x):
        y = jnp.mean(x, (1, 2), keepdims=True)
        y = gate(_conv(4, 1)(nn.relu(_conv(3, 1)(y))))
        return x * y

    return body


def _mobilenet_v3(x):
    y = nn.hard_swish(_norm(_conv(8, 1)(x)))
    y = nn.hard_swish(_norm(_conv(8, 5, feature_group_count=8)(y)))
    squeezed = jnp.mean(y, (1, 2), keepdims=True)
    y = y * nn.hard_sigmoid(_conv(8, 1)(nn.relu(_conv(3, 1)(squeezed))))
    return x + _norm(_conv(4, 1)(y))


def _unet(x):
    deep = nn.relu(_conv(8, strides=2)(x))
    up = nn.ConvTranspose(4, (2, 2), strides=(2, 2))(deep)
    return _conv(3, 1)(jnp.concatenate([x, up], -1))


def _pyramid(method: str) -> Callable:
    def body(x):
        small = _conv(4, strides=2)(x)
        b, h, w, _ = x.shape
        return _conv(4, 1)(x) + jax.image.resize(small, (b, h, w, 4), method)

    return body


def _shuffle(x):
    b, h, w, c = x.shape
    return _conv(4, 1)(x.reshape(b, h, w, 2, c // 2).swapaxes(3, 4).reshape(b, h, w, c))


def _pixel_shuffle(x):
    b, h, w, _ = x.shape
    y = _conv(12, 1)(x).reshape(b, h, w, 2, 2, 3)
    return y.transpose(0, 1, 3, 2, 4, 5).reshape(b, 2 * h, 2 * w, 3)


def _space_to_depth(x):
    b, h, w, c = x.shape
    y = x.reshape(b, h // 2, 2, w // 2, 2, c).transpose(0, 1, 3, 2, 4, 5)
    return _conv(4, 1)(y.reshape(b, h // 2, w // 2, 4 * c))


def _mixer(x):
    y = nn.Dense(5)(nn.LayerNorm()(x).swapaxes(1, 2)).swapaxes(1, 2)
    x = x + y
    return x + nn.Dense(8)(nn.gelu(nn.Dense(12)(nn.LayerNorm()(x))))


def _attention(x):
    return x + nn.MultiHeadDotProductAttention(num_heads=2)(x)


def _causal_attention(q, k, v):
    return jax.nn.dot_product_attention(q, k, v, is_causal=True)


def _vit(x):
    y = nn.Conv(8, (3, 3), strides=(3, 3))(x).reshape(x.shape[0], 4, 8)
    token = nn.Module.param(
        nn.module._context.module_stack[-1], "token", nn.initializers.ones, (1, 1, 8)
    )
    y = jnp.concatenate([jnp.broadcast_to(token, (x.shape[0], 1, 8)), y], 1)
    return nn.Dense(3)(y[:, 0])


def _spatial_attention(x):
    summary = jnp.concatenate([x.mean(-1, keepdims=True), x.max(-1, keepdims=True)], -1)
    return x * nn.sigmoid(_conv(1)(summary))


def _condenser(x):
    y = nn.max_pool(x, (2, 2), strides=(2, 2))
    y = nn.relu(_conv(4, feature_group_count=2)(y))
    y = jax.image.resize(_conv(4, 1)(y), x.shape, "nearest")
    return x * nn.sigmoid(y) + x


def _gru(variables, x):
    def step(h, row):
        both = jnp.concatenate([row, h], -1)
        z, r = jnp.split(nn.sigmoid(both @ variables["gates"]), 2, -1)
        new = jnp.tanh(jnp.concatenate([row, r * h], -1) @ variables["new"])
        h = (1 - z) * h + z * new
        return h, h

    start = jnp.zeros((x.shape[0], 3))
    return jax.lax.scan(step, start, x.swapaxes(0, 1))[0]


def _coordinates(x):
    b, h, w, _ = x.shape
    grid = jnp.stack(jnp.meshgrid(jnp.linspace(-1, 1, h), jnp.linspace(-1, 1, w)), -1)
    return _conv(4)(jnp.concatenate([x, jnp.broadcast_to(grid[None], (b, h, w, 2))], -1))


def _maxout(x):
    y = _conv(8, 1)(x)
    return jnp.maximum(y[..., :4], y[..., 4:])


def _distance(x, y):
    embed = nn.Dense(4)
    difference = embed(x) - embed(y)
    return jnp.sqrt(jnp.sum(difference * difference, -1) + 1e-3)


def _heads(x):
    y = nn.relu(_conv(4)(x))
    return {"classes": nn.softmax(_conv(3, 1)(y)), "boxes": (_conv(2, 1)(y), nn.sigmoid(y))}


def _fire(x):
    y = nn.relu(_conv(2, 1)(x))
    return jnp.concatenate([nn.relu(_conv(3, 1)(y)), nn.relu(_conv(3)(y))], -1)


def _ghost(x):
    y = nn.relu(_conv(4, 1)(x))
    return jnp.concatenate([y, nn.relu(_conv(4, feature_group_count=4)(y))], -1)


def _dense_block(x):
    for _ in range(2):
        x = jnp.concatenate([x, _conv(2)(nn.relu(_norm(x)))], -1)
    return x


def _convnext(x):
    y = nn.LayerNorm()(_conv(4, 5, feature_group_count=4)(x))
    return x + nn.Dense(4)(nn.gelu(nn.Dense(8)(y)))


def _highway(x):
    gate = nn.sigmoid(nn.Dense(8)(x))
    return gate * nn.relu(nn.Dense(8)(x)) + (1 - gate) * x


def _statistics(x):
    mean = x.mean((1, 2))
    deviation = jnp.sqrt(jnp.mean((x - mean[:, None, None]) ** 2, (1, 2)) + 1e-3)
    return nn.Dense(3)(jnp.concatenate([mean, deviation], -1))


def _detector(x):
    y = _conv(10, 1)(x).reshape(x.shape[0], -1, 5)
    center, size, score = y[..., :2], y[..., 2:4], y[..., 4:]
    return jnp.concatenate([nn.sigmoid(center), jnp.exp(size * 0.25), nn.sigmoid(score)], -1)


def _standardized(variables, x):
    kernel = variables["kernel"]
    kernel = (kernel - kernel.mean((0, 1, 2))) / jnp.sqrt(kernel.var((0, 1, 2)) + 1e-5)
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def _flipped(x):
    embed = _conv(3)
    return (embed(x) + embed(x[:, :, ::-1])[:, :, ::-1]) / 2


def _shifted(x):
    left = jnp.roll(x[..., :2], 1, axis=2)
    return _conv(4, 1)(jnp.concatenate([left, x[..., 2:]], -1))


def _window_attention(x):
    b, h, w, c = x.shape
    windows = x.reshape(b, h // 3, 3, w // 3, 3, c).transpose(0, 1, 3, 2, 4, 5).reshape(-1, 9, c)
    q, k, v = jnp.split(nn.Dense(12)(windows), 3, -1)
    windows = nn.softmax(jnp.einsum("nqc,nkc->nqk", q, k) / 2) @ v
    back = windows.reshape(b, h // 3, w // 3, 3, 3, c).transpose(0, 1, 3, 2, 4, 5)
    return back.reshape(b, h, w, c)


def _relative_attention(variables, x):
    places = np.arange(5)[:, None] - np.arange(5)[None] + 4
    scores = jnp.einsum("bqc,bkc->bqk", x @ variables["query"], x) / 3
    return nn.softmax(scores + variables["bias"][places][None]) @ x


def _linear_attention(variables, x):
    q, k = nn.elu(x @ variables["query"]) + 1, nn.elu(x) + 1
    total = jnp.einsum("bqd,bd->bq", q, k.sum(1))[..., None]
    return jnp.einsum("bqd,bde->bqe", q, jnp.einsum("bkd,bke->bde", k, x)) / total


def _class_token(variables, x):
    token = jnp.tile(variables["token"], (x.shape[0], 1, 1))
    return jnp.concatenate([token, x], 1) + variables["places"]


def _log_sum_exp_pool(x):
    return jax.nn.logsumexp(4 * _conv(3, 1)(x), (1, 2)) / 4


def _masked_maximum(x):
    inside = np.hypot(*np.mgrid[-2.5:3, -2.5:3]) < 3
    return jnp.where(inside[None, ..., None], _conv(3, 1)(x), -jnp.inf).max((1, 2))


def _threshold_gate(x):
    return jnp.where(nn.sigmoid(_conv(4, 1)(x)) > 0.5, x, 0.0)


def _channel_attention(x):
    squeeze, excite = _conv(2, 1), _conv(4, 1)
    parts = [p(x, (1, 2), keepdims=True) for p in (jnp.mean, jnp.max)]
    return x * nn.sigmoid(sum(excite(nn.relu(squeeze(part))) for part in parts))


def _response_norm(variables, x):
    size = jnp.sqrt(jnp.sum(x * x, (1, 2), keepdims=True))
    gain = size / (size.mean(-1, keepdims=True) + 1e-6)
    return variables["gamma"] * (x * gain) + variables["beta"] + x


def _blur_pool(x):
    kernel = np.float32([[1, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16
    return jax.lax.conv_general_dilated(
        jnp.pad(_conv(4, 1)(x), ((0, 0), (1, 1), (1, 1), (0, 0)), "reflect"),
        np.tile(kernel[:, :, None, None], (1, 1, 1, 4)),
        (2, 2),
        "VALID",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=4,
    )


def _vlad(variables, x):
    features = x.reshape(x.shape[0], -1, x.shape[-1])
    shares = nn.softmax(features @ variables["assign"])
    sums = jnp.einsum("bnk,bnd->bkd", shares, features)
    return sums - shares.sum(1)[..., None] * variables["centres"]


def _spatial_pyramid(x):
    return jnp.concatenate([x, *(nn.max_pool(x, (k, k), (1, 1), "SAME") for k in (3, 5))], -1)


class _Residual(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        self.conv = nnx.Conv(4, 4, (3, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(4, use_running_average=True, rngs=rngs)
        self.drop = nnx.Dropout(0.5, deterministic=True, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return nnx.relu(x + self.drop(self.norm(self.conv(x))))


class _Mlp(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        self.norm = nnx.LayerNorm(8, rngs=rngs)
        self.up = nnx.Linear(8, 12, rngs=rngs)
        self.down = nnx.Linear(12, 8, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return x + self.down(nnx.gelu(self.up(self.norm(x))))


def _nnx(build: Callable[[nnx.Rngs], nnx.Module]) -> nnx.Module:
    return build(nnx.Rngs(0))


def _rnn_pool(patch_size: int, **options: Any) -> Callable:
    return lambda x: _conv(2, 1)(zoo.RNNPool((3, 2), patch_size, replicate_pad=True, **options)(x))


def _l2_norm_heads(x):
    y = L2Norm(8.0)(nn.relu6(_conv(6)(x)))
    logits = max_out_background(_conv(4, 1)(y), 3)
    return logits.reshape(logits.shape[0], -1, 2)


_avg = functools.partial(nn.avg_pool, window_shape=(3, 3), strides=(2, 2), padding="SAME")

# Built when a test asks for them.
BLOCKS: dict[str, Callable[[], Block]] = {
    "rnnpool": lambda: linen(_rnn_pool(2, stride=4)),
    "rnnpool_lines": lambda: linen(
        _rnn_pool(
            4,
            stride=2,
            freeze_gate_scalars=True,
            gate_nonlinearity="quant_sigmoid",
            update_nonlinearity="quant_tanh",
        )
    ),
    "l2_norm_heads": lambda: linen(_l2_norm_heads),
    "conv_norm_relu6": lambda: linen(_conv_norm(nn.relu6)),
    "conv_norm_stride": lambda: linen(_conv_norm(nn.relu, strides=2)),
    "conv_norm_per_tensor_input": lambda: linen(_conv_norm(nn.relu, padding="VALID")),
    "conv_grouped": lambda: linen(_conv_norm(nn.relu, feature_group_count=2)),
    "conv_dilated": lambda: linen(_conv_norm(nn.relu, kernel_dilation=2)),
    "conv_swish": lambda: linen(_conv_norm(nn.silu)),
    "conv_mish": lambda: linen(_conv_norm(jax.nn.mish)),
    "conv_elu": lambda: linen(_conv_norm(nn.elu)),
    "conv_selu": lambda: linen(_conv_norm(nn.selu)),
    "conv_leaky_relu": lambda: linen(_conv_norm(nn.leaky_relu)),
    "conv_prelu": lambda: linen(lambda x: nn.PReLU()(_conv(4)(x))),
    "conv_softplus": lambda: linen(_conv_norm(nn.softplus)),
    "conv_hard_tanh": lambda: linen(_conv_norm(nn.hard_tanh)),
    "conv_hard_swish": lambda: linen(_conv_norm(nn.hard_swish)),
    "conv_log_sigmoid": lambda: linen(_conv_norm(nn.log_sigmoid)),
    "conv_gelu_exact": lambda: linen(_conv_norm(functools.partial(nn.gelu, approximate=False))),
    "conv_tanh": lambda: linen(_conv_norm(jnp.tanh)),
    "conv_soft_sign": lambda: linen(_conv_norm(nn.soft_sign)),
    "conv_standardized": lambda: plain(_standardized, {"kernel": normal(3, 3, 4, 3)}),
    "conv_reflected": lambda: linen(
        lambda x: _conv(3, padding="VALID")(jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), "reflect"))
    ),
    "conv_coordinates": lambda: linen(_coordinates),
    "conv_1d": lambda: linen(lambda x: nn.relu(nn.Conv(5, (3,))(x)), ROWS),
    "conv_1d_causal": lambda: linen(lambda x: nn.Conv(5, (3,), padding="CAUSAL")(x), ROWS),
    "conv_transpose_same": lambda: linen(lambda x: nn.ConvTranspose(3, (3, 3), (2, 2))(x)),
    "conv_transpose_valid": lambda: linen(
        lambda x: nn.relu(_norm(nn.ConvTranspose(3, (2, 2), (2, 2), padding="VALID")(x)))
    ),
    "depthwise_separable": lambda: linen(
        lambda x: nn.relu(_conv(6, 1)(nn.relu(_conv(4, feature_group_count=4)(x))))
    ),
    "inverted_residual": lambda: linen(_inverted_residual),
    "mobilenet_v3": lambda: linen(_mobilenet_v3),
    "squeeze_excite_hard": lambda: linen(_squeeze_excite(nn.hard_sigmoid)),
    "squeeze_excite": lambda: linen(_squeeze_excite(nn.sigmoid)),
    "spatial_attention": lambda: linen(_spatial_attention),
    "attention_condenser": lambda: linen(_condenser),
    "preactivation": lambda: linen(lambda x: x + _conv(4)(nn.relu(_norm(x)))),
    "fire": lambda: linen(_fire),
    "ghost": lambda: linen(_ghost),
    "dense_block": lambda: linen(_dense_block),
    "convnext": lambda: linen(_convnext),
    "unet": lambda: linen(_unet),
    "pyramid_bilinear": lambda: linen(_pyramid("bilinear")),
    "pyramid_nearest": lambda: linen(_pyramid("nearest")),
    "pixel_shuffle": lambda: linen(_pixel_shuffle),
    "space_to_depth": lambda: linen(_space_to_depth),
    "channel_shuffle": lambda: linen(_shuffle),
    "channel_split": lambda: linen(
        lambda x: jnp.concatenate([x[..., :2], _conv(2)(x[..., 2:])], -1)
    ),
    "temporal_shift": lambda: linen(_shifted),
    "flipped": lambda: linen(_flipped),
    "maxout": lambda: linen(_maxout),
    "average_pool_same": lambda: linen(lambda x: _conv(3, 1)(_avg(x, count_include_pad=False))),
    "average_pool_counting": lambda: linen(lambda x: _conv(3, 1)(_avg(x))),
    "max_pool_same": lambda: linen(
        lambda x: nn.max_pool(_conv(3, 1)(x), (3, 3), strides=(2, 2), padding="SAME")
    ),
    "global_average": lambda: linen(lambda x: nn.Dense(5)(x.mean((1, 2)))),
    "global_maximum": lambda: linen(lambda x: nn.Dense(5)(x.max((1, 2)))),
    "statistics_pool": lambda: linen(_statistics),
    "bilinear_pool": lambda: linen(
        lambda x: jnp.einsum("bhwc,bhwd->bcd", _conv(3, 1)(x), _conv(2, 1)(x)) / 36
    ),
    "softmax_head": lambda: linen(lambda x: nn.softmax(nn.Dense(7)(x)), ROWS),
    "softmax_axis": lambda: linen(lambda x: nn.softmax(nn.Dense(7)(x), axis=1), ROWS),
    "log_softmax_head": lambda: linen(lambda x: nn.log_softmax(nn.Dense(7)(x)), ROWS),
    "sigmoid_head": lambda: linen(lambda x: nn.sigmoid(nn.Dense(7)(x)), ROWS),
    "argmax_head": lambda: linen(lambda x: jnp.argmax(_conv(5, 1)(x), -1)),
    "detector_head": lambda: linen(_detector),
    "several_heads": lambda: linen(_heads),
    "layer_norm": lambda: linen(lambda x: nn.LayerNorm()(x), ROWS),
    "group_norm": lambda: linen(lambda x: nn.GroupNorm(num_groups=2)(_conv(4)(x))),
    "instance_norm": lambda: linen(lambda x: nn.InstanceNorm()(_conv(4)(x))),
    "rms_norm": lambda: linen(lambda x: nn.RMSNorm()(x), ROWS),
    "l2_normalized": lambda: linen(
        lambda x: (y := nn.Dense(6)(x)) / jnp.sqrt(jnp.sum(y * y, -1, keepdims=True) + 1e-6), ROWS
    ),
    "mlp_mixer": lambda: linen(_mixer, ROWS),
    "self_attention": lambda: linen(_attention, ROWS),
    "causal_attention": lambda: plain(
        lambda _, *qkv: _causal_attention(*qkv), (), *[(2, 5, 2, 4)] * 3
    ),
    "gated_linear_unit": lambda: linen(lambda x: nn.glu(nn.Dense(8)(x)), ROWS),
    "highway": lambda: linen(_highway, ROWS),
    "gru": lambda: plain(_gru, {"gates": normal(11, 6), "new": normal(11, 3)}, ROWS),
    "siamese_distance": lambda: linen(_distance, (2, 6), (2, 6)),
    "cumulative": lambda: linen(lambda x: jnp.cumsum(nn.relu(nn.Dense(4)(x)), 1), ROWS),
    "window_attention": lambda: linen(_window_attention),
    "relative_attention": lambda: plain(
        _relative_attention, {"query": normal(8, 8), "bias": normal(9)}, ROWS
    ),
    "linear_attention": lambda: plain(_linear_attention, {"query": normal(8, 8)}, ROWS),
    "class_token": lambda: plain(
        _class_token, {"token": normal(1, 1, 8), "places": normal(1, 6, 8)}, ROWS
    ),
    "log_sum_exp_pool": lambda: linen(_log_sum_exp_pool),
    "masked_maximum": lambda: linen(_masked_maximum),
    "threshold_gate": lambda: linen(_threshold_gate),
    "channel_attention": lambda: linen(_channel_attention),
    "response_norm": lambda: plain(_response_norm, {"gamma": normal(4), "beta": normal(4, seed=1)}),
    "blur_pool": lambda: linen(_blur_pool),
    "vlad": lambda: plain(_vlad, {"assign": normal(4, 3), "centres": normal(1, 3, 4)}),
    "spatial_pyramid": lambda: linen(_spatial_pyramid),
    "generalized_mean": lambda: linen(
        lambda x: jnp.mean(nn.relu(_conv(3, 1)(x)) ** 3 + 1e-6, (1, 2)) ** (1 / 3)
    ),
    "token_by_index": lambda: Block(
        lambda v, x, i: x[:, i] @ v,
        normal(8, 3),
        (normal(*ROWS), jnp.asarray([-1, 2], jnp.int32)),
    ),
    "embedding": lambda: Block(
        lambda v, ids: nn.relu(v["table"][ids] @ v["kernel"]),
        {"table": normal(9, 4), "kernel": normal(4, 3)},
        (jnp.asarray(np.arange(6).reshape(2, 3) % 9, jnp.int32),),
    ),
    "nnx_conv": lambda: functional(_nnx(lambda rngs: nnx.Conv(4, 5, (3, 3), strides=2, rngs=rngs))),
    "nnx_conv_transpose": lambda: functional(
        _nnx(lambda rngs: nnx.ConvTranspose(4, 3, (3, 3), strides=(2, 2), rngs=rngs))
    ),
    "nnx_residual": lambda: functional(_nnx(_Residual)),
    "nnx_mlp": lambda: functional(_nnx(_Mlp), ROWS),
    "nnx_sequential": lambda: functional(
        _nnx(
            lambda rngs: nnx.Sequential(
                nnx.Linear(8, 6, rngs=rngs), nnx.silu, nnx.Linear(6, 3, rngs=rngs)
            )
        ),
        ROWS,
    ),
    "nnx_group_norm": lambda: functional(
        _nnx(lambda rngs: nnx.GroupNorm(4, num_groups=2, rngs=rngs))
    ),
    "nnx_attention": lambda: functional(
        _nnx(
            lambda rngs: nnx.MultiHeadAttention(num_heads=2, in_features=8, decode=False, rngs=rngs)
        ),
        ROWS,
    ),
}
