"""Training steps a second: this repository's network in Keras against a plain PyTorch loop.

Both train a ResNet-18 with SGD (Nesterov momentum 0.9) on the same 256 random uint8 photos of
96 x 96 pixels, 32 a batch, on the same number of threads; normalisation is part of the step.
PyTorch gets what it is fastest with on a CPU: channels_last memory, and bfloat16 through autocast
in a second case. The first round, which compiles, does not count. Two minutes on 2 cores.

Needs PyTorch, which the graph does not: pip install torch
"""

import os
import sys

import numpy as np

SIDE, BATCH, PHOTOS, CLASSES = 96, 32, 256, 196
THREADS = int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1))


def main() -> None:
    try:
        import torch
    except ImportError:
        sys.exit("error: PyTorch is not installed; pip install torch, then run this again")
    from measure import alternate, record, speedup

    torch.set_num_threads(THREADS)
    random = np.random.default_rng(0)
    photos = random.integers(0, 256, (PHOTOS, SIDE, SIDE, 3), np.uint8)
    targets = random.integers(0, CLASSES, PHOTOS)
    cases = {
        "keras, float32": keras_epoch(photos, targets, "float32"),
        "keras, bfloat16": keras_epoch(photos, targets, "mixed_bfloat16"),
        "pytorch, float32": torch_epoch(torch, photos, targets, torch.float32),
        "pytorch, bfloat16": torch_epoch(torch, photos, targets, torch.bfloat16),
    }
    seconds = alternate(cases)
    ratios = {
        f"Keras over PyTorch, {kind}": speedup(
            seconds[f"keras, {kind}"], seconds[f"pytorch, {kind}"], bar=0.8
        )
        for kind in ("float32", "bfloat16")
    }
    rates = {f"{name}, photos/s": round(PHOTOS / np.median(s), 1) for name, s in seconds.items()}
    record("pytorch", ratios=ratios, figures={**rates, "pytorch": torch.__version__})


def keras_epoch(photos: np.ndarray, targets: np.ndarray, policy: str):
    """A function that trains our network for one pass over the photos."""
    sys.path.insert(0, "src")
    from model.runtime import start

    start(threads=THREADS)
    import keras

    from model.backbone import build_backbone, build_classifier

    keras.config.set_dtype_policy(policy)
    network = build_classifier(
        build_backbone("resnet18", shape=(SIDE, SIDE)), classes=CLASSES, dropout=0.0
    )
    keras.config.set_dtype_policy("float32")
    network.compile(
        keras.optimizers.SGD(0.01, momentum=0.9, nesterov=True),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    return lambda: network.fit(photos, targets, batch_size=BATCH, verbose=0, shuffle=False)


def torch_epoch(torch, photos: np.ndarray, targets: np.ndarray, dtype):
    """The same pass in PyTorch."""
    network = resnet18(torch).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), 0.01, momentum=0.9, nesterov=True)
    loss_of = torch.nn.CrossEntropyLoss()
    mean = torch.tensor([123.68, 116.779, 103.939]).view(1, 3, 1, 1)
    deviation = torch.tensor([58.393, 57.12, 57.375]).view(1, 3, 1, 1)

    def epoch() -> None:
        for at in range(0, PHOTOS, BATCH):
            x = torch.from_numpy(photos[at : at + BATCH]).permute(0, 3, 1, 2)
            x = (x.to(torch.float32) - mean) / deviation  # stays channels_last
            y = torch.from_numpy(targets[at : at + BATCH])
            with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
                logits = network(x)
            loss = loss_of(logits.float(), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return epoch


def resnet18(torch):
    """The network of He et al. 2015 (arXiv:1512.03385), as model/backbone.py has it."""
    nn = torch.nn

    class Block(nn.Module):
        def __init__(self, before: int, filters: int, strides: int):
            super().__init__()
            self.body = nn.Sequential(
                nn.Conv2d(before, filters, 3, strides, 1, bias=False),
                nn.BatchNorm2d(filters),
                nn.ReLU(),
                nn.Conv2d(filters, filters, 3, 1, 1, bias=False),
                nn.BatchNorm2d(filters),
            )
            self.shortcut = nn.Identity()
            if strides > 1:
                self.shortcut = nn.Sequential(
                    nn.Conv2d(before, filters, 1, strides, bias=False), nn.BatchNorm2d(filters)
                )

        def forward(self, x):
            return torch.relu(self.body(x) + self.shortcut(x))

    blocks, before = [], 64
    for stage in range(4):
        for number in range(2):
            filters, strides = 64 * 2**stage, 2 if stage and not number else 1
            blocks.append(Block(before, filters, strides))
            before = filters
    return nn.Sequential(
        nn.Conv2d(3, 64, 7, 2, 3, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, 1),
        *blocks,
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(512, CLASSES),
    )


if __name__ == "__main__":
    main()
