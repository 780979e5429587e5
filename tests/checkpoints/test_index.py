import json

import pytest

from attokit.checkpoints import HubFile, Weights
from attokit.checkpoints.index import index_text, parse_index

HASH = "0123456789abcdef" * 4
RECORD = Weights(
    model="tiny",
    overrides={"num_classes": 3, "image_size": (8, 8, 1)},
    source="tiny.a/weights.safetensors",
    sha256=HASH,
    size=12,
    preprocessing={"image_shape": (8, 8, 1), "class_names": ("a", "b")},
    metrics={"accuracy": 0.5},
    recipe="none",
    commit="0",
    license="MIT",
    tflite=HubFile(source="tiny.a/model.tflite", sha256=HASH, size=34),
)


def _changed(**changes):
    content = json.loads(index_text({"tiny.a": RECORD}))
    content["weights"]["tiny.a"] |= changes
    return json.dumps(content)


def test_round_trip():
    other = Weights(**{f: getattr(RECORD, f) for f in Weights.__dataclass_fields__} | {
        "tflite": None, "quantization": "w4", "data": "scenes"})  # fmt: skip
    table = {"tiny.b": other, "tiny.a": RECORD}
    assert parse_index(index_text(table), "here") == table
    assert index_text(table) == index_text(dict(reversed(table.items())))


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("{", "here is damaged: "),
        ("\xff", "here is damaged: "),
        ("[]", "is no index of attokit's"),
        ("[" * 100_000, "here is damaged: "),
        ('{"format": "other"}', "is no index of attokit's"),
        (
            '{"format": "attokit-hub", "version": 2, "weights": 5}',
            "format version 2, this version of attokit reads up to 1: install a newer one",
        ),
        ('{"format": "attokit-hub", "version": "x"}', "format version 'x'"),
        ('{"format": "attokit-hub", "version": 1}', "it lists no weights"),
    ],
)
def test_what_is_no_index(text, error):
    with pytest.raises(ValueError, match=error):
        parse_index(text, "here")


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"more": 1}, r"fields are missing or unknown \(more\)"),
        ({"model": 3}, "model: of another type"),
        ({"metrics": {"accuracy": "high"}}, "metrics: of another type"),
        ({"overrides": None, "data": 3}, "data, overrides: of another type"),
        ({"license": "MIT\x1b[2J"}, r"'MIT\\x1b\[2J' has control characters"),
        ({"preprocessing": {"class_names": ["a\n"]}}, "has control characters"),
        ({"metrics": {"\x07": 1.0}}, "has control characters"),
        ({"model": "other"}, r"call them other\.TAG"),
        ({"weights": None}, "a file needs path, sha256 and size"),
        ({"weights": {"path": "../w", "sha256": HASH, "size": 1}}, "'../w' may leave its folder"),
        ({"weights": {"path": "/etc/w", "sha256": HASH, "size": 1}}, "may leave its folder"),
        ({"weights": {"path": "https://x/w", "sha256": HASH, "size": 1}}, "may leave its folder"),
        ({"tflite": {"path": "a/../../w", "sha256": HASH, "size": 1}}, "may leave its folder"),
        ({"weights": {"path": "w", "sha256": "../x", "size": 1}}, "give 64 digits"),
        ({"weights": {"path": "w", "sha256": HASH, "size": True}}, "its size is an integer"),
        ({"weights": {"path": "w", "sha256": HASH, "size": -1}}, "give its bytes, above 0"),
    ],
)
def test_damaged_records(changes, error):
    with pytest.raises(
        ValueError, match=f"here has records that cannot be used: tiny.a: .*{error}"
    ):
        parse_index(_changed(**changes), "here")


def test_every_damaged_record_is_listed():
    content = json.loads(index_text({"tiny.a": RECORD}))
    content["weights"] |= {"../x": content["weights"]["tiny.a"], "tiny.b": 5}
    with pytest.raises(ValueError, match=r"\.\./x: .*; tiny\.b: fields"):
        parse_index(json.dumps(content), "here")


def test_nothing_that_leaves_the_folder_is_written():
    for name in ("../w", "/w", "file:///w"):
        with pytest.raises(ValueError, match="may leave its folder"):
            index_text({"x": Weights(**{
                f: getattr(RECORD, f) for f in Weights.__dataclass_fields__} | {"source": name})})  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"data": "/any/folder"}, "an index may name embedded data and TFDS sets"),
        ({"data": "wake_scenes:Bag:/folder"}, "an index may name embedded data"),
        ({"data": "wake_scenes:T-shirt/../top"}, "an index may name embedded data"),
        ({"data": "wake_scenes:Hat"}, "an index may name embedded data"),
        ({"data": "every2:/folder"}, "an index may name embedded data"),
        ({"preprocessing": {"class_names": 5}}, "class_names are no list of texts"),
        ({"overrides": {"num classes": 3}}, "no field of a config can be called"),
    ],
)
def test_fields_that_a_reader_acts_on_are_checked(changes, error):
    with pytest.raises(ValueError, match=error):
        parse_index(_changed(**changes), "here")


@pytest.mark.parametrize(
    "data",
    [
        "scenes",
        "wake_scenes:T-shirt/top",
        "wake_scenes:Ankle boot",
        "tfds:oxford_iiit_pet:4.0.0",
        None,
    ],
)
def test_data_that_any_machine_has_may_be_named(data):
    assert parse_index(_changed(data=data), "here")["tiny.a"].data == data
