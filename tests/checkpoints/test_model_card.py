import ast
import dataclasses

from attokit import checkpoints, zoo
from attokit.checkpoints import HubFile, model_card


def test_says_what_the_record_says():
    record = checkpoints.info("attonet_d.fashion_mnist")
    card = model_card("attonet_d.fashion_mnist", record)
    head, rest = card.removeprefix("---\n").split("\n---\n", 1)
    assert head.splitlines()[0] == "license: apache-2.0"
    assert "| accuracy | 0.9343 |" in rest
    assert f"{record.size:,} bytes, sha256 `{record.sha256}`" in rest
    assert "9 Ankle boot." in rest
    assert "tflite file" not in rest


def test_its_example_is_the_published_one():
    name = "attendseg_lite.scenes"
    card = model_card(name, checkpoints.info(name))
    code = card.split("```python\n")[1].split("```")[0]
    values = {}
    exec(compile(code, "card", "exec"), values)
    assert values["model"] == zoo.create("attendseg_lite", num_classes=11, image_size=(128, 128, 3))
    assert values["variables"]["params"].keys() == checkpoints.load(name)["params"].keys()


def test_odd_values_stay_in_their_cells():
    record = dataclasses.replace(
        checkpoints.info("attonet_d.fashion_mnist"),
        recipe="a | b\nc",
        overrides={"output": "argmax", "widths": (1, 2)},
        preprocessing={"range": (0, 1)},
        quantization="w4",
        tflite=HubFile(source="x", sha256="1" * 64, size=1234),
        data="scenes",
    )
    card = model_card("attonet_d.x", record)
    assert "| trained by | a \\| b c |" in card
    (line,) = [line for line in card.splitlines() if line.startswith("model = ")]
    call = ast.parse(line).body[0].value
    assert {k.arg: ast.literal_eval(k.value) for k in call.keywords} == dict(record.overrides)
    assert "| tflite file | 1,234 bytes" in card
    assert "| quantization | w4 |" in card
    assert "| trained on | scenes |" in card
    assert "Classes:" not in card
