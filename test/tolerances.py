"""The tolerances of numerical tests, in one table.

Relative and absolute tolerance per dtype, for results that went through a handful of operations. A
test that needs another says why, where it uses it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike


class Tolerance(NamedTuple):
    """``|actual - desired| <= absolute + relative * |desired|``."""

    relative: float
    absolute: float


TOLERANCES = {
    "float64": Tolerance(1e-10, 1e-12),
    "complex128": Tolerance(1e-10, 1e-12),
    "float32": Tolerance(1e-4, 1e-5),
    "complex64": Tolerance(1e-4, 1e-5),
    "float16": Tolerance(1e-2, 1e-3),
    "bfloat16": Tolerance(3e-2, 1e-2),
}

# Coordinates that a whole network estimates in an image of 256 pixels, by what it computes in.
POSE_PX = {"float32": 0.01, "bfloat16": 1.5}


def tolerance(*values: object) -> Tolerance:
    """Return the loosest tolerance among the dtypes of numpy arrays or torch tensors."""
    names = [str(getattr(value, "dtype", "float64")).removeprefix("torch.") for value in values]
    return max(TOLERANCES.get(name, TOLERANCES["float64"]) for name in names)


def assert_close(actual: ArrayLike, desired: ArrayLike) -> None:
    """Compare two arrays within the tolerance of the coarser dtype; NaN equals NaN."""
    relative, absolute = tolerance(actual, desired)
    np.testing.assert_allclose(actual, desired, rtol=relative, atol=absolute)
