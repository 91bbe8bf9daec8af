"""Keras's side of `small_networks.py` and `time_to_accuracy.py`: `model.fit` on arrays in memory.

    python benchmarks/small_networks_keras.py RECIPE ARRAYS (keras | TARGET EPOCHS)

One epoch after a warm-up; or epoch after epoch, until a test accuracy is reached.
"""

from __future__ import annotations

import json
import sys

import keras
import numpy as np
from keras import layers

from keras_stopwatch import Stopwatch

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


Labelled = tuple[np.ndarray, np.ndarray]


def trace(model: keras.Model, images: np.ndarray, labels: np.ndarray) -> None:
    """Have the graphs made and warmed on some images, and take back what the network learned from them."""
    model.optimizer.build(model.trainable_variables)
    first = [variable.numpy() for variable in (*model.variables, *model.optimizer.variables)]
    model.fit(images, labels, batch_size=BATCH, epochs=1, verbose=0)
    for variable, value in zip((*model.variables, *model.optimizer.variables), first, strict=True):
        variable.assign(value)


def until(model: keras.Model, train: Labelled, test: Labelled, target: float, epochs: int) -> dict:
    """Seconds of learning, and the test accuracy after each epoch."""
    seconds, accuracies = 0.0, []
    trace(model, train[0][:BATCH], train[1][:BATCH])  # before the clock runs
    while len(accuracies) < epochs and (not accuracies or accuracies[-1] < target):
        watch = Stopwatch()
        model.fit(*train, batch_size=BATCH, epochs=1, verbose=0, callbacks=[watch])
        seconds += watch.seconds
        said = model.predict(test[0], verbose=0).argmax(axis=1)
        accuracies.append(float((said == test[1]).mean()))
        print(f"epoch {len(accuracies)}: {seconds:.0f} s, {accuracies[-1]:.4f}", file=sys.stderr, flush=True)
    return {"seconds": seconds, "accuracies": accuracies}


def main() -> None:
    """Print images per second, or seconds to a test accuracy, as JSON."""
    recipe, arrays, *target = sys.argv[1:]
    with np.load(arrays) as stored:
        images, labels = stored["train"].astype("float32") / 255, stored["train_labels"]
        tested, truth = stored["test"].astype("float32") / 255, stored["test_labels"]
    model = {"mnist-tutorial": mnist, "cifar10": cifar10}[recipe]()
    if len(target) == 2:
        print(json.dumps(until(model, (images, labels), (tested, truth), float(target[0]), int(target[1]))))
        return
    trace(model, images[: 20 * BATCH], labels[: 20 * BATCH])
    watch = Stopwatch()
    model.fit(images, labels, batch_size=BATCH, epochs=1, verbose=0, callbacks=[watch])
    said = model.predict(tested, verbose=0).argmax(axis=1)
    print(json.dumps({"images_per_second": len(images) / watch.seconds, "accuracy": float((said == truth).mean())}))


if __name__ == "__main__":
    main()
