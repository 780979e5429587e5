import pytest

from attokit import zoo


def test_counts_of_the_reference_implementation():
    info = zoo.info("mobilenet_v1")  # timm mobilenetv1_100
    assert (info.parameters, info.macs) == (4_231_976, 568_740_352)


def test_quarter_width_is_the_network_of_mlperf_tiny():
    # Its 216,322 trained numbers keep a bias beside each of the 27 batch norms: 2,736 channels.
    info = zoo.info("mobilenet_v1_025", num_classes=2, image_size=(96, 96, 3))
    assert (info.parameters + 2_736, info.macs) == (216_322, 7_489_664)


def test_refuses_bad_sizes():
    with pytest.raises(ValueError, match="width=0"):
        zoo.create("mobilenet_v1", width=0.0)
    with pytest.raises(ValueError, match="num_classes=-1"):
        zoo.create("mobilenet_v1", num_classes=-1)
