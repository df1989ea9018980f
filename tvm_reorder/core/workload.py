"""One site as a workload: what it computes, apart from the numbers in it.

Two sites with the same workload take the same time, so they share a measured record and a
decision.  Sizes count elements, `bytes_*` bytes.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from enum import Enum
from math import prod

from .window import AdaptiveAxis, PoolWindow, WindowAxis


@dataclass(frozen=True)
class Convolution:
    """The convolution above a pool.

    Parameters
    ----------
    batch, in_channels, height, width, channels : int
        Extents of the data, and the number of filters.
    kernel, strides, dilation : tuple of int
        Height and width.
    padding : tuple of int
        Top, left, bottom, right.
    groups : int
        1 for a plain convolution.
    dtype : str
        Dtype of data, weights and result.
    layout : str
        Of the data, such as ``"NCHW"``.
    """

    batch: int
    in_channels: int
    height: int
    width: int
    channels: int
    kernel: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    dtype: str = "float32"
    layout: str = "NCHW"

    @property
    def outputs(self) -> tuple[int, int]:
        """Height and width of the result."""
        extents = zip(
            (self.height, self.width), self.kernel, self.strides, self.dilation, self._padded()
        )
        return tuple(
            (size + pad - (kernel - 1) * dilation - 1) // stride + 1
            for size, kernel, stride, dilation, pad in extents
        )

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds for the whole result."""
        taps = prod(self.kernel) * self.in_channels // self.groups
        return self.batch * self.channels * prod(self.outputs) * taps

    def _padded(self) -> tuple[int, int]:
        top, left, bottom, right = self.padding
        return top + bottom, left + right


class Home(str, Enum):
    """The kernel in which TVM, left to itself, computes the steps that may move.

    It decides what an exchange takes away: their evaluations, or a whole kernel.
    """

    PRODUCER = "producer"  # that of a convolution or the like, behind its sums
    ANOTHER_POOL = "another pool"  # behind it
    COPY = "copy"  # one that stays without them and moves every value: a sum, a concatenation
    ALONE = "alone"  # one of their own, which goes with them
    THIS_POOL = "this pool"  # in front of it: TVM computes what it reduces on the way


@dataclass(frozen=True)
class SiteWorkload:
    """A pool, the steps that may go past it, and the convolution above them.

    Parameters
    ----------
    window : PoolWindow
        The pool's geometry.
    planes : int
        Batch times channels.
    chain : tuple of str
        The steps that may move, in order of execution.
    convolution : Convolution or None
        What the chain reads; None if something else, or steps that stay, stand there.
    dtype : str
        Of the pooled value.
    source : str
        The operator below the chain, such as ``"nn.conv2d"``; for a concatenation with the number
        of channels of each branch.
    ends : str
        What an exchange needs of each window: ``"one"`` end, found by one pool over the source as
        it is or with signs in its weights; ``"signed"``: one, of the source times a sign for each
        channel; ``"both"``.
    base_dtype : str or None
        Of the value below the chain, which the pool reads after an exchange; None if it is `dtype`.
    home : Home
        The kernel that computes the steps before an exchange.
    is_reduction : bool
        True if the pool is a reduction, behind which nothing fuses: the steps would be a kernel
        more.
    """

    window: PoolWindow
    planes: int
    chain: tuple[str, ...]
    convolution: Convolution | None = None
    dtype: str = "float32"
    source: str = "nn.conv2d"
    ends: str = "one"
    base_dtype: str | None = None
    home: Home = Home.PRODUCER
    is_reduction: bool = False

    @property
    def elements(self) -> int:
        """Values before the pool."""
        return self.planes * prod(axis.size for axis in self.window.axes)

    @property
    def pooled(self) -> int:
        """Values behind the pool."""
        return self.planes * prod(self.window.outputs)

    @property
    def base_bytes(self) -> int:
        """Of a value below the chain."""
        return _bytes_of(self.dtype if self.base_dtype is None else self.base_dtype)

    @property
    def widening(self) -> float:
        """Bytes that a value takes below the chain, over those that it takes at the pool."""
        return self.base_bytes / _bytes_of(self.dtype)

    @property
    def key(self) -> str:
        """The workload as one line of JSON, the same for equal workloads."""
        return json.dumps(self.as_dict(), sort_keys=True, separators=(",", ":"))

    def as_dict(self) -> dict:
        """The workload as JSON values."""
        convolution = None if self.convolution is None else _lists(asdict(self.convolution))
        said = {name: getattr(self, name) for name in OPTIONAL}
        return {
            "convolution": convolution,
            "chain": list(self.chain),
            "planes": self.planes,
            "dtype": self.dtype,
            "source": self.source,
            **{name: value for name, value in said.items() if value != OPTIONAL[name]},
            "window": [
                {"adaptive": isinstance(axis, AdaptiveAxis), **asdict(axis)}
                for axis in self.window.axes
            ],
        }

    @classmethod
    def from_dict(cls, values: dict) -> SiteWorkload:
        """The workload of which `as_dict` gave these values.

        Raises
        ------
        LookupError, TypeError, ValueError
            If they are those of no workload.
        """
        said = {name: values[name] for name in ("planes", "dtype", "source")}
        said |= {name: values[name] for name in OPTIONAL if name in values}
        said["home"] = Home(said.get("home", OPTIONAL["home"]))
        convolution = values["convolution"]
        return cls(
            window=PoolWindow(tuple(map(_read_axis, values["window"]))),
            chain=tuple(values["chain"]),
            convolution=None if convolution is None else Convolution(**_tuples(convolution)),
            **said,
        )


# Fields that are written only where they say something, so that older records keep their keys, and
# the values that say nothing.
OPTIONAL = {"ends": "one", "base_dtype": None, "home": Home.PRODUCER, "is_reduction": False}


def _lists(fields: dict) -> dict:
    return {name: list(v) if isinstance(v, tuple) else v for name, v in fields.items()}


def _tuples(values: dict) -> dict:
    return {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}


def _read_axis(values: dict) -> WindowAxis | AdaptiveAxis:
    fields = {name: value for name, value in values.items() if name != "adaptive"}
    return (AdaptiveAxis if values["adaptive"] else WindowAxis)(**fields)


def _bytes_of(dtype: str) -> int:
    """Bytes of a value, by the bits at the end of its dtype's name; ``bool`` takes one."""
    bits = re.search(r"[0-9]+$", dtype)
    return 1 if bits is None else max(1, int(bits.group()) // 8)
