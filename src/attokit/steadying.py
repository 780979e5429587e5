"""What keeps QAT from wandering: switches that act on its gradients and updates, all off by default."""

import dataclasses
from typing import Any

import optax

from attokit.learned_scales import hold_scales_after
from attokit.oscillations import dampen, freeze_flips
from attokit.quant import QParams


@dataclasses.dataclass(frozen=True, kw_only=True)
class Steadying:
    """Switches of QAT; with none of them on it trains as if there were none, bit for bit.

    Attributes:
      dampening: Weight that the squared distance of kernels from their integers has in the loss at the end
        of QAT; it rises from 0 along half a cosine (0.1 is usual).
      freeze_flips: Frequencies of flips, at the start and at the end of QAT, above which a value of a kernel
        freezes at its average integer. A flip is a step in which its integer goes back; 0.1 0.01 is usual.
      flip_momentum: Share of the newest step in frequencies and averages.
      freeze_scales_after: Share of QAT after which scales that are learned stay.
    """

    dampening: float = 0.0
    freeze_flips: tuple[float, float] | None = None
    flip_momentum: float = 0.005
    freeze_scales_after: float | None = None

    def __post_init__(self) -> None:
        """Refuses values that mean nothing, and those that change nothing."""
        if not 0 <= self.dampening < float("inf"):
            raise ValueError(f"dampening is {self.dampening}: give a weight of 0 (off) or more")
        if not 0 < self.flip_momentum < 1:
            raise ValueError(f"flip_momentum is {self.flip_momentum}: give a share between 0 and 1")
        share = self.freeze_scales_after
        if share is not None and not 0 < share < 1:
            raise ValueError(f"freeze_scales_after is {share}: give a share between 0 and 1")
        if self.freeze_flips is None:
            if self.flip_momentum != type(self).flip_momentum:
                raise ValueError(
                    f"flip_momentum {self.flip_momentum} changes nothing: add --freeze-flips"
                )
            return
        object.__setattr__(self, "freeze_flips", tuple(self.freeze_flips))  # JSON knows no tuples
        if not all(0 < threshold < 1 for threshold in self.freeze_flips):
            raise ValueError(f"freeze_flips are {self.freeze_flips}: give shares between 0 and 1")
        start, end = self.freeze_flips
        if end > start:
            raise ValueError(
                f"freeze_flips rise from {start} to {end}, so that values freeze at the start alone: give the "
                f"larger first ({end} {start})"
            )
        if self.flip_momentum >= min(self.freeze_flips):
            raise ValueError(
                f"flip_momentum {self.flip_momentum} reaches {min(self.freeze_flips)} of freeze_flips, so "
                "that a single flip would freeze a value: give a third of that at most"
            )

    def settings(self) -> dict[str, Any]:
        """Returns the switches that are on, for a JSON file."""
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        own = {name: value for name, value in vars(self).items() if value != defaults[name]}
        if self.freeze_flips is not None:
            own["flip_momentum"] = self.flip_momentum
        return own

    def around(
        self, optimizer: optax.GradientTransformation, kernels: QParams, total_steps: int
    ) -> optax.GradientTransformation:
        """Returns an optimizer of {"weights", "log_scales"} with the switches that are on.

        Args:
          optimizer: Which is returned as it is where none is on.
          kernels: Qparams of kernels by name, as calibrated (`oscillations.kernels_of`).
          total_steps: Of the training.

        Raises:
          ValueError: if kernels are to be steadied and there is none, or scales to be frozen after no step
            or the last one.
        """
        parts = [optimizer]
        if (self.dampening or self.freeze_flips) and not kernels:
            raise ValueError(
                "the graph has no kernel in integers to steady: leave dampening and freeze_flips out"
            )
        if self.dampening:
            parts.insert(0, dampen(kernels, self.dampening, total_steps))
        if self.freeze_scales_after is not None:
            parts.append(hold_scales_after(self._free_steps(total_steps)))
        if self.freeze_flips is not None:  # last: it looks at where the updates lead
            parts.append(freeze_flips(kernels, self.freeze_flips, self.flip_momentum, total_steps))
        return optax.chain(*parts) if len(parts) > 1 else optimizer

    def _free_steps(self, total_steps: int) -> int:
        """Returns the steps before scales stay."""
        assert self.freeze_scales_after is not None
        steps = max(1, round(self.freeze_scales_after * total_steps))
        if steps >= total_steps:
            raise ValueError(
                f"freeze_scales_after {self.freeze_scales_after} of {total_steps} steps leaves none in which "
                "scales stay: give a smaller share or more steps, or leave it out"
            )
        return steps
