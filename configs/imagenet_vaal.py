"""VAAL on ImageNet as in the paper (Sinha et al., ICCV 2019).

    python tools/train_al.py configs/imagenet_vaal.py

Needs ImageNet's {train,val}/<wnid> in ./imagenet or $SEG_AL_DATA/imagenet, and GPUs. A VAE on images of 64 pixels is
several times faster: --strategy.size 64 64
"""

from seg_al import VAAL, VGG, Classification, Experiment, ImageNet, Train

config = Experiment(
    # Table 2: 1153047 in the pool + 128120 for validation; the official val, 50000, to test
    dataset=ImageNet(root="imagenet", val_images=128120, size=(224, 224)),
    model=VGG(arch="vgg16_bn", input="large"),
    task=Classification(),
    # Table 3: d 64, λ1 1, λ2 10, β 1, batch 64, 100 epochs. Its learning rates look swapped: 1e-1 is the task
    # model's, as the text says; VAE and discriminator have 1e-3 (the text: 5e-3).
    strategy=VAAL.paper(latent=64, lambda_adversarial=10.0, batch_size=64),
    # 10 % and 5 % of 1281167
    initial=128120,
    budget=64060,
    rounds=5,  # 10, 15, ..., 30 %
    # Adam diverges at 1e-1, so this is SGD, with what it is commonly trained with on ImageNet
    train=Train(
        epochs=100, epoch_of="pool", batch_size=64, optimizer="sgd", lr=1e-1, weight_decay=1e-4, schedule="step",
        evaluation_batch_size=64,
    ),
)  # fmt: skip
