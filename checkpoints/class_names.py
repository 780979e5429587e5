"""Class names of data sets, in the order of their labels, for weights and for the data itself."""

FASHION_MNIST = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)

SCENES = ("background", *FASHION_MNIST)
