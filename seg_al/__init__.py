"""Active learning for semantic segmentation: the names a configuration may import."""

from seg_al.config import Component, UserError, load
from seg_al.data.bdd100k import BDD100K
from seg_al.data.caltech256 import Caltech256
from seg_al.data.camvid import CamVid
from seg_al.data.cifar import CIFAR10, CIFAR100
from seg_al.data.cityscapes import Cityscapes
from seg_al.data.folder import FolderSegmentation
from seg_al.data.folder_classification import FolderClassification
from seg_al.data.imagenet import ImageNet
from seg_al.data.streets import Streets
from seg_al.experiment import Experiment
from seg_al.machine import Machine
from seg_al.models.drn import DRN
from seg_al.models.resnet import ResNet
from seg_al.models.smp import SMP
from seg_al.models.timm import Timm
from seg_al.models.vgg import VGG
from seg_al.oracle import IdealOracle, NoisyOracle
from seg_al.own_pool import OwnPool
from seg_al.own_query import ask
from seg_al.pool import FileInitial, LeaveOut, MissingClasses, RandomInitial, Stratified
from seg_al.strategies.badge import BADGE
from seg_al.strategies.cdal import CDAL
from seg_al.strategies.class_balanced import ClassBalancedEntropy
from seg_al.strategies.committee import QBC, VariationRatio
from seg_al.strategies.coreset import CoreSet
from seg_al.strategies.features import FrozenFeatures, TaskFeatures
from seg_al.strategies.labeling_cost import LabelingCost
from seg_al.strategies.mc_dropout import BALD, DBAL, MCDropout
from seg_al.strategies.pooling import MaxPatch, MeanPixels, TopPatches, TopPixels
from seg_al.strategies.power import PowerBALD, PowerEntropy
from seg_al.strategies.probcover import ProbCover
from seg_al.strategies.random import Random
from seg_al.strategies.replay import Replay
from seg_al.strategies.suggestive import SuggestiveAnnotation
from seg_al.strategies.typiclust import TypiClust
from seg_al.strategies.uncertainty import Entropy, LeastConfidence, Margin
from seg_al.strategies.vaal import VAAL
from seg_al.strategies.vaal_ablations import DiscriminatorOnly, FrozenVAE, WassersteinVAE
from seg_al.study import Study
from seg_al.tasks.classification import Classification
from seg_al.tasks.segmentation import Segmentation
from seg_al.training import Train

__version__ = "0.1.0"

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
