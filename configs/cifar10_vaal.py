"""VAAL on CIFAR10 as in the paper (Sinha et al., ICCV 2019): splits, budgets and hyperparameters.

    python tools/train_al.py configs/cifar10_vaal.py

Needs CIFAR10 in ./cifar10 or $SEG_AL_DATA/cifar10 (a folder, or cifar10.tar.gz); --dataset.download fetches it.
"""

from seg_al import CIFAR10, VAAL, VGG, Classification, Experiment, Train

config = Experiment(
    # Table 2: 45000 in the pool + 5000 for validation, 10000 to test
    dataset=CIFAR10(root="cifar10", val_images=5000),
    model=VGG(arch="vgg16_bn"),  # for 32 px, Xavier's initialisation
    task=Classification(),
    # Table 3: d 32, α1 = α2 = 5e-4, λ1 1, λ2 1, β 1, batch 64, 100 epochs; the VAE of the released code at 32 px.
    # `VAAL()` is our recommendation, see its help.
    strategy=VAAL.paper(latent=32, lambda_adversarial=1.0, lr_vae=5e-4, lr_discriminator=5e-4, batch_size=64),
    # 10 % and 5 % of 50000
    initial=5000,
    budget=2500,
    rounds=7,  # 10, 15, ..., 40 %
    # α3 = 5e-4 with Adam, batch 64, 100 epochs; an epoch is as many images as the pool holds, whatever is labeled, as
    # in the released code
    train=Train(epochs=100, epoch_of="pool", batch_size=64, optimizer="adam", lr=5e-4, evaluation_batch_size=256),
)
