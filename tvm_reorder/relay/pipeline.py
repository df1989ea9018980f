"""Where the pass runs inside TVM's own pipeline, and why there.

Place
    `relay.build`, AOT, the VM compiler and MetaSchedule's task extraction all start from the C++
    list ``GetPassPrefix`` (``src/relay/backend/utils.cc``), to which Python cannot add a pass.  The
    right place in it is after FoldScaleAxis, when batch norm has become weights and a bias, and
    before AlterOpLayout, which would write the activation into a blocked layout first.  The pass
    that stands there is FlattenAtrousConv: opt_level 0, so it runs at every level.

Mechanism
    A `PassInstrument` is called right before each pass with the module that the pass will get, and
    may update its functions in place.  The module is TVM's own by then (InferType, which
    FlattenAtrousConv requires, has just copied it), so the caller's module stays as it was.  If
    FlattenAtrousConv is disabled, FuseOps is the fallback.

How the instrument gets into every `PassContext`
    Instruments belong to a context, and users, tvmc and the tuners open their own.  While any
    `enabled` block is open, ``PassContext.__enter__`` attaches the session's instrument.  Which
    session is a context variable, so threads do not see each other's.  AutoTVM and auto_scheduler
    extract tasks in a helper thread: while a block is open, these two modules' ``Thread`` carries
    the caller's context variables along.  Both hooks are removed with the last block.
"""

from __future__ import annotations

import contextvars
import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from types import SimpleNamespace

import tvm
from tvm import relay
from tvm.auto_scheduler import relay_integration as auto_scheduler_extraction
from tvm.autotvm.task import relay_integration as autotvm_extraction
from tvm.ir.instrument import PassInstrument
from tvm.ir.transform import PassContext

from ..core.config import ReorderConfig
from ..core.report import Report
from ..core.selection import UnknownSite
from .floor_division import mend_floor_division
from .names import PoolName, name_pools
from .passes import ReorderActivations

logger = logging.getLogger("tvm_reorder")
_FIRST_PASS = "SimplifyInference"  # runs at every level, and nowhere else in the pipelines
_PIPELINE = "sequential"  # the pipelines themselves; their first passes drop the source names
_ANCHOR = "FlattenAtrousConv"
_FALLBACK_ANCHOR = "FuseOps"

_session: contextvars.ContextVar[Session | None] = contextvars.ContextVar(
    "tvm_reorder_session", default=None
)


class Session(PassInstrument):
    """The instrument of one `enabled` block.

    Parameters
    ----------
    config : ReorderConfig
        The options.
    report : Report
        Receives a run for each module that is compiled.
    """

    def __init__(self, config: ReorderConfig, report: Report):
        super().__init__()
        self.report = report
        self._thread = threading.local()
        self._reorder = ReorderActivations(
            config, report, source_names=self._names, in_build=True
        ).as_pass()

    def run_before_pass(self, mod, info):
        """Run the pass on the module when its place in the pipeline has come."""
        if _session.get() is not self:
            return  # the block is over, or another one is open inside it
        if info.name == _PIPELINE:
            self._remember(mod)
        if info.name == _FIRST_PASS:
            self._thread.is_done = False
        is_late = info.name == _FALLBACK_ANCHOR and not getattr(self._thread, "is_done", True)
        if info.name != _ANCHOR and not is_late:
            return
        self._thread.is_done = True
        self._thread.is_busy = True
        try:
            # A Sequential, because it is what heeds opt_level and disabled_pass.
            changed = tvm.transform.Sequential([self._reorder])(mod)
        except UnknownSite:
            raise  # the user's mistake: nothing is built then
        except Exception as error:  # whatever is wrong here, the user's build must go on
            logger.warning("the module is compiled as it is: the pass failed", exc_info=True)
            self.report.errors.append(error)
            return
        finally:
            self._thread.is_busy, self._thread.names = False, ()
        if not changed.same_as(mod):
            for variable, function in changed.functions.items():
                mod.update_func(variable, function)

    def _remember(self, mod) -> None:
        """Keep the names that the pools have before the pipeline's passes drop them."""
        if getattr(self._thread, "is_busy", False) or not isinstance(mod, tvm.IRModule):
            return
        names = name_pools(mod)
        if any(name.own != name.build for name in names):
            self._thread.names = names

    def _names(self) -> Sequence[PoolName]:
        return getattr(self._thread, "names", ())


@contextmanager
def enabled(
    config: ReorderConfig | None = None, *, report: Report | None = None, **options
) -> Iterator[Report]:
    """Switch the pass on for everything that is compiled inside the block.

    Serves `relay.build` (graph and AOT executors), `relay.vm.compile`, `relay.create_executor`,
    ``autotvm.task.extract_from_program``, ``auto_scheduler.extract_tasks``, MetaSchedule's
    ``relay_integration`` and ``tvmc``.  Blocks nest: the innermost one counts.  Other threads are
    not affected, nor are threads that the user starts inside the block.

    Parameters
    ----------
    config : ReorderConfig, optional
        The options; also as keyword arguments, such as ``licence="ulp:8"``.
    report : Report, optional
        A report to add to; a new one by default.

    Yields
    ------
    Report
        Filled by each compilation inside the block.

    Raises
    ------
    ValueError
        If an option has no meaning.

    Notes
    -----
    Entered inside a `PassContext` that has instruments, the block keeps that context and adds to
    it; TVM restarts the other instruments then, so enter the block first when timing passes.
    """
    config = replace(config or ReorderConfig(), **options)
    session = Session(config, Report() if report is None else report)
    with ExitStack() as stack:
        stack.enter_context(mend_floor_division())
        stack.enter_context(_hooks())
        token = _session.set(session)
        stack.callback(_session.reset, token)
        current = PassContext.current()
        if current.instruments:
            _attach(current, session)
        else:
            stack.enter_context(_copy(current))
        yield session.report


