"""The tutorial way in Keras: frozen VGG16, head on top, every epoch through every layer.

Run by `keras_tutorial.py` with the Python of its own environment (TensorFlow is not a dependency of clearmargin).
Reads ``FOLDER/{train,validation,test}/<class>/<image>``, the same class folders in each, even where empty, and writes
what it measured as JSON.

    python keras_side.py FOLDER --weights vgg16.safetensors --size 224 --out measured.json
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
STARTED = time.perf_counter()  # importing TensorFlow is part of what the user waits for

import keras  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from keras.applications.vgg16 import preprocess_input  # noqa: E402
from safetensors.numpy import load_file  # noqa: E402

from keras_stopwatch import Stopwatch  # noqa: E402

BATCH = 32
CONVOLUTIONS = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)  # torchvision's numbers
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
CAFFE_MEAN = np.array([123.68, 116.779, 103.939])  # red, green, blue


def load_trunk(trunk: keras.Model, path: Path) -> None:
    """Fill Keras's VGG16 with the very weights that clearmargin uses, back in Caffe's layout (BGR, 0 to 255)."""
    stored = {name: values.astype(np.float64) for name, values in load_file(path).items()}
    weight = stored["features.0.weight"] / (255 * STD)[:, None, None]
    stored["features.0.bias"] -= np.einsum("fchw,c->f", weight, 255 * MEAN - CAFFE_MEAN)
    stored["features.0.weight"] = weight[:, ::-1]
    layers = [layer for layer in trunk.layers if isinstance(layer, keras.layers.Conv2D)]
    for layer, number in zip(layers, CONVOLUTIONS, strict=True):
        kernel = stored[f"features.{number}.weight"].transpose(2, 3, 1, 0)  # (height, width, channels, filters)
        layer.set_weights([kernel, stored[f"features.{number}.bias"]])


def build(classes: int, size: int, weights: Path) -> keras.Model:
    trunk = keras.applications.VGG16(include_top=False, weights=None, input_shape=(size, size, 3))
    load_trunk(trunk, weights)
    trunk.trainable = False
    model = keras.Sequential(
        [
            trunk,
            keras.layers.Flatten(),
            keras.layers.Dense(256, activation="relu"),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(classes, activation="softmax"),
        ]
    )
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def read(folder: Path, size: int) -> tf.data.Dataset:
    images = keras.utils.image_dataset_from_directory(
        folder, image_size=(size, size), batch_size=BATCH, shuffle=folder.name == "train", seed=0, verbose=False
    )
    return images.map(lambda x, y: (preprocess_input(x), y)).prefetch(tf.data.AUTOTUNE)


def measure(folder: Path, weights: Path, size: int) -> dict[str, object]:
    """Seconds and accuracy of one epoch, one validation pass and one prediction of the test images."""
    keras.utils.set_random_seed(0)
    classes = sum(entry.is_dir() for entry in (folder / "train").iterdir())
    train, validation, test = (read(folder / part, size) for part in ("train", "validation", "test"))
    model = build(classes, size, weights)
    batch = train.take(1).cache()  # tracing the graphs happens once, so it must not be multiplied by the epochs
    model.fit(batch, verbose=0)
    model.evaluate(batch, verbose=0)
    model.predict(batch, verbose=0)

    start = time.perf_counter() - STARTED
    learning = Stopwatch()
    model.fit(train, epochs=1, verbose=0, callbacks=[learning])
    judging = Stopwatch()
    _, validation_accuracy = model.evaluate(validation, verbose=0, callbacks=[judging])
    answering = Stopwatch()
    probabilities = model.predict(test, verbose=0, callbacks=[answering])
    seconds = [watch.seconds for watch in (learning, judging, answering)]
    labels = np.concatenate([batch.numpy() for _, batch in test])
    return {
        "start_seconds": start,
        "seconds": dict(zip(("train", "validation", "test"), seconds, strict=True)),
        "validation_accuracy": validation_accuracy,
        "test_accuracy": float(np.mean(probabilities.argmax(axis=1) == labels)),
        "versions": {"tensorflow": tf.__version__, "keras": keras.__version__},
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    measured = measure(options.folder, options.weights, options.size)
    options.out.write_text(json.dumps(measured, indent=1), encoding="utf-8")
