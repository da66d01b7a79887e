"""The command `stablesoftmax`: parse, call, print."""

import argparse
import contextlib
import faulthandler
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

__all__ = ["main"]

_EXAMPLES = {
    "run": "example: stablesoftmax run --report why.html train.py --epochs 3",
    "check": "example: stablesoftmax check src/ notebook.ipynb --format github",
    "diagnose": "example: stablesoftmax diagnose logits.npy --labels labels.npy",
    "trace": "example: stablesoftmax trace 1000 999 0",
    "audit": "example: stablesoftmax audit package.layers:softmax --report softmax.html",
    "explain": "example: stablesoftmax explain SMX003",
    "info": "example: stablesoftmax info",
}


class _Refused(Exception):
    """What the user asked for cannot be done; one line says why."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="stablesoftmax", description="Why is it NaN? Which cause, at which place, which cure."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text, epilog=_EXAMPLES[name])
        if name not in ("explain", "info"):
            command.add_argument(
                "--report", metavar="FILE", help="write .json, .html, .sarif or .txt"
            )
        return command

    run = add("run", "Run a script unchanged, and say what made its NaN.")
    run.add_argument("--thorough", action="store_true", help="follow every line of your own files")
    run.add_argument("-m", dest="module", action="store_true", help="SCRIPT is a module's name")
    run.add_argument("script", metavar="SCRIPT")
    run.add_argument("arguments", metavar="ARGS", nargs=argparse.REMAINDER)
    _add_check(
        add("check", "Read source and notebooks, run nothing, and name what is wrong in them.")
    )
    diagnose = add("diagnose", "Look at arrays in files: npy, npz or csv.")
    diagnose.add_argument("logits", nargs="?", help="an array of logits")
    for name in ("probs", "labels", "mask", "grads", "weights"):
        diagnose.add_argument(f"--{name}", metavar="FILE")
    diagnose.add_argument("--axis", type=int, default=-1, help="of the classes (default: the last)")
    trace = add("trace", "Walk one row through the textbook softmax and the stable one.")
    trace.add_argument("values", nargs="+", help="numbers, or one file")
    trace.add_argument("--dtype", default="float64", choices=("float16", "float32", "float64"))
    audit = add("audit", "Test a softmax of your own. This imports MODULE and executes your code.")
    audit.add_argument("function", metavar="MODULE:FUNCTION")
    kinds = ("softmax", "log_softmax", "logsumexp", "cross_entropy")
    audit.add_argument("--kind", default="softmax", choices=kinds, help="what it should compute")
    audit.add_argument("--axis", type=int, default=-1, help="of the classes (default: the last)")
    audit.add_argument("--arrays", choices=("numpy", "torch", "jax"), help="what is given to it")
    audit.add_argument("--time-limit", type=float, default=10.0, metavar="SECONDS")
    explain = add("explain", "Say what a cause is, and how to mend it.")
    explain.add_argument("code", nargs="?", help="such as SMX003; none: list them all")
    add("info", "Versions, the CPU's level, threads.")
    return parser


def _listed(text: str) -> tuple[str, ...]:
    return tuple(filter(None, (part.strip() for part in text.split(","))))


def _add_check(check: argparse.ArgumentParser) -> None:
    check.add_argument("paths", nargs="*", default=["."], metavar="PATH", help='"-": stdin')
    check.add_argument("--format", default="text", choices=("text", "json", "sarif", "github"))
    for name, listed, text in (
        ("--select", "CODES", "report these alone: SMX004,SMX00"),
        ("--ignore", "CODES", "leave these out"),
        ("--exclude", "PATTERNS", "files and folders to leave out, with commas"),
    ):
        check.add_argument(name, metavar=listed, type=_listed, help=text)
    check.add_argument("--baseline", metavar="FILE", help="findings that are known")
    check.add_argument("--write-baseline", metavar="FILE", help="make today's findings known")
    check.add_argument("--statistics", action="store_true", help="how often each cause was found")
    fix = check.add_mutually_exclusive_group()
    fix.add_argument("--fix", action="store_true", help="mend what is safe; shows the diff first")
    fix.add_argument("--diff", action="store_true", help="show what --fix would do, write nothing")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        By default those of the process.

    Returns
    -------
    int
        The exit status: 0 for nothing found, 1 for an error or a warning, 2 where nothing could be
        read; of `run`, the script's own if it is not 0.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = _parser().parse_args(given)
    try:
        return _COMMANDS[options.command](options)
    except _Refused as refused:
        print(f"stablesoftmax {options.command}: {refused}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # whoever reads the output has gone, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _run(options: argparse.Namespace) -> int:
    from .doctor.running import run
    from .doctor.texts import show

    path = _report_path(options)
    try:
        report, status = run(
            options.script, options.arguments, module=options.module, thorough=options.thorough
        )
    except OSError as error:
        _refuse(f"{error.strerror or error}: {options.script}")
    _flush()
    with contextlib.suppress(BrokenPipeError):
        show(report, sys.stderr)
        _write(report, path)
    return status or int(not report.ok)


def _flush() -> None:
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _check(options: argparse.Namespace) -> int:
    from .doctor.checking.commands import checked, mended
    from .doctor.checking.formats import FORMATS, statistics

    path = _report_path(options)
    try:
        if options.fix or options.diff:
            mended(options)
        report, status = checked(options)
    except (TypeError, ValueError, OSError) as error:
        _refuse(str(error))
    if not options.diff:
        sys.stdout.write(
            statistics(report) if options.statistics else FORMATS[options.format](report)
        )
    _write(report, path)
    return status


def _diagnose(options: argparse.Namespace) -> int:
    from .doctor.diagnosis import diagnose
    from .doctor.texts import show

    names = ("logits", "probs", "labels", "mask", "grads", "weights")
    path = _report_path(options)
    arrays = {name: _loaded(getattr(options, name)) for name in names if getattr(options, name)}
    if not arrays:
        _refuse("no array: pass a file of logits, or --probs, --labels, --grads, --weights")
    for name in ("logits", "probs", "labels", "mask"):
        if isinstance(arrays.get(name), dict):
            arrays[name] = _only(arrays[name], name)
    try:
        report = diagnose(**arrays, axis=options.axis)
    except (TypeError, ValueError) as error:
        _refuse(str(error))
    show(report, sys.stdout)
    _write(report, path)
    return int(not report.ok)


def _only(arrays: dict[str, Any], name: str) -> Any:
    if len(arrays) == 1:
        return next(iter(arrays.values()))
    if name in arrays:
        return arrays[name]
    _refuse(f"{name}: the file holds {', '.join(arrays)}, and none is named {name}")


def _loaded(path: str) -> Any:
    """An array, or a dict of those in an npz. Nothing is unpickled."""
    import numpy as np

    try:
        if path.lower().endswith((".csv", ".txt")):
            return np.loadtxt(path, delimiter="," if path.lower().endswith(".csv") else None)
        with open(path, "rb") as file:  # np.load of a broken archive would leave it open
            loaded = np.load(file, allow_pickle=False)
            return loaded if isinstance(loaded, np.ndarray) else dict(loaded)
    except FileNotFoundError:
        _refuse(f"no such file: {path}")
    except Exception as error:  # truncated, pickled, text for numbers, a folder
        reason = str(error).partition("\n")[0]
        _refuse(f"{path} cannot be read: {reason}")


def _trace(options: argparse.Namespace) -> int:
    import numpy as np

    from .doctor.texts import show
    from .doctor.tracing import trace

    path = _report_path(options)
    try:
        row = np.array([float(value) for value in options.values])
    except ValueError:
        if len(options.values) > 1:
            _refuse(f"numbers or one file are accepted, got {' '.join(options.values)}")
        row = np.asarray(_loaded(options.values[0]))
    try:
        with np.errstate(all="ignore"):
            traced = trace(row.astype(options.dtype))
    except (TypeError, ValueError) as error:
        _refuse(str(error))
    print(traced)
    show(traced.report, sys.stdout)
    _write(traced.report, path)
    return int(not traced.report.ok)


def _audit(options: argparse.Namespace) -> int:
    from .doctor.auditing import audit
    from .doctor.texts import show

    path = _report_path(options)
    function = _imported(options.function)
    try:
        _end_after(options.time_limit + 5)
        report = audit(
            function,
            options.kind,
            axis=options.axis,
            arrays=options.arrays,
            time_limit=options.time_limit,
        )
    except (TypeError, ValueError, OverflowError, ImportError) as error:
        _refuse(str(error))
    finally:
        faulthandler.cancel_dump_traceback_later()
    show(report, sys.stdout)
    _write(report, path)
    return int(not report.ok)


def _end_after(seconds: float) -> None:
    """End the process, and say where it hangs, if a call never lets go of the interpreter.

    `re.match("(a+)+$", "a" * 40 + "b")` is such a call: no thread of Python's could end it.
    """
    if sys.__stderr__ is not None and seconds > 0:
        faulthandler.dump_traceback_later(seconds, exit=True, file=sys.__stderr__)


def _imported(name: str) -> Any:
    """The function MODULE:FUNCTION; the current folder's modules are found, as by `python -m`."""
    import importlib

    module, _, path = name.partition(":")
    if not module or not path:
        _refuse(f"MODULE:FUNCTION is accepted, such as package.layers:softmax, got {name!r}")
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found: Any = importlib.import_module(module)
    except (Exception, SystemExit) as error:  # the module is the user's: it may raise anything
        _refuse(f"{module} cannot be imported: {type(error).__name__}: {error}")
    for part in path.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            _refuse(f"{module} has no {path}")
    return found


