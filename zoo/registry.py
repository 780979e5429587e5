"""The list of models by name: build one, list them, ask what one costs."""

import dataclasses
import difflib
import fnmatch
from typing import Any, get_args

import flax.linen as nn
import jax
import jax.numpy as jnp

from attokit.zoo import (
    attendseg,
    backbones,
    deeplab_v3,
    edgesegnet,
    mask_rcnn,
    rnnpool_face,
    unet,
)
from attokit.zoo.backbone import FeatureMap, stride_of
from attokit.zoo.backbones import BACKBONES
from attokit.zoo.cost import count_macs, count_parameters
from attokit.zoo.family import Family, Task

_FAMILIES = (
    *BACKBONES,
    Family(
        name="AttendSeg",
        build=attendseg.AttendSeg,
        variants=attendseg.VARIANTS,
        source="https://arxiv.org/abs/2104.14623",
        module=attendseg,
        task="segmentation",
    ),
    Family(
        name="DeepLabV3",
        build=deeplab_v3.DeepLabV3,
        variants=deeplab_v3.VARIANTS,
        source="https://arxiv.org/abs/1801.04381",
        module=deeplab_v3,
        task="segmentation",
    ),
    Family(
        name="EdgeSegNet",
        build=edgesegnet.EdgeSegNet,
        variants=edgesegnet.VARIANTS,
        source="https://arxiv.org/abs/1905.04222",
        module=edgesegnet,
        task="segmentation",
    ),
    Family(
        name="Mask R-CNN",
        build=mask_rcnn.MaskRCNN,
        variants=mask_rcnn.VARIANTS,
        source="https://arxiv.org/abs/1703.06870",
        module=mask_rcnn,
        task="instance_segmentation",
    ),
    Family(
        name="RNNPool-Face",
        build=rnnpool_face.RNNPoolFace,
        variants=rnnpool_face.VARIANTS,
        source="https://arxiv.org/abs/2002.11921",
        module=rnnpool_face,
        task="detection",
    ),
    Family(
        name="U-Net",
        build=unet.UNet,
        variants=unet.VARIANTS,
        source="https://arxiv.org/abs/1505.04597",
        module=unet,
        task="segmentation",
    ),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """What is known of a model without running it.

    Attributes:
      name: Registry name.
      parameters: Trained numbers, counted on the model.
      macs: Multiply-accumulates for one image of `image_size`, counted on the model.
      image_size: Height, width and channels.
      num_classes: Logits per image, per pixel or per box; of a detector the background is the first.
      task: "classification", "segmentation", "detection" or "instance_segmentation".
      family: What people call the family.
      source: The paper.
      deviations: Where the model leaves the paper, one sentence each.
    """

    name: str
    parameters: int
    macs: int
    image_size: tuple[int, int, int]
    num_classes: int
    task: Task
    family: str
    source: str
    deviations: tuple[str, ...]


def names(pattern: str = "*", task: Task | None = None) -> tuple[str, ...]:
    """Returns the sorted names of all models that match a shell pattern, of one task or of all.

    Raises:
      ValueError: if there is no such task.
    """
    if task not in (None, *get_args(Task)):
        raise ValueError(f"task={task!r}: give one of {', '.join(get_args(Task))}, or None for all")
    families = [family for family in _FAMILIES if task in (None, family.task)]
    known = [name for family in families for name in family.variants]
    return tuple(sorted(fnmatch.filter(known, pattern)))


def task(name: str) -> Task:
    """Returns what a model's outputs say: "classification", "segmentation", "detection" or "instance_segmentation".

    Raises:
      ValueError: if no model has that name.
    """
    return _family(name).task


def create(name: str, *, features_only: bool = False, **overrides: Any) -> nn.Module:
    """Returns a model, with some fields of its published config replaced.

    Args:
      name: One of `names()`.
      features_only: Leaves out the head of a classifier: the network then returns its maps by name, "c2" with a
        stride of 4 and so on, which `feature_maps` lists. The variables are those of the classifier, less the
        head's.
      **overrides: Fields of the config.

    Raises:
      ValueError: if no model has that name, the config refuses a value, or the model has no maps to give.
      TypeError: if the config has no such field.
    """
    family, settings = _family(name), config(name, **overrides)
    if not features_only:
        return family.build(settings)
    backbones.check_name(name)
    return family.build(settings, features_only=True)


def feature_maps(name: str, **overrides: Any) -> tuple[FeatureMap, ...]:
    """Returns the maps that `create(name, features_only=True)` gives, from the image down; nothing runs.

    Raises:
      ValueError: if no model has that name, the config refuses a value, or the model has no maps to give.
      TypeError: if the config has no such field.
    """
    model = create(name, features_only=True, **overrides)
    size = config(name, **overrides).image_size
    images = jax.ShapeDtypeStruct((1, *size), jnp.float32)
    maps, _ = jax.eval_shape(model.init_with_output, jax.random.key(0), images)
    return tuple(
        FeatureMap(name=key, stride=stride_of(key), channels=x.shape[-1])
        for key, x in sorted(maps.items(), key=lambda item: stride_of(item[0]))
    )


def config(name: str, **overrides: Any) -> Any:
    """Returns the config of a model, with some fields replaced, at an image size in any case.

    Raises:
      ValueError: if no model has that name, or the config refuses a value.
      TypeError: if the config has no such field.
    """
    published = _family(name).variants[name]
    fields = [field.name for field in dataclasses.fields(published)]
    for field in overrides:
        if field not in fields:
            near = difflib.get_close_matches(field, fields, cutoff=0.5) or fields
            raise TypeError(f"{name} has no field {field!r}: did you mean {' or '.join(near)}?")
    settings = dataclasses.replace(published, **overrides)
    if settings.image_size is None:  # the model's own, which other fields decide
        settings = dataclasses.replace(settings, image_size=settings.native_size)
    return settings


def info(name: str, **overrides: Any) -> ModelInfo:
    """Returns what a model is and costs at the image size of its config; nothing runs.

    Raises:
      ValueError: if no model has that name, or the config refuses a value.
      TypeError: if the config has no such field.
    """
    family, settings = _family(name), config(name, **overrides)
    model = family.build(settings)
    images = jax.ShapeDtypeStruct((1, *settings.image_size), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), images)
    return ModelInfo(
        name=name,
        parameters=count_parameters(variables),
        macs=count_macs(model.apply, variables, images),
        image_size=settings.image_size,
        num_classes=settings.num_classes,
        task=family.task,
        family=family.name,
        source=family.source,
        deviations=_deviations(family.module.__doc__),
    )


def _family(name: str) -> Family:
    for family in _FAMILIES:
        if name in family.variants:
            return family
    near = difflib.get_close_matches(name, names(), n=3)
    hint = (
        f"did you mean one of {', '.join(near)}?" if near else f"choose from {', '.join(names())}"
    )
    raise ValueError(f"no model {name!r}: {hint}")


def _deviations(docstring: str) -> tuple[str, ...]:
    paragraphs = docstring.replace("\nDeviation:", "\n\nDeviation:").split("\n\n")
    marked = (" ".join(part.split()) for part in paragraphs)
    return tuple(
        part.removeprefix("Deviation: ") for part in marked if part.startswith("Deviation:")
    )
