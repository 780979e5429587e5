"""Quantization of a trained graph: the images that calibrate it, and QAT in the training loop.

QAT trains the graph that ships, in the integers of the file: `fit` is the loop of float training
and `quant.fake_quant` the network.
"""

import dataclasses
import fnmatch
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PyTree
from rich.console import Console

from attokit.learned_scales import initial_log_scales, with_scales
from attokit.oscillations import frozen_share, kernels_of
from attokit.quant import Graph, QParams, QuantizedGraph, fake_quant
from attokit.quant.graph import Weights
from attokit.quant.ops.kind import Kernels
from attokit.steadying import Steadying
from attokit.train import (
    Dataset,
    FitResult,
    Forward,
    Source,
    Task,
    Teacher,
    TrainConfig,
    evaluate,
    fit,
    hold_zeros,
    warmup_cosine,
)
from attokit.train.loop import config_optimizer
from attokit.train.mesh import check_batch_size, named_mesh, replicated

_MOST_AT_ONCE = 128
_ACTIVATIONS_AT_ONCE = 1 << 28  # numbers of one batch in calibration: 1 GiB
_NOT_STEADIED = Steadying()


@dataclasses.dataclass(frozen=True)
class QuantizedNetwork:
    """A graph in integers as `fit` and `evaluate` take it. Hashed by identity: keep one.

    `params` are {"weights", "log_scales"}, `model_state` the calibrated qparams. A scale that is
    learned is the calibrated one times exp(its entry in `log_scales`). Zero points stay as calibrated.

    Attributes:
      function: The integer graph.
    """

    function: QuantizedGraph

    def __call__(
        self, params: PyTree, model_state: PyTree, inputs: PyTree, *, train: bool, key: Array
    ) -> tuple[Any, PyTree]:
        """Returns (outputs, the same state), as the loop wants it."""
        del train, key  # the graph has neither batch statistics nor dropout
        qparams = with_scales(model_state, params["log_scales"])
        return self.function(params["weights"], qparams, inputs), model_state


def calibration_images(
    source: Source, *, count: int = 512, batch_size: int = 128, seed: int = 0
) -> list[Float[np.ndarray, "b h w c"]]:
    """Returns batches of randomly chosen images as floats in [0, 1]."""
    chosen = np.random.default_rng(seed).permutation(len(source))[:count]
    parts = [chosen[i : i + batch_size] for i in range(0, len(chosen), batch_size)]
    return [source.read(part)["images"].astype(np.float32) / np.float32(255) for part in parts]


def calibration_batches(
    graph: Graph, source: Source, *, count: int = 512, seed: int = 0
) -> list[Float[np.ndarray, "b h w c"]]:
    """Returns `calibration_images` in batches of which a graph's activations fit into memory."""
    return calibration_images(source, count=count, batch_size=images_at_once(graph), seed=seed)


