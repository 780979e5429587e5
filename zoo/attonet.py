"""AttoNets: classifiers of back-to-back pointwise modules (Wong, Lin and Chwyl, arXiv 1903.07209).

A module condenses by a 1x1 convolution, mixes space by a 3x3 convolution in groups, and restores the
width by two 1x1 convolutions. Type A adds its input; type B may stride in the grouped convolution and
adds its input through a 1x1 convolution. 16 modules in stages of 3, 4, 6 and 3, type B first in each:
1 + 16 * 4 + 4 = 69 convolutions, each followed by a batch norm.

Deviation: the widths, group counts and strides are this project's. The paper's table of them was not
at hand; they keep within budgets that follow from the published ratios (D: a tenth of MobileNet-V1's
parameters and multiply-adds). Multiples of 8 replace the odd widths of a machine's search, because
kernels on small processors work in words.
Deviation: stage lengths [3, 4, 6, 3] are those of a later network of the same group; the paper's text
gives 16 modules and 69 convolutions, which they match.
Deviation: the norm before the sum starts with gamma zero, so that every module starts as its shortcut.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Literal

import flax.linen as nn
from jaxtyping import Array, Float

from attokit.zoo.backbone import Backbone, StridedMap
from attokit.zoo.conv_norm import ConvNorm
from attokit.zoo.sizes import check_positive

STAGES = (3, 4, 6, 3)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Module:
    """Sizes of one module.

    Attributes:
      kind: "A" adds the input itself, "B" a 1x1 convolution of it.
      bottleneck: Channels after the condensing convolution and after the grouped one.
      groups: Groups of the 3x3 convolution; a divisor of `bottleneck`.
      pointwise: Channels between the two convolutions that restore the width.
      width: Output channels.
      stride: Step of the grouped convolution; 1 in type A.
    """

    kind: Literal["A", "B"] = "A"
    bottleneck: int
    groups: int
    pointwise: int
    width: int
    stride: int = 1

    def __post_init__(self) -> None:
        """Refuses sizes that no network can have."""
        check_positive(self, "bottleneck", "groups", "pointwise", "width", "stride")
        if self.kind not in ("A", "B"):
            raise ValueError(f"kind={self.kind!r}: give 'A' or 'B'")
        if self.bottleneck % self.groups:
            raise ValueError(
                f"bottleneck={self.bottleneck} does not divide into groups={self.groups}: "
                "choose a divisor"
            )
        if self.kind == "A" and self.stride != 1:
            raise ValueError(f"stride={self.stride} in a type A module: use kind='B'")


@dataclasses.dataclass(frozen=True, kw_only=True)
class AttoNetConfig:
    """Sizes of one AttoNet.

    Attributes:
      modules: The 16 modules, in order.
      stem: Channels of the first convolution.
      num_classes: Logits per image.
      small_images: For 28 to 64 pixels: the stem keeps the resolution and nothing is pooled, so that
        the stages see 1, 1/2, 1/4 and 1/8 of it.
      image_size: Height, width and channels that `zoo.info` counts at; None for `native_size`, which
        `zoo.config` fills in.  The network takes any.
    """

    modules: tuple[Module, ...]
    stem: int
    num_classes: int = 1000
    small_images: bool = False
    image_size: tuple[int, int, int] | None = None

    def __post_init__(self) -> None:
        """Refuses modules that do not follow one another."""
        if len(self.modules) != sum(STAGES):
            raise ValueError(
                f"{len(self.modules)} modules: give {sum(STAGES)}, stages of {list(STAGES)}"
            )
        check_positive(self, "stem", "num_classes")
        width = self.stem
        for position, module in enumerate(self.modules, start=1):
            if module.kind == "A" and module.width != width:
                raise ValueError(
                    f"module {position} of type A turns {width} channels into {module.width}: "
                    "keep the width or use kind='B'"
                )
            width = module.width

    @property
    def native_size(self) -> tuple[int, int, int]:
        """The images that the network is made for: (224, 224, 3), or small ones (28, 28, 1)."""
        return (28, 28, 1) if self.small_images else (224, 224, 3)


class AttoNet(Backbone):
    """The classifier of a config: stem, four stages, global average, linear head.

    Parameters are named by stage and module: `stem`, `stage1_module1` ... `stage4_module3`, `head`.
    """

    config: AttoNetConfig

    @nn.nowrap
    def stages(self, images: Float[Array, "b h w c"], *, train: bool) -> Iterator[StridedMap]:
        """Yields the map after the stem and every module."""
        small = self.config.small_images
        reached = 1 if small else 2
        x = ConvNorm(self.config.stem, 3, strides=reached, name="stem")(images, train=train)
        yield reached, x
        if not small:
            x = nn.max_pool(x, (3, 3), strides=(2, 2), padding="SAME")
            reached *= 2
        modules = iter(self.config.modules)
        for stage, length in enumerate(STAGES, start=1):
            for position in range(1, length + 1):
                name, module = f"stage{stage}_module{position}", next(modules)
                x = AttoModule(module, name=name)(x, train=train)
                reached *= module.stride
                yield reached, x


class AttoModule(nn.Module):
    """One module of type A or B; relu follows every norm but the one before the sum, and the sum."""

    config: Module

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], *, train: bool = False
    ) -> Float[Array, "b h2 w2 c2"]:
        """Returns the module's activations."""
        sizes, shortcut = self.config, x
        x = ConvNorm(sizes.bottleneck, name="condense")(x, train=train)
        x = ConvNorm(
            sizes.bottleneck, 3, strides=sizes.stride, groups=sizes.groups, name="grouped"
        )(x, train=train)
        x = ConvNorm(sizes.pointwise, name="pointwise")(x, train=train)
        x = ConvNorm(
            sizes.width,
            activation="none",
            scale_init=nn.initializers.zeros_init(),
            name="restore",
        )(x, train=train)
        if sizes.kind == "B":
            shortcut = ConvNorm(
                sizes.width, strides=sizes.stride, activation="none", name="shortcut"
            )(shortcut, train=train)
        return nn.relu(x + shortcut)


