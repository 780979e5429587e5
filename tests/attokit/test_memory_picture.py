import io

import numpy as np
from foreign_files import ForeignFile
from PIL import Image

from attokit import export
from attokit.memory_picture import memory_picture


def test_the_same_file_gives_the_same_picture(finished):
    info = export.inspect(finished[0] / "model.tflite")
    picture = memory_picture(info)
    assert picture == memory_picture(info)
    pixels = np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")).reshape(-1, 3)
    blue = np.abs(pixels.astype(int) - [99, 146, 198]).max(1) < 12  # a bar over white
    assert blue.mean() > 0.005


def test_activations_of_no_bytes_are_drawn_too():
    file = ForeignFile()
    graph = file.graph()
    x, y = graph.tensor(1, 0, name="x"), graph.tensor(1, 0, name="y")
    graph.operator("RELU", [x], [y])
    graph.inputs, graph.outputs = [x], [y]
    assert memory_picture(export.inspect(file.written())).startswith(b"\x89PNG")
