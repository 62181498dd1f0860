"""Two processes: the whole loop, and the same selection of the same model as one."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from conftest import ROOT


def torchrun(folder: Path, processes: int, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes), "--master-port", "0"]
    return subprocess.run(
        [*command, "--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0", script, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.parametrize("strategy", ["VAAL(latent=4, epochs=1, batch_size=8)", "CoreSet()", "ClassBalancedEntropy()"])
def test_two_processes_run_the_loop(tmp_path: Path, strategy: str) -> None:
    (tmp_path / "two.py").write_text(
        textwrap.dedent(f"""
            from tiny import tiny_experiment
            from seg_al import VAAL, ClassBalancedEntropy, CoreSet
            config = tiny_experiment("runs", name="two", strategy={strategy})
        """)
    )
    done = torchrun(tmp_path, 2, str(ROOT / "tools" / "train_al.py"), "two.py")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("round 3/3") == 1  # one process speaks
    run = tmp_path / "runs" / "two" / "seed0"
    assert (run / "rounds" / "02" / "metrics.json").exists() and not list(run.glob("rounds/*/*.tmp"))


SCORING = """
    import sys
    import numpy as np
    import torch
    from lightning_fabric import Fabric
    from rounds import make_round
    from seg_al import Entropy, Machine
    from seg_al.models.discriminator import Discriminator
    from seg_al.models.vae import VAE
    from seg_al.strategies.base import highest
    from seg_al.strategies.vaal import VAAL

    torch.set_num_threads(1)
    fabric = Machine(accelerator="cpu").fabric("32-true")
    round = make_round(fabric=fabric)
    entropy = Entropy().score(round)
    torch.manual_seed(1)
    vae, discriminator = VAE(4, (32, 32)).eval(), Discriminator(4).eval()
    vaal = VAAL().scores(VAAL().posteriors(round, vae, discriminator, round.unlabeled))
    if fabric.is_global_zero:
        for name, scores in (("entropy", entropy), ("vaal", vaal)):
            chosen = highest(scores.double().numpy(), 7, np.random.default_rng(0))
            print(name, len(scores), chosen.positions.tolist(), [float(s).hex() for s in chosen.scores])
"""


def test_scoring_the_same_model_on_one_and_two_processes_selects_the_same_images(tmp_path: Path) -> None:
    script = tmp_path / "scoring.py"
    script.write_text(textwrap.dedent(SCORING))
    outputs = []
    for processes in (1, 2):
        done = torchrun(tmp_path, processes, str(script))
        assert done.returncode == 0, done.stderr
        outputs.append(done.stdout)
    assert outputs[0] == outputs[1] and outputs[0].count("32 [") == 2


LEAVING = """
    import atexit
    import torch
    from seg_al import Machine

    atexit.register(lambda: print("open" if torch.distributed.is_initialized() else "left"))  # the last to be called
    fabric = Machine(accelerator="cpu").fabric("32-true")
    assert torch.distributed.is_initialized()
"""


def test_the_process_group_is_left_at_exit(tmp_path: Path) -> None:
    # with an open one, gloo aborted every other pair of processes at their end
    script = tmp_path / "leaving.py"
    script.write_text(textwrap.dedent(LEAVING))
    done = torchrun(tmp_path, 2, str(script))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("left") == 2 and "open" not in done.stdout


@pytest.mark.parametrize("odd", ["train=Train(epochs=1, batch_size=5)", "strategy=VAAL(batch_size=5)"])
def test_a_batch_that_two_processes_cannot_share_is_refused(tmp_path: Path, odd: str) -> None:
    (tmp_path / "odd.py").write_text(
        f"from tiny import tiny_experiment\nfrom seg_al import VAAL, Train\nconfig = tiny_experiment('runs', {odd})"
    )
    done = torchrun(tmp_path, 2, str(ROOT / "tools" / "train_al.py"), "odd.py")
    assert done.returncode != 0
    assert "batch_size 5 cannot be split over 2 processes" in done.stderr
    assert not (tmp_path / "runs").exists()


pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="torchrun with gloo needs POSIX")
