"""Owns finding the video that a label is of, by what the label calls it."""

from __future__ import annotations

import itertools
import math
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from operators.storage import redact
from securevqa_core.errors import ManifestError

__all__ = ["named_videos", "videos_of"]

NAMED_AT_MOST = 5  # videos
# Without pictures, which lie beside the videos that they are of.
_VIDEO_SUFFIXES = """
    .3g2 .3gp .asf .avi .divx .dv .f4v .flv .h264 .hevc .m1v .m2ts .m2v .m4v .mj2 .mkv .mov .mp4 .mpeg .mpg
    .mts .mxf .ogm .ogv .qt .ts .vob .webm .wmv .y4m
""".split()  # noqa: SIM905 - thirty quotes less
_ENCODED = "_crf_"  # before what YouTube-UGC's encodings have behind the name
_WRITTEN_AS_FLOAT = re.compile(r"[0-9]+(\.[0-9]*)?(e\+?[0-9]{1,2})?", re.IGNORECASE)
_BY_NAME, _BY_LIKENESS, _FROM_ELSEWHERE = range(3)  # how sure it is which video a label is of


@dataclass(frozen=True, slots=True, kw_only=True)
class _Claim:
    """What a label takes for its video."""

    place: int  # of the video
    doubt: int
    folder: tuple[str, ...]  # that the label gives, the innermost first


def videos_of(
    names: Sequence[str],
    uris: Sequence[str],
    *,
    where: str,
    root: str = "",
    movable: Collection[int] | None = None,
    any_suffix: bool = True,
) -> list[int | None]:
    """Return which of the videos each label is of, None where it is not there.

    | a label says               | the file                                        |
    |----------------------------|-------------------------------------------------|
    | a/1.mp4, 1.mp4, a/1, 1     | a/1.mp4                                         |
    | A\\1.MP4, a/1.mkv, 1.0     | the same, if no label has its name              |
    | 1                          | 1_crf_10.mp4, if there is no 1.mp4              |
    | b/1.mp4                    | 1.mp4 that is movable, if no other label has it |

    Args:
        names: what labels call their videos.
        uris: of the videos.
        where: the labels are, for messages.
        root: folder that the names start at.
        movable: videos whose folder tells nothing; None: all, if no label has the folder of a video.
        any_suffix: take a name with the extension of another video for its video.

    Raises:
        ManifestError: a name fits several videos.
    """
    claims: dict[int, _Claim] = {}
    for spelt in (str, _loosely):
        if len(claims) < len(names):
            videos = _Videos(uris, root, spelt, any_suffix=any_suffix)
            claims |= {
                row: claim
                for row, name in enumerate(names)
                if row not in claims and (claim := videos.claim(name, movable or (), where))
            }
    if movable is None and len(claims) < len(names) and not any(one.folder for one in claims.values()):
        every = range(len(uris))
        return videos_of(names, uris, where=where, root=root, movable=every, any_suffix=any_suffix)
    rivals: dict[int, list[_Claim]] = defaultdict(list)
    for claim in claims.values():
        rivals[claim.place].append(claim)
    upheld = {row: claim.place for row, claim in claims.items() if _is_upheld(claim, rivals[claim.place])}
    return [upheld.get(row) for row in range(len(names))]


def _is_upheld(claim: _Claim, rivals: Sequence[_Claim]) -> bool:
    if claim.doubt > min(one.doubt for one in rivals):
        return False
    return claim.doubt < _FROM_ELSEWHERE or len({one.folder for one in rivals}) == 1


def _loosely(text: str) -> str:
    return text.replace("\\", "/").casefold()


class _Videos:
    """Videos by all that a label may call them."""

    def __init__(
        self, uris: Sequence[str], root: str, spelt: Callable[[str], str], *, any_suffix: bool
    ) -> None:
        self._uris, self._spelt, self._any_suffix = uris, spelt, any_suffix
        self._root = PurePosixPath(spelt(root))
        paths = [PurePosixPath(spelt(uri)) for uri in uris]
        self._folders = [path.parent for path in paths]
        whole, short, original, rest = self._names = [defaultdict[str, list[int]](list) for _ in range(4)]
        for place, path in enumerate(paths):
            whole[path.name].append(place)
            if path.suffix.lower() in _VIDEO_SUFFIXES:
                short[path.stem].append(place)
                original[path.stem.partition(_ENCODED)[0]].append(place)
            else:
                rest[path.stem].append(place)

    def claim(self, name: str, movable: Collection[int], where: str) -> _Claim | None:
        """Return what a label takes for its video.

        Raises:
            ManifestError: there are several.
        """
        path = PurePosixPath(self._spelt(name))
        folder = tuple(part for part in path.parts[-2::-1] if part not in {"/", ".."})
        for called, (way, known) in itertools.product(self._calls(path), enumerate(self._names)):
            fitting = known.get(called, [])
            is_sure = called == path.name and way < 2 and self._spelt is str
            doubt = _BY_NAME if is_sure else _BY_LIKENESS
            if folder and fitting:
                shared = {place: self._num_shared(place, path) for place in fitting}
                most = max(shared.values())
                fitting = [place for place in fitting if shared[place] == most]
                if not most:  # another folder is another file
                    doubt = _FROM_ELSEWHERE
                    fitting = [place for place in fitting if place in movable]
                    fitting = fitting if len(fitting) == 1 else []
            if len(fitting) > 1:
                uris = named_videos(sorted(self._uris[place] for place in fitting))
                raise ManifestError(f"{where}: {redact(name)!r} fits {len(fitting)} videos, {uris}")
            if fitting:
                return _Claim(place=fitting[0], doubt=doubt, folder=folder)
        return None

    def _calls(self, path: PurePosixPath) -> list[str]:
        calls = [path.name]
        if self._any_suffix and path.suffix.lower() in _VIDEO_SUFFIXES:
            calls.append(path.stem)
        if _WRITTEN_AS_FLOAT.fullmatch(path.name) and float(path.name).is_integer():
            calls.append(str(int(float(path.name))))
        return calls

    def _num_shared(self, place: int, path: PurePosixPath) -> float:
        """Return how many folders of a path, from its end, are those of a video; of the same path, inf."""
        if self._folders[place] == self._root / path.parent:
            return math.inf
        pairs = zip(self._folders[place].parts[::-1], path.parts[-2::-1], strict=False)
        return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))


def named_videos(names: Sequence[str]) -> str:
    """Return what is said of videos: the first of them, and how many more there are."""
    rest = len(names) - NAMED_AT_MOST
    shown = ", ".join(repr(redact(name)) for name in names[:NAMED_AT_MOST])
    return f"{shown} and {rest} more" if rest > 0 else shown
