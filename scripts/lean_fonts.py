"""Make the fonts of the figures: DejaVu Sans with the letters a report is written in, and nothing else.

A PDF embeds the letters it uses, which are cut out of the font anew for each file; out of the whole DejaVu Sans that
takes more time than all the rest of a figure. A name in other letters is still drawn, with the whole font.

    python scripts/lean_fonts.py
"""

from __future__ import annotations

import shutil
from pathlib import Path

import matplotlib as mpl
from fontTools import subset

FAMILY = "Clear Margin Sans"
STYLES = {
    "DejaVuSans.ttf": ("Regular", "ClearMarginSans.ttf"),
    "DejaVuSans-Bold.ttf": ("Bold", "ClearMarginSans-Bold.ttf"),
}
LETTERS = (
    *range(0x20, 0x7F), *range(0xA0, 0x180), *range(0x391, 0x3CA), *range(0x2010, 0x2040), 0x2070,
    *range(0x2074, 0x209D), 0x20AC, 0x2122, *range(0x2190, 0x2195), 0x2206, 0x2211, 0x2212, 0x2215, 0x221A, 0x221E,
    0x2248, 0x2260, 0x2264, 0x2265, *range(0x25A0, 0x25D0), 0x2713, 0x2717, 0xFFFD,
)  # fmt: skip
_NAMES = {1: FAMILY, 4: FAMILY, 6: FAMILY.replace(" ", ""), 16: FAMILY}


def make(source: Path, style: str, target: Path) -> None:
    """Write the letters of one font file, without hints and layout tables, under a name of its own."""
    options = subset.Options(layout_features=[], hinting=False, legacy_kern=True, glyph_names=True, name_IDs=["*"])
    options.drop_tables += ["GSUB", "GPOS", "GDEF", "MATH", "FFTM"]
    font = subset.load_font(str(source), options)
    subsetter = subset.Subsetter(options)
    subsetter.populate(unicodes=LETTERS)
    subsetter.subset(font)
    for record in font["name"].names:
        if record.nameID in _NAMES:
            bold = f" {style}" if style != "Regular" and record.nameID in (4, 6) else ""
            record.string = _NAMES[record.nameID] + (bold.replace(" ", "-") if record.nameID == 6 else bold)
    font["head"].modified = font["head"].created
    font.recalcTimestamp = False
    font.save(target)


if __name__ == "__main__":
    whole = Path(mpl.get_data_path()) / "fonts" / "ttf"
    here = Path(__file__).resolve().parents[1] / "src" / "clearmargin" / "report" / "fonts"
    here.mkdir(exist_ok=True)
    for file, (name, made) in STYLES.items():
        make(whole / file, name, here / made)
    shutil.copyfile(whole / "LICENSE_DEJAVU", here / "LICENSE_DEJAVU")
