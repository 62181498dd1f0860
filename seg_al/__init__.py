"""Active learning for semantic segmentation: the names a configuration may import."""

from seg_al.config import Component, UserError, load
from seg_al.data.bdd100k import BDD100K
from seg_al.data.camvid import CamVid
from seg_al.data.cityscapes import Cityscapes
from seg_al.data.folder import FolderSegmentation
from seg_al.data.streets import Streets
from seg_al.experiment import Experiment
from seg_al.machine import Machine
from seg_al.models.drn import DRN
from seg_al.models.smp import SMP
from seg_al.oracle import IdealOracle
from seg_al.pool import FileInitial, RandomInitial
from seg_al.strategies.mc_dropout import BALD, DBAL, MCDropout
from seg_al.strategies.pooling import MaxPatch, MeanPixels, TopPatches, TopPixels
from seg_al.strategies.random import Random
from seg_al.strategies.uncertainty import Entropy, LeastConfidence, Margin
from seg_al.strategies.vaal import VAAL
from seg_al.tasks.classification import Classification
from seg_al.tasks.segmentation import Segmentation
from seg_al.training import Train

__version__ = "0.1.0"

__all__ = [
    "BALD",
    "BDD100K",
    "DBAL",
    "DRN",
    "SMP",
    "VAAL",
    "CamVid",
    "Cityscapes",
    "Classification",
    "Component",
    "Entropy",
    "Experiment",
    "FileInitial",
    "FolderSegmentation",
    "IdealOracle",
    "LeastConfidence",
    "MCDropout",
    "Machine",
    "Margin",
    "MaxPatch",
    "MeanPixels",
    "Random",
    "RandomInitial",
    "Segmentation",
    "Streets",
    "TopPatches",
    "TopPixels",
    "Train",
    "UserError",
    "load",
]
