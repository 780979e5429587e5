import pytest

from attokit import zoo
from attokit.zoo import backbones


def test_every_classifier_is_a_backbone():
    assert backbones.names() == zoo.names(task="classification")
    assert backbones.body("attonet_d").features_only


def test_models_without_maps_are_refused_with_those_that_have_some():
    with pytest.raises(ValueError, match=r"'unet' is no backbone.*choose from attonet_a, "):
        zoo.create("unet", features_only=True)
    with pytest.raises(ValueError, match="'rnnpool_face_c' is no backbone"):
        zoo.feature_maps("rnnpool_face_c")
    with pytest.raises(ValueError, match=r"'resnet5' is no backbone.*choose from resnet50"):
        backbones.body("resnet5")
