"""A walk over what users get wrong: always one clear line on stderr, exit status 2, nothing
printed, nothing written."""

from __future__ import annotations

import pickle
import shlex
import sys
from pathlib import Path
from types import ModuleType

import pytest

from advlab.cli.main import main
from advlab.components import component_names
from advlab.config.fields import image_models
from advlab.config.registry import COMMANDS
from advlab.networks.metadata import ImageClassifierMetadata

_COMMANDS = ", ".join(COMMANDS)
_MODELS = ", ".join(component_names("advlab.models"))
_IMAGE_MODELS = ", ".join(image_models())
_SETS = ", ".join(component_names("advlab.data.images"))

# What is typed, and what the line on stderr must say of it: the thing that is wrong, and what would
# be right.
LINES: list[tuple[str, list[str]]] = [
    # commands, models, attacks
    ("trian cnn", ["'trian'", "did you mean 'train'?"]),
    ("zzz", ["'zzz'", _COMMANDS]),
    ("''", ["unknown command ''", _COMMANDS]),
    ("cnn", ["cnn is a model", "'advlab train cnn'"]),
    ("fgsm --eps 0.1", ["fgsm is an attack", "'advlab attack fgsm'"]),
    ("--lr 3", ["'--lr'", "which command?", "'advlab --help'"]),
    ("-x", ["'-x'", "which command?"]),
    ("train", ["which model?", "'advlab train cnn'", _MODELS]),
    ("train --lr 3", ["which model?", _MODELS]),
    ("attack", ["which attack?", "'advlab attack fgsm'"]),
    ("train cn", ["unknown model 'cn'", "did you mean 'cnn'?", _MODELS]),
    ("train cnn ml", ["unknown model 'ml'", "did you mean 'mlp'?"]),
    ("train ../cnn", ["../cnn: neither a model nor a checkpoint of a classifier of images"]),
    ("train __init__", ["unknown model '__init__'", _MODELS]),
    ("train _network", ["unknown model '_network'", _MODELS]),
    ("train cnn cnn", ["model 'cnn' is given twice"]),
    ("train fgsm", ["fgsm is no model", "'advlab attack fgsm'"]),
    ("attack cnn", ["cnn is no attack", "'advlab train cnn'"]),
    ("attack fgms", ["unknown attack 'fgms'", "did you mean 'fgsm'?"]),
    # flags: unknown, somebody else's, without a value, twice, with too many values
    (
        "train cnn --dropuot 0.5",
        ["--dropuot", "did you mean '--dropout'?", "'advlab train cnn --help'"],
    ),
    ("train cnn --no-dropout", ["--no-dropout", "did you mean '--dropout'?"]),
    ("train cnn --print-confg", ["--print-confg", "did you mean '--print-config'?"]),
    ("train cnn --confg x.yaml", ["--confg", "did you mean '--config'?"]),
    ("train cnn --epoch 3", ["--epoch", "did you mean '--epochs'?"]),
    ("train cnn --xyzzy=3", ["--xyzzy", "unknown flag", "'advlab train cnn --help'"]),
    ("train cnn --eps 0.1", ["--eps", "belongs to 'advlab attack', ", ", not to 'advlab train'"]),
    ("train cnn --timeout 3", ["--timeout", "belongs to 'advlab data', not to 'advlab train'"]),
    ("train mlp --channels 3", ["--channels", "belongs to the models cnn", "not to mlp"]),
    ("train cnn mlp --width 3", ["--width", "belongs to the model", "mlp", "not to cnn"]),
    ("attack fgsm --steps 3", ["--steps", "belongs to the attacks", "pgd", "not to fgsm"]),
    ("attack ddn --norm linf", ["--norm: ddn measures in l2 only, not 'linf'"]),
    ("attack fgsm --p 3", ["--p", "belongs to the attack", "lp", "not to fgsm"]),
    (
        "attack pgd --epochs 3",
        ["--epochs", "belongs to 'advlab train', 'advlab defend'", "'advlab attack'"],
    ),
    ("train cnn --epochs 1_0", ["--epochs: must be a whole number, not '1_0'"]),
    ("train cnn --epochs ３", ["--epochs: must be a whole number, not '３'"]),
    ("train cnn --lr 0.0_1", ["--lr: must be a number, not '0.0_1'"]),
    ("attack pgd --eps 8_0/255", ["--eps: must be a number or a fraction", ", not '8_0/255'"]),
    ("attack pgd --limit 1000_000", ["--limit: must be a whole number, not '1000_000'"]),
    ("defend smooth --radius-weight 3", ["--radius-weight: goes with --training macer, not with"]),
    ("defend smooth --copies 2", ["--copies: goes with --training smoothadv or macer, not with"]),
    ("train mlp --momentum .8", ["--momentum: goes with --optimizer sgd, not with adam"]),
    ("defend pgd --step-gamma .2", ["--step-gamma: goes with --schedule step, not with one-cycle"]),
    ("defend adversarial --steps 3", ["--steps: goes with --attack pgd, not with fgsm"]),
    ("attack simba --low-frequencies 1", ["--low-frequencies: goes with --basis dct, not with"]),
    ("attack pgd --sparsity .1", ["--sparsity: goes with --norm l1, not with linf"]),
    ("attack pgd --keep-broken", ["--keep-broken: goes with several radii"]),
    ("gan --loss hinge --label-smoothing .1", ["--label-smoothing: goes with --loss bce, not"]),
    ("attack pgd --lr 0.1", ["--lr", "belongs to the attacks cw, ead, spsa and stadv, not to pgd"]),
    ("train cnn --model mlp", ["--model", "right after the command", "'advlab train NAME'"]),
    ("attack fgsm --attack pgd", ["--attack", "right after the command", "'advlab attack NAME'"]),
    ("train cnn --command attack", ["--command", "--config file"]),
    ("train cnn --lr", ["--lr", "needs a value", "'advlab train cnn --help'"]),
    ("train cnn --lr --seed 3", ["--lr", "needs a value"]),
    ("train cnn --lr=", ["--lr", "must be a number", "''"]),
    ("train cnn --lr 1 --lr 2", ["--lr", "given twice"]),
    ("train cnn --lr 0.1 1e-1", ["--lr", "given twice", "0.1, 1e-1"]),
    ("train cnn --seed 1 2 --seeds 2", ["asked for twice", "seed 2"]),
    ("train cnn --resume --no-resume", ["--resume or --no-resume", "given twice"]),
    ("train cnn --overwrite --overwrite", ["--overwrite", "given twice"]),
    ("train cnn --overwrite=yes", ["--overwrite", "takes no value", "'yes'"]),
    ("train cnn --overwrite yes", ["'yes'", "'advlab train cnn --help'"]),
    ("train cnn --name a b", ["--name", "takes one value, not 2"]),
    ("train cnn --seeds 2 3", ["--seeds", "takes one value, not 2"]),
    ("train cnn -x", ["'-x'", "two dashes", "'advlab train cnn --help'"]),
    (
        "train cnn --lr 0.1 --config x.yaml 0.2",
        ["unexpected '0.2' after --config", "right after it"],
    ),
    (
        "train cnn --lr 0.1 --print-config 0.2",
        ["unexpected '0.2' after --print-config", "right after it"],
    ),
    ("train --lr 0.1 cnn", ["which model?", "follows the command", "'advlab train cnn'"]),
    ("train cnn --verison", ["--verison", "did you mean '--version'?"]),
    ("train cnn --print-config=yes", ["--print-config", "takes no value", "'yes'"]),
    ("--print-config", ["which command?", _COMMANDS]),
    ("list --print-config", ["--print-config", "goes with train", "not with list"]),
    ("help trian", ["'trian'", "did you mean 'train'?"]),
    ("train cnn --lr 0.1 -- cnn", ["'--'", "'advlab train cnn --help'"]),
    # values: type, range, NaN, infinity
    ("train cnn --lr fast", ["--lr", "must be a number", "'fast'"]),
    ("train cnn --lr true", ["--lr", "must be a number", "'true'"]),
    ("train cnn --lr nan", ["--lr", "finite", "'nan'"]),
    ("train cnn --lr inf", ["--lr", "finite", "'inf'"]),
    ("train cnn --lr -inf", ["--lr", "finite", "'-inf'"]),
    ("train cnn --lr 1e400", ["--lr", "finite", "'1e400'"]),
    ("train cnn --lr 0", ["--lr", "greater than 0", "'0'"]),
    ("train cnn --lr -1e-3", ["--lr", "greater than 0", "'-1e-3'"]),
    ("train cnn --lr 101", ["--lr", "at most 100", "'101'"]),
    ("train cnn --lr 0.1 fast", ["--lr", "must be a number", "'fast'"]),
    ("train cnn --epochs 1.5", ["--epochs", "whole number", "'1.5'"]),
    ("train cnn --epochs -1", ["--epochs", "at least 1", "'-1'"]),
    ("train cnn --epochs 99999999999999999999", ["--epochs", "at most 100,000"]),
    ("train cnn --momentum 1", ["--momentum", "less than 1", "'1'"]),
    ("train cnn --dropout yes", ["--dropout", "must be a number", "'yes'"]),
    ("train cnn --seed -1", ["--seed", "at least 0", "'-1'"]),
    ("train cnn --seeds 0", ["--seeds", "at least 1", "'0'"]),
    ("train cnn --seeds 1000000", ["--seeds", "at most 1,000"]),
    ("train cnn --name ../x", ["--name", "letters, digits", "'../x'"]),
    ("train cnn --out ''", ["--out", "must not be empty"]),
    ("train cnn --device tpu", ["--device", "auto, cpu, cuda, cuda:N or mps", "'tpu'"]),
    ("train cnn --optimizer adma", ["--optimizer", "did you mean 'adam'?", "adam, adamw, sgd"]),
    ("train cnn --schedule cosin", ["--schedule", "did you mean 'cosine'?"]),
    ("train cnn --precision fp8", ["--precision", "auto, fp32, bf16, fp16", "'fp8'"]),
    ("train cnn --dataset mnst", ["--dataset", "did you mean 'mnist'?", _SETS]),
    ("train cnn --dataset digits mnst", ["--dataset", "did you mean 'mnist'?"]),
    ("attack fgsm --model cn", ["--model", "did you mean 'cnn'?", _IMAGE_MODELS]),
    ("attack fgsm --eps junk", ["--eps", "must be a number", "'junk'"]),
    ("attack fgsm --eps 0.1 junk", ["--eps", "must be a number", "'junk'"]),
    ("train cnn --lr 8/255", ["--lr", "must be a number", "'8/255'", "0.03137255"]),
    ("attack fgsm --eps 8/0", ["--eps", "denominator is not 0", "not '8/0'"]),
    ("attack fgsm --eps 1/1e-400", ["--eps", "denominator is not 0", "not '1/1e-400'"]),
    ("attack fgsm --eps 1/x", ["--eps", "a number or a fraction such as 8/255, not '1/x'"]),
    (
        "attack fgsm --eps 0.1 nan/255",
        ["--eps", "a number or a fraction such as 8/255, not 'nan/255'"],
    ),
    ("attack fgsm --eps 1/2/3", ["--eps", "a number or a fraction", "not '1/2/3'"]),
    ("attack fgsm --eps -8/255", ["--eps", "at least 0, not '-8/255'"]),
    ("attack fgsm --eps 1e300/1e-300", ["--eps", "finite", "not '1e300/1e-300'"]),
    ("attack fgsm --eps 0.1 0.1", ["--eps", "each value once (0.1 is given twice)"]),
    (
        "attack fgsm --eps 8/255 0.03137254901960784",
        ["--eps", "each value once (8/255 is given twice)"],
    ),
    ("attack fgsm --eps 0 -0.0", ["--eps", "each value once (0 is given twice)"]),
    ("evaluate --eps 8/255 8/255", ["--eps", "each value once (8/255 is given twice)"]),
    ("evaluate --eps 8/0", ["--eps", "denominator is not 0", "'8/0'"]),
    ("attack pgd --step-size 0/255", ["--step-size", "greater than 0, not '0/255'"]),
    ("attack pgd --step-size 2/", ["--step-size", "a number or a fraction", "'2/'"]),
    ("defend pgd --eps 1/x", ["--eps", "a number or a fraction", "'1/x'"]),
    ("defend pgd --eps nan", ["--eps", "finite", "'nan'"]),
    ("defend smooth --sigma 1/0", ["--sigma", "denominator is not 0", "'1/0'"]),
    ("inspect saliency --eps 1/0", ["--eps", "denominator is not 0", "'1/0'"]),
    ("attack fgsm --keep-broken yes", ["unexpected 'yes'"]),
    ("attack fgsm --eps 0.1,0.2", ["--eps", "must be a number", "'0.1,0.2'", "apart by spaces"]),
    ("attack fgsm --target ''", ["--target", "must not be empty"]),
    ("attack fgsm --eps -0.1", ["--eps", "at least 0", "'-0.1'"]),
    ("attack fgsm --eps nan", ["--eps", "finite", "'nan'"]),
    ("attack fgsm --eps " + " ".join(["0.1"] * 101), ["--eps", "at most 100 values"]),
    ("attack fgsm --norm l3", ["--norm", "linf, l2, l1", "'l3'"]),
    ("attack fgsm --image -1", ["--image", "at least 0", "'-1'"]),
    ("attack lp --p 0.5", ["--p", "at least 1", "'0.5'"]),
    ("attack lp --p 101", ["--p", "between 1 and 100, or inf", "'101'"]),
    ("attack lp --p nan", ["--p", "at least 1", "'nan'"]),
    # grids that would never end
    ("train cnn --seeds 600 --lr 0.1 0.2", ["1,200 runs", "up to 1,000"]),
    ("train cnn mlp --seeds 600", ["more than 1,000 runs", "up to 1,000"]),
    (
        f"train cnn --lr {' '.join(f'0.{i}1' for i in range(40))} --batch-size "
        f"{' '.join(map(str, range(1, 41)))}",
        ["1,600 runs", "1,000"],
    ),
    # --config itself
    ("--config", ["--config", "needs a file"]),
    ("train cnn --config", ["--config", "needs a file"]),
    ("train cnn --config --lr 3", ["--config", "needs a file"]),
    ("train cnn --config=", ["--config", "needs a file"]),
    ("train cnn --config a.yaml --config b.yaml", ["--config", "given twice"]),
    ("train cnn --config absent.yaml", ["no configuration at absent.yaml", "a YAML file"]),
    ("data --config x.yaml", ["--config", "goes with train", "not with data"]),
    # the other commands
    ("data gte mnist", ["'gte'", "did you mean 'get'?", "list, get"]),
    ("data get", ["names of data sets are missing", _SETS]),
    ("data get mnits", ["'mnits'", "did you mean 'mnist'?", _SETS]),
    ("data --data-dri x", ["--data-dri", "did you mean '--data-dir'?", "'advlab data --help'"]),
    ("data --timeout 0", ["--timeout", "greater than 0", "'0'"]),
    ("data --timeout nan", ["--timeout", "finite", "'nan'"]),
    ("data --timeout 1 2", ["--timeout", "takes one value, not 2"]),
    ("data --lr 1", ["--lr", "belongs to 'advlab train', ", " and others, not to 'advlab data'"]),
    ("list everything", ["'everything'", "'advlab list'"]),
    ("report everything", ["'everything'", "'advlab report'"]),
    ("report --out a b", ["--out", "takes one value, not 2"]),
    ("list --ou x", ["--ou", "did you mean '--out'?", "'advlab list --help'"]),
    ("list --out a b", ["--out", "takes one value, not 2"]),
    ("completion", ["for which shell?", "'advlab completion bash'"]),
    ("completion fish", ["for which shell?", "'advlab completion zsh'"]),
    ("completion bash --hlep", ["--hlep", "did you mean '--help'?"]),
    # words that are no text
    ("train cnn --out 'a\nb'", ["word 4", r"'a\nb'", "plain text"]),
    ("train cnn --name \udcff", ["word 4", r"'\udcff'", "UTF-8"]),
]

