"""The list of families whose bodies other networks can stand on, and how to get one by name."""

import difflib

from attokit.zoo import (
    attonet,
    mobilenet_v1,
    mobilenet_v2,
    mobilenet_v3,
    resnet,
    rnnpool_vww,
)
from attokit.zoo.backbone import Backbone
from attokit.zoo.family import Family

BACKBONES = (
    Family(
        name="AttoNet",
        build=attonet.AttoNet,
        variants=attonet.VARIANTS,
        source="https://arxiv.org/abs/1903.07209",
        module=attonet,
    ),
    Family(
        name="MobileNetV1",
        build=mobilenet_v1.MobileNetV1,
        variants=mobilenet_v1.VARIANTS,
        source="https://arxiv.org/abs/1704.04861",
        module=mobilenet_v1,
    ),
    Family(
        name="MobileNetV2",
        build=mobilenet_v2.MobileNetV2,
        variants=mobilenet_v2.VARIANTS,
        source="https://arxiv.org/abs/1801.04381",
        module=mobilenet_v2,
    ),
    Family(
        name="MobileNetV3",
        build=mobilenet_v3.MobileNetV3,
        variants=mobilenet_v3.VARIANTS,
        source="https://arxiv.org/abs/1905.02244",
        module=mobilenet_v3,
    ),
    Family(
        name="ResNet",
        build=resnet.ResNet,
        variants=resnet.VARIANTS,
        source="https://arxiv.org/abs/1512.03385",
        module=resnet,
    ),
    Family(
        name="RNNPool-VWW",
        build=rnnpool_vww.RNNPoolVWW,
        variants=rnnpool_vww.VARIANTS,
        source="https://arxiv.org/abs/2002.11921",
        module=rnnpool_vww,
    ),
)


def names() -> tuple[str, ...]:
    """Returns the sorted names of all models that can give their maps."""
    return tuple(sorted(name for family in BACKBONES for name in family.variants))


def check_name(name: str) -> None:
    """Refuses names of models that have no maps to give.

    Raises:
      ValueError: with the near ones.
    """
    if name not in names():
        near = difflib.get_close_matches(name, names(), n=3)
        raise ValueError(
            f"{name!r} is no backbone, it has no maps of features to give: "
            f"choose from {', '.join(near or names())}"
        )


def body(name: str) -> Backbone:
    """Returns a published model without its head: images in, maps by name out.

    Raises:
      ValueError: if there is no such backbone.
    """
    check_name(name)
    family = next(family for family in BACKBONES if name in family.variants)
    model = family.build(family.variants[name], features_only=True)
    assert isinstance(model, Backbone)  # so is every entry of the list
    return model
