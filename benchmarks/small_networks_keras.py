"""Keras's side of `small_networks.py`: the tutorial's networks with `model.fit` on arrays in memory."""

from __future__ import annotations

import json
import sys
import time

import keras
import numpy as np
from keras import layers

BATCH = 128


def mnist() -> keras.Model:
    model = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Dropout(0.25),
            layers.Flatten(),
            layers.Dense(128, activation="relu"),
            layers.Dropout(0.5),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(keras.optimizers.Adadelta(1.0), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def cifar10() -> keras.Model:
    model = keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(2),
            layers.Dropout(0.25),
            layers.Conv2D(64, 3, padding="same", activation="relu"),
            layers.Conv2D(64, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(2),
            layers.Dropout(0.25),
            layers.Flatten(),
            layers.Dense(128, activation="relu"),
            layers.Dropout(0.5),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def main() -> None:
    """Print images per second as JSON."""
    network, arrays, _ = sys.argv[1:]
    with np.load(arrays) as stored:
        images, labels = stored["images"].astype("float32") / 255, stored["labels"]
    model = {"mnist": mnist, "cifar10": cifar10}[network]()
    model.fit(images[: 20 * BATCH], labels[: 20 * BATCH], batch_size=BATCH, epochs=1, verbose=0)
    started = time.perf_counter()
    model.fit(images, labels, batch_size=BATCH, epochs=1, verbose=0)
    print(json.dumps({"images_per_second": len(images) / (time.perf_counter() - started)}))


if __name__ == "__main__":
    main()