def _explain(options: argparse.Namespace) -> int:
    from .doctor.causes import CAUSES
    from .doctor.texts import explained

    if options.code is None:
        for cause in CAUSES.values():
            print(f"{cause.code}  {cause.name:<20} {cause.summary}")
        return 0
    if options.code.upper() not in CAUSES:
        _refuse(f"there is no cause {options.code}; `stablesoftmax explain` lists them")
    print(explained(CAUSES[options.code.upper()]))
    return 0


def _info(_: argparse.Namespace) -> int:
    import platform

    import numpy as np

    from . import __version__, _core, get_num_threads

    facts: list[tuple[str, object]] = [
        ("stablesoftmax", __version__),
        ("NumPy", np.__version__),
        ("Python", platform.python_version()),
        ("system", f"{platform.system()} {platform.machine()}"),
        ("CPU level", _core.isa()),
        ("threads", get_num_threads()),
    ]
    for name, value in facts:
        print(f"{name:<14} {value}")
    return 0


_COMMANDS = {
    "run": _run,
    "check": _check,
    "diagnose": _diagnose,
    "trace": _trace,
    "audit": _audit,
    "explain": _explain,
    "info": _info,
}


def _report_path(options: argparse.Namespace) -> str | None:
    """The report's absolute path, for the script may change the folder; refused if it cannot be."""
    from .doctor.reporting import check_writable

    if options.report is None:
        return None
    try:
        check_writable(options.report)
    except (ValueError, OSError, ModuleNotFoundError) as error:
        _refuse(str(error))
    path: str = options.report
    return os.path.abspath(path)


def _write(report: Any, path: str | None) -> None:
    from .doctor.reporting import write

    if path is not None:
        try:
            write(report, path)
        except OSError as error:
            _refuse(f"the report cannot be written: {error}")
        print(f"report: {path}", file=sys.stderr)


def _refuse(message: str) -> NoReturn:
    raise _Refused(" ".join(message.split()))
