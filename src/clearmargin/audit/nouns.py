"""What samples, copies and groups are called, of images and of tables."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Nouns:
    """Words for messages.

    Attributes
    ----------
    sample
        One sample; with an s behind it, several.
    copy, copies
        What is the same as another sample, with its article; and several.
    alike
        What stays together without anybody saying so.
    group
        What belongs together, when the source says so.
    effect
        What is to be learned, rather than to recognise the group.
    give_parts, give_part
        What to do for samples without a part, and about a part ({}) that is not there.
    """

    sample: str
    copy: str
    copies: str
    alike: str
    group: str
    effect: str
    give_parts: str
    give_part: str


IMAGES = Nouns(
    sample="image",
    copy="an identical copy",
    copies="identical images",
    alike="copies of an image, identical or nearly so",
    group="patient",
    effect="the disease",
    give_parts="Put them into train and test folders",
    give_part="Add a {} folder",
)
ROWS = Nouns(
    sample="row",
    copy="a row with the same inputs",
    copies="rows with the same inputs",
    alike="rows with the same inputs",
    group="group",
    effect="what the inputs say",
    give_parts="Fill in the column of parts",
    give_part="Add rows of the part {}",
)
