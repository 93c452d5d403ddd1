# ruff: noqa: C901, PLR0912, PLR0917 - a drawing is made of numbers and cases
"""Draw what lies beside the steel: mounts of many looks, gaps, bleeding, coatings, layers.

In:  a field of steel. Out: the field with its border, and the truth to the pixel. Next: `drawn`.
"""

from __future__ import annotations

import cv2
import numpy as np

from drawn.steel import soft_noise, steel

BORDERS = (
    "straight",
    "wavy",
    "corner",
    "two_sides",
    "round",
    "arc",
    "sliver",
    "three_sides",
)
MOUNTS = (
    "dark",
    "grey",
    "bright",
    "shaded",
    "grainy",
    "defocused",
    "bubbles",
    "coloured",
    "filled",
    "scratched",
    "cloudy",
    "side_wall",
    "layer",
)
_BORDER_SHARES = (0.2, 0.17, 0.14, 0.16, 0.12, 0.1, 0.07, 0.04)
_MOUNT_SHARES = (0.1, 0.09, 0.1, 0.08, 0.09, 0.09, 0.09, 0.1, 0.06, 0.06, 0.05, 0.05, 0.04)


def mounted(rgb, rng, border, words, *, colour, masks=None):
    """Put a field of steel into a mount.

    Args:
        rgb: (h, w, 3) float32, the field without noise of the camera.
        rng: Decides all that is left open.
        border: A kind, "layered" for a second material in place of a mount, or True for any.
        words: Gets what was chosen.
        colour: Whether the camera sees colours.
        masks: Gets "coating", (h, w) bool, which `outside` includes.

    Returns:
        The field, and (h, w) bool: outside, bleeding.
    """
    height, width = rgb.shape[:2]
    kind = border if border in BORDERS else str(rng.choice(BORDERS, p=_BORDER_SHARES))
    mount = str(rng.choice(MOUNTS, p=_MOUNT_SHARES))
    mount = "layer" if border == "layered" else mount
    words |= {"layered": kind} if mount == "layer" else {"border": kind, "mount": mount}
    depth = draw_depth(rng, kind, height, width)
    rough = rng.uniform(0.3, 3.0)
    depth = depth + rough * soft_noise(rng, height, width, 6)
    depth = depth + rough * soft_noise(rng, height, width, 25)
    level = float(rgb.mean())
    resin = draw_resin(rng, mount, height, width, level, rgb, colour=colour)
    if rng.random() < 0.25:
        words["rounded"] = "yes"
        rgb = _rounded(rgb, rng, depth)
    bleeding = np.zeros((height, width), bool)
    if rng.random() < 0.35 and mount != "layer":
        words["bleeding"] = "yes"
        rgb, bleeding = _bled(rgb, rng, depth, colour=colour)
    soft = rng.uniform(0.7, 4.0)
    alpha = 1 / (1 + np.exp(-np.clip(depth / soft, -20, 20)))
    out = rgb * alpha[:, :, None] + resin * (1 - alpha[:, :, None])
    if rng.random() < 0.3:  # a bright rim where the edge is rounded
        out += (60 * np.exp(-((depth / (2 * soft)) ** 2)))[:, :, None]
    elif rng.random() < 0.2:  # a dark gap where the mount has shrunk
        words["gap"] = "yes"
        wide = rng.uniform(2, 9)
        out *= 1 - 0.85 * np.exp(-(((depth + wide) / wide) ** 4))[:, :, None]
    outside = depth < 0
    if rng.random() < 0.15 and kind != "round" and mount != "layer":
        words["coating"] = "yes"
        thick = rng.uniform(8, 40)
        layer = (depth >= 0) & (depth < thick)
        tone = float(np.clip(level + rng.choice([-70, 70]), 20, 250))
        out[layer] = tone + 4 * rng.normal(0, 1, (int(layer.sum()), 1))
        outside = depth < thick
        if masks is not None:
            masks["coating"] = layer
    if mount == "layer":  # a layered specimen is specimen throughout
        return out, np.zeros_like(outside), np.zeros_like(outside)
    return out, outside, bleeding & ~outside


def _half(rng, x, y, angle, share):
    """Say how far every pixel lies beyond a line that cuts off this share of the way across."""
    along = x * np.cos(angle) + y * np.sin(angle)
    low, high = along.min(), along.max()
    return along - (low + share * (high - low))


