"""Random streams are a function of their purpose and of nothing else."""

from __future__ import annotations

import numpy as np

from seg_al.data.views import Draws
from seg_al.streams import generator, torch_seed


def test_streams_differ_by_every_part_of_their_key_and_repeat() -> None:
    keys = [(0, 0, "a"), (1, 0, "a"), (0, 1, "a"), (0, 0, "b"), (0, 0, "a", 0), (0, 0, "a", 1)]
    drawn = [generator(*key).integers(0, 2**62) for key in keys]
    assert len(set(drawn)) == len(keys)
    assert drawn == [generator(*key).integers(0, 2**62) for key in keys]
    assert len({torch_seed(*key) for key in keys}) == len(keys)
    assert 0 <= torch_seed(*keys[0]) < 2**63


def batches(**changes: object) -> list[list[tuple[int, int]]]:
    settings: dict = {"key": (0, "x"), "count": 5, "batch_size": 4, "steps": 3, "epochs": range(2)}
    return list(Draws(**{**settings, **changes}))


def test_every_image_comes_once_before_any_comes_again_and_batches_are_full() -> None:
    drawn = batches()
    assert [len(batch) for batch in drawn] == [4] * 6
    epoch = [position for batch in drawn[:3] for position, _ in batch]
    assert sorted(epoch[:5]) == sorted(epoch[5:10]) == list(range(5))
    seeds = [seed for batch in drawn for _, seed in batch]
    assert len(set(seeds)) == len(seeds)  # each draw has an augmentation of its own


def test_resuming_at_an_epoch_gives_the_batches_an_uninterrupted_run_sees() -> None:
    assert batches(epochs=range(1, 2)) == batches()[3:]


def test_processes_and_pieces_share_a_batch_out() -> None:
    whole = batches()
    shares = [batches(rank=rank, world=2, parts=2) for rank in range(2)]
    for step, batch in enumerate(whole):
        pieces = [draw for share in shares for draw in share[2 * step] + share[2 * step + 1]]
        assert sorted(pieces) == sorted(batch)


def test_positions_are_uniform() -> None:
    first = [Draws((seed, "x"), 4, 1, 1, range(1)).__iter__().__next__()[0][0] for seed in range(400)]
    assert np.bincount(first, minlength=4).min() > 60
