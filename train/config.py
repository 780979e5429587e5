"""The settings of a training run."""

import dataclasses
import json

from attokit.train.augment import AugmentConfig
from attokit.train.optimizer import Optimizer, check_optimizer
from attokit.train.pixel_losses import PixelLossName, find_pixel_loss

# Fields that change neither the numbers nor the length of a run: a resumed run may differ.
_FREE_FIELDS = frozenset(
    {"log_every", "eval_every", "checkpoint_every", "eval_batch_size", "mesh_data", "mesh_fsdp"}
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How to train. Exactly one of `epochs` and `steps` is set.

    Attributes:
      epochs: Passes over the training split.
      steps: Optimizer steps, instead of epochs.
      batch_size: Examples per step, over all hosts and devices.
      optimizer: SGD with Nesterov momentum, AdamW, or Muon.
      learning_rate: The peak of the cosine.
      warmup_fraction: Share of the steps in which the rate rises from 0.
      final_fraction: Last rate as a share of the peak.
      momentum: SGD's and Muon's momentum, AdamW's beta 1.
      weight_decay: On everything but norms and biases.
      clip_norm: Largest global norm of the gradient, or None.
      label_smoothing: Share of the target spread over all classes.
      loss: Of the pixels, in segmentation; None for cross_entropy.
      class_weights: Of the pixels' classes, in segmentation; None for 1 each.
      ema_decay: Decay of the moving average that is evaluated and shipped, or None.
      seed: Of the order of examples, augmentation and dropout.
      augment: How training images are varied.
      log_every: Steps between lines in the log.
      eval_every: Steps between evaluations, each with a checkpoint; None for once an epoch.
      checkpoint_every: Steps between further checkpoints, or None.
      eval_batch_size: Examples per evaluation step; None for `batch_size`.
      mesh_data: Ways to split the batch; None for all devices that `mesh_fsdp` leaves.
      mesh_fsdp: Ways to split the parameters.
    """

    epochs: float | None = None
    steps: int | None = None
    batch_size: int = 128
    optimizer: Optimizer = "sgd"
    learning_rate: float = 0.1
    warmup_fraction: float = 0.05
    final_fraction: float = 0.0
    momentum: float = 0.9
    weight_decay: float = 5e-4
    clip_norm: float | None = None
    label_smoothing: float = 0.0
    loss: PixelLossName | None = None
    class_weights: tuple[float, ...] | None = None
    ema_decay: float | None = None
    seed: int = 0
    augment: AugmentConfig = dataclasses.field(default_factory=AugmentConfig)
    log_every: int = 20
    eval_every: int | None = None
    checkpoint_every: int | None = None
    eval_batch_size: int | None = None
    mesh_data: int | None = None
    mesh_fsdp: int = 1

    def __post_init__(self) -> None:
        """Refuses what cannot run, with the value."""
        if (self.epochs is None) == (self.steps is None):
            raise ValueError(
                f"epochs is {self.epochs} and steps is {self.steps}: set exactly one of them"
            )
        check_optimizer(self.optimizer)
        for name in (
            "epochs", "steps", "batch_size", "learning_rate", "clip_norm", "log_every",
            "eval_every", "checkpoint_every", "eval_batch_size", "mesh_data", "mesh_fsdp",
        ):  # fmt: skip
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} is {value}: give a number above 0")
        for name in ("warmup_fraction", "final_fraction", "momentum"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ValueError(f"{name} is {value}: give a number from 0 to 1")
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"label_smoothing is {self.label_smoothing}: give 0 to below 1")
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

    def total_steps(self, train_size: int) -> int:
        """Returns the steps of the whole run over a split of `train_size` examples."""
        if self.steps is not None:
            return self.steps
        assert self.epochs is not None
        return max(1, round(self.epochs * train_size / self.batch_size))

    def steps_between_evaluations(self, train_size: int) -> int:
        """Returns `eval_every`, or the steps of one epoch."""
        return self.eval_every or max(1, round(train_size / self.batch_size))


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
