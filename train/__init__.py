"""Training: data, losses, metrics, and one sharded loop for float networks and QAT alike."""

if __name__ != "attokit.train":
    raise ImportError(
        f"this package was imported as {__name__!r}: write `from attokit import train` "
        "(the repository root on sys.path makes a second copy of every module; remove it)"
    )

from attokit.train.anchors import Anchors, network_anchors
from attokit.train.augment import AugmentConfig, augment_batch, draw_augmentation
from attokit.train.batch_statistics import reestimate_batch_stats
from attokit.train.box_records import BoxRecord, box_record_source
from attokit.train.coco_json import is_coco, load_visual_wake_words
from attokit.train.config import TrainConfig
from attokit.train.cpu_devices import use_cpu_cores
from attokit.train.dataset import IGNORE, ArraySource, Dataset, RecordSource, Source
from attokit.train.dense_inference import average_views, dense_forward, slide_window
from attokit.train.depth import depth_task, reverse_huber
from attokit.train.detection import check_heads, detection_task
from attokit.train.detection_folder import is_detection_folder, load_detection_folder
from attokit.train.detection_metrics import AveragePrecision
from attokit.train.detections import Detections, FindConfig, find_objects
from attokit.train.distillation import Teacher, distillation, distillation_loss
from attokit.train.evaluation import evaluate
from attokit.train.fashion_mnist import load_fashion_mnist, load_fashion_mnist_subset
from attokit.train.forward import Forward, flax_forward, split_variables
from attokit.train.garments import Garments, load_garments
from attokit.train.gradient_filter import filter_gradients, filtered_conv
from attokit.train.hard_threshold import hard_threshold, hold_zeros, iterative_hard_thresholding
from attokit.train.hosts import join_hosts
from attokit.train.image_folder import load_image_folder, read_image
from attokit.train.instance_folder import load_instance_folder
from attokit.train.instance_metrics import InstancePrecision
from attokit.train.instance_segmentation import instance_segmentation_task
from attokit.train.interruption import Preempted
from attokit.train.loader import EvalBatches, TrainBatches, iterate
from attokit.train.loop import FitResult, NonFiniteLossError, fit
from attokit.train.losses import softmax_cross_entropy
from attokit.train.mask_rcnn import MaskRCNNTrainConfig
from attokit.train.matching import MatchConfig, match_anchors
from attokit.train.mesh import make_mesh, named_mesh
from attokit.train.metrics import (
    CalibrationError,
    Collected,
    Confusion,
    Mean,
    MetricTotals,
    compute_metrics,
    merge_metrics,
    top_k_accuracy,
)
from attokit.train.multibox_loss import multibox_sums
from attokit.train.optimizer import make_optimizer
from attokit.train.padded_boxes import BoxPadding, check_boxes
from attokit.train.photo import open_upright
from attokit.train.pixel_losses import (
    PIXEL_LOSSES,
    cross_entropy_dice,
    dice_loss,
    focal_loss,
    lovasz_softmax,
    pixel_cross_entropy,
)
from attokit.train.pixel_metrics import MeanIou, PixelAccuracy, iou_per_class
from attokit.train.recipes import RECIPES, Recipe, find_recipe
from attokit.train.run_folder import read_metrics
from attokit.train.scene_drawing import Scene, SceneConfig, draw_scene
from attokit.train.scenes import load_scenes, scene_source
from attokit.train.schedule import warmup_cosine
from attokit.train.segmentation import segmentation_task
from attokit.train.segmentation_folder import is_segmentation_folder, load_segmentation_folder
from attokit.train.state import TrainState
from attokit.train.step import make_eval_step, make_train_step
from attokit.train.task import Task, classification_task
from attokit.train.task_choice import task_for
from attokit.train.tfds_source import load_tfds
from attokit.train.wake_scenes import load_wake_scenes, wake_scene_source
from attokit.train.wider_evaluation import read_wider_truth, wider_average_precision

__all__ = [
    "IGNORE",
    "PIXEL_LOSSES",
    "RECIPES",
    "Anchors",
    "ArraySource",
    "AugmentConfig",
    "AveragePrecision",
    "BoxPadding",
    "BoxRecord",
    "CalibrationError",
    "Collected",
    "Confusion",
    "Dataset",
    "Detections",
    "EvalBatches",
    "FindConfig",
    "FitResult",
    "Forward",
    "Garments",
    "InstancePrecision",
    "MaskRCNNTrainConfig",
    "MatchConfig",
    "Mean",
    "MeanIou",
    "MetricTotals",
    "NonFiniteLossError",
    "PixelAccuracy",
    "Preempted",
    "Recipe",
    "RecordSource",
    "Scene",
    "SceneConfig",
    "Source",
    "Task",
    "Teacher",
    "TrainBatches",
    "TrainConfig",
    "TrainState",
    "augment_batch",
    "average_views",
    "box_record_source",
    "check_boxes",
    "check_heads",
    "classification_task",
    "compute_metrics",
    "cross_entropy_dice",
    "dense_forward",
    "depth_task",
    "detection_task",
    "dice_loss",
    "distillation",
    "distillation_loss",
    "draw_augmentation",
    "draw_scene",
    "evaluate",
    "filter_gradients",
    "filtered_conv",
    "find_objects",
    "find_recipe",
    "fit",
    "flax_forward",
    "focal_loss",
    "hard_threshold",
    "hold_zeros",
    "instance_segmentation_task",
    "iou_per_class",
    "is_coco",
    "is_detection_folder",
    "is_segmentation_folder",
    "iterate",
    "iterative_hard_thresholding",
    "join_hosts",
    "load_detection_folder",
    "load_fashion_mnist",
    "load_fashion_mnist_subset",
    "load_garments",
    "load_image_folder",
    "load_instance_folder",
    "load_scenes",
    "load_segmentation_folder",
    "load_tfds",
    "load_visual_wake_words",
    "load_wake_scenes",
    "lovasz_softmax",
    "make_eval_step",
    "make_mesh",
    "make_optimizer",
    "make_train_step",
    "match_anchors",
    "merge_metrics",
    "multibox_sums",
    "named_mesh",
    "network_anchors",
    "open_upright",
    "pixel_cross_entropy",
    "read_image",
    "read_metrics",
    "read_wider_truth",
    "reestimate_batch_stats",
    "reverse_huber",
    "scene_source",
    "segmentation_task",
    "slide_window",
    "softmax_cross_entropy",
    "split_variables",
    "task_for",
    "top_k_accuracy",
    "use_cpu_cores",
    "wake_scene_source",
    "warmup_cosine",
    "wider_average_precision",
]
