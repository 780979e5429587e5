"""CamVid: its 32 labels with their colours, the usual 11 classes, and the usual split.

Brostow et al., "Semantic object classes in video: a high-definition ground truth database" (labels and
colours, as `label_colors.txt` of the data set lists them). The 11 classes were introduced by Sturgess
et al., "Combining appearance and structure from motion features for road scene understanding"; the
grouping of all 32 labels is that of SegNet's experiments (Badrinarayanan et al., "SegNet", section
4.1). So is the split into 367, 101 and 233 images.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType

from attokit.train.dataset import IGNORE

CLASSES = (
    "sky", "building", "pole", "road", "pavement", "tree", "sign_symbol", "fence", "car",
    "pedestrian", "bicyclist",
)  # fmt: skip

VOID = 11
"""The id of unlabelled pixels in the masks that SegNet's authors published."""

LABEL_COLORS: Mapping[str, tuple[int, int, int]] = MappingProxyType(
    {
        "Animal": (64, 128, 64),
        "Archway": (192, 0, 128),
        "Bicyclist": (0, 128, 192),
        "Bridge": (0, 128, 64),
        "Building": (128, 0, 0),
        "Car": (64, 0, 128),
        "CartLuggagePram": (64, 0, 192),
        "Child": (192, 128, 64),
        "Column_Pole": (192, 192, 128),
        "Fence": (64, 64, 128),
        "LaneMkgsDriv": (128, 0, 192),
        "LaneMkgsNonDriv": (192, 0, 64),
        "Misc_Text": (128, 128, 64),
        "MotorcycleScooter": (192, 0, 192),
        "OtherMoving": (128, 64, 64),
        "ParkingBlock": (64, 192, 128),
        "Pedestrian": (64, 64, 0),
        "Road": (128, 64, 128),
        "RoadShoulder": (128, 128, 192),
        "Sidewalk": (0, 0, 192),
        "SignSymbol": (192, 128, 128),
        "Sky": (128, 128, 128),
        "SUVPickupTruck": (64, 128, 192),
        "TrafficCone": (0, 0, 64),
        "TrafficLight": (0, 64, 64),
        "Train": (192, 64, 128),
        "Tree": (128, 128, 0),
        "Truck_Bus": (192, 128, 192),
        "Tunnel": (64, 0, 64),
        "VegetationMisc": (192, 192, 0),
        "Void": (0, 0, 0),
        "Wall": (64, 192, 0),
    }
)

GROUPS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "sky": ("Sky",),
        "building": ("Archway", "Bridge", "Building", "Tunnel", "Wall"),
        "pole": ("Column_Pole", "TrafficCone"),
        "road": ("LaneMkgsDriv", "LaneMkgsNonDriv", "Road"),
        "pavement": ("ParkingBlock", "RoadShoulder", "Sidewalk"),
        "tree": ("Tree", "VegetationMisc"),
        "sign_symbol": ("Misc_Text", "SignSymbol", "TrafficLight"),
        "fence": ("Fence",),
        "car": ("Car", "OtherMoving", "SUVPickupTruck", "Train", "Truck_Bus"),
        "pedestrian": ("Animal", "CartLuggagePram", "Child", "Pedestrian"),
        "bicyclist": ("Bicyclist", "MotorcycleScooter"),
    }
)

COLOR_CLASSES: Mapping[tuple[int, int, int], int] = MappingProxyType(
    {LABEL_COLORS["Void"]: IGNORE}
    | {
        LABEL_COLORS[label]: CLASSES.index(name)
        for name, labels in GROUPS.items()
        for label in labels
    }
)
"""The class of each colour."""


def split_of(name: str) -> str:
    """Returns train, val or test for the name of a frame, such as `0016E5_07959`.

    Of the day sequence 0001TP's second half and the dusk sequence Seq05VD are the test; the stretch
    of 0016E5 that was labelled at 15 Hz (every other frame) is for validation.

    Raises:
      ValueError: if it is no name of CamVid.
    """
    match = re.fullmatch(r"(0001TP|0006R0|0016E5|Seq05VD)_f?(\d+)", name)
    if match is None:
        raise ValueError(
            f"{name!r} is no frame of CamVid, such as 0016E5_07959: move it out of the folder"
        )
    sequence, frame = match[1], int(match[2])
    if sequence == "Seq05VD" or (sequence == "0001TP" and frame >= 8550):
        return "test"
    return "val" if sequence == "0016E5" and 7959 <= frame <= 8159 and frame % 2 else "train"
