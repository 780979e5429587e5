from attokit import checkpoints, train
from attokit.checkpoints.class_names import FASHION_MNIST, SCENES


def test_weights_and_data_share_one():
    assert len(set(FASHION_MNIST)) == 10
    record = checkpoints.info("attonet_d.fashion_mnist")
    assert record.preprocessing["class_names"] is FASHION_MNIST
    assert train.load_fashion_mnist_subset().class_names is FASHION_MNIST


def test_scenes_have_a_background_and_the_garments():
    assert SCENES[0] == "background"
    assert SCENES[1:] == FASHION_MNIST
    assert train.load_scenes((32, 32)).class_names is SCENES
