"""GPUs and TPUs that the chosen backend of Keras computes on (of PyTorch's, CUDA's alone)."""

import os

import keras


def accelerators() -> list:
    """The backend's own names for them, none where there are none.

    Devices of JAX, physical devices of TensorFlow, or PyTorch's number of the only CUDA device that
    Keras uses there: the first, unless ``KERAS_TORCH_DEVICE`` says otherwise.
    """
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        return [device for device in jax.devices() if device.platform != "cpu"]
    if backend == "torch":
        import torch

        kind, _, number = os.environ.get("KERAS_TORCH_DEVICE", "cuda").partition(":")
        return [int(number or 0)] if kind == "cuda" and torch.cuda.is_available() else []
    import tensorflow

    return tensorflow.config.list_physical_devices("GPU")
