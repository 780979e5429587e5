"""Opens a file of `attokit export --mediapipe` in MediaPipe Tasks and tells what is in an image.

python open_file.py model.tflite image.png [classifier|segmenter|detector]
"""

import sys

import mediapipe as mp
import numpy as np
from mediapipe.tasks.python import BaseOptions, vision


def main(model: str, image: str, kind: str = "classifier") -> None:
    """Prints what a model sees."""
    base = BaseOptions(model_asset_path=model)
    picture = mp.Image.create_from_file(image)
    if kind == "classifier":
        options = vision.ImageClassifierOptions(base_options=base, max_results=3)
        with vision.ImageClassifier.create_from_options(options) as task:
            for category in task.classify(picture).classifications[0].categories:
                print(f"{category.category_name}: {category.score:.4f}")
    elif kind == "segmenter":
        options = vision.ImageSegmenterOptions(base_options=base, output_category_mask=True)
        with vision.ImageSegmenter.create_from_options(options) as task:
            mask = np.array(task.segment(picture).category_mask.numpy_view())
            for index, name in enumerate(task.labels):
                print(f"{name}: {100 * (mask == index).mean():.1f} % of the pixels")
    else:
        options = vision.ObjectDetectorOptions(base_options=base)
        with vision.ObjectDetector.create_from_options(options) as task:
            for found in task.detect(picture).detections:
                box, best = found.bounding_box, found.categories[0]
                print(
                    f"{best.category_name}: {best.score:.4f} at {box.origin_x}, {box.origin_y}, "
                    f"{box.width} x {box.height}"
                )


if __name__ == "__main__":
    main(*sys.argv[1:])
