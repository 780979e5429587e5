"""The block that every network here is made of: convolution, batch norm, activation."""

from typing import Literal

import flax.linen as nn
from jaxtyping import Array, Float

from attokit.zoo.batch_norm import BatchNorm
from attokit.zoo.convolution import Conv, Padding

_ACTIVATIONS = {
    "none": lambda x: x,
    "relu": nn.relu,
    "relu6": nn.relu6,
    "hard_swish": nn.hard_swish,
}


class ConvNorm(nn.Module):
    """A convolution without bias, a batch norm and an activation.

    In inference the three fold into one convolution with a bias.

    Attributes:
      features: Output channels.
      kernel_size: Side of the square kernel.
      strides: Step of the window.
      padding: "SAME", "VALID" or explicit pairs.
      dilation: Distance between kernel taps.
      groups: Independent groups of channels.
      activation: What follows the norm.
      scale_init: Start of the norm's gamma; zeros silence a residual branch at the start.
      epsilon: What the norm adds to the variance; 1e-5 where PyTorch weights are to be read.
    """

    features: int
    kernel_size: int = 1
    strides: int = 1
    padding: Padding = "SAME"
    dilation: int = 1
    groups: int = 1
    activation: Literal["none", "relu", "relu6", "hard_swish"] = "relu"
    scale_init: nn.initializers.Initializer = nn.initializers.ones_init()
    epsilon: float = 1e-3

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w cin"], *, train: bool = False
    ) -> Float[Array, "b h2 w2 cout"]:
        """Returns the activations; `train` normalizes by the batch and updates the statistics."""
        x = Conv(
            self.features,
            self.kernel_size,
            strides=self.strides,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
            name="conv",
        )(x)
        # Epsilon 1e-3 bounds the folded scale of channels that are almost constant, which INT8 needs;
        # the short memory lets a run of a thousand steps end with statistics of its last weights.
        x = BatchNorm(
            use_running_average=not train,
            momentum=0.9,
            epsilon=self.epsilon,
            scale_init=self.scale_init,
            name="norm",
        )(x)
        return _ACTIVATIONS[self.activation](x)
