"""Every value of a floating-point format, in order.

A *place* numbers the values from -inf (0) over -0 and +0 (neighbours) to +inf.  A *key* numbers
them so that values that compare equal share one: both zeros have key 0, and the difference of two
keys is their distance in units in the last place.  NaN has neither.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class FloatFormat:
    """A binary format of sign, exponent and fraction.

    Parameters
    ----------
    name : str
        TVM's name of the dtype.
    bits : int
        16 or 32.
    infinity : int
        Bit pattern of +inf.
    """

    name: str
    bits: int
    infinity: int

    @property
    def unsigned(self) -> np.dtype:
        """The integer dtype of a bit pattern."""
        return np.dtype(f"uint{self.bits}")

    @property
    def number(self) -> np.dtype | None:
        """numpy's dtype of the format; None for bfloat16, which it lacks."""
        return None if self.name == "bfloat16" else np.dtype(self.name)

    @property
    def size(self) -> int:
        """How many places there are."""
        return 2 * (self.infinity + 1)

    @property
    def zeros(self) -> tuple[int, int]:
        """Places of -0 and +0."""
        return self.infinity, self.infinity + 1

    def fill(self, start: int, out: np.ndarray, ramp: np.ndarray) -> None:
        """Write the bit patterns of the places from `start` on.

        Parameters
        ----------
        start : int
            The first place.
        out : numpy.ndarray
            Unsigned, 1-D; filled.  Past the last place +inf is repeated.
        ramp : numpy.ndarray
            0, 1, 2, ... as unsigned, at least as long; made once because this is the inner loop.
        """
        sign, plus_zero = 1 << (self.bits - 1), self.infinity + 1
        below = min(max(plus_zero - start, 0), out.size)
        if below:
            top = self.unsigned.type(sign | (self.infinity - start))
            np.subtract(top, ramp[:below], out=out[:below])
        if below < out.size:
            base = start + below - plus_zero
            known = min(out.size - below, max(self.infinity + 1 - base, 0))
            offset = self.unsigned.type(min(base, self.infinity))
            np.add(ramp[:known], offset, out=out[below : below + known])
            out[below + known :] = self.infinity

    def keys(self, bits: np.ndarray) -> np.ndarray:
        """Key of each bit pattern, int64; that of NaN means nothing."""
        magnitude = (bits & self.unsigned.type((1 << (self.bits - 1)) - 1)).astype(np.int64)
        return np.where(bits >> (self.bits - 1), -magnitude, magnitude)

    def is_nan(self, bits: np.ndarray) -> np.ndarray:
        """True for each bit pattern that is NaN."""
        return (bits & self.unsigned.type((1 << (self.bits - 1)) - 1)) > self.infinity

    def value_at(self, place: int) -> float:
        """The value of a place."""
        return self.value_of(place - self.infinity - (place > self.infinity), place)

    def value_of(self, key: int, place: int | None = None) -> float:
        """The value of a key; `place` tells -0 from +0."""
        pattern = np.array([abs(key)], self.unsigned)
        if self.name == "bfloat16":
            magnitude = float((pattern.astype(np.uint32) << 16).view(np.float32)[0])
        else:
            magnitude = float(pattern.view(self.number)[0])
        is_negative = key < 0 or place == self.infinity
        return -magnitude if is_negative else magnitude


FORMATS = {
    "float32": FloatFormat("float32", 32, 0x7F800000),
    "float16": FloatFormat("float16", 16, 0x7C00),
    "bfloat16": FloatFormat("bfloat16", 16, 0x7F80),
}
