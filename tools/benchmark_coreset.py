"""Time of greedy k-center, lazy against a scan of all points for each pick; and of Core-set against the floor.

    python tools/benchmark_coreset.py [--points 40000] [--labeled 4000] [--picks 2500]
    python tools/benchmark_coreset.py --imagenet [--dimensions 64] [--limit 600]

The scan computes distances as matrix products: in single precision, as fast as it gets, and in double, whose picks
are those to compare with. The floor is one pass of a network, without loading, over the unlabeled images; Core-set
takes one over all images and then the lazy picks, the slowest of the kinds. The pass is measured on some images
and multiplied. On a machine with other work set OMP_WAIT_POLICY=PASSIVE, or threads wait for each other at full speed.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import tyro
from torch import Tensor, nn
from torchvision.models import resnet18

from seg_al import SMP
from seg_al.config import UserError, run_tool
from seg_al.strategies.kcenter import ROWS, Euclidean, LazyGreedy

POOL, INITIAL, BUDGET = 1_153_047, 128_120, 64_060
"""ImageNet in the VAAL paper: its training pool, the labeled images at the start, and a round's budget."""


def main(
    points: int = 40_000,
    dimensions: int = 512,
    labeled: int = 4_000,
    picks: int = 2_500,
    kinds: tuple[str, ...] = ("relu", "clustered"),
    imagenet: bool = False,
    limit: float = 600,
    passes: int = 256,
) -> None:
    """Measure greedy k-center.

    Args:
        points: labeled and unlabeled images.
        dimensions: length of a feature vector.
        labeled: centers at the start.
        picks: the budget.
        kinds: features to make up, see `make`.
        imagenet: instead, run as many points, labeled ones and picks as a round of ImageNet has, lazily only.
        limit: seconds after which a run of --imagenet is stopped, and its time extrapolated.
        passes: images on which a pass of a network is measured; 0: leave Core-set out.
    """
    print(f"{torch.get_num_threads()} threads")
    if imagenet:
        for kind in kinds:
            large(kind, dimensions, limit)
        return
    print(f"{points} x {dimensions}, {labeled} labeled, {picks} picks; seconds and ratios")
    print("features   scan f32  scan f64   lazy | f32/lazy f64/lazy | distances  same picks")
    slowest = 0.0
    for kind in kinds:
        features = make(kind, points, dimensions)
        single, _ = timed(partial(scan, features, labeled, picks))
        double, expected = timed(partial(scan, features.double(), labeled, picks))
        lazy, (greedy, found) = timed(partial(run, features, labeled, picks))
        slowest = max(slowest, lazy)
        share = greedy.evaluated / ((points - labeled) * (labeled + picks))
        same = "yes" if torch.equal(found, expected) else "NO"
        print(
            f"{kind:10} {single:8.2f} {double:9.2f} {lazy:6.2f} | {single / lazy:8.1f} {double / lazy:8.1f} | "
            f"{share:9.1%}  {same}",
            flush=True,
        )
    if passes:
        beside_the_floor(points, labeled, slowest, passes)


def make(kind: str, points: int, dimensions: int) -> Tensor:
    """Make features up: ``relu`` of 32 random factors with an offset and noise, or ``clustered`` of uneven spread."""
    generator = torch.Generator().manual_seed(0)
    features = torch.empty(points, dimensions)
    factors = torch.randn(32, dimensions, generator=generator) / 32**0.5
    offset = 0.3 * torch.randn(dimensions, generator=generator)
    means = torch.randn(100, dimensions, generator=generator)
    for part in features.split(ROWS):
        noise = torch.randn(part.shape, generator=generator)
        if kind == "relu":
            part[:] = torch.relu(torch.randn(len(part), 32, generator=generator) @ factors + offset + 0.1 * noise)
        elif kind == "clustered":
            spread = 0.5 * torch.rand(len(part), 1, generator=generator)
            part[:] = means[torch.randint(100, (len(part),), generator=generator)] + spread * noise
        else:
            raise UserError(f"--kinds are relu and clustered, not {kind!r}")
    return features


