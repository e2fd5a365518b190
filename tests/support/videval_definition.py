"""VIDEVAL's features by their definitions, in double precision with SciPy, one place at a time."""

from __future__ import annotations

import math

import numpy as np
from scipy import ndimage, special, stats

SHAPES = np.arange(0.2, 10.0005, 0.001)
KURTOTIC = special.gamma(1 / SHAPES) * special.gamma(3 / SHAPES) / special.gamma(2 / SHAPES) ** 2


def window(side, sd):
    grid = np.mgrid[-(side // 2) : side // 2 + 1, -(side // 2) : side // 2 + 1]
    w = np.exp(-(grid**2).sum(axis=0) / (2 * sd * sd))
    return w / w.sum()


def filter2(w, x):
    return ndimage.correlate(np.asarray(x, dtype=float), np.asarray(w, dtype=float), mode="constant")


def cubic(d):
    d = np.abs(d)
    near = 1.5 * d**3 - 2.5 * d**2 + 1
    return np.where(d <= 1, near, np.where(d < 2, -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2, 0))


def imresize(x, scale):
    for _ in range(2):
        size = x.shape[0]
        out = np.zeros((math.ceil(size * scale), x.shape[1]))
        shrink = min(scale, 1)
        for row in range(len(out)):
            centre = (row + 0.5) / scale - 0.5
            places = np.arange(math.floor(centre) - 40, math.floor(centre) + 41)
            weights = cubic((places - centre) * shrink)
            mirrored = np.concatenate([np.arange(size), np.arange(size)[::-1]])
            out[row] = (weights / weights.sum()) @ x[mirrored[places % (2 * size)]]
        x = out.T
    return x


def dnt(x):
    w = window(7, 7 / 6)
    mean = filter2(w, x)
    sigma = np.sqrt(np.abs(filter2(w, x * x) - mean**2))
    return (x - mean) / (sigma + 1), sigma


def ggd(v):
    v = np.ravel(v)
    return SHAPES[np.abs(KURTOTIC - np.mean(v**2) / np.mean(np.abs(v)) ** 2).argmin()], math.sqrt(
        np.mean(v**2)
    )


def aggd(v):
    v = np.ravel(v)
    left, right = (math.sqrt(np.mean(v[side] ** 2)) for side in (v < 0, v > 0))
    g = left / right
    r = np.mean(np.abs(v)) ** 2 / np.mean(v**2) * (g**3 + 1) * (g + 1) / (g**2 + 1) ** 2
    return SHAPES[((1 / KURTOTIC - r) ** 2).argmin()], left, right


def skew(v):
    return stats.skew(np.ravel(v))


def kurt(v):
    return stats.kurtosis(np.ravel(v), fisher=False)


def pair(x, rows, columns):
    return x * np.roll(x, (rows, columns), (0, 1))


def brisque(y):
    full, half = dnt(y)[0], dnt(imresize(y, 0.5))[0]
    return [
        aggd(pair(full, 0, 1))[1] ** 2,
        aggd(pair(full, 1, 0))[1] ** 2,
        aggd(pair(half, 0, 1))[1] ** 2,
        aggd(pair(half, 1, 1))[0],
    ]


def gm_log(y):
    g = window(7, 0.5)
    wx, wy = g[1:-1, 1:-1] - g[1:-1, 2:], g[1:-1, 1:-1] - g[2:, 1:-1]
    gradient = np.hypot(*(filter2(w / np.abs(w).sum(), y) for w in (wx, wy))) / 2.5
    grid = np.mgrid[-2:3, -2:3]
    square = (grid**2).sum(axis=0)
    log = window(5, 0.5) * (square - 2 * 0.25) / 0.5**4
    log -= log.mean()
    laplacian = np.abs(filter2(log / np.abs(log).sum(), y))
    norm = np.sqrt(filter2(window(7, 1.0), (gradient**2 + laplacian**2) / 2)) + 0.2
    steps = [np.clip(np.ceil((m / norm)[2:-2, 2:-2] / 0.2), 1, 10).astype(int) for m in (gradient, laplacian)]
    n = np.zeros((10, 10))
    np.add.at(n, (steps[0].ravel() - 1, steps[1].ravel() - 1), 1)
    n /= n.sum()
    rows, columns = n.sum(axis=1), n.sum(axis=0)
    a, b = (n / (columns + 1e-4)).sum(axis=1), (n / (rows[:, None] + 1e-4)).sum(axis=0)
    out = np.concatenate([rows, columns, a / a.sum(), b / b.sum()])
    return list(out[np.array([2, 4, 8, 18, 20, 23, 34, 40]) - 1])


def higrade(y):
    across, down = (ndimage.sobel(y, axis=axis, mode="nearest") for axis in (1, 0))
    size = np.hypot(across, down)
    cross = [[0, 1, 0], [-1, 0, -1], [0, 1, 0]]
    x = dnt(size)[0]
    found = [x.std()]
    x = np.log(np.abs(x) + 0.1)
    square = x + np.roll(x, (1, 1), (0, 1)) - np.roll(x, 1, 1) - np.roll(x, 1, 0)
    found += [square.std(), ggd(square - square.mean())[0]]
    crossed = filter2(cross, x)
    found.append(ggd(crossed - crossed.mean())[0])
    x = dnt(imresize(size, 0.5))[0]
    found.append(x.std())
    for rows in (1, -1):
        d = x - np.roll(x, (rows, 1), (0, 1))
        found.append(ggd(d - d.mean())[0])
    return [*found, filter2(cross, x).std()]


def detail(x):
    kernel = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1]) / 256
    coarse = ndimage.correlate(x, kernel, mode="mirror")[::2, ::2]
    spread = np.zeros_like(x)
    spread[::2, ::2] = coarse
    return x - ndimage.correlate(spread, 4 * kernel, mode="mirror")


