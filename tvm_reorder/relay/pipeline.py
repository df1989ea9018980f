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
    FlattenAtrousConv is disabled, FuseOps is the fallback.  Who runs one of these by himself inside
    a block is not building: what begins the list has to have run before.

Outside a build
    `reorder` runs TVM's own ``optimize``, which is `relay.build` up to code generation, under the
    same instrument: what it reads is what a build would hand to the pass, QNN lowered, batch norm
    folded, operators canonical.  The module is kept when the pass has run, and `should_run` says no
    to every pass from there on, so that nothing is laid out, fused or planned in vain.

How the instrument gets into every `PassContext`
    Instruments belong to a context, and users, tvmc and the tuners open their own.  While any
    `enabled` block is open, ``PassContext.__enter__`` attaches the session's instrument.  Which
    session is a context variable, so threads do not see each other's.  AutoTVM and auto_scheduler
    extract tasks in a helper thread: while a block is open, these two modules' ``Thread`` carries
    the caller's context variables along.  AutoTVM can be asked for the tasks of some operators;
    who asks for those of convolutions means the fused ones too, so these join what is wanted.  (The
    other two tuners take no such list, and nothing is fused for them.)  All hooks are removed with
    the last block.
"""

from __future__ import annotations

import contextvars
import logging
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from types import SimpleNamespace

import tvm
from tvm import autotvm, relay
from tvm.auto_scheduler import relay_integration as auto_scheduler_extraction
from tvm.autotvm.task import TaskExtractEnv
from tvm.autotvm.task import relay_integration as autotvm_extraction
from tvm.ir.instrument import PassInstrument
from tvm.ir.transform import PassContext

from ..core.config import ReorderConfig
from ..core.report import Report
from ..core.selection import UnknownSite
from .floor_division import mend_floor_division
from .guards import guard_prepared
from .names import PoolName, give_names, name_pools
from .op.conv2d_max_pool2d import NAME as FUSED
from .passes import ReorderActivations

logger = logging.getLogger("tvm_reorder")
_NAMELESS = "ToBasicBlockNormalForm"  # drops the pools' names
_FIRST_PASSES = (_NAMELESS, "qnn.Legalize")  # they begin the list, at every level
_ANCHOR = "FlattenAtrousConv"
_FALLBACK_ANCHOR = "FuseOps"
_TYPING = "InferType"
_DEFAULT_LEVEL = 2  # TVM's, where no PassContext is open
_USUAL_LEVEL = 3  # tvmc's

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
    in_build, any_target : bool
        See `ReorderActivations`.
    """

    def __init__(
        self,
        config: ReorderConfig,
        report: Report,
        in_build: bool = True,
        any_target: bool = False,
    ):
        super().__init__()
        self.report = report
        self._thread = threading.local()
        self._reorder = ReorderActivations(
            config,
            report,
            source_names=self._names,
            in_build=in_build,
            any_target=any_target,
        ).as_pass()

    def run_before_pass(self, mod, info):
        """Run the pass on the module when its place in the pipeline has come."""
        if _session.get() is not self:
            return  # the block is over, or another one is open inside it
        if info.name == _NAMELESS and not self._is_busy:
            with suppress(Exception):  # names are not worth a build
                self._thread.names = name_pools(mod)
        if not self._has_come(info.name):
            return
        self._thread.is_busy = True
        try:
            self._take_place(mod)
        finally:
            self._thread.is_busy, self._thread.names = False, ()

    def run_after_pass(self, mod, info):
        """Put the pools' names back behind the pass that drops them."""
        if _session.get() is not self:
            return
        self._leave()
        if info.name == _NAMELESS and not self._is_busy:
            with suppress(Exception):
                give_names(mod, self._names())

    def _has_come(self, name: str) -> bool:
        """True if the place of the pass is right before a pass that begins now.

        For each pass that is running there is a level, of what it runs itself, such as a build of
        a constant: True from the first pass of the list on, until the place has come.
        """
        levels = self._levels
        is_place = levels[-1] and name in (_ANCHOR, _FALLBACK_ANCHOR)
        levels[-1] = (levels[-1] and not is_place) or name in _FIRST_PASSES
        levels.append(False)
        return is_place and not self._is_busy

    def _leave(self) -> None:
        """A pass has ended: what it has begun and not ended, the next one may end."""
        levels = self._levels
        if len(levels) > 1:
            is_open = levels.pop()
            levels[-1] = levels[-1] or is_open

    @property
    def _levels(self) -> list[bool]:
        if not hasattr(self._thread, "levels"):
            self._thread.levels = [False]
        return self._thread.levels

    @property
    def _is_busy(self) -> bool:
        """True while the pass itself runs, which may compile something."""
        return getattr(self._thread, "is_busy", False)

    def _take_place(self, mod) -> None:
        """Run the pass on a module of the pipeline and put its functions in place."""
        try:
            changed = self._run(mod)
        except UnknownSite:
            raise  # the user's mistake: nothing is built then
        except Exception as error:  # whatever is wrong here, the user's build must go on
            logger.warning("the module is compiled as it is: the pass failed", exc_info=True)
            self.report.fail(error)
            return
        if not changed.same_as(mod):
            for variable, function in changed.functions.items():
                mod.update_func(variable, function)

    def _run(self, mod) -> tvm.IRModule:
        # A Sequential, because it is what heeds opt_level and disabled_pass.
        return tvm.transform.Sequential([self._reorder])(mod)

    def _names(self) -> Sequence[PoolName]:
        return getattr(self._thread, "names", ())


