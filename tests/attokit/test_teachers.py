import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attokit.runs import open_run
from attokit.teachers import open_teacher
from attokit.train import load_fashion_mnist_subset, load_scenes


def test_a_run_teaches_its_own_classes(finished, dataset):
    teacher = open_teacher(str(finished[0]), dataset)
    run = open_run(finished[0])
    images = jnp.zeros((2, *run.image_shape))
    expected = run.network().apply(run.variables(), images)
    np.testing.assert_allclose(teacher.outputs(teacher.variables, images), expected, rtol=1e-5)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(teacher.variables))


def test_pretrained_weights_teach():
    teacher = open_teacher("attonet_d.fashion_mnist", load_fashion_mnist_subset())
    assert teacher.params["head"]["kernel"].shape[1] == 10


def test_those_that_cannot_teach(finished, dataset):
    with pytest.raises(ValueError, match=r"'nobody' is no run folder and no pretrained weights"):
        open_teacher("nobody", dataset)
    with pytest.raises(ValueError, match=r"attonet_d.fashion_mnist knows .*those of .* are dark"):
        open_teacher("attonet_d.fashion_mnist", dataset)
    with pytest.raises(ValueError, match="does classification, scenes is data for segmentation"):
        open_teacher("attonet_d.fashion_mnist", load_scenes((32, 32)))
