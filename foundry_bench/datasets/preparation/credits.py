"""The licence and credit texts that a redistributed data set must carry."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from foundry_bench.datasets.preparation.pipeline import Cloud
from foundry_bench.datasets.preparation.selection import spec_text

_CHANGES = (
    "Modified by foundry-bench: sampled to points (visible surface only), centred, scaled to the unit sphere."
)

_KICAD_LICENCE = f"""KiCad point clouds
==================
Licence: Creative Commons Attribution-ShareAlike 4.0 International (CC-BY-SA-4.0)
https://creativecommons.org/licenses/by-sa/4.0/legalcode

Derived from the KiCad packages3D library, https://gitlab.com/kicad/libraries/kicad-packages3D (formerly
https://github.com/KiCad/kicad-packages3D), as packaged by Debian in kicad-packages3d. Files under the GPL are
not included. {_CHANGES}

The library's exception reads: "To the extent that the creation of electronic designs that use 'Licensed
Material' can be considered to be 'Adapted Material', then the copyright holder waives article 3 of the
license with respect to these designs and any generated files which use data provided as part of the 'Licensed
Material'." It does not apply to a redistributed collection such as this one: whoever passes these points on,
changed or not, does so under CC-BY-SA-4.0 and with CREDITS.md.
"""

_FURNITURE_LICENCE = f"""Furniture point clouds
======================
Derived from the furniture libraries of SweetHome3D, https://www.sweethome3d.com, as packaged by Debian in
sweethome3d-furniture. SweetHome3D's own default set is not included. {_CHANGES}

Each object keeps the licence of its model, which index.csv and CREDITS.md state:
CC-BY-3.0     Creative Commons Attribution 3.0 Unported       https://creativecommons.org/licenses/by/3.0/legalcode
CC-BY-3.0-US  Creative Commons Attribution 3.0 United States  https://creativecommons.org/licenses/by/3.0/us/legalcode
CC0-1.0       Creative Commons Zero 1.0                       https://creativecommons.org/publicdomain/zero/1.0/legalcode
"""

_BRICKS_LICENCE = f"""Brick point clouds
==================
Licence: Creative Commons Attribution 4.0 International (CC-BY-4.0)
https://creativecommons.org/licenses/by/4.0/legalcode

LDraw Parts Library, https://library.ldraw.org, (c) LDraw.org and the part authors, CC BY 4.0, as packaged by Debian in
ldraw-parts-free. {_CHANGES}

LDraw is a trademark of the estate of James Jessiman. LEGO is a trademark of the LEGO Group; this data set is neither
endorsed by nor affiliated with the LEGO Group.
"""

_BLENDSWAP = "authors as listed, from http://www.blendswap.com; cleaned and converted by Emmanuel Puybaret"

#: Notices that the libraries ask for, by the first component of a path.
_LIBRARY_CREDIT = {
    "Scopia": "(C) Emmanuel PUYBARET / eTeks and Scopia Visual Interfaces Systems, s.l.",
    "KatorLegaz": "(C) Andrew Kator & Jennifer Legaz, http://www.katorlegaz.com",
    "Reallusion": "(C) Reallusion, http://www.reallusion.com",
    "BlendSwap-CC-BY": _BLENDSWAP,
    "BlendSwap-CC-0": _BLENDSWAP,
}


def kicad_texts(clouds: Sequence[Cloud]) -> dict[str, str]:
    """``LICENSE`` and ``CREDITS.md`` of a set of KiCad clouds."""
    return {"LICENSE": _KICAD_LICENCE, "CREDITS.md": "# Credits\n\n" + _kicad_credits(clouds)}


def furniture_texts(clouds: Sequence[Cloud]) -> dict[str, str]:
    """``LICENSE`` and ``CREDITS.md`` of a set of furniture clouds."""
    return {"LICENSE": _FURNITURE_LICENCE, "CREDITS.md": "# Credits\n\n" + _furniture_credits(clouds)}


def pretrain_texts(kicad: Sequence[Cloud], furniture: Sequence[Cloud]) -> dict[str, str]:
    """The texts of the two point files of the pretraining set, one section a file."""
    licence = f"File kicad.npz\n\n{_KICAD_LICENCE}\n\nFile furniture.npz\n\n{_FURNITURE_LICENCE}"
    credit = f"# Credits\n\nFile `kicad.npz`\n\n{_kicad_credits(kicad)}\nFile `furniture.npz`\n\n"
    return {"LICENSE": licence, "CREDITS.md": credit + _furniture_credits(furniture)}


def bricks_texts(clouds: Sequence[Cloud]) -> dict[str, str]:
    """``LICENSE`` and ``CREDITS.md`` of a set of brick clouds."""
    return {"LICENSE": _BRICKS_LICENCE, "CREDITS.md": "# Credits\n\n" + _bricks_credits(clouds)}


def _bricks_credits(clouds: Sequence[Cloud]) -> str:
    lines = [
        "## LDraw Parts Library",
        "",
        "LDraw Parts Library, https://library.ldraw.org, (c) LDraw.org and the part authors, CC BY 4.0,",
        f"https://creativecommons.org/licenses/by/4.0/legalcode. {_CHANGES}",
        "This data set is neither endorsed by nor affiliated with the LEGO Group.",
        "",
        *_author_table(clouds),
        "",
        "Parts are made of sub-files and primitives, whose authors are among all of the library:",
        "",
        ", ".join(spec_text("ldraw_authors.txt").splitlines()) + ".",
    ]
    return "\n".join(lines) + "\n"


def _author_table(clouds: Sequence[Cloud]) -> list[str]:
    """Lines of a table of authors with their numbers of models, and where each model's author stands."""
    creators = Counter(cloud.source.creator for cloud in clouds)
    return [
        "| author, as the model files name them | models |",
        "|---|---|",
        *(f"| {_cell(name)} | {number} |" for name, number in sorted(creators.items())),
        "",
        "The author of every single model is in the column `creator` of `index.csv`.",
    ]


def _kicad_credits(clouds: Sequence[Cloud]) -> str:
    lines = [
        "## KiCad packages3D",
        "",
        f"Licence CC-BY-SA-4.0, https://creativecommons.org/licenses/by-sa/4.0/legalcode. {_CHANGES}",
        "",
        *_author_table(clouds),
    ]
    return "\n".join(lines) + "\n"


def _furniture_credits(clouds: Sequence[Cloud]) -> str:
    sources = [cloud.source for cloud in clouds]
    libraries = sorted({source.path.split("/")[0] for source in sources})
    lines = [
        "## SweetHome3D furniture libraries",
        "",
        f"Licences CC-BY-3.0, CC-BY-3.0-US and CC0-1.0 by model; links in `LICENSE`. {_CHANGES}",
        "",
        *(f"- {library}: {_LIBRARY_CREDIT.get(library, 'authors as listed')}" for library in libraries),
        "",
        "| model | title | author | licence | page |",
        "|---|---|---|---|---|",
        *(
            f"| {_cell(source.path)} | {_cell(source.title)} | {_cell(source.creator)} "
            f"| {source.licence} | {source.link} |"
            for source in sources
        ),
    ]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
