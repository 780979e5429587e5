"""Pretrained weights that come with this version: one table, `model.tag` to a checked file.

To add weights: put the safetensors file into `checkpoints/assets/` (or where an address leads) and one
row into `WEIGHTS`; `describe_file` gives its size and hash.
"""

from collections.abc import Mapping
from types import MappingProxyType

from attokit.checkpoints import class_names
from attokit.checkpoints.record import Weights, byte_images

WEIGHTS: Mapping[str, Weights] = MappingProxyType(
    {
        "atto_mask_rcnn_lite.scenes": Weights(
            model="atto_mask_rcnn_lite",
            overrides=MappingProxyType({"num_classes": 11, "image_size": (128, 128, 3)}),
            source="package:atto_mask_rcnn_lite_scenes.safetensors",
            sha256="460563f407e759c55cc5d43fa2b2d546ac23a38f623576aff460453544097049",
            size=5543644,
            preprocessing=byte_images((128, 128, 3), class_names.SCENES),
            metrics=MappingProxyType(
                {
                    "box_ap50": 0.8163,
                    "mask_ap50": 0.7778,
                    "int8_file_box_ap50": 0.8010,
                    "int8_file_mask_ap50": 0.7496,
                }
            ),
            recipe="atto_mask_rcnn_lite_scenes",
            commit="2a0f8c5",
            license="Apache-2.0",
            data="scenes",
        ),
        "attendseg_lite.scenes": Weights(
            model="attendseg_lite",
            overrides=MappingProxyType({"num_classes": 11, "image_size": (128, 128, 3)}),
            source="package:attendseg_lite_scenes.safetensors",
            sha256="04999d6a30b7cfe4bff745462ceb1b216876e7ebfc744178f8f4255dffdc25d5",
            size=1512760,
            preprocessing=byte_images((128, 128, 3), class_names.SCENES),
            metrics=MappingProxyType({"mean_iou": 0.7520, "int8_file_mean_iou": 0.7500}),
            recipe="attendseg_lite_scenes, from a training on smaller scenes: see docs/results.md",
            commit="451a6af",
            license="Apache-2.0",
            data="scenes",
        ),
        "attonet_d.fashion_mnist": Weights(
            model="attonet_d",
            overrides=MappingProxyType({"num_classes": 10, "small_images": True}),
            source="package:attonet_d_fashion_mnist.safetensors",
            sha256="e431a7d2092276af2a91ee56cf86fe03f7692e861b5acf869d510db737af82ba",
            size=1281704,
            preprocessing=byte_images((28, 28, 1), class_names.FASHION_MNIST),
            metrics=MappingProxyType(
                {"accuracy": 0.9343, "top5_accuracy": 0.9996, "int8_file_accuracy": 0.9348}
            ),
            recipe="attonet_d_fashion_mnist, then 5 epochs without crops: see docs/results.md",
            commit="e118501",
            license="Apache-2.0",
        ),
        "rnnpool_face_m4.scenes": Weights(
            model="rnnpool_face_m4",
            overrides=MappingProxyType(
                {
                    "num_classes": 11,
                    "image_size": (128, 160, 1),
                    "prior_sizes": (40, 52, 64, 80),
                    "input_mean": None,
                    "input_std": None,
                }
            ),
            source="package:rnnpool_face_m4_scenes.safetensors",
            sha256="1094832b5d3c539106b638aff90350fe5905c5de0ee5171f12d8002facae3c13",
            size=304680,
            preprocessing=byte_images((128, 160, 1), class_names.SCENES),
            metrics=MappingProxyType({"ap50": 0.7198, "int8_file_ap50": 0.7143}),
            recipe="rnnpool_face_m4_scenes",
            commit="29ce3d9",
            license="Apache-2.0",
            data="scenes",
        ),
    }
)
