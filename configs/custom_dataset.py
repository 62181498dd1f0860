"""A template for images and masks of your own: copy it, then change what is marked.

    python tools/check_data.py configs/custom_dataset.py
    python tools/train_al.py configs/custom_dataset.py

The folder may hold images/ and masks/ (split by chance, the same way every time), or train/, val/ and test/ with
images/ and masks/ in each. An image and its mask share their name: images/site a/007.jpg, masks/site a/007.png.
Every setting, with its meaning: python tools/train_al.py configs/custom_dataset.py --help
"""

from seg_al import SMP, VAAL, Experiment, FolderSegmentation, Train

config = Experiment(
    dataset=FolderSegmentation(
        root="data/potholes",  # CHANGE: your folder
        # CHANGE: class names in the order of the mask values 0, 1, ...; or leave out, with classes.txt in the folder
        classes=("road", "pothole"),
        void=255,  # mask value that counts for nothing, where there is one
        # label_ids=((7, 0), (8, 1)),  # mask value 7 is class 0, 8 is class 1, for masks with other ids
        # colors=((128, 64, 128), (255, 0, 0)),  # RGB of each class, for masks that are pictures
        size=(512, 512),  # height and width for the network; results are measured at each mask's own size
        # fit="crop",  # train on crops of that size instead of whole, resized images
    ),
    # Any architecture and encoder of segmentation-models-pytorch; weights="imagenet" downloads, None starts afresh
    model=SMP(arch="fpn", encoder="resnet34", weights="imagenet"),
    strategy=VAAL(size=(256, 256)),  # or Entropy(), or Random()
    initial=50,  # CHANGE: images labeled at the start, drawn by chance
    budget=25,  # CHANGE: images asked for after each round
    rounds=6,
    train=Train(epochs=50, batch_size=8, optimizer="adamw", lr=5e-4, schedule="poly"),
)
