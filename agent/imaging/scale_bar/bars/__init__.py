"""Bars: lines and other figures that a program drew, measured to subpixels."""
