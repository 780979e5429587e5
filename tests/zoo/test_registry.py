import pytest

from attokit import zoo


def test_names_are_sorted_and_filtered():
    assert zoo.names("attonet_?") == ("attonet_a", "attonet_b", "attonet_c", "attonet_d")
    assert list(zoo.names()) == sorted(set(zoo.names()))


def test_names_of_a_task():
    detectors = zoo.names(task="detection")
    assert "rnnpool_face_m4" in detectors
    assert {zoo.task(name) for name in detectors} == {"detection"}
    assert not set(detectors) & set(zoo.names(task="classification"))
    with pytest.raises(ValueError, match="task='tracking'"):
        zoo.names(task="tracking")


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
    with pytest.raises(ValueError, match="choose from a"):
        zoo.info("?")


def test_unknown_fields_answer_with_near_ones():
    with pytest.raises(TypeError, match="no field 'nclasses': did you mean num_classes"):
        zoo.create("attonet_a", nclasses=3)
    with pytest.raises(ValueError, match="num_classes=0"):
        zoo.create("mobilenet_v2", num_classes=0)