def images_at_once(graph: Graph) -> int:
    """Returns how many images may be shown at once: all their activations are kept."""
    sizes = (math.prod(tensor.shape) for tensor in graph.tensors.values())
    return max(1, min(_MOST_AT_ONCE, _ACTIVATIONS_AT_ONCE // sum(sizes)))


def on_this_machine(config: TrainConfig) -> TrainConfig:
    """Returns the settings of a training, with a mesh that this machine has and that divides the batch.

    It is the training's own where that can be, or else one of as many devices as there can be.
    """
    for mesh in (config.mesh, None):
        try:
            check_batch_size(config.batch_size, named_mesh(mesh), parts=config.accumulate)
        except ValueError:
            continue
        return dataclasses.replace(config, mesh=mesh)
    part = config.batch_size // config.accumulate
    ways = max(ways for ways in range(1, jax.device_count() + 1) if part % ways == 0)
    return dataclasses.replace(config, mesh=f"data={ways}")


def qat_config(config: TrainConfig, **changes: Any) -> TrainConfig:
    """Returns the settings of QAT after a float training: a short fine-tuning at a tenth of its rate.

    It takes 2 epochs, or a tenth of the steps where the training was given in steps.

    Args:
      config: Of the float training.
      **changes: Fields to set otherwise.
    """
    if changes.get("steps") is not None:
        length: dict[str, Any] = {"epochs": None}
    elif config.steps is None or changes.get("epochs") is not None:
        length = {"epochs": 2.0, "steps": None}
    else:
        length = {"steps": max(1, config.steps // 10)}
    settings = length | {
        "learning_rate": config.learning_rate / 10,
        "ema_decay": None if config.ema_decay is None else min(config.ema_decay, 0.95),
        "eval_every": None,
        # The arithmetic is the file's own, and a graph's weights have other names than a network's.
        "compute_dtype": "float32",
        "rate_factors": (),
        "kept_shares": (),
        "kept_between": TrainConfig.kept_between,
        "filter_gradients": (),
        # Of the machine that trained.
        "profile": None,
        "workers": 0,
        "filter_patch": TrainConfig.filter_patch,
        "distillation_weight": TrainConfig.distillation_weight,
        "distillation_temperature": TrainConfig.distillation_temperature,
    }
    return dataclasses.replace(config, **settings | changes)


def _optimizer(
    config: TrainConfig, train_size: int, scale_learning_rate: float
) -> optax.GradientTransformation:
    """Returns the config's optimizer for weights and Adam at its own rate for scales."""
    schedule = warmup_cosine(
        scale_learning_rate,
        config.total_steps(train_size),
        warmup_fraction=config.warmup_fraction,
    )
    return optax.multi_transform(
        {"weights": config_optimizer(config, train_size), "scales": optax.adam(schedule)},
        {"weights": "weights", "log_scales": "scales"},
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class QuantizedResult:
    """What QAT leaves.

    Attributes:
      weights: Trained.
      qparams: As calibrated, or with learned scales.
      fit: Of the loop.
      frozen: Share of the kernels' values that stopped at an integer; None where none may.
    """

    weights: Weights
    qparams: QParams
    fit: FitResult
    frozen: float | None = None


def sparse_patterns(config: TrainConfig, weights: Weights) -> list[str]:
    """Returns the patterns of a float training's kept shares that name weights of its graph.

    What is folded into kernels, such as a norm's factors, is none of them.
    """
    patterns = (pattern for pattern, _ in config.kept_shares)
    return [pattern for pattern in patterns if fnmatch.filter(weights, pattern)]


class Quantizer:
    """Evaluates and trains one graph in integers; everything is compiled once.

    Attributes:
      graph: The graph.
      network: What `fit` trains.
    """

    def __init__(
        self,
        graph: Graph,
        *,
        task: Task,
        kernels: Kernels = "reference",
        network: Forward | None = None,
    ):
        """Makes the network that is trained.

        Args:
          graph: As traced.
          task: What it is trained for.
          kernels: Whose rounding to train for.
          network: The graph in integers where training is not a call of the graph
            (`attokit.quantized_detector`); None where it is.
        """
        self.graph = graph
        self.network = network or QuantizedNetwork(fake_quant(graph, kernels))
        self._kernels = kernels
        self._task = task

    def _params(
        self,
        weights: Weights,
        qparams: QParams,
        learn: Sequence[str] = (),
        freeze: Sequence[str] = (),
    ) -> PyTree:
        learned = initial_log_scales(self.graph, qparams, learn, freeze) if learn else {}
        return {"weights": dict(weights), "log_scales": learned}

    def evaluate(
        self, weights: Weights, qparams: QParams, source: Source, config: TrainConfig
    ) -> dict[str, float | np.ndarray]:
        """Returns the evaluation metrics of the integer graph over a split."""
        mesh = named_mesh(config.mesh)
        # As the loop places them, so that both share one compiled function.
        params, state = jax.device_put(
            (self._params(weights, qparams), dict(qparams)), replicated(mesh)
        )
        batch_size = config.eval_batch_size or config.batch_size
        return evaluate(
            self.network, params, state, source, self._task, batch_size=batch_size, mesh=mesh
        )

    def train(
        self,
        weights: Weights,
        qparams: QParams,
        dataset: Dataset,
        config: TrainConfig,
        run_dir: pathlib.Path,
        *,
        learn: Sequence[str] = (),
        freeze: Sequence[str] = (),
        scale_learning_rate: float = 1e-3,
        steadying: Steadying = _NOT_STEADIED,
        sparse: Sequence[str] = (),
        teacher: Teacher | None = None,
        eval_split: str = "test",
        resume: bool = False,
        extra: Mapping[str, Any] | None = None,
        console: Console | None = None,
    ) -> QuantizedResult:
        """Trains weights, and scales if asked, and returns them.

        Args:
          weights: Where to start: those of the float model.
          qparams: As calibrated; activation ranges and kernel scales stay so unless learned, and
            kernels are clipped to them.
          dataset: What to train on (split `train`) and to evaluate on.
          config: How to train; see `qat_config`.
          run_dir: The run folder of this training.
          learn: Patterns of names of scales that learn too (LSQ): ("*",) are all.
          freeze: Patterns of those among them that do not ("stem/*").
          scale_learning_rate: Peak rate of the logarithm of scales.
          steadying: Dampening and freezing of kernels that oscillate, freezing of learned scales.
          sparse: Patterns of names of weights whose zeros stay, such as those of the float training's
            `kept_shares`: a graph's kernels have the names of the network's parameters.
          teacher: A network to learn from as well, such as the float one (`config.distillation_weight`).
          eval_split: The split to evaluate on.
          resume: Go on from the newest checkpoint.
          extra: Further JSON values for `config.json`, such as how `qparams` were calibrated; "switches"
            are those of what comes before training, None where off.
          console: Where to print.

        Raises:
          ValueError: if settings, patterns and data do not fit, or the loss is not finite.
        """
        train_size = len(dataset.split("train"))
        _check_steadying(steadying, config, learn)
        extra = dict(extra or {})
        switches = {
            **extra.pop("switches", {}),
            **steadying.settings(),
            "sparse": list(sparse) or None,
            "teacher": None if teacher is None else teacher.name,
            # All are "learned scales".
            "learn": None if learn in ((), ("*",)) else list(learn),
            "freeze_scales": list(freeze) or None,
        }
        optimizer = _optimizer(config, train_size, scale_learning_rate)
        if sparse:
            optimizer = optax.chain(optimizer, hold_zeros([f"weights/{name}" for name in sparse]))
        kernels = kernels_of(self.graph, qparams)
        result = fit(
            config,
            self.network,
            self._params(weights, qparams, learn, freeze),
            dict(qparams),
            dataset,
            run_dir,
            task=self._task,
            optimizer=steadying.around(optimizer, kernels, config.total_steps(train_size)),
            teacher=teacher,
            eval_split=eval_split,
            resume=resume,
            extra={
                "quantization": "learned scales" if learn else "calibrated scales",
                "kernels": self._kernels,
                "scale_learning_rate": scale_learning_rate if learn else None,
                "switches": switches,
                **extra,
            },
            console=console,
        )
        learned = with_scales(result.model_state, result.params["log_scales"])
        # On one device: the loop leaves them spread over its mesh.
        host = jax.device_get((result.params["weights"], learned))
        final_weights, final_qparams = jax.tree.map(jnp.asarray, host)
        return QuantizedResult(
            weights=final_weights,
            qparams=final_qparams,
            fit=result,
            frozen=frozen_share(result.state.opt_state),
        )


def _check_steadying(steadying: Steadying, config: TrainConfig, learn: Sequence[str]) -> None:
    """Refuses switches that change nothing, or whose work other settings undo."""
    if steadying.freeze_scales_after is not None and not learn:
        raise ValueError(
            f"freeze_scales_after {steadying.freeze_scales_after} changes nothing where no scale learns: "
            "name scales to learn (--learn-scales), or leave it out"
        )
    if steadying.freeze_flips is not None and config.rate_factors:
        raise ValueError(
            f"freeze_flips {steadying.freeze_flips} and rate_factors {config.rate_factors}: a value that "
            "freezes has to move at the full rate; give one of them"
        )
