"""VAAL on Cityscapes as in the paper (Sinha et al., ICCV 2019): sizes, splits, budgets and hyperparameters.

    python tools/train_al.py configs/cityscapes_vaal.py

Needs Cityscapes' leftImg8bit and gtFine in ./cityscapes or in $SEG_AL_DATA/cityscapes, and a GPU. The DRN starts from
random weights; for ImageNet's, download the authors' drn_d_22 file and add --model.weights drn_d_22-4bd2f8ea.pth
"""

from seg_al import DRN, VAAL, Cityscapes, Experiment, Train

config = Experiment(
    # 2975 official training images = 2675 of the pool + 300 for validation; test = the official val, 500 images
    dataset=Cityscapes(root="cityscapes", val_images=300, size=(688, 688)),
    model=DRN(arch="drn_d_22"),  # the paper says "dilated residual network" without a variant
    # Table 3: d 128, α1 = α2 = 1e-3, λ1 1, λ2 25, β 1, batch 8. The text has 5e-4 for all three learning rates, and
    # 50 epochs where the table has 100: --strategy.epochs 50 --name cityscapes_vaal50. `VAAL()` is our
    # recommendation, see its help.
    strategy=VAAL.paper(),
    # 10 % and 5 % of 2975 (not of the 2675 that can be asked for)
    initial=300,
    budget=150,
    rounds=7,  # 10, 15, ..., 40 %
    # α3 = 1e-3 with Adam, batch 8; 50 epochs after the text (Table 3: 100). The paper does not say what an epoch
    # counts; here, as in the authors' released code, as many images as the pool holds, whatever is labeled.
    train=Train(epochs=50, epoch_of="pool", batch_size=8, optimizer="adam", lr=1e-3),
)