# A file's text, what is typed before --config, and what the line must say. {f} is the file's name.
FILES: list[tuple[str | bytes, str, list[str]]] = [
    # not a mapping, not text, not YAML
    ("", "train", ["{f} is empty", "command: train"]),
    ("# only a comment\n", "train", ["{f} is empty", "command: train"]),
    ("- train\n- cnn\n", "train", ["{f} holds a list at the top", "'lr: 0.001'"]),
    ("train\n", "train", ["{f} holds a single value at the top", "'lr: 0.001'"]),
    (b"lr: 0.1\nname: caf\xe9\n", "train cnn", ["{f} is not UTF-8", "byte 17", "save it as UTF-8"]),
    ("lr: 0.1\n".encode("utf-16"), "train cnn", ["{f} is not UTF-8", "save it as UTF-8"]),
    ("lr: 0.1\nseed: \x07\n", "train cnn", ["{f}:2:", "control character"]),
    (b"x" * 1_000_001, "train cnn", ["{f} has more than 1,000,000 bytes"]),
    ("lr: 0.1\nseed: 1: 2\n", "train cnn", ["{f}:2:", "not valid YAML"]),
    ("lr: 0.1\n\tseed: 1\n", "train cnn", ["{f}:2:", "not valid YAML"]),
    ("lr: [0.1\nseed: 1\n", "train cnn", ["{f}:2:", "not valid YAML"]),
    ("lr: 0.1\n---\nlr: 0.2\n", "train cnn", ["{f}:2:", "another document"]),
    ("lr: " + "[" * 3000 + "]" * 3000, "train cnn", ["{f}:", "nested too deeply"]),
    # tags and aliases
    (
        "lr: !!python/object/apply:os.mkdir [pwned]\n",
        "train cnn",
        ["{f}:1:", "!!python/object/apply:os.mkdir", "plain value"],
    ),
    (
        "lr: !!python/name:os.system\n",
        "train cnn",
        ["{f}:1:", "!!python/name:os.system", "plain value"],
    ),
    ("seed: 1\nlr: !!timestamp x\n", "train cnn", ["{f}:2:", "!!timestamp", "plain value"]),
    ("lr: &a [0.1, 0.2]\nmomentum: *a\n", "train cnn", ["{f}:2:", "*a", "write the value out"]),
    ("lr: &a [*a]\n", "train cnn", ["{f}:1:", "*a", "write the value out"]),
    (
        "lr: [&a [1,1,1,1,1,1,1,1,1], "
        + ", ".join(
            f"&{n} [{','.join([f'*{m}'] * 9)}]" for m, n in zip("abcdefgh", "bcdefghi", strict=True)
        )
        + "]",
        "train cnn",
        ["{f}:1:", "*a", "write the value out"],
    ),
    # keys
    ("lr: 0.1\nlr: 0.2\n", "train cnn", ["{f}:2:", "lr given twice", "line 1"]),
    (
        "batch-size: 8\nbatch_size: 16\n",
        "train cnn",
        ["{f}:2:", "batch-size and batch_size", "line 1"],
    ),
    ("1: 2\n", "train cnn", ["{f}:1:", "keys are names such as lr", "'1'"]),
    ("true: 2\n", "train cnn", ["{f}:1:", "keys are names such as lr", "'true'"]),
    ("[lr]: 2\n", "train cnn", ["{f}:1:", "keys are names such as lr", "list or mapping"]),
    (
        "seed: 1\ndropuot: 0.5\n",
        "train cnn",
        ["{f}:2: dropuot", "did you mean 'dropout'?", "'advlab train cnn --help'"],
    ),
    ("<<: {lr: 1}\n", "train cnn", ["{f}:1: <<", "unknown key"]),
    ("eps: 0.1\n", "train cnn", ["{f}:1: eps", "belongs to 'advlab attack'"]),
    ("steps: 3\n", "attack fgsm", ["{f}:1: steps", "belongs to the attacks", "pgd", "not to fgsm"]),
    ("channels: 3\n", "train mlp", ["{f}:1: channels", "belongs to the models cnn", "not to mlp"]),
    ("label: A\n", "train cnn", ["{f}:1: label", "'variants'"]),
    # values
    ("seed: 1\nlr: true\n", "train cnn", ["{f}:2: lr", "must be a number, not true"]),
    ("limit: false\n", "attack fgsm", ["{f}:1: limit", "must be a number, not false"]),
    ("lr: [0.1, true]\n", "train cnn", ["{f}:1: lr", "must be a number, not true"]),
    ("overwrite: 1\n", "train cnn", ["{f}:1: overwrite", "must be true or false, not 1"]),
    ("overwrite: maybe\n", "train cnn", ["{f}:1: overwrite", "must be true or false, not 'maybe'"]),
    ("lr: .nan\n", "train cnn", ["{f}:1: lr", "finite"]),
    ("lr: -.inf\n", "train cnn", ["{f}:1: lr", "finite"]),
    ("lr: 1e999\n", "train cnn", ["{f}:1: lr", "finite"]),
    (f"seed: {'9' * 5000}\n", "train cnn", ["{f}:1: seed", "finite"]),
    ("lr:\n", "train cnn", ["{f}:1: lr", "must be a number, not null"]),
    ("lr: {a: 1}\n", "train cnn", ["{f}:1: lr", "must be a number", "{'a': 1}"]),
    ("name: {a: 1}\n", "train cnn", ["{f}:1: name", "must be text", "{'a': 1}"]),
    ("lr: [[0.1]]\n", "train cnn", ["{f}:1: lr", "must be a number, not [0.1]"]),
    ("lr: []\n", "train cnn", ["{f}:1: lr", "empty list"]),
    ("eps: []\n", "attack fgsm", ["{f}:1: eps", "at least one value"]),
    ("eps: 8/0\n", "attack fgsm", ["{f}:1: eps", "denominator is not 0", "'8/0'"]),
    ("eps: [8/255, 1/x]\n", "attack fgsm", ["{f}:1: eps", "a number or a fraction", "'1/x'"]),
    (
        "eps: [8/255, true]\n",
        "attack fgsm",
        ["{f}:1: eps", "must be a number, not ['8/255', True]"],
    ),
    ("step_size: true\n", "attack pgd", ["{f}:1: step_size", "must be a number, not true"]),
    ("eps: true\n", "defend pgd", ["{f}:1: eps", "must be a number, not true"]),
    ("'': 3\n", "train cnn", ["{f}:1: ''", "unknown key"]),
    ("eps: [[0.1]]\n", "attack fgsm", ["{f}:1: eps", "must be a number, not [0.1]"]),
    ("epochs: 1.5\n", "train cnn", ["{f}:1: epochs", "whole number, not 1.5"]),
    ("seed: 2026-01-01\n", "train cnn", ["{f}:1: seed", "whole number"]),
    ("name: [a, b]\n", "train cnn", ["{f}:1: name", "takes one value, not 2"]),
    ("lr: [0.1, 0.1]\n", "train cnn", ["{f}:1: lr", "given twice"]),
    ("dataset: mnst\n", "train cnn", ["{f}:1: dataset", "did you mean 'mnist'?"]),
    ("dataset: 3\n", "train cnn", ["{f}:1: dataset", _SETS, "not 3"]),
    ("model: [cnn, cm]\n", "attack fgsm", ["{f}:1: model", _IMAGE_MODELS, "not 'cm'"]),
    # the command and its component
    ("lr: 0.1\n", "", ["which command?", "{f} does not say 'command: …'"]),
    ("seed: 1\ncommand: trian\n", "", ["{f}:2: command", "did you mean 'train'?"]),
    ("command: 3\n", "", ["{f}:1: command", _COMMANDS, "not 3"]),
    ("command: data\n", "", ["{f}:1: command", "takes no configuration", _COMMANDS]),
    (
        "command: attack\n",
        "train cnn",
        ["{f}:1: command", "is for 'advlab attack'", "'advlab train' was typed"],
    ),
    ("command: train\n", "", ["which model?", "'advlab train cnn'", _MODELS]),
    ("command: train\nmodel: cn\n", "", ["{f}:2: model", "did you mean 'cnn'?"]),
    (
        "command: train\nmodel: fgsm\n",
        "",
        ["{f}:2: model", "fgsm is no model", "'advlab attack fgsm'"],
    ),
    ("command: train\nmodel: 3\n", "", ["{f}:2: model", _MODELS, "not 3"]),
    ("command: train\nmodel: []\n", "", ["{f}:2: model", _MODELS, "empty"]),
    ("command: train\nmodel: [cnn, cnn]\n", "", ["{f}:2: model", "'cnn' is given twice"]),
    (
        "command: train\nmodel: cnn\nattack: fgsm\n",
        "",
        ["{f}:3: attack", "belongs to 'advlab attack'"],
    ),
    # variants
    ("variants: 3\n", "train cnn", ["{f}:1: variants", "list of mappings", "{label: A, lr: 0.01}"]),
    ("variants: []\n", "train cnn", ["{f}:1: variants", "list of mappings"]),
    ("variants:\n", "train cnn", ["{f}:1: variants", "list of mappings"]),
    ("variants: {label: A}\n", "train cnn", ["{f}:1: variants", "list of mappings"]),
    ("variants: [cnn, mlp]\n", "train cnn", ["{f}:1: variants", "list of mappings"]),
    (
        "variants:\n- {label: A}\n- label: B\n  lr: fast\n",
        "train cnn",
        ["{f}:4: variants: lr", "must be a number, not 'fast'"],
    ),
    (
        "variants:\n- label: A\n  dropuot: 1\n",
        "train cnn",
        ["{f}:3: variants: dropuot", "did you mean 'dropout'?"],
    ),
    (
        "variants:\n- label: A\n  lr: 1\n  lr: 2\n",
        "train cnn",
        ["{f}:4:", "lr given twice", "line 3"],
    ),
    (
        "variants:\n- label: A\n  batch-size: 1\n  batch_size: 2\n",
        "train cnn",
        ["{f}:4:", "batch-size and batch_size"],
    ),
    (
        "variants:\n- {model: cnn}\n- {model: cn}\n",
        "train",
        ["{f}:3: variants: model", "did you mean 'cnn'?"],
    ),
    (
        "variants:\n- {model: mlp, channels: 3}\n",
        "train",
        ["{f}:2: variants: channels", "not to mlp"],
    ),
    (
        "variants:\n- {model: cnn}\n- {model: mlp}\n",
        "train mlp",
        ["{f}:2: variants: model", "'mlp' was typed as well"],
    ),
    (
        "variants:\n- {label: A, lr: 1}\n- {label: A, lr: 2}\n",
        "train cnn",
        ["{f}:1: variants", "two entries are called 'A'"],
    ),
    (
        "variants:\n- {lr: 1}\n- {lr: 2}\n",
        "train cnn",
        ["{f}:1: variants", "two entries are called 'cnn'", "'label'"],
    ),
    (
        "variants:\n- {label: A, lr: 1}\n- {label: B, lr: 1.0}\n",
        "train cnn",
        ["asked for twice", "B, seed 0", "A, seed 0"],
    ),
    ("variants:\n- {label: [A]}\n", "train cnn", ["{f}:2: variants: label", "must be text"]),
    (
        "variants:\n- {label: A, name: x}\n",
        "train cnn",
        ["{f}:2: variants: name", "top of the file"],
    ),
    (
        "variants:\n- {label: A, command: attack}\n",
        "train cnn",
        ["{f}:2: variants: command", "top of the file"],
    ),
]


