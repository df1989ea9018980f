"""All kinds of steps, by subject and by name."""

from .composites import COMPOSITES
from .consuming import CONSUMING
from .elementwise import ONE_ARGUMENT, PARAMETERISED, TWO
from .joining import ARITHMETIC, JOINING
from .kind import Kind, Step, draw_kind
from .movement import MOVEMENT
from .pooling import AVERAGES, PADS, POOLS
from .producing import PRODUCING
from .quantised import QUANTISED

ELEMENTWISE: dict[str, Kind] = {**ONE_ARGUMENT, **PARAMETERISED, **TWO, **COMPOSITES, **QUANTISED}
KINDS: dict[str, Kind] = {
    **ELEMENTWISE,
    **MOVEMENT,
    **PADS,
    **POOLS,
    **AVERAGES,
    **CONSUMING,
    **PRODUCING,
    **JOINING,
}

__all__ = [
    "ARITHMETIC",
    "AVERAGES",
    "CONSUMING",
    "ELEMENTWISE",
    "JOINING",
    "KINDS",
    "MOVEMENT",
    "PADS",
    "POOLS",
    "PRODUCING",
    "Kind",
    "Step",
    "draw_kind",
]
