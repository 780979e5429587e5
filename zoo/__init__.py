"""The models: pure Flax Linen modules, their configs, and the registry that names them.

Axis names in annotations, here and in every other room:

    b            images in a batch
    h w          pixels: rows, columns
    c            channels (cin, cout where two meet)
    k            classes
    n            boxes
    t            regions of interest
    kh kw        kernel rows, columns
    cin_per_group  input channels that one group of a convolution reads

Activations are NHWC, kernels HWIO. Images are RGB (or grey) floats in [0, 1] = byte / 255.
"""

if __name__ != "attokit.zoo":
    raise ImportError(
        f"this package was imported as {__name__!r}: write `from attokit import zoo` "
        "(the repository root on sys.path makes a second copy of every module; remove it)"
    )

from attokit.zoo.attendseg import AttendSeg, AttendSegConfig
from attokit.zoo.attendseg_lite import AttendSegLite, AttendSegLiteConfig
from attokit.zoo.attention_condenser import AttentionCondenser, CondenserConfig
from attokit.zoo.attonet import AttoNet, AttoNetConfig
from attokit.zoo.backbone import Backbone, FeatureMap
from attokit.zoo.convolution import Conv, conv
from attokit.zoo.cost import count_macs, count_parameters
from attokit.zoo.edgeml import rnnpool_from_edgeml, variables_from_edgeml
from attokit.zoo.mask_paste import paste_masks
from attokit.zoo.mask_rcnn import MaskRCNN, MaskRCNNConfig
from attokit.zoo.mobilenet_v1 import MobileNetV1, MobileNetV1Config
from attokit.zoo.mobilenet_v2 import MobileNetV2, MobileNetV2Config
from attokit.zoo.nms import non_max_suppression
from attokit.zoo.registry import ModelInfo, config, create, feature_maps, info, names, task
from attokit.zoo.resnet import ResNet, ResNetConfig
from attokit.zoo.rnnpool import RNNPool, rnn_pool
from attokit.zoo.rnnpool_face import RNNPoolFace, RNNPoolFaceConfig
from attokit.zoo.rnnpool_vww import RNNPoolVWW, RNNPoolVWWConfig
from attokit.zoo.torchvision import variables_from_torchvision

__all__ = [
    "AttendSeg",
    "AttendSegConfig",
    "AttendSegLite",
    "AttendSegLiteConfig",
    "AttentionCondenser",
    "AttoNet",
    "AttoNetConfig",
    "Backbone",
    "CondenserConfig",
    "Conv",
    "FeatureMap",
    "MaskRCNN",
    "MaskRCNNConfig",
    "MobileNetV1",
    "MobileNetV1Config",
    "MobileNetV2",
    "MobileNetV2Config",
    "ModelInfo",
    "RNNPool",
    "RNNPoolFace",
    "RNNPoolFaceConfig",
    "RNNPoolVWW",
    "RNNPoolVWWConfig",
    "ResNet",
    "ResNetConfig",
    "config",
    "conv",
    "count_macs",
    "count_parameters",
    "create",
    "feature_maps",
    "info",
    "names",
    "non_max_suppression",
    "paste_masks",
    "rnn_pool",
    "rnnpool_from_edgeml",
    "task",
    "variables_from_edgeml",
    "variables_from_torchvision",
]
