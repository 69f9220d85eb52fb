"""Words for what documents say, shared by pages and CARD.md."""

from __future__ import annotations

from zoo._support.ranges import describe_ranges
from zoo.spec import Intensity, Manifest, Percentile, PreprocessSpec, Scale, Window

__all__ = ["describe_input", "describe_splits", "describe_start", "describe_weights"]


def describe_input(spec: PreprocessSpec) -> str:
    """Size and intensity of what a network is given."""
    return (
        f"{spec.size[0]} × {spec.size[1]} {spec.named_channels}, resized by {spec.resize} ({spec.interpolation}). "
        f"{_intensity(spec.intensity)}"
    )


def describe_start(trained: dict[str, str]) -> str:
    """What a model without pretrained weights began with, by the files that hold what it learnt."""
    return "random weights" if "weights.safetensors" in trained else "no pretrained weights"


def describe_splits(splits: dict[str, int]) -> str:
    """'train 80, val 10, test 10'; parts that hold nothing are not said."""
    return ", ".join(f"{name} {count}" for name, count in splits.items() if count)


def describe_weights(manifest: Manifest) -> str:
    """What members of an ensemble count; few validation images, or none held out, leave the weights equal."""
    equal = len({member.weight for member in manifest.members}) == 1
    return "equal weights" if equal else "weights learnt on validation images"


def _intensity(intensity: Intensity) -> str:
    """What becomes black and white; of DICOM values, where they come from."""
    if isinstance(intensity, Scale):
        return f"Values from 0 to {intensity.maximum:g} become [0, 1]."
    if isinstance(intensity, Window):
        ends = zip(intensity.centers, intensity.widths, strict=True)
        windows = "; ".join(f"center {center:g} and width {width:g}" for center, width in ends)
        what = "The window with" if len(intensity.centers) == 1 else "Of each channel the window with"
        return (
            f"{what} {windows} becomes [0, 1]; "
            "values of DICOM files are modality values (Hounsfield units for CT), MONOCHROME1 mirrored."
        )
    if isinstance(intensity, Percentile):
        ranges = describe_ranges(intensity.padding)
        padding = ""
        if ranges:
            padding = (
                f" Padding ({ranges}) is left out and becomes 0. The zoo runtime writes {intensity.padding[0][0]:g} "
                "over padding of another value; other clients do so themselves."
            )
        whole = "picture" if intensity.per == "image" else "channel of each picture"
        return f"Of each {whole} the percentiles {intensity.low:g} to {intensity.high:g} become [0, 1].{padding}"
    return (
        "It takes DICOM pictures as their files say that they are to be shown: modality LUT or rescale, then "
        "VOI LUT or the first window, then inversion of MONOCHROME1, which the zoo runtime's reader does; "
        "values come in [0, 1]."
    )