def scan(features: Tensor, labeled: int, picks: int) -> Tensor:
    """Return greedy k-center's picks (b,), comparing every point with every center."""
    features = features - features.mean(0)  # products cancel less
    squares = features.square().sum(1)
    nearest = torch.cat(
        [torch.addmm(squares[:labeled], part, features[:labeled].T, alpha=-2).amin(1) for part in features.split(ROWS)]
    ).add_(squares)
    nearest[:labeled] = -torch.inf
    found = []
    for _ in range(picks):
        best = int(nearest.argmax())
        found.append(best)
        torch.minimum(
            nearest, torch.addmv(squares, features, features[best], alpha=-2).add_(squares[best]), out=nearest
        )
        nearest[best] = -torch.inf
    return torch.tensor(found)


def run(features: Tensor, labeled: int, picks: int) -> tuple[LazyGreedy, Tensor]:
    """Return the lazy greedy after its work, and its picks (b,)."""
    greedy = LazyGreedy(Euclidean(features), torch.arange(labeled), picks)
    return greedy, greedy.run()[0]


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return how long `work` takes, in seconds, and what it returns."""
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


@torch.no_grad()
def each(network: nn.Module, batches: Sequence[Tensor]) -> None:
    """Run a network on batches."""
    for batch in batches:
        network(batch)


def beside_the_floor(points: int, labeled: int, selection: float, images: int) -> None:
    """Print Core-set's time as a multiple of one pass of each of some networks over the unlabeled images."""
    lite0 = SMP(encoder="tu-tf_efficientnet_lite0", weights=None).build(19).eval()
    for name, network, size in (
        ("ResNet-18 at 32x32", resnet18().eval(), (32, 32)),
        ("EfficientNet-Lite0 and decoder at 120x160", lite0, (120, 160)),
    ):
        batches = torch.rand(images, 3, *size).split(64)
        each(network, batches[:1])
        one = timed(partial(each, network, batches))[0] / images
        floor, both = one * (points - labeled), one * points
        print(
            f"{name}: floor {floor:.0f} s ({points - labeled} x {1000 * one:.2f} ms), Core-set {both:.0f} + "
            f"{selection:.1f} s, {(both + selection) / floor:.2f} times; the picks are {selection / both:.2f} of a pass"
        )


class Watched(LazyGreedy):
    """A lazy greedy that is stopped after some seconds, and tells how far it came."""

    limit: float
    start: float

    def pick(self, rows: Tensor, edge: tuple[float, int]) -> list[float]:
        picked = super().pick(rows, edge)
        elapsed = time.perf_counter() - self.start
        self.came.append((self.known, elapsed))
        if elapsed > self.limit:
            raise TimeoutError
        return picked

    def watch(self, limit: float) -> list[tuple[int, float]]:
        """Run; return how many centers there were after how many seconds."""
        self.came: list[tuple[int, float]] = []
        self.limit, self.start = limit, time.perf_counter()
        try:
            self.run()
        except TimeoutError:
            pass
        return self.came


def large(kind: str, dimensions: int, limit: float) -> None:
    """Print time and peak memory of a round of ImageNet."""
    features = make(kind, POOL, dimensions)
    start = time.perf_counter()
    greedy = Watched(Euclidean(features), torch.arange(INITIAL), BUDGET)
    prepared = time.perf_counter() - start
    came = [(known - INITIAL, seconds + prepared) for known, seconds in greedy.watch(limit)]
    picks, seconds = came[-1]
    share = greedy.evaluated / ((POOL - INITIAL) * (INITIAL + picks))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{kind}, {POOL} x {dimensions}, {INITIAL} labeled: {picks} picks in {seconds:.0f} s, {share:.1%} of the "
        f"distances, peak memory {memory:.1f} GiB, of which features {features.nbytes / 2**30:.1f}",
        flush=True,
    )
    if picks < BUDGET:
        before, at = next(((p, s) for p, s in came if p >= picks / 2), (0, prepared))
        rate = (seconds - at) / max(picks - before, 1)
        print(
            f"  stopped; the last {picks - before} took {1000 * rate:.1f} ms each, so that {BUDGET} would take about "
            f"{seconds + rate * (BUDGET - picks):.0f} s (extrapolated, not measured)"
        )


if __name__ == "__main__":
    run_tool(lambda: tyro.cli(main, description=__doc__))