def edges_of(sigma):
    return filter2(window(7, 7 / 6) - window(7, 7 / 4), sigma)


def friquee_luma(y):
    x, sigma = dnt(y)
    small = imresize(y, 0.5)
    alpha, left, right = aggd(pair(x, 1, 0))
    mean = (right - left) * special.gamma(2 / alpha) / special.gamma(1 / alpha)
    mean *= math.sqrt(special.gamma(1 / alpha) / special.gamma(3 / alpha))
    edges = edges_of(sigma)
    normalised, contrast = dnt(edges)
    return [
        skew(pair(x, 0, 1)),
        mean,
        sigma.mean(),
        aggd(pair(x, 0, 1))[0],
        dnt(small)[1].mean(),
        skew(dnt(small)[0]),
        ggd(normalised)[1],
        kurt(normalised),
        kurt(dnt(contrast)[0]),
        *ggd(detail(y)),
    ]


def rgb(y, u, v, *, rounded):
    matrix = np.array([[65.481, 128.553, 24.966], [-37.797, -74.203, 112], [112, -93.786, -18.214]])
    planes = np.stack([np.round(p) if rounded else p for p in (y, u, v)], axis=-1)
    out = (planes - [16, 128, 128]) @ np.linalg.inv(matrix).T
    out = np.clip(out, 0, 1)
    return np.round(out * 255) / 255 if rounded else out


def light(share):
    return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)


def cie(t):
    return np.where(t > (6 / 29) ** 3, np.cbrt(t), t * (29 / 6) ** 2 / 3 + 4 / 29)


def chroma(levels):
    to_xyz = np.array([[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]])
    fx, fy, fz = np.moveaxis(cie(light(levels) @ to_xyz.T / [0.9642, 1, 0.8249]), -1, 0)
    a, b = np.round(500 * (fx - fy) + 128), np.round(200 * (fy - fz) + 128)
    return np.hypot(np.clip(a, 0, 255), np.clip(b, 0, 255))


def friquee_chroma(levels):
    c = chroma(levels)
    x, sigma = dnt(c)
    half, contrast = dnt(imresize(c, 0.5))
    edges = dnt(edges_of(sigma))[0]
    return [
        aggd(pair(x, 0, 1))[2] ** 2,
        aggd(pair(x, 1, 0))[0],
        aggd(pair(x, 1, 1))[1] ** 2,
        kurt(pair(x, -1, 1)),
        skew(sigma),
        kurt(pair(half, 1, 0)),
        kurt(contrast),
        contrast.mean(),
        ggd(edges)[1],
        skew(edges),
        skew(detail(c)),
    ]


def friquee_cones(levels):
    from_xyz = np.array([[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.204, 1.057]])
    cones = light(levels) @ np.linalg.inv(from_xyz).T @ [0.0030, 0.0136, 0.9834]
    return [ggd(dnt(dnt(imresize(cones, 0.5))[1])[0])[1]]


