import pytest

from attokit import zoo


def test_names_are_sorted_and_filtered():
    assert zoo.names("attonet_?") == ("attonet_a", "attonet_b", "attonet_c", "attonet_d")
    assert list(zoo.names()) == sorted(set(zoo.names()))


def test_names_of_a_task():
    segmenters = zoo.names(task="segmentation")
    assert segmenters == (
        "attendseg",
        "attendseg_lite",
        "deeplab_v3_mobilenet_v2",
        "edgesegnet",
        "unet",
    )
    detectors = zoo.names(task="detection")
    assert "rnnpool_face_m4" in detectors
    instances = zoo.names(task="instance_segmentation")
    assert instances == ("atto_mask_rcnn", "atto_mask_rcnn_lite", "mask_rcnn_r50_fpn")
    every = (*segmenters, *detectors, *instances, *zoo.names(task="classification"))
    assert sorted(every) == list(zoo.names())
    assert zoo.names("attendseg*", task="classification") == ()
    assert (zoo.task("unet"), zoo.info("unet").task) == ("segmentation", "segmentation")
    assert zoo.task("attonet_d") == "classification"
    with pytest.raises(ValueError, match="task='depth': give one of classification, "):
        zoo.names(task="depth")
    with pytest.raises(ValueError, match="no model 'u-net'"):
        zoo.task("u-net")


def test_create_replaces_fields():
    assert zoo.create("attonet_d", num_classes=7).config.num_classes == 7
    assert zoo.config("mobilenet_v2", width=0.5) == zoo.config("mobilenet_v2_050")


def test_info_counts_and_quotes():
    info = zoo.info("attonet_d", num_classes=50)
    assert (info.name, info.family, info.num_classes) == ("attonet_d", "AttoNet", 50)
    assert info.image_size == (224, 224, 3)
    assert "1903.07209" in info.source
    assert len(info.deviations) == 3
    assert not zoo.info("mobilenet_v1_025").deviations


def test_unknown_names_answer_with_near_ones():
    with pytest.raises(ValueError, match=r"no model 'attonet_x'.*attonet_"):
        zoo.create("attonet_x")
    with pytest.raises(ValueError, match="choose from attendseg"):
        zoo.info("?")


def test_unknown_fields_answer_with_near_ones():
    with pytest.raises(TypeError, match="no field 'nclasses': did you mean num_classes"):
        zoo.create("attonet_a", nclasses=3)
    with pytest.raises(ValueError, match="num_classes=0"):
        zoo.create("mobilenet_v2", num_classes=0)
