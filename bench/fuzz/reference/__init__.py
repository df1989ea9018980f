"""A reference that needs no compiler: what each operator gives, in intervals of float64.

Written from the operators' definitions, apart from the pass's own evaluators.  Left open, and so
not checked: what may be NaN; integers that may overflow and casts to a dtype that may not hold the
value, which are undefined in TVM; casts from float64 to float16, which TVM 0.19 gets wrong; its
float16 form of ``fast_erf``, which is off by hundredths; and operators without a definition here.
"""

from .bounds import Bounds
from .evaluate import NAMES, evaluate

__all__ = ["NAMES", "Bounds", "evaluate"]