def reorder(
    mod: tvm.IRModule | relay.Function,
    params: dict | None = None,
    config: ReorderConfig | None = None,
    *,
    target: str | tvm.target.Target | None = None,
    **options,
) -> tuple[tvm.IRModule, Report]:
    """Exchange outside a build: a module in, the exchanged module and the report out.

    Batch norm is simplified and folded first (SimplifyInference, FoldConstant, FoldScaleAxis), as
    `relay.build` would, because it would stand between convolution and activation; sums and scales
    are merged (SimplifyExpr), because it would see other neighbours behind the exchange.

    Parameters
    ----------
    mod : tvm.IRModule or relay.Function
        The module; it stays as it is.
    params : dict, optional
        Parameters to bind into ``main``: a scale whose sign is unknown cannot be exchanged.
    config : ReorderConfig, optional
        The options; also as keyword arguments.
    target : str or tvm.target.Target, optional
        What will be compiled for; the target in scope, else llvm.

    Notes
    -----
    Call it in the ``PassContext`` of the build: opt_level 4 computes exp, tanh and erf otherwise.

    Returns
    -------
    mod : tvm.IRModule
        The exchanged module.
    report : Report
        One run.

    Raises
    ------
    ValueError
        If an option has no meaning, or there are params and no ``main``.
    """
    config = replace(config or ReorderConfig(), **options)
    report = Report()
    mod = tvm.IRModule.from_expr(mod) if isinstance(mod, relay.Function) else mod
    if params and "main" not in [variable.name_hint for variable in mod.get_global_vars()]:
        raise ValueError("module has no function 'main' but must have one to bind params")
    if params:
        bound = relay.build_module.bind_params_by_name(mod["main"], params)
        functions = dict(mod.functions.items())
        functions[mod.get_global_var("main")] = bound
        mod = tvm.IRModule(functions, mod.type_definitions, attrs=mod.attrs)
    passes = [
        relay.transform.InferType(),
        relay.transform.SimplifyInference(),
        relay.transform.FoldConstant(),
        relay.transform.FoldScaleAxis(),
        relay.transform.FoldConstant(),
        relay.transform.SimplifyExpr(),
        ReorderActivations(config, report).as_pass(),
    ]
    with ExitStack() as stack:
        stack.enter_context(mend_floor_division())
        if target is not None:
            stack.enter_context(tvm.target.Target(target))
        current = PassContext.current()
        level = max(3, current.opt_level)
        stack.enter_context(_copy(current, opt_level=level, instruments=current.instruments))
        return tvm.transform.Sequential(passes)(mod), report


def _copy(context: PassContext, opt_level: int | None = None, instruments=None) -> PassContext:
    return PassContext(
        opt_level=context.opt_level if opt_level is None else opt_level,
        required_pass=context.required_pass,
        disabled_pass=context.disabled_pass,
        instruments=instruments,
        config=dict(context.config.items()) if context.config else None,
    )


def _attach(context: PassContext, session: Session) -> None:
    """Add the session's instrument to a context that has been entered."""
    present = list(context.instruments or [])
    if not any(instrument.same_as(session) for instrument in present):
        context.override_instruments([*present, session])


# --- hooks, in place while any block is open -----------------------------------------------------

_lock = threading.Lock()
_open_blocks = 0
_undo: ExitStack | None = None


@contextmanager
def _hooks() -> Iterator[None]:
    global _open_blocks, _undo
    with _lock:
        _open_blocks += 1
        if _open_blocks == 1:
            _undo = _install()
    try:
        yield
    finally:
        with _lock:
            _open_blocks -= 1
            if _open_blocks == 0:
                _undo.close()


def _install() -> ExitStack:
    undo = ExitStack()
    enter = PassContext.__enter__

    def enter_and_attach(context):
        result = enter(context)
        session = _session.get()
        if session is not None:
            _attach(context, session)
        return result

    _set(undo, PassContext, "__enter__", enter_and_attach)
    carrying = SimpleNamespace(Thread=_ThreadWithContext)
    _set(undo, autotvm_extraction, "threading", carrying)
    _set(undo, auto_scheduler_extraction, "threading", carrying)
    return undo


def _set(undo: ExitStack, owner, name: str, value) -> None:
    undo.callback(setattr, owner, name, getattr(owner, name))
    setattr(owner, name, value)


class _ThreadWithContext(threading.Thread):
    """A thread that sees the context variables of the thread that made it."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._context = contextvars.copy_context()

    def run(self):
        self._context.run(super().run)