def _refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that ``words`` are refused with, after checking that it is one and that nothing
    else happened."""
    before = sorted(Path().rglob("*"))
    status = main(words)
    printed = capsys.readouterr()
    assert status == 2, printed
    assert printed.out == ""
    assert printed.err.startswith("advlab: ")
    assert printed.err.endswith("\n")
    assert len(printed.err.splitlines()) == 1, printed.err
    assert "Traceback" not in printed.err
    assert "a fault of advlab" not in printed.err
    assert sorted(Path().rglob("*")) == before
    return printed.err


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("ADVLAB_OFFLINE", "1")


@pytest.fixture
def _nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """What slips through ends at once, with another status, where else it would train a network."""
    for command in COMMANDS.values():
        experiment = ModuleType(command.experiment)
        vars(experiment)["main"] = lambda plan: 99
        monkeypatch.setitem(sys.modules, command.experiment, experiment)


def test_there_are_enough_of_them() -> None:
    lines = [line for line, _ in LINES]
    files = [(content, typed) for content, typed, _ in FILES]
    assert len(set(lines)) == len(lines)
    assert len(set(files)) == len(files)
    assert len(lines) + len(files) >= 150


@pytest.mark.usefixtures("_nothing_runs")
@pytest.mark.parametrize(("line", "said"), LINES, ids=[ascii(line)[1:61] for line, _ in LINES])
def test_what_is_typed(line: str, said: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    message = _refused(shlex.split(line), capsys)
    for part in said:
        assert part in message


@pytest.mark.usefixtures("_nothing_runs")
@pytest.mark.parametrize(
    ("content", "typed", "said"), FILES, ids=[ascii(content)[1:61] for content, _, _ in FILES]
)
def test_what_a_file_says(
    content: str | bytes, typed: str, said: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    file = Path("bad.yaml")
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    message = _refused([*shlex.split(typed), "--config", str(file)], capsys)
    for part in said:
        assert part.replace("{f}", str(file)) in message


def test_a_folder_for_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    Path("configs").mkdir()
    assert "configs is a folder; --config takes a YAML file" in _refused(
        ["train", "cnn", "--config", "configs"], capsys
    )


def test_a_slip_in_the_name_of_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    Path("configs").mkdir()
    Path("configs/mnist-four.yaml").write_text("command: train\n")
    message = _refused(["train", "--config", "configs/mnist-for.yaml"], capsys)
    assert (
        "no configuration at configs/mnist-for.yaml (did you mean 'configs/mnist-four.yaml'?)"
        in message
    )


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of an untrained network for the digits."""
    from advlab.models.mlp import Architecture
    from advlab.networks import checkpoint
    from advlab.networks.classifier import assemble

    architecture = Architecture(width=4)
    card = ImageClassifierMetadata(
        model="mlp",
        architecture=architecture.model_dump(),
        shape=(1, 28, 28),
        classes=tuple("0123456789"),
        dataset="digits",
        data={"split_seed": 0, "image_size": None},
    )
    path = tmp_path_factory.mktemp("network") / "model.safetensors"
    checkpoint.save(path, assemble("mlp", architecture, card.shape, 10, [0.0], [1.0]), card)
    return path