def draw_depth(rng, kind, height, width):
    """Say how deep in the specimen every pixel lies, in pixels; below 0 is outside."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    if kind == "round":
        radius = 0.5 * min(height, width) * rng.uniform(0.8, 1.3)
        cx, cy = width * rng.uniform(0.4, 0.6), height * rng.uniform(0.4, 0.6)
        return radius - np.hypot(x - cx, y - cy)
    angle = rng.uniform(0, 2 * np.pi) if rng.random() < 0.6 else rng.integers(4) * np.pi / 2
    angle += rng.normal(0, 0.05)
    if kind == "arc":
        radius = max(height, width) * rng.uniform(0.8, 3)
        reach = rng.uniform(0.1, 0.45) * min(height, width)
        cx = width / 2 + np.cos(angle) * (radius + width / 2 - reach)
        cy = height / 2 + np.sin(angle) * (radius + height / 2 - reach)
        depth = np.hypot(x - cx, y - cy) - radius  # the mount bulges into the field …
        return -depth if rng.random() < 0.5 and (depth < 0).mean() > 0.3 else depth
    if kind == "sliver":
        return _half(rng, x, y, angle, rng.uniform(0.02, 0.07))
    depth = _half(rng, x, y, angle, rng.uniform(0.08, 0.6))
    if kind == "wavy":
        depth = depth + 0.02 * min(height, width) * soft_noise(rng, height, width, 0.25 * width)
    if kind == "corner":
        other = _half(rng, x, y, angle + np.pi / 2, rng.uniform(0.08, 0.4))
        depth = np.minimum(depth, other)
    if kind in ("two_sides", "three_sides"):
        depth = _half(rng, x, y, angle, rng.uniform(0.06, 0.25))
        across = angle + np.pi + rng.normal(0, 0.03)
        depth = np.minimum(depth, _half(rng, x, y, across, rng.uniform(0.06, 0.25)))
    if kind == "three_sides":
        depth = np.minimum(depth, _half(rng, x, y, angle + np.pi / 2, rng.uniform(0.08, 0.3)))
    return depth


def _rounded(rgb, rng, depth):
    """Blur the steel towards its edge, where polishing has rounded it out of focus."""
    reach = rng.uniform(8, 45)
    near = np.clip(1 - depth / reach, 0, 1)[:, :, None].astype(np.float32)
    blurred = cv2.GaussianBlur(rgb, (0, 0), reach / 8)
    return (rgb * (1 - near) + blurred * near) * (1 + rng.uniform(-0.2, 0.12) * near)


def _bled(rgb, rng, depth, *, colour):
    """Discolour the steel from the gap inwards; fading, or with a front like a dried drop's."""
    height, width = depth.shape
    reach = rng.uniform(15, 90) * (0.6 + 0.4 * np.clip(soft_noise(rng, height, width, 60), -1, 1))
    fall = np.clip(1 - depth / np.maximum(reach, 4), 0, 1)
    if rng.random() < 0.3:
        fall = np.clip(3 * fall, 0, 1)
    strength = fall * rng.uniform(0.3, 0.6)
    if rng.random() < 0.25:  # along a part of the edge only
        strength *= np.clip(0.5 + 1.5 * soft_noise(rng, height, width, 0.3 * width), 0, 1)
    strength[depth < 0] = 0
    tint = np.array([1.0, 0.75, 0.5] if rng.random() < 0.6 else [0.6, 0.75, 1.0], np.float32)
    if not colour:
        tint = np.full(3, 0.6, np.float32)
    return rgb * (1 - strength[:, :, None] * (1 - tint) * 1.6), strength > 0.1


