"""The options of each command, before a component (a model, an attack) adds its own and changes
defaults."""

from __future__ import annotations

from typing import ClassVar

from advlab.config import fields as f
from advlab.config.base import Options
from advlab.config.options import photo


class RunOptions(Options):
    """What every run knows."""

    seed: f.Seed = 0
    seeds: f.Seeds = 1
    device: f.Device = "auto"
    threads: f.Threads = 0
    workers: f.Workers = 1
    precision: f.Precision = "auto"
    out: f.Out = "samples"
    name: f.Name = None
    overwrite: f.Overwrite = False
    resume: f.Resume = True


class DataOptions(Options):
    """Which images."""

    dataset: f.Dataset = "auto"
    data_dir: f.DataDir = "data"
    image_size: f.ImageSize = None
    split_seed: f.SplitSeed = 0


class TrainOptions(DataOptions, RunOptions):
    """``advlab train MODEL``: a model's file derives from this and sets the defaults that suit it.

    Attributes:
        usual_epochs: epochs where none are given and the set is large.
        least_steps: where none are given and the set is small, epochs are added until there are
            this many steps.
    """

    usual_epochs: ClassVar[int] = 10
    least_steps: ClassVar[int] = 300

    train_size: f.TrainSize = None
    epochs: f.Epochs = None
    batch_size: f.BatchSize = 256
    lr: f.LearningRate = 1e-3
    optimizer: f.Optimizer = "adam"
    momentum: f.Momentum = 0.9
    schedule: f.Schedule = "one-cycle"
    step_epochs: f.StepEpochs = 5
    step_gamma: f.StepGamma = 0.5
    weight_decay: f.WeightDecay = 0.0
    label_smoothing: f.LabelSmoothing = 0.0
    clip_norm: f.ClipNorm = None
    average_decay: f.AverageDecay = 0.0
    patience: f.Patience = None


class VictimOptions(DataOptions, RunOptions):
    """What has a network to attack."""

    model: f.VictimModel = "cnn"
    checkpoint: f.Checkpoint = None


class PhotoOptions(VictimOptions):
    """What has a network to show images or a photo to: one of ours, or one of torchvision's."""

    model: photo.Model = "cnn"
    weights: photo.Weights = None
    classes: photo.ClassNames = None


class AttackOptions(PhotoOptions):
    """``advlab attack METHOD``: an attack's file derives from this and adds what it alone knows."""

    surrogate: f.Surrogate = None
    eps: f.Eps = [0.1]
    keep_broken: f.KeepBroken = False
    target: f.Target = None
    limit: f.Limit = None
    image: photo.Image = None
    quantize: f.Quantize = False
    batch_size: f.AttackBatch = 250


class NoOptions(Options):
    """Nothing to add."""


class AugmentOptions(Options):
    """Random transformations of training images, drawn anew for each image and epoch; each is left
    out by its default here."""

    degrees: f.Degrees = 0.0
    translate: f.Translate = 0.0
    scale: f.Scale = 0.0
    shear: f.Shear = 0.0
    crop: f.Crop = 0
    resized_crop: f.ResizedCrop = 1.0
    flip: f.Flip = 0.0
    flip_vertical: f.FlipVertical = 0.0
    elastic: f.Elastic = 0.0
    blur: f.Blur = 0.0
    brightness: f.Brightness = 0.0
    contrast: f.Contrast = 0.0
    saturation: f.Saturation = 0.0
    hue: f.Hue = 0.0
    grey: f.Grey = 0.0
    noise: f.Noise = 0.0
    erase: f.Erase = 0.0


class DefendOptions(Options):
    """``advlab defend METHOD``: what a defence itself knows. The options of ``--model`` are joined
    to it."""

    model: f.DefendedModel = "cnn"
    norm: f.Norm = "linf"
    eps: f.Radius = 0.1
    limit: f.Limit = None


class AdversarialOptions(DefendOptions):
    """Defences that train on perturbed images."""

    check_images: f.CheckImages = 1000
    check_steps: f.CheckSteps = 10
    on_overfitting: f.OnOverfitting = "stop"
    label_smoothing: f.LabelSmoothing = 0.0


class EvaluateOptions(VictimOptions):
    """``advlab evaluate``: which network, which balls, which attacks of the suite."""

    factory: f.Factory = None
    surrogate: f.TransferFrom = None
    norm: f.Norm = "linf"
    eps: f.Eps = [0.1]
    attacks: f.SuiteAttacks = None
    bpda: f.Bpda = True
    limit: f.Limit = None
    batch_size: f.AttackBatch = 250


class DataCommandOptions(Options):
    """``advlab data``: where sets lie, how patient a download is, what is drawn of them and
    where."""

    data_dir: f.DataDir = "data"
    out: f.Out = "samples"
    image_size: f.ImageSize = None
    split_seed: f.SplitSeed = 0
    timeout: f.Timeout = 20.0
    overwrite: f.Overwrite = False


class DemoOptions(Options):
    """``advlab demo``: where to, and on what. On networks so small, a second thread is more in the
    way than of use."""

    seed: f.Seed = 0
    device: f.Device = "auto"
    threads: f.Threads = 1
    precision: f.Precision = "auto"
    out: f.Out = "samples"
    overwrite: f.Overwrite = False
