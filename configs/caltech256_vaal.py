"""VAAL on Caltech-256 as in the paper (Sinha et al., ICCV 2019).

    python tools/train_al.py configs/caltech256_vaal.py

Needs Caltech-256's 256_ObjectCategories in ./caltech256 or $SEG_AL_DATA/caltech256, and a GPU.
"""

from seg_al import VAAL, VGG, Caltech256, Classification, Experiment, Train

config = Experiment(
    # Table 2 has 27607 + 3000 for training and validation, which is the whole data set. Here 10 images a class are
    # carved out first to test on, so that the pool is smaller by 2560.
    dataset=Caltech256(root="caltech256", val_images=3000, test_per_class=10, size=(224, 224)),
    model=VGG(arch="vgg16_bn", input="large"),
    task=Classification(),
    # Table 3: d 64, α1 = α2 = 5e-4, λ1 1, λ2 10, β 1, batch 64, 100 epochs
    strategy=VAAL.paper(latent=64, lambda_adversarial=10.0, lr_vae=5e-4, lr_discriminator=5e-4, batch_size=64),
    # 10 % and 5 % of 30607
    initial=3060,
    budget=1530,
    rounds=7,
    train=Train(epochs=100, epoch_of="pool", batch_size=64, optimizer="adam", lr=5e-4, evaluation_batch_size=64),
)