def draw_resin(rng, mount, height, width, level, rgb, *, colour):
    slow = soft_noise(rng, height, width, 0.4 * width)
    if mount == "dark":
        grey = rng.uniform(5, 45) + 4 * slow
    elif mount == "bright":
        grey = rng.uniform(225, 250) + 4 * slow
    elif mount == "shaded":
        y = np.linspace(-1, 1, height)[:, None] * np.ones((1, width))
        grey = rng.uniform(60, 130) + rng.choice([-1, 1]) * 40 * y + 4 * slow
    elif mount == "grainy":
        grain = cv2.GaussianBlur(rng.normal(0, 1, (height, width)).astype(np.float32), (0, 0), 1.2)
        tone = float(np.clip(level + rng.choice([-60, 60]), 25, 235))
        grey = tone + 28 * grain + 4 * slow
    elif mount == "defocused":
        grey = 0.7 * cv2.GaussianBlur(rgb.mean(axis=2), (0, 0), 12) + 3 * slow
        grey = grey - 25 if rng.random() < 0.7 else grey + 40
    elif mount == "cloudy":  # texture, but soft and of another size than the steel's
        tone = float(np.clip(level + rng.choice([-1, 1]) * rng.uniform(15, 60), 25, 235))
        grey = tone + rng.uniform(6, 16) * soft_noise(rng, height, width, rng.uniform(8, 30))
    elif mount == "side_wall":  # the specimen's flank below the plane: bright, rough, not in focus
        rough = rng.normal(0, 1, (height, width)).astype(np.float32)
        rough = cv2.GaussianBlur(rough, (0, 0), rng.uniform(2, 4), sigmaY=rng.uniform(3, 9))
        tone = float(np.clip(level + rng.uniform(30, 90), 90, 235))
        grey = tone + rng.uniform(18, 40) * rough / max(1e-6, float(rough.std()))
    elif mount == "layer":  # a second material with a structure of its own
        grey = steel(rng, height, width, {}).astype(np.float32)
        grey += rng.choice([-1, 1]) * rng.uniform(25, 60) + level - float(grey.mean())
    else:
        tone = float(np.clip(level + rng.choice([-1, 1]) * rng.uniform(25, 75), 25, 240))
        grey = tone + 5 * slow
    resin = np.repeat(np.asarray(grey, np.float32)[:, :, None], 3, axis=2)
    resin = np.broadcast_to(resin, (height, width, 3)).copy()
    if mount == "bubbles":
        resin = _bubbly(resin, rng)
    elif mount == "filled":
        resin = _filled(resin, rng)
    elif mount == "scratched":
        resin = _scratched(resin, rng)
    if colour and (mount == "coloured" or rng.random() < 0.1):
        tints = [[1.15, 0.8, 0.6], [0.7, 0.85, 1.15], [0.75, 1.1, 0.8]]
        resin *= np.array(tints[int(rng.integers(3))], np.float32)
    return resin


def _bubbly(resin, rng):
    height, width = resin.shape[:2]
    for _ in range(int(rng.integers(4, 25))):
        centre = (int(rng.uniform(0, width)), int(rng.uniform(0, height)))
        radius = int(rng.integers(4, 40))
        tone = float(resin[0, 0, 0] + rng.choice([-35, 35]))
        cv2.circle(resin, centre, radius, (tone,) * 3, -1, cv2.LINE_AA)
        cv2.circle(resin, centre, radius, (tone - 40,) * 3, 2, cv2.LINE_AA)
    return cv2.GaussianBlur(resin, (0, 0), 2)


def _filled(resin, rng):
    """Strew mineral filler: angular bright or dark grains in a moulding compound."""
    height, width = resin.shape[:2]
    size = rng.uniform(3, 14)
    for _ in range(int(min(1500, 0.15 * height * width / size**2))):
        angles = np.sort(rng.uniform(0, 2 * np.pi, 5))
        radius = size * rng.uniform(0.3, 1.2, 5)
        centre = rng.uniform(0, 1, 2) * (width, height)
        corners = centre + np.stack([np.cos(angles) * radius, np.sin(angles) * radius], 1)
        tone = float(resin[0, 0, 0] + rng.choice([-40, 30, 50]))
        cv2.fillPoly(resin, [np.round(corners).astype(np.int32)], (tone,) * 3, cv2.LINE_AA)
    return cv2.GaussianBlur(resin, (0, 0), rng.uniform(0.8, 2.5))


def _scratched(resin, rng):
    height, width = resin.shape[:2]
    angle = rng.uniform(0, np.pi)
    step = np.array([np.cos(angle), np.sin(angle)]) * (height + width)
    for _ in range(int(rng.integers(15, 90))):
        middle = rng.uniform(0, 1, 2) * (width, height)
        ends = np.round([middle - step, middle + step]).astype(int).tolist()
        tone = float(resin[0, 0, 0] + rng.uniform(-30, 30))
        cv2.line(resin, ends[0], ends[1], (tone,) * 3, int(rng.integers(1, 3)), cv2.LINE_AA)
    return resin
