"""Every pool of a function, and who uses what.

TVM's pattern grouper drops a match whose inner nodes have users outside it, so a pattern alone
would never show a pool whose activation is shared.  The sites are therefore enumerated here, from
one post-order walk, and the pattern rewriter is told afterwards which of them to touch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from tvm import relay
from tvm.ir import Op
from tvm.relay.op import OpPattern

from .patterns import AVERAGE_POOLS, MAX_POOLS
from .reductions import has_reduced_axes

OUTPUT = "the function's output"


def op_name(expr: relay.Expr) -> str:
    """Operator name of a call, else the name of the node's class."""
    if isinstance(expr, relay.Call):
        operator = expr.op
        if isinstance(operator, Op):
            return _describe_operator(operator)[0]
    return type(expr).__name__


def read_pattern(value: relay.Expr) -> int:
    """How FuseOps sees a value (``OpPattern``)."""
    if not isinstance(value, relay.Call):
        return OpPattern.OPAQUE
    operator = value.op
    return _describe_operator(operator)[1] if isinstance(operator, Op) else OpPattern.OPAQUE


_operators: dict[int, tuple[str, int]] = {}


def _describe_operator(operator: Op) -> tuple[str, int]:
    """Name and pattern of an operator, asked of TVM once: its registry keeps each for good."""
    address = operator.handle.value
    if address not in _operators:
        pattern = operator.get_attr("TOpPattern")
        known = OpPattern.OPAQUE if pattern is None else int(pattern)
        _operators[address] = operator.name, known
    return _operators[address]


def is_closed(function: relay.Function) -> bool:
    """True if a function belongs to a fused kernel or to another compiler."""
    attributes = function.attrs or {}
    return any(name in attributes for name in ("Primitive", "Compiler", "Composite"))


class FunctionGraph:
    """Post-order index and users of the expressions of one function.

    Parameters
    ----------
    function : relay.Function
        A typed function.

    Attributes
    ----------
    function : relay.Function
        The function.
    max_pools, average_pools : list of relay.Call
        The pools, in order of execution.
    operators : set of str
        Names of all operators the function calls.
    pools_read : dict
        What ``facts.read_pool`` has read.
    """

    def __init__(self, function: relay.Function):
        self.function = function
        self.max_pools: list[relay.Call] = []
        self.average_pools: list[relay.Call] = []
        self.operators: set[str] = set()
        self.pools_read: dict = {}
        self._index: dict[relay.Expr, int] = {}
        self._users: dict[relay.Expr, int] = {}
        self._takers: dict[relay.Expr, dict[relay.Expr, None]] = {}  # calls and tuples, in order
        self._outputs: set[relay.Expr] = set()
        relay.analysis.post_order_visit(function.body, self._visit)
        self._use(function.body)
        self._outputs.add(function.body)
        if isinstance(function.body, relay.Tuple):
            self._outputs.update(function.body.fields)

    def index(self, expr: relay.Expr) -> int:
        """Position in post order: every expression comes after what it is computed from."""
        return self._index[expr]

    @property
    def order(self) -> tuple[relay.Expr, ...]:
        """All expressions in post order."""
        return tuple(self._index)

    def users(self, expr: relay.Expr) -> int:
        """How often the expression's value is used; being the function's output counts."""
        return self._users.get(expr, 0)

    def calls_on(self, expr: relay.Expr) -> list[relay.Call]:
        """The calls that take the expression's value as an argument."""
        return [each for each in self._takers.get(expr, ()) if isinstance(each, relay.Call)]

    def calls_with(self, expr: relay.Expr) -> list[relay.Call]:
        """The calls that take the value, alone or in a tuple."""
        tuples = (each for each in self._takers.get(expr, ()) if isinstance(each, relay.Tuple))
        return [call for value in (expr, *tuples) for call in self.calls_on(value)]

    def climb_users(
        self, value: relay.Expr, follows: Callable[[relay.Call], bool]
    ) -> Iterator[relay.Expr]:
        """The value and all calls that it goes into, those alone that `follows` is true of."""
        return climb(value, lambda expr: filter(follows, self.calls_with(expr)))

    def is_output(self, expr: relay.Expr) -> bool:
        """True if the value leaves the function, alone or in a tuple."""
        return expr in self._outputs

    def is_private(self, expr: relay.Expr, uses: int) -> bool:
        """True if nobody needs the value but for `uses` uses of it."""
        return self.users(expr) == uses and not self.is_output(expr)

    def _visit(self, expr: relay.Expr) -> None:
        self._index[expr] = len(self._index)
        if isinstance(expr, relay.Call):
            self._visit_call(expr)
            return
        for child in _children(expr):
            self._use(child)
            if isinstance(expr, relay.Tuple):
                self._takers.setdefault(child, {})[expr] = None
        if isinstance(expr, relay.Function) and is_closed(expr):
            self._forget_pools(expr)

    def _visit_call(self, call: relay.Call) -> None:
        for argument in call.args:
            self._use(argument)
            self._takers.setdefault(argument, {})[call] = None
        if not isinstance(call.op, Op):
            self._use(call.op)
            return
        name = op_name(call)
        self.operators.add(name)
        if name in MAX_POOLS or has_reduced_axes(call):
            self.max_pools.append(call)
        elif name in AVERAGE_POOLS:
            self.average_pools.append(call)

    def _forget_pools(self, function: relay.Function) -> None:
        """Leave the pools of a nested function to whoever has claimed it."""
        inside: set[relay.Expr] = set()
        relay.analysis.post_order_visit(function.body, inside.add)
        self.max_pools = [pool for pool in self.max_pools if pool not in inside]
        self.average_pools = [pool for pool in self.average_pools if pool not in inside]

    def _use(self, expr: relay.Expr) -> None:
        self._users[expr] = self._users.get(expr, 0) + 1


def climb(
    value: relay.Expr, find_next: Callable[[relay.Expr], Iterable[relay.Expr]]
) -> Iterator[relay.Expr]:
    """The value and all that is found from it, step by step, each once."""
    waiting, seen = [value], set()
    while waiting:
        expr = waiting.pop()
        if expr not in seen:
            seen.add(expr)
            yield expr
            waiting.extend(find_next(expr))


def depends_on_input(value: relay.Expr) -> bool:
    """True if a value is not known before the inputs are."""
    return bool(relay.analysis.free_vars(value))


def read_operands(expr: relay.Expr) -> Iterator[relay.Expr]:
    """Values that an expression is computed from."""
    if not isinstance(expr, relay.Call):
        return _children(expr)
    return iter(expr.args) if isinstance(expr.op, Op) else iter((expr.op, *expr.args))


def _children(expr: relay.Expr) -> Iterator[relay.Expr]:
    """Values an expression other than a call uses."""
    if isinstance(expr, relay.Tuple):
        yield from expr.fields
    elif isinstance(expr, relay.TupleGetItem):
        yield expr.tuple_value
    elif isinstance(expr, relay.Let):
        yield from (expr.value, expr.body)
    elif isinstance(expr, relay.If):
        yield from (expr.cond, expr.true_branch, expr.false_branch)
    elif isinstance(expr, relay.Function):
        yield expr.body
    elif isinstance(expr, (relay.RefCreate, relay.RefRead)):
        yield expr.value if isinstance(expr, relay.RefCreate) else expr.ref
    elif isinstance(expr, relay.RefWrite):
        yield from (expr.ref, expr.value)
    elif isinstance(expr, relay.Match):
        yield expr.data
        yield from (clause.rhs for clause in expr.clauses)
