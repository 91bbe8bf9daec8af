"""What the page says of contenders that somebody else trained."""

from __future__ import annotations

from clearmargin.language import tr
from clearmargin.report.folder import TrainedFiles
from clearmargin.report.wording import count, large, without_folders


def _fit(fit: str) -> str:
    words = {
        "pad": tr("padded with black to a square"),
        "stretch": tr("stretched to a square"),
        "crop": tr("cropped to the square in the middle"),
    }
    return words.get(fit, fit)


def _scaling(scaling: str) -> str:
    words = {
        "0..1": tr("between 0 and 1"),
        "0..255": tr("between 0 and 255"),
        "-1..1": tr("between −1 and 1"),
        "imagenet": tr("normalised as for ImageNet"),
    }
    return words.get(scaling, tr("normalised with a mean and a deviation of its own"))


def _outputs(outputs: str) -> str:
    return {"probabilities": tr("probabilities"), "logits": tr("logits")}.get(outputs, outputs)


def elsewhere_sentence() -> str:
    """Say that a contender was not trained here, and what follows from that."""
    return tr(
        "Trained elsewhere: on which images is not known here, and these may have been among them. It was taken as "
        "published; nothing of it was changed."
    )


def elsewhere_method(contender: TrainedFiles) -> str:
    """How a foreign contender was fed and read, for the steps of the study."""
    asked = contender.model.get("architecture", {})
    done = contender.model.get("preprocessing", {})
    return tr(
        "The file {file} (SHA-256 {sha256}…), {parameters} parameters, trained elsewhere and run as published. Its "
        "images were {fit} of {size} × {size} pixels, {scaling}, channels {channels}; its outputs are {outputs}.",
        file=without_folders(str(asked.get("onnx", "model.onnx"))),
        sha256=str(contender.model.get("weights_sha256", ""))[:12],
        parameters=large(contender.model["parameters"]["total"]),
        fit=_fit(str(done.get("fit"))),
        size=count(done.get("size_px")),
        scaling=_scaling(str(asked.get("scaling"))),
        channels=str(asked.get("channels", "rgb")).upper(),
        outputs=_outputs(str(asked.get("outputs"))),
    )
