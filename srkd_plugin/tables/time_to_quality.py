"""How long each method takes to the PSNR that its baseline ends with: is a gain speed, quality, or both?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Optional

from srkd_plugin.tables.paired_stats import Interval, interval
from srkd_plugin.tables.results import Results, RunResult
from srkd_plugin.tables.table_sections import Table
from srkd_plugin.tables.validation_curves import Curve, curves_by_run


@dataclass(frozen=True)
class TimeToQuality:
    """A method's way to the PSNR that its baseline has at its last validation, seed by seed.

    Attributes:
        seeds: Seeds that both have.
        reached: Those in which the method gets there at some validation.
        share: Iterations until then as a share of the baseline's, over the seeds that get there.
        at_most: Whether a run was there at its first validation already, so that :attr:`share` is an upper bound.
        cpu: The same of CPU seconds, where they were measured.
        cpu_with_cache: The same with the making of the teacher cache.
    """

    method: str
    seeds: int
    reached: int
    share: Optional[Interval] = None
    at_most: bool = False
    cpu: Optional[Interval] = None
    cpu_with_cache: Optional[Interval] = None


def iterations_to(curve: Curve, psnr: float) -> Optional[float]:
    """Iterations after which a curve first has a PSNR; linear between validations.

    Args:
        curve: See :data:`~srkd_plugin.tables.validation_curves.Curve`.
        psnr: In dB.

    Returns:
        The first validation's iteration if it has it already; None if no validation has it.

    Example:
        >>> iterations_to([(500, 30.0), (1000, 31.0)], 30.5)
        750.0
    """
    for number, (iteration, value) in enumerate(curve):
        if value >= psnr:
            if number == 0:
                return float(iteration)
            before, lower = curve[number - 1]
            return before + (iteration - before) * (psnr - lower) / (value - lower)
    return None


def times_to_quality(table: Table, results: Results) -> list[TimeToQuality]:
    """The ways of all methods that have a baseline and a curve, in the table's order."""
    runs = {(run.method, run.seed): run for run in results.runs}
    curves = curves_by_run(results)
    found = []
    for method in table.methods:
        baseline = table.baseline_of(method)
        seeds = [seed for name, seed in curves if name == method and (baseline, seed) in curves]
        if baseline != method and seeds:
            found.append(_time(method, baseline, seeds, curves, runs))
    return found


def _time(
    method: str,
    baseline: str,
    seeds: Sequence[int],
    curves: dict[tuple[str, int], Curve],
    runs: dict[tuple[str, int], RunResult],
) -> TimeToQuality:
    shares, cpu, with_cache, at_most = [], [], [], False
    for seed in seeds:
        last, psnr = curves[baseline, seed][-1]
        ours = curves[method, seed]
        iterations = iterations_to(ours, psnr)
        if iterations is None or last <= 0:
            continue
        shares.append(iterations / last)
        at_most = at_most or iterations == ours[0][0]
        run, other = runs.get((method, seed)), runs.get((baseline, seed))
        if run and other and all(one.cpu_seconds > 0 and one.iterations > 0 for one in (run, other)):
            seconds = iterations * run.cpu_seconds / run.iterations
            whole = last * other.cpu_seconds / other.iterations
            cpu.append(seconds / whole)
            with_cache.append((seconds + run.cache_cpu_seconds) / whole)
    over_seeds = [interval(values) if values else None for values in (shares, cpu, with_cache)]
    return TimeToQuality(method, len(seeds), len(shares), over_seeds[0], at_most, over_seeds[1], over_seeds[2])
