"""A template for a pool of your own images, some of them labeled: copy it, then change what is marked.

    python tools/query.py configs/my_pool.py

The folder holds images/ and masks/; an image whose mask is missing is unlabeled, and may be asked for. See
docs/own_data.md.
"""

from seg_al import SMP, Entropy, FolderSegmentation, OwnPool, Train

config = OwnPool(
    dataset=FolderSegmentation(
        root="data/potholes",  # CHANGE: your folder
        # CHANGE: class names in the order of the mask values 0, 1, ...; or leave out, with classes.txt in the folder
        classes=("road", "pothole"),
        size=(512, 512),  # height and width for the network
    ),
    # Any architecture and encoder of segmentation-models-pytorch; weights="imagenet" downloads, None starts afresh
    model=SMP(arch="fpn", encoder="resnet34", weights="imagenet"),
    strategy=Entropy(),
    budget=50,  # CHANGE: images to ask for at once
    train=Train(epochs=50, batch_size=8, optimizer="adamw", lr=5e-4, schedule="one_cycle"),
    # near_duplicate=0.97,  # for frames of videos
    # group="[^_]*", per_group=20,  # at most 20 images of what stands before the first underscore
)