# What only the data set or the checkpoint can tell. {network} is a good checkpoint.
LATE: list[tuple[str, list[str]]] = [
    (
        "attack fgsm --checkpoint {network} --image 99999",
        ["--image 99999", "digits has 360 test images", "0 to 359"],
    ),
    (
        "attack fgsm --checkpoint {network} --target nonsense",
        ["--target nonsense", "digits", "least-likely"],
    ),
    (
        "attack fgsm --checkpoint {network} --target least_likely",
        ["--target least_likely", "did you mean 'least-likely'?"],
    ),
    ("attack fgsm --checkpoint {network} --target 10", ["--target 10", "0, 1, 2"]),
    ("attack fgsm --checkpoint {network} --eps 8", ["--eps 8", "0 to 1", "8/255"]),
    (
        "attack fgsm --checkpoint absent.safetensors",
        ["--checkpoint", "no checkpoint at absent.safetensors"],
    ),
    ("attack fgsm --checkpoint .", ["--checkpoint", "holds no model.safetensors"]),
    (
        "attack fgsm --checkpoint text.safetensors",
        ["--checkpoint", "text.safetensors is not a checkpoint of advlab"],
    ),
    (
        "attack fgsm --checkpoint model.pt",
        ["--checkpoint", "model.pt is not a checkpoint of advlab"],
    ),
    (
        "attack fgsm --checkpoint empty.safetensors",
        ["--checkpoint", "empty.safetensors is not a checkpoint of advlab"],
    ),
    (
        "attack fgsm --checkpoint {network} --surrogate model.pt",
        ["--surrogate", "model.pt is not a checkpoint of advlab"],
    ),
    ("train mlp --dataset folder:/nonexistent", ["/nonexistent", "no such folder"]),
    ("train mlp --dataset folder:text.safetensors", ["text.safetensors is a file"]),
    ("train mlp --dataset folder:", ["folder:", "needs a path"]),
    ("train mlp --dataset digits --image-size 32", ["--image-size", "digits", "28x28"]),
]


@pytest.mark.parametrize(("line", "said"), LATE, ids=[line for line, _ in LATE])
def test_what_only_the_data_can_tell(
    line: str, said: list[str], network: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("text.safetensors").write_text("this is text, and no tensors at all\n")
    Path("empty.safetensors").touch()
    Path("model.pt").write_bytes(pickle.dumps({"weight": [1.0, 2.0]}))
    message = _refused(shlex.split(line.replace("{network}", str(network))), capsys)
    for part in said:
        assert part in message
