"""Image files made for the tests."""

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def picture():
    """Write a random picture: picture(path, seed=0, size=(width, height), mode="L")."""

    def write(path, seed=0, size=(12, 10), mode="L"):
        path.parent.mkdir(parents=True, exist_ok=True)
        values = np.random.default_rng(seed)
        shape = (size[1], size[0])
        if mode == "I;16":
            image = Image.fromarray(values.integers(0, 65536, shape, dtype=np.uint16))
        elif mode == "F":
            image = Image.fromarray(values.random(shape, dtype=np.float32))
        else:
            image = Image.fromarray(values.integers(0, 256, shape, dtype=np.uint8)).convert(mode)
        image.save(path)
        return np.asarray(image)

    return write
