"""Statistics of a few runs, by scipy, statsmodels, autorank and rliable: tests/cli/lab_statistics.cpp holds train/lab/statistics.h to them.

    python3 -m venv venv && venv/bin/pip install pandas==2.3.3 scipy==1.17.1 statsmodels==0.15.0 autorank==1.3.0 rliable==1.2.0
    venv/bin/python tests/golden/study_statistics.py

writes data/statistics.json. Bootstraps are compared draw by draw: Draws below makes the indices that core/rng.h makes, and rliable's own
statistics and numpy's percentiles are taken of what they pick. Tiny cases are enumerated as well: of n values there are n^n resamples, all
equally likely, and a large sample of them has to come near to their exact quantiles.
"""
import sys

sys.path.pop(0)  # this file is called like a module of Python's own
import itertools
import json
import pathlib
import warnings

import autorank
import autorank._util
import numpy as np
import pandas as pd
import scipy.integrate
import scipy.optimize
import scipy.special
import scipy.stats
from rliable import library, metrics
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

warnings.filterwarnings("ignore")
MASK = (1 << 64) - 1


def mix(x):
    x = (x + 0x9E3779B97F4A7C15) & MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


class Draws:
    """SplitMix64 by counter, as rng::Stream(seed).below(counter, n) with counters 0, 1, 2, ..."""

    def __init__(self, seed):
        self.seed, self.next = seed, 0

    def below(self, n, count):
        start, self.next = self.next, self.next + count
        return np.array([((mix((self.seed + 0x9E3779B97F4A7C15 * c) & MASK) >> 32) * n) >> 32 for c in range(start, start + count)])


def interval(draw, resamples):
    low, high = np.percentile([draw() for _ in range(resamples)], [2.5, 97.5])
    return [float(low), float(high)]


def pick(scores, draws):
    """Runs drawn anew within each task; rliable's matrices are runs x tasks, ours tasks x runs, drawn in that order."""
    runs, tasks = scores.shape
    return np.stack([scores[draws.below(runs, runs), t] for t in range(tasks)], axis=1)


def one_sample(values):
    frame = pd.Series(values)
    low, high = scipy.stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=scipy.stats.sem(values))
    assert np.allclose(autorank._util._confidence_interval(frame, 0.05), (low, high), rtol=1e-12)
    return {"values": values, "mean": frame.mean(), "sd": frame.std(ddof=1), "interval": [low, high]}


def pair(a, b):
    test = scipy.stats.ttest_rel(a, b)
    ci = test.confidence_interval(0.95)
    if len(a) >= 5:  # what autorank can be asked for
        said = autorank.autorank(pd.DataFrame({"a": a, "b": b}), alpha=0.05, verbose=False, force_mode="parametric")
        assert np.isclose(said.pvalue, test.pvalue, rtol=1e-12)
    d = np.subtract(a, b)
    return {"a": a, "b": b, "mean": d.mean(), "sd": d.std(ddof=1), "interval": [ci.low, ci.high], "t": test.statistic, "p": test.pvalue}


def detectable(n, sd):
    """Smallest true difference, and statsmodels' answer to the same question; of two pairs it gives none."""
    critical = scipy.stats.t.ppf(0.975, n - 1)

    def power(delta):  # without the noncentral t of a library: of a normal over an independent chi, integrated over the chi
        nc, chi = delta / sd * np.sqrt(n), scipy.stats.chi(n - 1)
        tails = lambda s: scipy.special.ndtr(nc - critical * s / np.sqrt(n - 1)) + scipy.special.ndtr(-critical * s / np.sqrt(n - 1) - nc)  # noqa: E731
        return scipy.integrate.quad(lambda s: chi.pdf(s) * tails(s), 0, chi.isf(1e-16), epsabs=1e-13, epsrel=1e-13, limit=200)[0]

    delta = scipy.optimize.brentq(lambda d: power(d) - 0.8, 1e-3 * sd, 200 * sd, xtol=1e-12 * sd)
    if n > 2:
        assert np.isclose(TTestPower().solve_power(nobs=n, alpha=0.05, power=0.8) * sd, delta, rtol=1e-5), n
    return {"n": n, "sd": sd, "difference": delta}


def images(values, seed, resamples):
    draws, v = Draws(seed), np.array(values, dtype=np.float64)
    return {"values": values, "seed": seed, "resamples": resamples,
            "interval": interval(lambda: v[draws.below(len(v), len(v))].mean(), resamples)}


def seeds_and_images(values, seed, resamples):
    draws, v = Draws(seed), np.array(values, dtype=np.float64)

    def one():
        rows = draws.below(v.shape[0], v.shape[0])
        return v[rows][:, draws.below(v.shape[1], v.shape[1])].mean()

    return {"values": values, "seed": seed, "resamples": resamples, "interval": interval(one, resamples)}