def _modules(*stages: tuple[int, tuple[tuple[int, int, int], ...]]) -> tuple[Module, ...]:
    """Returns modules from each stage's width and rows of (bottleneck, groups, pointwise)."""
    modules = []
    for index, (width, rows) in enumerate(stages):
        for position, (bottleneck, groups, pointwise) in enumerate(rows):
            first = position == 0
            modules.append(
                Module(
                    kind="B" if first else "A",
                    bottleneck=bottleneck,
                    groups=groups,
                    pointwise=pointwise,
                    width=width,
                    stride=2 if first and index else 1,
                )
            )
    return tuple(modules)


VARIANTS: Mapping[str, AttoNetConfig] = MappingProxyType(
    {
        "attonet_a": AttoNetConfig(
            stem=32,
            modules=_modules(
                (64, ((32, 4, 32), (24, 2, 40), (32, 4, 32))),
                (128, ((56, 4, 56), (56, 2, 56), (64, 8, 56), (56, 4, 64))),
                (
                    256,
                    (
                        (120, 4, 128),
                        (112, 4, 128),
                        (128, 8, 120),
                        (120, 8, 128),
                        (128, 8, 128),
                        (136, 8, 128),
                    ),
                ),
                (656, ((264, 4, 288), (248, 4, 288), (280, 8, 304))),
            ),
        ),
        "attonet_b": AttoNetConfig(
            stem=24,
            modules=_modules(
                (48, ((24, 2, 24), (24, 2, 32), (32, 4, 24))),
                (96, ((48, 4, 48), (40, 2, 56), (56, 4, 48), (48, 4, 48))),
                (
                    208,
                    (
                        (96, 4, 104),
                        (96, 8, 96),
                        (112, 8, 96),
                        (96, 4, 104),
                        (104, 8, 104),
                        (112, 8, 104),
                    ),
                ),
                (528, ((216, 4, 224), (208, 8, 224), (224, 8, 248))),
            ),
        ),
        "attonet_c": AttoNetConfig(
            stem=24,
            modules=_modules(
                (32, ((16, 2, 16), (16, 2, 24), (24, 4, 16))),
                (72, ((32, 4, 32), (32, 2, 40), (40, 4, 32), (32, 4, 40))),
                (
                    144,
                    ((72, 4, 72), (64, 4, 72), (80, 8, 64), (64, 4, 80), (72, 8, 72), (80, 8, 72)),
                ),
                (384, ((152, 4, 160), (144, 4, 160), (160, 8, 168))),
            ),
        ),
        "attonet_d": AttoNetConfig(
            stem=16,
            modules=_modules(
                (16, ((8, 1, 8), (8, 2, 16), (8, 2, 8))),
                (40, ((16, 2, 16), (16, 2, 24), (24, 3, 16), (16, 2, 24))),
                (
                    88,
                    ((40, 2, 40), (32, 2, 40), (40, 4, 32), (40, 2, 40), (32, 2, 40), (48, 4, 40)),
                ),
                (208, ((88, 4, 88), (88, 4, 96), (96, 8, 104))),
            ),
        ),
    }
)
