r"""Owns what a player does to a decoded picture before a person sees it, once for all who read frames.

      +---------------------------+
      | what the codec holds      |   0. The decoder cuts it to the codec's own window and adds film grain.
      |  +---------------------+  |
      |  | as decoded          |  |
      |  |  +----------+       |  |   1. Crop by the container's headers (`clap`, PixelCrop), to whole chroma
      |  |  | cropped  |       |  |      samples, as FFmpeg's crop filter does.
      |  |  |   <-- up |       |  |
      |  |  +----------+       |  |   2. Colours: the picture's own tags, else the container's, else a guess.
      |  +---------------------+  |
      +---------------------------+
                |
          +-----v-+
          |   ^   |                   3. Mirror left to right, then turn by quarters (display matrix, pose
          |   |   |                      roll, EXIF). The crop is told of the picture as it was coded, so it
          |   up  |                      comes first, in FFmpeg's command line (7.1 and later) as in browsers.
          +-------+
                |
          +-----v----+
          |   ^      |                4. Make pixels square: the container's aspect, else the codec's.
          |   |      |
          |   up     |
          +----------+

Steps 1 and 2 are done here, to every picture that is read; 3 and 4 where patches are placed, to the few
pixels that are kept. What a player would do besides is `display_not_understood`.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from fractions import Fraction

import av
from av.container import InputContainer
from av.filter import Graph
from av.filter.context import FilterContext
from av.stream import Disposition
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from securevqa_core.decoding.colours import Colours
from securevqa_core.decoding.geometry import MAX_PIXEL_ASPECT, Geometry, geometry_of, stretch_of
from securevqa_core.decoding.header import NO_CROP, Crop, Header, not_understood
from securevqa_core.decoding.matroska_header import matroska_header
from securevqa_core.decoding.mp4_header import mp4_header
from securevqa_core.decoding.picture_data import display_matrix, side_data, unplain
from securevqa_core.decoding.still_header import still_header
from securevqa_core.decoding.tone_mapping import HDR_TRANSFERS, is_hdr

__all__ = ["Display", "ShownPicture", "read_display"]

_NO_TRANSFERS = frozenset([0, 2])  # reserved and unspecified
_MAX_STRETCH = 0.01  # that FFmpeg passes over
_STILLS = frozenset({"jpeg_pipe", "png_pipe", "webp_pipe"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownPicture:
    """A picture after steps 1 and 2."""

    picture: VideoFrame
    geometry: Geometry  # step 3, to be done yet
    guessed: str | None  # what its tags left open


class Display:
    """The display transform of one stream."""

    def __init__(self, header: Header, colours: Colours, pixel_aspect: Fraction | None) -> None:
        self.crop, self.colours = header.crop, colours
        self.pixel_aspect = pixel_aspect  # width of a pixel by its height; None where nothing says
        self._transfer = header.transfer
        self._cropper = None if self.crop == NO_CROP else _Cropper(self.crop)
        self._geometry: Geometry | None = None

    def shown(self, picture: VideoFrame) -> ShownPicture:
        """Crop a decoded picture and complete its colours.

        Raises:
            DecodeError: display_not_understood.
        """
        held = side_data(picture)
        matrix = display_matrix(held)
        geometry = geometry_of(matrix)
        if geometry is None:
            raise not_understood(f"a display matrix that is no mirror and no quarter turn ({matrix})")
        if not self._is_square_under(stretch_of(matrix)):
            raise not_understood(f"a display matrix that stretches, and pixels of another shape ({matrix})")
        if self._geometry not in (None, geometry):
            raise not_understood("pictures of one stream that are turned differently")
        self._geometry = geometry
        if self._is_contradicted(picture):
            raise not_understood("container and stream disagree on high dynamic range")
        cropped = picture if self._cropper is None else self._cropper.cropped(picture)
        if _is_coarse(cropped.format.name):
            cropped = cropped.reformat(format="rgb24", threads=1)
        guessed = self.colours.complete(cropped, size=(picture.height, picture.width))
        if (problem := unplain(cropped, held)) is not None:
            raise not_understood(problem)
        return ShownPicture(picture=cropped, geometry=geometry, guessed=guessed)

    def _is_square_under(self, stretch: float) -> bool:
        """Tell whether a matrix leaves pixels as they are, or to the shape that the stream says they have."""
        return any(
            abs(stretch - aspect) <= _MAX_STRETCH * aspect for aspect in (1.0, float(self.pixel_aspect or 1))
        )

    def _is_contradicted(self, picture: VideoFrame) -> bool:
        """Tell whether container and stream disagree on the range: players believe the one or the other."""
        if self._transfer in _NO_TRANSFERS or int(picture.color_trc) in _NO_TRANSFERS:
            return False
        return is_hdr(picture) != (self._transfer in HDR_TRANSFERS)


@functools.cache
def _is_coarse(pixel_format: str) -> bool:
    """Tell whether colours have under 8 bits: FFmpeg's scaler fills them up on the way to `rgb24` alone."""
    described = VideoFormat(pixel_format)
    is_plain = described.is_rgb and not described.has_palette
    return is_plain and min(component.bits for component in described.components) < 8


