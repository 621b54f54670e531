"""Messages that are wrong: a seeded walk over the fields of a valid one, by their types.

Nothing here knows a message type: of each field the type alone says what can be wrong with it. A
damaged message has been through serialisation, so that it is exactly what a reader would get.
"""

from __future__ import annotations

import array
import math
import random
import re
from collections.abc import MutableSequence
from typing import Any

import numpy as np
from rclpy.serialization import deserialize_message, serialize_message

HOUR_S = 3600
LONGEST, LONGEST_OF_PARTS = 20_000, 100  # elements that a sequence is made to have
MOST_DAMAGES = 3
BITS_SHARE = 0.15  # of the messages, bits of the serialised form are wrong instead
HEAD_BYTES = 4  # of the serialised form: what they say is the middleware's
REALS = (
    *(math.nan, math.inf, -math.inf, 0.0, -0.0, -1.0, 1.0, 0.5, 1.0001, -1e-9, 1e-300, 1e-38),
    *(1e9 + 1, -1e9 - 1, 1e30, -1e30, 3e38, -3e38, 1.7e308, -1.7e308),
)
WHOLES = (0, 1, 2, 3, 7, 255, 65_535, 10**9 + 1, -1, -7, -(10**9) - 1, 2**31 - 1, 2**32 - 1)
TEXTS = (
    *("", " ", "/", "//", "..", "../../etc/passwd", "~", "nonsense", "map", "camera_0", "hupr14"),
    *("h36m17", "kinect25", "hupr14 ", "HUPR14", "mono16", "32FC1", "bgr8", "yuv422", "IWR6843"),
    *("%s%n", "{0}", "$(reboot)", "'; --", "\n\n", "\x1b[2J", "\u202e\u0000x", "\U0001f600", "é"),
    *("a" * 300, "long " * 4000, "x/" * 500),
)
_WHOLE = re.compile(r"(u?)int(8|16|32|64)")
_SEQUENCE = re.compile(r"sequence<(.+?)(?:, \d+)?>|(.+)\[\d+\]")


class Mutator:
    """Damages messages.

    Parameters
    ----------
    seed : str
    """

    def __init__(self, seed: str) -> None:
        self._random = random.Random(seed)

    def damaged(self, valid: Any) -> Any | None:
        """Return a damaged copy of a message; None if no reader would get it."""
        kind, content = type(valid), serialize_message(valid)
        try:
            if self._random.random() < BITS_SHARE:
                return deserialize_message(self._flipped(content), kind)
            message = deserialize_message(content, kind)
            for _ in range(self._random.randint(1, MOST_DAMAGES)):
                self._damage(message)
            return deserialize_message(serialize_message(message), kind)
        except Exception as error:
            # What rmw refuses has no class of its own; a name that is no UTF-8 cannot be sent.
            if type(error).__name__ in ("RCLError", "RMWError", "UnicodeEncodeError"):
                return None
            raise

    def _flipped(self, content: bytes) -> bytes:
        data = bytearray(content)
        for _ in range(self._random.randint(1, 4)):
            place = self._random.randrange(HEAD_BYTES, len(data))
            data[place] ^= 1 << self._random.randrange(8)
        return bytes(data)

    def _damage(self, message: Any) -> None:
        fields = message.get_fields_and_field_types()
        if not fields:
            return
        if set(fields) == {"sec", "nanosec"}:
            self._damage_time(message)
            return
        name = self._random.choice(sorted(fields))
        kind, value = fields[name], getattr(message, name)
        if hasattr(value, "get_fields_and_field_types"):
            self._damage(value)
        elif found := _SEQUENCE.fullmatch(kind):
            if found[2]:
                self._damage_fixed(value, found[2])
            else:
                setattr(message, name, self._sequence(value, found[1]))
        else:
            setattr(message, name, self._value(kind, value))

    def _damage_time(self, stamp: Any) -> None:
        zero, before, after = (0, 0), (stamp.sec - HOUR_S, 0), (stamp.sec + HOUR_S, 0)
        absurd = [(-5, 0), (0, 1), (stamp.sec, 2**32 - 1), (2**31 - 1, 10**9 - 1), (-(2**31), 0)]
        sec, stamp.nanosec = self._random.choice([zero, before, after, *absurd])
        stamp.sec = min(max(sec, -(2**31)), 2**31 - 1)

    def _value(self, kind: str, value: Any) -> Any:
        if kind in ("float", "double"):
            chosen = self._random.choice(REALS)
            return chosen if kind == "double" or not 3.4e38 < abs(chosen) < math.inf else 3e38
        if kind == "boolean":
            return not value
        if kind == "string":
            return self._random.choice(TEXTS)
        if whole := _WHOLE.fullmatch(kind):
            bits = int(whole[2])
            low, high = (0, 2**bits - 1) if whole[1] else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
            return min(max(self._random.choice((*WHOLES, low, high)), low), high)
        if kind in ("octet", "byte", "char"):
            return value
        raise TypeError(f"no damage is known for a {kind}")

    def _damage_fixed(self, values: Any, kind: str) -> None:
        """Damage one element of an array of fixed length, or all of them."""
        chosen = self._value(kind, values[0])
        if self._random.random() < 0.3:
            for place in range(len(values)):
                values[place] = chosen
        else:
            values[self._random.randrange(len(values))] = chosen

    def _sequence(self, values: Any, kind: str) -> Any:
        """Return a sequence of another length, or with a damaged element."""
        how = self._random.choice(("empty", "shorter", "longer", "long", "element", "element"))
        if how == "empty" or not len(values):
            return values[:0]
        if how == "element":
            return self._with_element(values, kind)
        if how == "shorter":
            return values[: self._random.randrange(len(values))]
        if how == "longer":
            return values + values[:1]
        most = LONGEST_OF_PARTS if hasattr(values[0], "get_fields_and_field_types") else LONGEST
        return _repeated(values, max(most, len(values) + 1))

    def _with_element(self, values: Any, kind: str) -> Any:
        place = self._random.randrange(len(values))
        if hasattr(values[place], "get_fields_and_field_types"):
            self._damage(values[place])
        else:
            assert isinstance(values, MutableSequence | array.array | np.ndarray)
            values[place] = self._value(kind, values[place])
        return values


def _repeated(values: Any, length: int) -> Any:
    """Return a sequence of that length; its elements come again and again."""
    times = -(-length // len(values))
    return (values * times)[:length]