def middle(scores, seed, resamples):
    draws, s = Draws(seed), np.array(scores)
    return {"scores": s.T.tolist(), "seed": seed, "resamples": resamples, "mean": metrics.aggregate_iqm(s),
            "interval": interval(lambda: metrics.aggregate_iqm(pick(s, draws)), resamples)}


def improvement(x, y, seed, resamples):
    draws, x, y = Draws(seed), np.array(x), np.array(y)

    def one():
        drawn = pick(x, draws)
        return metrics.probability_of_improvement(drawn, pick(y, draws))

    return {"x": x.T.tolist(), "y": y.T.tolist(), "seed": seed, "resamples": resamples,
            "probability": metrics.probability_of_improvement(x, y), "interval": interval(one, resamples)}


def enumerated(scores, statistic):
    """Quantiles of the exact bootstrap distribution of one task's statistic."""
    every = np.array([statistic(np.array(drawn)) for drawn in itertools.product(scores, repeat=len(scores))])
    return {"scores": scores, "mean": float(every.mean()), "quantiles": [float(np.quantile(every, q, method="inverted_cdf")) for q in (0.025, 0.975)],
            "values": sorted(set(np.round(every, 12).tolist()))}


def rliable_itself(scores):
    """rliable's own loop with its own draws gives what pick() and percentiles give: the method is the same, not only the statistic."""
    class Ours(library.StratifiedBootstrap):
        def update_indices(self):
            runs, tasks = self._args_shape
            index = np.stack([draws.below(runs, runs) for _ in range(tasks)], axis=1)
            return (index, *self._strata_indices)

    draws, s = Draws(5), np.array(scores)
    theirs = Ours(s).conf_int(lambda x: np.array([metrics.aggregate_iqm(x)]), reps=200, size=0.95, method="percentile")
    assert np.allclose(theirs.ravel(), middle(scores, 5, 200)["interval"], rtol=1e-12)


rng = np.random.default_rng(20)
accuracy = lambda n, mean=0.71, sd=0.008: np.round(rng.normal(mean, sd, n), 4).tolist()  # noqa: E731
right = lambda n, p: rng.binomial(1, p, n).tolist()  # noqa: E731

family = [0.011, 0.02, 0.9, 0.03, 0.0004, 0.2, 0.2, 1.0]
two_tasks = np.stack([accuracy(5), accuracy(5, 0.5)], axis=1)
rliable_itself(two_tasks)
golden = {
    "means": [one_sample(v) for v in ([0.1, 0.2], [0.7012, 0.6931, 0.7104], accuracy(5), accuracy(10), accuracy(40), [1e-9, 3e-9, 2e-9],
                                      [1e9, 1e9 + 1, 1e9 + 3])],
    "pairs": [pair(a, b) for a, b in ([([0.5, 0.6], [0.4, 0.55]), ([0.7012, 0.6931, 0.7104], [0.6912, 0.6933, 0.6999])]
                                      + [(accuracy(n), accuracy(n, mean)) for n, mean in ((5, 0.71), (5, 0.69), (10, 0.705), (30, 0.6))])],
    "holm": [{"p": p, "corrected": multipletests(p, method="holm")[1].tolist()} for p in (family, [0.04], [0.01, 0.01, 0.01], [0.6, 0.5])],
    "detectable": [detectable(n, sd) for n, sd in ((2, 1.0), (3, 0.004), (4, 0.004), (5, 0.006), (10, 0.006), (30, 0.01), (200, 1.0))],
    "images": [images(right(60, 0.7), 1, 400), images((np.array(right(80, 0.7)) - right(80, 0.7)).tolist(), 7, 400), images([1, 0, 1], 3, 50)],
    "seeds_and_images": [seeds_and_images([right(40, 0.7) for _ in range(3)], 2, 300)],
    "middle": [middle(two_tasks, 5, 300), middle(np.array([accuracy(3)]).T, 1, 300), middle(np.stack([accuracy(10) for _ in range(3)], 1), 9, 100)],
    "improvement": [improvement(two_tasks, np.stack([accuracy(4), accuracy(4, 0.5)], 1), 4, 300),
                    improvement(np.array([[0.5, 0.5, 0.6]]).T, np.array([[0.5, 0.4, 0.6]]).T, 8, 300),
                    improvement(two_tasks, two_tasks, 2, 100)],
    "mcnemar": [{"a": a, "b": b, "p": mcnemar([[0, a], [b, 0]], exact=True).pvalue} for a, b in
                ((10, 3), (3, 10), (25, 25), (0, 6), (130, 88), (1, 0), (900, 1000))],
    "enumerated": [enumerated([0.70, 0.69, 0.73], np.mean), enumerated([0.70, 0.69, 0.73, 0.71], metrics.aggregate_iqm)],
}
out = pathlib.Path(__file__).parent / "data" / "statistics.json"
out.write_text(json.dumps(golden, separators=(",", ":"), default=float) + "\n")
print(out.stat().st_size, "bytes")
