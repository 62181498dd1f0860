"""Random sampling on a part of CIFAR10 that fits a CPU: the baseline of the other cifar10_small configs.

    python tools/train_al.py configs/cifar10_small_random.py

Needs CIFAR10 in ./cifar10 or $SEG_AL_DATA/cifar10 (a folder, or cifar10.tar.gz); --dataset.download fetches it.
"""

from seg_al import CIFAR10, Classification, Experiment, Random, ResNet, Train

config = Experiment(
    dataset=CIFAR10(root="cifar10", pool_images=4000, test_images=1000),
    model=ResNet(arch="resnet18", width=0.25),
    task=Classification(),
    strategy=Random(),
    initial=400,
    budget=200,
    rounds=5,  # 10, 15, ..., 30 %
    # 250 steps a round, whatever is labeled
    train=Train(
        epochs=2, epoch_of="pool", batch_size=32, optimizer="adamw", lr=2e-3, weight_decay=0.01, schedule="one_cycle",
        evaluation_batch_size=128,
    ),
)  # fmt: skip
