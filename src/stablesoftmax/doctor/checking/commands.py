"""What the command line does beside `check`: settings, baselines, fixes."""

import sys
from argparse import Namespace
from pathlib import Path

from ..reporting import Report, write_whole
from . import check
from .files import STDIN, found_files
from .fixes import fixed_files
from .settings import Settings, settings_for
from .suppression import wanted_codes, write_baseline

__all__ = ["checked", "mended"]


def checked(options: Namespace) -> tuple[Report, int]:
    """The report that the options ask for, and the exit status."""
    settings = _settings(options)
    if options.write_baseline and not Path(options.write_baseline).absolute().parent.is_dir():
        raise FileNotFoundError(f"no folder for the baseline: {options.write_baseline}")
    baseline = None if options.write_baseline else settings.baseline
    if baseline is not None and not Path(baseline).is_file():
        raise FileNotFoundError(f"no such baseline: {baseline}; --write-baseline makes one")
    report = check(
        options.paths,
        select=settings.select,
        ignore=settings.ignore,
        exclude=settings.exclude,
        baseline=baseline,
    )
    if options.write_baseline:
        target = Path(options.write_baseline).absolute()
        write_whole(target, write_baseline(report.findings).encode())
        known = Report(
            (),
            tool="check",
            notes=[*report.notes, f"{len(report.findings)} findings are known now"],
        )
        return known, 0
    unread = sum(" is not read: " in note for note in report.notes)
    if unread and unread == sum(1 for _ in found_files(options.paths, settings.exclude)):
        return report, 2
    return report, int(not report.ok or bool(report.notes))


def mended(options: Namespace) -> None:
    """Show what can be mended as a diff, and write it if that was asked for."""
    if STDIN in options.paths:
        raise ValueError("--fix and --diff need files, and not the standard input")
    settings = _settings(options)
    wanted = wanted_codes(settings.select, settings.ignore)
    for fixed in fixed_files(options.paths, settings.exclude, wanted):
        sys.stdout.write(fixed.diff)
        if options.fix:
            fixed.write()


def _settings(options: Namespace) -> Settings:
    """Those of the command, then those of pyproject.toml."""
    first = next((path for path in options.paths if path != STDIN), ".")
    file = settings_for(first)
    select, ignore, exclude = (
        given if (given := getattr(options, name)) is not None else getattr(file, name)
        for name in ("select", "ignore", "exclude")
    )
    return Settings(select, ignore, exclude, options.baseline or file.baseline)