def read_display(container: InputContainer, stream: VideoStream, descriptor: int) -> Display:
    """Read the display transform of a stream; before any of it is decoded, which may overwrite its colours.

    Raises:
        DecodeError: display_not_understood.
    """
    header = _header(container, stream, descriptor)
    if header.not_understood:
        raise not_understood(", ".join(dict.fromkeys(header.not_understood)))
    aspect = stream.sample_aspect_ratio
    if aspect and not 1 / MAX_PIXEL_ASPECT <= aspect <= MAX_PIXEL_ASPECT:
        raise not_understood(f"pixels {aspect.numerator}:{aspect.denominator} as wide as high")
    colours = Colours.of(stream.codec_context)
    return Display(header, colours.or_bt601() if header.is_heif else colours, aspect)


def _header(container: InputContainer, stream: VideoStream, descriptor: int) -> Header:
    names = container.format.name.split(",")
    if "mov" in names:
        return mp4_header(descriptor, stream.id)
    if "matroska" in names:
        tracks = [other for other in container.streams if not _is_attachment(other)]
        return matroska_header(descriptor, stream.index, len(tracks))
    return still_header(descriptor) if not _STILLS.isdisjoint(names) else Header()


def _is_attachment(stream: av.stream.Stream) -> bool:
    return stream.type == "attachment" or bool(stream.disposition & Disposition.attached_pic)


class _Cropper:
    """FFmpeg's crop filter; set up once for every size and format of pictures."""

    def __init__(self, crop: Crop) -> None:
        self._crop = crop
        self._kind: tuple[str, int, int] | None = None
        self._source: FilterContext | None = None
        self._sink: FilterContext | None = None

    def cropped(self, picture: VideoFrame) -> VideoFrame:
        """Return what is left of a picture; it shares the buffer.

        Raises:
            DecodeError: display_not_understood, where nothing is left.
        """
        kind = (picture.format.name, picture.width, picture.height)
        if kind != self._kind:
            self._set_up(picture)
            self._kind = kind
        assert self._source is not None
        assert self._sink is not None
        self._source.push(picture)
        cropped = self._sink.pull()
        assert isinstance(cropped, VideoFrame)
        return cropped

    def _set_up(self, picture: VideoFrame) -> None:
        crop = self._crop
        if crop.left + crop.right >= picture.width or crop.top + crop.bottom >= picture.height:
            size = f"{picture.width}x{picture.height}"
            raise not_understood(f"a crop ({crop}) that leaves nothing of a picture of {size}")
        graph = Graph()
        graph.threads = 1
        self._source = graph.add_buffer(
            width=picture.width, height=picture.height, format=picture.format, time_base=Fraction(1, 1000)
        )
        size = f"w=iw-{crop.left}-{crop.right}:h=ih-{crop.top}-{crop.bottom}"
        cut = graph.add("crop", f"{size}:x={crop.left}:y={crop.top}")
        self._sink = graph.add("buffersink")
        self._source.link_to(cut)
        cut.link_to(self._sink)
        try:
            graph.configure()
        except av.error.ArgumentError as error:  # of whole chroma samples
            raise not_understood(f"a crop ({crop}) that leaves nothing of a picture") from error
        self._graph = graph  # filters do not keep it alive
