"""Arguments, right and wrong ones."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from radar_pose_ros.skeleton import checks


@pytest.mark.parametrize("value", [1, np.int64(1), np.uint8(1)])
def test_whole_numbers(value: Any) -> None:
    assert checks.whole("n", value, 1, 1) == 1


@pytest.mark.parametrize("value", [0, 3, 1.0, "1", True, None, math.nan])
def test_what_is_no_whole_number(value: Any) -> None:
    with pytest.raises(ValueError, match=r"^n must be a whole number, 1 to 2, got "):
        checks.whole("n", value, 1, 2)


@pytest.mark.parametrize("value", [2, 2.0, np.float32(2), np.int16(2)])
def test_real_numbers(value: Any) -> None:
    assert checks.real("x", value, positive=True) == 2.0
    assert checks.real("x", -value) == -2.0


@pytest.mark.parametrize("value", ["2", None, True, math.nan, math.inf, 0.0, -1])
def test_what_is_no_number_above_0(value: Any) -> None:
    with pytest.raises(ValueError, match=r"^x must be a finite number above 0, got "):
        checks.real("x", value, positive=True)


def test_arrays() -> None:
    found = checks.array("a", [[1, 2], [3, 4]], (None, 2), "(n, 2)")
    np.testing.assert_array_equal(found, [[1.0, 2.0], [3.0, 4.0]])
    assert found.dtype == np.float64
    for values in ([], [[]], [1.0, 2.0], np.zeros((0, 2)), [[1, 2, 3]], None, "ab"):
        with pytest.raises(ValueError, match=r"^a must be .*\(n, 2\), got "):
            checks.array("a", values, (None, 2), "(n, 2)")
    with pytest.raises(ValueError, match=r"a must be \(n, 2\), got lists of several lengths"):
        checks.array("a", [[1, 2], [3]], (None, 2), "(n, 2)")
