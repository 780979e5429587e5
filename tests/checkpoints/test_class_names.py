from attokit import checkpoints, train
from attokit.checkpoints.class_names import FASHION_MNIST


def test_weights_and_data_share_one():
    assert len(set(FASHION_MNIST)) == 10
    record = checkpoints.info("attonet_d.fashion_mnist")
    assert record.preprocessing["class_names"] is FASHION_MNIST
    assert train.load_fashion_mnist_subset().class_names is FASHION_MNIST
