"""The settings of a training run."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from attokit.train.augment import AugmentConfig
from attokit.train.mesh import parse_mesh
from attokit.train.mixed_precision import ComputeDtype, check_compute_dtype
from attokit.train.optimizer import Optimizer, check_optimizer
from attokit.train.pixel_losses import PixelLossName, find_pixel_loss

# Fields that change neither the numbers nor the length of a run: a resumed run may differ.
_FREE_FIELDS = frozenset(
    {
        "log_every", "eval_every", "checkpoint_every", "eval_batch_size", "mesh", "profile", "workers",
    }
)  # fmt: skip
# Of older versions; `mesh` came in their place.
_GONE_FIELDS = frozenset({"mesh_data", "mesh_fsdp"})


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How to train. Exactly one of `epochs` and `steps` is set.

    Attributes:
      epochs: Passes over the training split.
      steps: Optimizer steps, instead of epochs.
      batch_size: Examples per step, over all hosts and devices.
      accumulate: Parts into which a batch is cut, of which one at a time needs memory: same gradient,
        but batch norm normalizes by the part.
      compute_dtype: Type in which training computes; bfloat16 leaves the parameters, their average and
        the optimizer in float32, and so are evaluation and what is shipped.
      optimizer: SGD with Nesterov momentum, AdamW, or Muon.
      learning_rate: The peak of the cosine.
      rate_factors: Patterns of paths of parameters, each with a factor of its learning rate:
        ("stem/*", 0.1). 0 freezes; the last pattern that fits counts.
      kept_shares: Patterns of paths of parameters, each with the share of their entries that stays:
        ("*/rnn1/W", 0.5). The smallest others are zeros after each step (`iterative_hard_thresholding`).
      kept_between: The shares of the steps after which that starts, and after which the zeros stay where they
        are; 0 and 1: from the first step to the last.
      warmup_fraction: Share of the steps in which the rate rises from 0.
      final_fraction: Last rate as a share of the peak.
      momentum: SGD's and Muon's momentum, AdamW's beta 1.
      weight_decay: On everything but norms and biases.
      clip_norm: Largest global norm of the gradient, or None.
      label_smoothing: Share of the target spread over all classes.
      loss: Of the pixels, in segmentation; None for cross_entropy.
      class_weights: Of the pixels' classes, in segmentation; None for 1 each.
      distillation_weight: Share of a teacher's loss in the loss, where there is a teacher.
      distillation_temperature: By which the logits of both are divided there.
      filter_gradients: Patterns of paths of convolutions whose gradients are taken from patches, which
        costs less time and memory, and some accuracy (`gradient_filter`).
      filter_patch: Side of those patches in pixels of the output.
      ema_decay: Decay of the moving average that is evaluated and shipped, or None.
      seed: Of the order of examples, augmentation and dropout.
      augment: How training images are varied.
      log_every: Steps between lines in the log.
      eval_every: Steps between evaluations, each with a checkpoint; None for once an epoch.
      checkpoint_every: Steps between further checkpoints, or None.
      eval_batch_size: Examples per evaluation step; None for `batch_size`.
      mesh: Ways to split the work: data=4,fsdp=2 splits the batch over 8 devices and the parameters over
        2; what is left out takes all devices that there are (data) or 1 (fsdp).
      profile: Steps to record for a profiler, from the third on, into the run folder; None for none.
      workers: Processes that read and augment batches; 0 for threads of this one.
    """

    epochs: float | None = None
    steps: int | None = None
    batch_size: int = 128
    accumulate: int = 1
    compute_dtype: ComputeDtype = "float32"
    optimizer: Optimizer = "sgd"
    learning_rate: float = 0.1
    rate_factors: tuple[tuple[str, float], ...] = ()
    kept_shares: tuple[tuple[str, float], ...] = ()
    kept_between: tuple[float, float] = (0.0, 1.0)
    warmup_fraction: float = 0.05
    final_fraction: float = 0.0
    momentum: float = 0.9
    weight_decay: float = 5e-4
    clip_norm: float | None = None
    label_smoothing: float = 0.0
    loss: PixelLossName | None = None
    class_weights: tuple[float, ...] | None = None
    distillation_weight: float = 0.5
    distillation_temperature: float = 2.0
    filter_gradients: tuple[str, ...] = ()
    filter_patch: int = 2
    ema_decay: float | None = None
    seed: int = 0
    augment: AugmentConfig = dataclasses.field(default_factory=AugmentConfig)
    log_every: int = 20
    eval_every: int | None = None
    checkpoint_every: int | None = None
    eval_batch_size: int | None = None
    mesh: str | None = None
    profile: int | None = None
    workers: int = 0

    def __post_init__(self) -> None:
        """Refuses what cannot run, with the value."""
        if (self.epochs is None) == (self.steps is None):
            raise ValueError(
                f"epochs is {self.epochs} and steps is {self.steps}: set exactly one of them"
            )
        check_optimizer(self.optimizer)
        for name in (
            "epochs", "steps", "batch_size", "learning_rate", "clip_norm", "log_every",
            "eval_every", "checkpoint_every", "eval_batch_size", "accumulate", "profile",
            "distillation_temperature", "filter_patch",
        ):  # fmt: skip
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} is {value}: give a number above 0")
        for name in ("warmup_fraction", "final_fraction", "momentum", "distillation_weight"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ValueError(f"{name} is {value}: give a number from 0 to 1")
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"label_smoothing is {self.label_smoothing}: give 0 to below 1")
        check_compute_dtype(self.compute_dtype)
        if self.batch_size % self.accumulate:
            raise ValueError(
                f"batch_size {self.batch_size} does not divide into accumulate={self.accumulate} parts: "
                "choose a divisor"
            )
        parse_mesh(self.mesh)
        # JSON knows no tuples.
        factors = tuple((pattern, float(factor)) for pattern, factor in self.rate_factors)
        object.__setattr__(self, "rate_factors", factors)
        object.__setattr__(self, "filter_gradients", tuple(self.filter_gradients))
        if self.filter_patch != type(self).filter_patch and not self.filter_gradients:
            raise ValueError(
                f"filter_patch {self.filter_patch} changes nothing without filter_gradients: name the "
                "convolutions to filter, or leave it out"
            )
        wrong = [pair for pair in factors if not 0 <= pair[1] < float("inf")]
        if wrong:
            raise ValueError(f"rate_factors hold {wrong[0]}: give a factor of 0 (frozen) or more")
        self._check_kept()
        if self.workers < 0:
            raise ValueError(f"workers is {self.workers}: give 0 or more processes")
        if self.loss is not None:
            find_pixel_loss(self.loss)
        if self.class_weights is not None:  # JSON knows no tuples
            object.__setattr__(self, "class_weights", tuple(self.class_weights))
        if self.ema_decay is not None and not 0 < self.ema_decay < 1:
            raise ValueError(f"ema_decay is {self.ema_decay}: give a number between 0 and 1")
        if self.weight_decay < 0 or self.seed < 0:
            raise ValueError(
                f"weight_decay is {self.weight_decay} and seed {self.seed}: neither may be negative"
            )

    def _check_kept(self) -> None:
        """Raises ValueError unless the settings of sparse parameters make sense; JSON knows no tuples."""
        kept = tuple((pattern, float(share)) for pattern, share in self.kept_shares)
        between = tuple(map(float, self.kept_between))
        object.__setattr__(self, "kept_shares", kept)
        object.__setattr__(self, "kept_between", between)
        wrong = [pair for pair in kept if not 0 < pair[1] <= 1]
        if wrong:
            raise ValueError(f"kept_shares hold {wrong[0]}: give a share above 0, up to 1")
        if len(between) != 2 or not 0 <= between[0] < between[1] <= 1:
            raise ValueError(
                f"kept_between is {between}: give two shares of the steps from 0 to 1, the smaller first"
            )
        if between != type(self).kept_between and not kept:
            raise ValueError(
                f"kept_between {between} changes nothing without kept_shares: name the parameters, or leave it "
                "out"
            )
        if kept and self.ema_decay is not None:
            raise ValueError(
                f"ema_decay {self.ema_decay} with kept_shares: an average of sparse parameters is not sparse; "
                "leave one of them out"
            )

    def total_steps(self, train_size: int) -> int:
        """Returns the steps of the whole run over a split of `train_size` examples."""
        if self.steps is not None:
            return self.steps
        assert self.epochs is not None
        return max(1, round(self.epochs * train_size / self.batch_size))

    def steps_between_evaluations(self, train_size: int) -> int:
        """Returns `eval_every`, or the steps of one epoch."""
        return self.eval_every or max(1, round(train_size / self.batch_size))


def read_config(saved: Mapping[str, Any]) -> TrainConfig:
    """Returns the settings that a file holds, also of an older version.

    Raises:
      TypeError: if there is a setting that no version knew.
      ValueError: if a value is wrong.
    """
    known = {name: value for name, value in saved.items() if name not in _GONE_FIELDS}
    return TrainConfig(**known | {"augment": AugmentConfig(**saved["augment"])})


def decisive_differences(saved: dict, config: TrainConfig) -> list[str]:
    """Returns which settings of a saved run differ in a way that would change its numbers.

    A setting that the run's version did not know yet had the effect of today's default.
    """
    default, current = (_as_json(c) for c in (TrainConfig(steps=1), config))
    before = default | saved
    before["augment"] = default["augment"] | saved.get("augment", {})
    return [
        f"{name} was {before[name]!r}, now {value!r}"
        for name, value in current.items()
        if name not in _FREE_FIELDS and before[name] != value
    ]


def _as_json(config: TrainConfig) -> dict:
    """Returns the settings as a file holds them: tuples are lists there."""
    return json.loads(json.dumps(dataclasses.asdict(config)))
