"""``python -m tvm_reorder.cli`` is ``tvm-reorder``."""

import sys

from .main import main

sys.exit(main())