class _LastPass(Session):
    """A session that ends the pipeline with the pass and keeps the module.

    TVM infers all types before each pass, and in SimplifyExpr for each of twenty patterns; most
    change nothing, and without them it takes a third of the time.  Functions are immutable: one
    that came out of InferType and is the same object still has its types.

    Attributes
    ----------
    module : tvm.IRModule or None
        What the pass made; None before it ran.
    """

    def __init__(self, config: ReorderConfig, report: Report, any_target: bool):
        super().__init__(config, report, False, any_target)  # a whole build follows
        self.module: tvm.IRModule | None = None
        self._typed: frozenset = frozenset()

    def should_run(self, mod, info) -> bool:
        """False from the place of the pass on, and where there are no types to infer."""
        if self.module is not None:
            return False
        return info.name != _TYPING or not self._typed.issuperset(mod.functions.values())

    def run_after_pass(self, mod, info) -> None:
        """Remember which functions have their types."""
        super().run_after_pass(mod, info)
        if info.name == _TYPING:
            self._typed = frozenset(mod.functions.values())

    def _take_place(self, mod) -> None:
        self.module = self._run(mod)


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

    The module is prepared by TVM's own pipeline as `relay.build` would prepare it for `target` in
    this ``PassContext``, so sites and verdicts are those of that build.

    Parameters
    ----------
    mod : tvm.IRModule or relay.Function
        The module; it stays as it is.
    params : dict, optional
        Parameters to bind into ``main``: a scale whose sign is unknown cannot be exchanged.
    config : ReorderConfig, optional
        The options; also as keyword arguments.
    target : str or tvm.target.Target, optional
        What will be compiled for; the target in scope, else llvm for a processor that nobody has
        named.

    Notes
    -----
    Call it in the ``PassContext`` of the build: its opt_level, config and disabled passes decide
    what is folded and how exp, tanh and erf are computed.  Where no context is open, opt_level is
    3, as it is for tvmc, and not TVM's 2, which folds no batch norm.

    Returns
    -------
    mod : tvm.IRModule
        The exchanged module, to be built for `target`; with ``write=False`` the prepared one.
    report : Report
        One run, if the context lets the pass run.

    Raises
    ------
    ValueError
        If an option has no meaning, or the module has no ``main``.
    """
    config = replace(config or ReorderConfig(), **options)
    named = target or tvm.target.Target.current(allow_none=True)
    session = _LastPass(config, Report(), any_target=named is None)
    mod = _copy_module(mod)
    current = PassContext.current()
    level = current.opt_level if _is_open(current) else _USUAL_LEVEL
    instruments = [*(current.instruments or []), session]
    with ExitStack() as stack:
        stack.enter_context(mend_floor_division())
        stack.callback(_session.reset, _session.set(session))
        stack.enter_context(_copy(current, opt_level=level, instruments=instruments))
        _optimize(mod, named or "llvm", params)
    # A context that disables both anchors lets the pass run nowhere.
    return mod if session.module is None else guard_prepared(session.module), session.report


def _copy_module(mod: tvm.IRModule | relay.Function) -> tvm.IRModule:
    """A module of its own with the same functions: binding parameters changes it in place."""
    if isinstance(mod, relay.Function):
        return tvm.IRModule.from_expr(mod)
    if "main" not in [variable.name_hint for variable in mod.get_global_vars()]:
        raise ValueError("module has no function 'main' but must have one")
    return tvm.IRModule(dict(mod.functions.items()), mod.type_definitions, attrs=mod.attrs)


def _optimize(mod: tvm.IRModule, target, params: dict | None) -> None:
    """What `relay.build` does up to code generation, in the context around the call."""
    targets = tvm.target.Target.canon_multi_target_and_host(target)
    with ExitStack() as stack:
        if isinstance(autotvm.DispatchContext.current, autotvm.FallbackContext):
            stack.enter_context(autotvm.tophub.context(list(targets)))
        relay.build_module.BuildModule().optimize(mod, targets, params=params)


def _is_open(context: PassContext) -> bool:
    """False for the context that a thread has where it has opened none.

    TVM tells the two apart only when they are left.  A context that is told apart by nothing else
    has no instruments, which would notice.
    """
    if context.instruments or context.opt_level != _DEFAULT_LEVEL:
        return True
    try:
        context.__exit__(None, None, None)
    except tvm.TVMError:
        return False
    context.__enter__()
    return True


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
    reset = TaskExtractEnv.reset

    def reset_and_add(env, wanted_relay_ops=None):
        reset(env, _add_fused(wanted_relay_ops))

    _set(undo, TaskExtractEnv, "reset", reset_and_add)
    return undo


def _add_fused(wanted: Iterable[tvm.ir.Op] | None) -> Iterable[tvm.ir.Op] | None:
    """The operators whose tasks are wanted, with the one that convolutions are fused into."""
    if wanted is None or relay.op.get("nn.conv2d") not in wanted:
        return wanted
    return (*wanted, relay.op.get(FUSED))


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
