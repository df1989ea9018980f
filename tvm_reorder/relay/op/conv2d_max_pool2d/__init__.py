"""``contrib.conv2d_max_pool2d``: convolution and max pooling in one kernel.

Identity
    conv2d_max_pool2d(x, w) = max_pool2d(conv2d(x, w)); bias and activation fuse behind it.

Importing this package registers the operator with Relay.  AutoTVM's builder processes import it
when they unpickle a task, because the template is a function of it.
"""

from . import layout, relation, strategy
from .attributes import NAME, FusedAttributes
from .relation import make_call
from .seeding import seed_task
from .template import make_model
from .tuned import TASK, read_tuned_times

relation.register()
layout.register()
strategy.register()

__all__ = [
    "NAME",
    "TASK",
    "FusedAttributes",
    "make_call",
    "make_model",
    "read_tuned_times",
    "seed_task",
]