SOBEL = np.array([[-1, -2, -1], [0, 0, 0], [1, 2, 1]]) / 8
CORNERS = [
    np.array(rows) / 32
    for rows in (
        [[1, 1, 1, 1, 1], [1, 1, 1, 1, 1], [-2, -2, 0, 1, 1], [-2, -2, -2, 1, 1], [-2, -2, -2, 1, 1]],
        [[-2, -2, -2, 1, 1], [-2, -2, -2, 1, 1], [-2, -2, 0, 1, 1], [1, 1, 1, 1, 1], [1, 1, 1, 1, 1]],
        [[1, 1, -2, -2, -2], [1, 1, -2, -2, -2], [1, 1, 0, -2, -2], [1, 1, 1, 1, 1], [1, 1, 1, 1, 1]],
        [[1, 1, 1, 1, 1], [1, 1, 1, 1, 1], [1, 1, 0, -2, -2], [1, 1, -2, -2, -2], [1, 1, -2, -2, -2]],
    )
]


def tlvqm_low(before, y, after):
    """Planes of full size, 0..255."""
    reach = y.shape[1] // 40
    past, now, future = (imresize(plane / 255, 0.5) for plane in (before, y, after))
    h, w = now.shape
    edges = [(filter2(SOBEL.T, p), filter2(SOBEL, p)) for p in (past, now, future)]
    size = np.hypot(*edges[1])
    inner = np.zeros_like(size)
    inner[4:-4, 4:-4] = size[4:-4, 4:-4]
    turned = np.abs([filter2(c, now) for c in CORNERS])
    strength = np.zeros_like(now)
    b = reach + 3
    strength[b:-b, b:-b] = (turned.max(axis=0) - turned.min(axis=0))[b:-b, b:-b]
    points, strength = [], strength.round(6)
    while strength.max() > 0.01:
        columns, rows = np.nonzero(strength.max() == strength.T)
        r, c = rows[0], columns[0]
        points.append((r, c))
        strength[max(r - reach, 0) : r + reach + 1, max(c - reach, 0) : c + reach + 1] = 0
    still, vectors = np.ones_like(now), []
    for r, c in points:
        grids = [difference(edges[1], edges[which], r, c, reach) for which in (0, 2)]
        (back, has_gone), (ahead, will_go) = (match(grids[which], grids[1], reach) for which in (0, 1))
        if has_gone or will_go:
            for dr, dc in ((0, 0), back, ahead):
                still[
                    max(r + dr - reach, 0) : r + dr + reach + 1, max(c + dc - reach, 0) : c + dc + reach + 1
                ] = 0
        vectors.append((-back[0], -back[1], *ahead))
    flicker = 0.0
    changes = np.abs(now - past), np.abs(now - future)
    if still.sum():
        usual = sum((still * change).sum() for change in changes) / still.sum() / 2
        flicker = (still * np.abs(np.maximum(*changes) - usual)).sum() / still.sum()
    moved, spread, jerk, vertical = motion(np.array(vectors, dtype=float).reshape(-1, 4), reach, h, w)
    change = np.mean([change.mean() for change in changes]) ** 0.25
    return [moved, spread, inner.std(ddof=1) ** 0.25, jerk, change, vertical, flicker]


def difference(own, other, r, c, reach):
    side = 2 * reach + 1
    grid = np.zeros((side, side))
    for i in range(side):
        for j in range(side):
            for part, there in zip(own, other, strict=True):
                mine = part[r - 1 : r + 2, c - 1 : c + 2]
                y, x = r + i - reach, c + j - reach
                grid[i, j] += ((mine - there[y - 1 : y + 2, x - 1 : x + 2]) ** 2).sum()
    return grid


def match(grid, ahead, reach):
    side = 2 * reach + 1
    steps = np.arange(side) - reach
    far = np.hypot(steps[:, None], steps)
    flat, distances, future = (m.ravel(order="F") for m in (grid, far, ahead))
    staying = best = grid[reach, reach]
    if staying <= 0.005:
        return (0, 0), False
    order = np.argsort(flat, kind="stable")
    least, second = flat[order[0]], flat[order[1]]
    if least <= 0.8 * second or distances[order[0]] < distances[order[1]]:
        best = least
    else:
        rivals = np.flatnonzero(0.8 * flat <= least)
        nearest = rivals[np.argsort(distances[rivals], kind="stable")[0]]
        if future[nearest] < 1.1 * least:
            best = flat[nearest]
        elif least < 0.9 * staying:
            best = least
    if best * 1.01 >= staying:
        return (0, 0), False
    column, row = divmod(int(np.flatnonzero(flat == best)[0]), side)
    shift = (row - reach, column - reach)
    return shift, bool(staying > best * 1.01 and shift != (0, 0))


