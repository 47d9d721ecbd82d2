"""Which pixels of one image axis each position of a map depends on, exactly.

Two things are carried side by side. For the positions that the map has, the first and last pixel
that each depends on: taps that fall into padding count for nothing, so this is cut at the image's
border by itself. And without any border: the same for a network on an endless image, where it
repeats after ``period`` positions, ``advance`` pixels further on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from captum_cnn_ext._engine.trace.window_arithmetic import Ints, Windows

FAR = 2**40  # the first pixel of a position that depends on none; its last one is -FAR
LONGEST_PERIOD = 4096


class NotFollowed(Exception):
    """An operation whose effect on positions is not known."""


@dataclass(frozen=True)
class Axis:
    """First and last pixel for each position of a map along one axis.

    ``lows`` and ``highs`` are cut at the border; ``first`` and ``last`` are those of one period
    on an endless image.
    """

    lows: Ints
    highs: Ints
    first: Ints
    last: Ints
    advance: int

    @staticmethod
    def of_pixels(length: int) -> Axis:
        """The image itself: every pixel depends on itself."""
        pixels, zero = np.arange(length, dtype=np.int64), np.zeros(1, dtype=np.int64)
        return Axis(pixels, pixels, zero, zero, 1)

    @staticmethod
    def of_range(low: int, high: int) -> Axis:
        """One position that depends on all pixels from one to another."""
        lows, highs = np.array([low]), np.array([high])
        return Axis(lows, highs, lows, highs, 0)

    @staticmethod
    def of_nothing(length: int) -> Axis:
        """Positions that depend on no pixel, such as a learned token."""
        none = np.full(length, FAR, dtype=np.int64)
        return Axis(none, -none, none, -none, 0)

    def spread(self, size: int, inner: int) -> Axis:
        """For ``size`` indices of a reshaped dimension, of which i is position i // inner."""
        if size == len(self.lows):
            return self
        place = np.arange(size, dtype=np.int64) // inner % len(self.lows)
        lows, highs = self.lows[place], self.highs[place]
        return Axis(lows, highs, lows, highs, 0)

    @property
    def step(self) -> Fraction:
        """Pixels from one position to the next, on average."""
        return Fraction(self.advance, len(self.first))

    def endless(self, positions: Ints) -> tuple[Ints, Ints]:
        """First and last pixels of any positions, inside the map or not, without a border."""
        turn, place = np.divmod(positions, len(self.first))
        shift = turn * self.advance
        return self.first[place] + shift, self.last[place] + shift

    def through(self, windows: Windows, length: int) -> Axis:
        """After an operation with so many output positions."""
        rate = windows.rate
        read, have = windows.reads(np.arange(length, dtype=np.int64), False)
        have = have & (read >= 0) & (read < len(self.lows))
        read = read.clip(0, len(self.lows) - 1)
        lows = np.where(have, self.lows[read], FAR).min(1)
        highs = np.where(have, self.highs[read], -FAR).max(1)
        scale, repeat = len(self.first) * rate.denominator, rate.numerator
        period = scale // math.gcd(scale, repeat)
        if period > LONGEST_PERIOD:
            raise NotFollowed(f"repeats only after {period} positions")
        read, have = windows.reads(np.arange(period, dtype=np.int64), True)
        first, last = self.endless(read)
        return Axis(
            lows,
            highs,
            np.where(have, first, FAR).min(1),
            np.where(have, last, -FAR).max(1),
            int(self.step * rate * period),
        )

    def joined(self, other: Axis) -> Axis:
        """The union: a position that depends on both."""
        if len(self.lows) != len(other.lows):
            raise NotFollowed(f"joins maps of {len(self.lows)} and {len(other.lows)} positions")
        lows, highs = np.minimum(self.lows, other.lows), np.maximum(self.highs, other.highs)
        period = math.lcm(len(self.first), len(other.first))
        if self.step != other.step or period > LONGEST_PERIOD:
            # only the positions there are can be told, as for two ways of resizing
            period = len(lows)
        places = np.arange(period, dtype=np.int64)
        (first, last), (f2, l2) = self.endless(places), other.endless(places)
        return Axis(
            lows, highs, np.minimum(first, f2), np.maximum(last, l2), int(self.step * period)
        )

    def followed_by(self, other: Axis) -> Axis:
        """The positions of one map after those of another, as a concatenation along the axis."""
        lows = np.concatenate([self.lows, other.lows])
        highs = np.concatenate([self.highs, other.highs])
        return Axis(lows, highs, lows, highs, math.ceil(self.step * len(lows)))

    def at_once(self) -> tuple[int, int]:
        """First and last pixel that any position depends on."""
        return int(self.lows.min()), int(self.highs.max())
