"""Training steps a second: this repository's network in Keras against a plain PyTorch loop.

    python benchmarks/pytorch.py
    KERAS_BACKEND=jax python benchmarks/pytorch.py --backbone resnet50 --side 224 --batch 256

Both train the same residual network with SGD (Nesterov momentum 0.9) on the same random uint8
photos, on the same number of threads or on the first GPU, where there is one; normalisation is
part of the step. PyTorch gets channels_last memory, bfloat16 through autocast in a second case, and
on a GPU torch.compile and TF32, but neither cudnn.benchmark nor pinned memory; on a GPU Keras
compiles its step, too. The first round, which compiles, does not count. Two minutes on 2 cores or a
GPU.

Needs PyTorch, which the graph does not: pip install torch
"""

import argparse
import math
import os
import sys
from pathlib import Path

import numpy as np

from measure import LEFT_OUT

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

USUAL = "resnet18"
CLASSES = 196
THREADS = int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", choices=(USUAL, "resnet50"), default=USUAL)
    parser.add_argument("--side", type=int, default=96, help="pixels of a photo's side")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--batches", type=int, default=8, help="a round")
    parser.add_argument(
        "--precision", nargs="+", choices=("float32", "bfloat16"), default=["float32", "bfloat16"]
    )
    options = parser.parse_args()
    try:
        import torch
    except ImportError:
        print("left out: PyTorch is not installed; pip install torch, then run this again")
        sys.exit(LEFT_OUT)
    from measure import DEFAULT_BACKEND, alternate, record, speedup

    torch.set_num_threads(THREADS)
    gpu = torch.cuda.is_available()
    random = np.random.default_rng(0)
    rows = options.batch * options.batches
    photos = random.integers(0, 256, (rows, options.side, options.side, 3), np.uint8)
    targets = random.integers(0, CLASSES, rows)
    shared = {"backbone": options.backbone, "batch": options.batch, "gpu": gpu}
    policies = {"float32": "float32", "bfloat16": "mixed_bfloat16"}
    cases = {}
    for kind in options.precision:
        cases[f"keras, {kind}"], ours = keras_epoch(photos, targets, policies[kind], **shared)
        dtype = getattr(torch, kind)
        cases[f"pytorch, {kind}"], theirs = torch_epoch(torch, photos, targets, dtype, **shared)
        if ours != theirs:
            sys.exit(f"error: the networks learn {ours:,} and {theirs:,} numbers, not the same")
    seconds = alternate(cases)
    ratios = {
        f"Keras over PyTorch, {kind}": speedup(
            seconds[f"keras, {kind}"],
            seconds[f"pytorch, {kind}"],
            bar=0.8,
        )
        for kind in options.precision
    }
    why = f"steps of Keras on {keras_backend()} are slower"
    ratios = {
        name: ratio if ratio.value >= 1 else ratio._replace(note=why)
        for name, ratio in ratios.items()
    }
    rates = {f"{name}, photos/s": round(rows / np.median(s), 1) for name, s in seconds.items()}
    work = f"{options.backbone}, {options.side} px, batches of {options.batch}"
    rates |= seconds.compiling()
    figures = {"work": work, **rates, "pytorch": torch.__version__, "Keras on": keras_backend()}
    if gpu:
        figures["GPU"] = torch.cuda.get_device_name()
    variant = [options.backbone] if gpu or options.backbone != USUAL else []
    variant += [keras_backend()] if not gpu and keras_backend() != DEFAULT_BACKEND else []
    record("-".join(["pytorch", *variant]), ratios=ratios, figures=figures)


def keras_backend() -> str:
    """The backend of Keras, which must have been started."""
    import keras

    return keras.backend.backend()


def keras_epoch(
    photos: np.ndarray, targets: np.ndarray, policy: str, *, backbone: str, batch: int, gpu: bool
):
    """A function that trains our network for one pass, and how many numbers the network learns."""
    from model.runtime import import_quietly, start

    start(threads=THREADS)
    import keras

    from measure import untuned
    from model.backbone import build_backbone, build_classifier
    from model.operations import quick

    keras.config.set_dtype_policy(policy)
    network = build_classifier(
        build_backbone(backbone, shape=photos.shape[1:3]), classes=CLASSES, dropout=0.0
    )
    keras.config.set_dtype_policy("float32")
    network.compile(
        keras.optimizers.SGD(0.01, momentum=0.9, nesterov=True),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=gpu or keras.backend.backend() == "jax",
    )

    given = {"x": photos, "y": targets, "batch_size": batch}
    if keras.backend.backend() == "tensorflow":
        data = import_quietly("tensorflow").data
        given = {"x": untuned(data.Dataset.from_tensor_slices((photos, targets)).batch(batch))}

    def epoch() -> None:
        with quick(network):  # as the train stage does
            network.fit(**given, verbose=0, shuffle=False)

    return epoch, sum(math.prod(weight.shape) for weight in network.trainable_weights)