def motion(v, reach, h, w):
    if not len(v):
        return 0.0, 0.0, 0.0, 0.5
    strength = np.sqrt(((v / reach) ** 2).sum(axis=1) / 4)
    moved = (strength.sum() / (h / reach * (w / reach))) ** 0.25
    jerk, vertical = 0.0, 0.5
    if strength.sum() > 0:
        vertical = np.mean(0.25 * (v[:, 0] + v[:, 2]) / reach + 0.5)
        jerk = np.mean(np.hypot((v[:, 0] - v[:, 2]) / 2 / reach, (v[:, 1] - v[:, 3]) / 2 / reach) ** 0.5)
    rows, columns = (v[:, 0] + v[:, 2]) / 2, (v[:, 1] + v[:, 3]) / 2
    near = [np.abs(m - m.mean()) < (m.std(ddof=1) if len(m) > 1 else 0) for m in (rows, columns)]
    shared = strength[near[0] & near[1]]
    return moved, shared.std(ddof=1) if len(shared) > 1 else 0.0, jerk, vertical


def lab(share):
    to_xyz = np.array(
        [
            [0.4124564, 0.3575761, 0.1804375],
            [0.2126729, 0.7151522, 0.0721750],
            [0.0193339, 0.1191920, 0.9503041],
        ]
    )
    fx, fy, fz = np.moveaxis(cie(light(share) @ to_xyz.T / to_xyz.sum(axis=1)), -1, 0)
    return 116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)


def tlvqm_high(share):
    lightness, a, b = lab(share)
    power = sum(
        filter2(w, c / r) ** 2 for c, r in ((lightness, 100), (a, 50), (b, 50)) for w in (SOBEL, SOBEL.T)
    )
    edges = np.zeros_like(power)
    edges[1:-1, 1:-1] = np.sqrt(power[1:-1, 1:-1])
    return [
        edges.mean(),
        edges.std(ddof=1),
        math.sqrt(np.mean((a / 50) ** 2 + (b / 50) ** 2)),
        *sharpness(edges),
    ]


def sharpness(edges):
    across, down = filter2(SOBEL.T, edges), filter2(SOBEL, edges)
    size = np.hypot(across, down)
    curves, deviations = [], []
    for y in range(8, edges.shape[0] - 24 + 1, 16):  # from 1, as the program counts
        for x in range(8, edges.shape[1] - 24 + 1, 16):

            def block(m, i, j, y=y, x=x):
                return m[y - 1 + i : y + 16 + i, x - 1 + j : x + 16 + j]

            table = np.zeros((7, 7))
            for i in range(7):
                for j in range(7):
                    if i == 0 or j in {0, i}:
                        weights = (1, 1) if i == j == 0 else (i / (i + j), j / (i + j))
                        table[i, j] = sum(
                            k * (block(m, i, j) * block(m, 0, 0)).mean()
                            for k, m in zip(weights, (across, down), strict=True)
                        )
            if table[0, 0] <= 0.0001:
                continue
            table /= table[0, 0]
            rings = np.array([table[: n + 1, : n + 1].sum() - table[:n, :n].sum() for n in range(1, 7)])
            curves.append(rings / rings[0] if rings[0] > 0 else rings)
            deviations.append(block(size, 0, 0).std(ddof=1))
    if not curves:
        return [0.0, 0.0, 0.0]
    curve, soft = np.mean(curves, axis=0), np.array(deviations)
    return [curve[1:].mean(), curve[1], soft[soft <= soft.mean()].mean()]


def frame_features(planes, before, after):
    """Fifty, of planes of one size, 0..255."""
    y = planes[0]
    levels = rgb(*planes, rounded=True)
    families = [
        brisque(y),
        gm_log(y),
        higrade(y),
        friquee_luma(y),
        friquee_chroma(levels),
        friquee_cones(levels),
    ]
    return np.array([value for family in families for value in family] + tlvqm_low(before, y, after))


def second_features(planes):
    return np.array(tlvqm_high(rgb(*planes, rounded=False)))
