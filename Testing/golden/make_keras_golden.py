"""Make the golden files: the published Conv-LSTM in Keras 3, small and with random weights, and what it computes.

This doesn't use EmphysemaScanner or PyTorch, so that an agreement means something. Run it as README.md says; the files
land beside it.
"""

import os
import platform
from pathlib import Path

os.environ["KERAS_BACKEND"] = "jax"

import h5py
import jax
import keras
import numpy as np
from keras import layers, ops

HERE = Path(__file__).parent
WIDTH, IMAGE_SIZE, SLICES, VOLUMES = 4, 32, 7, 2
BATCH_NORM = {"epsilon": 1e-3, "axis": -1}
CONV_LSTM = {
    "kernel_size": 3,
    "padding": "same",
    "activation": "tanh",
    "recurrent_activation": "sigmoid",
    "data_format": "channels_last",
}


def conv_lstm(width: int, image_size: int, slices: int, every_state: bool = False) -> keras.Model:
    """The published network; with ``every_state``, one whose outputs are also the states and normalised states.

    The fourth unit of the published one has ``return_sequences=False``. Both have the same weights in the same order.
    """
    x = inputs = keras.Input((slices, image_size, image_size, 1))
    states, normalised = [], []
    for unit, filters in enumerate((width, width, 2 * width, 2 * width)):
        for _ in range(2):
            x = layers.TimeDistributed(layers.Conv2D(filters, 3, padding="same"))(x)
            x = layers.TimeDistributed(layers.BatchNormalization(**BATCH_NORM))(x)
            x = layers.TimeDistributed(layers.ReLU())(x)
        x = layers.TimeDistributed(layers.MaxPooling2D(2))(x)
        descending = unit % 2 == 1
        last_only = unit == 3 and not every_state
        x = layers.ConvLSTM2D(filters, return_sequences=not last_only, go_backwards=descending, **CONV_LSTM)(x)
        if last_only:
            x = layers.BatchNormalization(**BATCH_NORM)(x)
            continue
        if descending:  # go_backwards returns the states in the order of reading; put each back at its slice
            x = ops.flip(x, axis=1)
        states.append(x)
        norm = layers.BatchNormalization(**BATCH_NORM)
        x = norm(x) if unit == 3 else layers.TimeDistributed(norm)(x)
        normalised.append(x)
    if every_state:
        x = x[:, 0]  # the slice that a descending unit reads last
    logit = layers.Dense(1)(layers.Flatten()(x))
    probability = layers.Activation("sigmoid")(logit)
    return keras.Model(inputs, [logit, probability, *states, *normalised] if every_state else [logit, probability])


def mil(width: int, image_size: int) -> keras.Model:
    """The 2D CNN for MIL, for one slice."""
    x = inputs = keras.Input((image_size, image_size, 1))
    for filters in (width, width, 2 * width, 2 * width):
        for _ in range(3):
            x = layers.ReLU()(layers.BatchNormalization(**BATCH_NORM)(layers.Conv2D(filters, 3, padding="same")(x)))
        x = layers.BatchNormalization(**BATCH_NORM)(layers.MaxPooling2D(2)(x))
    return keras.Model(inputs, layers.Dense(1)(layers.Flatten()(x)))


def cnn3d(width: int, image_size: int, slices: int) -> keras.Model:
    """The 3D CNN."""
    x = inputs = keras.Input((slices, image_size, image_size, 1))
    for filters in (width, width, 2 * width, 2 * width):
        for _ in range(3):
            x = layers.ReLU()(layers.BatchNormalization(**BATCH_NORM)(layers.Conv3D(filters, 3, padding="same")(x)))
        x = layers.MaxPooling3D(2)(x)
    return keras.Model(inputs, layers.Dense(1)(layers.Flatten()(x)))


def randomise(model: keras.Model, rng: np.random.Generator) -> None:
    """Random values where Keras starts with 0 or 1 (biases, BatchNorm's affine and moving statistics), larger kernels.

    With Keras' own kernels the logit hardly depends on the input, and a comparison of logits would prove little.
    """
    for weight in model.weights:
        kind = weight.path.rsplit("/", 1)[-1]
        start = ops.convert_to_numpy(weight)
        if kind in ("gamma", "moving_variance"):
            weight.assign(start * rng.uniform(0.5, 1.5, weight.shape))
        elif kind in ("beta", "moving_mean", "bias"):
            weight.assign(start + rng.normal(0, 0.4, weight.shape))
        else:
            weight.assign(start * 2)


def volumes(rng: np.random.Generator) -> np.ndarray:
    """(2, 7, 32, 32, 1) in [0, 1]: coarse blobs with fine noise, different in every slice and volume."""
    coarse = rng.uniform(0, 1, (VOLUMES, SLICES, 4, 4)).repeat(IMAGE_SIZE // 4, axis=2).repeat(IMAGE_SIZE // 4, axis=3)
    fine = rng.uniform(0, 1, (VOLUMES, SLICES, IMAGE_SIZE, IMAGE_SIZE))
    return (0.8 * coarse + 0.2 * fine)[..., None].astype(np.float32)


def main() -> None:
    print(f"Python {platform.python_version()}, Keras {keras.__version__}, backend {keras.backend.backend()}", end=" ")
    print(f"{jax.__version__}, numpy {np.__version__}, h5py {h5py.__version__}")
    default = layers.ConvLSTM2D(1, 3).cell
    print(f"ConvLSTM2D's defaults: {default.activation.__name__}, recurrent {default.recurrent_activation.__name__}")
    print(f"BatchNormalization's default epsilon: {layers.BatchNormalization().epsilon}")
    print(f"Conv-LSTM, width 32, 128 x 128 x 35: {conv_lstm(32, 128, 35).count_params():,} parameters")
    print(f"2D CNN for MIL, width 64, 128 x 128: {mil(64, 128).count_params():,} parameters")
    print(f"3D CNN, width 36, 128 x 128 x 35: {cnn3d(36, 128, 35).count_params():,} parameters")

    keras.backend.clear_session()
    keras.utils.set_random_seed(2018)
    rng = np.random.default_rng(2018)
    model = conv_lstm(WIDTH, IMAGE_SIZE, SLICES)
    randomise(model, rng)
    twin = conv_lstm(WIDTH, IMAGE_SIZE, SLICES, every_state=True)
    twin.set_weights(model.get_weights())

    x = volumes(rng)
    logit, probability = (ops.convert_to_numpy(out) for out in model(x, training=False))
    outputs = [ops.convert_to_numpy(out) for out in twin(x, training=False)]
    difference = abs(outputs[0] - logit).max()
    print(f"Published network and its twin that returns every state: logits differ by {difference:.1e}")

    golden = {"input": x, "logit": logit, "probability": probability}
    golden |= {f"states_{unit + 1}": outputs[2 + unit] for unit in range(4)}
    golden |= {f"normalised_{unit + 1}": outputs[6 + unit] for unit in range(4)}
    np.savez_compressed(HERE / "keras_conv_lstm_outputs.npz", **golden)
    np.savez_compressed(HERE / "keras_conv_lstm_flat_weights.npz", *model.get_weights())
    model.save_weights(HERE / "keras_conv_lstm.weights.h5")
    upside_down = ops.convert_to_numpy(model(x[:, ::-1], training=False)[0])
    print(f"logits {logit.ravel()}, with the slices in reverse {upside_down.ravel()}", end=", ")
    print(f"probabilities {probability.ravel()}")
    for name, values in golden.items():
        print(f"{name}: {values.shape}, mean {values.mean():.3f}, SD {values.std():.3f}")


if __name__ == "__main__":
    main()
