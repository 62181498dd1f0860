"""The names a configuration may import; `__init__.py` loads each when it is first used."""

from .config import Component, UserError, load
from .data.bdd100k import BDD100K
from .data.caltech256 import Caltech256
from .data.camvid import CamVid
from .data.cifar import CIFAR10, CIFAR100
from .data.cityscapes import Cityscapes
from .data.folder import FolderSegmentation
from .data.folder_classification import FolderClassification
from .data.imagenet import ImageNet
from .data.streets import Streets
from .experiment import Experiment
from .machine import Machine
from .models.drn import DRN
from .models.resnet import ResNet
from .models.smp import SMP
from .models.timm import Timm
from .models.vgg import VGG
from .oracle import IdealOracle, NoisyOracle
from .own_pool import OwnPool
from .own_query import ask
from .pool import FileInitial, LeaveOut, MissingClasses, RandomInitial, Stratified
from .strategies.badge import BADGE
from .strategies.cdal import CDAL
from .strategies.class_balanced import ClassBalancedEntropy
from .strategies.committee import QBC, VariationRatio
from .strategies.coreset import CoreSet
from .strategies.features import FrozenFeatures, TaskFeatures
from .strategies.labeling_cost import LabelingCost
from .strategies.mc_dropout import BALD, DBAL, MCDropout
from .strategies.pooling import MaxPatch, MeanPixels, TopPatches, TopPixels
from .strategies.power import PowerBALD, PowerEntropy
from .strategies.probcover import ProbCover
from .strategies.random import Random
from .strategies.replay import Replay
from .strategies.suggestive import SuggestiveAnnotation
from .strategies.typiclust import TypiClust
from .strategies.uncertainty import Entropy, LeastConfidence, Margin
from .strategies.vaal import VAAL
from .strategies.vaal_ablations import DiscriminatorOnly, FrozenVAE, WassersteinVAE
from .study import Study
from .tasks.classification import Classification
from .tasks.segmentation import Segmentation
from .training import Train

__version__: str

__all__ = [
    "BADGE",
    "BALD",
    "BDD100K",
    "CDAL",
    "CIFAR10",
    "CIFAR100",
    "DBAL",
    "DRN",
    "QBC",
    "SMP",
    "VAAL",
    "VGG",
    "Caltech256",
    "CamVid",
    "Cityscapes",
    "ClassBalancedEntropy",
    "Classification",
    "Component",
    "CoreSet",
    "DiscriminatorOnly",
    "Entropy",
    "Experiment",
    "FileInitial",
    "FolderClassification",
    "FolderSegmentation",
    "FrozenFeatures",
    "FrozenVAE",
    "IdealOracle",
    "ImageNet",
    "LabelingCost",
    "LeastConfidence",
    "LeaveOut",
    "MCDropout",
    "Machine",
    "Margin",
    "MaxPatch",
    "MeanPixels",
    "MissingClasses",
    "NoisyOracle",
    "OwnPool",
    "PowerBALD",
    "PowerEntropy",
    "ProbCover",
    "Random",
    "RandomInitial",
    "Replay",
    "ResNet",
    "Segmentation",
    "Stratified",
    "Streets",
    "Study",
    "SuggestiveAnnotation",
    "TaskFeatures",
    "Timm",
    "TopPatches",
    "TopPixels",
    "Train",
    "TypiClust",
    "UserError",
    "VariationRatio",
    "WassersteinVAE",
    "ask",
    "load",
]