def torch_epoch(
    torch, photos: np.ndarray, targets: np.ndarray, dtype, *, backbone: str, batch: int, gpu: bool
):
    """The same pass and number in PyTorch."""
    device = torch.device("cuda" if gpu else "cpu")
    build = resnet18 if backbone == "resnet18" else resnet50
    network = build(torch).to(device, memory_format=torch.channels_last)
    step_of = torch.compile(network) if gpu else network
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    optimizer = torch.optim.SGD(network.parameters(), 0.01, momentum=0.9, nesterov=True)
    loss_of = torch.nn.CrossEntropyLoss()
    mean = torch.tensor([123.68, 116.779, 103.939], device=device).view(1, 3, 1, 1)
    deviation = torch.tensor([58.393, 57.12, 57.375], device=device).view(1, 3, 1, 1)

    def epoch() -> None:
        for at in range(0, len(photos), batch):
            x = torch.from_numpy(photos[at : at + batch]).to(device).permute(0, 3, 1, 2)
            x = (x.to(torch.float32) - mean) / deviation  # stays channels_last
            y = torch.from_numpy(targets[at : at + batch]).to(device)
            with torch.autocast(device.type, torch.bfloat16, enabled=dtype == torch.bfloat16):
                logits = step_of(x)
            loss = loss_of(logits.float(), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if gpu:
            torch.cuda.synchronize()

    return epoch, sum(weight.numel() for weight in network.parameters())


def resnet18(torch):
    """The network of He et al. 2015 (arXiv:1512.03385), as model/backbone.py has it."""

    def body(before: int, filters: int, strides: int) -> tuple[list, int]:
        first = convolved(torch, before, filters, 3, strides, bias=False)
        return [
            *first,
            torch.nn.ReLU(),
            *convolved(torch, filters, filters, 3, bias=False),
        ], filters

    return residual(torch, (2, 2, 2, 2), body, bias=False)


def resnet50(torch):
    """ResNet-50: strides on the first 1 x 1 convolution, biases in the convolutions."""

    def body(before: int, filters: int, strides: int) -> tuple[list, int]:
        relu = torch.nn.ReLU()
        layers = [*convolved(torch, before, filters, 1, strides), relu]
        layers += [*convolved(torch, filters, filters, 3), relu]
        return [*layers, *convolved(torch, filters, 4 * filters, 1)], 4 * filters

    return residual(torch, (3, 4, 6, 3), body, bias=True)


def convolved(torch, before: int, filters: int, size: int, strides: int = 1, *, bias: bool = True):
    """A convolution and its normalisation."""
    nn = torch.nn
    return [
        nn.Conv2d(before, filters, size, strides, size // 2, bias=bias),
        nn.BatchNorm2d(filters),
    ]


def residual(torch, blocks: tuple[int, ...], body_of, *, bias: bool):
    """Stem, four stages of residual blocks, head."""
    nn = torch.nn

    class Block(nn.Module):
        def __init__(self, body: list, shortcut: list):
            super().__init__()
            self.body, self.shortcut = nn.Sequential(*body), nn.Sequential(*shortcut)

        def forward(self, x):
            return torch.relu(self.body(x) + self.shortcut(x))

    layers, before = [], 64
    for stage, count in enumerate(blocks):
        for number in range(count):
            strides = 2 if stage and not number else 1
            body, after = body_of(before, 64 * 2**stage, strides)
            same = before == after and strides == 1
            shortcut = [] if same else convolved(torch, before, after, 1, strides, bias=bias)
            layers.append(Block(body, shortcut))
            before = after
    return nn.Sequential(
        *convolved(torch, 3, 64, 7, 2, bias=bias),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, 1),
        *layers,
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(before, CLASSES),
    )


if __name__ == "__main__":
    main()
